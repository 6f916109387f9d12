"""Average precision and discounted cumulative gain: ranked relevance in, values out."""

import torch
from torch import Tensor


def average_precision(
    relevant: Tensor,
    weight: Tensor | None = None,
    positives: Tensor | None = None,
    area: str = "rectangle",
) -> Tensor:
    """AP (Q,) of relevance (Q, K) in {0, 1} in ranked order (Eqs. 11, 14); NaN where 0/0.

    The mean, over the relevant items, of the precision down to their rank; with `weight` of the
    mean weight down to it (Eq. 18). `positives (Q,)` replaces the number of relevant items.
    `area`: as in `Readings`.
    """
    relevant = relevant.int()  # faster than bool and float64, and exact
    weight = relevant if weight is None else weight
    before, own = precision_weights(relevant.shape[1], area, relevant.device)
    total = (weight.cumsum(dim=1, dtype=weight.dtype) * relevant).double() @ before
    if area == "trapezoid":
        total += (weight * relevant).double() @ (own - before)
    return total / (relevant.sum(dim=1, dtype=torch.int32) if positives is None else positives)


def precision_weights(
    k: int, area: str, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """What a hit at rank 1 ... k adds for each hit before it (k,), and for itself (k,)."""
    inverse = 1 / torch.arange(1, k + 1, dtype=torch.float64, device=device)
    if area == "rectangle":
        return inverse, inverse
    # the mean with the precision one rank higher up, which is 1 above the first
    shifted = torch.cat([inverse.new_zeros(1), inverse[:-1]])
    return (inverse + shifted) / 2, (inverse + inverse.floor()) / 2


def discounts(k: int, device: torch.device | str | None = None) -> Tensor:
    """1 / log2(1 + i), i = 1 ... k."""
    return 1 / torch.arange(2, k + 2, dtype=torch.float64, device=device).log2()


def dcg(gain: Tensor) -> Tensor:
    """Discounted cumulative gain (Q,) of gains (Q, K) in ranked order (Eqs. 12, 16)."""
    return gain @ discounts(gain.shape[1], gain.device)


def ideal_dcg(gain: Tensor, available: Tensor, k: int) -> Tensor:
    """The largest DCG@k (Q,), from each label set's gain and number of items (Q, S)."""
    gain, order = gain.sort(dim=1, descending=True)
    ranks = available.gather(1, order).cumsum(dim=1).clamp(max=k).long()  # used up by each set
    reached = running(discounts(k, gain.device))[ranks]
    return (gain * reached.diff(dim=1, prepend=torch.zeros_like(gain[:, :1]))).sum(dim=1)


def running(x: Tensor) -> Tensor:
    """Sums of the first 0, 1, ... n of x (n,)."""
    return torch.cat([x.new_zeros(1), x.cumsum(0)])
