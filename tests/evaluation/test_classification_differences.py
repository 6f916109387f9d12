"""Methods compared image by image: against loops over scores that are really exchanged."""

import numpy as np
import pandas as pd
import pytest

from maclcore.evaluation.classification import SCORES, classification_scores, differences
from maclcore.evaluation.statistics import holm

NAMES = [f"image{i}" for i in range(40)]


def drawn(seed, strength=1.0, runs=2, n=30, L=3):
    """Labels of 40 images, and runs of 30 of them, some of which two runs share."""
    generator = np.random.default_rng(seed)
    y = np.random.default_rng(99).random((len(NAMES), L)) < 0.4
    y[:3] = False  # images without a label, which no score has
    labels = pd.DataFrame(y, index=NAMES)
    parts = [np.random.default_rng(r).permutation(len(NAMES))[:n] for r in range(runs)]
    noise = [generator.random((n, L)) for _ in parts]
    tables = [
        pd.DataFrame((u + strength * y[p]) / (1 + strength), index=[NAMES[i] for i in p])
        for u, p in zip(noise, parts, strict=True)
    ]
    return tables, labels


def scores(table, labels):
    return np.array(list(classification_scores(table, labels.loc[table.index]).values()))


def test_the_difference_is_that_of_the_scores_run_by_run():
    (a, labels), (b, _), (c, _) = (
        drawn(seed, strength) for seed, strength in ((0, 1), (1, 0.2), (2, 0.9))
    )
    table = differences({"a": a, "b": b, "c": c}, labels, "c", resamples=50)
    assert list(table.index.unique("metric")) == list(SCORES) and set(
        table.index.unique("loss")
    ) == {"a", "b"}
    for name, runs in {"a": a, "b": b}.items():
        gaps = np.array(
            [scores(x, labels) - scores(z, labels) for x, z in zip(runs, c, strict=True)]
        )
        found = table.xs(name, level="loss")
        assert np.allclose(found["difference"], gaps.mean(axis=0))
        assert (found["ahead"] == (gaps > 0).sum(axis=0)).all()
        assert (found["low"] < found["high"]).all() and (found["replicates"] == 2).all()
    for metric in SCORES:
        part = table.loc[metric]
        assert np.allclose(part["holm"], holm(part["p"].to_numpy()))


def test_p_is_that_of_exchanged_rows():
    """An image is exchanged in both runs that have it; for macro mAP its place by each label."""
    (a, labels), (b, _) = drawn(0, 1.0), drawn(1, 0.7)
    found = differences({"a": a, "b": b}, labels, "b", resamples=1500)["p"]
    observed = np.mean(
        [scores(x, labels) - scores(z, labels) for x, z in zip(a, b, strict=True)], axis=0
    )
    generator, extreme = np.random.default_rng(5), np.zeros(len(SCORES))
    for _ in range(400):
        swapped = {name for name in NAMES if generator.random() < 0.5}
        gap = np.zeros(len(SCORES))
        for x, z in zip(a, b, strict=True):
            mask = np.array([name in swapped for name in x.index])[:, None]
            gap += exchanged_gap(x, z, mask, labels) / len(a)
            known = labels.loc[x.index].any(axis=1)
            places = x[known].rank(), z[known].rank()
            gap[0] -= exchanged_gap(x, z, mask, labels)[0] / len(a)
            gap[0] += exchanged_gap(*places, mask[known.to_numpy()], labels)[0] / len(a)
        extreme += np.abs(gap) >= np.abs(observed) - 1e-12
    assert np.allclose(found, extreme / 400, atol=0.09)


def exchanged_gap(x, z, mask, labels):
    one = pd.DataFrame(np.where(mask, z, x), index=x.index)
    other = pd.DataFrame(np.where(mask, x, z), index=x.index)
    return scores(one, labels) - scores(other, labels)


def test_the_scale_of_a_method_does_not_count_in_macro_map():
    (a, labels), (b, _) = drawn(0, 1.0), drawn(1, 0.7)
    one = differences({"a": a, "b": b}, labels, "b", resamples=200).loc["macro mAP"]
    small = [table**3 / 10 for table in b]
    other = differences({"a": a, "b": small}, labels, "b", resamples=200).loc["macro mAP"]
    pd.testing.assert_frame_equal(one, other)


def test_a_method_is_no_different_from_itself_and_a_perfect_one_is_from_noise():
    (a, labels), (b, _) = drawn(0, 50.0, runs=1), drawn(1, 0.0, runs=1)
    table = differences({"a": a, "same": a, "b": b}, labels, "a", resamples=200)
    same = table.xs("same", level="loss")
    assert np.allclose(same[["difference", "low", "high"]], 0) and (same["p"] == 1).all()
    worse = table.xs("b", level="loss")
    assert (worse["high"] < 0).all() and (worse["p"] < 0.02).all() and (worse["ahead"] == 0).all()


def test_rows_are_matched_by_name_and_turned_round_the_sign_turns():
    (a, labels), (b, _) = drawn(0, 1.0), drawn(1, 0.2)
    shuffled = [table.sample(frac=1, random_state=0) for table in b]
    one = differences({"a": a, "b": b}, labels, "b", resamples=100)
    again = differences({"a": a, "b": shuffled}, labels, "b", resamples=100)
    pd.testing.assert_frame_equal(one, again)
    other = differences({"a": a, "b": b}, labels, "a", resamples=100)
    assert np.allclose(other["difference"], -one["difference"])
    assert np.allclose(other["p"], one["p"], atol=0.15)


def test_an_unknown_reference_is_named():
    a, labels = drawn(0)
    with pytest.raises(ValueError, match="no method 'c' among a"):
        differences({"a": a}, labels, "c")
