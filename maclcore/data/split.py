"""Train, validation and test: seeded, disjoint, complete, free of torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# Section 4.1 of the paper calls its splits 70/10/20, yet prints these sizes for archives of
# 2,100 (DLRSD), 3,000 (ML-AID) and 4,940 images (WHDLD).
PAPER_SIZES = {2100: (1475, 214, 411), 3000: (2100, 300, 600), 4940: (3444, 518, 978)}
#: how a table or a folder may call the parts, and columns that tell them
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SPLIT = ("split", "subset", "partition")


class Split(NamedTuple):
    """Index arrays into an archive, each in the order of the seeded permutation."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def judged(self, labels: np.ndarray) -> "Split":
        """Without images whose row of labels (N, L) is empty, but for training: of what is not
        known nobody can say whether it was found."""
        known = np.asarray(labels, dtype=bool).any(axis=1)
        return Split(self.train, *(part[known[part]] for part in self[1:]))

    def sharing(self, share: float) -> "Split":
        """With the first of the training images alone, so that those of a smaller share in (0, 1]
        are among those of a larger one; at least one."""
        return self._replace(train=self.train[: max(1, round(share * len(self.train)))])


def split_sizes(n: int, what: str = "images") -> tuple[int, int, int]:
    """The paper's sizes where an archive has the paper's size, else 70/10/20 (none empty)."""
    if n < 3:
        raise ValueError(f"{n} {what} cannot be split in three; an archive needs at least 3")
    validation, test = max(1, round(0.1 * n)), max(1, round(0.2 * n))
    return PAPER_SIZES.get(n, (n - validation - test, validation, test))


def make_split(
    labels: np.ndarray, seed: int, *, stratified: bool = False, places: Sequence[str] = ()
) -> Split:
    """Split the rows of `labels` (N, L) at `split_sizes(N)`.

    By default a random permutation, as in the paper; `stratified=True` follows the labels, so
    that each part gets its share of every label (of a label with very few images there is not
    always one for each part). The same seed gives the same split on every machine.
    With `places`, one for each row, the places are split instead, at `split_sizes` of their number,
    and a place has the labels of all its images: these stay together, for they show one scene.
    """
    labels = np.asarray(labels, dtype=bool)
    if len(places):
        return _by_place(labels, seed, stratified, places)
    sizes = split_sizes(len(labels))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    if not stratified:
        return Split(*np.split(order, np.cumsum(sizes)[:-1]))
    part = _stratify(labels[order], np.array(sizes), generator)
    return Split(*(order[part == p] for p in range(3)))


def official_split(
    test: np.ndarray, labels: np.ndarray, seed: int, *, stratified: bool = False
) -> Split:
    """The split whose test part is given, (N,) bool: of the rest of `labels` (N, L) the validation
    part of `split_sizes(N)` is random, or follows the labels, as in `make_split` (our reading: of
    official splits in two, papers do not say what they validate on)."""
    labels, generator = np.asarray(labels, dtype=bool), np.random.default_rng(seed)
    order = generator.permutation(np.flatnonzero(~test))
    _, validation, _ = split_sizes(len(labels))
    if validation >= len(order):
        raise ValueError(f"{test.sum()} of {len(test)} images are test: none are left to train on")
    sizes = np.array([len(order) - validation, validation, 0])
    part = np.repeat(np.arange(3), sizes)
    if stratified:
        part = _stratify(labels[order], sizes, generator)
    return Split(order[part == 0], order[part == 1], np.flatnonzero(test))


def parts_of(columns: Mapping[str, Iterable[Any]]) -> tuple[str, ...]:
    """Of each image train, validation or test, as a column SPLIT tells; () if none does of all."""
    for name, values in columns.items():
        told = tuple(PARTS.get(str(value).casefold(), "") for value in values)
        if name.casefold() in SPLIT and all(told):
            return told
    return ()


def told_split(
    parts: Sequence[str], labels: np.ndarray, seed: int, *, stratified: bool = False
) -> Split:
    """The split that `parts` (N,) tell, train, validation or test, in the order of the seed's
    permutation; without validation it is taken of train, as in `official_split`."""
    part = np.array(parts)
    if lack := [one for one in ("train", "test") if one not in part]:
        raise ValueError(f"the column of the split has no image of {' and of '.join(lack)}")
    if "validation" not in part:
        return official_split(part == "test", labels, seed, stratified=stratified)
    order = np.random.default_rng(seed).permutation(len(part))
    return Split(*(order[part[order] == one] for one in Split._fields))


def _by_place(labels: np.ndarray, seed: int, stratified: bool, places: Sequence[str]) -> Split:
    names, place = np.unique(np.asarray(places), return_inverse=True)
    split_sizes(len(names), "places")
    joined = np.zeros((len(names), labels.shape[1]), dtype=bool)
    np.logical_or.at(joined, place, labels)
    members = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    parts = make_split(joined, seed, stratified=stratified)
    return Split(*(np.concatenate([members[p] for p in part]) for part in parts))


def _stratify(labels: np.ndarray, sizes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Part of each row, (N,): iterative stratification (Sechidis et al. 2011, Algorithm 1).

    The rarest remaining label is dealt out first, each image to the part that lacks that label
    most, ties to the part with most room. Ours: a full part takes no more, so sizes are exact.
    """
    part = np.full(len(labels), -1)
    room = sizes.astype(float)
    wanted = np.outer(sizes / sizes.sum(), labels.sum(axis=0))  # (3, L)
    remaining = labels.sum(axis=0)
    while remaining.any():
        rarest = np.where(remaining > 0, remaining, np.iinfo(int).max).argmin()
        for i in np.flatnonzero(labels[:, rarest] & (part < 0)):
            tie_break = generator.random(3)
            p = max(np.flatnonzero(room), key=lambda p: (wanted[p, rarest], room[p], tie_break[p]))
            part[i] = p
            room[p] -= 1
            wanted[p, labels[i]] -= 1
            remaining -= labels[i]
    part[part < 0] = np.repeat(np.arange(3), room.astype(int))  # rows without labels fill up
    return part
