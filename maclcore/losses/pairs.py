"""The one formula behind the losses, and the primitives they share.

    L = reduce_i  - Σ_p W_ip [ s_ip / T_ip - log Σ_{a in A(i)} exp(s_ia / T_ia) ],    s = z zᵀ

A loss is a function from labels to `(W, T, reduction)`: who attracts whom and how much, how sharp
each pair is, and how the anchors are averaged. `pairwise` turns it into `loss(z, y) -> scalar`.
"""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from maclcore.labels import as_labels

#: largest error in the squared length of an embedding; rounding to bf16 stays below 0.01
UNIT_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Pairs:
    """Labels of a batch as all of its pairs, anchor i against image p; A(i) is `other[i]`."""

    y: Tensor  #: (N, L) 0/1, in the floating type of the loss
    other: Tensor  #: (N, N) 0 on the diagonal, else 1: an anchor is never its own contrast

    @classmethod
    def of(cls, y: Tensor, dtype: torch.dtype) -> "Pairs":
        return cls(y.to(dtype), 1 - torch.eye(len(y), dtype=dtype, device=y.device))

    @functools.cached_property
    def size(self) -> Tensor:
        """(N,) |y_i|"""
        return self.y.sum(dim=1)

    @functools.cached_property
    def shared(self) -> Tensor:
        """(N, N) |y_i ∩ y_p|"""
        return self.y @ self.y.T

    @functools.cached_property
    def jaccard(self) -> Tensor:
        """(N, N) |y_i ∩ y_p| / |y_i ∪ y_p|, 0 for two empty sets"""
        union = self.size[:, None] + self.size - self.shared
        return self.shared / union.clamp(min=1)

    def mean_over(self, weight: Tensor) -> Tensor:
        """Weights of each anchor's other images, scaled to the sum 1 wherever any is positive."""
        weight = weight * self.other
        return weight / weight.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)

    def mean_over_carriers(self) -> Tensor:
        """V_ip = Σ_l y_il y_pl / |P_il|: for each label of the anchor, the mean over its carriers.

        The sum over labels is one matrix product, V = (Y / |P|) Yᵀ; a label that no other image
        carries contributes 0.
        """
        carriers = (self.y.sum(dim=0) - 1).clamp(min=1)  # |P_il|: all but the anchor itself
        return (self.y / carriers) @ self.y.T * self.other


def contrast(s: Tensor, W: Tensor, T: Tensor | float, other: Tensor) -> Tensor:
    """L_i = - Σ_p W_ip [ s_ip / T_ip - log Σ_{a in A(i)} exp(s_ia / T_ia) ], (N, M) -> (N,).

    `W` is zero outside A(i). The log-sum-exp subtracts the largest s / T of the row.
    """
    x = s / T
    # the lowest number and not log 0: an anchor alone in its batch then gives 0, not 0 times inf
    only_other = other.log().clamp(min=torch.finfo(x.dtype).min)
    log_sum = (x + only_other).logsumexp(dim=1)
    return W.sum(dim=1) * log_sum - (W * x).sum(dim=1)


#: How anchors are averaged: Σ_i a_i L_i / Σ_i b_i, each entry giving (a, b) from W and |y_i|.
REDUCTIONS: dict[str, Callable] = {
    # mean over the anchors that have a positive
    "active": lambda W, size: 2 * ((W.sum(dim=1) > 0).to(W.dtype),),
    # mean over all anchors; those without a positive count as 0
    "anchors": lambda W, size: (torch.ones_like(size), torch.ones_like(size)),
    # 1 / M over the M = Σ|y_i| pairs (anchor, label); a pair without a positive counts as 0
    "pairs": lambda W, size: (torch.ones_like(size), size),
    # 1 / (N |y_i|): the mean over an image's labels, then over images, so that each counts once
    "images": lambda W, size: (1 / size.clamp(min=1), torch.ones_like(size)),
}


def choose(name: str, value: str, options) -> None:
    """Raise ValueError unless `value` is one of the options of the parameter `name`."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}; got {value!r}")


def check_batch(z: Tensor, y, values: bool = True) -> Tensor:
    """The labels of a batch as a bool tensor beside `z`, after checking both.

    `values=False` checks types and shapes alone, which never waits for a GPU.
    """
    if not isinstance(z, Tensor) or not z.is_floating_point():
        raise TypeError(f"z must be a floating tensor, got {getattr(z, 'dtype', type(z).__name__)}")
    if z.ndim != 2 or not z.numel():
        raise ValueError(f"z must be (N, D) with N >= 1 images, got shape {tuple(z.shape)}")
    if values or not isinstance(y, Tensor) or y.ndim != 2:
        y = as_labels(y)
    y = y if isinstance(y, Tensor) else torch.tensor(y)
    if len(y) != len(z):
        raise ValueError(f"z has {len(z)} rows, y has {len(y)}: one row an image in both")
    if values:
        error = float((z.detach().float().square().sum(dim=1) - 1).abs().max())
        if not error <= UNIT_TOLERANCE:
            raise ValueError(
                "z must hold unit rows, as torch.nn.functional.normalize(z) gives; "
                + ("it holds NaN" if error != error else f"|z_i|^2 is off by up to {error:.3g}")
            )
    return y.to(device=z.device, dtype=torch.bool)


def pairwise(weights: Callable) -> Callable:
    """Turn `weights(pairs, ...) -> (W, T, reduction)` into `loss(z, y, ...) -> scalar`.

    The loss computes in float32 (float64 for float64 `z`), inside autocast too. With `check=False`
    the values of `z` and `y` are trusted. The weights stay at hand as `loss.weights`.
    """

    @functools.wraps(weights)
    def checked(pairs: Pairs, *args, **params) -> tuple[Tensor, Tensor | float, str]:
        if not 0 < params.get("temperature", 1) < math.inf:
            raise ValueError(f"temperature must be positive, got {params['temperature']}")
        W, T, reduction = weights(pairs, *args, **params)
        choose("reduction", reduction, REDUCTIONS)
        return W, T, reduction

    @functools.wraps(weights)
    def loss(z: Tensor, y: Tensor, *args, check: bool = True, **params) -> Tensor:
        y = check_batch(z, y, check)
        z = z if z.dtype == torch.float64 else z.float()
        with torch.autocast(z.device.type, enabled=False):
            pairs = Pairs.of(y, z.dtype)
            W, T, reduction = checked(pairs, *args, **params)
            a, b = REDUCTIONS[reduction](W, pairs.size)
            return a @ contrast(z @ z.T, W, T, pairs.other) / b.sum().clamp(min=1)

    _, *rest = inspect.signature(weights).parameters.values()
    z, y = (inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in "zy")
    check = inspect.Parameter("check", inspect.Parameter.KEYWORD_ONLY, default=True)
    loss.__signature__ = inspect.Signature([z, y, *rest, check])
    loss.weights = checked
    return loss
