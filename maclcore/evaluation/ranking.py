"""Embed an archive, rank it for a query, search it by example."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Coordinates of unit rows are whole multiples of this, a tenth of what float32 cosines resolve.
#: Products of two such rows, and all partial sums, are whole multiples of 2^-52 below 2, which
#: float64 holds exactly: cosines do not depend on block sizes, threads, BLAS or device.
GRID = 2.0**-26
PRECISIONS = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
BLOCK = 1 << 12  # gallery items scored at a time, at most
_LAST = torch.iinfo(torch.int64).max  # a key behind all others


def search(z_query: Any, z_gallery: Any, k: int = 10) -> tuple[Tensor, Tensor]:
    """The k nearest gallery rows of each query by cosine: indices (Q, K), cosines (Q, K).

    The gallery may be larger than the memory: `UnitRows` says what it may be, and what is an error.
    """
    device = z_query.device if isinstance(z_query, Tensor) else "cpu"
    query, gallery = UnitRows(z_query, "z_query", device), UnitRows(z_gallery, "z_gallery", device)
    z, shape = query(slice(0, len(query))), (len(query), len(gallery))
    keys = best_keys(lambda items: z @ gallery(items).T, shape, min(k, len(gallery)), device=device)
    return keys & 0xFFFFFFFF, key_scores(keys)


def rank(scores: Tensor, k: int | None = None, exclude: Tensor | None = None) -> Tensor:
    """Gallery indices in order of falling score, (Q, G) -> (Q, K) int64.

    Equal scores keep the gallery's order: the lower index comes first, on every device and for
    every `k`. `k` shortens the lists (None: the whole gallery). `exclude (Q,)` names one gallery
    item for each query that its list must not contain (the query itself, in leave-one-out); the
    whole list then has G - 1 items. Scores are compared as float32 and must be finite.
    """
    items = scores.shape[1] - (exclude is not None)
    if exclude is not None:
        scores = scores.scatter(1, exclude.to(scores.device)[:, None], -torch.inf)
    keys = best_keys(
        lambda part: scores[:, part],
        (scores.shape[0], scores.shape[1]),
        items if k is None else min(k, items),
        block=scores.shape[1],
        device=scores.device,
    )
    return keys & 0xFFFFFFFF


class UnitRows:
    """Embeddings (N, D) as rows of length 1, read a slice at a time and then checked.

    `z` is a tensor, an array or whatever gives its rows for a slice: a memory map, an open
    safetensors slice (`get_slice`), an HDF5 data set; only the rows asked for are read. In fp64
    their coordinates are multiples of GRID. ValueError for a row that is zero or not finite.
    """

    def __init__(
        self,
        z: Any,
        name: str,
        device: torch.device | str = "cpu",
        precision: str = "fp64",
    ) -> None:
        if not (hasattr(z, "shape") or hasattr(z, "get_shape")):
            z = np.array(z, dtype=np.float64)
        self.shape = tuple(z.get_shape() if hasattr(z, "get_shape") else z.shape)
        if len(self.shape) != 2:
            raise ValueError(f"{name} must be (N, D); its shape is {self.shape}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
        self.z, self.name, self.device, self.dtype = z, name, device, PRECISIONS[precision]
        self._rows = slice(0)
        self._unit = torch.empty(0)

    def __len__(self) -> int:
        return self.shape[0]

    def __call__(self, rows: slice) -> Tensor:
        if rows != self._rows:  # a gallery of one block is read once
            self._rows, self._unit = rows, self._read(rows)
        return self._unit

    def _read(self, rows: slice) -> Tensor:
        index = range(len(self))[rows]
        one_by_one = (self.z[i : i + 1] for i in index)  # not every source takes a step
        parts = [self.z[rows.start : rows.stop]] if index.step == 1 else one_by_one
        z = torch.cat([_tensor(part).to(self.device, torch.float64) for part in parts])
        length = z.norm(dim=1, keepdim=True)
        bad = (~length.isfinite() | (length == 0)).nonzero()[:, 0].tolist()
        if bad:
            kind = "all zero" if length[bad[0]] == 0 else "not finite"
            where = f"{self.name}: row {index[bad[0]]} is {kind}"
            raise ValueError(f"{where} ({len(bad)} of the {len(index)} rows read with it)")
        if self.dtype == torch.float64:
            return (z / (length * GRID)).round_().mul_(GRID)
        return (z / length).to(self.dtype)


def _tensor(part: Any) -> Tensor:
    if isinstance(part, Tensor):
        return part.detach()
    part = np.asarray(part)
    return torch.from_numpy(np.array(part, dtype=np.promote_types(part.dtype, np.float16)))


def best_keys(
    score: Callable[[slice], Tensor],
    shape: tuple[int, int],
    k: int,
    *,
    block: int = BLOCK,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The k best of G items for each query as sorted keys (Q, K); shape (Q, G).

    `score` gives the scores (Q, n) of a slice of the gallery, at most `block` items. A key holds a
    score and an index, `key & 0xFFFFFFFF`, in one integer that puts higher scores first and equal
    ones in the order of the gallery: no two are the same, so any sort of them is a stable one.
    Memory: 8 bytes for each of Q min(G, 2 K + block) keys, and up to 64 for Q block scores.
    """
    queries, items = shape
    width = min(items, 2 * k + block)
    keys = torch.full((queries, width), _LAST, device=device)
    used = torch.zeros(queries, dtype=torch.int64, device=device)
    worst = torch.full((queries, 1), -torch.inf, device=device)
    for start in range(0, items, block):
        part = slice(start, min(start + block, items))
        scores = score(part).float()
        if part.stop <= width:
            keys[:, part] = _keys(scores, torch.arange(part.start, part.stop, device=device))
            used += part.stop - part.start
            continue
        better = scores > worst  # later in the gallery, an equal score is not better
        if int((used + better.sum(dim=1)).max()) > width:
            _select(keys, k)
            keys[:, k:], worst = _LAST, key_scores(keys[:, k - 1 : k])
            used.fill_(k)
            better = scores > worst
        found, count = _flat_nonzero(better), better.sum(dim=1)
        row = torch.arange(queries, device=device).repeat_interleave(count)
        nth = torch.arange(len(found), device=device) - (count.cumsum(0) - count)[row]
        item = start + found - row * scores.shape[1]
        keys[row, used[row] + nth] = _keys(scores.reshape(-1)[found], item)
        used += count
    if k <= width // 2:
        _select(keys, k)
        keys = keys[:, :k]
    return _sort(keys)[:, :k]


def key_scores(keys: Tensor) -> Tensor:
    """The float32 scores that keys hold; equal for ties."""
    bits = ~(keys >> 32).int()
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _keys(scores: Tensor, index: Tensor) -> Tensor:
    # A float32 read as an integer sorts as the float does once negative values are flipped.
    bits = (scores + 0.0).view(torch.int32)  # + 0.0: -0.0 ties with 0.0
    return (~(bits ^ ((bits >> 31) & 0x7FFFFFFF))).long().bitwise_left_shift_(32).bitwise_or_(index)


def _select(keys: Tensor, k: int) -> None:
    """Move the k smallest keys of each row to its front, the k-th to column k - 1."""
    if keys.device.type == "cpu":
        _in_threads(lambda part: part.partition(k - 1, axis=1), keys)
    else:
        keys[:, :k] = keys.topk(k, largest=False).values


def _sort(keys: Tensor) -> Tensor:
    if keys.device.type != "cpu":
        return keys.sort(dim=1).values
    _in_threads(lambda part: part.sort(axis=1), keys)  # vectorised: 10x torch's sort
    return keys


def _in_threads(work: Callable[[np.ndarray], None], keys: Tensor) -> None:
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, np.array_split(keys.numpy(), threads)))


def _flat_nonzero(mask: Tensor) -> Tensor:
    if mask.device.type == "cpu":  # 10x torch's nonzero
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.view(-1).nonzero()[:, 0]
