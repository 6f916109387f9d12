"""Figures of what a loss computes."""

import numpy as np
import pandas as pd

from maclcore import plots


def test_positive_sets_fill_what_an_image_has_and_colour_what_it_shares():
    y = np.array([[1, 0, 1], [0, 1, 1], [0, 1, 0]], bool)
    values = pd.DataFrame({"J": [1 / 3, 0], "W": [0.25, 0]}, index=[7, 9])
    fig = plots.positive_sets(y, ["sea", "ship", "dock"], np.zeros((3, 3, 8, 8), np.uint8), values)
    (ax,) = fig.axes
    faces = np.array([line.get_markerfacecolor() for line in ax.lines], dtype=object)
    faces = faces.reshape(y.shape)
    assert ((faces == "none") == ~y).all()
    assert faces[0, 2] == faces[1, 2] != faces[0, 0]  # a colour for each label of the anchor
    assert faces[1, 1] == faces[2, 1] == "0.45"  # which the anchor lacks
    (outline,) = ax.patches  # of the image that shares none
    assert outline.get_linestyle() == ":" and outline.get_y() < 2.4 < outline.get_y() + 1
    assert [t.get_text() for t in ax.texts] == ["J", "W", "0.333", "0.250", "0.000", "0.000"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["anchor", "7", "9"]


def test_label_terms_are_bars_in_the_order_of_the_overlap():
    J = np.array([1.0, 0.2, 0.5, 0.2])
    carriers = pd.DataFrame({"sea": [False, True, True, True], "ship": [False, False, True, False]})
    fig = plots.label_terms({"w": np.array([9, 3, 2, 4.0]), "T": 1 - J}, J, carriers)
    bars = [[bar.get_height() for bar in ax.patches] for ax in fig.axes[:4]]
    assert np.allclose(bars[0], [2, 4, 3]) and np.allclose(bars[2], [0.5, 0.8, 0.8])
    assert bars[1] == [2] and bars[3] == [0.5]
    assert [ax.get_title() for ax in fig.axes[:2]] == ["sea", "ship"]
    assert [ax.get_xlabel() for ax in fig.axes[2:4]] == ["3 positives, 1/3 each",
                                                         "1 positives, 1/1 each"]  # fmt: skip
