"""Figures go where they may go, whole, under names that are file names."""

import re
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from maclcore import Run, collect, paths, plots, reads
from maclcore.experiments import paper
from maclcore.experiments.sweep import stored
from maclcore.plots import saving


def test_figures_of_real_archives_go_where_git_does_not_look(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path))
    fig = plots.image_grid(np.zeros((2, 3, 8, 8), np.uint8), ["one", "two"])
    assert plots.save(fig, "grid") == tmp_path / "grid.png"
    assert plots.save(fig, "grid", shows="dlrsd") == tmp_path / "private" / "grid.png"
    assert plots.save(fig, "ours", shows="ucm_multilabel") == tmp_path / "ours.png"  # of USGS
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 200 and picture.format == "PNG"
    assert len(list(tmp_path.rglob("*"))) == 4  # three files and a folder, nothing temporary


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # `style` suits all
@given(st.text())
@example(".")
@example("~nobody")
def test_whatever_an_archive_is_called_its_figures_have_file_names(archive):
    assert re.fullmatch(r"[\w-]{0,40}", plots.slug(archive))


def test_figures_are_called_as_the_archive_or_its_folder(tmp_path, monkeypatch):
    assert plots.slug("ml_aid") == "ml_aid" and plots.slug("/data/My city, 2026") == "My-city--2026"
    (tmp_path / "città").mkdir()
    monkeypatch.chdir(tmp_path / "città")
    assert plots.slug(".") == "città"


@pytest.fixture
def shown(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path))
    shown = []
    monkeypatch.setattr("maclcore.plots.saving.display", shown.append)
    return shown


def test_a_figure_is_shown_once_with_its_caption(shown, tmp_path):
    fig = plots.set_sizes({"x": [1, 2, 2]})
    plots.show(fig, "sizes", "**Figure 1.1.** *Most have 2 labels*, in `x`. A dot a size.")
    picture, caption = shown
    assert caption.data.startswith("**Figure 1.1.** *Most") and picture.format == "png"
    assert picture.alt == "Most have 2 labels, in x." and picture.width <= 840
    with Image.open(tmp_path / "sizes.png") as saved, Image.open(BytesIO(picture.data)) as small:
        assert abs(saved.width / saved.height - small.width / small.height) < 0.01
        assert 1.5 < small.width / picture.width < 2  # sharp where a pixel of the page is two
    assert not plt.fignum_exists(fig.number)  # else it is drawn once more


@pytest.mark.parametrize(
    ("shows", "credit"),
    [("ucm_multilabel", "USGS"), ("synthetic", "no photographs"), ("mine", None)],
)
def test_photographs_are_shown_as_such_with_their_credit(shown, shows, credit):
    fig = plots.image_grid(np.zeros((2, 3, 8, 8), np.uint8), ["one", "two"])
    plots.show(fig, "grid", "**Figure 1.2.** Two scenes.", shows=shows)
    picture, caption = shown
    assert picture.format == "jpeg"
    assert credit in caption.data if credit else caption.data == "**Figure 1.2.** Two scenes."


@pytest.mark.parametrize(("side", "mode"), [(3, "P"), (16, "P"), (17, "RGB"), (256, "RGB")])
def test_every_colour_of_a_figure_is_kept(side, mode, tmp_path, monkeypatch):
    """A gradient of side² colours, a pixel each, alone in the figure."""
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path))
    steps = np.arange(side, dtype=np.uint8)
    colours = np.stack(np.broadcast_arrays(steps, steps[:, None], 255 - steps), axis=2)
    with plt.rc_context({"savefig.bbox": None, "figure.constrained_layout.use": False}):
        fig = plt.figure(figsize=(side, side), dpi=1)
        fig.figimage(colours)
        file = plots.save(fig, "gradient", dpi=1)
    with Image.open(file) as picture:
        assert picture.mode == mode
        assert np.array_equal(picture.convert("RGB"), colours)


def test_a_colour_map_is_shown_in_all_its_colours(shown, tmp_path):
    fig = plots.heatmaps({"a": pd.DataFrame(np.arange(400.0).reshape(20, 20))}, "mAP")
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    width = min(840, round(100 * fig.get_figwidth()))
    fig.savefig(tmp_path / "drawn.png", dpi=1.4 * width / fig.get_figwidth())
    plots.show(fig, "heat", "Heat.")
    with Image.open(BytesIO(shown[0].data)) as ours, Image.open(tmp_path / "drawn.png") as drawn:
        ours, drawn = (np.asarray(p.convert("RGB")).astype(int) for p in (ours, drawn))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 256
    assert np.array_equal(ours, drawn)


def test_what_is_saved_is_what_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path))
    monkeypatch.setattr(reads, "RUNS", {})  # their ids take bytes, too
    y = np.arange(9.0)
    fig = plots.heatmaps({"a": pd.DataFrame(np.outer(y, y))}, "mAP")
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # which moves axes a little each time
    fig.savefig(tmp_path / "drawn.png")
    saved = plots.save(fig, "saved")
    with Image.open(saved) as ours, Image.open(tmp_path / "drawn.png") as drawn:
        assert len(drawn.convert("RGB").getcolors(1 << 20)) > 256
        assert np.array_equal(ours.convert("RGB"), drawn.convert("RGB"))
    assert saved.stat().st_size < (tmp_path / "drawn.png").stat().st_size


def test_a_figure_says_which_runs_had_been_read(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path))
    monkeypatch.setattr(reads, "RUNS", {})
    before = plots.save(plt.figure(), "before")
    reads.note(["b", "a", "b"])
    after = plots.save(plt.figure(), "after")
    assert saving.runs_of(before) == [] and saving.runs_of(after) == ["a", "b"]
    plt.figure().savefig(tmp_path / "other.png")
    assert saving.runs_of(tmp_path / "other.png") is None


def test_rows_that_are_picked_from_the_store_count_as_read(monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(paths.ROOT / "results"))
    monkeypatch.setattr(reads, "RUNS", {})
    collect()
    assert reads.RUNS == {}
    weights = "resnet18_imagenet_layer1-3"
    configs = paper.main_tables("quick", "dlrsd", (0,), weights=weights)
    rows = stored(configs)
    assert set(reads.RUNS) == set(rows.index)
    other = Run.find(collect().index.difference(rows.index)[0])
    assert set(reads.RUNS) == {*rows.index, other.run_id}
