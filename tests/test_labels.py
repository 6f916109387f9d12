"""Label statistics against loops over Python sets, on random and on hand-made tables."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from maclcore import labels
from maclcore.labels import TABLE_LABELS, LabelStatistics, as_labels, jaccard

TABLE = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])

tables = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))
wide = arrays(bool, st.tuples(st.integers(1, 12), st.integers(60, 70)))


unhurried = settings(deadline=None)  # a busy machine is not a failure


def sets_of(y):
    return [frozenset(np.flatnonzero(row)) for row in y]


@unhurried
@given(st.one_of(tables, wide), st.data())
def test_statistics_count_what_sets_of_labels_count(y, data):
    stats, sets = LabelStatistics.from_labels(y), sets_of(y)
    n, width = y.shape
    assert stats.n == n
    assert stats.cardinality == pytest.approx(sum(map(len, sets)) / n)
    assert stats.density == pytest.approx(sum(map(len, sets)) / (n * width))
    for k in range(width):
        assert stats.counts[k] == sum(k in s for s in sets)
        for m in range(min(width, 9)):
            assert stats.cooccurrence[k, m] == sum({k, m} <= s for s in sets)
    distinct = sets_of(stats.sets)
    assert len(distinct) == len(set(distinct)) and set(distinct) == set(sets)
    assert [sets.count(s) for s in distinct] == stats.set_counts.tolist()
    assert (np.diff(stats.set_counts) <= 0).all(), "the most frequent set comes first"

    queries = data.draw(arrays(bool, (5, width)))
    expected = [sum(q <= s for s in sets) for q in sets_of(queries)]
    assert stats.support(queries).tolist() == expected
    assert stats.support(queries[::-1]).tolist() == expected[::-1], "remembered supports differ"
    shared = [[sum(a & b <= s for s in sets) for b in sets] for a in sets_of(queries)]
    assert stats.shared_support(queries, y).tolist() == shared


@unhurried
@given(tables)
def test_table_of_all_supports_agrees_with_support(y):
    stats, width = LabelStatistics.from_labels(y), y.shape[1]
    every = (np.arange(2**width)[:, None] >> np.arange(width)) & 1
    assert stats.support_table.tolist() == stats.support(every).tolist()


def test_no_table_of_all_supports_for_many_labels():
    assert LabelStatistics.from_labels(np.eye(TABLE_LABELS + 1)).support_table is None


def test_statistics_of_a_table_done_by_hand():
    stats = LabelStatistics.from_labels(TABLE, ["sea", "ship", "sand", "tank"])
    assert stats.counts.tolist() == [3, 2, 1, 0]
    assert stats.sets[0].tolist() == [True, True, False, False] and stats.set_counts[0] == 2
    assert (stats.cardinality, stats.density) == (6 / 5, 6 / 20)
    assert stats.imbalance.tolist() == [1, 1.5, 3, np.inf]
    assert stats.mean_imbalance == pytest.approx((1 + 1.5 + 3) / 3), "MeanIR skips absent labels"
    assert stats.absent == ("tank",)
    assert stats.support([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]).tolist() == [
        2, 5, 0, 0,
    ]  # fmt: skip


def test_supports_of_pairs_are_remembered_by_training_set(monkeypatch):
    """Known sets, in any order and more than once, sets never seen, and more than are kept."""
    y = np.random.default_rng(0).random((60, 8)) < 0.4
    seen, unseen = y[[3, 3, 17, 40]], ~y[:2]
    for most in (1 << 12, 5):
        monkeypatch.setattr(labels, "_SETS", most)
        stats = LabelStatistics.from_labels(y)
        for a, b in ((seen, y), (seen[::-1], y[5:9]), (y, seen), (unseen, y), (y[:4], unseen)):
            expected = [[(y >= (i & j)).all(axis=1).sum() for j in b] for i in a]
            assert stats.shared_support(a, b).tolist() == expected


def test_statistics_without_any_label():
    stats = LabelStatistics.from_labels(np.zeros((3, 2)))
    assert stats.cardinality == 0 and len(stats.sets) == 1 and stats.support([[0, 0]]) == 3
    assert np.isinf(stats.imbalance).all() and np.isnan(stats.mean_imbalance)


@unhurried
@given(tables)
def test_jaccard_of_all_pairs(y):
    sets = sets_of(y)
    expected = [[len(a & b) / len(a | b) if a | b else 0 for b in sets] for a in sets]
    np.testing.assert_allclose(jaccard(y), expected, rtol=1e-15)
    np.testing.assert_allclose(jaccard(y[:1], y), expected[:1], rtol=1e-15)
    np.testing.assert_allclose(jaccard(torch.from_numpy(y)), expected, rtol=1e-6)


@pytest.mark.parametrize("make", [np.asarray, torch.tensor, list])
@pytest.mark.parametrize("dtype", [bool, int, float])
def test_labels_of_every_type_become_bool(make, dtype):
    y = as_labels(make(TABLE.astype(dtype).tolist()))
    assert isinstance(y, torch.Tensor) == (make is torch.tensor)
    assert y.dtype in (torch.bool, bool) and y.tolist() == TABLE.astype(bool).tolist()


@pytest.mark.parametrize("make", [np.asarray, torch.tensor])
@pytest.mark.parametrize("value", [2, -1, 0.5, float("nan")])
def test_a_wrong_value_is_named_with_its_place(make, value):
    y = TABLE.astype(float)
    y[2, 1] = value
    with pytest.raises(ValueError, match=rf"labels\[2, 1\] is {value}.*row 2, column 1"):
        as_labels(make(y.tolist()), "labels")


def test_wrong_shapes_types_and_names_are_errors():
    for y in ([1, 0], np.zeros((2, 2, 2)), np.zeros((3, 0)), torch.ones(3)):
        with pytest.raises(ValueError, match=r"y must be a multi-hot table \(N, L\)"):
            as_labels(y)
    for y in ([["sea"]], np.ones((1, 1), dtype=complex), torch.ones(1, 1, dtype=torch.complex64)):
        with pytest.raises(TypeError, match="y must hold bool or 0/1 values"):
            as_labels(y)
    with pytest.raises(ValueError, match="at least one training image"):
        LabelStatistics.from_labels(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="4 labels need 4 different names"):
        LabelStatistics.from_labels(TABLE, ["sea", "sea", "sand", "tank"])
    with pytest.raises(ValueError, match="sets has 3 labels, statistics 4"):
        LabelStatistics.from_labels(TABLE).support([[1, 0, 1]])
    with pytest.raises(ValueError, match="a has 4 labels, b has 3"):
        jaccard(TABLE, TABLE[:, :3])
