"""Figures of labels."""

import numpy as np

from maclcore import plots


def test_confusion_is_drawn_in_points_about_zero():
    fig = plots.confusion(np.array([[0.5, -0.02], [np.nan, 0.25]]), ["sea", "ship"])
    heat, bar = fig.axes
    assert [text.get_text() for text in heat.texts] == ["50", "-2", "25"]
    assert heat.collections[0].get_clim() == (-50, 50)
    assert heat.get_ylabel() == "given label" and "points" in bar.get_ylabel()
