"""Breakdowns against loops over queries, and the label-wise AP against the metrics'."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from maclcore import load_archive, paths
from maclcore.audit import breakdown
from maclcore.evaluation.reference import chance
from maclcore.evaluation.retrieval import evaluate
from maclcore.evaluation.statistics import compare
from maclcore.experiments.paper import METHODS
from maclcore.experiments.tables import stored_main_tables

NAMES = ["sea", "ship", "dock", "field"]


@pytest.fixture
def y():
    return np.random.default_rng(0).random((23, 4)) < [0.7, 0.4, 0.2, 0.3]


@pytest.fixture
def z():
    return np.random.default_rng(1).standard_normal((23, 3))


@pytest.fixture
def labels(y):
    index = pd.MultiIndex.from_tuples(
        [(i % 2, f"im{i:02}") for i in range(23)], names=["split_seed", "query"]
    )
    return pd.DataFrame(y, index, NAMES).sort_index(level=0, sort_remaining=False)


def values_of(labels, seeds=1):
    """Per-query values of two methods, each split under `seeds` seeds, in no order."""
    rows = [(split, seed, query) for split, query in labels.index for seed in range(seeds)]
    index = pd.MultiIndex.from_tuples(rows, names=["split_seed", "seed", "query"])
    generator = np.random.default_rng(2)
    return pd.DataFrame(generator.random((len(rows), 2)), index, ["a", "b"]).sample(
        frac=1, random_state=3
    )


def test_means_by_label_are_those_of_loops(labels):
    values = values_of(labels, seeds=2)
    aligned = breakdown.align(labels, values)
    table = breakdown.by_label(values, aligned)
    for name in NAMES:
        for method in values:
            carried = [
                value
                for (split, _, query), value in values[method].items()
                if labels.loc[(split, query), name]
            ]
            assert np.isclose(table.loc[name, method], np.mean(carried))
    assert breakdown.by_label(values, aligned & False).isna().all(axis=None)


def test_terciles_of_labels_by_training_images():
    counts = pd.Series({"a": 5, "b": 1, "c": 9, "d": 2, "e": 2, "f": 70, "g": 0})
    groups = breakdown.frequency_groups(counts)
    assert groups.to_dict() == {
        "g": "rare", "b": "rare", "d": "rare", "e": "medium", "a": "medium",
        "c": "frequent", "f": "frequent",
    }  # fmt: skip
    assert list(groups.cat.categories) == list(breakdown.GROUPS)


def test_queries_are_described_as_loops_describe_them(labels):
    counts = pd.Series([50, 20, 5, 8], NAMES)
    groups = {"sea": "frequent", "ship": "medium", "dock": "rare", "field": "rare"}
    facts = breakdown.describe_queries(labels, counts)
    for (split, query), row in facts.iterrows():
        mine = {name for name in NAMES if labels.loc[(split, query), name]}
        assert row["labels"] == len(mine)
        rarest = [group for group in breakdown.GROUPS if group in {groups[name] for name in mine}]
        assert (row["rarest"] == rarest[0]) if mine else pd.isna(row["rarest"])
        best = 0.0
        for other in labels.loc[split].index.drop(query):
            theirs = {name for name in NAMES if labels.loc[(split, other), name]}
            best = max(best, len(mine & theirs) / max(len(mine | theirs), 1))
        assert row["best match"] == [b for edge, b in breakdown.BANDS.items() if edge <= best][-1]


def test_bands_begin_at_their_thresholds():
    y = np.zeros((2, 10), bool)
    for shared, union, band in ((2, 5, 0.4), (3, 5, 0.6), (4, 5, 0.8), (5, 5, 1.0), (3, 8, 0.0)):
        y[:] = False
        y[0, :shared] = True
        y[1, :union] = True
        index = pd.MultiIndex.from_product([[0], ["p", "q"]], names=["split_seed", "query"])
        facts = breakdown.describe_queries(pd.DataFrame(y, index), pd.Series(np.arange(10)))
        assert set(facts["best match"]) == {breakdown.BANDS[band]}


def test_comparisons_within_groups_are_those_of_the_groups_alone(labels):
    values = pd.concat({"m": values_of(labels)}, axis=1, names=["metric", "loss"])
    size = breakdown.align(labels.sum(axis=1), values).rename("size").astype("category")
    table = breakdown.compare_within(values, size, "a")
    assert table.index.names == ["size", "metric", "loss"]
    for number in set(size):
        part = values[[size[row] == number for row in values.index]]
        row = table.loc[(number, "m", "b")]
        assert row["queries"] == len(part) == sum(size == number)
        pd.testing.assert_series_equal(
            row.drop("queries"), compare(part, "a").loc[("m", "b")], check_names=False
        )


def test_the_hardest_queries_come_first_with_their_labels(labels):
    values = values_of(labels)
    table = breakdown.hardest(values, breakdown.align(labels, values), n=3)
    means = {row: (a + b) / 2 for row, (a, b) in zip(values.index, values.to_numpy(), strict=True)}
    assert list(table.index) == sorted(means, key=means.get)[:3]
    for (split, _, query), row in table.iterrows():
        carried = labels.loc[(split, query)]
        assert row["labels"] == ", ".join(name for name in NAMES if carried[name])


def test_the_ranking_is_the_one_that_evaluate_uses(z):
    order = breakdown.ranking(breakdown.cosine(z))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    for i, row in enumerate(order):
        others = [j for j in range(len(z)) if j != i]
        assert list(row) == sorted(others, key=lambda j, i=i: -(unit[i] @ unit[j]))


def test_ap_of_a_label_is_map_of_a_table_with_that_label_alone(y, z):
    y[:, 3] = False
    y[7, 3] = True  # a label that only one query carries
    table = breakdown.label_ap(breakdown.ranking(breakdown.cosine(z)), y)
    assert table["queries"].tolist() == y.sum(axis=0).tolist()
    for label in range(3):
        alone = y[:, [label]]
        per_query = evaluate(z, alone).per_query["mAP@0.4"]
        assert np.isclose(table.loc[label, "AP"], per_query[alone[:, 0]].mean())
        floor = chance(alone).per_query["mAP@0.4"]
        assert np.isclose(table.loc[label, "chance"], floor[alone[:, 0]].mean())
    assert table.loc[3, ["AP", "chance"]].isna().all()


def test_chance_of_a_label_is_the_mean_over_all_orders():
    y = np.array([[1], [1], [1], [0], [0]], bool)
    orders = np.array(list(permutations(range(1, 5))))
    aps = []
    for order in orders:
        ranks = [i + 1 for i, item in enumerate(order) if y[item, 0]]
        aps.append(np.mean([(n + 1) / rank for n, rank in enumerate(ranks)]))
    random = breakdown.label_ap(breakdown.ranking(np.zeros((5, 5))), y).loc[0, "chance"]
    assert np.isclose(random, np.mean(aps))


def test_precision_at_recall_is_that_of_loops(y, z):
    y[4] = False  # a query without anything relevant is left out
    order = breakdown.ranking(breakdown.cosine(z))
    table = breakdown.precision_recall(order, y)
    assert list(table) == [0.0, 0.4, 0.6, 0.8] and table.index[[0, -1]].tolist() == [0.05, 1.0]
    for threshold in table:
        for percent in (5, 50, 100):
            precisions = []
            for i, row in enumerate(order):
                shared, union = (y[i] & y[row]).sum(axis=1), (y[i] | y[row]).sum(axis=1)
                relevant = (shared > 0) & (10 * shared >= round(10 * threshold) * union)
                found, wanted = 0, -(-relevant.sum() * percent // 100)
                for rank, hit in enumerate(relevant, 1):
                    found += hit
                    if hit and found == wanted:
                        precisions.append(found / rank)
            assert np.isclose(table.loc[percent / 100, threshold], np.mean(precisions))
    last = breakdown.precision_recall(breakdown.ranking(y @ y.T * 1.0), y)
    assert np.allclose(last[0.0], 1)  # by shared labels, all that share one come first


@pytest.mark.parametrize("threshold", [1 / 3, 0.55, 2 / 7, 1.0, 0.5])
def test_any_quotient_is_a_threshold_of_a_recall_curve(z, threshold):
    y = np.random.default_rng(4).random((23, 9)) < 0.5
    y[5] = y[11]
    order, ratio = breakdown.ranking(breakdown.cosine(z)), Fraction(threshold).limit_denominator(99)
    found = breakdown.precision_recall(order, y, [threshold])[threshold]
    at_half, reached = [], 0
    for i, row in enumerate(order):
        shared, union = (y[i] & y[row]).sum(axis=1), (y[i] | y[row]).sum(axis=1)
        hit = (shared > 0) & (ratio.denominator * shared >= ratio.numerator * union)
        reached += (ratio.denominator * shared == ratio.numerator * union).sum()
        if hit.any():
            wanted = -(-hit.sum() // 2)
            at_half.append(wanted / (np.flatnonzero(hit)[wanted - 1] + 1))
    assert np.isclose(found[0.5], np.mean(at_half))
    assert reached or threshold == 0.55, "values equal to the threshold occur"


def test_a_threshold_that_no_pair_reaches_has_no_curve(z):
    y = np.eye(23, dtype=bool) | (np.arange(23) < 2)  # two labels that all share, one of its own
    order = breakdown.ranking(breakdown.cosine(z[2:]))
    found = breakdown.precision_recall(order, y[2:], [0.5, 0.51])
    assert (found[0.5] == 1).all() and found[0.51].isna().all()


def test_labels_of_the_test_queries_are_the_archives():
    archive = load_archive("synthetic", image_size=32)
    runs = pd.DataFrame(
        {"archive": "synthetic", "image_size": 32, "bands": "", "split_seed": [0, 0, 3],
         "archive: fingerprint": archive.fingerprint}
    )  # fmt: skip
    labels, counts = breakdown.query_labels(runs)
    for seed in (0, 3):
        split = archive.split(seed)
        assert labels.loc[seed].index.tolist() == [archive.names[i] for i in split.test]
        assert np.array_equal(labels.loc[seed], archive.labels[split.test])
    trained = [archive.labels[archive.split(seed).train].sum(axis=0) for seed in (0, 3)]
    assert np.allclose(counts, np.mean(trained, axis=0))
    with pytest.raises(ValueError, match="synthetic here is not the archive of the runs"):
        breakdown.query_labels(runs.assign(**{"archive: fingerprint": "another"}))


def runs_of_two_seeds():
    rows = [(f"run-{loss}-{seed}", loss, seed) for loss in ("macl", "oml") for seed in (0, 1)]
    table = pd.DataFrame(rows, columns=["run_id", "loss", "seed"]).set_index("run_id")
    return table.assign(split_seed=table["seed"], archive="somewhere")


def test_groups_of_labels_are_means_of_labels_which_are_means_of_queries(labels, monkeypatch):
    counts = pd.Series([50, 20, 5, 8], NAMES)
    runs = runs_of_two_seeds()
    index = pd.MultiIndex.from_tuples(
        [(split, split, query) for split, query in labels.index],
        names=["split_seed", "seed", "query"],
    )
    generator = np.random.default_rng(3)
    values = {loss: pd.Series(generator.random(len(index)), index) for loss in ("macl", "oml")}

    def per_query(part):
        (loss,) = part["loss"].unique()
        columns = pd.MultiIndex.from_tuples([("m", loss)], names=["metric", "loss"])
        return pd.DataFrame({("m", loss): values[loss]}).set_axis(columns, axis=1)

    monkeypatch.setattr(breakdown, "query_labels", lambda _: (labels, counts))
    monkeypatch.setattr(breakdown, "per_query", per_query)
    table = breakdown.by_frequency(runs)
    for run_id, row in runs.iterrows():
        mine = values[row["loss"]].xs(row["seed"], level="seed")
        each = {
            name: np.mean([mine[at] for at in mine.index if labels.loc[at, name]]) for name in NAMES
        }
        assert np.isclose(table.loc[(run_id, "rare"), "m"], (each["dock"] + each["field"]) / 2)
        assert np.isclose(table.loc[(run_id, "medium"), "m"], each["ship"])
        assert np.isclose(table.loc[(run_id, "frequent"), "m"], each["sea"])
    assert table.loc[("run-oml-1", "rare"), "labels"] == 2


def test_groups_come_from_the_file_or_the_archive_or_not_at_all(monkeypatch, tmp_path):
    runs, asked = runs_of_two_seeds(), []
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))

    def measured(part):
        asked.append(len(part))
        if "macl" in set(part["loss"]):
            raise breakdown.ArchiveError("not here")
        index = pd.MultiIndex.from_product([part.index, breakdown.GROUPS])
        return pd.DataFrame({"m": 0.5}, index.set_names(["run_id", "group"]))

    monkeypatch.setattr(breakdown, "by_frequency", measured)
    assert breakdown.stored_by_frequency(runs).empty and asked == [4]
    one = runs[runs["loss"] == "oml"]
    assert (breakdown.stored_by_frequency(one)["m"] == 0.5).all()
    kept = measured(one.assign(loss="oml")) / 2
    kept.to_csv(tmp_path / breakdown.LABEL_GROUPS)
    asked.clear()
    assert (breakdown.stored_by_frequency(one)["m"] == 0.25).all() and asked == []


def test_the_stored_main_tables_have_their_label_groups():
    table = pd.read_csv(paths.paper_root().parent / breakdown.LABEL_GROUPS)
    stored = stored_main_tables()
    record = stored[stored["archive"].isin(["dlrsd", "ucm_multilabel", "ml_aid"])]
    record = record[record["seed"].isin([0, 1, 2]) & record["loss"].isin(METHODS)]
    assert len(record) >= 192 and set(record.index) <= set(table["run_id"])
    assert set(table["group"]) == set(breakdown.GROUPS)
    oracle = table[table["run_id"].isin(record.index[record["loss"] == "oracle"])]
    assert (oracle["mAP@0.4"] > 0.999).all()
