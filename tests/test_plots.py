"""Figures: that they are drawn from what they are given, and go where they may go."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maclcore import plots
from maclcore.losses import LOSSES
from maclcore.metrics import METRICS

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


@pytest.fixture
def runs():
    generator = np.random.default_rng(0)
    methods = ["chance", "frozen", *LOSSES, "oracle"]
    table = pd.DataFrame(generator.random((len(methods), len(METRICS))), columns=list(METRICS))
    return table.assign(loss=methods, seed=0)


def test_every_run_is_a_point_in_its_colour_and_every_reference_a_line(runs):
    fig = plots.metric_panels(runs)
    panels = [ax for ax in fig.axes if ax.get_title() in METRICS]
    assert [ax.get_title() for ax in panels] == list(METRICS)
    for ax in panels:
        drawn = {
            line.get_color(): line.get_xdata() for line in ax.lines if line.get_marker() == "o"
        }
        for name, loss in LOSSES.items():
            value = 100 * runs.loc[runs["loss"] == name, ax.get_title()].item()
            assert np.allclose(drawn[loss.colour], value)
        vertical = {
            line.get_xdata()[0] for line in ax.lines if line.get_linestyle() in (":", "-.", "--")
        }
        wanted = 100 * runs.loc[runs["loss"].isin(plots.REFERENCE_STYLE), ax.get_title()]
        assert set(wanted) <= vertical


def test_surfaces_share_one_range_and_hold_the_given_numbers():
    grids = {
        "a": pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=[-0.5, 1.5], columns=[0.0, 1.0]),
        "b": pd.DataFrame([[5.0, 6.0], [7.0, 9.0]], index=[-0.5, 1.5], columns=[0.0, 1.0]),
    }
    fig = plots.surfaces(grids, "mAP", chance=0.5)
    limits = {ax.get_zlim() for ax in fig.axes}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low < 0.5 and high > 9
    interactive = plots.surfaces_interactive(grids, "mAP")
    surfaces = [np.array(trace.z, dtype=float) for trace in interactive.data]
    assert np.array_equal(surfaces[0], grids["a"]) and np.array_equal(surfaces[1], grids["b"])
    texts = [t.get_text() for ax in plots.heatmaps(grids, "mAP").axes for t in ax.texts]
    assert texts == ["1.0", "2.0", "3.0", "4.0", "5.0", "6.0", "7.0", "9.0"]


def test_a_gallery_marks_shared_missing_and_surplus_labels():
    images = np.zeros((3, 3, 8, 8), np.uint8)
    labels = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0]], bool)
    fig = plots.gallery([0], {"macl": np.array([[1, 2]])}, images, labels, ("sea", "ship", "dock"))
    query, first, second = fig.axes
    assert query.get_xlabel() == "sea\nship"
    assert first.get_xlabel() == "✓ sea\n− ship\n+ dock"
    assert second.get_xlabel() == "✓ sea\n✓ ship"
    assert "0.33" in first.get_title() and "1.00" in second.get_title()


def test_figures_of_real_archives_go_where_git_does_not_look(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path))
    fig = plots.image_grid(np.zeros((2, 3, 8, 8), np.uint8), ["one", "two"])
    assert plots.save(fig, "grid") == tmp_path / "grid.png"
    assert plots.save(fig, "grid", shows="dlrsd") == tmp_path / "private" / "grid.png"
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 200 and picture.format == "PNG"
    assert len(list(tmp_path.rglob("*"))) == 3  # two files and a folder, nothing temporary


def test_only_the_paper_profile_goes_unstamped():
    def words(profile):
        fig = plots.stamp(plots.set_sizes({"x": [1, 2, 2]}), profile, "DLRSD")
        return [text.get_text() for text in fig.texts]

    assert any("smoke" in word for word in words("smoke")) and not words("paper")
