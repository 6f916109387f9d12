"""Figures of what a loss computes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from maclcore import plots
from maclcore.plots.ends import spread
from maclcore.plots.losses import AWAY, TOWARDS
from maclcore.plots.pair_forces import sentence


@pytest.fixture
def table():
    """Shares tell by their value where they are from: 10 α + level, of some 1, of none 2 more."""
    rows = [
        (alpha, level, kind, 10 * alpha + level + i)
        for alpha in (-0.5, 1.5)
        for level in (0.0, 0.5, 1.0)
        for i, kind in enumerate(("equal", "some", "none"))
    ]
    return pd.DataFrame(rows, columns=["alpha", "level", "kind", "share"])


def test_forces_go_towards_the_first_point_in_red_and_away_in_blue():
    z = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    pull = np.array([[0, 1.0], [1, 0], [0, 0], [-0.5, 0]])
    words = ["sea", "sea", "ship", "dock"]
    fig = plots.forces(z, {"macl": pull}, list("ipqn"), words, z[:1])
    setting, panel = fig.axes[:2]
    assert {text.get_text() for text in setting.texts} == {*"ipqn", *words}
    assert panel.get_title() == "MACL"
    arrows = [text.arrow_patch for text in panel.texts if text.arrow_patch is not None]
    shades = [arrow.get_edgecolor() for arrow in arrows]
    assert len(shades) == 3  # the third point is not moved
    assert all(map(same_color, shades, ["black", TOWARDS, AWAY]))


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
    (row,) = {line.get_ydata()[0] for line in ax.lines[6:]}
    assert outline.get_linestyle() == ":"
    assert outline.get_y() < row < outline.get_y() + outline.get_height()
    assert [t.get_text() for t in ax.texts] == ["J", "W", "0.333", "0.250", "0.000", "0.000"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["anchor", "7", "9"]


def test_overlap_terms_name_lines_by_alpha_and_dots_by_label():
    curves = pd.DataFrame({-0.5: [1, 2.0], 1.5: [1, 0.2]}, index=[0.0, 1.0])
    influences = pd.DataFrame(
        {"label": ["sea", "sea", "ship"], "J": [0.2, 1, 0.5], "influence": [1, 3, 2.0]}
    )
    left, right = plots.overlap_terms(curves, influences, 1.5).axes
    assert [text.get_text() for text in left.texts] == ["α = −0.5", "α = 1.5, printed"]
    assert left.lines[1].get_linewidth() > left.lines[0].get_linewidth()
    assert [text.get_text() for text in right.texts] == ["sea (2)", "ship (1)"]
    assert [list(line.get_ydata()) for line in right.lines] == [[1, 3], [2]]


def test_pair_forces_have_a_panel_a_level_and_mark_an_alpha(table):
    fig = plots.pair_forces(table, {0.0: "start", 1.0: "end"}, alpha=-0.5)
    assert [ax.get_title() for ax in fig.axes] == ["start", "end"]
    for ax, level in zip(fig.axes, (0, 1), strict=True):
        marked, curve, dot, *_ = ax.lines
        assert list(marked.get_xdata()) == [-0.5, -0.5]
        assert list(curve.get_ydata()) == [-5 + level, 15 + level]  # of equal label sets
        assert list(dot.get_xdata()) == [-0.5] and list(dot.get_ydata()) == [-5 + level]
    texts = {text.get_text() for text in fig.axes[1].texts}
    assert texts == {"equal label sets", "some labels shared", "no label shared"}


def test_band_forces_reach_as_far_as_shares_add_up_on_either_side_of_0():
    bands, shares = ("none", "below .4", ".4 to .6", ".6 to 1", "equal"), (-30, -10, 5, 15, 20)
    rows = [
        {"loss": loss, "level": level, "band": band, "share": sign * share}
        for loss, sign in (("hap", 1), ("lmsc", -0.5))
        for level in (0.0, 1.0)
        for band, share in zip(bands, shares, strict=True)
    ]
    fig = plots.band_forces(pd.DataFrame(rows), {0.0: "start", 1.0: "end"})
    assert [ax.get_title() for ax in fig.axes] == ["start", "end"]
    ends = {0: (-40, 40), 1: (-20, 20)}
    for ax in fig.axes:
        for row, (low, high) in ends.items():
            bars = [bar for bar in ax.patches if round(bar.get_y() + bar.get_height() / 2) == row]
            edges = [x for bar in bars for x in (bar.get_x(), bar.get_x() + bar.get_width())]
            assert (min(edges), max(edges)) == pytest.approx((low, high))
            outer = max(bars, key=lambda bar: bar.get_x() + bar.get_width())
            assert outer.get_width() == pytest.approx(20 if row == 0 else 5)  # more alike
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == ["H-AP", "LMSC"]
    assert [text.get_text() for text in fig.legends[0].texts] == [f"J: {band}" for band in bands]


def test_the_sentence_says_what_becomes_of_equal_label_sets(table):
    assert sentence(table, -0.5, 0.0).startswith("α = −0.5, s = 0 J: 5 % of the force")
    assert "pushes them apart" in sentence(table, -0.5, 0.0)
    assert "draws them together" in sentence(table, 1.5, 1.0)


def test_sliders_redraw_figure_and_sentence(table):
    controls, words, image = plots.force_sliders(table).children
    alpha, level = controls.children
    before = bytes(image.value)
    assert before.startswith(b"\x89PNG") and words.value == sentence(table, 1.5, 1.0)
    alpha.value = -0.5
    assert words.value == sentence(table, -0.5, 1.0) and bytes(image.value) != before
    between = bytes(image.value)
    level.value = 0.5
    assert words.value == sentence(table, -0.5, 0.5) and bytes(image.value) != between


def test_names_stand_apart_and_no_further_from_their_lines_than_it_takes():
    assert np.allclose(spread([0, 5, 9], 1), [0, 5, 9])
    assert np.allclose(spread([0, 0, 9], 2), [-1, 1, 9])
    assert np.allclose(spread([0, 1, 2], 2), [-1, 1, 3])
    assert spread([], 2).size == 0
