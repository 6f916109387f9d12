"""The losses against reference values, loops over pairs, and the properties they must have.

The references below are written from the formulas, one pair and one label at a time in float64.
"""

import copy
import dataclasses
import importlib
import inspect
from itertools import product
from math import exp, log

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from maclcore import losses
from maclcore.labels import LabelStatistics
from maclcore.losses import LOSSES, build_loss, macl, mulsupcon, pair_weights, supcon_any
from maclcore.losses import pairs as kernel
from maclcore.losses.kernel import contrast
from maclcore.losses.pairs import Pairs, Terms

ORDER = (
    "supcon_all supcon_any lbase lproto lmsc oml mulsupcon wg_mulsupcon simdis lreg l_wo_reg "
    "macl wg_macl"
).split()
PROTOTYPED = ("lproto", "lmsc", "lreg", "l_wo_reg")
QUEUED = tuple(name for name in ORDER if LOSSES[name].queue)

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


PROTOTYPES = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 1, 1], [-1, 0, 1]], dtype=torch.float64)


def module_of(name, stats=STATS, dim=3, prototypes=PROTOTYPES, **params):
    """The loss as a module; with prototypes, those given, or random ones for other labels."""
    module = build_loss(name, stats, embedding_dim=dim, **params)
    if module.prototypes is not None:
        shape = module.prototypes.shape
        if shape != prototypes.shape:
            rng = torch.Generator().manual_seed(5)
            prototypes = torch.randn(shape, dtype=torch.float64, generator=rng)
        module.prototypes = torch.nn.Parameter(prototypes.clone())
    return module


def loss_of(name, z=Z, y=Y, stats=STATS, keys=None, **params):
    module = module_of(name, stats, z.shape[1], **params)
    return module(z, y) if keys is None else module(z, y, keys=keys[0], key_labels=keys[1])


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


def prototype_sets(prototypes):
    return [frozenset({k}) for k in range(len(prototypes))]


def ref_lproto(z, sets, c, temperature=0.3):
    total = 0.0
    for i in range(len(z)):
        logits = [float(z[i] @ c[k]) / temperature for k in range(len(c))]
        scale = log(sum(exp(x) for x in logits))
        total -= sum(logits[k] - scale for k in sets[i]) / max(len(sets[i]), 1)
    return total / len(z)


def ref_lmsc(z, sets, c, queue, queue_sets, temperature=0.3, alpha=1.0, beta=0.1):
    n, total = len(z), 0.0
    for i in range(n):
        images = [(z[j], sets[j]) for j in range(n) if j != i] + list(
            zip(queue, queue_sets, strict=True)
        )
        unions = [len(sets[i] | other) for _, other in images]
        norm = {
            k: 1
            + alpha * sum(1 / u for u, (_, other) in zip(unions, images, strict=True) if k in other)
            for k in sets[i]
        }
        of_images = [exp(float(z[i] @ e) / temperature) for e, _ in images]
        of_prototypes = [exp(float(z[i] @ e) / temperature) for e in c]
        scale = log(beta * sum(of_images) + sum(of_prototypes))
        anchor = 0.0
        for k in sets[i]:
            for u, e, (_, other) in zip(unions, of_images, images, strict=True):
                if k in other:
                    anchor -= alpha / (u * norm[k]) * (log(e) - scale)
            anchor -= (log(of_prototypes[k]) - scale) / norm[k]
        total += anchor / max(len(sets[i]), 1)
    return total / n


def ref_joint(z, sets, c, regularise, temperature=0.3, alpha=0.0):
    z, sets = [*z, *c], [*sets, *prototype_sets(c)]
    n, terms = len(z), []

    def r(i, j):
        x = len(sets[i] & sets[j]) / max(len(sets[j]), 1)
        return x**alpha if alpha >= 0 else float(x == 1)

    for i in range(n):
        x = {j: float(z[i] @ z[j]) / temperature for j in range(n) if j != i}
        scale = log(sum(map(exp, x.values())))
        w = {}
        for j in x:
            w[j] = 0.0
            for k in sets[i] & sets[j]:
                carriers = sum(r(i, m) for m in x if k in sets[m])
                w[j] += r(i, j) / carriers / len(sets[i]) if carriers else 0.0
        if sum(w.values()) > 0:
            value = sum(w[j] * (x[j] - scale) for j in x)
            if regularise:
                value += sum(max(exp(x[j] - scale) - w[j], 0) * x[j] for j in x if w[j] > 0)
            terms.append(-value)
    return sum(terms) / max(len(terms), 1)


def ref_oml(s, sets, temperature=0.01, norm="released"):
    n = len(s)
    labels = sorted(frozenset().union(*sets))
    above = [  # how much k is above j for query q
        [[1 / (1 + exp(min(max((s[q][j] - s[q][k]) / temperature, -50), 50))) for k in range(n)]
         for j in range(n)] for q in range(n)
    ]  # fmt: skip
    values = []
    for label in labels:
        Q = [i for i in range(n) if label in sets[i]]
        if len(Q) > 1:
            ap = 0.0
            for q in Q:
                for j in Q:
                    rank = 1 + sum(above[q][j][k] for k in range(n) if k != j)
                    ap += (1 + sum(above[q][j][k] for k in Q if k != j)) / rank
            values.append(1 - ap / (len(Q) * (n if norm == "released" else len(Q))))
    return sum(values) / max(len(values), 1)


def ref_prototyped(name, z, sets, c, params):
    c = F.normalize(c)
    if name == "lproto":
        return ref_lproto(z, sets, c, **params)
    if name == "lmsc":
        return ref_lmsc(z, sets, c, [], [], **params)
    return ref_joint(z, sets, c, name == "lreg", **params)


def reference(name, s, sets, training, params):
    if name == "oml":
        return ref_oml(s, sets, **params)
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


# --- one kernel, several forms --------------------------------------------------------------------


KINDS = {  # of parameters
    "numbers": float,
    "tensors": lambda x: torch.tensor(x, dtype=torch.float64),
    "learned": lambda x: torch.nn.Parameter(torch.tensor(x, dtype=torch.float64)),
}
STEP = (1e-6, -1e-6)
CHOSEN = {"temperature": 0.4, "alpha": 0.7, "beta": 0.3}


def numeric(name, kind="learned"):
    """Every number among the parameters of a loss, as a number or as a tensor."""
    return {k: KINDS[kind](CHOSEN[k]) for k, v in LOSSES[name].defaults.items() if type(v) is float}


def with_gradients(name, z, y, stats, keys=None, kind="numbers"):
    """Value, and gradients of z, of the prototypes and of learned parameters."""
    module, z = module_of(name, stats, z.shape[1], **numeric(name, kind)), z.clone()
    value = module(z.requires_grad_(), y, **(keys or {}))
    inputs = {"z": z, **dict(module.named_parameters())}
    gradients = torch.autograd.grad(value, list(inputs.values()), materialize_grads=True)
    return {"value": value.detach(), **dict(zip(inputs, gradients, strict=True))}


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


def test_supports_of_many_labels_give_the_same_loss():
    z, y = random_batch(3, 12, 30, rate=0.2)
    _, training = random_batch(4, 60, 30, rate=0.3)
    stats = LabelStatistics.from_labels(training)
    assert stats.support_table is None, "this many labels must take the other path"
    expected = ref_macl((z @ z.T).tolist(), sets_of(y), sets_of(training))
    assert loss_of("macl", z, y, stats).item() == pytest.approx(expected, rel=1e-9)


# --- gradients ------------------------------------------------------------------------------------


# the gradient of LReg is not that of its value: it has a test of its own
@pytest.mark.parametrize("kind", ["numbers", "learned"])
@pytest.mark.parametrize("name", [name for name in ORDER if name != "lreg"])
def test_gradient_by_finite_differences(name, kind, monkeypatch):
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.cat([Y, torch.zeros(1, 4, dtype=Y.dtype)])
    module = module_of(name, **numeric(name, kind))
    parameters = dict(module.named_parameters())

    def loss(x, *values):
        given = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(module, given, (F.normalize(x), y))

    inputs = [
        x.requires_grad_(),
        *(p.detach().clone().requires_grad_() for p in parameters.values()),
    ]
    for dense in (256, 0):  # through autograd, and the kernel's own or its checkpoints
        monkeypatch.setattr(kernel, "DENSE", dense)
        assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("dense", [256, 0])
def test_gradient_of_parameters_of_lreg_holds_p_fixed(dense, monkeypatch):
    """By finite differences of the formula with the p of the middle."""
    monkeypatch.setattr(kernel, "DENSE", dense)
    both = torch.cat([Z, F.normalize(PROTOTYPES)])
    pairs = Pairs.of(Y.bool(), torch.float64, "joint")
    others = ~torch.eye(len(both), dtype=torch.bool)

    def log_p_and_x(temperature):
        x = both @ both.T / temperature
        return x.masked_fill(~others, -torch.inf).log_softmax(dim=1).where(others, 0), x

    p = log_p_and_x(CHOSEN["temperature"])[0].exp()

    def value(temperature, alpha):
        W = LOSSES["l_wo_reg"].function.weights(pairs, alpha=alpha).W * others
        log_p, x = log_p_and_x(temperature)
        L = -(W * log_p).sum(dim=1) - (torch.where(W > 0, (p - W).clamp(min=0), 0) * x).sum(dim=1)
        return L.sum() / (W.sum(dim=1) > 0).sum()

    params = numeric("lreg")
    loss_of("lreg", **params).backward()
    for name, parameter in params.items():
        up, down = (value(**numeric("lreg", "numbers") | {name: CHOSEN[name] + h}) for h in STEP)
        torch.testing.assert_close(parameter.grad, (up - down) / 2e-6, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dense", [256, 0])
def test_lreg_never_repels_a_positive(dense, monkeypatch):
    """Of a similarity, N times: min(p - W, 0) for a positive, p for a negative; p - W without."""
    monkeypatch.setattr(kernel, "DENSE", dense)
    pairs = Pairs.of(Y.bool(), torch.float64, "joint")
    terms = LOSSES["lreg"].function.weights(pairs)
    both = torch.cat([Z, F.normalize(PROTOTYPES)])
    s = (both @ both.T).requires_grad_()
    contrast(s, terms, pairs.own).sum().backward()
    W = terms.W.clone().fill_diagonal_(0)
    x = (s.detach() / 0.3).fill_diagonal_(-torch.inf)
    p = x.softmax(dim=1)
    active = (W.sum(dim=1) > 0)[:, None]
    expected = torch.where(W > 0, (p - W).clamp(max=0), p) * active / 0.3
    torch.testing.assert_close(s.grad, expected)
    assert ((p - W)[W > 0] > 0).any(), "else there is nothing to see"
    # and the gradient of the embeddings follows from it
    z = Z.clone().requires_grad_()
    loss_of("lreg", z).backward()
    G = expected / active.sum()
    torch.testing.assert_close(z.grad, ((G + G.T) @ both)[: len(Z)])


def gradient_of_similarities(name, s, **params):
    """dL/ds, (A, C), of the six images (and prototypes) at given similarities."""
    pairs = Pairs.of(Y.bool(), torch.float64, LOSSES[name].function.layout)
    given = (STATS,) if LOSSES[name].needs_stats else ()
    terms = LOSSES[name].function.weights(pairs, *given, **params)
    a, b = losses.REDUCTIONS[terms.reduction](pairs.total(terms.W), pairs.size)
    s = s.clone().requires_grad_()
    (a @ contrast(s, terms, pairs.own) / b.sum()).backward()
    return s.grad


@pytest.mark.parametrize("name", [n for n in ORDER if n not in ("oml", *PROTOTYPED)])
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
    terms = LOSSES["macl"].function.weights(pairs, STATS)
    W, T = terms.W.clone().fill_diagonal_(0), terms.T
    for i in range(6):
        z = Z[i].clone().requires_grad_()  # the other images are constants, as in the paper
        row = terms._replace(W=terms.W[i : i + 1], T=T[i : i + 1])
        contrast((Z @ z)[None], row, pairs.own[i : i + 1]).sum().backward()
        e = torch.exp(Z @ Z[i] / T[i]) * (torch.arange(6) != i)
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
    module = module_of(name, LabelStatistics.from_labels(training), 4)
    value = module(z, y)
    rng = torch.Generator().manual_seed(seed)
    images, labels = torch.randperm(9, generator=rng), torch.randperm(5, generator=rng)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=rng))
    stats = LabelStatistics.from_labels(training[:, labels])
    other = build_loss(name, stats, embedding_dim=4)
    if other.prototypes is not None:
        other.prototypes = torch.nn.Parameter((module.prototypes @ rotation)[labels])
    again = other((z @ rotation)[images], y[images][:, labels])
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


def test_supcon_is_that_of_another_library():
    """On single labels; an image alone with its label is left out of the mean there, too."""
    from pytorch_metric_learning.losses import SupConLoss

    z, _ = random_batch(1, 40, 4, dim=8)
    label = torch.randint(0, 6, (40,), generator=torch.Generator().manual_seed(0))
    label[0] = 6
    expected = SupConLoss(temperature=0.3)(z, label)
    for name in ("supcon_all", "supcon_any", "lbase"):
        found = loss_of(name, z, F.one_hot(label))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


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
    stats = LabelStatistics.from_labels(np.eye(3))
    learned = {k: torch.nn.Parameter(v.detach().float()) for k, v in numeric(name).items()}
    loss = build_loss(name, stats, embedding_dim=4, **learned)
    value = loss(F.normalize(x), y)
    value.backward()
    assert value.isfinite() and x.grad.isfinite().all() and value.ndim == 0
    assert all(p.grad.isfinite().all() for p in loss.parameters() if p.grad is not None)
    if (y.sum(dim=0) <= 1).all() and name not in PROTOTYPED:
        assert value == 0 and (x.grad == 0).all(), "no positive: 0, with a gradient"


@pytest.mark.parametrize("name", ORDER)
def test_sharp_temperatures_do_not_overflow(name):
    z = F.normalize(Z.float()).requires_grad_()
    value = build_loss(name, STATS, embedding_dim=3, temperature=1e-3)(z, Y)
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


# --- state between calls --------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [4, 30])  # supports from a table, and counted
@pytest.mark.parametrize("name", ORDER)
def test_a_loss_called_again_is_a_fresh_one(name, labels, monkeypatch):
    """Other batches, sizes, types and statistics in between leave no trace."""
    _, training = random_batch(1, 40, labels, rate=0.3)
    stats = LabelStatistics.from_labels(training)
    used = module_of(name, stats, 4)
    batches = [random_batch(seed, n, labels, rate=0.3) for seed, n in ((2, 9), (3, 5), (4, 9))]
    batches += [(z.float(), y) for z, y in batches] + [(batches[0][0], training[:9])]
    for z, y in batches + batches[::-1]:
        for dense in (256, 0):
            monkeypatch.setattr(kernel, "DENSE", dense)
            fresh = module_of(name, LabelStatistics.from_labels(training), 4)
            value = used(z, y)
            assert torch.equal(value, fresh(z, y)) and value.dtype == z.dtype
    other = LabelStatistics.from_labels(training[:20])  # two statistics do not meet
    assert torch.equal(module_of(name, other, 4)(z, y), module_of(name, other, 4)(z, y))


def test_values_are_checked_at_every_call_on_a_cpu_and_at_the_first_on_a_gpu():
    checks = []

    def spy(z, y, *, check, **params):
        checks.append(check)

    module = build_loss("mulsupcon")
    assert not module.called, "to build a loss is not to call it"
    module.loss = dataclasses.replace(LOSSES["mulsupcon"], function=spy)
    for device, expected in (("meta", [True, False, False]), ("cpu", [True] * 3)):
        module.called = False
        for _ in range(3):
            module(torch.empty(1, 1, device=device), None)
        assert checks == expected
        checks.clear()


# --- contract -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORDER)
def test_bad_batches_are_named(name):
    loss = build_loss(name, STATS, embedding_dim=3)
    bad = Z.clone()
    bad[1, 2] = float("nan")
    for z, y, error, words in [
        (Z.numpy(), Y, TypeError, "floating tensor, got ndarray"),
        (Z.tolist(), Y, TypeError, "floating tensor, got list"),
        (Z.long(), Y, TypeError, "floating tensor, got torch.int64"),
        (Z[0], Y, ValueError, "z must be"),
        (Z[:0], Y[:0], ValueError, "N >= 1 images"),
        (Z[:5], Y, ValueError, "z has 5 rows, y has 6"),
        (Z, Y[:, 0], ValueError, "multi-hot"),
        (Z, Y * 2, ValueError, r"y\[0, 0\] is 2"),
        (Z, Y.to(torch.complex64), TypeError, "bool or 0/1"),
        (bad, Y, ValueError, "holds NaN"),
        (Z * 1.1, Y, ValueError, "unit rows.*off by up to 0.21"),
    ]:
        for _ in range(2):  # the first call of a module checks more than later ones, on a GPU
            with pytest.raises(error, match=words):
                loss(z, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_are_unit_rows_within_what_rounding_does(dtype):
    """Squared lengths off by less than 0.02, either way; more is no rounding."""
    for square, fits in ((0.97, False), (0.985, True), (1, True), (1.015, True), (1.03, False)):
        z = Z.clone()
        z[3] *= square**0.5
        if fits:
            assert mulsupcon(z.to(dtype), Y).isfinite()
        else:
            with pytest.raises(ValueError, match="off by up to 0.0"):
                mulsupcon(z.to(dtype), Y)


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
        ("lmsc", {"beta": 2.0}, ValueError, "beta must be in"),
        ("oml", {"temperature": -1.0}, ValueError, "temperature must be positive"),
        ("oml", {"norm": "label"}, ValueError, "norm must be one of released, per_label"),
        ("macl", {"beta": -2}, ValueError, "alpha=1.5, beta=-2: raise beta"),
        ("macl", {"alpha": 1e4, "beta": 0}, ValueError, "positive and finite.*alpha=10000"),
        ("macl", {"alpha": -1e4}, ValueError, "positive and finite"),
    ]:
        with pytest.raises(error, match=words):
            build_loss(name, STATS, embedding_dim=3, **params)
    with pytest.raises(TypeError, match="lreg has prototypes: it needs stats and embedding_dim"):
        build_loss("lreg", STATS)
    with pytest.raises(ValueError, match=r"prototypes must be \(L, D\) = \(4, 3\)"):
        losses.lproto(Z, Y, PROTOTYPES[:3])
    with pytest.raises(ValueError, match="a row is zero or NaN"):
        losses.lmsc(Z, Y, PROTOTYPES * 0)
    with pytest.raises(ValueError, match="oml compares ranks"):
        pair_weights("oml", Y)
    with pytest.raises(TypeError, match="macl needs the LabelStatistics"):
        build_loss("macl")
    with pytest.raises(ValueError, match="y has 3 labels, stats has 4"):
        macl(Z, Y[:, :3], STATS)


@pytest.mark.parametrize(
    "temperature", [0.0, -0.0, -1.0, -1e-30, *map(float, ("inf -inf nan".split()))]
)
@pytest.mark.parametrize("name", ORDER)
def test_a_temperature_is_positive_and_finite(name, temperature):
    words = f"temperature must be positive.*{temperature}"
    with pytest.raises(ValueError, match=words):
        build_loss(name, STATS, embedding_dim=3, temperature=temperature)
    given = (STATS,) if LOSSES[name].needs_stats else ()
    given = (PROTOTYPES,) if name in PROTOTYPED else given
    with pytest.raises(ValueError, match=words):
        LOSSES[name].function(Z, Y, *given, temperature=temperature)
    if name != "oml":
        with pytest.raises(ValueError, match=words):
            pair_weights(name, Y, STATS, temperature=temperature)
    least = loss_of(name, temperature=1e-3)
    assert least.isfinite() and loss_of(name, temperature=1e6).isfinite()


def test_either_sign_of_alpha_and_beta_is_allowed():
    assert loss_of("macl", alpha=-0.5).isfinite()
    assert loss_of("macl", beta=-0.1).isfinite()
    T = pair_weights("macl", Y, STATS, alpha=-0.5, beta=0)[1]
    assert T[4, 5] == pytest.approx(exp(0.5)), "α < 0 softens what overlaps"


def test_the_ends_of_a_range_belong_to_it():
    for name, params in [
        ("lmsc", {"beta": 0}),
        ("lmsc", {"beta": 1}),
        ("lmsc", {"alpha": 0}),
        ("macl", {"beta": 0}),
        ("macl", {"alpha": 0, "beta": 0}),
    ]:
        assert loss_of(name, **params).isfinite()
    for beta, alpha in ((1.001, 1), (-0.001, 1), (0.5, -0.001)):
        with pytest.raises(ValueError, match=rf"got {beta} and {alpha}"):
            loss_of("lmsc", beta=beta, alpha=alpha)


def test_registry():
    assert list(losses.PAPER) == list(LOSSES)[: len(ORDER)] == ORDER
    assert [name for name in ORDER if LOSSES[name].two_views] == ["supcon_all", "supcon_any"]
    assert {name: LOSSES[name].queue for name in QUEUED} == dict.fromkeys(
        "supcon_all supcon_any mulsupcon wg_mulsupcon simdis macl wg_macl".split(), "moco"
    ) | {"lmsc": "joins"}
    assert LOSSES["macl"].defaults == {
        "alpha": 1.5, "beta": 0.1, "temperature": 1.0, "f": "support", "h": "mean",
        "reweight": True, "scope": "all", "reduction": "pairs",
    }  # fmt: skip
    for name in ORDER:
        loss = LOSSES[name]
        assert loss.name == loss.function.__name__ == name
        assert loss.paper and loss.method == "retrieval"
        assert loss.defaults["temperature"] == {"macl": 1.0, "wg_macl": 1.0, "oml": 0.01}.get(
            name, 0.3
        )
        assert list(inspect.signature(loss.function).parameters)[:2] == ["z", "y"]
        assert loss.equation.count("{") == loss.equation.count("}") and loss.function.__doc__
        module = module_of(name)
        assert len(list(module.parameters())) == (name in PROTOTYPED) and name in repr(module)
        given = (STATS,) if loss.needs_stats else ()
        given = (PROTOTYPES,) if name in PROTOTYPED else given
        assert torch.equal(module(Z, Y), loss.function(Z, Y, *given))
        assert getattr(losses, name) is loss.function


def test_methods_are_called_as_in_the_tables():
    assert [losses.method_label(name) for name in ORDER] == [LOSSES[name].label for name in ORDER]
    assert losses.method_label("wg_macl") == "Wg-MACL"
    for name, label in (("chance", "Chance"), ("mACL", "MACL"), ("o", "O"), ("", "")):
        assert losses.method_label(name) == label


def test_oml_of_perfect_clusters():
    """Six images, three labels, two images each: as released, the optimum is 1 - 2/6."""
    y = torch.eye(3)[[0, 0, 1, 1, 2, 2]]
    z = torch.eye(3, dtype=torch.float64)[[0, 0, 1, 1, 2, 2]]
    assert loss_of("oml", z, y, norm="per_label").item() == pytest.approx(0, abs=1e-9)
    assert loss_of("oml", z, y).item() == pytest.approx(1 - 2 / 6)
    assert loss_of("oml", z, torch.eye(6)[:, :3]) == 0, "a label of one image orders nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_oml_in_chunks(kind, monkeypatch):
    z, y = random_batch(3, 20, 5, rate=0.4)
    expected = with_gradients("oml", z, y, STATS, kind=kind)
    monkeypatch.setattr(
        importlib.import_module("maclcore.losses.oml"), "CHUNK", 3 * 20**2
    )  # three queries at a time
    found = with_gradients("oml", z, y, STATS, kind=kind)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert (found["value"] != loss_of("oml", z, y)) and ("temperature" in found) == (
        kind == "learned"
    )


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
