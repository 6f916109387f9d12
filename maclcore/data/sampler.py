"""The order in which a training epoch visits its images: pure functions of (seed, epoch)."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maclcore.labels import Array, as_labels, bit_sets

#: carriers of a label among which its partner is chosen
WINDOW = 32


def shuffled(n: int, batch_size: int, *, seed: int, epoch: int) -> Tensor:
    """Batches (B, batch_size) of positions in range(n): a pure function of (seed, epoch).

    The last, smaller batch is dropped, so that every batch offers as many negatives; an archive
    smaller than a batch makes one batch.
    """
    generator = torch.Generator().manual_seed(2**32 + seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    size = min(batch_size, n)
    return order[: n // size * size].view(-1, size)


def label_aware(y: Array, batch_size: int, *, seed: int, epoch: int) -> list[Tensor]:
    """Batches of rows of y (N, L) in which no label is alone: a pure function of (seed, epoch).

    The paper names label-aware sampling and describes none; this is our reading. There are as many
    batches as `shuffled` gives. Images are drawn in proportion to max_{l in y_i} 1 / ln(1 + n_l),
    n_l the images that carry l, so that rare labels come more often. A label that a batch holds has
    at least two carriers there: where the draw leaves one alone, the last places go to partners,
    taken in turn, preferably such as bring no other label that would be alone.

    What the archive does not allow: a label of a single image is alone wherever that image is;
    where no image fits the last places, a batch stays smaller; and an image whose labels need more
    partners than a batch has places, never with batch_size > L, gets as many as fit.
    """
    y = _table(y)
    n, counts = len(y), y.sum(axis=0)
    size = min(batch_size, n)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch * 7_919 + 0x1ABE1)
    queue = deque(_draws(_rarity(y, counts), n, generator))
    order = torch.randperm(n, generator=generator).numpy()
    carriers = [deque(order[column].tolist()) for column in y[order].T]
    sets = _bits(y & (counts >= 2))  # labels that can have a partner
    return [torch.tensor(_batch(queue, size, sets, carriers)) for _ in range(n // size)]


SAMPLERS: dict[str, Callable[..., Sequence[Tensor]]] = {
    "shuffle": lambda y, batch_size, **when: shuffled(len(y), batch_size, **when),
    "label_aware": label_aware,
}


class BatchSampler(torch.utils.data.Sampler[list[int]]):
    """An epoch's batches of rows of y (N, L), for a `DataLoader(batch_sampler=...)`.

    `set_epoch(epoch)` before each epoch, as for torch's DistributedSampler; `set_epoch(epoch, k)`
    resumes the epoch behind its first k batches.
    """

    def __init__(
        self, y: Array, batch_size: int, *, sampler: str = "label_aware", seed: int = 0
    ) -> None:
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self.y, self.batch_size, self.sampler, self.seed = _table(y), batch_size, sampler, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[list[int]]:
        batches = SAMPLERS[self.sampler](self.y, self.batch_size, seed=self.seed, epoch=self.epoch)
        return (batch.tolist() for batch in batches[self.start :])

    def __len__(self) -> int:
        return len(self.y) // min(self.batch_size, len(self.y)) - self.start


def pair_counts(
    y: Array,
    batch_size: int = 128,
    *,
    label_names: Sequence[str] | None = None,
    seed: int = 0,
    epochs: int = 10,
) -> pd.DataFrame:
    """What each sampler does to the labels of y (N, L): one row a label, in the table's order.

    `images` that carry the label, then for each sampler, as columns (sampler, quantity), means over
    `epochs` epochs: `drawn`, its share of the images drawn; `pairs`, unordered pairs of its
    carriers a batch; `alone` and `absent`, the shares of batches with one carrier and with none.
    """
    y = _table(y)
    tables = {("", "images"): y.sum(axis=0)}
    for name, sampler in SAMPLERS.items():
        batches = [b for e in range(epochs) for b in sampler(y, batch_size, seed=seed, epoch=e)]
        carriers = np.array([y[batch.numpy()].sum(axis=0) for batch in batches])  # (batches, L)
        tables[name, "drawn"] = carriers.sum(axis=0) / sum(map(len, batches))
        tables[name, "pairs"] = (carriers * (carriers - 1) / 2).mean(axis=0)
        tables[name, "alone"] = (carriers == 1).mean(axis=0)
        tables[name, "absent"] = (carriers == 0).mean(axis=0)
    names = range(y.shape[1]) if label_names is None else label_names
    return pd.DataFrame(tables, index=pd.Index(names, name="label"))


def _batch(queue: deque, size: int, sets: list[int], carriers: list[deque]) -> list[int]:
    """The next batch off the queue of draws; draws that do not fit go back to its head."""
    batch: list[int] = []
    deferred: list[int] = []
    while len(batch) < size and queue:
        drawn: list[int] = []
        once, twice = _carried(batch, sets)
        # draw freely as long as a place is left for a partner of each label that is alone
        while queue and (room := size - len(batch) - len(drawn)):
            i = queue.popleft()
            if i in batch or i in drawn:
                deferred.append(i)
                continue
            with_i = once | sets[i], twice | once & sets[i]
            if drawn and (with_i[0] & ~with_i[1]).bit_count() >= room:
                queue.appendleft(i)
                break
            drawn.append(i)
            once, twice = with_i
        # partners may bring labels of their own: give draws back until all find a place
        while drawn:
            closed = _with_partners(batch + drawn, size, sets, carriers)
            if len(closed) <= size or len(batch + drawn) == 1:
                break  # one image alone that does not fit never will
            deferred.append(drawn.pop())
        if drawn:
            batch = closed[:size]
    queue.extendleft(reversed(deferred))
    return batch


def _with_partners(
    batch: list[int], size: int, sets: list[int], carriers: list[deque]
) -> list[int]:
    """`batch` and partners for its labels of one carrier, the rarest first; stops beyond `size`."""
    batch = list(batch)
    once, twice = _carried(batch, sets)
    while (alone := once & ~twice) and len(batch) <= size:
        labels = [label for label in range(alone.bit_length()) if alone >> label & 1]
        others = carriers[min(labels, key=lambda label: len(carriers[label]))]
        free = [i for i in islice(others, WINDOW) if i not in batch]
        i = min(free, key=lambda i: (sets[i] & ~once).bit_count() - (sets[i] & alone).bit_count())
        others.rotate(-others.index(i) - 1)  # the others' turn is next
        batch.append(i)
        once, twice = once | sets[i], twice | once & sets[i]
    return batch


def _carried(batch: list[int], sets: list[int]) -> tuple[int, int]:
    """The labels that at least one and at least two images of a batch carry, as bits."""
    once = twice = 0
    for i in batch:
        once, twice = once | sets[i], twice | once & sets[i]
    return once, twice


def _draws(weight: np.ndarray, number: int, generator: torch.Generator) -> list[int]:
    """Systematic sampling: each row comes ⌊e⌋ or ⌈e⌉ times, e its expected number; shuffled."""
    order = torch.randperm(len(weight), generator=generator)
    edges = torch.from_numpy(weight)[order].cumsum(0)
    ticks = torch.arange(number, dtype=edges.dtype) + torch.rand(1, generator=generator).double()
    found = torch.searchsorted(edges, ticks * edges[-1] / number).clamp(max=len(weight) - 1)
    return order[found][torch.randperm(number, generator=generator)].tolist()


def _rarity(y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(N,) max_{l in y_i} 1 / ln(1 + n_l); images without labels count as common as can be."""
    weight = 1 / np.log1p(np.maximum(counts, 1))
    return np.where(y, weight, 1 / np.log1p(len(y))).max(axis=1)


def _table(y: Array) -> np.ndarray:
    y = as_labels(y)
    y = y.cpu().numpy() if isinstance(y, Tensor) else y
    if not len(y):
        raise ValueError("y has no rows: a batch needs at least one image")
    return y


def _bits(y: np.ndarray) -> list[int]:
    """Rows as integers whose bit l is label l."""
    return [int.from_bytes(row.tobytes(), "little") for row in bit_sets(y)]
