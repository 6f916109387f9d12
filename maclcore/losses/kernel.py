"""The kernel: from similarities and `Terms` to the value of a loss and its gradient.

    L = reduce_i  - Σ_p W_ip [ s_ip / T_ip - log Σ_{a in A(i)} m_ia exp(s_ia / T_ia) ],    s = z cᵀ

Three forms of one formula: `contrast` as it reads, through autograd; `TiledContrast` for large
batches, and `checkpointed` where parameters are learned, both some anchors at a time. So it is
with `agreement` and `TiledAgreement`, which ask something of each pair by itself:

    L = mean_ij  softplus(s_ij / T) - S_ij s_ij / T,    s = z cᵀ

Nothing here knows of labels.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


class Terms(NamedTuple):
    """What a loss makes of the labels of (A, C) pairs, anchors in rows."""

    W: Tensor  #: (A, C) >= 0, before the mean over anchors
    T: Tensor | float  #: (A, C), or one for all, as a number or a 0-d tensor
    reduction: str  #: a key of REDUCTIONS
    #: (C,) m_a >= 0, or (A, C) m_ia >= 0 or bool, anchor by anchor: how often a candidate counts
    #: in the denominator, 0 or False for not at all; None: 1
    multiplicity: Tensor | None = None
    attract_only: bool = False  #: positives are never repelled (LReg)


class Targets(NamedTuple):
    """What a loss asks of each of (A, C) pairs by itself."""

    S: Tensor  #: (A, C) in [0, 1], how likely it should be that the two are alike
    T: Tensor | float  #: > 0, one for all
    own: Tensor | None  #: (A,) the candidate that is the anchor itself, left out; None: none is
    a: Tensor  #: (A,) 0/1, whether an anchor counts
    m: Tensor  #: (C,) 0/1, whether a candidate counts

    @property
    def number(self) -> Tensor:
        """How many pairs count."""
        number = self.a.sum() * self.m.sum()
        return number if self.own is None else number - self.a @ self.m[self.own]


#: How anchors are averaged: Σ_i a_i L_i / Σ_i b_i, with (a, b) from R_i = Σ_p W_ip and |y_i|.
REDUCTIONS: dict[str, Callable] = {
    # mean over the anchors that have a positive
    "active": lambda R, size: 2 * ((R > 0).to(R.dtype),),
    # mean over all anchors; those without a positive count as 0
    "anchors": lambda R, size: (torch.ones_like(R), torch.ones_like(R)),
    # 1 / M over the M = Σ|y_i| pairs (anchor, label); a pair without a positive counts as 0
    "pairs": lambda R, size: (torch.ones_like(R), size),
    # 1 / (N |y_i|): the mean over an image's labels, then over images, so that each counts once
    "images": lambda R, size: (1 / size.clamp(min=1), torch.ones_like(R)),
}


def contrast(s: Tensor, terms: Terms, own: Tensor | None) -> Tensor:
    """L_i = - Σ_p W_ip [ s_ip / T_ip - log Σ_{a in A(i)} m_ia exp(s_ia / T_ia) ], (A, C) -> (A,).

    The formula as it reads, differentiable any number of times. With `attract_only`, p held fixed,
    - Σ_{p: W > 0} max(p_ip - W_ip, 0) s_ip / T_ip is added: its gradient cancels the repulsion
    of positives.
    """
    x, W = s / terms.T, terms.W
    if own is not None:
        W = W.scatter(1, own[:, None], 0)
        # the lowest number and not -inf: an anchor alone in its batch gives 0, not 0 times inf
        x = x.scatter(1, own[:, None], torch.finfo(x.dtype).min)
    attraction, log_p = bracket(x, W, terms.multiplicity)
    loss = -attraction
    if terms.attract_only:
        p = log_p.exp().detach()
        loss = loss - torch.linalg.vecdot(torch.where(W > 0, (p - W).clamp(min=0), 0), x)
    return loss


def bracket(x: Tensor, W: Tensor, m: Tensor | None) -> tuple[Tensor, Tensor]:
    """Σ_p W_ip [ x_ip - log Σ_a m_ia exp(x_ia) ], (A,), and log p, p = softmax(x + log m), (A, C).

    m as in `Terms`: of all anchors, where a 0 counts as 1e-30, or of each.
    """
    if m is None:
        log_p = x.log_softmax(dim=1)
        return torch.linalg.vecdot(W, log_p), log_p
    log_m = m.clamp(min=1e-30).log()
    if m.ndim == 1:
        log_p = (x + log_m).log_softmax(dim=1)
        return torch.linalg.vecdot(W, log_p) - W @ log_m, log_p
    # a positive may be masked: it has no log p, but its x counts
    counted = torch.where(m > 0, x + log_m, torch.finfo(x.dtype).min)
    scale = counted.logsumexp(dim=1, keepdim=True)
    return torch.linalg.vecdot(W, x - scale), counted - scale


def pair_gradient(s: Tensor, W: Tensor, T: Tensor | float) -> Tensor:
    """∂/∂s of Σ_i L_i for a batch against itself, (N, N): below 0 a pair is drawn together."""
    s = s.detach().clone().requires_grad_()
    L = contrast(s, Terms(W, T, "anchors"), torch.arange(len(s), device=s.device))
    return torch.autograd.grad(L.sum(), s)[0]


def agreement(s: Tensor, *targets) -> tuple[Tensor, Tensor]:
    """Σ_ij a_i m_j [softplus(x_ij) - S_ij x_ij], x = s / T, of (A, C) pairs, and their number.

    The cross-entropy of σ(x) with S, of `Targets`; differentiable any number of times.
    """
    S, T, own, a, m = targets
    x = s / T
    if own is not None:
        x = x.scatter(1, own[:, None], torch.finfo(x.dtype).min)  # softplus and σ are 0
        S = S.scatter(1, own[:, None], 0)
    return a @ (softplus(x) - S * x) @ m, Targets(*targets).number


#: log(1 + e^x), to the last digit in float64, too
softplus = functools.partial(F.softplus, threshold=40)


def per_pair(T: Tensor | float) -> bool:
    """Whether each pair has a temperature of its own."""
    return isinstance(T, Tensor) and T.ndim > 0


class Tiled(torch.autograd.Function):
    """A loss whose forward pass computes the gradient of z and c, and saves nothing else."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        gradients = [gradient for gradient in output[1:] if gradient is not None]
        ctx.mark_non_differentiable(*gradients)
        ctx.save_for_backward(*gradients)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, loss, *_):
        dz, *dc = ctx.saved_tensors
        return loss * dz, loss * dc[0] if dc else None, None, None


class TiledContrast(Tiled):
    """Σ_i a_i L_i / Σ_i b_i with `contrast`'s L_i, never holding more than tile × C numbers.

    With p = softmax(s / T + log m) and R_i = Σ_p W_ip, ∂L_i/∂s_ia = (R_i p_ia - W_ia) / T_ia is at
    hand as soon as the loss is. `terms(rows)` gives `Terms`, own, R, a and b of a slice of the
    anchors.
    """

    @staticmethod
    def forward(z, c, terms, tile):
        loss, divisor = z.new_zeros(()), z.new_zeros(())
        dz = torch.zeros_like(z)
        dc = dz if c is z else torch.zeros_like(c)
        for start in range(0, len(z), tile):
            rows = slice(start, start + tile)
            term, own, R, a, b = terms(rows)
            W, T, everywhere = term.W, term.T, 1.0
            if not per_pair(T):  # one for all: cheaper at the embeddings
                T, everywhere = None, T
            anchors = z[rows] / everywhere
            x = anchors @ c.T
            if T is not None:
                x.div_(T)
            if own is not None:
                W.scatter_(1, own[:, None], 0)
                x.scatter_(1, own[:, None], torch.finfo(x.dtype).min)
            value, log_p = bracket(x, W, term.multiplicity)
            value.neg_()
            g = log_p.exp_().mul_(R[:, None]).sub_(W)
            if term.attract_only:
                excess = torch.where(W > 0, g.clamp(min=0), 0)
                value -= torch.linalg.vecdot(excess, x)
                g.sub_(excess)
            if T is not None:
                g.div_(T)
            a_T = a[:, None] / everywhere
            dz[rows].add_(g @ c * a_T)
            dc.addmm_(g.T, z[rows] * a_T)
            loss += a @ value
            divisor += b.sum()
        scale = 1 / divisor.clamp(min=1)
        return loss * scale, dz.mul_(scale), None if c is z else dc.mul_(scale)


class TiledAgreement(Tiled):
    """The mean of `agreement` over the pairs that count, never holding more than tile × C numbers.

    ∂/∂s_ij of a pair is a_i m_j (σ(s_ij / T) - S_ij) / T. `terms(rows)` gives `Targets` of a slice
    of the anchors.
    """

    @staticmethod
    def forward(z, c, terms, tile):
        loss, number = z.new_zeros(()), z.new_zeros(())
        dz = torch.zeros_like(z)
        dc = dz if c is z else torch.zeros_like(c)
        for start in range(0, len(z), tile):
            rows = slice(start, start + tile)
            S, T, own, a, m = targets = Targets(*terms(rows))
            x = (z[rows] / T) @ c.T
            if own is not None:
                S.scatter_(1, own[:, None], 0)
                x.scatter_(1, own[:, None], torch.finfo(x.dtype).min)
            loss += a @ (softplus(x).addcmul_(S, x, value=-1) @ m)
            number += targets.number
            g = x.sigmoid_().sub_(S).mul_(m)
            a_T = (a / T)[:, None]
            dz[rows].add_(g @ c * a_T)
            dc.addmm_(g.T, z[rows] * a_T)
        scale = 1 / number.clamp(min=1)
        return loss * scale, dz.mul_(scale), None if c is z else dc.mul_(scale)


def checkpointed(z: Tensor, c: Tensor, formula: Callable, terms: Callable, tile: int) -> Tensor:
    """The dense `formula`, `summed` or `agreement`, differentiable in all that `terms` depends on.

    Through autograd, a tile of anchors at a time; each is computed again when its gradient is due,
    so that memory is that of one.
    """

    def part(anchors: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return formula(anchors @ c.T, *terms(rows))

    again = functools.partial(checkpoint, part, use_reentrant=False, preserve_rng_state=False)
    slices = [slice(start, start + tile) for start in range(0, len(z), tile)]
    loss, divisor = map(sum, zip(*(again(z[rows], rows) for rows in slices), strict=True))
    return loss / divisor.clamp(min=1)


def summed(
    s: Tensor, terms: Terms, own: Tensor | None, R: Tensor, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """Σ_i a_i L_i and Σ_i b_i, through autograd, for similarities s (A, C)."""
    return a @ contrast(s, terms, own), b.sum()
