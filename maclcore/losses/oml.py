"""OML: Smooth-AP, once for each label."""

import torch
from torch import Tensor

from maclcore.losses.pairs import check_batch, check_parameters, choose
from maclcore.losses.ranks import ranked


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
    without any other the loss is 0. Computed in O(N³ L), with memory O(N²). The default
    temperature is that of their code; the MACL paper has 0.3 for all (§5.4.2), far from a rank.
    """
    check_parameters({"temperature": temperature})
    choose("norm", norm, ("released", "per_label"))
    y = check_batch(z, y, check)
    with torch.autocast(z.device.type, enabled=False):
        z = z if z.dtype == torch.float64 else z.float()
        y = y.to(z)
        carriers = y.sum(dim=0)
        size = torch.full_like(carriers, len(z)) if norm == "released" else carriers
        weight = (carriers > 1) / (carriers * size).clamp(min=1)  # of each label, 0 if left out

        def gain(rows: slice) -> Tensor:
            """Σ_l y_ql y_jl y_kl of each label's weight, for queries q"""
            return ((y * weight) * y[rows, None]) @ y.T

        ap = ranked(z @ z.T / temperature, gain)
        labels = (carriers > 1).sum().clamp(min=1)
        return (carriers > 1).any().to(z.dtype) - ap / labels


oml.weights = None  # soft ranks compare three images: there is no W and no T
oml.layout = "images"
