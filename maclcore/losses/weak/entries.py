"""What every loss of weak labels shares: a checked batch, and the costs of its entries."""

import functools
import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: added inside the log in the code of Cole et al. (2021) and in that of those who took it up
FLOOR = 1e-5
#: 1 - p t is not taken for less, as ELR keeps p below 1 - 1e-4: without it L has no lower bound
LEAST = 1e-4
#: by so much mixed labels may leave [0, 1] through rounding
ROUNDING = 1e-6
#: parameters that are shares or probabilities; the others have no upper bound
SHARES = ("smoothing", "threshold", "clip", "progress")


def costs(z: Tensor, floor: float = 0.0) -> tuple[Tensor, Tensor]:
    """-log p and -log(1 - p), p = σ(z), exact, or with `floor` added to p and 1 - p."""
    positive, negative = F.logsigmoid(z), F.logsigmoid(-z)
    if floor:
        least = torch.full_like(z, math.log(floor))
        positive, negative = torch.logaddexp(positive, least), torch.logaddexp(negative, least)
    return -positive, -negative


def cross_entropy(z: Tensor, targets: Tensor, floor: float = 0.0) -> Tensor:
    """-y log p - (1 - y) log(1 - p) of each entry, for targets y (B, L) in [0, 1]."""
    positive, negative = costs(z, floor)
    return targets * positive + (1 - targets) * negative


def of_entries(mixed: bool = False) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Make `loss(z, o, ...)` check what it is given, and compute in float32 inside autocast.

    z (B, L) finite logits, o (B, L) observed labels 0/1, or in [0, 1] where they may be `mixed`;
    float64 stays float64. Other tensors are (B, L), too, and all but z and theta lie in [0, 1].
    `check=False` leaves the values alone: to look at them waits for a GPU. TypeError for logits
    that are no floating tensor, and for what is neither tensor nor number; else ValueError.
    """

    def decorate(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        names = list(inspect.signature(loss).parameters)

        @functools.wraps(loss)
        def checked(z: Tensor, o: Tensor, *args: Any, check: bool = True, **params: Any) -> Tensor:
            given = dict(zip(names, (z, o, *args), strict=False)) | params
            check_shapes(given)
            check_parameters(given)
            if check and not torch.compiler.is_compiling():
                check_values(given, mixed)
            z = z if z.dtype == torch.float64 else z.float()
            o, *args = (fit(value, z) for value in (o, *args))
            params = {name: fit(value, z) for name, value in params.items()}
            with torch.autocast(z.device.type, enabled=False):
                return loss(z, o, *args, **params)

        return checked

    return decorate


def fit(value: Any, z: Tensor) -> Any:
    """A tensor in the type and on the device of z; anything else as it is."""
    return value.to(z) if isinstance(value, Tensor) else value


def check_shapes(given: dict[str, Any]) -> None:
    """All tensors are (B, L), as the logits z are, which come first, before the labels."""
    z, labels, *_ = given.values()
    if not isinstance(z, Tensor) or not z.is_floating_point():
        got = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(f"z must be a floating tensor of logits, got {got}")
    if z.ndim != 2 or not z.numel():
        raise ValueError(f"z must be (B, L) with B, L >= 1, got shape {tuple(z.shape)}")
    if not isinstance(labels, Tensor):
        raise TypeError(f"{list(given)[1]} must be a tensor, got {type(labels).__name__}")
    for name, value in given.items():
        if isinstance(value, Tensor) and value.shape != z.shape:
            shapes = f"{tuple(value.shape)}, z has {tuple(z.shape)}"
            raise ValueError(f"{name} has shape {shapes}: one row an image, one column a label")


def check_parameters(given: dict[str, Any]) -> None:
    """What is no tensor is a number, finite and not negative, and a share is at most 1."""
    for name, value in given.items():
        if isinstance(value, Tensor | None):
            continue
        if not isinstance(value, Real):
            raise TypeError(f"{name} must be a number or a tensor, got {type(value).__name__}")
        least = math.ulp(0) if name == "labels_per_image" else 0
        most, words = (1, "in [0, 1]") if name in SHARES else (math.inf, "finite and not negative")
        words = "finite and positive" if least else words
        if not least <= value <= most or value == math.inf:
            raise ValueError(f"{name} must be {words}, got {value}")


def check_values(given: dict[str, Any], mixed: bool) -> None:
    """Logits are finite, labels 0 or 1 or `mixed` of them, other targets in [0, 1]."""
    for name, value in given.items():
        if not isinstance(value, Tensor) or value.dtype == torch.bool or name == "theta":
            continue
        if name == "z":
            good, words = value.isfinite(), "logits are finite"
        elif name in ("o", "y") and not mixed:
            good, words = (value == 0) | (value == 1), "labels are 0 or 1"
        else:
            good = (value >= -ROUNDING) & (value <= 1 + ROUNDING)
            good, words = good | value.isnan() if name == "soft" else good, "it lies in [0, 1]"
        if not good.all():
            row, column = (~good).nonzero()[0].tolist()
            found = value[row, column].item()
            raise ValueError(f"{name} is {found:g} in row {row}, column {column}: {words}")
