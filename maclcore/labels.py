"""Everything that is a function of labels alone.

A label table `y` is multi-hot, (N, L): one row an image, one column a label, 1 where the image
carries the label. The row read as a set is the image's label set.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from numbers import Real
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor

#: up to this many labels, the support of every possible set is tabulated (2^20 counts: 8 MB)
TABLE_LABELS = 20
_CHUNK = 1 << 16  # rows at a time, so that no step needs a second copy of a large table
_MEMO = 1 << 20  # supports remembered, about 150 MB at most
_SETS = 1 << 12  # up to this many distinct sets, those of their pairs too (128 MB at most)


def as_labels(y: Array, name: str = "y") -> Array:
    """A multi-hot (N, L) table as bool, tensor for a tensor and ndarray for anything else.

    Whatever holds numbers or bools will do, a DataFrame of any column types among them. Raises
    TypeError for values that are not numbers, ValueError for a shape other than (N, L >= 1) and for
    the first value that is missing or neither 0 nor 1; both call the table `name`.
    """
    columns = getattr(y, "columns", None)
    y = y if isinstance(y, Tensor) else np.asarray(y)
    if y.ndim != 2 or not y.shape[1]:
        raise ValueError(
            f"{name} must be a multi-hot table (N, L), one row an image and one column a label; "
            f"got shape {tuple(y.shape)}"
        )
    if y.dtype in (torch.bool, bool):
        return y
    if y.dtype == object:
        y = _floats(y, name)
    if y.dtype.is_complex if isinstance(y, Tensor) else y.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold bool or 0/1 values, got dtype {y.dtype}")
    one = y == 1
    wrong = ~(one | (y == 0))
    if wrong.any():
        row, column = map(int, torch.as_tensor(wrong).nonzero()[0])
        label = "" if columns is None else f" {columns[column]!r}"
        raise ValueError(
            f"{name}[{row}, {column}] is {y[row, column].item()}: a label is 0 or 1 "
            f"(row {row}, column {column}{label}; {int(wrong.sum())} such values)"
        )
    return one


def _floats(y: np.ndarray, name: str) -> np.ndarray:
    """Objects as float64, NaN where one is missing; TypeError for the first that is no number."""
    from pandas import isna  # here, because losses on tensors do without

    missing = isna(y)
    for (row, column), value in np.ndenumerate(y):
        if not (missing[row, column] or isinstance(value, (Real, Decimal, np.bool_))):
            raise TypeError(
                f"{name} must hold bool or 0/1 values, got {value!r} in row {row}, column {column}"
            )
    return np.where(missing, np.nan, y).astype(float)


@overload
def jaccard(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray: ...
@overload
def jaccard(a: Tensor, b: Tensor | None = None) -> Tensor: ...
def jaccard(a: Any, b: Any = None) -> Any:
    """Jaccard index |a_i ∩ b_j| / |a_i ∪ b_j| of all pairs of rows, (N, L), (M, L) -> (N, M).

    `b` defaults to `a`. In [0, 1]; two empty sets share nothing: 0.
    """
    a = as_labels(a, "a")
    b = a if b is None else as_labels(b, "b")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a has {a.shape[1]} labels, b has {b.shape[1]}")
    a, b = (v.to(torch.get_default_dtype()) if isinstance(v, Tensor) else v * 1.0 for v in (a, b))
    shared = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1) - shared
    return shared / union.clip(1)


@dataclass(frozen=True, eq=False)
class LabelStatistics:
    """What a table of training labels says about its labels; build it with `from_labels`.

    `distinct label sets` are the different rows of the table, the most frequent first.
    """

    n: int  #: images
    label_names: tuple[str, ...]
    cooccurrence: np.ndarray  #: (L, L) images that carry both labels; the diagonal is `counts`
    sets: np.ndarray  #: (S, L) bool, distinct label sets
    set_counts: np.ndarray  #: (S,) images with exactly that set
    _tensors: dict[tuple, Tensor] = field(default_factory=dict, repr=False)
    _memo: dict[bytes, int] = field(default_factory=dict, repr=False)

    @classmethod
    def from_labels(cls, y: Array, label_names: Iterable[Any] | None = None) -> "LabelStatistics":
        """Statistics of a (N, L) table; a million rows of 100 labels take seconds, never N x N.

        A label that no image carries is allowed, and listed by `absent`. Raises what `as_labels`
        raises, and ValueError for an empty table or names that do not fit.
        """
        y = as_labels(y)
        y = y.cpu().numpy() if isinstance(y, Tensor) else y
        n, width = y.shape
        if n == 0:
            raise ValueError("y has no rows: statistics need at least one training image")
        names = tuple(map(str, range(width) if label_names is None else label_names))
        if len(names) != width or len(set(names)) != width:
            raise ValueError(f"{width} labels need {width} different names, got {names}")
        first, _, counts = distinct_rows(bit_sets(y))
        order = np.argsort(-counts, kind="stable")
        sets, counts = y[first[order]], counts[order]
        cooccurrence = np.zeros((width, width))
        for i in range(0, len(sets), _CHUNK):
            rows = sets[i : i + _CHUNK].astype(float)
            cooccurrence += (rows * counts[i : i + _CHUNK, None]).T @ rows
        return cls(n, names, cooccurrence.astype(np.int64), sets, counts)

    @cached_property
    def counts(self) -> np.ndarray:
        """(L,) images that carry each label."""
        return self.cooccurrence.diagonal().copy()

    @property
    def cardinality(self) -> float:
        """Mean number of labels an image carries."""
        return float(self.counts.sum() / self.n)

    @property
    def density(self) -> float:
        """Cardinality divided by the number of labels, in [0, 1]."""
        return self.cardinality / len(self.counts)

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the labels that no image carries."""
        return tuple(n for n, c in zip(self.label_names, self.counts, strict=True) if c == 0)

    @property
    def imbalance(self) -> np.ndarray:
        """(L,) count of the commonest label / count of the label (IRLbl); inf where absent."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.counts > 0, self.counts.max() / self.counts, np.inf)

    @property
    def mean_imbalance(self) -> float:
        """MeanIR: the mean of `imbalance` over the labels present; NaN where there is none."""
        present = self.imbalance[self.counts > 0]
        return float(present.mean()) if len(present) else float("nan")

    def similarities(self, of: str = "cosine") -> tuple[np.ndarray, np.ndarray]:
        """How alike two images' label sets are: the values that occur, in order, and for each the
        share of the pairs of different images that have it.

        of: the "cosine" of the label vectors, |a ∩ b| / √(|a| |b|), or the "jaccard" index. Exact,
        over all pairs of images that have a label, of which there must be two; takes a number for
        each pair of distinct sets, _CHUNK rows at a time.
        """
        if of not in ("cosine", "jaccard"):
            raise ValueError(f"of must be cosine or jaccard; got {of!r}")
        some = self.sets.any(axis=1)
        sets, counts = self.sets[some].astype(float), self.set_counts[some]
        if counts.sum() < 2:
            raise ValueError("a pair takes two images that have a label")
        size = sets.sum(axis=1).astype(int)
        shape = (size.max() + 1,) * 3  # pairs by |a ∩ b|, |a| and |b|, of which others are made
        pairs = np.zeros(np.prod(shape))
        for i in range(0, len(sets), _CHUNK):
            rows = slice(i, i + _CHUNK)
            shared = (sets[rows] @ sets.T).astype(int)
            triple = (shared * shape[1] + size[rows, None]) * shape[2] + size
            many = np.outer(counts[rows], counts).ravel()
            pairs += np.bincount(triple.ravel(), many, len(pairs))
        np.subtract.at(pairs, np.ravel_multi_index((size, size, size), shape), counts)  # i with i
        met = np.flatnonzero(pairs)
        shared, a, b = np.unravel_index(met, shape)
        value = shared / (np.sqrt(a * b) if of == "cosine" else a + b - shared)
        values, group = np.unique(value.round(12), return_inverse=True)
        return values, np.bincount(group, pairs[met]) / pairs.sum()

    def support(self, sets: Array) -> np.ndarray:
        """Number of training images that contain each set, (M, L) -> (M,); n for the empty set."""
        return self._support(self._bits(sets, "sets"))

    def shared_support(self, a: Array, b: Array) -> np.ndarray:
        """Number of training images that contain a_i ∩ b_j, (N, L), (M, L) -> (N, M)."""
        a, b = self._bits(a, "a"), self._bits(b, "b")
        rows, columns = self._known(a), self._known(b)
        if len(self.sets) > _SETS or min(rows, default=0) < 0 or min(columns, default=0) < 0:
            return self._count_shared(a, b)
        new = np.setdiff1d(rows, np.flatnonzero(self._pairs[:, 0]))
        if len(new):
            bits = bit_sets(self.sets)
            self._pairs[new] = self._count_shared(bits[new], bits)
        return self._pairs[rows][:, columns]

    @cached_property
    def support_table(self) -> np.ndarray | None:
        """(2^L,) support of every set, keyed by Σ_l 2^l y_l; None above TABLE_LABELS labels."""
        width = len(self.counts)
        if width > TABLE_LABELS:
            return None
        table = np.zeros(1 << width, dtype=np.int64)
        table[bit_sets(self.sets)[:, 0]] = self.set_counts
        for label in range(width):  # sums over supersets, one label at a time
            halves = table.reshape(-1, 2, 1 << label)
            halves[:, 0] += halves[:, 1]
        return table

    def tensor(self, name: str, like: Tensor) -> Tensor:
        """The array of that name with the type and device of `like`, kept for the next call."""
        key = (name, like.dtype, like.device)
        if key not in self._tensors:
            self._tensors[key] = torch.from_numpy(getattr(self, name)).to(like)
        return self._tensors[key]

    @cached_property
    def _pairs(self) -> np.ndarray:
        """(S, S) `shared_support` of `sets`, in the rows that have been asked for; the others are
        0, which no pair of training sets has."""
        return np.zeros((len(self.sets), len(self.sets)), dtype=np.int64)

    @cached_property
    def _index(self) -> dict[bytes, int]:
        return {row.tobytes(): i for i, row in enumerate(bit_sets(self.sets))}

    def _known(self, bits: np.ndarray) -> np.ndarray:
        """Index in `sets` of each row of bit sets, -1 where it is none of them."""
        return np.array([self._index.get(row.tobytes(), -1) for row in bits], dtype=np.int64)

    @cached_property
    def _carriers(self) -> np.ndarray:
        """(L + 1, n / 64) one bit an image: who carries each label; the last row is everybody."""
        everybody = np.ones((1, len(self.sets)), dtype=bool)
        rows = (np.repeat(row, self.set_counts) for row in (*self.sets.T, *everybody))
        return np.concatenate([bit_sets(row[None]) for row in rows])

    def _bits(self, sets: Array, name: str) -> np.ndarray:
        sets = as_labels(sets, name)
        if sets.shape[1] != len(self.counts):
            raise ValueError(f"{name} has {sets.shape[1]} labels, statistics {len(self.counts)}")
        return bit_sets(sets.cpu().numpy() if isinstance(sets, Tensor) else sets)

    def _count_shared(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        shared = (a[:, None] & b).reshape(-1, a.shape[1])
        return self._support(shared).reshape(len(a), len(b))

    def _support(self, bits: np.ndarray) -> np.ndarray:
        first, inverse, _ = distinct_rows(bits)
        bits = bits[first]
        keys = [row.tobytes() for row in bits]
        if len(self._memo) > _MEMO:
            self._memo.clear()
        members = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
        for key, member in zip(keys, members, strict=True):
            if key not in self._memo:
                labels = [*np.flatnonzero(member), -1]
                carriers = np.bitwise_and.reduce(self._carriers[labels], axis=0)
                self._memo[key] = int(np.bitwise_count(carriers).sum(dtype=np.int64))
        return np.array([self._memo[key] for key in keys], dtype=np.int64)[inverse]


def bit_sets(y: np.ndarray) -> np.ndarray:
    """Rows as bit sets, (N, L) bool -> (N, ⌈L / 64⌉) uint64; label l is bit l."""
    octets = np.packbits(y, axis=1, bitorder="little")
    padded = np.zeros((len(y), -(-y.shape[1] // 64) * 8), dtype=np.uint8)
    padded[:, : octets.shape[1]] = octets
    return padded.view("<u8")


def distinct_rows(words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct rows in sorted order: first row of each, group of every row, size of each group."""
    order = np.lexsort(words.T)
    ordered = words[order]
    starts = np.ones(len(words), dtype=bool)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    inverse = np.empty(len(words), dtype=np.int64)
    inverse[order] = starts.cumsum() - 1
    first = order[starts]
    return first, inverse, np.bincount(inverse, minlength=len(first))
