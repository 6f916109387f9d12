"""MACL: MulSupCon with positives weighted by rarity and temperatures set by overlap."""

from typing import Any

import torch
from torch import Tensor

from maclcore.labels import LabelStatistics
from maclcore.losses.pairs import Pairs, choose, pairwise

EPSILON = 1e-8  # in Eq. 1; it never acts, since f >= 1


@pairwise
def macl(
    pairs: Pairs,
    stats: LabelStatistics,
    *,
    alpha: float = 1.5,
    beta: float = 0.1,
    temperature: float = 1.0,
    f: str = "support",
    h: str = "mean",
    reweight: bool = True,
    scope: str = "all",
    reduction: str = "pairs",
) -> tuple:
    """MACL (Eqs. 1 to 4): W = V w with V as in MulSupCon, and a temperature T for each pair.

    w_ip = 1 / (ln(1 + f(y_i, y_p)) + ε) is large where the shared labels are rare, and
    T_ia = temperature (exp(-α J_ia) + β / ln(1 + h(y_i))) is small where label sets overlap.
    The paper prints no temperature: 1 is its loss, 0.3 the other reading of §4.2. α and β may have
    either sign as long as every T is positive (else ValueError). f and h count images of `stats`,
    the training split, and are at least 1. What the paper leaves open:

    f: of the shared labels, "support" (images with all of them), "min" or "mean" (of their
        counts), or "cooccurrence" (its mean over y_i x y_p).
    h: of the anchor's labels, "mean", "min" or "sum" of their counts.
    reweight: False is w = 1, the ablation with adaptive temperatures only.
    scope: pairs with an adaptive T: "all", "positives" (a shared label) or "negatives"; the other
        pairs have T = temperature.
    reduction: as in `mulsupcon`.
    """
    if stats.sets.shape[1] != pairs.y.shape[1]:
        raise ValueError(f"y has {pairs.y.shape[1]} labels, stats has {stats.sets.shape[1]}")
    W = pairs.mean_over_carriers()
    if reweight:
        W = W / (torch.log1p(shared_frequency(pairs, stats, f)) + EPSILON)
    T = torch.exp(-alpha * pairs.jaccard) + beta / torch.log1p(anchor_frequency(pairs, stats, h))
    choose("scope", scope, ("all", "positives", "negatives"))
    if scope != "all":
        T = torch.where((pairs.shared >= 1) == (scope == "positives"), T, 1.0)
    # e^(-α J) > 0, so T fails only by a negative β or beyond what a float holds: else never look,
    # for on a GPU to look is to wait
    if not (0 <= beta < 1e9 and abs(alpha) < 50) and not bool(((T > 0) & T.isfinite()).all()):
        raise ValueError(
            "T = temperature (exp(-alpha J) + beta / ln(1 + h)) must be positive and finite, but "
            f"its bracket goes from {float(T.min()):.3g} to {float(T.max()):.3g} with "
            f"alpha={alpha}, beta={beta}: raise beta, or bring alpha nearer to 0"
        )
    return W, temperature * T, reduction


@pairwise(like=macl)
def wg_macl(pairs: Pairs, stats: LabelStatistics, **params: Any) -> tuple:
    """Wg-MACL: MACL with each anchor weighted by 1 / |y_i|, as Wg-MulSupCon weights MulSupCon.

    The paper names the variant and does not define it. Parameters as in `macl`.
    """
    return macl.weights(pairs, stats, reduction="images", **params)


def shared_frequency(pairs: Pairs, stats: LabelStatistics, f: str) -> Tensor:
    """f(y_i, y_p) >= 1, (A, C): how often the labels that two images share occur in training."""
    choose("f", f, ("support", "min", "mean", "cooccurrence"))
    y, others, counts = pairs.y, pairs.candidates, stats.tensor("counts", pairs.y)
    if f == "support":
        frequency = support(y, others, stats)
    elif f == "mean":
        frequency = (y * counts) @ others.T / pairs.shared.clamp(min=1)
    elif f == "cooccurrence":
        together = y @ stats.tensor("cooccurrence", y) @ others.T
        frequency = together / (pairs.size[:, None] * pairs.candidate_size).clamp(min=1)
    else:
        frequency = torch.ones_like(pairs.shared)
        for label in stats.counts.argsort()[::-1].tolist():  # the rarest shared label is the last
            both = y[:, label, None] * others[:, label] > 0
            frequency = torch.where(both, counts[label], frequency)
    return frequency.clamp(min=1)


def anchor_frequency(pairs: Pairs, stats: LabelStatistics, h: str) -> Tensor:
    """h(y_i) >= 1, (A, 1): how often the labels of an anchor occur in training."""
    choose("h", h, ("mean", "min", "sum"))
    y, counts = pairs.y, stats.tensor("counts", pairs.y)
    if h == "min":
        frequency = torch.where(y > 0, counts, counts.max()).amin(dim=1)
    else:
        frequency = y @ counts / (pairs.size.clamp(min=1) if h == "mean" else 1)
    return frequency.clamp(min=1)[:, None]


def support(y: Tensor, others: Tensor, stats: LabelStatistics) -> Tensor:
    """Number of training images that contain y_i ∩ y_p, (A, L), (C, L) -> (A, C); seen or not.

    With few labels one gather from a table over all sets, else counted and remembered on the CPU.
    """
    if stats.support_table is None:
        return torch.from_numpy(stats.shared_support(y, others)).to(y)
    bit = 2 ** torch.arange(y.shape[1], device=y.device)
    # a label set as a bit mask, so that & is its intersection
    a, b = (y.long() * bit).sum(dim=1), (others.long() * bit).sum(dim=1)
    shared = (a[:, None] & b).flatten()
    return stats.tensor("support_table", y).index_select(0, shared).view(len(a), len(b))
