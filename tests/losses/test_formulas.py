"""Every loss against loops over pairs, reference values, and matrices by hand."""

from itertools import product
from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from references import (
    ORDER,
    PROTOTYPED,
    QUEUED,
    STATS,
    Y,
    Z,
    loss_of,
    module_of,
    random_batch,
    ref_lmsc,
    ref_macl,
    ref_prototyped,
    reference,
    sets_of,
)

from maclcore.labels import LabelStatistics
from maclcore.losses import LOSSES, pair_weights
from maclcore.losses import pairs as kernel
from maclcore.losses.kernel import contrast
from maclcore.losses.pairs import Pairs


@pytest.mark.parametrize(
    "name, params, value",
    [
        ("supcon_any", {"reduction": "anchors"}, 1.6024580064),
        ("supcon_any", {}, 1.6024580064),
        ("supcon_all", {"reduction": "anchors"}, 0.1792192691),
        ("supcon_all", {}, 0.5376578072),
        ("mulsupcon", {}, 1.5480585348),
        ("mulsupcon", {"reduction": "anchors"}, 2.5800975580),
        ("wg_mulsupcon", {}, 1.4171186043),
        ("lbase", {}, 1.4381971472),
        ("simdis", {"reduction": "anchors"}, 0.6082061769),
        ("simdis", {}, 0.6082061769),
        ("lproto", {}, 0.7115541454),
        ("lmsc", {}, 1.0147821682),
        ("l_wo_reg", {}, 1.6480143234),
        ("lreg", {}, 1.3132682773),
        ("l_wo_reg", {"alpha": 1.0}, 1.5487796377),
        ("lreg", {"alpha": 1.0}, 1.2138877474),
        ("oml", {}, 0.5546445219),
        ("oml", {"norm": "per_label"}, 0.1309360957),
        ("oml", {"temperature": 0.1}, 0.5704211469),
        ("oml", {"temperature": 0.1, "norm": "per_label"}, 0.1703385847),
        ("macl", {}, 0.4011757469),
        ("macl", {"reduction": "anchors"}, 0.6686262449),
        ("wg_macl", {}, 0.3840083569),
        ("macl", {"h": "min"}, 0.3996549810),
        ("macl", {"h": "min", "reduction": "anchors"}, 0.6660916350),
        ("wg_macl", {"h": "min"}, 0.3831575016),
        ("macl", {"temperature": 0.3}, 0.8525362956),
        ("macl", {"temperature": 0.3, "reduction": "anchors"}, 1.4208938260),
        ("wg_macl", {"temperature": 0.3}, 0.8481117829),
        ("macl", {"reweight": False}, 1.4940883645),
        ("macl", {"reweight": False, "reduction": "anchors"}, 2.4901472742),
        ("wg_macl", {"reweight": False}, 1.4825974229),
        ("macl", {"alpha": 0, "beta": 0, "temperature": 0.3}, 0.4283532432),
        ("macl", {"alpha": 0, "beta": 0, "temperature": 0.3, "reduction": "anchors"}, 0.7139220721),
        ("wg_macl", {"alpha": 0, "beta": 0, "temperature": 0.3}, 0.3764013427),
    ],
)
def test_reference_values(name, params, value):
    assert loss_of(name, **params).item() == pytest.approx(value, rel=1e-6)


READINGS = {
    "temperature": st.floats(0.05, 2),
    "reduction": st.sampled_from(["pairs", "anchors"]),
    "alpha": st.floats(-2, 2),
    "beta": st.floats(0, 0.5),
    "f": st.sampled_from(["support", "min", "mean", "cooccurrence"]),
    "h": st.sampled_from(["mean", "min", "sum"]),
    "reweight": st.booleans(),
    "scope": st.sampled_from(["all", "positives", "negatives"]),
}
PARAMS = {name: {"temperature": READINGS["temperature"]} for name in ORDER}
for name in ("supcon_all", "supcon_any", "simdis"):
    PARAMS[name] = PARAMS[name] | {"reduction": st.sampled_from(["active", "anchors"])}
PARAMS["lmsc"] = PARAMS["lmsc"] | {"alpha": st.floats(0, 2), "beta": st.floats(0, 1)}
for name in ("lreg", "l_wo_reg"):
    PARAMS[name] = PARAMS[name] | {"alpha": st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])}
PARAMS["oml"] = PARAMS["oml"] | {"norm": st.sampled_from(["released", "per_label"])}
PARAMS["mulsupcon"] = PARAMS["mulsupcon"] | {"reduction": READINGS["reduction"]}
PARAMS["macl"] = READINGS
PARAMS["wg_macl"] = {key: value for key, value in READINGS.items() if key != "reduction"}


@pytest.mark.parametrize("name", ORDER)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=st.integers(0, 10**6), n=st.integers(1, 8), width=st.integers(1, 5))
def test_every_loss_is_its_formula_in_loops(name, data, seed, n, width):
    z, y = random_batch(seed, n, width)
    _, training = random_batch(seed + 1, 9, width)  # not the batch: unseen sets, absent labels
    params = data.draw(st.fixed_dictionaries({}, optional=PARAMS[name]))
    stats = LabelStatistics.from_labels(training)
    module = module_of(name, stats, z.shape[1], **params)
    if name in PROTOTYPED:
        c = module.prototypes.detach()
        expected = ref_prototyped(name, z, sets_of(y), c, params)
    else:
        expected = reference(name, (z @ z.T).tolist(), sets_of(y), sets_of(training), params)
    assert module(z, y).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


CHOICES = {
    "f": ["support", "min", "mean", "cooccurrence"],
    "h": ["mean", "min", "sum"],
    "scope": ["all", "positives", "negatives"],
    "reweight": [True, False],
    "reduction": ["pairs", "anchors", "images"],
}
COMBINED = [dict(zip(CHOICES, c, strict=True)) for c in product(*CHOICES.values())]


@pytest.mark.parametrize("choice", COMBINED, ids=lambda choice: "-".join(map(str, choice.values())))
def test_every_reading_of_macl_is_its_formula(choice):
    """None is left to the luck of what is drawn."""
    z, y = random_batch(1, 8, 5, rate=0.5)
    _, training = random_batch(2, 12, 5, rate=0.5)
    y[3], y[5:7], training[:, 4] = False, torch.eye(5)[0] > 0, False  # none, one alone, one unseen
    expected = ref_macl((z @ z.T).tolist(), sets_of(y), sets_of(training), **choice)
    found = loss_of("macl", z, y, LabelStatistics.from_labels(training), **choice)
    assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", QUEUED)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), m=st.integers(1, 6))
def test_a_queue_is_contrasted_as_its_papers_say(name, seed, n, m):
    """In LMSC the keys join the images; else they are all that an anchor sees, its own among
    them: what the formula gives for the anchor beside the keys, one anchor at a time."""
    z, y = random_batch(seed, n, 4)
    more, more_y = random_batch(seed + 2, m, 4, rate=0.5)
    _, training = random_batch(seed + 1, 9, 4)
    stats = LabelStatistics.from_labels(training)
    if name == "lmsc":
        module = module_of(name, stats, 4)
        c, sets = F.normalize(module.prototypes.detach()), sets_of(y)
        expected = ref_lmsc(z, sets, c, more, sets_of(more_y))
        found = module(z, y, keys=more, key_labels=more_y)
        assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        return
    keys, labels = torch.cat([F.normalize(z + 0.1), more]), torch.cat([y, more_y])
    found = loss_of(name, z, y, stats, keys=(keys, labels))
    # an anchor and the keys are a batch of which only the first row counts
    pairs = [Pairs.of(torch.cat([y[i : i + 1], labels]), torch.float64) for i in range(n)]
    given = (stats,) if LOSSES[name].needs_stats else ()
    above = below = 0
    for i in range(n):
        terms = LOSSES[name].function.weights(pairs[i], *given)
        rows = torch.cat([z[i : i + 1], keys])
        value = contrast(rows @ rows.T, terms, pairs[i].own)[0]
        size, positive = y[i].sum(), terms.W[0, 1:].sum() > 0
        above += value / size.clamp(min=1) if name.startswith("wg_") else value
        below += {"pairs": size, "images": 1, "active": positive}[terms.reduction]
    torch.testing.assert_close(found, above / max(below, 1), rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="key_labels has"):
        loss_of(name, z, y, stats, keys=(keys, labels[:-1]))


@pytest.mark.parametrize("dense", [256, 0])  # through autograd, and the kernel's own
@pytest.mark.parametrize("name", QUEUED)
def test_keys_get_no_gradient(name, dense, monkeypatch):
    """They come from the momentum encoder, which no gradient trains: to z's they are data."""
    monkeypatch.setattr(kernel, "DENSE", dense)
    z, y = random_batch(1, 7, 4, rate=0.5)
    keys, labels = random_batch(2, 9, 4, rate=0.5)
    _, (expected,) = gradient_beside(name, z, y, keys, labels)
    keys.requires_grad_()
    value, (found,) = gradient_beside(name, z, y, keys * 1.0, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert keys.grad is None and found.abs().max() > 0
    (none,) = torch.autograd.grad(value, keys, allow_unused=True)
    assert none is None


def gradient_beside(name, z, y, keys, labels):
    z = z.clone().requires_grad_()
    module = module_of(name, STATS, 4)
    value = module(z, y, keys=keys, key_labels=labels)
    return value, torch.autograd.grad(value, z, retain_graph=True)


def test_losses_without_a_queue_refuse_keys():
    for name in ("lproto", "lreg", "l_wo_reg"):
        with pytest.raises(ValueError, match=f"{name} takes no keys"):
            loss_of(name, keys=(Z, Y))


def test_supports_of_many_labels_give_the_same_loss():
    z, y = random_batch(3, 12, 30, rate=0.2)
    _, training = random_batch(4, 60, 30, rate=0.3)
    stats = LabelStatistics.from_labels(training)
    assert stats.support_table is None, "this many labels must take the other path"
    expected = ref_macl((z @ z.T).tolist(), sets_of(y), sets_of(training))
    assert loss_of("macl", z, y, stats).item() == pytest.approx(expected, rel=1e-9)


def test_simdis_weights_of_the_five_relations():
    """The anchor {0, 1, 2} beside an equal, disjoint, overlapping, sub- and superset."""
    rows = ["11100", "11100", "00011", "11010", "10000", "11111"]
    y = torch.tensor([[int(c) for c in row] for row in rows])
    W, T = pair_weights("simdis", y)
    positives = 4
    expected = torch.tensor([0, 1, 0, 2 / 3 / 2, 1 / 3, 1 / 3]) / positives
    torch.testing.assert_close(W[0], expected)
    assert W[5, 0] * 5 == pytest.approx(3 / 5), "seen from the superset, three of five are shared"
    assert (T == 0.3).all()


def test_weights_are_those_of_the_label_loop():
    _, y = random_batch(5, 20, 6, rate=0.3)
    W, _ = pair_weights("mulsupcon", y)
    loop = torch.zeros(20, 20)
    for i in range(20):
        for label in y[i].nonzero()[:, 0]:
            P = [p for p in range(20) if p != i and y[p, label]]
            for p in P:
                loop[i, p] += 1 / len(P)
    torch.testing.assert_close(W, loop)


def test_temperature_and_weights_of_macl_by_hand():
    W, T = pair_weights("macl", Y, STATS)
    assert T[0, 2] == pytest.approx(exp(-1.5 * 2 / 3) + 0.1 / log(1 + 125))  # h = (50 + 200) / 2
    assert T[4, 3] == pytest.approx(1 + 0.1 / log(51)), "no label shared"
    # {0, 1} is shared: support 30; label 0 has three other carriers, label 1 two
    assert W[0, 2] == pytest.approx((1 / 3 + 1 / 2) / log(31))
    assert pair_weights("macl", Y, STATS, scope="positives")[1][4, 3] == 1
    assert pair_weights("macl", Y, STATS, scope="negatives", temperature=0.3)[1][0, 2] == 0.3


def test_weights_of_prototype_losses_add_up():
    """LMSC shares out one unit a label, L-W/O-Reg one an anchor; LProto the same."""
    _, y = random_batch(6, 12, 4, rate=0.5)
    y[:, 0] = True
    W, _ = pair_weights("lmsc", y)
    torch.testing.assert_close(W.sum(dim=1), torch.ones(12))
    assert W.shape == (12, 16)
    W, _ = pair_weights("l_wo_reg", y)
    assert W.shape == (16, 16)
    torch.testing.assert_close(W.sum(dim=1), torch.ones(16))
    W, _ = pair_weights("lproto", y)
    torch.testing.assert_close(W, y / y.sum(dim=1, keepdim=True))
