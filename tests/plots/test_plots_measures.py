"""Figures of metrics and weights."""

import numpy as np
import pandas as pd

from maclcore import METRICS, plots
from maclcore.evaluation.worked import worked


def test_a_query_is_worked_out_cell_by_cell():
    labels = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)
    found = worked(labels[0], labels[1:])
    images, rules = np.zeros((3, 3, 8, 8), np.uint8), {metric: f"{metric}!" for metric in METRICS}
    fig = plots.worked_query(images, labels, ("sea", "ship", "dock"), *found, rules)
    (ax,) = fig.axes
    said = [text.get_text() for text in ax.texts]
    assert len(ax.images) == 3 and said[:3] == ["query", "1", "2"]
    assert {"sea", "ship", "dock", *rules.values()} <= {*said}
    assert said.count("100.0") == len(METRICS)  # of a perfect list
    relevant = [line for line in ax.lines if line.get_marker() == "o" and line.get_markersize() > 5]
    assert len(relevant) == 4  # the first result, in each mAP


def test_published_values_are_ticks_on_the_range_from_chance():
    chance, oracle = dict.fromkeys(METRICS, 20.4), dict.fromkeys(METRICS, 95.0)
    paper = pd.DataFrame({metric: [30.0, 40.0] for metric in METRICS}, index=["macl", "oml"])
    fig = plots.chance_ranges({"DLRSD": (chance, oracle, paper), "other": (chance, oracle, None)})
    left, right = fig.axes
    assert [len(ax.lines) for ax in (left, right)] == [2 * len(METRICS), len(METRICS)]
    assert left.lines[0].get_xdata().tolist() == [20.4, 95.0]
    assert left.lines[1].get_xdata().tolist() == [30.0, 40.0]
    assert [text.get_text() for text in left.texts].count("20") == len(METRICS)


def test_weights_fall_with_the_frequency_and_are_told_at_the_ends_of_a_span():
    fig = plots.rarity_weights([2, 900], {"DLRSD": (100, 1331)})
    curve, below = fig.axes
    f, w = curve.lines[0].get_data()
    assert (np.diff(w) < 0).all() and np.allclose(w, 1 / np.log1p(f))
    assert curve.lines[1].get_xdata().tolist() == [2, 900]
    assert [text.get_text() for text in below.texts] == ["DLRSD  0.22 ", " 0.14"]
