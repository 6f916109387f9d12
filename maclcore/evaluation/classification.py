"""How good scores of labels are: average precision, F1 and accuracy, with intervals.

`classification_scores` are the four of the tables, `differences` compares methods by them,
`set_scores` is what an image's set of labels is worth as a whole, `label_scores` one row a label.
F1 depends on where a label counts as predicted: 0.5, or the `threshold_for` a number of labels an
image, which asks for no label at all.

What the labels of an image are, not what it is like: retrieval is `retrieval`'s. An image without a
known label is left out of all numbers. A label without a positive image has no average precision
and no F1, and is left out of the macro means. `left_out` counts both.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from maclcore.evaluation.statistics import bootstrap_of, holm
from maclcore.labels import as_labels

#: the scores of archives whose images may have several labels, in the order of tables
SCORES = ("macro mAP", "micro mAP", "macro F1", "micro F1")


def classification_scores(
    scores: Any, y: Any, threshold: float = 0.5, *, single_label: bool = False
) -> dict[str, float]:
    """mAP and F1, macro and micro, of scores (N, L) against labels (N, L), all in [0, 1].

    macro mAP   the mean over labels of the average precision of the images; equal scores count
                together, as one step of the curve of precision and recall
    micro mAP   the average precision of all cells (image, label) in one ranking
    macro F1    the mean over labels of 2 TP / (2 TP + FP + FN)
    micro F1    the same of all cells together

    A label is predicted where its score is above `threshold`. `single_label`: each image has
    exactly one label; predicted is the one with the highest score, the first of equal ones, and
    "accuracy" is the share of images where it is right.
    ValueError for shapes that differ, scores that are not finite, no image with a label, and an
    image with several labels where `single_label` is set.
    """
    values = _Weighed(scores, y, threshold, single_label=single_label)
    (row,) = values(np.ones((1, len(values))))
    return dict(zip(values.names, row.tolist(), strict=True))


def intervals(
    predictions: Sequence[tuple[Any, Any]],
    threshold: float = 0.5,
    *,
    single_label: bool = False,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Low and high of each score of `classification_scores`, by `statistics.bootstrap_of`.

    predictions: (scores, y) of a run, or of several runs with other seeds or splits; the interval
    is that of their mean, and holds the luck of the images and of the runs. Errors as there.
    """
    each = [_Weighed(scores, y, threshold, single_label=single_label) for scores, y in predictions]
    sizes = [len(one) for one in each]
    ends = bootstrap_of(each, sizes, level=level, resamples=resamples, seed=seed)
    low, high = (end.clip(0, 1).tolist() for end in ends)
    return dict(zip(each[0].names, zip(low, high, strict=True), strict=True))


def differences(
    predictions: Mapping[str, Sequence[pd.DataFrame]],
    labels: pd.DataFrame,
    reference: str,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every other method minus `reference` in `classification_scores` at 0.5, rows (metric, loss).

    predictions: by method a table a run, as `Run.predictions`; the runs of all methods are in the
    same order of seeds and splits, and a run of one has the images of that run of another.
    labels: (N, L) bool, the images by name.
    As `statistics.compare`: `difference` with its interval `low` to `high`, by drawing the same
    images of both (`bootstrap_of`), which holds the luck of images and runs; `p` of exchanging the
    two methods' answers to an image in all runs that have it, at random `resamples` times, which
    holds that of the images alone. What is exchanged is, for macro mAP, an image's place in the
    order of a label, so that methods whose scores have other scales are not mixed; for micro mAP,
    whose order is across labels, and for F1 it is the scores. `holm` of it over the methods, metric
    by metric; in how many of the `replicates` the method is `ahead`. ValueError for an unknown
    reference.
    """
    if reference not in predictions:
        raise ValueError(f"no method {reference!r} among {', '.join(predictions)}")
    parts = {}
    for name in predictions:
        if name != reference:
            pairs = zip(predictions[name], predictions[reference], strict=True)
            each = [_Paired(one, other, labels) for one, other in pairs]
            parts[name] = _difference(each, resamples, seed)
    table = pd.concat(parts, names=["loss", "metric"]).swaplevel()
    table["holm"] = table.groupby("metric")["p"].transform(lambda p: holm(p.to_numpy()))
    order = pd.MultiIndex.from_product([SCORES, parts], names=["metric", "loss"])
    return table.loc[order]


def _difference(each: Sequence["_Paired"], resamples: int, seed: int) -> pd.DataFrame:
    """`differences` of two methods, a row a metric, without `holm`."""
    gaps = np.concatenate([pair(np.ones((1, len(pair)))) for pair in each])
    table = pd.DataFrame({"difference": gaps.mean(axis=0)}, index=list(SCORES))
    sizes = [len(pair) for pair in each]
    table["low"], table["high"] = bootstrap_of(each, sizes, resamples=resamples, seed=seed)
    images = sorted(set().union(*(pair.images for pair in each)))
    heads = np.random.default_rng(seed).integers(2, size=(resamples, len(images)))
    drawn = sum(pair.exchanged(heads[:, np.searchsorted(images, pair.images)]) for pair in each)
    # equal sums of rounded numbers must compare equal
    extreme = np.abs(drawn / len(each)) >= np.abs(gaps.mean(axis=0)) - 1e-12
    table["p"] = (extreme.sum(axis=0) + 1) / (resamples + 1)
    return table.assign(ahead=(gaps > 0).sum(axis=0), replicates=len(each))


def set_scores(scores: Any, y: Any, threshold: float = 0.5) -> dict[str, float]:
    """What scores (N, L) say of each image's set of labels (N, L), all in [0, 1].

    image mAP         the mean over images of the average precision of their labels
    image F1          the mean over images of 2 TP / (2 TP + FP + FN)
    OA                the share of cells (image, label) that are right
    OA of no labels   that of a table of zeros, beside which OA is to be read
    subset accuracy   the share of images of which all cells are right

    A label is predicted where its score is above `threshold`. Errors as of `classification_scores`.
    """
    _, scores, y = _labelled(scores, y)
    predicted = scores > threshold
    both, either = (predicted & y).sum(axis=1), predicted.sum(axis=1) + y.sum(axis=1)
    return {
        "image mAP": float(_precision_of_images(scores, y).mean()),
        "image F1": float((2 * both / either).mean()),
        "OA": float((predicted == y).mean()),
        "OA of no labels": float((~y).mean()),
        "subset accuracy": float((predicted == y).all(axis=1).mean()),
    }


def label_scores(
    scores: Any, y: Any, label_names: Sequence[str] | None = None, threshold: float = 0.5
) -> pd.DataFrame:
    """One row a label: its average precision "AP", its "F1", and how many images have it, "images".

    AP and F1 are NaN where it is in none: their means over the others are macro mAP and macro F1.
    Arguments and errors as of `classification_scores`.
    """
    values = _Weighed(scores, y, threshold)
    counts = np.ones((1, len(values)))
    precision = [ranking(counts)[0] for ranking in values.each]
    images, either = values.y.sum(axis=0), values.either.sum(axis=0)
    table = pd.DataFrame(
        {"AP": precision, "F1": 2 * values.both.sum(axis=0) / either.clip(min=1)},
        index=pd.Index(range(len(images)) if label_names is None else label_names, name="label"),
    )
    table[images == 0] = np.nan
    return table.assign(images=images.astype(int))


def threshold_for(probabilities: Any, labels_per_image: float) -> float:
    """Above which an image has `labels_per_image` labels in the mean, of probabilities (N, L).

    Halfway between two that occur; of two numbers of labels that equal probabilities leave to
    choose from it is the nearer, or the smaller. ValueError for a number of labels that is not in
    [0, L], for no probabilities, and for some that are not finite.
    """
    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 2 or not p.size or not np.isfinite(p).all():
        raise ValueError(f"probabilities must be finite, (N, L) and some; got shape {p.shape}")
    if not 0 <= labels_per_image <= p.shape[1]:
        raise ValueError(
            f"labels_per_image is {labels_per_image}; there are 0 to {p.shape[1]} labels an image"
        )
    levels, number = np.unique(-p, return_counts=True)  # from the highest down
    above = np.append(0, number.cumsum())  # cells above each of the thresholds
    between = -(levels[1:] + levels[:-1]) / 2
    thresholds = np.concatenate([-levels[:1], between, [np.nextafter(-levels[-1], -np.inf)]])
    return float(thresholds[np.abs(above - labels_per_image * len(p)).argmin()])


def left_out(y: Any) -> dict[str, int]:
    """How many images have no known label, and how many labels no image, of (N, L)."""
    y = np.asarray(as_labels(y))
    return {"images": int((~y.any(axis=1)).sum()), "labels": int((~y.any(axis=0)).sum())}


def is_single_label(y: Any) -> bool:
    """Whether each image of (N, L) that has a label has exactly one."""
    counts = np.asarray(as_labels(y)).sum(axis=1)
    return bool(counts.max(initial=0) == 1)


def _precision_of_images(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The average precision (n,) of each image's labels, of which it has some."""
    above = scores[:, None, :] >= scores[:, :, None]  # [i, l, k]: label k scores no less than l
    precision = (above & y[:, None, :]).sum(axis=2) / above.sum(axis=2)
    return (precision * y).sum(axis=1) / y.sum(axis=1)


class _Weighed:
    """The scores as functions of how often each labelled image counts: (B, n) -> (B, M).

    Sorted and decided once, so that thousands of resamples of the images cost little.
    """

    def __init__(
        self, scores: Any, y: Any, threshold: float = 0.5, *, single_label: bool = False
    ) -> None:
        known, scores, y = _labelled(scores, y)
        predicted = scores > threshold
        if single_label:
            if (several := np.flatnonzero(y.sum(axis=1) > 1)).size:
                raise ValueError(
                    f"single_label, but image {np.flatnonzero(known)[several[0]]} has "
                    f"{y[several[0]].sum()} labels ({len(several)} such images)"
                )
            predicted = np.arange(y.shape[1]) == scores.argmax(axis=1)[:, None]
        images = np.broadcast_to(np.arange(len(y))[:, None], y.shape)
        self.each = [_Ranking(scores[:, j], y[:, j], images[:, j]) for j in range(y.shape[1])]
        self.all = _Ranking(scores.ravel(), y.ravel(), images.ravel())
        self.both, self.either = (predicted & y).astype(float), predicted.astype(float) + y
        self.y = y.astype(float)
        self.right = self.both.any(axis=1).astype(float)
        self.names = (*SCORES, "accuracy") if single_label else SCORES

    def __len__(self) -> int:
        return len(self.y)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        counts = counts.astype(float)
        present = counts @ self.y > 0
        precision = np.stack([ranking(counts) for ranking in self.each], axis=1)
        both, either = counts @ self.both, counts @ self.either
        f1 = 2 * both / either.clip(min=1)  # 0 where nothing was predicted
        rows = [
            _mean(precision, present),
            self.all(counts),
            _mean(f1, present),
            2 * both.sum(axis=1) / either.sum(axis=1),
        ]
        if "accuracy" in self.names:
            rows.append(counts @ self.right / counts.sum(axis=1))
        return np.stack(rows, axis=1)


class _Paired:
    """How much better one method scores than another on the labelled images of a run that both
    have: of how often each image counts, (B, n) -> (B, M)."""

    def __init__(self, one: pd.DataFrame, other: pd.DataFrame, labels: pd.DataFrame) -> None:
        y = labels.loc[one.index].to_numpy()
        scores = one.to_numpy(), other.loc[one.index].to_numpy()
        self.one, self.other = (_Weighed(values, y) for values in scores)
        twice, known = np.concatenate([y, y]), y.any(axis=1)
        self.both = _Weighed(np.concatenate(scores), twice)
        places = [rankdata(values[known], axis=0) for values in scores]
        self.places = _Weighed(np.concatenate(places), twice[np.concatenate([known, known])])
        self.images = list(one.index[y.any(axis=1)])

    def __len__(self) -> int:
        return len(self.images)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        return self.one(counts) - self.other(counts)

    def exchanged(self, heads: np.ndarray) -> np.ndarray:
        """The same where the methods have changed places on the images with heads, (B, n) 0/1."""
        own, exchanged = np.hstack([1 - heads, heads]), np.hstack([heads, 1 - heads])
        gaps = self.both(own) - self.both(exchanged)
        macro = SCORES.index("macro mAP")
        gaps[:, macro] = (self.places(own) - self.places(exchanged))[:, macro]
        return gaps


class _Ranking:
    """The average precision of cells by falling score, each of an image that counts so often."""

    def __init__(self, scores: np.ndarray, y: np.ndarray, images: np.ndarray) -> None:
        order = np.argsort(-scores, kind="stable")
        scores = scores[order]
        self.images, self.y = images[order], y[order]
        self.last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # of equal scores

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        counts = counts[:, self.images]
        above = counts.cumsum(axis=1)[:, self.last]
        hits = (counts * self.y).cumsum(axis=1)[:, self.last]
        gained = np.diff(hits, axis=1, prepend=0)
        total = (gained * hits / above.clip(min=1)).sum(axis=1)
        return total / hits[:, -1].clip(min=1)  # 0 without a positive, which no mean takes


def _mean(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The mean over the labels (B, L) that are present."""
    return (values * present).sum(axis=1) / present.sum(axis=1)


def _labelled(scores: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which images (N,) have a label, and their scores and labels (n, L)."""
    scores, y = np.asarray(scores, dtype=float), np.asarray(as_labels(y))
    if scores.shape != y.shape:
        raise ValueError(f"scores {scores.shape} and labels {y.shape} differ in shape")
    wrong = np.argwhere(~np.isfinite(scores))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"scores[{row}, {column}] is {scores[row, column]}: a score must be finite "
            f"({len(wrong)} such values)"
        )
    known = y.any(axis=1)
    if not known.any():
        raise ValueError(f"none of the {len(y)} images has a label: nothing can be scored")
    return known, scores[known], y[known]
