"""Linear probe and nearest neighbours, against slow references and what must hold."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from maclcore.evaluation import transfer
from maclcore.evaluation.classification import classification_scores
from maclcore.evaluation.transfer import STRENGTHS, knn, linear_probe, prevalence

SIZES = (90, 40, 60)


@pytest.fixture(scope="module")
def parts():
    """Features that know of their labels, in three parts."""
    return made(0)


def made(seed, single=False, known=1.0):
    generator = np.random.default_rng(seed)
    n, labels = sum(SIZES), 4
    if single:
        y = np.eye(labels, dtype=bool)[generator.integers(labels, size=n)]
    else:
        y = generator.random((n, labels)) < 0.35
        y[~y.any(axis=1), 0] = True
    h = generator.normal(size=(n, 10)) * np.linspace(0.1, 30, 10) + 5
    h[:, :labels] += known * y * np.linspace(0.1, 30, 10)[:labels]
    ends = np.cumsum(SIZES)
    return list(zip(np.split(h, ends[:-1]), np.split(y, ends[:-1]), strict=True))


def linear(parts, **changes):
    (h_train, y_train), (h_validation, y_validation), (h_test, y_test) = parts
    words = {
        "h_train": h_train,
        "y_train": y_train,
        "h_test": h_test,
        "y_test": y_test,
        "h_validation": h_validation,
        "y_validation": y_validation,
        **changes,
    }
    return linear_probe(**words)


def neighbours(parts, **words):
    (h_train, y_train), _, (h_test, y_test) = parts
    return knn(h_train, y_train, h_test, y_test, **words)


PROBES = pytest.mark.parametrize("probe", [linear, neighbours], ids=["linear", "knn"])


def test_the_linear_probe_is_scikit_learns_pipeline(parts):
    (h, y), (h_validation, y_validation), (h_test, y_test) = parts
    scaler = StandardScaler().fit(h)
    found = {}
    for c in STRENGTHS:
        model = OneVsRestClassifier(LogisticRegression(C=c, max_iter=1000))
        model.fit(scaler.transform(h), y)
        said = model.predict_proba(scaler.transform(h_validation))
        score = classification_scores(said, y_validation)["macro mAP"]
        found[c] = score, model.predict_proba(scaler.transform(h_test))
    probe = linear(parts)
    best = max(STRENGTHS, key=lambda c: found[c][0])
    assert probe.choice["C"] == best
    assert probe.choice["validation macro mAP"] == pytest.approx(
        {str(c): found[c][0] for c in STRENGTHS}, abs=1e-9
    )
    np.testing.assert_allclose(probe.predicted, found[best][1], atol=1e-7)
    assert probe.scores == classification_scores(probe.predicted, y_test)


def test_a_regression_is_where_its_own_cost_is_least(parts):
    """A second witness: at the minimum the gradient, written from the formula, is zero."""
    (h, y), *_ = parts
    probe = linear(parts)
    x = (h - h.mean(axis=0)) / h.std(axis=0)
    for weights, has in zip(probe.weights, y.T, strict=True):
        w, b = weights[:-1], weights[-1]
        p = 1 / (1 + np.exp(-(x @ w + b)))
        gradient = w + probe.choice["C"] * ((p - has) @ x)
        assert np.abs(gradient).max() < 1e-2 * np.abs(probe.choice["C"] * (has @ x)).max()


def test_neighbours_are_those_of_loops(parts):
    (h, y), _, (h_test, y_test) = parts
    probe = neighbours(parts, k=7, temperature=0.1)
    for row, image in zip(probe.predicted, h_test, strict=True):
        cosines = [image @ other / np.linalg.norm(image) / np.linalg.norm(other) for other in h]
        best = sorted(range(len(h)), key=lambda i: -cosines[i])[:7]
        weight = [np.exp(cosines[i] / 0.1) for i in best]
        expected = sum(w * y[i] for w, i in zip(weight, best, strict=True)) / sum(weight)
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-9)
    assert probe.scores == classification_scores(probe.predicted, y_test)
    assert probe.choice == {"k": 7, "temperature": 0.1}


def test_of_few_training_images_all_are_neighbours(parts):
    (h, y), _, (h_test, y_test) = parts
    probe = knn(h[:5], y[:5], h_test, y_test, k=20, temperature=1e9)
    np.testing.assert_allclose(probe.predicted, np.tile(y[:5].mean(axis=0), (60, 1)), atol=1e-7)
    assert probe.choice["k"] == 5 and "the 5 nearest of 5" in probe.protocol


@PROBES
def test_features_that_are_the_labels_give_1(probe, parts):
    clear = [(y + 0.01, y) for _, y in parts]
    assert probe(clear).scores["macro mAP"] == 1


@PROBES
def test_features_that_know_nothing_give_the_prevalence(probe):
    found = [made(seed, known=0.0) for seed in range(6)]
    gap = [probe(parts).scores["macro mAP"] - parts[2][1].mean() for parts in found]
    assert abs(np.mean(gap)) < 0.06
    assert np.mean([probe(made(seed, known=6.0)).scores["macro mAP"] for seed in range(3)]) > 0.6


@PROBES
def test_the_same_bits_again(probe, parts):
    first, second = probe(parts), probe(parts)
    assert np.array_equal(first.predicted, second.predicted)
    assert first.scores == second.scores and first.intervals == second.intervals
    assert first.choice == second.choice and first.protocol == second.protocol


@PROBES
def test_labels_of_the_test_images_decide_nothing_but_scores(probe, parts):
    train, validation, (h, y) = parts
    poisoned = [train, validation, (h, y[np.random.default_rng(0).permutation(len(y))])]
    first, second = probe(parts), probe(poisoned)
    assert np.array_equal(first.predicted, second.predicted) and first.choice == second.choice
    assert (first.weights is None) == (probe is neighbours)
    if first.weights is not None:
        assert np.array_equal(first.weights, second.weights)
    assert first.scores != second.scores


def test_labels_of_validation_images_do_decide(parts):
    train, (h, y), test = parts
    others = {linear([train, (h, np.roll(y, r, axis=0)), test]).choice["C"] for r in range(6)}
    assert len(others) > 1


@PROBES
def test_the_order_of_labels_does_not_matter(probe, parts):
    order = [2, 0, 3, 1]
    moved = probe([(h, y[:, order]) for h, y in parts])
    np.testing.assert_allclose(moved.predicted, probe(parts).predicted[:, order], atol=1e-12)
    assert moved.scores == pytest.approx(probe(parts).scores, abs=1e-12)


@PROBES
def test_the_order_of_images_does_not_matter(probe, parts):
    generator = np.random.default_rng(0)
    orders = [generator.permutation(len(y)) for _, y in parts]
    moved = probe([(h[i], y[i]) for (h, y), i in zip(parts, orders, strict=True)])
    # L-BFGS stops near the minimum, and where depends on the order of its sums
    np.testing.assert_allclose(moved.predicted, probe(parts).predicted[orders[2]], atol=1e-4)
    assert moved.choice["k" if probe is neighbours else "C"] in probe(parts).choice.values()


def test_the_scale_of_a_feature_does_not_matter_to_the_linear_probe(parts):
    scaled = [(h * np.logspace(-3, 3, 10) - 7, y) for h, y in parts]
    np.testing.assert_allclose(linear(scaled).predicted, linear(parts).predicted, atol=1e-5)


@PROBES
def test_images_without_a_label_are_left_out_and_counted(probe, parts):
    more = [
        (np.concatenate([h, 100 + h[:3]]), np.concatenate([y, np.zeros((3, 4), bool)]))
        for h, y in parts
    ]
    first, second = probe(parts), probe(more)
    assert np.array_equal(first.predicted, second.predicted[:60]) and len(second.predicted) == 63
    assert first.scores == second.scores and first.intervals == second.intervals
    assert first.left_out == {"images": 0, "labels": 0}
    assert second.left_out == {"images": 3, "labels": 0}


@PROBES
def test_of_single_labels_accuracy_is_what_counts(probe):
    parts = made(1, single=True, known=6.0)
    found = probe(parts)
    right = found.predicted.argmax(axis=1) == parts[2][1].argmax(axis=1)
    assert found.scores["accuracy"] == right.mean() > 0.5
    assert probe is neighbours or "validation accuracy" in found.choice


def test_a_label_of_none_or_all_training_images_is_no_error(parts):
    (h, y), validation, test = parts
    y = y.copy()
    y[:, 1], y[:, 2] = False, True
    found = linear([(h, y), validation, test])
    assert (found.predicted[:, 1] == 0).all() and (found.predicted[:, 2] == 1).all()


def test_a_feature_that_is_constant_in_training_is_no_error(parts):
    constant = [(np.column_stack([h, np.ones(len(h))]), y) for h, y in parts]
    np.testing.assert_allclose(linear(constant).predicted, linear(parts).predicted, atol=1e-4)


def test_chance_is_the_share_of_training_images(parts):
    (_, y), _, (_, y_test) = parts
    found = prevalence(y, y_test)
    assert np.array_equal(found.predicted, np.tile(y.mean(axis=0), (len(y_test), 1)))
    assert found.scores["macro mAP"] == pytest.approx(y_test.mean())


def test_intervals_hold_the_score(parts):
    for found in (linear(parts), neighbours(parts), prevalence(parts[0][1], parts[2][1])):
        assert found.scores.keys() == found.intervals.keys()
        for name, (low, high) in found.intervals.items():
            assert low <= found.scores[name] <= high


def test_tensors_and_float32_will_do(parts):
    tensors = [(torch.from_numpy(h).float(), torch.from_numpy(y)) for h, y in parts]
    np.testing.assert_allclose(linear(tensors).predicted, linear(parts).predicted, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h_test": np.ones((59, 10))}, r"h_test must be \(N, F\), a row for each of the 60 rows"),
        ({"h_test": np.ones((60, 9))}, "the parts have 9 and 10 features an image"),
        ({"y_test": np.ones((60, 3))}, "the parts have 3 and 4 labels an image"),
        ({"h_train": np.full((90, 10), np.inf)}, r"h_train\[0\] has values .* \(90 such rows\)"),
        ({"y_validation": np.zeros((40, 4))}, "no image of the validation part has a label"),
        ({"y_train": np.full((90, 4), 2)}, r"y_train\[0, 0\] is 2: a label is 0 or 1"),
    ],
)
def test_what_does_not_fit_is_told(parts, change, message):
    with pytest.raises(ValueError, match=message):
        linear(parts, **change)


@pytest.mark.parametrize("words", [{"k": 0}, {"temperature": 0}])
def test_neighbours_need_a_number_and_a_temperature(parts, words):
    with pytest.raises(ValueError, match="k and temperature must be positive"):
        neighbours(parts, **words)


def test_a_fit_that_is_stopped_is_a_candidate_like_any(parts, monkeypatch):
    monkeypatch.setattr(transfer, "STEPS", 1)
    assert 0 < linear(parts).scores["macro mAP"] <= 1
