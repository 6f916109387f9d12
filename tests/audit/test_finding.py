"""The finding's sentences say what the runs say, and turn where the runs do."""

import re

import nbformat
import numpy as np
import pandas as pd
import pytest

from maclcore import paths, store
from maclcore.audit.finding import PRINTED, SOFT, SUMMED, TURNED, Finding, _span
from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import PAPER


def compared(values):
    """As `statistics.compare` gives it, of losses and their differences, intervals of ±0.01."""
    index = pd.MultiIndex.from_product([METRICS, values], names=["metric", "loss"])
    table = pd.DataFrame({"difference": [values[loss] for _, loss in index]}, index)
    return table.assign(low=table["difference"] - 0.01, high=table["difference"] + 0.01, holm=0.0)


def finding(**evidence):
    """A finding of made-up evidence."""
    made = Finding()
    made.__dict__.update(evidence)
    return made


def means(**scores):
    """Percent of every loss, 50 but where said, chance 10, oracle 100, in all metrics."""
    scores = dict.fromkeys(PAPER, 50.0) | {"chance": 10.0, "frozen": 40.0, "oracle": 100.0} | scores
    index = pd.MultiIndex.from_product([["A", "B"], scores])
    return pd.DataFrame({metric: [*scores.values()] * 2 for metric in METRICS}, index)


@pytest.mark.parametrize(
    ("gap", "macl", "words"),
    [
        (-0.2, 30.0, ["in 14 of 14", "by 20.0 points", "On 2 of the 2"]),
        (0.2, 60.0, ["in 0 of 14", "by −20.0 points", "On 0 of the 2"]),
    ],
)
def test_the_first_sentence_turns_with_macl(gap, macl, words):
    gaps = {name: compared({"macl": gap}) for name in "AB"}
    sentence = finding(gaps=gaps, means=means(macl=macl))._printed()
    assert all(word in sentence for word in words), sentence


def test_the_sign_is_told_with_its_size_and_certainty():
    values = {PRINTED: -0.1, TURNED: 0.005, "MulSupCon, τ = 0.5": 0.02}
    sentence = finding(turned={"A": compared(values)})._sign()
    assert "by +0.5 points of `nDCG@100`" in sentence and "in 0 of these 2" in sentence
    assert "gains +2.0" in sentence
    assert "in 2 of these 2" in finding(turned={"A": compared(values | {TURNED: 0.02})})._sign()


def test_published_values_are_measured_from_chance():
    table = pd.DataFrame({metric: [9.0, 12.5] for metric in METRICS}, index=["macl", "oml"])
    runs = pd.DataFrame({"archive": ["dlrsd"] * 2, "archive: title": ["A", "A"]})
    labels = pd.DataFrame({"mean": 10.0}, [("dlrsd", f"chance {metric}") for metric in METRICS])
    labels.index = pd.MultiIndex.from_tuples(labels.index)
    known = {"runs": runs, "published": {"A": table}, "labels": labels}
    sentence = finding(means=means(), **known)._published()
    assert "within 2.5 points" in sentence and "6 values of DLRSD:" in sentence
    assert "100 % lie above" in sentence
    low = means(macl=5.0)  # one of thirteen
    assert "92 % lie above" in finding(means=low, **known)._published()


def test_the_leader_is_who_leads():
    losses = means(oml=70.0)
    losses.loc[("B", "lmsc"), ["mAP@0.8", "nDCG(sim)@100"]] = 80.0
    gaps = {name: compared({"oml": 0.1}) for name in "AB"}
    sentence = finding(means=losses, gaps=gaps)._leaders()
    assert "is OML, in 5 to 7 of seven" in sentence and "by 10.0 points" in sentence


def test_softcon_is_told_by_its_largest_move():
    sentence = finding(soft={"A": compared({SOFT: -0.004, SUMMED: 0.05})})._soft()
    assert "more than 0.4 points" in sentence and "+5.0 points of `mAP(sim)@5000`" in sentence


def test_adagc_is_told_between_its_rivals_and_complete_labels():
    rows = {"chance": 0.1, "full": 0.9, "an": 0.5, "epr": 0.6, "gc": 0.7}
    weak = pd.concat(
        {name: pd.DataFrame({"value": rows, "difference: high": {"epr": high, "an": -0.1}})
         for name, high in {"A": -0.01, "B": 0.01}.items()}, names=["archive: title", "loss"],
    )  # fmt: skip
    index = pd.MultiIndex.from_product([["A", "B"], ["MulSupCon"], ["EPR", "GC"]])
    sentence = finding(weak=weak, chain=pd.Series([10.0, 70.0, 20.0, 55.0], index))._weak()
    assert "of 70.0, the best of its 2 rivals 60.0, complete labels 90.0" in sentence
    assert "on 1 of 2 archives" in sentence and "bring back 55 to 70 %" in sentence


def test_ranges_have_one_minus_and_no_negative_nought():
    assert _span([-0.04, 0.31], "+") == "+0.0 to +0.3" and _span([-2.0, -1.0]) == "−2.0 to −1.0"
    assert _span([3, 3], digits=0) == "3"


def test_the_stored_means_are_those_of_the_runs():
    """By hand, from each run's own file of results."""
    stored = Finding()
    rows = stored.runs[(stored.runs["archive"] == "dlrsd") & (stored.runs["loss"] == "macl")]
    by_hand = [store.Run.find(run_id).metrics["nDCG@100"] for run_id in rows.index]
    assert len(by_hand) == 3
    assert np.isclose(stored.means.loc[("DLRSD*", "macl"), "nDCG@100"], 100 * np.mean(by_hand))


def test_the_readme_says_what_notebook_00_shows():
    """Which in turn must give the stored output again wherever notebooks are tested."""
    page = nbformat.read(paths.ROOT / "notebooks" / "00_overview.ipynb", as_version=4)
    outputs = [output for cell in page.cells for output in cell.get("outputs", [])]
    shown = [output.get("data", {}).get("text/markdown", "") for output in outputs]
    (finding,) = [text for text in shown if "What was found" in text]
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert finding.split("\n\n", 1)[1] in readme and finding.count("\n- ") == 6
    assert re.search(r"!\[[^\]]+\]\(figures/00-finding\.png\)", readme)
