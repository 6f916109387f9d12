"""A batch by hand, every loss in loops, and the losses as the tests of this folder build them.

The loops are written from the formulas, one pair and one label at a time in float64.
"""

from itertools import product
from math import exp, log, sqrt

import numpy as np
import torch
import torch.nn.functional as F

from maclcore.labels import LabelStatistics
from maclcore.losses import LOSSES, build_loss, infonce, softcon

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


def soft_of(z, y, **params):
    """The soft part alone: what the loss has beyond the plain one."""
    both = softcon(z, y, soft_weight=1.0, **params)
    shared = {k: v for k, v in params.items() if k in ("keys", "key_labels", "temperature")}
    return both - infonce(z, y, **shared)


def resemblance(name, a, b, low, high):
    if name == "cosine":
        return len(a & b) / sqrt(len(a) * len(b))
    if name == "jaccard":
        return len(a & b) / len(a | b)
    return (len(a & b) - low) / (high - low + 1e-10)


def ref_softcon(
    z, y, keys=None, key_labels=None, temperature=0.2, soft_temperature=1.0, soft_weight=0.1,
    similarity="cosine", form="sigmoid", average="pairs",
):  # fmt: skip
    """The formulas, one pair at a time."""
    n, own = len(z), keys is None
    c, sets, others = (z, sets_of(y), sets_of(y if own else key_labels))
    c = z if own else keys
    s = [[float(z[i] @ c[j]) for j in range(len(c))] for i in range(n)]
    among = [[j for j in range(len(c)) if not (own and j == i)] for i in range(n)]
    con = 0.0
    for i in range(n):
        twin = (i + n // 2) % n if own else i
        con += log(sum(exp((s[i][j] - s[i][twin]) / temperature) for j in among[i])) / n
    known = [(i, j) for i in range(n) for j in among[i] if sets[i] and others[j]]
    shared = [len(sets[i] & others[j]) for i, j in known]
    low, high = (min(shared), max(shared)) if shared else (0, 0)
    S = {(i, j): resemblance(similarity, sets[i], others[j], low, high) for i, j in known}
    anchors, values = sorted({i for i, _ in known}), []
    for i in anchors:
        row = [j for a, j in known if a == i]
        if form == "softmax":
            total = sum(S[i, j] for j in row)
            if total:
                scale = log(sum(exp(s[i][j] / soft_temperature) for j in row))
                cross = sum(S[i, j] / total * (scale - s[i][j] / soft_temperature) for j in row)
                values.append(cross)
        else:
            p = {j: 1 / (1 + exp(-s[i][j] / soft_temperature)) for j in row}
            cross = [-S[i, j] * log(p[j]) - (1 - S[i, j]) * log(1 - p[j]) for j in row]
            values.append(sum(cross) / (len(cross) if average == "pairs" else 1))
    return con + soft_weight * sum(values) / max(len(values), 1)


READINGS = [("sigmoid", "pairs"), ("sigmoid", "candidates"), ("softmax", "pairs")]
OPTIONS = [
    {"similarity": similarity, "form": form, "average": average}
    for similarity, (form, average) in product(("cosine", "jaccard", "minmax"), READINGS)
]
BATCHES = ("keys", "queue", "two views")


def batch_of_views(kind, seed, n=6, labels=4, dim=4):
    """Anchors and labels, an image without any among them, and keys where the kind has some."""
    z, y = random_batch(seed, n, labels, dim, rate=0.5)
    y[1] = False
    if kind == "two views":
        return (
            torch.cat([z, F.normalize(z + 0.7 * random_batch(seed + 1, n, 1, dim)[0])]),
            y.repeat(2, 1),
            {},
        )
    keys, more = random_batch(seed + 2, 2 * n, labels, dim, rate=0.5)
    more[:n] = y
    more[0] = ~more[0]  # two seasons
    more[n + 1] = False
    m = n if kind == "keys" else 2 * n
    return z, y, {"keys": keys[:m], "key_labels": more[:m]}
