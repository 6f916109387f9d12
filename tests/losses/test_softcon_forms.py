"""SoftCon and InfoNCE against loops, one loss in several forms, and what must hold of both."""

import importlib
from math import inf

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from references import (
    BATCHES,
    KINDS,
    OPTIONS,
    READINGS,
    batch_of_views,
    random_batch,
    ref_softcon,
    soft_of,
)

from maclcore.losses import build_loss, infonce, lbase, softcon
from maclcore.losses import pairs as kernel
from maclcore.losses.pairs import Pairs

unit = F.normalize


@pytest.mark.parametrize("dense", [256, 0])
@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
def test_every_reading_is_its_formula_in_loops(options, kind, dense, monkeypatch):
    monkeypatch.setattr(kernel, "DENSE", dense)
    for seed, n in ((0, 6), (1, 2), (2, 9)):
        z, y, keys = batch_of_views(kind, seed, n)
        for params in ({}, {"temperature": 0.5, "soft_temperature": 0.3, "soft_weight": 2.0}):
            expected = ref_softcon(z, y, **keys, **options, **params)
            found = softcon(z, y, **keys, **options, **params)
            assert found.item() == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 10**6), n=st.integers(1, 7), width=st.integers(1, 5))
def test_any_batch_is_its_formula_in_loops(data, seed, n, width):
    """Any density of labels, down to none; any number of keys beyond the batch's."""
    z, y = random_batch(seed, n, width)
    keys, labels = random_batch(seed + 1, n + data.draw(st.integers(0, 4)), width)
    params = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.floats(0.05, 2),
                "soft_temperature": st.floats(0.05, 2),
                "soft_weight": st.floats(0, 10),
            },
        )
    ) | data.draw(st.sampled_from(OPTIONS))
    with_keys = {"keys": keys, "key_labels": labels}
    views = torch.cat([z, keys[:n]]), y.repeat(2, 1), {}
    for a, b, those in ((z, y, with_keys), views):
        expected = ref_softcon(a, b, **those, **params)
        assert softcon(a, b, **those, **params).item() == pytest.approx(expected, rel=1e-8)


# --- One loss in several forms -------------------------------------------------------------------

FORMS = {  # (DENSE, TILE, TILE of counts): through autograd, in one tile, in several
    "dense": (10**6, 1 << 18, 1 << 20),
    "one tile": (0, 1 << 18, 1 << 20),
    "tiles": (0, 1, 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", BATCHES)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
def test_every_form_of_the_kernel_gives_the_same(options, of, kind, monkeypatch):
    z, y, keys = batch_of_views(of, 3, n=50)
    given = {"temperature": 0.4, "soft_temperature": 0.3, "soft_weight": 0.7}
    results = {}
    for form, (dense, tile, counts) in FORMS.items():
        monkeypatch.setattr(kernel, "DENSE", dense)
        monkeypatch.setattr(kernel, "TILE", tile)
        monkeypatch.setattr(importlib.import_module("maclcore.losses.softcon"), "TILE", counts)
        inputs = {"z": z.clone().requires_grad_(), **{k: KINDS[kind](v) for k, v in given.items()}}
        value = softcon(y=y, **inputs, **keys, **options)
        wanted = [x for x in inputs.values() if isinstance(x, torch.Tensor) and x.requires_grad]
        results[form] = [value.detach(), *torch.autograd.grad(value, wanted)]
    assert len(results["dense"]) == (5 if kind == "learned" else 2)
    assert all(gradient.abs().max() > 1e-4 for gradient in results["dense"])
    for form, found in results.items():
        torch.testing.assert_close(found, results["dense"], rtol=1e-10, atol=1e-12, msg=form)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("of", BATCHES)
@pytest.mark.parametrize("form, average", READINGS)
def test_gradient_by_finite_differences(form, average, of, learned, monkeypatch):
    z, y, keys = batch_of_views(of, 4, n=4, dim=3)
    x = (2 * z).requires_grad_()
    numbers = [KINDS["learned"](v) for v in (0.4, 0.6, 0.7)] if learned else []

    def loss(x, *numbers):
        names = ("temperature", "soft_temperature", "soft_weight")
        params = dict(zip(names, numbers, strict=False))
        return softcon(unit(x), y, form=form, average=average, **params, **keys)

    assert torch.autograd.gradgradcheck(loss, [x, *numbers])
    for dense in (256, 0):
        monkeypatch.setattr(kernel, "DENSE", dense)
        assert torch.autograd.gradcheck(loss, [x, *numbers])


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch, to itself
@pytest.mark.parametrize("form", ["sigmoid", "softmax"])
def test_forward_derivatives_of_parameters_pass_through_the_tiles(form, monkeypatch):
    monkeypatch.setattr(kernel, "DENSE", 0)
    z, y, keys = batch_of_views("queue", 4, n=40)
    for name in ("temperature", "soft_temperature"):
        learned = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
        softcon(z, y, form=form, **{name: learned}, **keys).backward()
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(learned.detach(), torch.ones_like(learned))
            value = softcon(z, y, form=form, **{name: dual}, **keys)
            tangent = torch.autograd.forward_ad.unpack_dual(value).tangent
            torch.testing.assert_close(tangent, learned.grad)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("options", OPTIONS[::4], ids=lambda o: "-".join(o.values()))
def test_what_is_kept_grows_with_the_batch_not_its_square(options, learned):
    z, y, _ = batch_of_views("two views", 7, n=500)
    kept = []
    temperatures = ("temperature", "soft_temperature")
    params = {name: KINDS["learned"](0.4) for name in temperatures} if learned else {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel()) or x, lambda x: x
    ):
        softcon(z.requires_grad_(), y, **options, **params)
    assert 0 < sum(kept) < 0.1 * 1000**2


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("loss, of", [(softcon, "queue"), (infonce, "two views")])
def test_compiled_and_functional_forms_give_the_same(loss, of):
    z, y, keys = batch_of_views(of, 4, n=150)
    value = loss(z.requires_grad_(), y, **keys)
    (gradient,) = torch.autograd.grad(value, z)
    compiled = torch.compile(build_loss(loss.__name__), backend="aot_eager")(z, y, **keys)
    torch.testing.assert_close(compiled, value)
    torch.testing.assert_close(torch.autograd.grad(compiled, z)[0], gradient)
    found = torch.func.grad(lambda z: loss(z, y, **keys))(z.detach())
    torch.testing.assert_close(found, gradient)


@pytest.mark.parametrize("dense", [256, 0])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
def test_autocast_computes_in_float32(options, dense, monkeypatch):
    monkeypatch.setattr(kernel, "DENSE", dense)
    z, y, keys = batch_of_views("queue", 5)
    keys["keys"] = keys["keys"].float()
    plain = softcon(z.float(), y, **options, **keys)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = softcon(z.float(), y, **options, **keys)
        halves = softcon(z.bfloat16(), y, **options, **keys)
    assert plain.dtype == mixed.dtype == halves.dtype == torch.float32 and torch.equal(plain, mixed)
    rounded = softcon(z.bfloat16().float(), y, **options, **keys)
    torch.testing.assert_close(halves, rounded, rtol=0, atol=0)
    many = [y[:, :1].repeat(1, 301), keys["key_labels"][:, :1].repeat(1, 301)]
    many[0][:, :39] = many[1][:, :39] = True  # counts that bfloat16 does not have
    wide = {"keys": keys["keys"], "key_labels": many[1]}
    plain_wide = softcon(z.float(), many[0], **options, **wide)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(softcon(z.float(), many[0], **options, **wide), plain_wide)
    exact = softcon(z, y, **options, **keys)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(plain, exact.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dense", [256, 0])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
def test_sharp_temperatures_do_not_overflow(options, dense, monkeypatch):
    monkeypatch.setattr(kernel, "DENSE", dense)
    for kind in BATCHES:
        z, y, keys = batch_of_views(kind, 6)
        z = z.float().requires_grad_()
        sharp = {"temperature": 1e-3, "soft_temperature": 1e-3}
        value = softcon(z, y, **sharp, **options, **keys)
        value.backward()
        assert value.isfinite() and z.grad.isfinite().all() and z.grad.abs().max() > 0


# --- What must hold ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BATCHES)
def test_without_its_soft_part_it_is_infonce(kind):
    z, y, keys = batch_of_views(kind, 8)
    for options in OPTIONS:
        found = softcon(z, y, soft_weight=0, temperature=0.3, **options, **keys)
        assert torch.equal(found, infonce(z, y, temperature=0.3, **keys))


@pytest.mark.parametrize("dense", [256, 0])
def test_labels_are_nothing_to_infonce(dense, monkeypatch):
    """Beyond that two views have the same: it is cross-entropy with the twin for a class."""
    monkeypatch.setattr(kernel, "DENSE", dense)
    z, y, keys = batch_of_views("queue", 9)
    expected = F.cross_entropy(z @ keys["keys"].T / 0.2, torch.arange(6))
    for labels in (y, ~y, torch.zeros_like(y)):
        torch.testing.assert_close(infonce(z, labels, **keys), expected)
    z, y, _ = batch_of_views("two views", 9)
    s = (z @ z.T / 0.2).fill_diagonal_(-inf)
    expected = F.cross_entropy(s, torch.arange(12).roll(6))
    torch.testing.assert_close(infonce(z, y), expected)


def test_the_softmax_form_with_the_jaccard_index_is_lbase():
    z, y, keys = batch_of_views("queue", 10, n=30)
    y[:, 0] |= ~y.any(dim=1)  # an image without labels stays in LBase's denominators
    keys["key_labels"][:, 1] |= ~keys["key_labels"].any(dim=1)
    for temperature in (0.1, 0.3, 1.0):
        found = soft_of(
            z, y, form="softmax", similarity="jaccard", soft_temperature=temperature, **keys
        )
        expected = lbase(z, y, temperature=temperature, **keys)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
def test_order_of_images_and_of_labels_and_rotation_do_not_matter(options, kind):
    z, y, keys = batch_of_views(kind, 11, n=7)
    value = softcon(z, y, **options, **keys)
    rng = torch.Generator().manual_seed(0)
    images, labels = torch.randperm(7, generator=rng), torch.randperm(4, generator=rng)
    queue = 7 + torch.randperm(7, generator=rng)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=rng))
    anchors = torch.cat([images, images + 7]) if kind == "two views" else images
    if keys:
        order = torch.cat([images, queue]) if kind == "queue" else images
        keys = {
            "keys": (keys["keys"] @ rotation)[order],
            "key_labels": keys["key_labels"][order][:, labels],
        }
    again = softcon((z @ rotation)[anchors], y[anchors][:, labels], **options, **keys)
    torch.testing.assert_close(again, value, rtol=1e-10, atol=0)
    if kind == "two views":  # which view comes first is nothing to a batch that has both
        torch.testing.assert_close(softcon(z.roll(7, 0), y, **options), value)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 6))
def test_jaccard_and_cosine_agree_on_the_same_and_on_strangers(seed, width):
    _, y = random_batch(seed, 12, width)
    pairs = Pairs.of(y, torch.float64)
    jaccard, cosine = pairs.jaccard, pairs.cosine
    assert (jaccard >= 0).all() and (jaccard <= cosine).all() and (cosine <= 1).all()
    assert torch.equal(cosine == jaccard, (jaccard == 0) | (jaccard == 1))
    assert torch.equal(cosine, cosine.T)
    assert torch.equal(cosine.diagonal(), y.any(dim=1).double())
    rows = y.double()
    expected = torch.nan_to_num(unit(rows) @ unit(rows).T)
    torch.testing.assert_close(cosine, expected)


@pytest.mark.parametrize("dense", [256, 0])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
def test_images_without_labels_are_in_the_plain_part_alone(options, dense, monkeypatch):
    monkeypatch.setattr(kernel, "DENSE", dense)
    for kind in BATCHES:
        z, y, keys = batch_of_views(kind, 12)
        soft = soft_of(z, y, **options, **keys)
        known = y.any(dim=1)
        those = {k: v[keys["key_labels"].any(dim=1)] for k, v in keys.items()}
        if kind == "two views":
            torch.testing.assert_close(soft_of(z[known], y[known], **options), soft)
        else:  # a key must be there for each anchor, which the plain part takes away again
            fewer = soft_of(z[known], y[known], **options, **those)
            torch.testing.assert_close(fewer, soft)
        for part in ("y", "key_labels"):  # of one side, and of both
            none = {"y": y, **keys}
            if part in none:
                none |= {part: torch.zeros_like(none[part])}
            if kind == "two views":
                none = {"y": torch.zeros_like(y)}
            gradients = []
            for loss, params in ((softcon, {**options, "soft_weight": 5.0}), (infonce, {})):
                x = z.clone().requires_grad_()
                value = loss(x, **none, **params)
                gradients.append((value.detach(), *torch.autograd.grad(value, x)))
            assert all(map(torch.equal, *gradients)), "no labelled pair: 0, with a gradient of 0"


def test_keys_get_no_gradient():
    for dense in (256, 0):
        z, y, keys = batch_of_views("queue", 13)
        keys["keys"].requires_grad_()
        for options in OPTIONS[::4]:
            value = softcon(z.requires_grad_(), y, **options, **keys)
            grad, none = torch.autograd.grad(value, [z, keys["keys"]], allow_unused=True)
            assert none is None and grad.abs().max() > 0, dense


def test_pairs_of_each_average():
    """A sum over an anchor's candidates is so many times their mean."""
    for kind, number in (("keys", 5), ("queue", 10), ("two views", 9)):
        z, y, keys = batch_of_views(kind, 14)
        y[y.sum(dim=1) == 0] = False
        known = int((keys["key_labels"] if keys else y).any(dim=1).sum()) - (not keys)
        found = soft_of(z, y, average="candidates", **keys) / soft_of(z, y, **keys)
        assert found.item() == pytest.approx(known) and known <= number
