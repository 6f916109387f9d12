"""Label statistics against loops over Python sets, on random and on hand-made tables."""

from collections import Counter
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from maclcore import labels
from maclcore.evaluation.retrieval import evaluate
from maclcore.labels import TABLE_LABELS, LabelStatistics, as_labels, jaccard
from maclcore.losses import macl

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


@pytest.mark.parametrize("of", ["cosine", "jaccard"])
def test_similarities_of_all_pairs_are_those_of_a_loop(of):
    y = np.random.default_rng(1).random((60, 5)) < 0.35
    stats, found = LabelStatistics.from_labels(y), Counter()
    images = [set(np.flatnonzero(row)) for row in y]
    assert not all(images), "some have none, and are left out"
    for i, a in enumerate(images):
        for j, b in enumerate(images):
            if i != j and a and b:
                k = len(a & b)
                found[
                    round(k / (len(a) * len(b)) ** 0.5 if of == "cosine" else k / len(a | b), 12)
                ] += 1
    values, shares = stats.similarities(of)
    assert values.tolist() == sorted(found) and shares.sum() == pytest.approx(1)
    assert shares == pytest.approx([found[v] / found.total() for v in sorted(found)])


def test_similarities_need_two_labelled_images_and_a_name():
    stats = LabelStatistics.from_labels([[1, 0], [0, 0]])
    with pytest.raises(ValueError, match="two images that have a label"):
        stats.similarities()
    with pytest.raises(ValueError, match="cosine or jaccard; got 'dice'"):
        stats.similarities("dice")


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


@unhurried
@given(st.data())
def test_what_was_asked_before_does_not_matter(data):
    """One object, asked many things by turns, answers as a fresh one does."""
    width = data.draw(st.sampled_from([3, 64, 66]))
    y = data.draw(arrays(bool, (12, width)))
    asked = arrays(bool, st.tuples(st.integers(0, 4), st.just(width)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_MEMO", data.draw(st.sampled_from([0, 2, 1 << 20])))
        patch.setattr(labels, "_SETS", data.draw(st.sampled_from([1, 1 << 12])))
        stats = LabelStatistics.from_labels(y)
        for _ in range(4):
            rows = st.lists(st.integers(0, 11), max_size=4)
            a, b = (
                y[data.draw(rows)] if data.draw(st.booleans()) else data.draw(asked)
                for _ in range(2)
            )
            shared = stats.shared_support(a, b)
            assert shared.shape == (len(a), len(b)) and shared.dtype == np.int64
            fresh = LabelStatistics.from_labels(y)
            assert np.array_equal(shared, fresh.shared_support(a, b))
            assert shared.tolist() == [[(y >= (i & j)).all(axis=1).sum() for j in b] for i in a]
            assert stats.support(a).tolist() == [(y >= i).all(axis=1).sum() for i in a]


@pytest.mark.parametrize("width", [5, 30, 70])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 300])
def test_more_images_than_a_word_has_bits(n, width):
    y = np.random.default_rng(n).random((n, width)) < 0.6
    stats, asked = LabelStatistics.from_labels(y), np.eye(width, dtype=bool)[:5]
    asked = np.concatenate([asked, asked[::-1] | asked, y[:3]])
    assert stats.support(asked).tolist() == [(y >= row).all(axis=1).sum() for row in asked]
    assert stats.support(np.zeros((1, width))).tolist() == [n]
    found = stats.shared_support(y[:9], asked)
    assert found.tolist() == [[(y >= (a & b)).all(axis=1).sum() for b in asked] for a in y[:9]]


def test_remembered_supports_are_bounded(monkeypatch):
    stats = LabelStatistics.from_labels(np.eye(20))
    for label in range(20):
        stats.support(np.eye(20)[[label]])
    assert len(stats._memo) == 20, "each is counted once"
    monkeypatch.setattr(labels, "_MEMO", 5)
    stats = LabelStatistics.from_labels(np.eye(20))
    for label in range(20):
        stats.support(np.eye(20)[[label, label - 1]])
        assert len(stats._memo) <= 5 + 2


def test_tensors_are_kept_for_each_name_type_and_device():
    stats = LabelStatistics.from_labels(TABLE)
    likes = [torch.empty(0, dtype=dtype) for dtype in (torch.float32, torch.float64, torch.int32)]
    likes.append(torch.empty(0, device="meta"))
    for _ in range(2):  # made, and kept
        for like in likes:
            for name in ("counts", "cooccurrence", "support_table"):
                found = stats.tensor(name, like)
                assert (found.dtype, found.device) == (like.dtype, like.device)
                assert found is stats.tensor(name, like)
                expected = getattr(stats, name)
                assert found.shape == expected.shape
                assert found.is_meta or found.tolist() == expected.tolist()


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


COLUMNS = {  # how a table may hold its zeros and ones
    "bool": lambda x: x.astype(bool),
    "int": lambda x: x.astype(int),
    "float": lambda x: x.astype(float),
    "nullable": lambda x: x.convert_dtypes(),
    "nullable bool": lambda x: x.astype(bool).convert_dtypes(),
    "numbers": lambda x: x.astype(object),
    "bools": lambda x: x.astype(bool).astype(object),
    "decimals": lambda x: x.map(Decimal).astype(object),
}
column_types = st.lists(st.sampled_from(list(COLUMNS)), min_size=4, max_size=4)


def frame(types):
    """TABLE as a DataFrame, each column of its type."""
    columns = [pd.Series(v) for v in TABLE.T]
    named = zip(["sea", "ship", "sand", "tank"], types, columns, strict=True)
    return pd.DataFrame({name: COLUMNS[kind](column) for name, kind, column in named})


@unhurried
@given(column_types)
def test_tables_with_columns_of_any_type(types):
    y = frame(types)
    assert np.array_equal(as_labels(y), TABLE == 1) and as_labels(y).dtype == bool
    assert np.array_equal(LabelStatistics.from_labels(y).counts, TABLE.sum(axis=0))
    np.testing.assert_array_equal(jaccard(y), jaccard(TABLE))
    z = np.random.default_rng(0).normal(size=(5, 3))
    pd.testing.assert_frame_equal(evaluate(z, y).per_query, evaluate(z, TABLE).per_query)
    z = torch.nn.functional.normalize(torch.from_numpy(z))
    assert macl(z, y, LabelStatistics.from_labels(y)).isfinite()


@unhurried
@given(column_types, st.sampled_from([None, pd.NA, float("nan"), np.nan, pd.NaT]))
def test_a_missing_value_is_named_with_its_row_and_column(types, value):
    y = frame(types)
    y["ship"] = y["ship"].astype(object)
    y.loc[3, "ship"] = value
    for table in (y, y.convert_dtypes(), y.astype(object)):
        with pytest.raises(ValueError, match=r"y\[3, 1\] is nan.*row 3, column 1 'ship'; 1 such"):
            LabelStatistics.from_labels(table)
    with pytest.raises(ValueError, match=r"a\[3, 1\] is nan: .*row 3, column 1;"):
        jaccard(y.to_numpy(dtype=object).tolist())
    with pytest.raises(ValueError, match=r"y_query\[3, 1\] is nan"):
        evaluate(np.ones((5, 3)), y)


@pytest.mark.parametrize("value", ["1", "sea", b"1", 1j, pd.Timestamp(0), [1]])
def test_what_is_no_number_is_a_type_error_that_names_it(value):
    y = frame(["int"] * 4).astype(object)
    y.at[2, "sand"] = value
    with pytest.raises(
        TypeError, match="y must hold bool or 0/1 values, got .* in row 2, column 2"
    ):
        as_labels(y)
    with pytest.raises(TypeError, match="y must hold bool or 0/1 values, got"):
        as_labels(y[["sand"]].convert_dtypes())


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
