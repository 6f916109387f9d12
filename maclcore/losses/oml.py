"""OML: Smooth-AP, once for each label."""

import torch
from torch import Tensor

from maclcore.losses.pairs import check_batch, check_parameters, choose

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
    without any other the loss is 0. Computed in O(N³ L), with memory O(N²). The default
    temperature is that of their code; the MACL paper has 0.3 for all (§5.4.2), far from a rank.
    """
    check_parameters({"temperature": temperature})
    choose("norm", norm, ("released", "per_label"))
    y = check_batch(z, y, check)
    with torch.autocast(z.device.type, enabled=False):
        z = z if z.dtype == torch.float64 else z.float()
        y = y.to(z)
        n, s = len(z), z @ z.T / temperature
        carriers = y.sum(dim=0)
        size = torch.full_like(carriers, n) if norm == "released" else carriers
        weight = (carriers > 1) / (carriers * size).clamp(min=1)  # of each label, 0 if left out
        if n**3 <= CHUNK:
            ap = precision(s, y, y * weight)
        else:
            ap, _ = ChunkedPrecision.apply(s, y, y * weight)
        labels = (carriers > 1).sum().clamp(min=1)
        return (carriers > 1).any().to(z.dtype) - ap / labels


def precision(s: Tensor, y: Tensor, y_query: Tensor) -> Tensor:
    """Σ_{q, j, l} R_l(q, j) / R(q, j) over queries with s (Q, N) and weighted labels (Q, L)."""
    above = torch.sigmoid(s[:, None, :] - s[:, :, None])  # [q, j, k]: is k above j?
    rank = above.sum(dim=2) + 0.5  # 1, without σ(0) = 1/2 of k = j
    among = above @ y + 0.5  # [q, j, l]
    return torch.einsum("qjl,qj,ql,jl->", among, 1 / rank, y_query, y)


class ChunkedPrecision(torch.autograd.Function):
    """`precision`, some queries at a time; saves the gradient of s alone."""

    @staticmethod
    def forward(s, y, y_query):
        step = max(CHUNK // len(s) ** 2, 1)
        total, ds = s.new_zeros(()), torch.empty_like(s)
        for start in range(0, len(s), step):
            rows = slice(start, start + step)
            with torch.enable_grad():
                part = s[rows].detach().requires_grad_()
                value = precision(part, y, y_query[rows])
            (ds[rows],) = torch.autograd.grad(value, part)
            total += value.detach()
        return total, ds

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, total, _):
        return total * ctx.saved_tensors[0], None, None


oml.weights = None  # soft ranks compare three images: there is no W and no T
oml.layout = "images"
