"""Figures: that they are drawn from what they are given, and go where they may go."""

import re
import warnings
from io import BytesIO

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from maclcore import plots
from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import LOSSES

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


def test_a_picture_has_room_for_a_title_of_many_lines():
    images = np.zeros((2, 3, 8, 8), np.uint8)
    high, low = (plots.image_grid(images, ["a" + "\nb" * n, "c"]) for n in (20, 3))
    assert high.get_figheight() > low.get_figheight() + 1
    assert low.get_figheight() == plots.image_grid(images, ["a", "c"]).get_figheight()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that the axes have no room
        high.draw_without_rendering()
    plt.close("all")


def test_only_the_paper_profile_goes_unstamped():
    def words(profile):
        fig = plots.stamp(plots.set_sizes({"x": [1, 2, 2]}), profile, "DLRSD")
        return [text.get_text() for text in fig.texts]

    assert any("smoke" in word for word in words("smoke")) and not words("paper")


def dots(ax, marker="o"):
    return [line for line in ax.lines if line.get_marker() == marker]


def intervals_of(runs):
    rows = {(metric, row["loss"]): row[metric] for metric in METRICS for _, row in runs.iterrows()}
    mean = pd.Series(rows).rename_axis(["metric", "loss"])
    return pd.DataFrame({"mean": mean, "low": mean - 0.05, "high": mean + 0.1})


def test_every_archive_has_its_row_of_panels_framed_by_its_references(runs):
    other = runs[runs["loss"].isin(["chance", "macl", "oracle"])].copy()
    other[list(METRICS)] = other[list(METRICS)] / 2
    again = other[other["loss"] != "macl"].assign(seed=1)
    again[list(METRICS)] += 0.01
    other = pd.concat([other, again])
    archives = {"A": (runs, None, intervals_of(runs)), "B": (other, None, None)}
    fig = plots.archive_panels(archives)
    axes = np.array(fig.axes).reshape(2, len(METRICS))
    assert [line[0].get_ylabel() for line in axes] == ["A", "B"]
    assert [t.get_text() for t in axes[1, 0].get_yticklabels()] == ["MACL"]
    for line, (part, *_) in zip(axes, archives.values(), strict=True):
        for ax, metric in zip(line, METRICS, strict=True):
            frame = {x.get_xdata()[0] for x in ax.lines if x.get_linestyle() in (":", "--", "-.")}
            references = part[part["loss"].isin(plots.REFERENCE_STYLE)]
            seeds = (100 * references[metric]).groupby(references["loss"])
            assert np.allclose(sorted(frame), sorted(seeds.mean()))
            spans = sorted((p.get_x(), p.get_x() + p.get_width()) for p in ax.patches)
            assert np.allclose(spans, sorted(zip(seeds.min(), seeds.max(), strict=True)))
    bars = [line.get_xdata() for line in axes[0, 0].lines if line.get_lw() == 4]
    values = 100 * runs.set_index("loss").loc[list(LOSSES), METRICS[0]]
    assert np.allclose(bars, np.stack([values - 5, values + 10], axis=1))
    assert not [line for line in axes[1, 0].lines if line.get_lw() == 4]


def test_differences_over_a_parameter_have_a_line_a_setting_with_its_intervals():
    index = pd.MultiIndex.from_product([["m", "n"], ["a", "b", "c", "d"]], names=["metric", "loss"])
    table = pd.DataFrame(
        {"difference": np.arange(8) / 100, "low": np.arange(8) / 100 - 0.2,
         "high": np.arange(8) / 100 + 0.1, "x": [1.0, -1.0, 1.0, -1.0] * 2,
         "by": ["w", "w", "1", "1"] * 2}, index,
    )  # fmt: skip
    fig = plots.differences_over(table, "x", "by", "mulsupcon")
    for ax, metric in zip(fig.axes, "mn", strict=False):
        assert ax.get_title() == metric and ax.get_yscale() == "symlog"
        for container, value in zip(ax.containers, ["1", "w"], strict=True):
            part = table.loc[metric].query("by == @value").sort_values("x")
            line, _, (bars,) = container
            assert container.get_label() == value
            assert np.allclose(line.get_ydata(), 100 * part["difference"])
            assert np.allclose(line.get_xdata(), part["x"], atol=0.05)
            ends = [segment[:, 1] for segment in bars.get_segments()]
            assert np.allclose(ends, 100 * part[["low", "high"]])
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()][:3] == ["-10", "-3", "-2"]
    assert fig.axes[-1].get_legend().get_title().get_text() == "minus MulSupCon"


def test_differences_are_filled_where_they_are_not_luck():
    index = pd.MultiIndex.from_product([["m", "n"], ["wg_macl", "lbase", "frozen"]])
    table = pd.DataFrame(
        {"difference": np.arange(6) / 10, "low": np.arange(6) / 10 - 0.1, "high": 0.7,
         "holm": [0.01, 0.2, 0.01, 0.2, 0.049, 0.05]}, index.set_names(["metric", "loss"]),
    )  # fmt: skip
    fig = plots.differences(table, "macl")
    for ax, metric in zip(fig.axes, "mn", strict=True):
        assert ax.get_title() == metric
        for dot, method in zip(dots(ax), ["frozen", "lbase", "wg_macl"], strict=True):
            row = table.loc[(metric, method)]
            assert dot.get_xdata() == 100 * row["difference"]
            assert (dot.get_markerfacecolor() != "white") == (row["holm"] < 0.05)
    names = [tick.get_text() for tick in fig.axes[0].get_yticklabels()]
    assert names == ["Frozen", "LBase", "Wg-MACL"]
    (legend,) = fig.legends
    assert "MACL" in legend.get_texts()[0].get_text()


def test_the_critical_difference_diagram_has_each_method_at_its_rank():
    ranks = pd.Series({"macl": 4.0, "lbase": 1.2, "simdis": 2.8, "oml": 2.0})
    fig = plots.critical_difference(ranks, 1.0, [(1.2, 2.0), (2.0, 2.8)])
    (ax,) = fig.axes
    for method, rank in ranks.items():
        (leg,) = [line for line in ax.lines if line.get_color() == plots.colour(method)]
        assert leg.get_xdata()[0] == rank and leg.get_ydata()[0] == 0
        name = f" {plots.label(method)} ({rank:.1f}) "
        (text,) = [text for text in ax.texts if text.get_text() == name]
        assert text.xy == (leg.get_xdata()[-1], leg.get_ydata()[-1])
    bars = [line for line in ax.lines if line.get_lw() == 4]
    for bar, (first, last) in zip(bars, [(1.2, 2.0), (2.0, 2.8)], strict=True):
        low, high = bar.get_xdata()
        assert low < first < last < high and high - low < last - first + 0.1


def test_labels_stand_in_order_of_their_frequency():
    counts = pd.Series({"sea": 40, "ship": 9, "dock": 3})
    groups = pd.Series({"sea": "frequent", "ship": "rare", "dock": "rare"})
    table = pd.DataFrame(
        {"macl": [0.5, 0.4, 0.1], "oml": [0.6, 0.3, 0.2], "chance": [0.3, 0.2, 0.05]}, counts.index
    )
    fig = plots.label_bars(table, counts, groups, "mAP@0.4")
    left, right = fig.axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["dock", "ship", "sea"]
    assert dots(left)[0].get_xdata().tolist() == [3, 9, 40]
    for bars, method in zip(right.containers, ["macl", "oml"], strict=True):
        widths = [bar.get_width() for bar in bars]
        assert np.allclose(widths, 100 * table.loc[["dock", "ship", "sea"], method])
    (chance,) = right.collections
    assert np.allclose([path.vertices[0, 0] for path in chance.get_paths()], [5, 20, 30])
    assert [line.get_ydata()[0] for line in right.lines] == [1.5]  # between rare and frequent
    assert [text.get_text().strip() for text in right.texts] == ["frequent", "rare"]


def test_precision_over_recall_has_a_line_a_method_in_each_panel():
    recall = pd.Index([0.5, 1.0], name="recall")
    curves = {
        name: pd.DataFrame({0.0: [1.0, 0.9], 0.4: [0.5, value]}, recall)
        for name, value in (("macl", 0.3), ("chance", 0.1))
    }
    fig = plots.precision_recall(curves)
    assert [ax.get_title() for ax in fig.axes] == ["relevant: J > 0", "relevant: J ≥ 0.4"]
    ours, chance = fig.axes[1].lines
    assert np.allclose(ours.get_ydata(), [50, 30]) and ours.get_color() == plots.colour("macl")
    assert np.allclose(chance.get_ydata(), [50, 10]) and chance.get_linestyle() == ":"


def test_confusion_is_drawn_in_points_about_zero():
    fig = plots.confusion(np.array([[0.5, -0.02], [np.nan, 0.25]]), ["sea", "ship"])
    heat, bar = fig.axes
    assert [text.get_text() for text in heat.texts] == ["50", "-2", "25"]
    assert heat.collections[0].get_clim() == (-50, 50)
    assert heat.get_ylabel() == "given label" and "points" in bar.get_ylabel()


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


def test_the_pipeline_shows_its_pictures_and_notes_inside_its_frame():
    number = {"batch": 3, "query": 1, "archive": 3, "found": 2}
    pictures = {name: np.zeros((n, 3, 8, 8), np.uint8) for name, n in number.items()}
    places = ["backbone", "head", "embeddings", "labels", "terms", "loss", "ranking", *pictures]
    fig = plots.pipeline(pictures, {place: f"what is at {place}" for place in places})
    (ax,) = fig.axes
    assert len(ax.images) == sum(number.values())
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for image in ax.images:
        x0, x1, y0, y1 = image.get_extent()
        assert left <= x0 < x1 <= right and low <= y0 < y1 <= high
    said = {text.get_text() for text in ax.texts}
    assert {f"what is at {place}" for place in places} <= said


def test_a_figure_is_shown_small_and_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_FIGURES", str(tmp_path))
    shown = []
    monkeypatch.setattr(plots, "display", shown.append)
    fig = plots.set_sizes({"x": [1, 2, 2]})
    plots.show(fig, "sizes")
    with Image.open(tmp_path / "sizes.png") as saved, Image.open(BytesIO(shown[0].data)) as small:
        assert abs(saved.width / 150 - small.width / 80) < 0.1
    assert len(shown) == 1 and not plt.fignum_exists(fig.number)  # else it is drawn once more


def test_an_ablation_has_bands_where_there_are_seeds():
    values = {1.0: [0.1, 0.2, 0.6], 2.0: [0.3, 0.3, 0.3]}
    rows = [
        {"param: alpha": alpha, "loss": "macl", "seed": seed, "mAP@0.8": value}
        for alpha, each in values.items()
        for seed, value in enumerate(each)
    ]
    fig = plots.ablation(pd.DataFrame(rows), "param: alpha", ["mAP@0.8"])
    (band,) = fig.axes[0].collections
    corners = band.get_paths()[0].vertices
    low, high = (corners[corners[:, 0] == 1.0, 1].min(), corners[corners[:, 0] == 1.0, 1].max())
    half = 4.302653 * np.std([10, 20, 60], ddof=1) / np.sqrt(3)  # the quantile of Student's t, 2 df
    np.testing.assert_allclose([low, high], [30 - half, 30 + half], rtol=1e-6)
    one = plots.ablation(pd.DataFrame(rows[::3]), "param: alpha", ["mAP@0.8"])
    assert not one.axes[0].collections


def test_a_reference_far_below_an_ablation_is_told_and_not_drawn():
    rows = pd.DataFrame({"lr": [0.1, 0.2], "loss": "macl", "seed": 0, "m": [0.7, 0.8]})
    references = pd.DataFrame({"loss": ["chance", "frozen"], "m": [0.1, 0.68]})
    ax = plots.ablation(rows, "lr", ["m"], references=references, log=True).axes[0]
    assert ax.get_title(loc="right") == "chance: 10.0" and ax.get_ylim()[0] > 60
    assert [line.get_ydata()[0] for line in ax.lines[1:]] == pytest.approx([68])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.1", "0.2"]
