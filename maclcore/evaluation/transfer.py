"""What frozen features are good for: a linear probe and k nearest neighbours.

Features h (N, F) are computed once and stay as they are; what is fitted on them sees training
images, is chosen on validation images and measured on test images. The learning is scikit-learn's.
All is deterministic, and the labels of the test images are looked at for the scores alone.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from maclcore.evaluation.classification import (
    classification_scores,
    intervals,
    is_single_label,
    left_out,
)
from maclcore.evaluation.ranking import search
from maclcore.extras import need
from maclcore.labels import as_labels

need("train", __name__)

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

#: inverse strengths of the L2 penalty, from which validation chooses
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
STEPS = 1000  # of L-BFGS, at most; on standardised features it takes some tens

Known = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Probe:
    """What a probe has come to on the test images."""

    predicted: np.ndarray  #: (Q, L), of each label a probability or a share of votes
    scores: dict[str, float]  #: `classification_scores`
    intervals: dict[str, tuple[float, float]]  #: of each score, by resampling the test images
    choice: dict[str, Any]  #: what was chosen, and how good each candidate was on validation
    protocol: str
    left_out: dict[str, int]  #: of the test part: `classification.left_out`
    weights: np.ndarray | None = None  #: (L, F + 1) on standardised features, the bias last


def linear_probe(
    h_train: Any,
    y_train: Any,
    h_test: Any,
    y_test: Any,
    *,
    h_validation: Any,
    y_validation: Any,
    seed: int = 0,
) -> Probe:
    """Logistic regression of each label on features standardised on the training images.

    One-vs-rest, L-BFGS, the inverse strength C of its penalty one of `STRENGTHS` for all labels:
    that of the highest macro mAP on validation, of the highest accuracy where each image has one
    label; of equal ones the smaller. A label that all or none of the training images have gets that
    share for a probability. Images without a label are left out everywhere. `seed` is that of the
    intervals. ValueError for shapes that do not fit, features that are not finite, and a part
    without a labelled image.
    """
    parts = train, validation, test = _parts(
        train=(h_train, y_train), validation=(h_validation, y_validation), test=(h_test, y_test)
    )
    single = is_single_label(np.concatenate([y for _, y in parts]))
    mean, spread = train[0].mean(axis=0), train[0].std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    standardised = [(h - mean) / spread for h, _ in parts]
    aim = "accuracy" if single else "macro mAP"
    fitted, found = {}, {}
    for strength in STRENGTHS:
        fitted[strength] = weights = _regressions(standardised[0], train[1], strength)
        said = _probabilities(standardised[1], weights)
        found[strength] = classification_scores(said, validation[1], single_label=single)[aim]
    chosen = max(STRENGTHS, key=lambda strength: found[strength])
    protocol = (
        f"logistic regression on frozen features, one label against the rest, standardised on "
        f"{len(train[1])} training images; C by the {aim} of {len(validation[1])} validation images"
    )
    choice = {"C": chosen, f"validation {aim}": {str(c): found[c] for c in STRENGTHS}}
    predicted = _probabilities(standardised[2], fitted[chosen])
    return measured(predicted, test[1], protocol, choice, single, seed=seed, weights=fitted[chosen])


def knn(
    h_train: Any,
    y_train: Any,
    h_test: Any,
    y_test: Any,
    *,
    k: int = 20,
    temperature: float = 0.07,
    seed: int = 0,
) -> Probe:
    """The labels of the k training images nearest by cosine, each with weight exp(cosine / τ).

    A label's score is its share of the weights. Nothing is fitted or chosen; k = 20 and τ = 0.07
    are those of the evaluation that DINO took over from Wu et al. (CVPR 2018, §3.4). Neighbours are
    exact (`ranking.search`), of equally near ones the earlier image. Images without a label are
    left out. Errors as of `linear_probe`, and ValueError for a k or temperature that is not
    positive.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"k and temperature must be positive, got {k} and {temperature}")
    train, test = _parts(train=(h_train, y_train), test=(h_test, y_test))
    single = is_single_label(np.concatenate([train[1], test[1]]))
    nearest, cosines = search(torch.from_numpy(test[0]), torch.from_numpy(train[0]), k)
    weight = ((cosines.double() - cosines.double()[:, :1]) / temperature).exp().numpy()
    votes = (weight[:, :, None] * train[1][nearest.numpy()]).sum(axis=1)
    predicted = votes / weight.sum(axis=1, keepdims=True)
    protocol = (
        f"the {nearest.shape[1]} nearest of {len(train[1])} training images by the cosine of "
        f"frozen features, weighted by exp(cosine / {temperature:g}); nothing chosen"
    )
    choice = {"k": nearest.shape[1], "temperature": temperature}
    return measured(predicted, test[1], protocol, choice, single, seed=seed)


def prevalence(y_train: Any, y_test: Any, *, seed: int = 0) -> Probe:
    """Chance: for each image the share of the training images that have the label."""
    (_, train), (_, test) = _parts(
        train=(np.ones((len(y_train), 1)), y_train), test=(np.ones((len(y_test), 1)), y_test)
    )
    single = is_single_label(np.concatenate([train, test]))
    predicted = np.broadcast_to(train.mean(axis=0), test.shape)
    protocol = f"the share of each label among {len(train)} training images, for every image"
    return measured(predicted, test, protocol, {}, single, seed=seed)


def measured(
    predicted: np.ndarray,
    y_test: np.ndarray,
    protocol: str,
    choice: dict[str, Any],
    single_label: bool,
    *,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> Probe:
    """What was predicted (Q, L), held against the labels of the test images."""
    scores = classification_scores(predicted, y_test, single_label=single_label)
    spread = intervals([(predicted, y_test)], single_label=single_label, seed=seed)
    return Probe(predicted, scores, spread, choice, protocol, left_out(y_test), weights)


def _parts(**parts: tuple[Any, Any]) -> list[Known]:
    """Features, float64, and labels, bool, of each part's images that have a label, of the test
    part's all."""
    found: list[Known] = []
    for name, (features, labels) in parts.items():
        h, y = np.asarray(features, dtype=float), np.asarray(as_labels(labels, f"y_{name}"))
        if h.ndim != 2 or len(h) != len(y):
            raise ValueError(
                f"h_{name} must be (N, F), a row for each of the {len(y)} rows of y_{name}; "
                f"its shape is {h.shape}"
            )
        if (wrong := np.flatnonzero(~np.isfinite(h).all(axis=1))).size:
            raise ValueError(
                f"h_{name}[{wrong[0]}] has values that are not finite ({len(wrong)} such rows)"
            )
        known = y.any(axis=1)
        if not known.any():
            raise ValueError(
                f"no image of the {name} part has a label: a probe needs labelled ones"
            )
        found.append((h, y) if name == "test" else (h[known], y[known]))
    for what, side in (("features", 0), ("labels", 1)):
        if len(widths := {part[side].shape[1] for part in found}) > 1:
            raise ValueError(
                f"the parts have {' and '.join(map(str, sorted(widths)))} {what} an image"
            )
    return found


def _regressions(h: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """A regression for each label, (L, F + 1)."""
    weights = np.zeros((y.shape[1], h.shape[1] + 1))
    for row, has in zip(weights, y.T, strict=True):
        if has.all() or not has.any():
            row[-1] = np.inf if has.all() else -np.inf
            continue
        with warnings.catch_warnings():  # a fit that stops early is a worse candidate, no fault
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=strength, max_iter=STEPS).fit(h, has)
        row[:-1], row[-1] = model.coef_[0], model.intercept_[0]
    return weights


def _probabilities(h: np.ndarray, weights: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-(h @ weights[:, :-1].T + weights[:, -1])))
