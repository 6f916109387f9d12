"""The losses that learn all labels of an image from one that is known: formulas, as functions.

z (B, L) logits, p = σ(z); o (B, L) observed labels, 1 where a label is known to be there, 0 where
nothing is known; t (B, L) pseudo-labels in [0, 1], without a gradient. Each returns a scalar, the
mean over all B·L entries but for `hill`, `splc` and `asl`, which their authors sum. `of_entries`
says what is refused. All are written from formulas, and none changes what it is given: memories,
teachers and corrected labels belong to whoever trains.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from maclcore.losses.weak.entries import FLOOR, LEAST, costs, cross_entropy, of_entries


@of_entries()
def full(z: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy with the complete labels y (B, L): the ceiling of all others."""
    return cross_entropy(z, y).mean()


@of_entries(mixed=True)
def an(z: Tensor, o: Tensor) -> Tensor:
    """Assume negative: - o log p - (1 - o) log(1 - p) (AN; Cole et al. 2021).

    Exact, without the 1e-5 of the released code: `an_ls` with smoothing=0 has it. o may be mixed.
    """
    return cross_entropy(z, o).mean()


@of_entries()
def an_ls(z: Tensor, o: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """AN with targets 1 - smoothing and smoothing for 1 and 0 (AN-LS; Cole et al. 2021).

    As in the released code 1e-5 is added inside the log.
    """
    return cross_entropy(z, smoothing + (1 - 2 * smoothing) * o, FLOOR).mean()


@of_entries()
def wan(z: Tensor, o: Tensor) -> Tensor:
    """AN with unobserved entries weighted by 1 / (L - 1) (weak negatives; Cole et al. 2021).

    As in the released code 1e-5 is added inside the log.
    """
    positive, negative = costs(z, FLOOR)
    return (o * positive + (1 - o) * negative / max(z.shape[1] - 1, 1)).mean()


@of_entries()
def epr(z: Tensor, o: Tensor, *, labels_per_image: float) -> Tensor:
    """- o log p, and the expected number of labels held at k (EPR; Cole et al. 2021).

    L = mean(- o log p) + (mean_i Σ_c p_ic - k)² / L², k = labels_per_image > 0, of the batch.
    As in the released code 1e-5 is added inside the log.
    """
    positive, _ = costs(z, FLOOR)
    return (o * positive).mean() + surplus(z.sigmoid(), labels_per_image)


@of_entries()
def role(z: Tensor, o: Tensor, theta: Tensor, *, labels_per_image: float) -> Tensor:
    """Classifier and label estimates ŷ = σ(theta) learn from each other (ROLE; Cole et al. 2021).

    L = ½ [l(p | ŷ) + l(ŷ | p)], l(a | b) = mean(- o log a + BCE(a, b)) + surplus of a, as in
    `epr`; b is without a gradient. theta (B, L) are the rows of the images of the batch. As in the
    released code 1e-5 is added inside the log.
    """

    def half(logits: Tensor, targets: Tensor) -> Tensor:
        positive, _ = costs(logits, FLOOR)
        entries = o * positive + cross_entropy(logits, targets.sigmoid().detach(), FLOOR)
        return entries.mean() + surplus(logits.sigmoid(), labels_per_image)

    return (half(z, theta) + half(theta, z)) / 2


@of_entries()
def em(z: Tensor, o: Tensor, *, entropy_weight: float = 0.1) -> Tensor:
    """- o log p - (1 - o) α H(p): unobserved entries are to stay undecided (EM; Zhou et al. 2022).

    α = entropy_weight, H(p) = - p log p - (1 - p) log(1 - p). As in the released code 1e-5 is added
    inside the log.
    """
    positive, _ = costs(z, FLOOR)
    return (o * positive - (1 - o) * entropy_weight * entropy(z)).mean()


@of_entries()
def em_apl(
    z: Tensor,
    o: Tensor,
    soft: Tensor,
    *,
    entropy_weight: float = 0.1,
    soft_weight: float = 0.2,
) -> Tensor:
    """EM, with some unobserved entries as soft negatives (asymmetric pseudo-labels; Zhou et al.).

    soft (B, L) is their target, NaN for all others; there β BCE(p, soft) takes the place of
    - α H(p), β = soft_weight.
    """
    positive, _ = costs(z, FLOOR)
    pseudo = soft_weight * cross_entropy(z, soft.nan_to_num(), FLOOR)
    unobserved = torch.where(soft.isnan(), -entropy_weight * entropy(z), pseudo)
    return (o * positive + (1 - o) * unobserved).mean()


@of_entries()
def ll_r(z: Tensor, o: Tensor, count: int) -> Tensor:
    """AN without its `large_losses` (LL-R; Kim et al. 2022)."""
    return cross_entropy(z, o).masked_fill(large_losses(z, o, count), 0).mean()


@of_entries()
def ll_ct(z: Tensor, o: Tensor, count: int) -> Tensor:
    """AN in which `large_losses` are those of a label that is there (LL-Ct; Kim et al. 2022)."""
    return cross_entropy(z, o.masked_fill(large_losses(z, o, count), 1)).mean()


@of_entries()
def ll_cp(z: Tensor, o: Tensor, count: int) -> Tensor:
    """As LL-Ct, but what is flipped stays so (LL-Cp; Kim et al. 2022).

    Whoever trains writes a 1 into the labels at `large_losses(z, o, count, strict=True)`.
    """
    return cross_entropy(z, o.masked_fill(large_losses(z, o, count), 1)).mean()


def large_losses(z: Tensor, o: Tensor, count: int, *, strict: bool = False) -> Tensor:
    """The unobserved entries with the `count` largest losses of the batch, (B, L) bool.

    All with a loss as large as the count-th are taken, or, if `strict`, all with a larger one.
    """
    if not count:
        return torch.zeros_like(z, dtype=torch.bool)
    scores = z.masked_fill(o == 1, -math.inf)  # -log(1 - p) grows with z
    least = scores.flatten().topk(min(count, z.numel())).values[-1]
    return (o == 0) & (scores > least if strict else scores >= least)


@of_entries()
def gr(z: Tensor, o: Tensor, progress: float) -> Tensor:
    """Unobserved entries are negative or positive, as they look by now (GR; Chen et al. 2024).

    o = 1: - log p; o = 0: v [k (1 - p^q) / q + (1 - k) p], q = 0.01; k = σ(w p - 2) is how far it
    counts as positive, v = exp(-½ ((p - μ) / s)²) how much at all, both without a gradient. With
    progress 0 ... 1 through the training w goes from 0 to 2, μ from 0.5 to 0.8, s from 2 to 0.5.
    """
    w, mean, deviation = 2 * progress, 0.5 + 0.3 * progress, 2 - 1.5 * progress
    p = z.sigmoid()
    k = (w * p - 2).sigmoid().detach()
    v = (-0.5 * ((p - mean) / deviation) ** 2).exp().detach()
    log_p, q = F.logsigmoid(z), 0.01
    as_positive = -torch.expm1(q * log_p) / q
    return ((1 - o) * v * (k * as_positive + (1 - k) * p) - o * log_p).mean()


@of_entries()
def hill(z: Tensor, o: Tensor) -> Tensor:
    """o = 1: - (1 - p_m)² log p_m, p_m = σ(z - 1); o = 0: (1.5 - p) p² (Hill; Zhang et al. 2021).

    The sum over all entries. A confident p is taken for a missing label: its gradient vanishes.
    """
    positive, _ = focal(z - 1)
    p = z.sigmoid()
    return (o * positive + (1 - o) * (1.5 - p) * p**2).sum()


@of_entries()
def splc(z: Tensor, o: Tensor, *, corrected: bool, threshold: float = 0.6) -> Tensor:
    """Focal loss in which unobserved p > threshold count as positive (SPLC; Zhang et al. 2021).

    o = 1: - (1 - p_m)² log p_m, p_m = σ(z - 1); o = 0: - p² log(1 - p), or, if `corrected` and
    p > threshold, - (1 - p)² log p. The sum over all entries; corrected after the first epoch.
    """
    z = z - o
    positive, negative = focal(z)
    present = (o == 1) | (corrected & (z.sigmoid() > threshold))
    return torch.where(present, positive, negative).sum()


@of_entries()
def asl(
    z: Tensor, o: Tensor, *, gamma_pos: float = 0, gamma_neg: float = 4, clip: float = 0.05
) -> Tensor:
    """o = 1: - (1 - p)^γ₊ log p; o = 0: - p_c^γ₋ log(1 - p_c), p_c = max(p - clip, 0) (ASL).

    Ridnik, Ben-Baruch et al. 2021; the sum over all entries. Their code takes the two powers for
    constants in the gradient; here it is that of the formula.
    """
    positive, _ = costs(z)
    negative = costs(z, clip)[1].clamp(min=0)
    weights = power((-z).sigmoid(), gamma_pos), power(z.sigmoid() - clip, gamma_neg)
    return (o * weights[0] * positive + (1 - o) * weights[1] * negative).sum()


@of_entries()
def elr(z: Tensor, o: Tensor, t: Tensor, *, weight: float = 3.0) -> Tensor:
    """AN + λ log(1 - p t) over all entries, λ = weight (ELR; Liu et al. 2020).

    They write it with a softmax; of labels that do not exclude each other, per label, it is our
    reading. t: the running mean of the predictions for the image.
    """
    return (cross_entropy(z, o) + weight * calibration(z, t)).mean()


@of_entries(mixed=True)
def gc(
    z: Tensor, o: Tensor, t: Tensor, *, weight: float, unobserved: Tensor | None = None
) -> Tensor:
    """AN + λ u log(1 - p t): gradient calibration (AdaGC; Liu et al. 2025), λ = weight.

    The gradient of BL·L is p - o - λ u t p(1 - p) / (1 - p t), and λ u t p(1 - p) / (1 - p t) drops
    out of it where 1 - p t < 1e-4, which bounds L from below. L is negative at times. u (B, L):
    `unobserved`, 1 - o unless given; with mixed images o, t and u are mixed as they are.

    The paper's formula was not at hand: sign, entries and one mean for both terms are our reading.
    """
    u = 1 - o if unobserved is None else unobserved
    return (cross_entropy(z, o) + weight * u * calibration(z, t)).mean()


def calibration(z: Tensor, t: Tensor) -> Tensor:
    """log(1 - p t) of each entry, at least log 1e-4, with no gradient of t.

    Through logarithms, log[(1 - t) + t (1 - p)]: near p = t = 1 the difference has no digits left.
    """
    t = t.detach().clamp(0, 1)  # mixed ones may exceed it by rounding
    log = torch.logaddexp(torch.log1p(-t), t.log() + F.logsigmoid(-z))
    return log.clamp(min=math.log(LEAST))


def fixed_point(t: Tensor | float, weight: float) -> Tensor:
    """p*(t) = (λ t - 1) / ((λ - 1) t), and 0 for t <= 1/λ: `gc` raises an unobserved p below it.

    λ = weight > 1, t in [0, 1] constant. With t = p, p = 1 / (λ - 1) is the threshold between
    labels that rise to 1 and those that fall to 0. ValueError for λ <= 1: then all fall.
    """
    if weight <= 1:
        raise ValueError(f"weight must be above 1, got {weight}: else every p falls to 0")
    t = torch.as_tensor(t)
    return ((weight * t - 1) / ((weight - 1) * t)).clamp(min=0)


def entropy(z: Tensor) -> Tensor:
    """H(p) = - p log p - (1 - p) log(1 - p) of each entry, with 1e-5 added inside the log."""
    return cross_entropy(z, z.sigmoid(), FLOOR)


def surplus(p: Tensor, labels_per_image: float) -> Tensor:
    """((mean_i Σ_c p_ic - k) / L)²: how far the mean number of labels is from k."""
    return ((p.sum(dim=1).mean() - labels_per_image) / p.shape[1]) ** 2


def focal(z: Tensor) -> tuple[Tensor, Tensor]:
    """- (1 - p)² log p and - p² log(1 - p) of each entry."""
    positive, negative = costs(z)
    return (-z).sigmoid() ** 2 * positive, z.sigmoid() ** 2 * negative


def power(p: Tensor, gamma: float) -> Tensor:
    """max(p, 0)^gamma, with a finite gradient at 0 for gamma < 1, too."""
    return p.clamp(min=torch.finfo(p.dtype).tiny) ** gamma
