"""Losses of smooth ranks: average precisions whose ranks are sums of sigmoids.

With σ(x) = sigmoid(x / θ), R_qj = 1 + Σ_{k≠j} σ(s_qk - s_qj) is the rank of image j for query q.
All of them are one sum, `ranked`, with another gain: what it is worth that k lies above j.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from maclcore.labels import Array
from maclcore.losses.pairs import Pairs, check_batch, check_parameters

#: comparisons (query, image, image) at a time: so many stay in a core's cache
CHUNK = 1 << 16
#: where those of one query do not, and on a GPU
LARGE = 1 << 22

Gain = Callable[[slice], Tensor]


def hap(z: Tensor, y: Array, *, temperature: float = 0.05, check: bool = True) -> Tensor:
    """H-AP with the Jaccard index as relevance (Ramzi et al., ECCV 2022, Eq. 4).

    L = mean_i 1 - (1 / Σ_p J_ip) Σ_p [J_ip + Σ_{k≠p} min(J_ip, J_ik) σ(s_ik - s_ip)] / R_ip, over
    the other images; queries that share no label with any are left out. `temperature` is the
    sigmoid's scale (ours; theirs has θ = 0.01 and a steeper step where k is less relevant than p).
    """
    z, y = _checked(z, y, temperature, check)
    J = _jaccard(Pairs.of(y, z.dtype))
    total = J.sum(dim=1)
    weight = _mean_over(total > 0, z) / total.clamp(min=1e-30)

    def gain(rows: slice) -> Tensor:
        return torch.minimum(J[rows, :, None], J[rows, None, :]) * weight[rows, None, None]

    return (total > 0).any().to(z) - ranked(others(z, temperature), gain)


def smooth_ap(
    z: Tensor, y: Array, *, temperature: float = 0.05, levels: str = "0 .4 .6 .8",
    check: bool = True,
) -> Tensor:  # fmt: skip
    """Smooth-AP (Brown et al., ECCV 2020, Eq. 7), a mean over Jaccard thresholds.

    L = mean_θ mean_i 1 - (1 / |P_iθ|) Σ_{p in P_iθ} [1 + Σ_{k in P_iθ, k≠p} σ(s_ik - s_ip)] / R_ip,
    P_iθ the other images with J >= θ, for θ = 0 those that share a label; queries without any are
    left out at that threshold. `levels`: the thresholds, as in `graded`.
    """
    z, y = _checked(z, y, temperature, check)
    positive = [part.to(z) for part in at_least(Pairs.of(y, z.dtype), levels)]
    sizes = [part.sum(dim=1) for part in positive]
    weights = [_mean_over(size > 0, z) / size.clamp(min=1) / len(sizes) for size in sizes]
    P, w = torch.stack(positive, dim=2), torch.stack(weights, dim=1)  # (N, N, Θ), (N, Θ)

    def gain(rows: slice) -> Tensor:
        return (P[rows] * w[rows, None]) @ P[rows].transpose(1, 2)

    reached = sum((size > 0).any().to(z) for size in sizes) / len(sizes)
    return reached - ranked(others(z, temperature), gain)


def ranked(s: Tensor, gain: Gain) -> Tensor:
    """Σ_{q, j} [Σ_k gain_qjk σ(s_qk - s_qj)] / R_qj, with σ(s_qj - s_qj) = 1 in both, for s (Q, N)
    that is divided by the sigmoid's scale.

    gain: of a slice of the queries (q, N, N) [query, j, k], of labels alone. Computed in O(Q N²)
    of time; memory is that of some queries at a time.
    """
    if s.shape[1] ** 2 * len(s) <= CHUNK:
        return _ranked(s, gain(slice(None)))
    return ChunkedRanks.apply(s, gain)[0]


def _ranked(s: Tensor, gain: Tensor) -> Tensor:
    above = torch.sigmoid(s[:, None, :] - s[:, :, None])  # [q, j, k]: is k above j?
    rank = above.sum(dim=2) + 0.5  # 1, without σ(0) = 1/2 of k = j
    counted = torch.linalg.vecdot(gain, above) + gain.diagonal(dim1=1, dim2=2) / 2
    return (counted / rank).sum()


class ChunkedRanks(torch.autograd.Function):
    """`ranked`, some queries at a time; saves the gradient of s alone."""

    @staticmethod
    def forward(s, gain):
        of_one = s.shape[1] ** 2
        step = (0 if s.is_cuda else CHUNK // of_one) or LARGE // of_one or 1
        total, ds = s.new_zeros(()), torch.empty_like(s)
        for start in range(0, len(s), step):
            rows = slice(start, start + step)
            above = torch.sigmoid(s[rows, None, :] - s[rows, :, None])
            slope = gain(rows)
            rank = above.sum(dim=2) + 0.5
            counted = torch.linalg.vecdot(slope, above) + slope.diagonal(dim1=1, dim2=2) / 2
            ratio = counted / rank
            total += ratio.sum()
            # of ratio_j in s_k - s_j: (gain - ratio) / rank σ (1 - σ)
            slope = (slope - ratio[:, :, None]).div_(rank[:, :, None]).mul_(above)
            slope = slope.mul_(above.neg_().add_(1))
            ds[rows] = slope.sum(dim=1) - slope.sum(dim=2)
        return total, ds

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, total, _):
        return total * ctx.saved_tensors[0], None


def others(z: Tensor, temperature: float) -> Tensor:
    """s / θ (N, N), each image at the very end of its own list."""
    with torch.autocast(z.device.type, enabled=False):
        s = z @ z.T / temperature
    own = torch.arange(len(s), device=s.device)[:, None]
    return s.scatter(1, own, torch.finfo(s.dtype).min)


def at_least(pairs: Pairs, levels: str) -> list[Tensor]:
    """(A, C) bool for each of the levels: the other images with at least that Jaccard index, for 0
    those that share a label. ValueError for what is no list of numbers in [0, 1], each once."""
    found = []
    for level in thresholds(levels):
        enough = pairs.shared + 1e-4 >= level * pairs.union  # both are whole numbers
        enough &= pairs.shared >= 1
        if pairs.own is not None:
            enough = enough.scatter(1, pairs.own[:, None], False)
        found.append(enough)
    return found


def thresholds(levels: str) -> list[float]:
    """The numbers of a text such as "0 .4 .6 .8 1"."""
    try:
        found = [float(part) for part in levels.split()]
    except (AttributeError, ValueError):
        found = []
    if not found or len({*found}) < len(found) or not all(0 <= level <= 1 for level in found):
        raise ValueError(f'levels must be numbers in [0, 1], such as "0 .4 .6 .8"; got {levels!r}')
    return found


def _checked(z: Tensor, y: Array, temperature: float, check: bool) -> tuple[Tensor, Tensor]:
    check_parameters({"temperature": temperature})
    y = check_batch(z, y, check)
    return z if z.dtype == torch.float64 else z.float(), y


def _jaccard(pairs: Pairs) -> Tensor:
    """(N, N), 0 of an image with itself"""
    return pairs.jaccard.scatter(1, pairs.own[:, None], 0)


def _mean_over(counts: Tensor, like: Tensor) -> Tensor:
    """1 / n for each of the n queries that count, 0 for the others, (N,) bool -> (N,)"""
    return counts.to(like) / counts.sum().clamp(min=1)


for _loss in (hap, smooth_ap):
    _loss.weights, _loss.layout = None, "images"  # three images are compared: no W and no T
