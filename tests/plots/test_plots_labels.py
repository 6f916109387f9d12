"""Figures of labels."""

import numpy as np
import pandas as pd

from maclcore import plots


def test_confusion_is_drawn_in_points_about_zero():
    fig = plots.confusion(np.array([[0.5, -0.02], [np.nan, 0.25]]), ["sea", "ship"])
    heat, bar = fig.axes
    assert [text.get_text() for text in heat.texts] == ["50", "-2", "25"]
    assert heat.collections[0].get_clim() == (-50, 50)
    assert heat.get_ylabel() == "given label" and "points" in bar.get_ylabel()


def test_similarities_stand_in_their_cells():
    table = pd.DataFrame([[1.0, 0.25], [0.25, 1.0]], index=["a", "b"], columns=["a", "b"])
    fig = plots.similarities({"cosine": table, "Jaccard": table / 2})
    left, right = fig.axes
    assert [t.get_text() for t in left.texts] == ["1.00", "0.25", "0.25", "1.00"]
    assert [t.get_text() for t in right.texts] == ["0.50", "0.12", "0.12", "0.50"]
    assert (left.get_title(), right.get_title()) == ("cosine", "Jaccard")


def test_cumulative_shares_end_at_all():
    shares = {"x": pd.Series({0.5: 0.25, 0.0: 0.5, 1.0: 0.25})}
    (line,) = plots.cumulative(shares, "value", "pairs").axes[0].lines
    assert line.get_xydata().tolist() == [[0, 0], [0, 50], [0.5, 75], [1, 100]]
