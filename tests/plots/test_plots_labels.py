"""Figures of labels."""

import numpy as np
import pandas as pd

from maclcore import plots


def test_label_counts_stand_at_their_bars():
    counts = pd.DataFrame({"DLRSD": [1331, 100], "WHDLD": [3881, np.nan]}, index=["sea", "dock"])
    left, right = plots.label_panels(counts, {"DLRSD": 2100, "WHDLD": 4940}).axes
    assert [t.get_text() for t in left.texts] == [" 1,331", " 100"]
    assert [t.get_text() for t in right.texts] == [" 3,881"]
    assert left.patches[1].get_width() == 100 * 100 / 2100
    assert left.get_title(loc="left") == "DLRSD, 2,100 images"


def test_cooccurrence_is_in_percent_below_the_share_of_all():
    counts = np.array([[10, 0, 5], [0, 40, 1], [5, 1, 20]])
    heat, bar = plots.cooccurrence(counts, ["ship", "tree", "water"], 100).axes
    rows = [text.get_text() for text in heat.get_yticklabels()]
    columns = [text.get_text() for text in heat.get_xticklabels()]
    assert rows == ["all images", *columns]
    cells = {(rows[i // 3], columns[i % 3]): t.get_text() for i, t in enumerate(heat.texts)}
    assert cells["all images", "tree"] == "40" and cells["ship", "ship"] == "100"
    assert cells["ship", "water"] == "50" and cells["ship", "tree"] == ""
    assert columns.index("ship") - columns.index("water") in (-1, 1)  # neighbours
    assert heat.collections[0].get_clim() == (-100, 100) and "points" in bar.get_ylabel()


def test_as_many_squares_are_filled_as_there_are_partners():
    bars, same, shared = plots.set_sizes(
        {"x": [1, 2, 2]}, {"same": 2.5, "shared": 83.2}, batch=128
    ).axes
    assert [round(bar.get_height()) for bar in bars.patches] == [0, 33, 67]
    for ax, number in ((same, 2.5), (shared, 83.2)):
        filled = sum(square.get_width() for square in ax.patches[1::2]) / 0.8
        assert len(ax.patches) == 2 * 127 and abs(filled - number) < 1e-9
    assert same.get_title() == "same: 2.5 of 127" and shared.get_title() == "shared: 83 of 127"


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
