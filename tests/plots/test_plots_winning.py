"""One loss against the best of the others is drawn as the table has it, few archives or many."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from maclcore import plots
from maclcore.plots.winning import BEHIND

PROPOSED = "graded_lmsc"


def gaps_of(archives, rows):
    index = pd.MultiIndex.from_product([archives, rows], names=["archive", "row"])
    difference = np.linspace(-0.02, 0.03, len(index))
    table = pd.DataFrame({"rival": "oml", "difference": difference}, index)
    return table.assign(low=difference - 0.005, high=difference + 0.01)


@pytest.mark.parametrize("archives", [["A"], ["A", "B", "C", "D", "E"]])
def test_each_row_has_its_difference_interval_rival_and_side(archives):
    parts = {"first": gaps_of(archives, ["m", "n", "o"]), "second": gaps_of(archives, ["x", "y"])}
    fig = plots.against_best(parts, PROPOSED)
    axes = np.array(fig.axes).reshape(2, len(archives))
    assert [ax.get_title() for ax in axes[0]] == archives
    for line, (words, part) in zip(axes, parts.items(), strict=True):
        assert line[0].get_ylabel() == words
        names = [tick.get_text() for tick in line[0].get_yticklabels()]
        assert names == list(part.index.unique("row"))
        for ax, archive in zip(line, archives, strict=True):
            found = part.loc[archive]
            dots = [drawn for drawn in ax.lines if drawn.get_marker() == "o"]
            bars = [drawn for drawn in ax.lines if drawn.get_lw() == 1.5 and drawn not in dots]
            rows = zip(dots, bars, ax.texts, found.itertuples(), strict=True)
            for y, (dot, bar, text, row) in enumerate(rows):
                assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (100 * row.difference, y)
                assert np.allclose(bar.get_xdata(), [100 * row.low, 100 * row.high])
                assert text.get_text() == "OML" and text.xy[1] == y
                assert (dot.get_markerfacecolor() == "white") == (row.low <= 0 <= row.high)
                assert (dot.get_color() == BEHIND) == (row.high < 0)
    entries = [text.get_text() for text in fig.legends[0].get_texts()]
    assert entries[-1] == "below"


def test_nothing_below_is_no_entry_and_an_archive_may_lack_a_part():
    one = gaps_of(["A", "B"], ["m"]).assign(difference=0.02, low=0.01, high=0.03)
    fig = plots.against_best({"first": one, "second": one.loc[["A"]]}, PROPOSED)
    assert "below" not in [text.get_text() for text in fig.legends[0].get_texts()]
    assert not fig.axes[3].texts and len(fig.axes[2].texts) == 1


def test_the_front_is_a_curve_with_its_ends_named_and_others_near_it():
    index = pd.MultiIndex.from_product([["a", "b"], ["s", "t", "u"]], names=["archive", "shares"])
    curve = pd.DataFrame({"x": [80, 78, 76] * 2, "y": [60, 63, 64] * 2}, index, dtype=float)
    others = pd.MultiIndex.from_tuples([("a", "oml"), ("a", "macl")], names=["archive", "loss"])
    dots = pd.DataFrame({"x": [79.0, 30.0], "y": [59.0, 20.0]}, others)
    own = pd.DataFrame({"x": [77.0], "y": [62.0]}, ["a"])
    fig = plots.front(curve, dots, own, PROPOSED, ("x", "y"), {"a": "Archive A"})
    first, second = fig.axes
    assert (first.get_title(), second.get_title()) == ("Archive A", "b")
    assert first.lines[0].get_xydata().tolist() == curve.loc["a"].to_numpy().tolist()
    # MACL is so far below that it would squeeze the curve
    assert [line.get_xydata().tolist() for line in first.lines[1:]] == [[[77, 62]], [[79, 59]]]
    assert len(second.lines) == 1
    assert [t.get_text().strip() for t in first.texts] == ["s", "u", "OML"]
    assert [t.get_text().strip() for t in second.texts] == ["s", "u"]
    assert to_rgb(first.lines[0].get_color()) != to_rgb(first.lines[2].get_color())
