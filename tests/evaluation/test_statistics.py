"""Intervals that cover, tests that are level, corrections and ranks as published."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from maclcore import store
from maclcore.config import Config
from maclcore.evaluation import statistics
from maclcore.evaluation.retrieval import METRICS
from maclcore.evaluation.statistics import (
    bootstrap,
    cliques,
    compare,
    critical_difference,
    friedman,
    holm,
    permutation_test,
    ranks,
    summary,
)
from maclcore.store import write_json


def coverage(replicates, truth):
    """Share of columns, each a data set of its own, whose interval holds the truth."""
    low, high = bootstrap(replicates, seed=3)
    return ((low <= truth) & (truth <= high)).mean()


def test_intervals_over_queries_cover_the_mean_of_skewed_values():
    values = np.random.default_rng(0).beta(0.5, 2, size=(100, 2000))
    assert 0.925 < coverage([values], 0.2) < 0.965


@pytest.mark.parametrize("many", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0])  # of the runs, in that of a mean over queries
def test_intervals_over_few_runs_cover_at_least_what_they_say(many, spread):
    generator = np.random.default_rng(1)
    run = spread * generator.standard_normal((many, 1, 1000)) / np.sqrt(40)
    values = run + generator.standard_normal((many, 40, 1000))
    assert coverage(list(values), 0.0) > 0.93
    if spread == 3.0:  # where the run decides, not much more either
        assert coverage(list(values), 0.0) < 0.985


def test_the_bootstrap_is_that_of_explicit_loops():
    generator = np.random.default_rng(2)
    replicates = [generator.random((12, 1)), generator.random((9, 1)) + 0.5]
    stretch = np.sqrt(2) * stats.t.ppf(0.975, 1) / stats.norm.ppf(0.975)
    means = [values.mean() for values in replicates]
    centre, drawn = sum(means) / 2, []
    for _ in range(20_000):
        total = 0.0
        for r in generator.integers(2, size=2):
            again = generator.choice(replicates[r][:, 0], size=len(replicates[r]))
            total += stretch * (means[r] - centre) + again.mean() - means[r]
        drawn.append(centre + total / 2)
    low, high = bootstrap(replicates, resamples=20_000)
    slow = np.quantile(drawn, [0.025, 0.975])
    assert np.allclose([low[0], high[0]], slow, atol=0.02 * (slow[1] - slow[0]))


def test_one_seed_is_one_result_whatever_the_chunks(monkeypatch):
    values = [np.random.default_rng(4).random((30, 2)) for _ in range(2)]
    first = bootstrap(values, seed=5)
    monkeypatch.setattr(statistics, "_CHUNK", 1000)
    assert np.allclose(first, bootstrap(values, seed=5), rtol=0, atol=1e-12)
    assert not np.allclose(first, bootstrap(values, seed=6), rtol=0, atol=1e-12)
    shifted = bootstrap([3 + 2 * part for part in values], seed=5)
    assert np.allclose(shifted, 3 + 2 * np.array(first))
    difference = np.random.default_rng(7).standard_normal((30, 1)) + 0.4
    p = [permutation_test(difference, seed=seed).item() for seed in (0, 0, 1)]
    assert p[0] == p[1] != p[2]


def test_no_interval_of_nothing_and_none_of_nan():
    low, high = bootstrap([np.full((5, 1), 0.25)])
    assert low == high == 0.25
    for values in (np.empty((0, 1)), np.array([[0.1], [np.nan]])):
        with pytest.raises(ValueError, match="finite"):
            bootstrap([np.ones((4, 1)), values])
        with pytest.raises(ValueError, match="finite"):
            permutation_test(values)


def test_what_is_not_given_is_as_written():
    values = [np.random.default_rng(i).random((20, 2)) for i in range(2)]
    given = bootstrap(values, level=0.95, resamples=2000, seed=0)
    assert np.array_equal(bootstrap(values), given)
    d = values[0] - 0.4
    assert np.array_equal(permutation_test(d), permutation_test(d, resamples=10_000, seed=0))
    assert critical_difference(4, 9) == critical_difference(4, 9, alpha=0.05)
    rows = table([(0, 0), (1, 0)], ["a", "b"], np.random.default_rng(1))
    pd.testing.assert_frame_equal(summary(rows), summary(rows, seed=0))
    pd.testing.assert_frame_equal(compare(rows, "a"), compare(rows, "a", seed=0))
    assert statistics.cells(summary(rows)).equals(statistics.cells(summary(rows), digits=1))


def test_five_pairs_by_hand():
    # The sum is 9, and 11 - 2 s after a flip that makes elements of size s in all negative. At
    # least 9 needs s <= 1: none, the second or the fifth. With the mirror images, 6 of 32.
    assert permutation_test(np.array([3.0, 1, 2, 4, -1])) == 6 / 32


def test_all_flips_by_loops_and_by_scipy():
    d = np.random.default_rng(8).standard_normal((7, 3)) + 0.5
    for column, p in zip(d.T, permutation_test(d), strict=True):
        sums = [abs(np.dot(signs, column)) for signs in product([1, -1], repeat=7)]
        assert p == np.mean(np.array(sums) >= abs(column.sum()) - 1e-12)
        other = stats.permutation_test(
            (column, np.zeros(7)), lambda x, y, axis: (x - y).mean(axis), vectorized=True,
            permutation_type="samples", n_resamples=np.inf,
        )  # fmt: skip
        assert np.isclose(p, other.pvalue)


def test_random_flips_estimate_all_flips_and_never_give_zero():
    d = np.random.default_rng(9).standard_normal((12, 4)) + 0.3
    assert np.allclose(permutation_test(d), permutation_test(d, resamples=4095), atol=0.03)
    assert permutation_test(np.ones((50, 1)), resamples=999) == 1 / 1000
    assert permutation_test(np.zeros((50, 1))) == 1


def test_the_permutation_test_holds_its_level_and_finds_what_is_there():
    generator = np.random.default_rng(10)
    d = generator.standard_t(3, size=(60, 2000))
    assert 0.035 < (permutation_test(d, resamples=2000) <= 0.05).mean() < 0.065
    assert (permutation_test(d + 0.8, resamples=2000) <= 0.05).mean() > 0.7


def test_holm_by_hand_and_against_its_definition():
    assert np.allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    p = np.random.default_rng(11).random(9) ** 3
    for alpha in (0.01, 0.05, 0.3):  # step down: reject until the first that is not below
        rejected = set()
        for step, i in enumerate(np.argsort(p)):
            if p[i] > alpha / (9 - step):
                break
            rejected.add(i)
        assert set(np.flatnonzero(holm(p) <= alpha)) == rejected


@pytest.mark.parametrize(
    "alpha, published",  # Demšar (2006), Table 5 (a): two to ten methods
    [
        (0.05, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]),
        (0.10, [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]),
    ],
)
def test_critical_values_are_the_published_ones(alpha, published):
    for k, q in enumerate(published, 2):
        assert abs(critical_difference(k, 1, alpha) / np.sqrt(k * (k + 1) / 6) - q) < 1.1e-3
    # his worked example: four classifiers, fourteen data sets
    assert round(critical_difference(4, 14, alpha), 2) == {0.05: 1.25, 0.10: 1.12}[alpha]


def test_ranks_share_ties_and_the_friedman_test_by_hand():
    scores = pd.DataFrame([[3.0, 5], [9, 7], [3, 1]], index=list("abc"), columns=["x", "y"])
    table = ranks(scores)
    assert table.index.tolist() == ["b", "a", "c"]
    assert table["x"].tolist() == [1, 2.5, 2.5] and table["y"].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="every method"):
        ranks(scores.where(scores > 1))
    # four columns in full accord: chi2 = 12 * 4 / (3 * 4) * (1 + 0 + 1) = 8, with 2 degrees
    agreed = pd.DataFrame([[1] * 4, [2] * 4, [3] * 4])
    assert np.isclose(friedman(agreed), np.exp(-4))


@given(st.lists(st.integers(2, 26), min_size=1, max_size=9), st.integers(1, 12))
def test_cliques_are_the_largest_runs_within_the_difference(halves, difference):
    values = np.sort(halves) / 2
    found = cliques(pd.Series(halves) / 2, difference / 2)
    pairs = [(i, j) for i in range(len(values)) for j in range(i + 1, len(values))]
    close = [(i, j) for i, j in pairs if values[j] - values[i] < difference / 2]
    largest = {
        (values[i], values[j])
        for i, j in close
        if not any((a, b) != (i, j) and a <= i and j <= b for a, b in close)
    }
    assert set(found) == largest and len(found) == len(largest)


def table(replicates, methods, generator):
    """Values as `per_query` gives them; an image may be a query in several replicates."""
    parts = {}
    for key in replicates:
        names = sorted(generator.choice([f"im{i}" for i in range(9)], size=6, replace=False))
        columns = pd.MultiIndex.from_product([["m", "n"], methods], names=["metric", "loss"])
        parts[key] = pd.DataFrame(generator.random((6, len(columns))), names, columns)
    return pd.concat(parts, names=[*statistics.REPLICATE, "query"])


def test_comparisons_against_loops():
    values = table([(0, 0), (1, 1), (2, 2)], ["a", "b", "c"], np.random.default_rng(12))
    result = compare(values, "b")
    assert list(result.index) == [(m, loss) for m in "mn" for loss in "ac"]
    for (metric, loss), row in result.iterrows():
        gap = values[metric, loss] - values[metric, "b"]
        seeds = [np.mean([gap[s, s, q] for q in gap[s, s].index]) for s in range(3)]
        assert np.isclose(row["difference"], np.mean(seeds))
        assert row["ahead"] == sum(s > 0 for s in seeds) and row["replicates"] == 3
        images = sorted(set(gap.index.get_level_values("query")))
        total = [sum(v for (*_, q), v in gap.items() if q == image) for image in images]
        assert np.isclose(row["p"], permutation_test(np.array(total)))
        assert row["low"] < row["difference"] < row["high"]
    assert np.allclose(result["holm"], holm(result["p"]))
    means = summary(values)
    by_run = [values.xs(s, level="seed").mean() for s in range(3)]
    assert np.allclose(means["mean"], np.mean(by_run, axis=0))
    assert np.allclose(means["sd"], np.std(by_run, axis=0, ddof=1))
    for missing in ("d", "b"):
        with pytest.raises(ValueError, match=f"no method '{missing}' among a, c"):
            compare(values.drop(columns="b", level="loss"), missing)


@pytest.mark.parametrize("seed", range(3))
def test_replicates_of_unequal_size_count_once_each(seed):
    """A split with few queries says as much as one with many; an image says more in the former."""
    values = table([(0, 0), (0, 1), (2, 1)], ["a", "b", "c"], np.random.default_rng(seed))
    values = values.drop(index=[(0, 1, q) for q in values.loc[0, 1].index[:4]])
    values = values.drop(index=[(2, 1, q) for q in values.loc[2, 1].index[:1]])
    keys = [(0, 0), (0, 1), (2, 1)]
    assert [len(values.loc[key]) for key in keys] == [6, 2, 5]
    by_run = np.array([[values.loc[key][c].mean() for c in values] for key in keys])
    result = summary(values, seed=4)
    assert np.allclose(result["mean"], by_run.mean(axis=0))
    assert (
        np.allclose(result["sd"], by_run.std(axis=0, ddof=1)) and (result["replicates"] == 3).all()
    )
    parts = [values.loc[key].to_numpy() for key in keys]
    assert np.array_equal(result[["low", "high"]].T, bootstrap(parts, seed=4))
    gaps = compare(values, "c", seed=4)
    for (metric, loss), row in gaps.iterrows():
        gap = values[metric, loss] - values[metric, "c"]
        assert np.isclose(row["difference"], np.mean([gap.loc[key].mean() for key in keys]))
        assert row["ahead"] == sum(gap.loc[key].mean() > 0 for key in keys)
        images = {}
        for (split, run, query), value in gap.items():
            share = value / len(gap.loc[split, run])
            images[query] = images.get(query, 0) + share
        assert np.isclose(row["p"], permutation_test(np.array(list(images.values())), seed=4))
    parts = [
        np.stack([values.loc[key][m, x] - values.loc[key][m, "c"] for m, x in gaps.index], axis=1)
        for key in keys
    ]
    assert np.allclose(gaps[["low", "high"]].T, bootstrap(parts, seed=4))
    other = compare(values, "c", seed=5)
    assert not np.allclose(other["low"], gaps["low"])


def test_methods_that_are_alike_are_no_different():
    values = table([(0, 0), (1, 1)], ["a", "b", "c"], np.random.default_rng(3))
    for metric in "mn":
        values[metric, "b"] = values[metric, "a"]  # equal everywhere
        # equal means only: each replicate in another order
        parts = [values[metric, "a"].loc[i, i].to_numpy()[::-1] for i in range(2)]
        values[metric, "c"] = np.concatenate(parts)
    result = compare(values, "a")
    assert np.allclose(result["difference"], 0) and (result["holm"] == 1).all()
    same = result.xs("b", level="loss")
    assert (same[["low", "high", "ahead"]] == 0).all(axis=None) and (same["p"] == 1).all()
    swapped = result.xs("c", level="loss")
    assert (swapped["p"] == 1).all(), "no sum of flips is smaller than none"
    assert (swapped["low"] < 0).all() and (swapped["high"] > 0).all()
    assert np.allclose(summary(values)["mean"].unstack().std(axis=1), 0)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_all_flips_are_taken_where_there_are_no_more_than_resamples(n):
    d = np.random.default_rng(n).random((n, 3)) + 0.1  # all of one sign: two of 2^n are extreme
    for seed in range(3):
        exact = permutation_test(d, resamples=2**n, seed=seed)
        assert np.array_equal(exact, np.full(3, 2 / 2**n))
    drawn = permutation_test(d, resamples=2**n - 1, seed=0) * 2**n  # one fewer, and itself
    assert np.array_equal(drawn, drawn.round()) and (drawn >= 1).all()
    many = {permutation_test(d, resamples=2**n - 1, seed=s)[0] for s in range(20)}
    assert len(many) > 1 or n == 1


def test_random_flips_and_resamples_are_counted_whatever_the_chunks(monkeypatch):
    d = np.random.default_rng(0).standard_normal((40, 2))
    expected = permutation_test(d, resamples=5000)
    for chunk in (1, 41, 4000):
        monkeypatch.setattr(statistics, "_CHUNK", chunk)
        found = permutation_test(d, resamples=5000)
        assert np.allclose(found, expected, atol=0.03)
        assert np.allclose(found * 5001, np.round(found * 5001))
        twelve = d[:12]  # all flips, in parts
        assert np.array_equal(permutation_test(twelve), exact_p(twelve))


def exact_p(d):
    signs = np.array(list(product([1.0, -1.0], repeat=len(d))))
    return (np.abs(signs @ d) >= np.abs(d.sum(axis=0)) - 1e-9).mean(axis=0)


def test_holm_of_ties_and_of_one():
    assert np.allclose(holm([0.02, 0.02, 0.02]), [0.06] * 3)
    assert np.allclose(holm([0.01, 0.04, 0.01, 0.5]), [0.04, 0.08, 0.04, 0.5])
    assert holm([0.9, 0.8]).tolist() == [1, 1] and holm([0.3]).tolist() == [0.3]
    assert len(holm([])) == 0


def test_ranks_of_ties_are_shared_and_mean_ranks_keep_the_order():
    scores = pd.DataFrame([[1.0, 2], [2, 1], [2, 2], [0, 0]], index=list("abcd"))
    table = ranks(scores)
    assert table.loc["a"].tolist() == [3, 1.5] and table.loc["b"].tolist() == [1.5, 3]
    assert table.loc["c"].tolist() == [1.5, 1.5] and table.loc["d"].tolist() == [4, 4]
    assert table.index.tolist() == ["c", "a", "b", "d"], "a and b tie: in the order given"
    assert cliques(table.mean(axis=1), 0.75) == [(2.25, 2.25)], "less than the difference"
    assert cliques(table.mean(axis=1), 0.76) == [(1.5, 2.25)]
    assert cliques(pd.Series([1.0, 4.0, 2.0]), 0.5) == []


def test_one_replicate_has_no_deviation_and_a_second_copy_of_it_says_nothing_new():
    values = table([(0, 0)], ["a", "b"], np.random.default_rng(13))
    assert summary(values)["sd"].isna().all()
    twice = pd.concat([values, values.rename({0: 1}, level=0)])
    once = compare(values, "a")["p"]
    assert np.allclose(once, compare(twice, "a")["p"])  # its images are the same


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Rows of `collect()` whose per-query values are in a store of their own."""
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    rows, generator = {}, np.random.default_rng(14)
    for loss, seed in product(["chance", "macl"], [0, 1]):
        config = Config(loss=loss, seed=seed, split_seed=seed)
        folder = tmp_path / "runs" / config.run_id
        folder.mkdir(parents=True)
        write_json(folder / "config.json", config.to_dict())
        values = pd.DataFrame(generator.random((4, 7)), columns=list(METRICS))
        values = values.set_axis(list("abcd"), axis=0).rename_axis("query")
        values.astype("f4").to_parquet(folder / "per_query.parquet")
        rows[config.run_id] = config.to_dict() | {
            "archive: fingerprint": "f", "queries": 4, "protocol": "test split",
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def test_per_query_values_come_from_the_store(stored):
    values = store.per_query(stored)
    assert values.shape == (8, 14) and list(values["wAP@100"]) == ["chance", "macl"]
    for run_id, row in stored.iterrows():
        file = store.Run.find(run_id).per_query
        part = values.loc[row["split_seed"], row["seed"]].xs(row["loss"], axis=1, level="loss")
        assert np.allclose(part.loc[list("abcd")], file[list(METRICS)], atol=1e-7)


def test_what_cannot_be_compared_is_refused(stored):
    with pytest.raises(ValueError, match="archive: fingerprint is e and f"):
        store.per_query(stored.assign(**{"archive: fingerprint": list("fffe")}))
    with pytest.raises(ValueError, match="several runs of macl in one split"):
        store.per_query(stored.assign(loss="macl"))
    with pytest.raises(ValueError, match="of macl for query a, split 1, seed 1"):
        store.per_query(stored[:-1])
    file = store.Run.find(stored.index[0]).folder / "config.json"
    older = Config(loss="chance").to_dict()
    del older["clip_norm"]  # as if the field were younger than the run
    write_json(file, older)
    assert len(store.per_query(stored)) == 8
    write_json(file, older | {"image_size": 64})
    with pytest.raises(ValueError, match="image_size is 224 and 64"):
        store.per_query(stored)
    with pytest.raises(ValueError, match="no runs"):
        store.per_query(stored[:0])


def test_cells_say_the_interval_and_what_may_be_luck():
    index = pd.MultiIndex.from_product([["m", "n"], ["b", "a"]], names=["metric", "loss"])
    numbers = {"low": [0.1, 0.2, 0.3, -0.4], "high": [0.5, 0.6, 0.7, 0.8]}
    plain = pd.DataFrame({"mean": [0.3, 0.4, 0.5, 0.2], **numbers}, index)
    table = statistics.cells(plain)
    assert list(table.index) == ["b", "a"] and list(table) == ["m", "n"]
    assert table.loc["a", "n"] == "20.0 [-40.0, 80.0]"
    gap = pd.DataFrame({"difference": [0.3, 0.4, 0.5, 0.2], **numbers}, index)
    table = statistics.cells(gap.assign(holm=[0.01, 0.01, 0.05, 0.2]))
    assert table.loc["b", "m"] == "+30.0 [+10.0, +50.0]"
    assert table.loc["a", "n"] == "+20.0 [-40.0, +80.0]°" and table.loc["b", "n"].endswith("°")


def three(values):
    """Per-query results (R, Q, 3) of the methods a, b and c, as `per_query` gives them."""
    names = pd.MultiIndex.from_product([["m"], ["a", "b", "c"]], names=["metric", "loss"])
    tables = {(r, r): pd.DataFrame(part, columns=names) for r, part in enumerate(values)}
    return pd.concat(tables, names=["split_seed", "seed", "query"])


@given(st.floats(-1, 2), st.integers(1, 3))
def test_the_share_of_a_gap_is_where_a_method_stands_between_two(share, many):
    """Of a method that is a blend of two on each query: its weight, and no luck is left."""
    ends = np.random.default_rng(0).random((many, 20, 2)) + [0, 2]
    blend = ends[..., 0] + share * (ends[..., 1] - ends[..., 0])
    found = statistics.share_of_gap(three(np.dstack([ends, blend])), "a", "b")
    assert list(found.index) == [("m", "c")]
    assert np.allclose(found[["share", "low", "high"]], share, atol=1e-9)
    gap = (ends[..., 1] - ends[..., 0]).mean()
    assert np.isclose(found["gap"].item(), gap)
    back = statistics.share_of_gap(three(np.dstack([ends, blend])), "b", "a")
    assert np.allclose(back["share"], 1 - share, atol=1e-9)


def test_the_interval_of_a_share_is_that_of_explicit_loops():
    generator = np.random.default_rng(1)
    values = generator.random((1, 40, 3)) + [0, 1, 0.6]
    found = statistics.share_of_gap(three(values), "a", "b").iloc[0]
    drawn = []
    for _ in range(4000):
        a, b, c = values[0][generator.integers(40, size=40)].mean(axis=0)
        drawn.append((c - a) / (b - a))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert np.allclose(found[["low", "high"]].astype(float), [low, high], atol=0.08 * (high - low))


@pytest.mark.parametrize("many", [1, 3])
def test_intervals_of_shares_cover_the_share(many):
    generator, covered = np.random.default_rng(2), []
    spread = 0.05 if many > 1 else 0  # one seed shows none
    for _ in range(150):
        seeds = spread * generator.standard_normal((many, 1, 3))
        values = seeds + 0.5 * generator.standard_normal((many, 60, 3)) + [0, 1, 0.7]
        row = statistics.share_of_gap(three(values), "a", "b").iloc[0]
        covered.append(row["low"] <= 0.7 <= row["high"])
    assert np.mean(covered) > 0.9


def test_a_gap_that_may_be_none_is_not_shared():
    values = np.random.default_rng(3).random((1, 30, 3))
    row = statistics.share_of_gap(three(values), "a", "b").iloc[0]
    assert np.isfinite(row["share"]) and np.isnan(row["low"]) and np.isnan(row["high"])
    values[..., 1] = values[..., 0]
    assert np.isnan(statistics.share_of_gap(three(values), "a", "b")["share"]).all()
    with pytest.raises(ValueError, match="no method 'z' among a, b, c"):
        statistics.share_of_gap(three(values), "a", "z")


def test_all_pairs_are_tested_as_each_alone_is():
    values = table([(0, 0), (1, 1), (2, 2)], ["a", "b", "c"], np.random.default_rng(4))
    for metric in "mn":
        values[metric, "c"] = values[metric, "a"]  # no difference at all
    found = statistics.pairwise(values)
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    assert list(found.index) == [(metric, *pair) for metric in "mn" for pair in pairs]
    for (metric, loss, rival), row in found.iterrows():
        alone = compare(values[[(metric, loss), (metric, rival)]], rival).loc[(metric, loss)]
        assert row["difference"] == pytest.approx(alone["difference"])
        assert row["p"] == alone["p"]  # nine images have 512 flips, all of which are tried
    for _, part in found.groupby(level="metric"):
        assert np.allclose(part["holm"], holm(part["p"]))
        assert part.xs("a", level="loss").loc[(slice(None), "c"), "p"].item() == 1


def test_random_flips_of_pairs_find_what_is_there_and_never_give_zero():
    index = pd.MultiIndex.from_product(
        [[0], [0], range(60)], names=[*statistics.REPLICATE, "query"]
    )
    noise = np.random.default_rng(5).normal(0, 0.1, (60, 3))
    columns = pd.MultiIndex.from_product([["m"], ["a", "b", "c"]], names=["metric", "loss"])
    found = statistics.pairwise(pd.DataFrame(noise + [0, 0, 1], index, columns), resamples=999)
    p = found.loc["m", "p"]
    assert p["a", "c"] == p["b", "c"] == 1 / 1000 and p["a", "b"] > 0.01
    other = permutation_test(noise[:, [0]] - noise[:, [1]], resamples=999)
    assert p["a", "b"] == pytest.approx(other.item(), abs=0.06)
