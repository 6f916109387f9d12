"""What a type checker knows of the losses that `pairwise` makes: parameters, and a scalar.

`P` are the parameters of the function of labels, after the pairs. Python's types cannot add
keywords to them, so that `keys` and `check` are given in forms of their own, which let the other
parameters pass.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, overload

from torch import Tensor

from maclcore.labels import Array

P = ParamSpec("P")


class PairLoss(Protocol[P]):
    """`loss(z, y, ...) -> scalar`, as `pairwise` makes it; `P` begins with the prototypes of a loss
    that has some."""

    __name__: str
    weights: Callable[..., tuple]
    layout: str

    @overload
    def __call__(self, z: Tensor, y: Array, *args: P.args, **params: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, z: Tensor, y: Array, *args: Any, check: bool, **params: Any) -> Tensor: ...
    @overload
    def __call__(
        self,
        z: Tensor,
        y: Array,
        *args: Any,
        keys: Tensor | None,
        key_labels: Array | None,
        check: bool = True,
        **params: Any,
    ) -> Tensor: ...
