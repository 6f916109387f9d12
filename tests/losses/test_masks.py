"""Candidates that count anchor by anchor: against loops, and the same in every form."""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F

from maclcore.losses import pairs as forms
from maclcore.losses.kernel import Terms, contrast
from maclcore.losses.pairs import Pairs, pairwise


def chosen(pairs, kind):
    """m_ia of label sets, (A, C): who is in an anchor's denominator, or how often."""
    masks = {
        # an image that shares a label, or has no more labels than the anchor
        "mask": (pairs.shared >= 1) | (pairs.candidate_size <= pairs.size[:, None]),
        "negatives": pairs.shared < 1,  # every positive is masked
        "weights": 2 * pairs.jaccard + (pairs.candidate_size == 1).to(pairs.y),
        "none": torch.zeros_like(pairs.shared),
    }
    return masks[kind]


def terms_of(pairs, temperature, kind, adaptive, attract_only=False):
    W = pairs.mean_over((pairs.shared >= 1).to(pairs.y))
    T = temperature * torch.exp(-pairs.jaccard) if adaptive else temperature
    return Terms(W, T, "active", chosen(pairs, kind), attract_only)


@pairwise
def masked(
    pairs: Pairs, *, temperature: float = 0.3, kind: str = "mask", adaptive: bool = True,
    attract_only: bool = False,
):  # fmt: skip
    return terms_of(pairs, temperature, kind, adaptive, attract_only)


@pairwise(layout="joint")
def joint(pairs: Pairs, *, temperature: float = 0.3, kind: str = "mask", adaptive: bool = True):
    return terms_of(pairs, temperature, kind, adaptive)


def in_loops(z, c, sets, others, own, kind, adaptive, temperature=0.3):
    """Mean over the anchors with a positive and a denominator, one pair at a time."""
    values = []
    for i, a in enumerate(sets):
        among = [j for j in range(len(others)) if not (own and i == j)]
        J = {j: len(a & others[j]) / len(a | others[j]) if a | others[j] else 0.0 for j in among}
        x = {j: float(z[i] @ c[j]) / (temperature * (exp(-J[j]) if adaptive else 1)) for j in among}
        m = {
            "mask": lambda j, a=a: float(bool(a & others[j]) or len(others[j]) <= len(a)),
            "negatives": lambda j, a=a: float(not a & others[j]),
            "weights": lambda j, J=J: 2 * J[j] + (len(others[j]) == 1),
            "none": lambda j: 0.0,
        }[kind]
        denominator = sum(m(j) * exp(x[j]) for j in among)
        P = [j for j in among if a & others[j]]
        if P and denominator:
            values.append(sum(log(denominator) - x[j] for j in P) / len(P))
    return sum(values) / max(len(values), 1)


def batch(seed, n, width, rate=0.4, dim=4):
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(n, width, generator=generator) < rate
    return F.normalize(torch.randn(n, dim, generator=generator, dtype=torch.float64)), y


def sets_of(y):
    return [frozenset(row.nonzero()[:, 0].tolist()) for row in y]


KINDS = ("mask", "negatives", "weights", "none")


@pytest.mark.parametrize("dense", [256, 0])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_the_formula_in_loops(kind, adaptive, dense, monkeypatch):
    monkeypatch.setattr(forms, "DENSE", dense)
    for seed, n in ((0, 1), (1, 2), (2, 5), (3, 9), (4, 9)):
        z, y = batch(seed, n, 4)
        sets = sets_of(y)
        expected = in_loops(z, z, sets, sets, True, kind, adaptive)
        found = masked(z, y, kind=kind, adaptive=adaptive)
        assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        keys, labels = batch(seed + 9, 6, 4)
        expected = in_loops(z, keys, sets, sets_of(labels), False, kind, adaptive)
        found = masked(z, y, kind=kind, adaptive=adaptive, keys=keys, key_labels=labels)
        assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        prototypes = torch.eye(4, dtype=torch.float64)
        both = torch.cat([z, prototypes])
        sets = [*sets, *map(frozenset, ([0], [1], [2], [3]))]
        expected = in_loops(both, both, sets, sets, True, kind, adaptive)
        found = joint(z, y, prototypes, kind=kind, adaptive=adaptive)
        assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


FORMS = {  # (DENSE, TILE, MANY) as in test_losses
    "dense": (10**6, 1 << 18, 10**6),
    "one tile": (0, 1 << 18, 10**6),
    "tiles": (0, 1, 10**6),
    "table": (0, 1, 1),
}


def with_gradients(z, y, temperature, **params):
    z = z.clone().requires_grad_()
    value = masked(z, y, temperature=temperature, **params)
    inputs = [z, *([temperature] if isinstance(temperature, torch.Tensor) else [])]
    return value.detach(), *torch.autograd.grad(value, inputs, materialize_grads=True)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_the_kernel_gives_the_same(kind, adaptive, learned, monkeypatch):
    z, _ = batch(7, 100, 1)
    y = batch(8, 9, 5)[1][torch.arange(100) % 9]
    y[90:] = batch(9, 10, 5)[1]
    for attract_only in (False, True):
        results = {}
        for form, sizes in FORMS.items():
            for name, value in zip(("DENSE", "TILE", "MANY"), sizes, strict=True):
                monkeypatch.setattr(forms, name, value)
            temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
            given = {"kind": kind, "adaptive": adaptive, "attract_only": attract_only}
            results[form] = with_gradients(z, y, temperature if learned else 0.4, **given)
        for form, found in results.items():
            torch.testing.assert_close(
                found, results["dense"], rtol=1e-10, atol=1e-12, msg=f"{form} {attract_only}"
            )
        assert (results["dense"][1].abs().max() > 1e-6) == (kind != "none")


@pytest.mark.parametrize("dense", [256, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_by_finite_differences(kind, dense, monkeypatch):
    monkeypatch.setattr(forms, "DENSE", dense)
    _, y = batch(3, 8, 4)
    x = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    for inputs in ([x.requires_grad_()], [x, temperature]):
        assert torch.autograd.gradcheck(
            lambda x, t=0.4: masked(F.normalize(x), y, kind=kind, temperature=t), inputs
        )


@pytest.mark.parametrize("dense", [256, 0])
def test_a_mask_holds_at_sharp_temperatures_and_in_single_precision(dense, monkeypatch):
    """At s / T of a hundred, one masked candidate must not come back by rounding or overflow."""
    monkeypatch.setattr(forms, "DENSE", dense)
    z, y = batch(3, 12, 4)
    for kind in KINDS:
        found = with_gradients(z.float(), y, 0.01, kind=kind, adaptive=False)
        expected = with_gradients(z, y, 0.01, kind=kind, adaptive=False)
        for a, b in zip(found, expected, strict=True):
            assert a.isfinite().all()
            torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-3)
    sets = sets_of(y)
    expected = in_loops(z, z, sets, sets, True, "negatives", False, 0.01)
    found = masked(z, y, kind="negatives", adaptive=False, temperature=0.01)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_an_anchor_whose_candidates_are_all_masked_counts_as_one_without_a_positive():
    z, y = batch(5, 6, 3)
    y[:, 0] = True  # all share a label, so nobody is a negative
    value, gradient = with_gradients(z, y, 0.3, kind="negatives")
    assert value == 0 and (gradient == 0).all()
    more = torch.cat([y, torch.zeros(1, 3, dtype=torch.bool)])  # a negative of all others
    z = torch.cat([z, F.normalize(torch.ones(1, 4, dtype=torch.float64))])
    sets = sets_of(more)
    expected = in_loops(z, z, sets, sets, True, "negatives", True)
    assert expected != 0 and masked(z, more, kind="negatives").item() == pytest.approx(expected)


def test_a_mask_of_ones_changes_nothing_and_one_for_all_anchors_is_a_row():
    z, y = batch(6, 9, 4)
    pairs = Pairs.of(y, z.dtype)
    W = pairs.mean_over(pairs.jaccard)
    ones, row = torch.ones_like(W), torch.arange(9, dtype=z.dtype) / 4 + 0.5
    s = z @ z.T
    for m, same in ((ones, None), (row.expand(9, 9), row)):
        a = contrast(s, Terms(W, 0.3, "active", m), pairs.own)
        b = contrast(s, Terms(W, 0.3, "active", same), pairs.own)
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def test_no_more_than_a_tile_of_anchors_is_held_at_a_time(monkeypatch):
    monkeypatch.setattr(forms, "DENSE", 0)
    monkeypatch.setattr(forms, "MANY", 10**6)
    monkeypatch.setattr(forms, "TILE", 40 * 600)
    held = []

    @pairwise
    def watched(pairs: Pairs, *, temperature: float = 0.3):
        held.append(len(pairs.y))
        return terms_of(pairs, temperature, "mask", True)

    z, y = batch(1, 600, 5)
    for temperature in (0.3, torch.tensor(0.3, dtype=torch.float64, requires_grad=True)):
        held.clear()
        watched(z.clone().requires_grad_(), y, temperature=temperature).backward()
        assert max(held) == 40 and sum(held) >= 600
    sets = y[torch.arange(600) % 7]
    monkeypatch.setattr(forms, "MANY", 1)
    held.clear()
    watched(z, sets)
    assert held == [len(torch.unique(sets, dim=0))], "a table over the distinct label sets"


def test_a_multiplicity_of_another_shape_is_named():
    @pairwise
    def wrong(pairs: Pairs, *, temperature: float = 0.3):
        return Terms(pairs.jaccard, temperature, "active", pairs.jaccard[:, :1])

    z, y = batch(6, 9, 4)
    with pytest.raises(ValueError, match=r"multiplicity must be \(C,\) = \(9,\) or .*got \(9, 1\)"):
        wrong(z, y)
