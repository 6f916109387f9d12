"""The losses of degrees, of smooth ranks and of parts, against loops and by what must hold."""

from math import exp, log

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from references import STATS, Y, Z, jac, module_of

from maclcore.labels import LabelStatistics
from maclcore.losses import LOSSES, build_loss, graded, oml, pairs, ranks
from maclcore.losses.parts import Part, parts
from maclcore.models.network import Head

OURS = (
    "graded", "gain", "soft_jaccard", "hap", "smooth_ap", "graded_lmsc", "four_parts",
    "balanced_parts",
)  # fmt: skip
SETS = [set(np.flatnonzero(row)) for row in Y.numpy()]
LEVELS = (0.0, 0.4, 0.6, 0.8, 1.0)


def sigmoid(x):
    return 1 / (1 + exp(-x)) if x > 0 else exp(x) / (1 + exp(x))


def positives(sets, i, level):
    return [p for p in range(len(sets)) if p != i and sets[i] & sets[p]
            and jac(sets[i], sets[p]) >= level - 1e-9]  # fmt: skip


def mean(values):
    return sum(values) / len(values) if values else 0.0


def ref_graded(s, sets, temperature=0.1, levels=LEVELS):
    total = 0.0
    for level in levels:
        anchors = []
        for i in range(len(sets)):
            P = positives(sets, i, level)
            N = [a for a in range(len(sets)) if a != i and a not in P]
            if P:
                anchors.append(mean([
                    log(1 + sum(exp((s[i][a] - s[i][p]) / temperature) for a in N)) for p in P
                ]))  # fmt: skip
        total += mean(anchors)
    return total / len(levels)


def ref_targets(s, sets, target, temperature):
    """Mean over anchors of the cross-entropy with the normalised targets."""
    anchors = []
    for i in range(len(sets)):
        rest = [a for a in range(len(sets)) if a != i]
        q = {p: target(sets[i], sets[p]) for p in rest}
        if sum(q.values()) > 0:
            below = log(sum(exp(s[i][a] / temperature) for a in rest))
            anchors.append(sum(
                -q[p] / sum(q.values()) * (s[i][p] / temperature - below) for p in rest
            ))  # fmt: skip
    return mean(anchors)


def ref_ap(s, relevance, temperature):
    """1 - Σ_p [r_pp + Σ_k r_pk σ] / R_p / Σ_p r_pp of one query; None if nothing is relevant."""
    items = range(len(relevance))
    if not (total := sum(relevance[p][p] for p in items)):
        return None
    found = 0.0
    for p in items:
        above = {k: sigmoid((s[k] - s[p]) / temperature) for k in items if k != p}
        counted = relevance[p][p] + sum(relevance[p][k] * share for k, share in above.items())
        found += counted / (1 + sum(above.values()))
    return 1 - found / total


def ref_hap(s, sets, temperature=0.05):
    queries = []
    for i in range(len(sets)):
        rest = [k for k in range(len(sets)) if k != i]
        J = [jac(sets[i], sets[k]) for k in rest]
        queries.append(
            ref_ap([s[i][k] for k in rest], [[min(a, b) for b in J] for a in J], temperature)
        )
    return mean([value for value in queries if value is not None])


def ref_smooth_ap(s, sets, temperature=0.05, levels=LEVELS[:4]):
    total = 0.0
    for level in levels:
        queries = []
        for i in range(len(sets)):
            rest, P = [k for k in range(len(sets)) if k != i], positives(sets, i, level)
            both = [[float(a in P and b in P) for b in rest] for a in rest]
            queries.append(ref_ap([s[i][k] for k in rest], both, temperature))
        total += mean([value for value in queries if value is not None])
    return total / len(levels)


def reference(name, s, sets, **params):
    if name == "gain":
        temperature = params.get("temperature", 0.1)
        return ref_targets(s, sets, lambda a, b: 2 ** len(a & b) - 1, temperature)
    if name == "soft_jaccard":
        tau, shared = params.get("target_temperature", 0.2), params.get("shared", 0.0)
        return ref_targets(
            s, sets,
            lambda a, b: exp((jac(a, b) + shared * len(a & b) / len(a)) / tau) if a and b else 0.0,
            params.get("temperature", 0.2),
        )  # fmt: skip
    return {"graded": ref_graded, "hap": ref_hap, "smooth_ap": ref_smooth_ap}[name](
        s, sets, **params
    )


def batch(n, labels=5, dim=8, seed=0, share=0.4):
    rng = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(n, dim, generator=rng, dtype=torch.float64), dim=1)
    return z, (torch.rand(n, labels, generator=rng) < share).long()


def own(name, y, dim, **params):
    """The loss as a module, in float64, with prototypes of a length of their own."""
    module = build_loss(name, LabelStatistics.from_labels(y.numpy()), embedding_dim=dim, **params)
    return module.double()


@pytest.mark.parametrize("name", OURS[:5])
@pytest.mark.parametrize("seed", range(6))
def test_the_formula_in_loops(name, seed):
    z, y = (Z, Y) if not seed else batch(9, seed=seed, share=0.2 + 0.1 * seed)
    sets = [set(np.flatnonzero(row)) for row in y.numpy()]
    s = (z @ z.T).tolist()
    found = own(name, y, z.shape[1])(z, y).item()
    assert found == pytest.approx(reference(name, s, sets), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("graded", {"temperature": 0.7, "levels": "0.5 1"}),
        ("gain", {"temperature": 0.5}),
        ("soft_jaccard", {"target_temperature": 0.5, "shared": 1.0, "temperature": 0.3}),
        ("hap", {"temperature": 0.3}),
        ("smooth_ap", {"temperature": 0.3, "levels": "0 1"}),
    ],
)
def test_parameters_are_those_of_the_formula(name, params):
    given = {key: value if key != "levels" else [float(part) for part in value.split()]
             for key, value in params.items()}  # fmt: skip
    z, y = batch(9, seed=3)
    sets = [set(np.flatnonzero(row)) for row in y.numpy()]
    expected = reference(name, (z @ z.T).tolist(), sets, **given)
    assert own(name, y, 8, **params)(z, y).item() == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    """Three images: 0 and 1 of equal labels at a right angle, 2 shares a half, beside 0.

    s_01 = 0, s_02 = 1, s_12 = 0; J_01 = 1, J_02 = J_12 = 1/2.
    """
    z = torch.tensor([[1.0, 0], [0, 1], [1, 0]], dtype=torch.float64)
    y = torch.tensor([[1, 1], [1, 1], [1, 0]])
    # levels .6, .8 and 1: (0, 1) with the negative 2, log(1 + e^{(1 - 0)/1}) for 0, log 2 for 1;
    # levels 0 and .4 have no negatives
    by_hand = 3 / 5 * (log(1 + np.e) + log(2)) / 2
    assert graded(z, y, temperature=1.0).item() == pytest.approx(by_hand)
    # gain: 2^2 - 1 = 3 for the equal pair, 2^1 - 1 = 1 for the others
    below = {0: log(1 + np.e), 1: log(2), 2: log(1 + np.e)}
    by_hand = ((0.75 * (below[0] - 0) + 0.25 * (below[0] - 1)) + below[1]
               + (0.5 * (below[2] - 1) + 0.5 * below[2])) / 3  # fmt: skip
    assert own("gain", y, 2, temperature=1.0)(z, y).item() == pytest.approx(by_hand)
    # H-AP at a step as sharp as can be: query 0 finds 2 before 1, query 1 has a tie
    hap_0 = 1 - ((0.5 / 1) + (1 + 0.5) / 2) / 1.5
    hap_1 = 1 - ((1 + 0.25) / 1.5 + (0.5 + 0.25) / 1.5) / 1.5
    hap_2 = 1 - (0.5 / 1 + (0.5 + 0.5) / 2) / 1.0
    found = own("hap", y, 2, temperature=1e-3)(z, y).item()
    assert found == pytest.approx((hap_0 + hap_1 + hap_2) / 3)


@pytest.mark.parametrize("name", OURS)
def test_gradients_are_those_of_finite_differences(name):
    z, y = batch(6, seed=1)
    params = {"temperature": 0.5} if name in OURS[:5] else {"graded_temperature": 0.5}
    module = own(name, y, 8, **params)

    def value(raw, *prototypes):
        if prototypes:
            module.prototypes = None
            module.__dict__["prototypes"] = prototypes[0]
        unit = F.normalize(raw, dim=1)
        given = [] if not prototypes else [prototypes[0]]
        return LOSSES[name].function(unit, y, *given, check=False, **module.params)

    inputs = [z.clone().requires_grad_()]
    if module.prototypes is not None:
        inputs.append(module.prototypes.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(value, inputs, atol=1e-6)


@pytest.mark.parametrize("name", OURS)
def test_neither_order_nor_rotation_matters(name):
    z, y = batch(12, seed=2)
    module = own(name, y, 8)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert module(z[order], y[order]).item() == pytest.approx(module(z, y).item(), abs=1e-12)
    if name in OURS[:5]:  # parts have columns of their own
        turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
        assert module(z @ turn, y).item() == pytest.approx(module(z, y).item(), abs=1e-12)


@pytest.mark.parametrize("name", OURS)
def test_large_batches_in_pieces_give_the_same(name, monkeypatch):
    z, y = batch(40, seed=4)
    module = own(name, y, 8)

    def both():
        leaf = z.clone().requires_grad_()
        value = module(leaf, y)
        return value.item(), torch.autograd.grad(value, leaf)[0]

    value, gradient = both()
    monkeypatch.setattr(pairs, "DENSE", 8)
    monkeypatch.setattr(pairs, "TILE", 1)
    monkeypatch.setattr(ranks, "CHUNK", 3 * 40**2)
    in_pieces, gradient_in_pieces = both()
    assert in_pieces == pytest.approx(value, abs=1e-12)
    assert torch.allclose(gradient, gradient_in_pieces, atol=1e-12)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    "kind", ["alone", "nothing shared", "no labels", "all equal", "duplicates"]
)
def test_corners_are_finite(name, kind):
    z, y = batch(6, labels=6, seed=5)
    y = {"nothing shared": torch.eye(6).long(), "no labels": torch.zeros(6, 6).long(),
         "all equal": torch.ones(6, 6).long()}.get(kind, y)  # fmt: skip
    if kind == "alone":
        z, y = z[:1], y[:1]
    if kind == "duplicates":
        z = z[:1].expand(6, 8)
    z = z.clone().requires_grad_()
    value = module_of(name, STATS if y.shape[1] == 4 else LabelStatistics.from_labels(
        np.eye(6)), dim=8)(z, y)  # fmt: skip
    (gradient,) = torch.autograd.grad(value, z, allow_unused=True)
    assert value.isfinite() and (gradient is None or gradient.isfinite().all())
    if name in ("graded", "gain", "hap", "smooth_ap") and kind in ("alone", "nothing shared"):
        assert value == 0


def test_single_labels_make_graded_supcon_without_other_positives():
    """For one label an image every level is the same: each positive against the negatives."""
    z, y = batch(10, seed=6)
    y = F.one_hot(torch.arange(10) % 3, 5)
    every = graded(z, y, temperature=0.3).item()
    assert every == pytest.approx(graded(z, y, temperature=0.3, levels="1").item(), abs=1e-12)
    s, same = z @ z.T / 0.3, (y @ y.T > 0) & ~torch.eye(10, dtype=torch.bool)
    rest = torch.where(y @ y.T > 0, -torch.inf, s).logsumexp(dim=1)
    each = torch.log1p((rest[:, None] - s).exp())
    expected = (torch.where(same, each, 0).sum(1) / same.sum(1)).mean()
    assert every == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("name", ["hap", "smooth_ap"])
def test_a_perfect_ranking_has_no_loss_and_the_reverse_has_the_most(name):
    """One query among eight, its labels nested, so that J falls from image to image."""
    y = torch.tril(torch.ones(8, 8)).flip(0).long()
    angle = torch.linspace(0, 1.5, 8, dtype=torch.float64)
    z = torch.stack([angle.cos(), angle.sin()], dim=1)
    module = own(name, y, 2, temperature=1e-3)
    best = module(z, y).item()
    z = z.clone()
    assert best < 0.05 < module(z.flip(0).roll(3, 0), y).item()
    # of the first query alone nothing is out of order
    J = [jac(set(range(8)), set(range(8 - k))) for k in range(1, 8)]
    assert sorted(J, reverse=True) == J


def test_an_average_precision_is_that_of_the_metric():
    """At a step as sharp as can be smooth AP is 1 - mAP of the ranking."""
    z, y = batch(30, seed=7)
    s = z @ z.T
    shared = (y @ y.T > 0).numpy()
    values = []
    for i in range(30):
        order = [k for k in s[i].argsort(descending=True).tolist() if k != i]
        hits = shared[i][order]
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, 30)
            values.append(precision[hits].mean())
    found = own("smooth_ap", y, 8, temperature=1e-5, levels="0")(z, y).item()
    assert found == pytest.approx(1 - np.mean(values), abs=1e-6)


def test_oml_is_one_of_them_still():
    z, y = batch(9, seed=8)
    gain = torch.stack([torch.einsum("jl,kl,l->jk", y, y, y[q]) for q in range(9)]).double()
    for norm, value in (("released", None), ("per_label", None)):
        value = oml(z, y, temperature=0.1, norm=norm)
        assert value.isfinite() and value < 1
    assert ranks.ranked(z @ z.T / 0.1, lambda rows: gain[rows]).isfinite()


def test_parts_see_their_columns_alone_and_their_shares_are_held():
    z, y = batch(7, seed=9)
    module = own("graded_lmsc", y, 8)
    u, v = (F.normalize(part, dim=1) for part in z.split(4, dim=1))
    of_v = LOSSES["lmsc"].function(v, y, module.prototypes[:, 4:], temperature=0.1)
    length = z[:, :4].square().sum(dim=1)
    held = 10 * ((length - 0.5).square() + (1 - length - 0.5).square()).mean()
    expected = graded(u, y, temperature=0.2) + of_v + held
    assert module(z, y).item() == pytest.approx(expected.item(), abs=1e-12)
    uneven = own("graded_lmsc", y, 8, graded=3, lmsc=1, hold=2.0)  # shares act after training
    uneven.prototypes = module.prototypes
    held = 2 * ((length - 0.5).square() + (1 - length - 0.5).square()).mean()
    expected = graded(u, y, temperature=0.2) + of_v + held
    assert uneven(z, y).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("shares", [(3, 1), (0, 1), (0.2, 0.6)])
def test_settled_rows_have_the_shares_in_their_cosine(shares):
    z, y = batch(7, seed=9)
    halves = torch.cat([F.normalize(part, dim=1) for part in z.split(4, dim=1)], dim=1) * 0.5**0.5
    module = own("graded_lmsc", y, 8, graded=shares[0], lmsc=shares[1])
    settled = module.settled(halves)
    assert settled.norm(dim=1).tolist() == pytest.approx([1] * 7)
    cosines = [part @ part.T for part in (halves[:, :4] * 2**0.5, halves[:, 4:] * 2**0.5)]
    expected = (shares[0] * cosines[0] + shares[1] * cosines[1]) / sum(shares)
    assert torch.allclose(settled @ settled.T, expected, atol=1e-6)
    head = Head(5, 8).double()
    features = torch.randn(7, 5, dtype=torch.float64)
    wanted = module.settled(head(features))
    head.stretch(module.lengths.double())
    assert torch.allclose(head(features), wanted, atol=1e-6)


def test_equal_shares_and_undivided_losses_leave_embeddings_as_they_are():
    z, y = batch(7, seed=9)
    for name, params in (
        ("graded_lmsc", {}),
        ("graded_lmsc", {"graded": 2, "lmsc": 2}),
        ("oml", {}),
    ):
        module = own(name, y, 8, **params)
        assert module.lengths is None and module.settled(z) is z


def test_the_cosine_of_the_whole_is_that_of_the_parts_by_their_shares():
    z, _ = batch(2, seed=1)
    u, v = z.split(4, dim=1)
    share = F.normalize(u, dim=1) * 0.6**0.5, F.normalize(v, dim=1) * 0.4**0.5
    whole = torch.cat(share, dim=1)
    cosines = [torch.dot(*F.normalize(part, dim=1)) for part in (u, v)]
    assert (whole[0] @ whole[1]).item() == pytest.approx(0.6 * cosines[0] + 0.4 * cosines[1])


def test_parts_have_the_parameters_of_their_losses():
    defaults = LOSSES["four_parts"].defaults
    assert defaults["graded_temperature"] == 0.3 and defaults["oml_temperature"] == 0.01
    assert defaults["oml_norm"] == "released" and defaults["hap_temperature"] == 0.05
    assert [defaults[name] for name in ("graded", "hap", "lproto", "oml", "hold")] == [
        0.25, 0.25, 0.25, 0.25, 10.0,
    ]  # fmt: skip
    assert LOSSES["four_parts"].needs_prototypes
    balanced = LOSSES["balanced_parts"].defaults
    assert [balanced[name] for name in ("graded", "hap", "lproto", "oml")] == [0, 0.5, 0.125, 0.375]
    mine = parts("mine", Part(LOSSES["gain"].function, 1.0), Part(oml, 2.0))
    assert "prototypes" not in mine.__signature__.parameters


@pytest.mark.parametrize(
    ("name", "params", "match"),
    [
        ("graded", {"levels": "0 .4 .4"}, "numbers in \\[0, 1\\]"),
        ("graded", {"levels": "a b"}, "numbers in \\[0, 1\\]"),
        ("graded", {"levels": 3}, "numbers in \\[0, 1\\]"),
        ("smooth_ap", {"levels": ""}, "numbers in \\[0, 1\\]"),
        ("smooth_ap", {"levels": "2"}, "numbers in \\[0, 1\\]"),
        ("hap", {"temperature": 0}, "temperature must be positive"),
        ("soft_jaccard", {"target_temperature": -1}, "target_temperature must be positive"),
        ("graded_lmsc", {"graded": -0.1}, "shares must be 0 or more"),
        ("graded_lmsc", {"graded": float("inf")}, "shares must be 0 or more"),
        ("graded_lmsc", {"graded": 0.0, "lmsc": 0.0}, "not all 0"),
        ("graded_lmsc", {"hold": 0.0}, "must be positive"),
        ("graded_lmsc", {"lmsc_temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_values_that_cannot_work_are_refused(name, params, match):
    with pytest.raises(ValueError, match=match):
        build_loss(name, STATS, embedding_dim=4, **params)


def test_an_embedding_of_fewer_columns_than_parts_is_refused():
    with pytest.raises(ValueError, match="four_parts has 4 parts, z has 3 columns"):
        build_loss("four_parts", STATS, embedding_dim=3)


def test_an_unknown_parameter_names_the_nearest():
    with pytest.raises(TypeError, match="graded_temperature"):
        build_loss("graded_lmsc", STATS, embedding_dim=4, graded_temprature=1)


def test_the_function_itself_takes_no_unknown_parameter():
    z, y = torch.eye(4)[:3], torch.ones(3, 2, dtype=torch.bool)
    with pytest.raises(TypeError, match="unexpected keyword argument 'lmsc_temprature'"):
        LOSSES["graded_lmsc"].function(z, y, torch.ones(2, 4), lmsc_temprature=0.1)
