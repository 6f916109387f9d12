"""Whom the proposed loss serves: groups of labels and of queries, and the best rival of each."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from maclcore.audit import served

LOSSES = ("proposed", "a", "b")


@pytest.fixture
def measured():
    """`of_values` of 40 queries in two replicates, the proposed loss lifted where there is the
    label "rare", and where a query has one label."""
    generator = np.random.default_rng(0)
    y = np.zeros((40, 3), dtype=bool)
    y[:, 2] = True
    y[:10, 0] = y[5:25, 1] = True
    pairs = [(seed, seed, f"i{n}") for seed in (0, 1) for n in range(40)]
    index = pd.MultiIndex.from_tuples(pairs, names=["split_seed", "seed", "query"])
    labels = pd.DataFrame(np.tile(y, (2, 1)), index, ["rare", "medium", "frequent"])
    columns = pd.MultiIndex.from_product([["m"], LOSSES], names=["metric", "loss"])
    values = pd.DataFrame(0.5 + generator.normal(0, 1e-3, (80, 3)), index, columns)
    values.loc[labels["rare"], ("m", "proposed")] += 0.2
    values.loc[labels.sum(axis=1) == 1, ("m", "b")] += 0.1
    counts = pd.Series({"rare": 10, "medium": 20, "frequent": 40})
    return served.of_values(values, labels, counts, "proposed"), values, labels


def test_groups_are_means_over_labels_and_over_queries(measured):
    table, values, labels = measured
    rows = table.set_index(["by", "group", "loss"])
    for label in labels:
        carried = values["m"][labels[label]]
        want = carried.groupby(level="seed").mean().mean()
        for loss in LOSSES:
            row = rows.loc[("label", label, loss)]
            assert row["value"] == pytest.approx(want[loss])
            assert row["difference"] == pytest.approx(want["proposed"] - want[loss])
            assert row["many"] == 1
    sizes = labels.sum(axis=1)
    assert set(rows.loc["size"].index.get_level_values("group")) == {"1", "2", "3–4"}
    one = rows.loc[("size", "1", "b")]
    assert one["many"] == (sizes == 1).sum() and one["high"] < 0
    assert one["value"] == pytest.approx(values["m"]["b"][sizes == 1].mean())


def standing(**changed):
    """What `against_best` asks a standing for."""
    runs = pd.DataFrame({served.ARCHIVE: ["Here*", "Here*"], "seed": [1, 0]})
    about = {"runs": runs, "profile": "quick", "loss": "proposed", "rivals": ["a", "b"]}
    return SimpleNamespace(**{**about, **changed})


def test_the_best_rival_is_that_of_each_group_and_sentences_turn(measured):
    about = {"profile": "quick", "seeds": "0 1", "proposed": "proposed", served.ARCHIVE: "Here*"}
    table = measured[0].assign(**about)
    best = served.against_best(table, standing())
    assert best.loc[("size", "Here*", "1"), "rival"] == "b"
    assert best.loc[("label", "Here*", "rare"), "low"] > 0.1
    groups = best.loc["label"].index.get_level_values("group").tolist()
    assert groups == ["rare", "medium", "frequent"]
    short, said = served.said(best)
    assert short == "On rare labels it is above the best rival in 1 of one archive, below in 0."
    assert said.startswith("In points, on rare labels +20.") and r"on Here\* (to " in said
    turned = table.assign(difference=-table["difference"], low=-table["high"], high=-table["low"])
    told = served.said(served.against_best(turned, standing()))[0]
    assert "in 0 of one archive, below in 1." in told


@pytest.mark.parametrize(
    "changed",
    [
        {"profile": "frozen"},
        {"loss": "another"},
        {"runs": pd.DataFrame({served.ARCHIVE: ["Here*"], "seed": [0]})},
    ],
)
def test_what_was_measured_of_other_runs_is_not_taken_for_these(measured, changed):
    about = {"profile": "quick", "seeds": "0 1", "proposed": "proposed", served.ARCHIVE: "Here*"}
    assert served.against_best(measured[0].assign(**about), standing(**changed)).empty


def test_groups_that_some_split_lacks_are_left_out(measured):
    _, values, labels = measured
    lone = labels.copy()
    lone["rare"] &= lone.index.get_level_values("seed") == 0
    counts = pd.Series({"rare": 10, "medium": 20, "frequent": 40})
    table = served.of_values(values, lone, counts, "proposed")
    assert "rare" not in set(table["group"]) and "medium" in set(table["group"])


def test_nothing_is_measured_without_runs_or_archives(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    monkeypatch.setenv("MACL_DATA", str(tmp_path))
    monkeypatch.setattr(served.paths, "paper_root", lambda: tmp_path / "none" / "paper")
    assert served.measured().empty and served.against_best(served.measured(), standing()).empty
