"""A loss made of others, each of which trains a part of the embedding of its own."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from maclcore.labels import Array
from maclcore.losses.pairs import Keyword, check_batch


class Part(NamedTuple):
    """One of the losses of `parts`."""

    loss: Callable  #: of the registry
    share: float  #: of the cosine by which one retrieves; of 0 it trains the layers below alone
    defaults: dict[str, Any] = {}  #: instead of the loss's own


def parts(name: str, *of: Part) -> Callable[..., Tensor]:
    """The loss Σ_k L_k(ẑ_k) + hold · mean_i Σ_k (|z_ik|² - 1/K)², K parts, as a function.

    z = [z_1, ..., z_K], so many columns each, ẑ_k their direction. All parts train at one length,
    so that each moves the layers below alike. One retrieves by z_k √(K w_k), made unit rows, w the
    shares: `lengths(D, **params)` has the factors (D,), None where shares are equal, and a training
    puts them into the network's last layer when it is over. The cosine is then about Σ_k w_k cos_k:
    whoever retrieves by the whole need not know of parts, and other shares need no other training.
    Shares are parameters by the names of the losses, of any sum; those of a loss are
    `NAME_PARAMETER`: `graded_temperature`. Prototypes (L, D) are divided as z is.

    ValueError for fewer columns than parts, for a `hold` that is not positive, and for shares that
    are negative or all 0.
    """
    takes = {part.loss.__name__: inspect.signature(part.loss).parameters for part in of}
    shares = {part.loss.__name__: part.share for part in of}
    own = {
        part.loss.__name__: {
            key: part.defaults.get(key, parameter.default)
            for key, parameter in takes[part.loss.__name__].items()
            if parameter.kind is parameter.KEYWORD_ONLY
            and key not in ("check", "keys", "key_labels")
        }
        for part in of
    }
    options = {f"{part}_{key}": value for part in own for key, value in own[part].items()}
    prototyped = any("prototypes" in parameters for parameters in takes.values())

    def parted(params: dict[str, Any]) -> list[float]:
        """The shares w_k, of sum 1."""
        given = {key: params.get(key, share) for key, share in shares.items()}
        if not (all(0 <= value < math.inf for value in given.values()) and sum(given.values())):
            raise ValueError(f"shares must be 0 or more, and not all 0, got {given}")
        return [value / sum(given.values()) for value in given.values()]

    def lengths(width: int, **params) -> Tensor | None:
        w = parted(params)
        if len(set(w)) == 1:
            return None
        columns = torch.ones(width).tensor_split(len(of))
        return torch.cat([c * math.sqrt(len(of) * w_k) for c, w_k in zip(columns, w, strict=True)])

    def loss(z: Tensor, y: Array, *args, check=True, hold=10.0, **params) -> Tensor:
        if unknown := params.keys() - shares.keys() - options.keys():
            raise TypeError(f"{name}() got an unexpected keyword argument {min(unknown)!r}")
        parted(params)
        if not 0 < hold < math.inf:
            raise ValueError(f"hold must be positive, got {hold}")
        if z.ndim == 2 and z.shape[1] < len(of):
            raise ValueError(f"{name} has {len(of)} parts, z has {z.shape[1]} columns")
        y = check_batch(z, y, check)
        z = z if z.dtype == torch.float64 else z.float()
        columns = z.tensor_split(len(of), dim=1)
        of_labels = args[0].tensor_split(len(of), dim=1) if prototyped else [None] * len(of)
        total = z.new_zeros(())
        for part, key, slice_, prototypes in zip(of, own, columns, of_labels, strict=True):
            also = [prototypes] if "prototypes" in takes[key] else []
            with_ = {k: params.get(f"{key}_{k}", default) for k, default in own[key].items()}
            total = total + part.loss(F.normalize(slice_, dim=1), y, *also, check=False, **with_)
            off = torch.linalg.vecdot(slice_, slice_) - 1 / len(of)
            total = total + hold * off.square().mean()
        return total

    first = ["z", "y", *(["prototypes"] if prototyped else [])]
    loss.__signature__ = inspect.Signature([
        *(inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in first),
        *(Keyword(key, default=value) for key, value in (shares | options).items()),
        Keyword("hold", default=10.0),
        Keyword("check", default=True),
    ])  # fmt: skip
    loss.__name__ = loss.__qualname__ = name
    loss.__doc__ = f"{' ‖ '.join(own)}, each on a part of the embedding: see `parts`."
    loss.weights, loss.layout, loss.lengths = None, "images", lengths
    return loss
