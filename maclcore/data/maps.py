"""Label sets from land-cover maps: which classes cover how much of an image."""

from collections.abc import Mapping, Sequence

import numpy as np

#: of a map's pixels so many must be valid, or nothing is known of the image (our assumption)
LEAST_VALID = 0.5


def labels_from_map(
    land_cover: np.ndarray,
    classes: Mapping[int, str],
    threshold: float = 0.0,
    ignore: Sequence[int] = (0,),
) -> np.ndarray:
    """Which labels cover more than `threshold` of the valid pixels of a map (H, W), (L,) bool.

    `classes`: of each number in the map its label; several may have one, whose L are in the order
    in which they first occur. Numbers in `ignore`, such as cloud and no data, are not valid. Of a
    map with less than half of valid pixels no label is known: none is set. ValueError for a number
    that is in neither, for a map that has no whole numbers, and for a threshold that is no share.

    >>> labels_from_map(np.array([[4, 4], [4, 2]]), {2: "grass", 4: "crops"}, threshold=0.25)
    array([False,  True])
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}; it is a share of pixels, from 0 to below 1")
    return present(class_pixels(land_cover, classes, ignore), threshold)


def class_pixels(
    land_cover: np.ndarray, classes: Mapping[int, str], ignore: Sequence[int] = (0,)
) -> np.ndarray:
    """(L + 1,) int64: how many pixels of a map (H, W) have each label, and how many it has in all.

    Arguments and errors as of `labels_from_map`.
    """
    land_cover = np.asarray(land_cover)
    if land_cover.ndim != 2 or land_cover.dtype.kind not in "iu":
        what = f"shape {land_cover.shape} and type {land_cover.dtype}"
        raise ValueError(f"a map has whole numbers in rows and columns, this one {what}")
    numbers = [number for number in classes if number not in ignore]
    unknown = np.argwhere(~np.isin(land_cover, [*numbers, *ignore]))
    if len(unknown):
        row, column = unknown[0]
        raise ValueError(
            f"pixels of no known class: {len(unknown):,}, the first in row {row}, column {column} "
            f"with {land_cover[row, column]}, which is none of {sorted({*classes, *ignore})}"
        )
    labels = list(dict.fromkeys(classes.values()))
    counts = np.zeros(len(labels) + 1, dtype=np.int64)
    counts[-1] = land_cover.size
    for number in numbers:
        counts[labels.index(classes[number])] += (land_cover == number).sum()
    return counts


def present(counts: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """Labels (…, L) bool of the counts (…, L + 1) of `class_pixels`, as in `labels_from_map`."""
    valid = counts[..., :-1].sum(axis=-1, keepdims=True)
    enough = valid >= LEAST_VALID * counts[..., -1:]
    return enough & (counts[..., :-1] > threshold * valid)
