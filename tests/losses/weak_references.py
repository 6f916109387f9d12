"""A batch by hand, and the losses of weak labels in loops, from the formulas, entry by entry.

In the loops z, o and what else is (B, L) are lists of lists of numbers. `held` are the logits that
a formula takes for constants, z and theta, as they are where a gradient is asked for.
"""

from math import exp, isnan, log, nan

import torch
import torch.nn.functional as F

from maclcore.losses import WEAK_LOSSES

# three images of four labels, one known of each; pseudo-labels; two soft negatives
Z = torch.tensor([[2, -1, 0.5, -3], [-0.5, 1.5, 0, -2], [0.2, -0.4, -1.2, 3]]).double()
KNOWN = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
T = torch.tensor(
    [[0.9, 0.4, 0.7, 0.05], [0.3, 0.8, 0.6, 0.1], [0.5, 0.5, 0.2, 0.95]], dtype=torch.float64
)
SOFT = torch.full_like(T, nan)
SOFT[0, 3], SOFT[1, 3] = 0.05, 0.1
#: what is given to a loss besides logits and labels
GIVEN = {
    "epr": {"labels_per_image": 2},
    "role": {"theta": T.logit(), "labels_per_image": 2},
    "em_apl": {"soft": SOFT},
    "ll_r": {"count": 2},
    "ll_ct": {"count": 2},
    "ll_cp": {"count": 2},
    "gr": {"progress": 0.4},
    "splc": {"corrected": True},
    "elr": {"t": T},
    "gc": {"t": T, "weight": 3},
}


def loss_of(name, z=Z, o=KNOWN, **params):
    return WEAK_LOSSES[name].function(z, o, **(GIVEN.get(name, {}) | params))


def gradient(loss, z):
    """Of a scalar function of z, at z."""
    z = z.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


def batch(name, seed, images=4, labels=5):
    """Logits, one known label an image, and what else the loss is given, all parameters too."""
    rng = torch.Generator().manual_seed(seed)
    z, theta = 2 * torch.randn(2, images, labels, generator=rng, dtype=torch.float64)
    known = torch.randint(labels, (images,), generator=rng)
    t, soft = torch.rand(2, images, labels, generator=rng, dtype=torch.float64)
    soft[torch.rand(images, labels, generator=rng) < 0.5] = nan
    tensors = {"theta": theta, "soft": soft, "t": t}
    params = WEAK_LOSSES[name].defaults | GIVEN.get(name, {})
    return z, F.one_hot(known, labels), {k: tensors.get(k, value) for k, value in params.items()}


def sigma(x):
    return 1 / (1 + exp(-x))


def bce(p, y, floor=0.0):
    return -y * log(p + floor) - (1 - y) * log(1 - p + floor)


def entries(z, cost):
    """The costs of all entries, by row and column."""
    return [cost(i, c) for i in range(len(z)) for c in range(len(z[0]))]


def mean(values):
    return sum(values) / len(values)


def number_of_labels(z, k):
    """The squared distance of the mean number of labels from k, over L²."""
    count = mean([sum(sigma(x) for x in row) for row in z])
    return (count - k) ** 2 / len(z[0]) ** 2


def large(z, o, count):
    """The unobserved entries whose loss is at least the count-th largest of them."""
    losses = {
        (i, c): -log(1 - sigma(z[i][c]))
        for i in range(len(z))
        for c in range(len(z[0]))
        if o[i][c] == 0
    }
    ranked = sorted(losses.values(), reverse=True)
    return {at for at, value in losses.items() if count and value >= ranked[:count][-1]}


def assume(z, o, held, floor=0.0):
    return mean(entries(z, lambda i, c: bce(sigma(z[i][c]), o[i][c], floor)))


def smoothed(z, o, held, smoothing):
    targets = [[1 - smoothing if x else smoothing for x in row] for row in o]
    return assume(z, targets, held, 1e-5)


def weak_negatives(z, o, held):
    def cost(i, c):
        return bce(sigma(z[i][c]), o[i][c], 1e-5) / (1 if o[i][c] else len(o[0]) - 1)

    return mean(entries(z, cost))


def positives(z, o, held, labels_per_image):
    costs = entries(z, lambda i, c: -o[i][c] * log(sigma(z[i][c]) + 1e-5))
    return mean(costs) + number_of_labels(z, labels_per_image)


def estimates(z, o, held, theta, labels_per_image):
    total = 0
    for logits, other in ((z, held[1]), (theta, held[0])):
        total += positives(logits, o, held, labels_per_image) / 2
        targets = [[sigma(x) for x in row] for row in other]
        total += assume(logits, targets, held, 1e-5) / 2
    return total


def undecided(z, o, held, entropy_weight):
    return pseudo(z, o, held, None, entropy_weight, None)


def pseudo(z, o, held, soft, entropy_weight, soft_weight):
    def cost(i, c):
        p = sigma(z[i][c])
        if o[i][c]:
            return -log(p + 1e-5)
        if soft is not None and not isnan(soft[i][c]):
            return soft_weight * bce(p, soft[i][c], 1e-5)
        return -entropy_weight * bce(p, p, 1e-5)

    return mean(entries(z, cost))


def rejected(z, o, held, count):
    dropped = large(held[0], o, count)
    return mean(entries(z, lambda i, c: 0 if (i, c) in dropped else bce(sigma(z[i][c]), o[i][c])))


def flipped(z, o, held, count):
    up = large(held[0], o, count)
    return mean(entries(z, lambda i, c: bce(sigma(z[i][c]), 1 if (i, c) in up else o[i][c])))


def robust(z, o, held, progress):
    w, m, s = 2 * progress, 0.5 + 0.3 * progress, 2 - 1.5 * progress

    def cost(i, c):
        p, constant = sigma(z[i][c]), sigma(held[0][i][c])
        if o[i][c]:
            return -log(p)
        k, v = sigma(w * constant - 2), exp(-((constant - m) ** 2) / (2 * s * s))
        return v * (k * (1 - p**0.01) / 0.01 + (1 - k) * (1 - (1 - p)))

    return mean(entries(z, cost))


def focal_positive(x):
    return -((1 - sigma(x)) ** 2) * log(sigma(x))


def hilly(z, o, held):
    def cost(i, c):
        p = sigma(z[i][c])
        return focal_positive(z[i][c] - 1) if o[i][c] else (1.5 - p) * p * p

    return sum(entries(z, cost))


def corrections(z, o, held, corrected, threshold):
    def cost(i, c):
        p = sigma(z[i][c])
        if o[i][c]:
            return focal_positive(z[i][c] - 1)
        return focal_positive(z[i][c]) if corrected and p > threshold else -p * p * log(1 - p)

    return sum(entries(z, cost))


def asymmetric(z, o, held, gamma_pos, gamma_neg, clip):
    def cost(i, c):
        p = sigma(z[i][c])
        if o[i][c]:
            return -((1 - p) ** gamma_pos) * log(p)
        p = max(p - clip, 0)
        return -(p**gamma_neg) * log(1 - p)

    return sum(entries(z, cost))


def early(z, o, held, t, weight):
    every = [[1] * len(row) for row in z]
    return calibrated(z, o, held, t, weight, every)


def calibrated(z, o, held, t, weight, unobserved=None):
    def cost(i, c):
        u = 1 - o[i][c] if unobserved is None else unobserved[i][c]
        return u * log(max(1 - sigma(z[i][c]) * t[i][c], 1e-4))

    return assume(z, o, held) + weight * mean(entries(z, cost))


SLOW = {
    "full": assume,
    "an": assume,
    "an_ls": smoothed,
    "wan": weak_negatives,
    "epr": positives,
    "role": estimates,
    "em": undecided,
    "em_apl": pseudo,
    "ll_r": rejected,
    "ll_ct": flipped,
    "ll_cp": flipped,
    "gr": robust,
    "hill": hilly,
    "splc": corrections,
    "asl": asymmetric,
    "elr": early,
    "gc": calibrated,
}


def slow(name, z, o, held=None, **given):
    """The loss `name` of tensors, as a number; its constants are those at z unless given."""
    given = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in given.items()}
    held = held or (z.tolist(), given.get("theta"))
    return SLOW[name](z.tolist(), o.tolist(), held, **given)


def differences(name, z, o, of="z", step=1e-5, **given):
    """The gradient of the loss in z or in theta, by central differences, as a list of lists."""
    held = (z.tolist(), given["theta"].tolist() if "theta" in given else None)
    at = {"z": z, **given}

    def moved(i, c, by):
        value = at[of].clone()
        value[i, c] += by
        changed = at | {of: value}
        return slow(name, changed.pop("z"), o, held, **changed)

    rows, columns = z.shape
    return [
        [(moved(i, c, step) - moved(i, c, -step)) / (2 * step) for c in range(columns)]
        for i in range(rows)
    ]
