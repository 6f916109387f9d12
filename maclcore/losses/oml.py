"""OML: Smooth-AP, once for each label."""


import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from maclcore.losses.pairs import check_batch, choose

#: numbers in a chunk of the (query, image, image) comparisons
CHUNK = 1 << 22


def oml(
    z: Tensor,
    y: Tensor,
    *,
    temperature: float = 0.01,
    norm: str = "released",
    check: bool = True,
) -> Tensor:
    """Ordered Multi-label Loss: 1 - AP with ranks made smooth, averaged over labels.

    With σ(x) = sigmoid(x / temperature), R(q, j) = 1 + Σ_{k≠j} σ(s_qk - s_qj) is the rank of image
    j for query q, and R_l(q, j) the same among the carriers Q_l of a label;
    AP_l = Σ_{q, j in Q_l} R_l(q, j) / R(q, j), divided by N |Q_l| ("released": as in the code of
    Imbriaco et al., whose optimum is then 1 - mean |Q_l| / N) or by |Q_l|² ("per_label": optimum
    0). The query is an item of its own list. Labels with fewer than two carriers are left out;
    without any other the loss is 0. Computed in O(N³ L), with memory O(N²).
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive, got {temperature}")
    choose("norm", norm, ("released", "per_label"))
    y = check_batch(z, y, check)
    with torch.autocast(z.device.type, enabled=False):
        z = z if z.dtype == torch.float64 else z.float()
        y = y.to(z)
        n, s = len(z), z @ z.T / temperature
        carriers = y.sum(dim=0)
        size = torch.full_like(carriers, n) if norm == "released" else carriers
        weight = (carriers > 1) / (carriers * size).clamp(min=1)  # of each label, 0 if left out

        def precision(s: Tensor, y_query: Tensor) -> Tensor:
            """Σ_j weighted R_l(q, j) / R(q, j), summed over the chunk's queries, labels, items."""
            above = torch.sigmoid(s[:, None, :] - s[:, :, None])  # [q, j, k]: is k above j?
            rank = above.sum(dim=2) + 0.5  # 1, without σ(0) = 1/2 of k = j
            among = above @ y + 0.5  # [q, j, l]
            return torch.einsum("qjl,qj,ql,jl->", among, 1 / rank, y_query * weight, y)

        step = max(CHUNK // n**2, 1)
        if step >= n:
            ap = precision(s, y)
        else:
            parts = zip(s.split(step), y.split(step), strict=True)
            ap = sum(checkpoint(precision, *part, use_reentrant=False) for part in parts)
        labels = (carriers > 1).sum().clamp(min=1)
        return (carriers > 1).any().to(z.dtype) - ap / labels


oml.weights = None  # soft ranks compare three images: there is no W and no T
oml.layout = "images"
