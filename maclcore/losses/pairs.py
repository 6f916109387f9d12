"""From labels to a loss: what labels say of pairs of images, and the decorator `pairwise`.

Anchors z are contrasted with candidates c, which are the same images, or have learned prototypes of
the labels among them, or come from a queue. A loss is a function from labels to `Terms`: who
attracts whom and how much (W), how sharp each pair is (T), how the anchors are averaged.
`pairwise` turns it into `loss(z, y) -> scalar`, computed by the kernel (`maclcore.losses.kernel`).
"""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Concatenate, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from maclcore.labels import as_labels
from maclcore.losses.kernel import (
    REDUCTIONS,
    Terms,
    TiledContrast,
    checkpointed,
    per_pair,
    summed,
)
from maclcore.losses.signatures import P, PairLoss

#: largest error in the squared length of an embedding; rounding to bf16 stays below 0.01
UNIT_TOLERANCE = 0.02
#: up to this many candidates the formula goes through autograd as it reads
DENSE = 256
#: numbers in a tile of the (anchor, candidate) matrix: 1 MiB in float32 stays in a core's cache
TILE = 1 << 18
#: the same on a GPU, which wants few large steps
GPU_TILE = 1 << 24
#: batches of fewer images are not searched for equal label sets
MANY = 512
#: numbers in a table over distinct label sets, beyond which tiles are computed one by one
TABLE = 1 << 24

Keyword = functools.partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)


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
    twin: Tensor | None = None  #: (A,) the row of the anchor's other view, in losses that need it

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
        twin = None if self.twin is None else self.twin[rows]
        return replace(self, y=self.y[rows], own=own, twin=twin)

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

    @functools.cached_property
    def cosine(self) -> Tensor:
        """(A, C) |y_i ∩ y_p| / √(|y_i| |y_p|), 0 where a set is empty"""
        sizes = self.size.clamp(min=1)[:, None] * self.candidate_size.clamp(min=1)
        return self.shared / sizes.sqrt()  # a root of both: never above 1 by rounding

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


def complete(
    weights: Callable[[Pairs], Terms], pairs: Pairs, rows: slice | None = None
) -> tuple[Terms, Tensor | None, Tensor, Tensor, Tensor]:
    """`Terms`, own, R, a and b of all anchors or of some, as the kernel takes them."""
    pairs = pairs if rows is None else pairs.rows(rows)
    terms = weights(pairs)
    R = pairs.total(terms.W)
    return terms, pairs.own, R, *REDUCTIONS[terms.reduction](R, pairs.size)


def tiles(weights: Callable[[Pairs], Terms], pairs: Pairs, images: int) -> Callable:
    """`terms(rows)` for `TiledContrast`, from a loss's weights.

    Where many of the first `images` candidates have equal label sets, all of `Terms` is looked up
    in a table over the distinct ones.
    """
    computed = functools.partial(complete, weights, pairs)
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
    terms, _, R, a, b = complete(weights, Pairs(anchors, candidates, counts, own))
    W = terms.W[:, row]
    T = terms.T[:, row] if per_pair(terms.T) else terms.T
    m = None if terms.multiplicity is None else terms.multiplicity[..., row]

    def looked_up(rows: slice) -> tuple:
        at = row[: len(pairs.y)][rows]
        T_rows = T[at] if per_pair(T) else T
        m_rows = m[at] if m is not None and m.ndim == 2 else m
        part = terms._replace(W=W[at], T=T_rows, multiplicity=m_rows)
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


def check_keys(z: Tensor, y: Tensor, keys, key_labels, values: bool = True) -> tuple:
    """Keys (M, D) beside anchors z, without a gradient, and their labels, after checking both."""
    if keys is None:
        return None, None
    key_labels = check_batch(keys, key_labels, values, "keys", "key_labels")
    for name, one, other in (("keys", keys, z), ("key_labels", key_labels, y)):
        if one.shape[1] != other.shape[1]:
            raise ValueError(f"{name} has {one.shape[1]} columns, anchors have {other.shape[1]}")
    return keys.detach().to(z), key_labels


def check_parameters(params: dict) -> None:
    """TypeError for a tensor that is no scalar, ValueError for a temperature that is not > 0."""
    for name, value in params.items():
        if isinstance(value, Tensor) and value.ndim:
            shape = tuple(value.shape)
            raise TypeError(f"{name} must be a number or a scalar tensor, got shape {shape}")
    for name in ("temperature", "soft_temperature"):
        if not 0 < params.get(name, 1) < math.inf:
            raise ValueError(f"{name} must be positive, got {params[name]}")


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


def masked(terms: Terms, pairs: Pairs) -> Terms:
    """`terms` after a check of its multiplicity's shape, in the type of the loss. An anchor all of
    whose candidates are masked has no denominator: it gets no positives, and counts as such."""
    m, shape = terms.multiplicity, terms.W.shape
    if m is None:
        return terms
    if m.shape not in (shape, shape[1:]):
        raise ValueError(
            f"multiplicity must be (C,) = ({shape[1]},) or (A, C) = {tuple(shape)}, a number a "
            f"candidate or a pair; got {tuple(m.shape)}"
        )
    m = m.to(pairs.y)
    if m.ndim == 1:
        return terms._replace(multiplicity=m)
    W = torch.where(pairs.total(m)[:, None] > 0, terms.W, 0)
    return terms._replace(W=W, multiplicity=m)


def computed(
    z: Tensor, c: Tensor, terms, learned: bool, table=None, formula=summed, tiled=TiledContrast
) -> Tensor:
    """A loss of anchors z (A, D) and candidates c (C, D), by the form of the kernel that suits.

    terms: `terms(rows)` is what `formula` takes of some anchors, and `tiled`, its form in tiles.
    learned: whether a gradient of what `terms` depends on is asked for, beside that of z and c.
    table: makes `terms` anew, with the same values, where many candidates are worth its cost.
    """
    with torch.autocast(z.device.type, enabled=False):
        # small, or one graph that the compiler fuses by itself
        if len(c) <= DENSE or torch.compiler.is_compiling():
            total, divisor = formula(z @ c.T, *terms(slice(None)))
            return total / divisor.clamp(min=1)
        tile = max((TILE if z.device.type == "cpu" else GPU_TILE) // len(c), 32)
        if learned:
            return checkpointed(z, c, formula, terms, tile)
        return tiled.apply(z, c, table() if table else terms, tile)[0]


@overload
def pairwise(weights: Callable[Concatenate[Pairs, P], tuple]) -> PairLoss[P]: ...
@overload
def pairwise(
    *, like: Callable
) -> Callable[[Callable[Concatenate[Pairs, P], tuple]], PairLoss[P]]: ...
@overload
def pairwise(
    *, layout: Literal["prototypes", "extended", "joint"]
) -> Callable[[Callable[Concatenate[Pairs, P], tuple]], PairLoss[Concatenate[Tensor, P]]]: ...
def pairwise(
    weights: Callable | None = None, *, layout: str = "images", like: Callable | None = None
) -> Callable:
    """Turn `weights(pairs, ...) -> Terms` into `loss(z, y, ...) -> scalar`.

    `layout` says who is contrasted with whom, see `arrange`; where there are prototypes, the loss
    is `loss(z, y, prototypes, ...)`. `like` is a loss for whose parameters, all but the reduction,
    `**params` stands. The loss computes in float32 (float64 for float64 `z`), inside autocast too.
    With `check=False` the values of `z` and `y` are trusted. The weights stay at hand as
    `loss.weights`, the layout as `loss.layout`.

    Memory is that of some anchors at a time, whatever `Terms` hold: W and T of each pair, and a
    multiplicity or mask of each, such as `pairs.jaccard < 0.5`, which keeps all other candidates
    out of an anchor's denominator. The limit: W, T and mask are functions of the two label sets and
    of sums over the batch (`Pairs.total`), for a row may stand for all images of equal labels. What
    depends on the embeddings (the hardest negatives), on chance, or on three images at once is no
    such loss: write it as a function of z and y of its own, and, to bound its memory, compute some
    anchors at a time as `ChunkedPrecision` in `oml.py` does.
    """
    if weights is None:
        return functools.partial(pairwise, layout=layout, like=like)
    prototyped, queued = layout != "images", layout in ("images", "extended")

    @functools.wraps(weights)
    def checked(pairs: Pairs, *args, **params) -> Terms:
        check_parameters(params)
        terms = Terms(*weights(pairs, *args, **params))
        choose("reduction", terms.reduction, REDUCTIONS)
        return masked(terms, pairs)

    @functools.wraps(weights)
    def loss(z: Tensor, y, *args, check=True, keys=None, key_labels=None, **params) -> Tensor:
        y = check_batch(z, y, check)
        z = z if z.dtype == torch.float64 else z.float()
        if keys is not None and not queued:
            raise ValueError(f"{weights.__name__} takes no keys: its form has no queue")
        keys, key_labels = check_keys(z, y, keys, key_labels, check)
        prototypes = None
        if prototyped:
            prototypes, *args = args
            prototypes = unit_prototypes(prototypes, z, y.shape[1], check)
        pairs = Pairs.of(y, z.dtype, layout, key_labels)

        def terms_of(part: Pairs) -> Terms:
            return checked(part, *args, **params)

        return computed(
            *arrange(layout, z, keys, prototypes),
            functools.partial(complete, terms_of, pairs),
            any(map(is_learned, params.values())),
            table=functools.partial(tiles, terms_of, pairs, len(z)),
        )

    _, *rest = inspect.signature(weights).parameters.values()
    if like is not None:
        rest = [p for p in rest if p.kind is not p.VAR_KEYWORD]
        own = ("reduction", "keys", "key_labels", "check")
        theirs = inspect.signature(like).parameters.values()
        rest += [p for p in theirs if p.kind is p.KEYWORD_ONLY and p.name not in own]
    first = ["z", "y", *(["prototypes"] if prototyped else [])]
    first = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in first]
    last = [Keyword(n, default=None) for n in ("keys", "key_labels") if queued]
    loss.__signature__ = inspect.Signature([*first, *rest, *last, Keyword("check", default=True)])
    loss.weights, loss.layout = checked, layout
    return loss
