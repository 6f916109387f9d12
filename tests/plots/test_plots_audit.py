"""Printed values beside chance, as numbers and as words in the figure."""

import pandas as pd
import pytest

from maclcore import METRICS, plots
from maclcore.plots.audit import THRESHOLDS


@pytest.fixture
def labels():
    rows = {f"chance {m}": (20.0, 0.5) for m in METRICS}
    rows |= {f"oracle {m}": (90.0, 0.0) for m in METRICS}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "deviation"])


@pytest.fixture
def printed():
    table = pd.DataFrame(21.0, index=["macl", "oml", "lproto"], columns=list(METRICS))
    table.loc["oml", "mAP@0.6"] = 17.5
    table.loc["oml", "mAP(sim)@5000"] = 70.0  # no threshold column
    return table


def test_distances_from_chance_in_the_threshold_columns_alone(labels, printed):
    gaps = plots.from_chance(labels, printed)
    assert list(gaps) == list(THRESHOLDS)
    assert gaps.loc["oml", "mAP@0.6"] == -2.5 and (gaps.loc["macl"] == 1).all()


def test_the_figure_says_how_near_all_are_and_marks_one(labels, printed):
    fig = plots.printed_beside_chance({"A": labels}, {"A": printed}, METRICS)
    (ax,) = fig.axes
    (text,) = ax.texts
    words = "9 of 9 printed values within 2.5 points of a random ranking"
    assert text.get_text().split() == words.split()
    marked = [line for line in ax.lines if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in marked] == [21.0] * len(METRICS)
    assert {line.get_color() for line in marked} == {plots.colour("macl")}
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    assert all(len(line.get_xdata()) == 2 for line in ticks)
