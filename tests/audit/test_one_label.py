"""Intervals and comparisons of stored runs, measured once: against the store and the labels."""

import numpy as np
import pandas as pd
import pytest

from maclcore.audit import one_label
from maclcore.data import make_split
from maclcore.evaluation.classification import SCORES, classification_scores


class Stored:
    """A run, as far as it is asked for."""

    def __init__(self, predictions, labels, shift=0.0):
        self.run_id, self.predictions = "r", predictions
        truth = labels.loc[predictions.index].to_numpy()
        found = classification_scores(predictions.to_numpy(), truth)
        self.result = {"scores": {name: value + shift for name, value in found.items()}}


@pytest.fixture
def table(monkeypatch):
    """`table(shift)`: rows of two methods and two seeds, their labels, and runs by their ids."""
    generator = np.random.default_rng(0)
    y = generator.random((100, 3)) < 0.4
    y[~y.any(axis=1), 0] = True
    labels = pd.DataFrame(y, index=[f"i{n}" for n in range(100)], columns=list("abc"))

    def make(shift=0.0):
        rows, runs = [], {}
        for loss, strength in (("an", 0.1), ("gc", 0.5)):
            for seed in (0, 1):
                test = make_split(y, seed).test
                p = (generator.random((len(test), 3)) + strength * y[test]) / (1 + strength)
                run_id = f"{loss}{seed}"
                runs[run_id] = Stored(pd.DataFrame(p, index=labels.index[test]), labels, shift)
                about = {"archive": "x", "archive: title": "X", "profile": "frozen"}
                rows.append({"loss": loss, "seed": seed, "split_seed": seed, **about, "id": run_id})
        monkeypatch.setattr(one_label.Run, "find", lambda run_id: runs[run_id])
        return pd.DataFrame(rows).set_index("id"), labels, runs

    return make


def test_values_are_means_of_what_is_stored_between_chance_and_intervals(table):
    rows, labels, runs = table()
    found = one_label.of_table(rows, labels, 60, "weak_labels")
    assert list(found) == list(one_label.COLUMNS) and set(found["seeds"]) == {"0 1"}
    wide = found.set_index(["loss", "metric"])
    for loss in ("an", "gc"):
        for metric in SCORES:
            stored = [runs[f"{loss}{s}"].result["scores"][metric] for s in (0, 1)]
            row = wide.loc[(loss, metric)]
            assert np.isclose(row["value"], np.mean(stored), atol=1e-5)
            assert row["low"] < row["high"]
    gap = wide.loc[("an", "macro mAP")]
    both = wide["value"].xs("macro mAP", level="metric")
    assert np.isclose(gap["difference"], both["an"] - both["gc"], atol=1e-5)
    assert gap["difference: low"] < gap["difference"] < 0 and gap["ahead"] == 0
    assert wide.loc["gc", "difference"].isna().all() and wide.loc["chance", "low"].isna().all()
    assert both["chance"] < both["an"]
    zeros = [1 - labels.loc[runs[f"an{s}"].predictions.index].to_numpy().mean() for s in (0, 1)]
    assert np.isclose(wide.loc[("gc", "OA of no labels"), "value"], np.mean(zeros), atol=1e-5)


def test_labels_that_are_not_those_of_the_runs_are_told(table):
    rows, labels, _ = table(shift=0.01)
    with pytest.raises(ValueError, match=r"macro mAP is .* not those that it was measured by"):
        one_label.of_table(rows, labels, 10, "weak_labels")


def test_an_empty_store_measures_no_rows(monkeypatch, tmp_path):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    assert one_label.measured().empty
    one_label.measure()
    found = one_label.measured()
    assert found.empty and list(found) == list(one_label.COLUMNS)


def test_labels_are_found_by_the_names_of_images(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("image,sea,ship\nb,1,0\na,1,1\n")
    found = one_label.labels_by_name(file)
    assert found.loc["a"].tolist() == [True, True] and found.loc["b"].tolist() == [True, False]


def test_a_table_has_the_intervals_of_its_own_seeds_alone(table, monkeypatch):
    rows, labels, runs = table()
    known = one_label.of_table(rows, labels, 60, "weak_labels")
    monkeypatch.setattr(one_label, "measured", lambda: known)
    scores = [runs[run].result["scores"]["macro mAP"] for run in rows.index]
    rows["test: macro mAP"] = scores
    found = one_label.of_runs(rows, "weak_labels", "macro mAP")
    assert np.isclose(found.loc["an", "value"], 100 * np.mean(scores[:2]))
    assert found.loc["an", "low"] < found.loc["an", "value"] < found.loc["an", "high"]
    gap = found.loc["an"]
    assert np.isclose(gap["gap"], found.loc["gc", "value"] - gap["value"])
    assert gap["gap low"] < gap["gap"] < gap["gap high"] and gap["ahead"] == 1
    first = one_label.of_runs(rows[rows["seed"] == 0], "weak_labels", "macro mAP")
    assert np.isclose(first.loc["an", "value"], 100 * scores[0])
    assert first[["low", "high", "gap low", "ahead"]].isna().all(axis=None)
    assert one_label.of_runs(rows, "weak_network", "macro mAP")["low"].isna().all()
