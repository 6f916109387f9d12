"""Several processes as one: the loss and the gradient of the batch that they hold together.

Every process gathers the embeddings of all, computes the same loss, and takes its own part of the
gradient times the number of processes; the mean over processes, which DistributedDataParallel or
`average_gradients` takes, is then the gradient that one process would have, for prototypes too.
What depends on a batch's own statistics does not see the joined batch: BatchNorm normalises over
each process's part, unless it is converted to SyncBatchNorm, which needs GPUs.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

#: numbers this process's groups: one after another must not take its addresses for its own
GROUPS = count()


@contextmanager
def processes(device: str | None = None) -> Iterator[torch.device]:
    """The device of this process, inside a process group if torchrun has started several.

    device: "cpu", "cuda", ...; None: a GPU if there is one. Of several processes each has the GPU
    of its local rank. A group that exists already is used and left alone.
    """
    on = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield on
        return
    if on.type == "cuda":
        on = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(on)
    backend = "nccl" if on.type == "cuda" else "gloo"
    store, rank, size = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(f"group {next(GROUPS)}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield on
    finally:
        dist.destroy_process_group()


def world() -> tuple[int, int]:
    """Rank of this process and number of processes; (0, 1) without a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def of_first(value: Any) -> Any:
    """The first process's `value`, in every process; waits until all have asked."""
    if not dist.is_initialized():
        return value
    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def gather(x: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """The rows of all processes, in the order of their ranks, with gradient; `x` if there is one.

    sizes: rows that each process has, if they are known; else they are exchanged first. The
    gradient is right if every process computes the same scalar from the result, and gradients are
    averaged over processes afterwards.
    """
    rank, count = world()
    if count == 1:
        return x
    if sizes is None:
        own = torch.tensor([len(x)], device=x.device)
        found = [torch.empty_like(own) for _ in range(count)]
        dist.all_gather(found, own)
        sizes = torch.cat(found).tolist()
    return _Gather.apply(x, tuple(sizes), rank)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, sizes: tuple[int, ...], rank: int) -> Tensor:
        ctx.rows, ctx.count = slice(sum(sizes[:rank]), sum(sizes[: rank + 1])), len(sizes)
        padded = x.new_zeros(max(sizes), *x.shape[1:])  # all_gather wants equal shapes
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.rows] * ctx.count, None, None


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The mean over processes of every gradient, in one exchange; nothing to do for one."""
    count = world()[1]
    if count == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    joined = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(joined)
    joined /= count
    parts = joined.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))
