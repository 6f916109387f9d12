"""Gradient caching: the gradient of a whole batch in the memory of a part of it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def in_parts(
    function: Callable[..., Tensor], network: nn.Module, size: int | None, *inputs: Tensor
) -> Tensor:
    """`function(*inputs)`, rows computed `size` at a time and again when their gradient is due.

    inputs: (N, ...) each; the first dimension of the result is N too. Between the two passes only
    inputs and result are kept (Gao et al., Scaling Deep Contrastive Learning Batch Size under
    Memory Limited Setup, 2021). The second pass draws the same dropout and leaves the buffers of
    `network` alone, so that running statistics count each image once. BatchNorm normalises over
    `size` rows: with it the result is that of a batch of this size, not of N.
    """
    if size is None or size >= len(inputs[0]):
        return function(*inputs)

    def passes() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _buffers_kept(network)

    parts = zip(*(x.split(size) for x in inputs), strict=True)
    return torch.cat(
        [checkpoint(function, *part, use_reentrant=False, context_fn=passes) for part in parts]
    )


@contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
