"""From one label to retrieval: a label is told for what it is, a share stands in its place."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from maclcore import plots

NAMES = ["car", "sea", "tree"]
CELLS = arrays(bool, (2, 3, 3))  # of truth and of completion


@settings(max_examples=15, deadline=None)
@given(CELLS)
def test_every_label_of_an_image_has_the_mark_of_what_it_is(cells):
    truth, completed = cells
    observed = np.eye(3, dtype=bool)
    images = np.zeros((3, 3, 4, 4), np.uint8)
    fig = plots.completed_labels(
        images, truth | observed, observed, {"AN": completed | observed}, NAMES
    )
    for i, ax in enumerate(fig.axes[3:]):
        said = {text.get_text() for text in ax.texts}
        wanted = set()
        for label, name in enumerate(NAMES):
            if i == label:
                wanted.add(f"● {name}")
            elif completed[i, label]:
                wanted.add(f"✓ {name}" if truth[i, label] else f"✗ {name}")
            elif truth[i, label]:
                wanted.add(f"○ {name}")
        assert said == wanted
    plt.close(fig)


def test_shares_stand_at_their_values_with_their_intervals_by_archive_and_loss():
    index = pd.MultiIndex.from_product(
        [["LProto", "MACL"], ["m", "n"], ["AN", "GC"]], names=["retrieval", "metric", "loss"]
    )
    numbers = np.arange(8) / 8
    table = pd.DataFrame(
        {"share": numbers, "low": numbers - 0.1, "high": numbers + 0.2, "gap": 0.1}, index
    )
    table.iloc[0, 1:3] = np.nan  # no interval: the point is drawn all the same
    fig = plots.shares_of_gap({"A": table, "B": 1 - table}, ("n", "m"))
    axes = np.array(fig.axes).reshape(2, 2)
    assert [ax.get_title() for ax in axes[0]] == ["n", "m"]
    assert [line[0].get_ylabel() for line in axes] == ["A", "B"]
    for line, part in zip(axes, (table, 1 - table), strict=True):
        for ax, metric in zip(line, "nm", strict=True):
            drawn = [x for x in ax.lines if x.get_marker() in ("o", "D")]
            wanted = part.xs(metric, level="metric")
            assert [x.get_xdata()[0] for x in drawn] == list(wanted["share"])
            bars = [x.get_xdata() for x in ax.lines if x.get_lw() == 2 and len(x.get_xdata()) == 2]
            assert np.allclose(bars[: len(wanted)], wanted[["low", "high"]], equal_nan=True)


def test_the_chain_has_a_box_a_step_and_its_words():
    steps = {"one label": "car", "a classifier": "learns", "measured": "by all"}
    fig = plots.label_chain(steps, np.zeros((3, 4, 4), np.uint8))
    (ax,) = fig.axes
    said = [text.get_text() for text in ax.texts]
    assert [x for x in said if x] == [word for step in steps.items() for word in step]
    assert len(ax.patches) == len(steps)
