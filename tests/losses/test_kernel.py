"""One kernel, several forms: the same values, gradients and memory."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from references import (
    KINDS,
    ORDER,
    QUEUED,
    STATS,
    Y,
    Z,
    loss_of,
    module_of,
    numeric,
    random_batch,
    with_gradients,
)

from maclcore.labels import LabelStatistics
from maclcore.losses import LOSSES, build_loss, mulsupcon
from maclcore.losses import pairs as kernel
from maclcore.losses.pairs import Pairs, Terms

FORMS = {  # (DENSE, TILE, MANY): through autograd, in one tile, in small tiles, from a table
    "dense": (10**6, 1 << 18, 10**6),
    "one tile": (0, 1 << 18, 10**6),
    "tiles": (0, 1, 10**6),
    "table": (0, 1, 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("queue", [False, True])
@pytest.mark.parametrize("name", [name for name in ORDER if name != "oml"])
def test_every_form_of_the_kernel_gives_the_same(name, queue, kind, monkeypatch):
    if queue and name not in QUEUED:
        return
    _, training = random_batch(8, 30, 6, rate=0.4)
    stats = LabelStatistics.from_labels(training)
    z, _ = random_batch(7, 100, 1)
    z, y = F.normalize(torch.randn(100, 4, dtype=torch.float64)), training[torch.arange(100) % 9]
    y[90:] = random_batch(9, 10, 6)[1]
    keys = {"keys": F.normalize(torch.randn(50, 4, dtype=torch.float64)), "key_labels": y[:50]}
    results = {}
    for form, (dense, tile, many) in FORMS.items():
        monkeypatch.setattr(kernel, "DENSE", dense)
        monkeypatch.setattr(kernel, "TILE", tile)
        monkeypatch.setattr(kernel, "MANY", many)
        results[form] = with_gradients(name, z, y, stats, keys if queue else None, kind)
    monkeypatch.setattr(kernel, "DENSE", 10**6)
    plain = with_gradients(name, z, y, stats, keys if queue else None)
    assert all(gradient.abs().max() > 1e-6 for gradient in results["dense"].values())
    for form, found in results.items():
        torch.testing.assert_close(found, results["dense"], rtol=1e-10, atol=1e-12, msg=form)
        shared = {part: found[part] for part in plain}
        torch.testing.assert_close(shared, plain, rtol=1e-10, atol=1e-12, msg=form)


def test_what_is_kept_for_learned_parameters_grows_with_the_batch_not_its_square():
    z, y = random_batch(7, 1000, 4, rate=0.4)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel()) or x, lambda x: x
    ):
        loss_of("macl", z.requires_grad_(), y, **numeric("macl"))
    assert sum(kept) < 0.1 * 1000**2


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch, to itself
def test_forward_derivatives_of_parameters_pass_through_the_tiles():
    z, y = random_batch(4, 300, 4, rate=0.4)
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    mulsupcon(z, y, temperature=temperature).backward()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(
            temperature.detach(), torch.ones_like(temperature)
        )
        value = mulsupcon(z, y, temperature=dual)
        tangent = torch.autograd.forward_ad.unpack_dual(value).tangent
        torch.testing.assert_close(tangent, temperature.grad)


def test_learned_parameters_are_those_of_the_module():
    temperature, alpha = (torch.nn.Parameter(torch.tensor(x)) for x in (0.3, 1.0))
    loss = build_loss("macl", STATS, temperature=temperature, alpha=alpha, beta=0.2)
    assert dict(loss.named_parameters()) == {"temperature": temperature, "alpha": alpha}
    assert "beta=0.2" in repr(loss) and "temperature: learned" in repr(loss)
    other = build_loss(
        "macl", STATS, alpha=torch.nn.Parameter(torch.tensor(2.0)), beta=0.2,
        temperature=torch.nn.Parameter(torch.tensor(0.5)),
    )  # fmt: skip
    assert other(Z, Y) != loss(Z, Y)
    other.load_state_dict(loss.state_dict())
    assert other(Z, Y) == loss(Z, Y)
    moved = copy.deepcopy(loss).to("meta")
    assert moved.alpha.device.type == "meta" and loss.alpha.device.type == "cpu"
    before = loss(Z, Y)
    before.backward()
    torch.optim.SGD(loss.parameters(), 0.01).step()
    assert loss(Z, Y) < before, "a step down the gradient of both"


def test_a_gradient_that_cannot_be_had_is_refused():
    learned = KINDS["learned"]
    for name, params, words in [
        ("macl", {"alpha": torch.nn.Parameter(torch.ones(2))}, r"alpha.*scalar.*shape \(2,\)"),
        ("oml", {"temperature": torch.ones(1)}, "temperature must be a number or a scalar tensor"),
        ("l_wo_reg", {"alpha": learned(-1.0)}, "alpha below 0 counts subsets"),
        ("lmsc", {"beta": learned(0.0)}, "beta that is learned must be above 0"),
    ]:
        with pytest.raises(TypeError, match=words):
            build_loss(name, STATS, embedding_dim=3, **params)
    for name in ORDER:
        with pytest.raises(TypeError, match="y is compared, so it gets no gradient"):
            loss_of(name, y=Y.double().requires_grad_())
    with pytest.raises(TypeError, match="key_labels is compared"):
        loss_of("macl", keys=(Z, Y.double().requires_grad_()))


def test_the_table_holds_no_row_twice(monkeypatch):
    """Equal label sets share a row of W, and each still leaves itself out of its positives."""
    monkeypatch.setattr(kernel, "MANY", 1)
    y = Y[[0, 0, 1, 1, 1, 3]]
    pairs, seen = Pairs.of(y, torch.float64), []

    def weights(pairs):
        seen.append(pairs.y.shape[0])
        return Terms(*LOSSES["supcon_all"].function.weights(pairs))

    terms, own, R, a, b = kernel.tiles(weights, pairs, len(y))(slice(0, 6))
    with pytest.raises(dataclasses.FrozenInstanceError):
        pairs.y = y  # its sums are kept
    assert seen == [3] and own.tolist() == list(range(6))
    assert terms.W[0].tolist() == [1, 1, 0, 0, 0, 0] and terms.W[5].tolist() == [0] * 6
    assert terms.W[2].tolist() == [0, 0, 0.5, 0.5, 0.5, 0] and R.tolist() == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("width", [5, 62, 63, 130])
def test_distinct_rows(width):
    _, y = random_batch(0, 40, width, rate=0.5)
    y = y[torch.randint(0, 12, (60,))].double()
    sets, row, count = kernel.distinct(y)
    assert torch.equal(sets[row], y) and len(sets) == len(torch.unique(y, dim=0))
    assert torch.equal(count, torch.bincount(row))
    for label in {0, min(61, width - 1), width // 2, width - 1}:  # that alone tells them apart
        y[:] = 1
        y[::3, label] = 0
        sets, row, count = kernel.distinct(y)
        assert torch.equal(sets[row], y) and sorted(count.tolist()) == [20, 40]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", ORDER)
def test_compiled_and_functional_forms_give_the_same(name):
    z, y = random_batch(4, 300, 4, rate=0.4)
    module = module_of(name, STATS, 4, **numeric(name, "numbers"))
    expected = module(z, y)
    torch.testing.assert_close(torch.compile(module, backend="aot_eager")(z, y), expected)
    learned = module_of(name, STATS, 4, **numeric(name))
    of_each = [
        torch.autograd.grad(form(z, y), list(learned.parameters()))
        for form in (learned, torch.compile(learned, backend="aot_eager"))
    ]
    torch.testing.assert_close(*of_each)
    value = with_gradients(name, z, y, STATS)["value"]
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(module(z, y), z)
    torch.testing.assert_close(torch.func.grad(lambda z: module(z, y))(z), gradient)
    torch.testing.assert_close(value, expected)


def test_a_second_derivative_of_the_tiled_form_is_refused():
    z, y = random_batch(4, 300, 4, rate=0.4)
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of("macl", z, y, STATS), z, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()
    z, y = z.detach()[:20].requires_grad_(), y[:20]  # small batches go through autograd
    assert torch.autograd.gradgradcheck(lambda z: loss_of("macl", F.normalize(z), y, STATS), z)
