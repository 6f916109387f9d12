"""Figures of learning from one label."""

import numpy as np
import pandas as pd
import pytest

from maclcore import plots


def test_gradients_have_a_panel_a_title_and_dots_where_lines_cross_zero():
    p = np.linspace(0.1, 0.9, 9)
    table = pd.DataFrame({0.2: p, 0.8: p - 0.5}, index=p)
    fig = plots.gradients({"λ = 3": table, "λ = 5": table}, {"λ = 3": [0, 0.5], "λ = 5": [0, 1]})
    assert [ax.get_title() for ax in fig.axes] == ["λ = 3", "λ = 5"]
    dots = [[line for line in ax.lines if line.get_marker() == "o"] for ax in fig.axes]
    assert [len(each) for each in dots] == [1, 0]
    assert dots[0][0].get_xydata().tolist() == [[0.5, 0]]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["t = 0.2", "t = 0.8"]


def test_an_epoch_is_marked_in_all_panels_and_named_in_one():
    history = pd.DataFrame({"epoch": [1, 2, 3], "a": [3, 1, 2], "b": [1, 2, 3]})
    fig = plots.mark(plots.training_curves({"an": history}, {"a": "A", "b": "B"}), 2, "after 2")
    assert [list(ax.lines[-1].get_xdata()) for ax in fig.axes] == [[2, 2], [2, 2]]
    assert [[t.get_text() for t in ax.texts] for ax in fig.axes] == [["after 2"], []]


@pytest.mark.parametrize("trigger", [0, 2])
def test_rise_and_fall_marks_the_best_epoch_and_the_trigger(trigger):
    values = {"epoch": [1, 2, 3], "validation_an": [3, 1, 2], "macro mAP": [1, 3, 2]}
    history = pd.DataFrame(values).assign(trigger=trigger)
    columns = {"validation_an": "AN", "macro mAP": "mAP"}
    fig = plots.rise_and_fall({"DLRSD*": history, "UC Merced": history}, columns)
    assert len(fig.axes) == 4 and fig.axes[0].get_title() == "DLRSD*"
    least, most = fig.axes[0].lines[1], fig.axes[2].lines[1]
    assert least.get_xydata().tolist() == [[2, 1]] and most.get_xydata().tolist() == [[2, 3]]
    assert [len(ax.lines) for ax in fig.axes] == [2 + bool(trigger)] * 4


def test_dots_stand_at_their_values_and_marked_ones_have_their_colour():
    table = pd.DataFrame({"value": [2.0, -1.0], "low": [1.0, np.nan], "high": [3.0, np.nan]})
    table.index = ["gc", "λ = 1"]
    fig = plots.dots_by_archive(
        {"A": table, "B": table.iloc[:1]}, "points", lines={"A": {"ceiling": 5.0}},
        marked={"gc": "red"},
    )  # fmt: skip
    first, second = fig.axes
    dots = [line for line in first.lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots] == [(2.0, 0), (-1.0, 1)]
    assert dots[0].get_color() == "red" != dots[1].get_color()
    assert [text.get_text().strip() for text in first.texts] == ["+2.0", "−1.0", "ceiling"]
    assert [text.get_text() for text in first.get_yticklabels()] == ["AdaGC", "λ = 1"]
    assert [text.get_text().strip() for text in second.texts] == ["+2.0"]
    bars = [list(line.get_xdata()) for line in first.lines if line.get_linewidth() == 2]
    assert bars[0] == [1.0, 3.0] and np.isnan(bars[1]).all()
