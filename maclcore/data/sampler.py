"""The order in which a training epoch visits its images."""

import torch
from torch import Tensor


def shuffled(n: int, batch_size: int, *, seed: int, epoch: int) -> Tensor:
    """Batches (B, batch_size) of positions in range(n): a pure function of (seed, epoch).

    The last, smaller batch is dropped, so that every batch offers as many negatives; an archive
    smaller than a batch makes one batch.
    """
    generator = torch.Generator().manual_seed(2**32 + seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    size = min(batch_size, n)
    return order[: n // size * size].view(-1, size)
