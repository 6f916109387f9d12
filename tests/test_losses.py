"""The losses against reference values, loops over pairs, and the properties they must have.

The references below are written from the formulas, one pair and one label at a time in float64.
"""

import inspect
from math import exp, log

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from maclcore.labels import LabelStatistics
from maclcore.losses import COLOURS, LOSSES, build_loss, macl, mulsupcon, pair_weights, supcon_any
from maclcore.losses.pairs import REDUCTIONS, Pairs, contrast

ORDER = "supcon_all supcon_any lbase mulsupcon wg_mulsupcon simdis macl wg_macl".split()

# Six images with four labels; training counts 50, 200, 20, 8, of which 30 images have {0, 1}.
Z = F.normalize(
    torch.tensor(
        [[2, 1, 0], [1, 2, 1], [2, 2, 1], [-1, 0, 2], [2, -1, 0], [1, -1, 1]], dtype=torch.float64
    )
)
Y = torch.tensor([[int(c) for c in row] for row in "1100 0100 1110 0011 1000 1000".split()])
STATS = LabelStatistics.from_labels(
    np.repeat(
        [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        [30, 20, 170, 20, 8],
        axis=0,
    )
)


def loss_of(name, z=Z, y=Y, stats=STATS, **params):
    return build_loss(name, stats, **params)(z, y)


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


# --- independent references -----------------------------------------------------------------------


def log_p(s, T, i, p):
    """log of exp(s_ip / T_ip) over the sum on all other images."""
    others = [a for a in range(len(s)) if a != i]
    return s[i][p] / T[i][p] - log(sum(exp(s[i][a] / T[i][a]) for a in others))


def constant(n, temperature):
    return [[temperature] * n for _ in range(n)]


def ref_supcon(s, sets, positive, weight, temperature, count_all):
    """Mean over anchors of the mean over positives, each positive times its weight."""
    n, T, terms = len(s), constant(len(s), temperature), []
    for i in range(n):
        P = [p for p in range(n) if p != i and positive(sets[i], sets[p])]
        if P:
            values = [weight(sets[i], sets[p]) * log_p(s, T, i, p) for p in P]
            terms.append(-sum(values) / len(P))
        elif count_all:
            terms.append(0.0)
    return sum(terms) / max(len(terms), 1)


def ref_lbase(s, sets, temperature):
    n, T, terms = len(s), constant(len(s), temperature), []
    for i in range(n):
        J = {p: jac(sets[i], sets[p]) for p in range(n) if p != i}
        if sum(J.values()) > 0:
            terms.append(-sum(j * log_p(s, T, i, p) for p, j in J.items()) / sum(J.values()))
    return sum(terms) / max(len(terms), 1)


def ref_label_wise(s, sets, w, T, reduction):
    """MulSupCon's loop over anchors and labels, with w_ip and T_ip."""
    n, total = len(s), 0.0
    for i in range(n):
        anchor = 0.0
        for label in sets[i]:
            P = [p for p in range(n) if p != i and label in sets[p]]
            for p in P:
                anchor -= w(i, p) * log_p(s, T, i, p) / len(P)
        total += anchor / (max(len(sets[i]), 1) if reduction == "images" else 1)
    divisor = sum(map(len, sets)) if reduction == "pairs" else n
    return total / max(divisor, 1)


def jac(a, b):
    return len(a & b) / len(a | b) if a | b else 0.0


def ref_macl(
    s, sets, training, *, alpha=1.5, beta=0.1, temperature=1.0, f="support", h="mean",
    reweight=True, scope="all", reduction="pairs",
):  # fmt: skip
    def support(labels):
        return sum(labels <= t for t in training)

    def mean(values):
        return sum(values) / max(len(values), 1)

    def w(i, p):
        a, b = sets[i], sets[p]
        value = {
            "support": lambda: support(a & b),
            "min": lambda: min(support({k}) for k in a & b),
            "mean": lambda: mean([support({k}) for k in a & b]),
            "cooccurrence": lambda: mean([support({k, m}) for k in a for m in b]),
        }[f]()
        return 1 / (log(1 + max(value, 1)) + 1e-8) if reweight else 1.0

    def T(i, a):
        counts = [support({k}) for k in sets[i]] or [1]
        value = max({"mean": mean, "min": min, "sum": sum}[h](counts), 1)
        positive = bool(sets[i] & sets[a])
        if scope == "all" or positive == (scope == "positives"):
            return temperature * (exp(-alpha * jac(sets[i], sets[a])) + beta / log(1 + value))
        return temperature

    n = len(s)
    return ref_label_wise(s, sets, w, [[T(i, a) for a in range(n)] for i in range(n)], reduction)


def reference(name, s, sets, training, params):
    if name.startswith("wg_"):
        params = params | {"reduction": "images"}
    if name in ("macl", "wg_macl"):
        return ref_macl(s, sets, training, **params)
    temperature, reduction = params.get("temperature", 0.3), params.get("reduction")
    if name in ("mulsupcon", "wg_mulsupcon"):
        T = constant(len(s), temperature)
        return ref_label_wise(s, sets, lambda i, p: 1.0, T, reduction or "pairs")
    if name == "lbase":
        return ref_lbase(s, sets, temperature)
    positive, weight = {
        "supcon_all": (lambda a, b: bool(a) and a == b, lambda a, b: 1.0),
        "supcon_any": (lambda a, b: bool(a & b), lambda a, b: 1.0),
        "simdis": (lambda a, b: bool(a & b), lambda a, b: len(a & b) / len(a) / (1 + len(b - a))),
    }[name]
    return ref_supcon(s, sets, positive, weight, temperature, reduction == "anchors")


def sets_of(y):
    return [frozenset(np.flatnonzero(row).tolist()) for row in np.asarray(y)]


def random_batch(seed, n, width, dim=4, rate=None):
    """Unit embeddings and labels of any density: empty rows, singletons and duplicates occur."""
    rng = np.random.default_rng(seed)
    y = rng.random((n, width)) < (rng.random() if rate is None else rate)
    return F.normalize(torch.from_numpy(rng.normal(size=(n, dim)))), torch.from_numpy(y)


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
    expected = reference(name, (z @ z.T).tolist(), sets_of(y), sets_of(training), params)
    assert loss_of(name, z, y, stats, **params).item() == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


def test_supports_of_many_labels_give_the_same_loss():
    z, y = random_batch(3, 12, 30, rate=0.2)
    _, training = random_batch(4, 60, 30, rate=0.3)
    stats = LabelStatistics.from_labels(training)
    assert stats.support_table is None, "this many labels must take the other path"
    expected = ref_macl((z @ z.T).tolist(), sets_of(y), sets_of(training))
    assert loss_of("macl", z, y, stats).item() == pytest.approx(expected, rel=1e-9)


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORDER)
def test_gradient_by_finite_differences(name):
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.cat([Y, torch.zeros(1, 4, dtype=Y.dtype)])
    loss = build_loss(name, STATS)
    assert torch.autograd.gradcheck(lambda x: loss(F.normalize(x), y), x.requires_grad_())


def gradient_of_similarities(name, s, **params):
    """dL/ds, (N, N), of the six images at given similarities."""
    pairs = Pairs.of(Y.bool(), torch.float64)
    given = (STATS,) if LOSSES[name].needs_stats else ()
    W, T, reduction = LOSSES[name].function.weights(pairs, *given, **params)
    a, b = REDUCTIONS[reduction](W, pairs.size)
    s = s.clone().requires_grad_()
    (a @ contrast(s, W, T, pairs.other) / b.sum()).backward()
    return s.grad


@pytest.mark.parametrize("name", ORDER)
def test_a_common_shift_of_similarities_matters_to_macl_alone(name):
    grad = gradient_of_similarities(name, Z @ Z.T)
    assert (grad.diagonal() == 0).all(), "an anchor is not its own contrast"
    rows = grad.sum(dim=1).abs()
    assert rows.max() > 1e-2 if "macl" in name else rows.max() < 1e-15


@pytest.mark.parametrize("name", ["macl", "wg_macl"])
def test_macl_pulls_everything_together_and_a_negative_alpha_apart(name):
    """From orthogonal images: positives have the smallest T, so attraction outweighs repulsion."""
    orthogonal = torch.zeros(6, 6, dtype=torch.float64)
    assert gradient_of_similarities(name, orthogonal).sum() < -0.02
    assert gradient_of_similarities(name, orthogonal, alpha=-1.5).sum() > 0.02


def test_corrected_gradient_of_the_paper():
    """Eq. 7 repels by Σ_l (1/|P_il|) Σ_p w_ip, the sum of W; the paper prints |y_i| there."""
    pairs = Pairs.of(Y.bool(), torch.float64)
    W, T, _ = LOSSES["macl"].function.weights(pairs, STATS)
    for i in range(6):
        z = Z[i].clone().requires_grad_()  # the other images are constants, as in the paper
        row = [m[i : i + 1] for m in (W, T, pairs.other)]
        contrast((Z @ z)[None], *row).sum().backward()
        e = torch.exp(Z @ Z[i] / T[i]) * pairs.other[i]
        attraction, repulsion = -(W[i] / T[i]) @ Z, (e / e.sum() / T[i]) @ Z
        torch.testing.assert_close(z.grad, attraction + W[i].sum() * repulsion, rtol=1e-9, atol=0)
        printed = attraction + Y[i].sum() * repulsion
        assert (printed - z.grad).norm() > 0.5 * z.grad.norm()


# --- properties -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORDER)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_order_of_images_and_of_labels_and_rotation_do_not_matter(name, seed):
    z, y = random_batch(seed, 9, 5, rate=0.4)
    _, training = random_batch(seed + 1, 20, 5, rate=0.4)
    value = loss_of(name, z, y, LabelStatistics.from_labels(training))
    rng = torch.Generator().manual_seed(seed)
    images, labels = torch.randperm(9, generator=rng), torch.randperm(5, generator=rng)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=rng))
    stats = LabelStatistics.from_labels(training[:, labels])
    again = loss_of(name, (z @ rotation)[images], y[images][:, labels], stats)
    torch.testing.assert_close(again, value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tau", [0.1, 1.0])
@pytest.mark.parametrize("suffix, reduction", [("", "pairs"), ("", "anchors"), ("wg_", None)])
def test_macl_without_its_mechanisms_is_mulsupcon(tau, suffix, reduction):
    z, y = random_batch(0, 30, 6, rate=0.3)
    stats = LabelStatistics.from_labels(y)
    chosen = {"reduction": reduction} if reduction else {}
    plain = loss_of(
        f"{suffix}macl", z, y, stats, alpha=0, beta=0, reweight=False, temperature=tau, **chosen
    )
    expected = loss_of(f"{suffix}mulsupcon", z, y, temperature=tau, **chosen)
    torch.testing.assert_close(plain, expected, rtol=1e-12, atol=0)


def test_one_label_an_image_makes_one_loss_of_all():
    """Up to the mean: over all anchors, as in MulSupCon, or over those with a positive."""
    z, _ = random_batch(0, 12, 4)
    y = torch.eye(4, dtype=torch.bool)[torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 1, 3])]
    expected = loss_of("mulsupcon", z, y)
    for name in ("supcon_any", "supcon_all", "simdis"):
        torch.testing.assert_close(loss_of(name, z, y, reduction="anchors"), expected)
        torch.testing.assert_close(loss_of(name, z, y), expected * 12 / 11)  # label 3 is alone
    torch.testing.assert_close(loss_of("wg_mulsupcon", z, y), expected)
    torch.testing.assert_close(loss_of("lbase", z, y), expected * 12 / 11)


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


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize(
    "rows",
    [
        ["100"],  # one image
        ["000"],  # one image without labels
        ["100", "010", "001"],  # no positive anywhere
        ["000", "000", "000"],
        ["110", "110", "000"],  # an image without labels beside others
        ["110", "100", "001"],  # singleton labels, an anchor without positives
        ["111", "111", "111"],  # all equal
    ],
)
def test_corners_are_finite(name, rows):
    y = torch.tensor([[int(c) for c in row] for row in rows])
    x = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = loss_of(name, F.normalize(x), y, LabelStatistics.from_labels(np.eye(3)))
    value.backward()
    assert value.isfinite() and x.grad.isfinite().all() and value.ndim == 0
    if (y.sum(dim=0) <= 1).all():
        assert value == 0 and (x.grad == 0).all(), "no positive: 0, with a gradient"


@pytest.mark.parametrize("name", ORDER)
def test_sharp_temperatures_do_not_overflow(name):
    z = F.normalize(Z.float()).requires_grad_()
    value = loss_of(name, z, temperature=1e-3)
    value.backward()
    assert value.isfinite() and z.grad.isfinite().all()


def test_an_image_without_labels_is_a_negative_of_the_others():
    z, y = random_batch(1, 6, 3, rate=0.6)
    more = torch.cat([y, torch.zeros(2, 3, dtype=torch.bool)])
    W, _ = pair_weights("supcon_all", more)
    assert (W[6:] == 0).all() and (W[:, 6:] == 0).all()
    assert supcon_any(torch.cat([z, z[:2]]), more) > supcon_any(z, y), "a longer denominator"


@pytest.mark.parametrize("name", ORDER)
def test_autocast_computes_in_float32(name):
    z, y = random_batch(2, 20, 5, rate=0.4)
    z, stats = z.float(), LabelStatistics.from_labels(y)
    plain = loss_of(name, z, y, stats)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss_of(name, z, y, stats)
        halves = loss_of(name, z.bfloat16(), y, stats)
    assert plain.dtype == mixed.dtype == halves.dtype == torch.float32 and torch.equal(plain, mixed)
    torch.testing.assert_close(
        halves, loss_of(name, z.bfloat16().float(), y, stats), rtol=0, atol=0
    )
    assert loss_of(name, z.double(), y, stats).dtype == torch.float64


@pytest.mark.parametrize("convert", [torch.Tensor.bool, torch.Tensor.float, torch.Tensor.numpy])
def test_labels_of_any_type(convert):
    assert torch.equal(loss_of("macl", y=convert(Y)), loss_of("macl"))


# --- contract -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORDER)
def test_bad_batches_are_named(name):
    loss = build_loss(name, STATS)
    bad = Z.clone()
    bad[1, 2] = float("nan")
    for z, y, error, words in [
        (Z.numpy(), Y, TypeError, "floating tensor, got float64"),
        (Z.long(), Y, TypeError, "floating tensor"),
        (Z[0], Y, ValueError, "z must be"),
        (Z[:0], Y[:0], ValueError, "N >= 1 images"),
        (Z[:5], Y, ValueError, "z has 5 rows, y has 6"),
        (Z, Y[:, 0], ValueError, "multi-hot"),
        (Z, Y * 2, ValueError, r"y\[0, 0\] is 2"),
        (Z, Y.to(torch.complex64), TypeError, "bool or 0/1"),
        (bad, Y, ValueError, "holds NaN"),
        (Z * 1.1, Y, ValueError, "unit rows.*off by up to 0.21"),
    ]:
        with pytest.raises(error, match=words):
            loss(z, y)


def test_trusted_values_are_not_looked_at():
    with pytest.raises(ValueError, match="unit rows"):
        mulsupcon(2 * Z, Y)
    assert mulsupcon(2 * Z, Y, check=False).isfinite()


def test_bad_parameters_are_named_when_the_loss_is_built():
    for name, params, error, words in [
        ("macle", {}, ValueError, "unknown loss 'macle'; did you mean 'macl'"),
        ("macl", {"alhpa": 1}, TypeError, "no parameter 'alhpa'; did you mean 'alpha'"),
        ("wg_macl", {"reduction": "pairs"}, TypeError, "no parameter 'reduction'"),
        ("macl", {"f": "suport"}, ValueError, "f must be one of support, min"),
        ("macl", {"h": "max"}, ValueError, "h must be one of mean, min, sum"),
        ("macl", {"scope": "none"}, ValueError, "scope must be one of all"),
        ("mulsupcon", {"reduction": "mean"}, ValueError, "reduction must be one of active"),
        ("lbase", {"temperature": 0}, ValueError, "temperature must be positive, got 0"),
        ("lbase", {"temperature": float("nan")}, ValueError, "temperature must be positive"),
        ("macl", {"beta": -2}, ValueError, "alpha=1.5, beta=-2: raise beta"),
        ("macl", {"alpha": 1e4, "beta": 0}, ValueError, "positive and finite.*alpha=10000"),
        ("macl", {"alpha": -1e4}, ValueError, "positive and finite"),
    ]:
        with pytest.raises(error, match=words):
            build_loss(name, STATS, **params)
    with pytest.raises(TypeError, match="macl needs the LabelStatistics"):
        build_loss("macl")
    with pytest.raises(ValueError, match="y has 3 labels, stats has 4"):
        macl(Z, Y[:, :3], STATS)


def test_either_sign_of_alpha_and_beta_is_allowed():
    assert loss_of("macl", alpha=-0.5).isfinite()
    assert loss_of("macl", beta=-0.1).isfinite()
    T = pair_weights("macl", Y, STATS, alpha=-0.5, beta=0)[1]
    assert T[4, 5] == pytest.approx(exp(0.5)), "α < 0 softens what overlaps"


def test_registry():
    assert list(LOSSES) == ORDER == [name for name in COLOURS if name in LOSSES]
    assert len(COLOURS) == len(set(COLOURS.values())) == 13
    assert LOSSES["macl"].defaults == {
        "alpha": 1.5, "beta": 0.1, "temperature": 1.0, "f": "support", "h": "mean",
        "reweight": True, "scope": "all", "reduction": "pairs",
    }  # fmt: skip
    for name, loss in LOSSES.items():
        assert loss.name == loss.function.__name__ == name
        assert loss.defaults["temperature"] == (1.0 if "macl" in name else 0.3)
        assert list(inspect.signature(loss.function).parameters)[:2] == ["z", "y"]
        assert loss.equation.count("{") == loss.equation.count("}") and loss.function.__doc__
        module = build_loss(name, STATS)
        assert not list(module.parameters()) and name in repr(module)
        direct = loss.function(Z, Y, *((STATS,) if loss.needs_stats else ()))
        assert torch.equal(module(Z, Y), direct)


def test_colours_stay_apart_for_colour_blind_readers():
    """Distances in CIELAB, after the simulation of Machado et al. 2009 at full severity."""
    visions = {
        "normal": np.eye(3),
        "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]],
        "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                       [-0.003882, -0.048116, 1.051998]],
    }  # fmt: skip
    srgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS.values()]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8727]]
    for vision, matrix in visions.items():
        xyz = np.clip(linear @ np.transpose(matrix), 0, 1) @ np.transpose(to_xyz)
        x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
        apart = np.linalg.norm(lab[:, None] - lab, axis=2) + 1e9 * np.eye(len(lab))
        assert apart.min() > 24, vision
