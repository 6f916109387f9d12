"""Average precision, F1 and accuracy, against loops, scikit-learn and what must hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, hamming_loss

from maclcore.evaluation.classification import (
    classification_scores,
    intervals,
    is_single_label,
    label_scores,
    left_out,
    set_scores,
    threshold_for,
)
from maclcore.evaluation.statistics import bootstrap, bootstrap_of

Y = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]])
P = np.array(
    [
        [0.9, 0.2, 0.6, 0.1],
        [0.3, 0.8, 0.4, 0.05],
        [0.7, 0.45, 0.2, 0.35],
        [0.1, 0.3, 0.55, 0.6],
        [0.4, 0.5, 0.65, 0.15],
    ]
)


def drawn(seed, n=60, labels=5, ties=False, single=False):
    """Scores that know something, and labels."""
    generator = np.random.default_rng(seed)
    if single:
        y = np.eye(labels, dtype=bool)[generator.integers(labels, size=n)]
    else:
        y = generator.random((n, labels)) < generator.uniform(0.1, 0.6, labels)
        y[~y.any(axis=1), 0] = True
    scores = (generator.random((n, labels)) + 0.5 * y) / 1.5
    return (scores.round(1) if ties else scores), y


def slow_precision(scores, y):
    """Definition: over the distinct scores, the precision down to each, times the recall gained."""
    total, before = 0.0, 0
    for level in sorted(set(scores), reverse=True):
        found = [hit for score, hit in zip(scores, y, strict=True) if score >= level]
        total += (sum(found) - before) * sum(found) / len(found)
        before = sum(found)
    return total / sum(y)


def slow_f1(predicted, y):
    tp = sum(p and t for p, t in zip(predicted, y, strict=True))
    wrong = sum(bool(p) != bool(t) for p, t in zip(predicted, y, strict=True))
    return 2 * tp / (2 * tp + wrong)


def slow(scores, y, threshold=0.5):
    present = [j for j in range(y.shape[1]) if any(y[:, j])]
    predicted = scores > threshold
    return {
        "macro mAP": np.mean([slow_precision(scores[:, j], y[:, j]) for j in present]),
        "micro mAP": slow_precision(scores.ravel(), y.ravel()),
        "macro F1": np.mean([slow_f1(predicted[:, j], y[:, j]) for j in present]),
        "micro F1": slow_f1(predicted.ravel(), y.ravel()),
    }


def test_five_images_by_hand():
    found = classification_scores(P, Y)
    assert found["macro mAP"] == pytest.approx((1 + 5 / 6 + 7 / 12 + 1 / 2) / 4)
    assert found["micro mAP"] == pytest.approx(0.793831, abs=5e-7)
    assert found["macro F1"] == pytest.approx((4 / 5 + 2 / 3 + 4 / 5 + 0) / 4)
    assert found["micro F1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_loops_and_scikit_learn_say_the_same(seed, ties):
    scores, y = drawn(seed, ties=ties)
    found = classification_scores(scores, y, 0.4)
    assert found == pytest.approx(slow(scores, y, 0.4), abs=1e-12)
    for average in ("macro", "micro"):
        ap = average_precision_score(y, scores, average=average)
        assert found[f"{average} mAP"] == pytest.approx(ap, abs=1e-12)
        f1 = f1_score(y, scores > 0.4, average=average, zero_division=0)
        assert found[f"{average} F1"] == pytest.approx(f1, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_with_one_label_an_image_the_highest_score_is_predicted(seed):
    scores, y = drawn(seed, single=True)
    found = classification_scores(scores, y, single_label=True)
    best = scores.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(y.argmax(axis=1), best))
    assert found["micro F1"] == pytest.approx(found["accuracy"])
    assert found["macro F1"] == pytest.approx(f1_score(y.argmax(axis=1), best, average="macro"))
    assert "accuracy" not in classification_scores(scores, y)


def test_neither_order_of_images_nor_of_labels_matters():
    scores, y = drawn(1, ties=True)
    generator = np.random.default_rng(0)
    rows, columns = generator.permutation(len(y)), generator.permutation(y.shape[1])
    expected = classification_scores(scores, y)
    assert classification_scores(scores[rows], y[rows]) == pytest.approx(expected, abs=1e-12)
    moved = classification_scores(scores[:, columns], y[:, columns])
    assert moved == pytest.approx(expected, abs=1e-12)


def test_average_precision_sees_order_alone():
    scores, y = drawn(2, ties=True)
    names = ["macro mAP", "micro mAP"]
    first, second = (classification_scores(s, y) for s in (scores, np.exp(3 * scores) - 7))
    assert [first[n] for n in names] == [second[n] for n in names]
    # each label may have a scale of its own, which the ranking of all cells together does see
    scales = 1 + np.arange(y.shape[1])
    third = classification_scores(scores * scales, y)
    assert third["macro mAP"] == first["macro mAP"] and third["micro mAP"] != first["micro mAP"]


def test_right_scores_give_1_and_scores_that_know_nothing_the_prevalence():
    _, y = drawn(3)
    assert set(classification_scores(y, y).values()) == {1.0}
    constant = classification_scores(np.full(y.shape, 0.3), y)
    assert constant["macro mAP"] == pytest.approx(y.mean())
    assert constant["micro mAP"] == pytest.approx(y.mean())
    assert constant["macro F1"] == constant["micro F1"] == 0
    everything = classification_scores(np.ones(y.shape), y)
    assert everything["micro F1"] == pytest.approx(2 * y.mean() / (1 + y.mean()))


def test_what_has_no_label_is_left_out_and_counted():
    scores, y = drawn(4)
    expected = classification_scores(scores, y)
    assert left_out(y) == {"images": 0, "labels": 0}
    unknown = np.zeros((7, y.shape[1]), dtype=bool)
    more = np.concatenate([scores, np.ones((7, y.shape[1]))]), np.concatenate([y, unknown])
    assert classification_scores(*more) == expected
    assert left_out(more[1]) == {"images": 7, "labels": 0}
    # a label that no image has: not in the macro means, but what is said of it is wrong
    wide = np.column_stack([scores, np.ones(len(y))]), np.column_stack([y, np.zeros(len(y), bool)])
    found = classification_scores(*wide)
    assert left_out(wide[1]) == {"images": 0, "labels": 1}
    assert {n: found[n] for n in ("macro mAP", "macro F1")} == {
        n: expected[n] for n in ("macro mAP", "macro F1")
    }
    assert found["micro F1"] < expected["micro F1"] and found["micro mAP"] < expected["micro mAP"]


def test_one_label_an_image_is_told_from_several():
    assert is_single_label([[1, 0], [0, 1], [0, 0]])
    assert not is_single_label([[1, 0], [1, 1]]) and not is_single_label([[0, 0], [0, 0]])


@pytest.mark.parametrize(
    ("scores", "y", "words", "message"),
    [
        (P[:4], Y, {}, r"scores \(4, 4\) and labels \(5, 4\) differ in shape"),
        (np.where(P == 0.55, np.nan, P), Y, {}, r"scores\[3, 2\] is nan: .* \(1 such values\)"),
        (P, Y * 0, {}, "none of the 5 images has a label"),
        (P, Y * 2, {}, "a label is 0 or 1"),
        (P, Y, {"single_label": True}, r"image 0 has 2 labels \(2 such images\)"),
    ],
)
def test_what_cannot_be_scored_is_told(scores, y, words, message):
    with pytest.raises(ValueError, match=message):
        classification_scores(scores, y, **words)


# --- Intervals -----------------------------------------------------------------------------------


def test_an_interval_is_that_of_the_images_drawn_again():
    """Against resamples that are really drawn, image by image, and scored by the other code."""
    scores, y = drawn(5, n=80, labels=3)
    found = intervals([(scores, y)], resamples=2000)
    point, generator = classification_scores(scores, y), np.random.default_rng(1)
    again = [generator.integers(len(y), size=len(y)) for _ in range(800)]
    drawn_scores = [classification_scores(scores[i], y[i]) for i in again]
    for name, (low, high) in found.items():
        values = [one[name] for one in drawn_scores]
        # without the bias that the draws show, and as much of the score's own
        shift = 2 * (np.mean(values) - point[name])
        expected = np.quantile(values, [0.025, 0.975]) - shift
        assert np.allclose((low, high), expected, atol=0.012), name
        assert low < point[name] < high


def test_counts_are_copies_of_images():
    """A resample that has an image twice is scored as if it were there twice."""
    from maclcore.evaluation.classification import _Weighed

    scores, y = drawn(6, ties=True)
    counts = np.random.default_rng(0).multinomial(len(y), np.full(len(y), 1 / len(y)), size=5)
    values = _Weighed(scores, y)
    for row, times in zip(values(counts), counts, strict=True):
        expected = slow(np.repeat(scores, times, axis=0), np.repeat(y, times, axis=0))
        assert dict(zip(values.names, row, strict=True)) == pytest.approx(expected, abs=1e-12)


def test_runs_that_differ_widen_the_interval():
    scores, y = drawn(7, n=200)
    worse = scores * 0.7 + 0.3 * np.random.default_rng(0).random(scores.shape)

    def width(*runs):
        low, high = intervals([(run, y) for run in runs], resamples=400)["macro mAP"]
        return high - low

    assert width(scores, scores, scores) < width(scores) < width(scores, worse, scores)


def test_of_means_it_is_the_bootstrap_of_means():
    generator = np.random.default_rng(0)
    replicates = [generator.normal(size=(n, 2)) + r for r, n in enumerate((40, 50, 60))]

    def mean_of(values):
        return lambda counts: counts @ values / counts.sum(axis=1, keepdims=True)

    sizes = [len(values) for values in replicates]
    found = bootstrap_of([mean_of(v) for v in replicates], sizes, resamples=6000)
    expected = bootstrap(replicates, resamples=6000)
    width = expected[1] - expected[0]
    assert np.allclose(found, expected, atol=0.05 * width.max())


def test_seeds_decide_intervals():
    scores, y = drawn(8)
    first, same, other = (intervals([(scores, y)], resamples=50, seed=s) for s in (0, 0, 1))
    assert first == same != other


def test_nothing_to_draw_from_is_an_error():
    with pytest.raises(ValueError, match="at least one image in each run"):
        bootstrap_of([], [])
    with pytest.raises(ValueError, match="finite values of each run"):
        bootstrap_of([lambda counts: np.full((len(counts), 1), np.nan)], [3])


# --- Sets of labels, single labels, and where a label counts as predicted -------------------------


def test_sets_and_labels_of_five_images_by_hand():
    """To the six digits of values computed apart from this package."""
    wanted = {"image mAP": 0.766667, "image F1": 0.633333, "OA": 0.75, "subset accuracy": 0.4}
    found = set_scores(P, Y)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=5e-7)
    assert found["OA of no labels"] == pytest.approx(12 / 20)
    table = label_scores(P, Y, list("abcd"))
    assert list(table.index) == list("abcd") and table["images"].tolist() == [3, 2, 2, 1]
    np.testing.assert_allclose(table["AP"], [1, 0.833333, 0.583333, 0.5], atol=5e-7)
    np.testing.assert_allclose(table["F1"], [0.8, 0.666667, 0.8, 0], atol=5e-7)
    four = {"macro mAP": 0.729167, "micro mAP": 0.793831, "macro F1": 0.566667, "micro F1": 2 / 3}
    assert classification_scores(P, Y) == pytest.approx(four, abs=5e-7)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_sets_and_labels_are_those_of_scikit_learn_and_of_loops(seed, ties):
    scores, y = drawn(seed, ties=ties)
    predicted = scores > 0.4
    assert set_scores(scores, y, 0.4) == pytest.approx(
        {
            "image mAP": average_precision_score(y, scores, average="samples"),
            "image F1": f1_score(y, predicted, average="samples", zero_division=0),
            "OA": 1 - hamming_loss(y, predicted),
            "OA of no labels": 1 - hamming_loss(y, np.zeros_like(y)),
            "subset accuracy": accuracy_score(y, predicted),
        }
    )
    images = zip(scores, y, strict=True)
    assert set_scores(scores, y)["image mAP"] == pytest.approx(
        np.mean([slow_precision(*image) for image in images])
    )
    table = label_scores(scores, y, threshold=0.4)
    np.testing.assert_allclose(table["AP"], average_precision_score(y, scores, average=None))
    np.testing.assert_allclose(table["F1"], f1_score(y, predicted, average=None))


def test_a_label_of_no_image_has_no_score_and_the_others_make_the_macro_means():
    scores, y = drawn(0)
    y[:, 2] = False
    y[~y.any(axis=1), 0] = True
    y[7] = False  # of this image nothing is known
    table, four = label_scores(scores, y), classification_scores(scores, y)
    assert table.isna().sum().tolist() == [1, 1, 0] and table["images"][2] == 0
    assert table["AP"].mean() == pytest.approx(four["macro mAP"])
    assert table["F1"].mean() == pytest.approx(four["macro F1"])
    known = y.any(axis=1)
    assert set_scores(scores, y) == set_scores(scores[known], y[known])
    assert table["images"].sum() == y.sum()


def test_right_sets_score_1_and_none_the_floor():
    _, y = drawn(1)
    found = set_scores(y.astype(float), y)
    assert all(found[name] == 1 for name in found if name != "OA of no labels")
    nothing = set_scores(np.zeros(y.shape), y)
    assert nothing["OA"] == nothing["OA of no labels"] == found["OA of no labels"] < 1


tables = st.tuples(st.integers(1, 8), st.integers(1, 5)).flatmap(
    lambda shape: arrays(float, shape, elements=st.sampled_from(np.linspace(0, 1, 11).tolist()))
)


@given(tables, st.floats(0, 1))
def test_no_threshold_leaves_a_number_of_labels_nearer_to_the_one_asked_for(p, share):
    number = share * p.shape[1]
    at = threshold_for(p, number)
    gap = abs((p > at).sum() - number * len(p))
    others = [(p > t).sum() for t in [-1, *p.ravel().tolist()]]
    assert gap == min(abs(other - number * len(p)) for other in others)
    assert not (p == at).any() or not (p > at).any()  # between two that occur, but for no label


def test_without_ties_there_are_as_many_labels_as_asked_for():
    p = np.random.default_rng(0).random((40, 7))
    for number in (0, 0.5, 2.2, 7):
        assert (p > threshold_for(p, number)).sum() == round(number * 40)


@pytest.mark.parametrize(
    ("p", "number", "message"),
    [
        (P, 4.1, r"labels_per_image is 4.1; there are 0 to 4"),
        (P, -1, "labels_per_image is -1"),
        (P, np.nan, "labels_per_image is nan"),
        (P[:0], 1, r"got shape \(0, 4\)"),
        (P[0], 1, r"got shape \(4,\)"),
        (P * np.inf, 1, "must be finite"),
    ],
)
def test_where_no_threshold_can_be(p, number, message):
    with pytest.raises(ValueError, match=message):
        threshold_for(p, number)
