"""The one formula behind the losses, and the primitives they share.

    L = reduce_i  - Σ_p W_ip [ s_ip / T_ip - log Σ_{a in A(i)} m_a exp(s_ia / T_ia) ],    s = z cᵀ

Anchors z are contrasted with candidates c, which are the same images, or have learned prototypes of
the labels among them, or come from a queue. A loss is a function from labels to `Terms`: who
attracts whom and how much (W), how sharp each pair is (T), how the anchors are averaged.
`pairwise` turns it into `loss(z, y) -> scalar`.
"""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Concatenate, Literal, NamedTuple, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from maclcore.labels import as_labels
from maclcore.losses.signatures import P, PairLoss, PrototypeLoss

#: largest error in the squared length of an embedding; rounding to bf16 stays below 0.01
UNIT_TOLERANCE = 0.02
#: up to this many candidates the formula goes through autograd as it reads
DENSE = 256
#: numbers in a tile of the (anchor, candidate) matrix: 1 MiB in float32 stays in a core's cache
TILE = 1 << 18
#: the same on a GPU, which wants few large steps
GPU_TILE = 1 << 22
#: batches of fewer images are not searched for equal label sets
MANY = 512
#: numbers in a table over distinct label sets, beyond which tiles are computed one by one
TABLE = 1 << 24

Keyword = functools.partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)


class Terms(NamedTuple):
    """What a loss makes of the labels of (A, C) pairs, anchors in rows."""

    W: Tensor  #: (A, C) >= 0, before the mean over anchors
    T: Tensor | float  #: (A, C), or one for all, as a number or a 0-d tensor
    reduction: str  #: a key of REDUCTIONS
    multiplicity: Tensor | None = None  #: (C,) m_a >= 0; None: 1
    attract_only: bool = False  #: positives are never repelled (LReg)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Labels of anchors against those of candidates, in the floating type of the loss.

    A row of candidates may stand for several images with equal label sets: every sum over an
    anchor's candidates is `total`, which counts them and leaves the anchor itself out.
    """

    y: Tensor  #: (A, L) 0/1, anchors
    candidates: Tensor  #: (C, L) 0/1
    count: Tensor  #: (C,) how many candidates have that row
    own: Tensor | None  #: (A,) the row that holds the anchor itself; None: it is no candidate

    @classmethod
    def of(
        cls, y: Tensor, dtype: torch.dtype, layout: str = "images", key_labels: Tensor | None = None
    ) -> "Pairs":
        """All pairs of a batch with labels y (N, L); `layout` as in `arrange`."""
        y = y.to(dtype)
        keys = None if key_labels is None else key_labels.to(dtype)
        prototypes = None if layout == "images" else torch.eye(y.shape[1]).to(y)
        anchors, candidates = arrange(layout, y, keys, prototypes)
        itself = layout in ("extended", "joint") or (layout == "images" and keys is None)
        own = torch.arange(len(anchors), device=y.device) if itself else None
        return cls(anchors, candidates, y.new_ones(len(candidates)), own)

    def rows(self, rows: slice) -> "Pairs":
        """The pairs of some of the anchors."""
        own = None if self.own is None else self.own[rows]
        return replace(self, y=self.y[rows], own=own)

    @functools.cached_property
    def size(self) -> Tensor:
        """(A,) |y_i|"""
        return self.y.sum(dim=1)

    @functools.cached_property
    def candidate_size(self) -> Tensor:
        """(C,) |y_p|"""
        return self.candidates.sum(dim=1)

    @functools.cached_property
    def shared(self) -> Tensor:
        """(A, C) |y_i ∩ y_p|"""
        return self.y @ self.candidates.T

    @functools.cached_property
    def union(self) -> Tensor:
        """(A, C) |y_i ∪ y_p|, at least 1"""
        return (self.size[:, None] + self.candidate_size - self.shared).clamp(min=1)

    @functools.cached_property
    def jaccard(self) -> Tensor:
        """(A, C) |y_i ∩ y_p| / |y_i ∪ y_p|, 0 for two empty sets"""
        return self.shared / self.union

    def total(self, weight: Tensor) -> Tensor:
        """Σ_{p in A(i)} weight_ip, (A, C) -> (A,)"""
        total = weight @ self.count
        return total if self.own is None else total - weight.gather(1, self.own[:, None])[:, 0]

    def mean_over(self, weight: Tensor) -> Tensor:
        """Weights scaled to Σ_{p in A(i)} W_ip = 1 wherever any of them is positive."""
        total = self.total(weight)[:, None]
        return torch.where(total > 0, weight / total, 0)

    def mean_over_carriers(self) -> Tensor:
        """V_ip = Σ_l y_il y_pl / |P_il|: for each label of the anchor, the mean over its carriers.

        The sum over labels is one matrix product, V = (Y / |P|) Yᵀ; a label that no other image
        carries contributes 0.
        """
        carriers = self.count @ self.candidates - int(self.own is not None)  # |P_il|: i left out
        return (self.y * torch.where(carriers > 0, 1 / carriers, 0)) @ self.candidates.T


def arrange(layout: str, images, keys, prototypes) -> tuple[Tensor, Tensor]:
    """Anchors and candidates of a batch, the same way for embeddings and for labels.

    images: the batch against itself, or against `keys` where they are given
    prototypes: the batch against the prototypes
    extended: the batch against itself, `keys` if given, and the prototypes
    joint: batch and prototypes against both
    """
    if layout == "images":
        return images, images if keys is None else keys
    if layout == "prototypes":
        return images, prototypes
    if layout == "extended":
        return images, torch.cat([part for part in (images, keys, prototypes) if part is not None])
    both = torch.cat([images, prototypes])
    return both, both


def contrast(s: Tensor, terms: Terms, own: Tensor | None) -> Tensor:
    """L_i = - Σ_p W_ip [ s_ip / T_ip - log Σ_{a in A(i)} m_a exp(s_ia / T_ia) ], (A, C) -> (A,).

    The formula as it reads, differentiable any number of times: - Σ_p W_ip log p_ip with
    p = softmax(s / T + log m), but for the log m of positives. With `attract_only`, p held fixed,
    - Σ_{p: W > 0} max(p_ip - W_ip, 0) s_ip / T_ip is added: its gradient cancels the repulsion
    of positives.
    """
    x, W, bias = s / terms.T, terms.W, log(terms.multiplicity)
    if bias is not None:
        x = x + bias
    if own is not None:
        W = W.scatter(1, own[:, None], 0)
        # the lowest number and not -inf: an anchor alone in its batch gives 0, not 0 times inf
        x = x.scatter(1, own[:, None], torch.finfo(x.dtype).min)
    log_p = x.log_softmax(dim=1)
    loss = -torch.linalg.vecdot(W, log_p)
    if bias is not None:
        loss = loss + W @ bias
    if terms.attract_only:
        p = log_p.exp().detach()
        loss = loss - torch.linalg.vecdot(torch.where(W > 0, (p - W).clamp(min=0), 0), x)
    return loss


def pair_gradient(s: Tensor, W: Tensor, T: Tensor | float) -> Tensor:
    """∂/∂s of Σ_i L_i for a batch against itself, (N, N): below 0 a pair is drawn together."""
    s = s.detach().clone().requires_grad_()
    L = contrast(s, Terms(W, T, "anchors"), torch.arange(len(s), device=s.device))
    return torch.autograd.grad(L.sum(), s)[0]


def per_pair(T: Tensor | float) -> bool:
    """Whether each pair has a temperature of its own."""
    return isinstance(T, Tensor) and T.ndim > 0


def log(multiplicity: Tensor | None) -> Tensor | None:
    """Its logarithm, that of 1e-30 for 0."""
    return None if multiplicity is None else multiplicity.clamp(min=1e-30).log()


class TiledContrast(torch.autograd.Function):
    """Σ_i a_i L_i / Σ_i b_i with `contrast`'s L_i, never holding more than tile × C numbers.

    With p = softmax(s / T) and R_i = Σ_p W_ip, ∂L_i/∂s_ia = (R_i p_ia - W_ia) / T_ia is at hand
    as soon as the loss is: the forward pass computes the gradient of z and c, and saves nothing
    else. `terms(rows)` gives `Terms`, own, R, a and b of a slice of the anchors.
    """

    @staticmethod
    def forward(z, c, terms, tile):
        loss, divisor = z.new_zeros(()), z.new_zeros(())
        dz = torch.zeros_like(z)
        dc = dz if c is z else torch.zeros_like(c)
        for start in range(0, len(z), tile):
            rows = slice(start, start + tile)
            term, own, R, a, b = terms(rows)
            W, T, bias, everywhere = term.W, term.T, log(term.multiplicity), 1.0
            if not per_pair(T):  # one for all: cheaper at the embeddings
                T, everywhere = None, T
            anchors = z[rows] / everywhere
            x = anchors @ c.T
            if T is not None:
                x.div_(T)
            if bias is not None:
                x.add_(bias)
            if own is not None:
                W.scatter_(1, own[:, None], 0)
                x.scatter_(1, own[:, None], torch.finfo(x.dtype).min)
            log_p = x.log_softmax(dim=1)
            value = -torch.linalg.vecdot(W, log_p)
            if bias is not None:  # it belongs to the denominator alone
                value += W @ bias
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


def checkpointed_contrast(
    z: Tensor, c: Tensor, terms_of: Callable[[Pairs], Terms], pairs: Pairs, tile: int
) -> Tensor:
    """What `TiledContrast` computes, differentiable in all that `terms_of` depends on.

    Autograd through the dense formula, a tile of anchors at a time; each is computed again when its
    gradient is due, so that memory is that of one.
    """

    def part(anchors: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return summed(anchors @ c.T, terms_of, pairs.rows(rows))

    again = functools.partial(checkpoint, part, use_reentrant=False, preserve_rng_state=False)
    slices = [slice(start, start + tile) for start in range(0, len(z), tile)]
    loss, divisor = map(sum, zip(*(again(z[rows], rows) for rows in slices), strict=True))
    return loss / divisor.clamp(min=1)


def summed(s: Tensor, terms_of: Callable[[Pairs], Terms], pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Σ_i a_i L_i and Σ_i b_i, through autograd, for similarities s (A, C)."""
    terms = terms_of(pairs)
    a, b = REDUCTIONS[terms.reduction](pairs.total(terms.W), pairs.size)
    return a @ contrast(s, terms, pairs.own), b.sum()


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


def tiles(weights: Callable[[Pairs], Terms], pairs: Pairs, images: int) -> Callable:
    """`terms(rows)` for `TiledContrast`, from a loss's weights.

    Where many of the first `images` candidates have equal label sets, W and T are looked up in
    a table over the distinct ones.
    """

    def complete(pairs: Pairs):
        terms = weights(pairs)
        R = pairs.total(terms.W)
        return terms, R, *REDUCTIONS[terms.reduction](R, pairs.size)

    def computed(rows: slice):
        part = pairs.rows(rows)
        terms, R, a, b = complete(part)
        return terms, part.own, R, a, b

    if images < MANY or pairs.own is None:
        return computed
    sets, set_of, count = distinct(pairs.candidates[:images])
    if len(sets) > images // 2 or len(sets) * len(pairs.candidates) > TABLE:
        return computed
    # the candidates that are no images of the batch, prototypes or a queue, keep a row each
    rest = torch.arange(len(pairs.candidates) - images, device=set_of.device) + len(sets)
    row = torch.cat([set_of, rest])
    candidates = torch.cat([sets, pairs.candidates[images:]])
    anchors = candidates[: len(sets) + len(pairs.y) - images]
    counts = torch.cat([count.to(sets), pairs.count[images:]])
    own = torch.arange(len(anchors), device=row.device)
    terms, R, a, b = complete(Pairs(anchors, candidates, counts, own))
    W = terms.W[:, row]
    T = terms.T[:, row] if per_pair(terms.T) else terms.T
    multiplicity = None if terms.multiplicity is None else terms.multiplicity[row]

    def looked_up(rows: slice):
        at = row[: len(pairs.y)][rows]
        T_rows = T[at] if per_pair(T) else T
        part = terms._replace(W=W[at], T=T_rows, multiplicity=multiplicity)
        return part, pairs.own[rows], R[at], a[at], b[at]

    return looked_up


def distinct(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct rows of 0/1 rows y (N, L): (S, L), the row of each (N,), how often each occurs."""
    bit = 2 ** torch.arange(62, device=y.device)
    # a product and a sum, because GPUs multiply no matrices of integers
    words = [(part.long() * bit[: part.shape[1]]).sum(dim=1) for part in y.split(62, dim=1)]
    if len(words) == 1:
        _, row, count = words[0].unique(return_inverse=True, return_counts=True)
    else:
        _, row, count = torch.stack(words, 1).unique(dim=0, return_inverse=True, return_counts=True)
    first = torch.empty_like(count).scatter_(0, row, torch.arange(len(y), device=y.device))
    return y[first], row, count


def choose(name: str, value: str, options) -> None:
    """Raise ValueError unless `value` is one of the options of the parameter `name`."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}; got {value!r}")


def check_batch(z: Tensor, y, values: bool = True, name: str = "z", labels: str = "y") -> Tensor:
    """The labels of a batch as a bool tensor beside `z`, after checking both.

    `values=False` checks types and shapes alone, which never waits for a GPU.
    """
    if not isinstance(z, Tensor) or not z.is_floating_point():
        got = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(f"{name} must be a floating tensor, got {got}")
    if z.ndim != 2 or not z.numel():
        raise ValueError(f"{name} must be (N, D) with N >= 1 images, got shape {tuple(z.shape)}")
    if isinstance(y, Tensor) and y.requires_grad:
        raise TypeError(f"{labels} is compared, so it gets no gradient: pass {labels}.detach()")
    if values or not isinstance(y, Tensor) or y.ndim != 2:
        y = as_labels(y, labels)
    y = y if isinstance(y, Tensor) else torch.tensor(y)
    if len(y) != len(z):
        raise ValueError(
            f"{name} has {len(z)} rows, {labels} has {len(y)}: one row an image in both"
        )
    if values:
        row = z.detach().float()
        error = float((torch.linalg.vecdot(row, row) - 1).abs().max())
        if not error <= UNIT_TOLERANCE:
            raise ValueError(
                f"{name} must hold unit rows, as torch.nn.functional.normalize({name}) gives; "
                + ("it holds NaN" if error != error else f"|z_i|^2 is off by up to {error:.3g}")
            )
    return y.to(device=z.device, dtype=torch.bool)


def check_parameters(params: dict) -> None:
    """TypeError for a tensor that is no scalar, ValueError for a temperature that is not > 0."""
    for name, value in params.items():
        if isinstance(value, Tensor) and value.ndim:
            shape = tuple(value.shape)
            raise TypeError(f"{name} must be a number or a scalar tensor, got shape {shape}")
    if not 0 < params.get("temperature", 1) < math.inf:
        raise ValueError(f"temperature must be positive, got {params['temperature']}")


def is_learned(parameter) -> bool:
    """Whether a derivative with respect to a parameter of a loss may be asked for."""
    if not isinstance(parameter, Tensor):
        return False
    forward = forward_ad.unpack_dual(parameter).tangent is not None
    return forward or (parameter.requires_grad and torch.is_grad_enabled())


def unit_prototypes(prototypes: Tensor, z: Tensor, labels: int, values: bool = True) -> Tensor:
    """Prototypes (L, D) of any row length as unit rows of the type of `z`, after checking them."""
    if not isinstance(prototypes, Tensor) or prototypes.shape != (labels, z.shape[1]):
        got = getattr(prototypes, "shape", type(prototypes).__name__)
        raise ValueError(
            f"prototypes must be (L, D) = ({labels}, {z.shape[1]}), one row a label; got {got}"
        )
    if values and not bool(prototypes.detach().norm(dim=1).gt(0).all()):
        raise ValueError("prototypes must have a direction each: a row is zero or NaN")
    return F.normalize(prototypes.to(z), dim=1)


@overload
def pairwise(weights: Callable[Concatenate[Pairs, P], tuple]) -> PairLoss[P]: ...
@overload
def pairwise(
    *, layout: Literal["prototypes", "extended", "joint"]
) -> Callable[[Callable[Concatenate[Pairs, P], tuple]], PrototypeLoss[P]]: ...
def pairwise(weights: Callable | None = None, *, layout: str = "images") -> Callable:
    """Turn `weights(pairs, ...) -> Terms` into `loss(z, y, ...) -> scalar`.

    `layout` says who is contrasted with whom, see `arrange`; where there are prototypes, the loss
    is `loss(z, y, prototypes, ...)`. The loss computes in float32 (float64 for float64 `z`),
    inside autocast too. With `check=False` the values of `z` and `y` are trusted. The weights stay
    at hand as `loss.weights`, the layout as `loss.layout`.
    """
    if weights is None:
        return functools.partial(pairwise, layout=layout)
    prototyped, queued = layout != "images", layout in ("images", "extended")

    @functools.wraps(weights)
    def checked(pairs: Pairs, *args, **params) -> Terms:
        check_parameters(params)
        terms = Terms(*weights(pairs, *args, **params))
        choose("reduction", terms.reduction, REDUCTIONS)
        return terms

    @functools.wraps(weights)
    def loss(z: Tensor, y, *args, check=True, keys=None, key_labels=None, **params) -> Tensor:
        y = check_batch(z, y, check)
        z = z if z.dtype == torch.float64 else z.float()
        if keys is not None:
            if not queued:
                raise ValueError(f"{weights.__name__} takes no keys: its form has no queue")
            key_labels = check_batch(keys, key_labels, check, "keys", "key_labels")
            keys = keys.detach().to(z)
        prototypes = None
        if prototyped:
            prototypes, *args = args
            prototypes = unit_prototypes(prototypes, z, y.shape[1], check)
        with torch.autocast(z.device.type, enabled=False):
            pairs = Pairs.of(y, z.dtype, layout, key_labels)

            def terms_of(part: Pairs) -> Terms:
                return checked(part, *args, **params)

            anchors, candidates = arrange(layout, z, keys, prototypes)
            # small, or one graph that the compiler fuses by itself
            if len(candidates) <= DENSE or torch.compiler.is_compiling():
                total, divisor = summed(anchors @ candidates.T, terms_of, pairs)
                return total / divisor.clamp(min=1)
            numbers = TILE if z.device.type == "cpu" else GPU_TILE
            rows = max(numbers // len(candidates), 32)
            if any(map(is_learned, params.values())):
                return checkpointed_contrast(anchors, candidates, terms_of, pairs, rows)
            terms = tiles(terms_of, pairs, len(z))
            return TiledContrast.apply(anchors, candidates, terms, rows)[0]

    _, *rest = inspect.signature(weights).parameters.values()
    first = ["z", "y", *(["prototypes"] if prototyped else [])]
    first = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in first]
    last = [Keyword(n, default=None) for n in ("keys", "key_labels") if queued]
    loss.__signature__ = inspect.Signature([*first, *rest, *last, Keyword("check", default=True)])
    loss.weights, loss.layout = checked, layout
    return loss
