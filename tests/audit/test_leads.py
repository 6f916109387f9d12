"""Runs held against one another: how far, how sure, and under which protocol."""

import numpy as np
import pandas as pd
import pytest
from made_up import runs_of
from scipy.stats import ttest_1samp

from maclcore.audit.claims.companions import LABELS, by_archive
from maclcore.audit.leads import SEEDS, lead, leads, told
from maclcore.evaluation.retrieval import METRICS
from maclcore.evaluation.statistics import compare
from maclcore.store import per_query


def test_the_interval_is_that_of_the_paired_t_test():
    a, b = np.array([0.8, 0.7, 0.9, 0.85]), np.array([0.7, 0.65, 0.7, 0.8])
    one = lead(runs_of({"macl": a, "lbase": b}), "dlrsd", "macl", ["lbase"], "nDCG@100")
    expected = ttest_1samp(100 * (a - b), 0).confidence_interval(0.95)
    mean, low, high, n = one.table.loc["lbase"]
    assert mean == pytest.approx(100 * (a - b).mean()) and n == 4
    assert (low, high) == pytest.approx((expected.low, expected.high))
    words = f"nDCG@100 {mean:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    assert told([one]) == f"MACL − LBase, n = 4: {words}"


@pytest.mark.parametrize(
    ("rivals", "status"),
    [
        ({"lbase": [0.5, 0.5, 0.51]}, "ahead"),
        ({"lbase": [0.9, 0.9, 0.91]}, "behind"),
        ({"lbase": [0.9, 0.5, 0.72]}, "even"),
        ({"lbase": [0.5, 0.5]}, "missing"),  # two seeds decide nothing
        ({"lbase": [0.5, 0.5, 0.51], "oml": [0.9, 0.9, 0.91]}, "behind"),
        ({"lbase": [0.5, 0.5, 0.51], "oml": [0.9, 0.5, 0.72]}, "even"),
        ({"lbase": [0.5, 0.5, 0.51], "oml": []}, "missing"),
        ({"lbase": [0.9, 0.9, 0.91], "oml": []}, "behind"),  # whatever the other is
        ({"lbase": []}, "missing"),
    ],
)
def test_status(rivals, status):
    runs = runs_of({"macl": [0.7, 0.71, 0.7], **rivals})
    one = lead(runs, "dlrsd", "macl", list(rivals), "mAP@0.4")
    assert one.status == status
    assert lead(runs, "ml_aid", "macl", list(rivals), "mAP@0.4").status == "missing"


def test_runs_are_compared_within_one_protocol():
    few = runs_of({"macl": [0.1, 0.2, 0.3], "lbase": [0.0]}, epochs=100)
    many = runs_of({"macl": [0.7, 0.7, 0.71], "lbase": [0.6, 0.6, 0.6]})
    runs = pd.concat([few, many])
    one = lead(runs, "dlrsd", "macl", ["lbase"], "mAP@0.4")
    assert one.table.loc["lbase", "mean"] == pytest.approx(10 + 1 / 3)
    assert "25 epochs" in one.protocol and "some" in one.protocol
    assert sorted(one.runs) == sorted(many.index)
    longer = runs_of({"macl": [0.5, 0.5, 0.5], "lbase": [0.6, 0.6, 0.61]}, epochs=50)
    one = lead(pd.concat([runs, longer]), "dlrsd", "macl", ["lbase"], "mAP@0.4")
    assert one.status == "behind" and "50 epochs" in one.protocol
    head = runs_of({"macl": [0.9] * 3, "lbase": [0.6] * 3}, epochs=100, profile="frozen")
    one = lead(pd.concat([longer, head]), "dlrsd", "macl", ["lbase"], "mAP@0.4")
    assert one.status == "behind", "of the head alone only where there is nothing else"
    one = lead(pd.concat([few, head]), "dlrsd", "macl", ["lbase"], "mAP@0.4")
    assert one.status == "ahead" and "only the head trained" in one.protocol


def test_runs_on_another_copy_of_an_archive_are_not_paired(empty):
    here = runs_of({"macl": [0.9] * 3})
    there = runs_of({"mulsupcon": [0.5] * 3}, **{"archive: fingerprint": "1"})
    one = lead(pd.concat([here, there]), "dlrsd", "macl", ["mulsupcon"], "nDCG@100")
    assert one.status == "missing"


def test_the_interval_of_stored_runs_is_that_of_the_other_pages(stored):
    rivals = ["mulsupcon", "lproto", "frozen"]
    found = leads(stored.runs, "dlrsd", "macl", rivals, METRICS)
    rows = stored.runs.loc[list(found[0].runs)]
    rows = rows.assign(loss=rows["method"])
    table = compare(per_query(rows[rows["loss"].isin(["macl", *rivals])]), "macl")
    for one in found:
        assert not one.by_seed and one.code == "quick D"
        for rival, row in one.table.iterrows():
            theirs = -100 * table.loc[(one.metric, rival), ["difference", "high", "low"]]
            np.testing.assert_allclose(row[["mean", "low", "high"]], theirs, atol=1e-5)


def test_without_every_query_the_interval_is_over_seeds(stored):
    one = lead(stored.rare, "dlrsd", "macl", ["mulsupcon"], "nDCG@100")
    assert one.by_seed and one.intervals.empty
    expected = ttest_1samp(one.gaps["mulsupcon"], 0).confidence_interval(0.95)
    assert tuple(one.table.loc["mulsupcon", ["low", "high"]]) == pytest.approx(
        (expected.low, expected.high)
    )


def test_intervals_of_completed_labels_are_those_of_one_label(stored):
    rows = stored.one_label
    rows = rows[(rows["experiment"] == "weak_labels") & (rows["metric"] == LABELS)]
    rows = rows.set_index(["archive: title", "loss"])
    found = by_archive(stored, "weak_labels", "gc", ["wan"], LABELS)
    assert len(found) == rows.index.unique(0).size and not any(one.by_seed for one in found)
    for one in found:
        title = one.metric.removeprefix(f"{LABELS} (").removesuffix(")")
        theirs = rows.loc[(title, "wan"), ["difference: high", "difference: low"]]
        np.testing.assert_allclose(
            one.table.loc["wan", ["low", "high"]], -100 * theirs.astype(float)
        )
        assert one.table.loc["wan", "n"] >= SEEDS
