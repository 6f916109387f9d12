"""Maps and surfaces over α × β hold the given numbers, wherever they are shown."""

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from maclcore import plots
from maclcore.plots import maps

GRIDS = {
    "a": pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=[-0.5, 1.5], columns=[0.0, 1.0]),
    "b": pd.DataFrame([[5.0, 6.0], [7.0, 9.0]], index=[-0.5, 1.5], columns=[0.0, 1.0]),
}


def test_maps_have_every_number_at_its_place_and_frame_what_is_marked():
    marks = {"a": {"the paper": (1.5, 0.0)}, "b": {"the paper": (1.5, 0.0), "best": (1.5, 1.0)}}
    fig = plots.heatmaps(GRIDS, "mAP", marks)
    left, right, bar = fig.axes
    placed = {(int(t.xy[0]), int(t.xy[1])): t.get_text() for t in left.texts}
    assert placed == {(0, 0): "1.0", (1, 0): "2.0", (0, 1): "3.0", (1, 1): "4.0"}
    assert [t.get_text() for t in left.get_yticklabels()] == ["−0.5", "1.5"]
    assert left.images[0].get_clim() == right.images[0].get_clim()
    middles = [
        (p.get_x() + p.get_width() / 2, p.get_y() + p.get_height() / 2) for p in right.patches
    ]
    assert np.allclose(middles, [(0, 1), (1, 1)]) and len(left.patches) == 1
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["the paper", "best"]


def test_surfaces_share_one_range():
    limits = {ax.get_zlim() for ax in plots.surfaces(GRIDS, "mAP").axes}
    assert len(limits) == 1 and min(limits)[0] < 1 and max(limits)[1] > 9


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interactive_surfaces_hold_the_numbers_and_a_spread_where_there_is_one(seeds):
    spread = {name: grid * (0.1 if seeds > 1 else np.nan) for name, grid in GRIDS.items()}
    grids, spreads = {"m": GRIDS, "n": GRIDS}, {"m": spread, "n": spread}
    fig = plots.surfaces_interactive(grids, spreads)
    assert [trace.visible for trace in fig.data] == [True, True, False, False]
    for trace, grid in zip(fig.data, [*GRIDS.values()] * 2, strict=True):
        assert np.array_equal(np.array(trace.z, dtype=float), grid)
        assert list(trace.y) == [-0.5, 1.5] and ("±" in trace.hovertemplate) == (seeds > 1)
    shown = [button.args[0]["visible"] for button in fig.layout.updatemenus[0].buttons]
    assert shown == [[True, True, False, False], [False, False, True, True]]
    json.dumps(fig.to_plotly_json(), allow_nan=False)  # a notebook is JSON


def test_an_interactive_figure_has_a_picture_for_who_does_not_draw_it(monkeypatch):
    found = {}
    monkeypatch.setattr(maps, "display", lambda data, **more: found.update(more, data=data))
    plots.show_interactive(go.Figure(), plots.surfaces(GRIDS, "mAP"), "two surfaces")
    assert set(found["data"]) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert found["data"]["image/png"].startswith(b"\x89PNG") and found["raw"]
    assert found["metadata"]["image/png"]["alt"] == "two surfaces"


def test_each_setting_is_a_point_in_the_colour_of_its_alpha():
    rows = pd.DataFrame(
        {"alpha": [-0.5, 0.0, 2.5, 2.5], "beta": 0.1, "reweight": [False, False, False, True],
         "x": [0.1, 0.2, 0.3, 0.4], "y": [0.5, 0.6, 0.7, 0.8]}
    )  # fmt: skip
    line = pd.DataFrame({"param: temperature": [0.1, 0.3], "x": [0.9, 0.8], "y": [0.9, 0.7]})
    fig = plots.metric_against_metric(rows, "x", "y", {"paper": (30, 70)}, line)
    plain, weighted = fig.axes[0].collections
    assert np.allclose(plain.get_offsets(), [[10, 50], [20, 60], [30, 70]])
    assert np.allclose(weighted.get_offsets(), [[40, 80]])
    assert np.allclose(plain.get_edgecolors()[1], plots.sign_colour(0))
    (over,) = fig.axes[0].lines
    assert np.allclose(over.get_xdata(), [90, 80])
    assert {"paper", "τ = 0.1", "τ = 0.3"} == {t.get_text() for t in fig.axes[0].texts}
