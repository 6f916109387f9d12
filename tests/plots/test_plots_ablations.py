"""Curves and surfaces over settings hold the given numbers."""

import numpy as np
import pandas as pd
import pytest

from maclcore import plots


def test_an_ablation_has_bands_where_there_are_seeds():
    values = {1.0: [0.1, 0.2, 0.6], 2.0: [0.3, 0.3, 0.3]}
    rows = [
        {"param: lr": alpha, "loss": "macl", "seed": seed, "mAP@0.8": value}
        for alpha, each in values.items()
        for seed, value in enumerate(each)
    ]
    fig = plots.ablation(pd.DataFrame(rows), "param: lr", ["mAP@0.8"], front=["macl"])
    (band,) = fig.axes[0].collections
    corners = band.get_paths()[0].vertices
    low, high = (corners[corners[:, 0] == 1.0, 1].min(), corners[corners[:, 0] == 1.0, 1].max())
    half = 4.302653 * np.std([10, 20, 60], ddof=1) / np.sqrt(3)  # the quantile of Student's t, 2 df
    np.testing.assert_allclose([low, high], [30 - half, 30 + half], rtol=1e-6)
    one = plots.ablation(pd.DataFrame(rows[::3]), "param: lr", ["mAP@0.8"], front=["macl"])
    assert not one.axes[0].collections


def test_a_reference_far_below_an_ablation_is_told_and_not_drawn():
    rows = pd.DataFrame({"lr": [0.1, 0.2], "loss": "macl", "seed": 0, "m": [0.7, 0.8]})
    references = pd.DataFrame({"loss": ["chance", "frozen"], "m": [0.1, 0.68]})
    ax = plots.ablation(rows, "lr", ["m"], front=["macl"], references=references, log=True).axes[0]
    assert ax.texts[0].get_text() == "frozen " and ax.get_title() == "m, % (chance 10)"
    assert ax.get_ylim()[0] > 60
    assert [line.get_ydata()[0] for line in ax.lines[1:]] == pytest.approx([68])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.1", "0.2"]


def test_losses_in_front_have_a_colour_and_a_name_and_the_others_neither():
    rows = [{"x": x, "loss": loss, "seed": seed, "m": 0.1 * i + 0.01 * seed}
            for x in (1.0, 2.0) for i, loss in enumerate(("macl", "oml", "lproto"))
            for seed in (0, 1)]  # fmt: skip
    (ax,) = plots.ablation(pd.DataFrame(rows), "x", ["m"], front=["macl", "lproto"]).axes
    colours = {line.get_color(): line.get_ydata()[0] for line in ax.lines}
    assert colours[plots.colour("macl")] == pytest.approx(0.5)
    assert colours[plots.colour("lproto")] == pytest.approx(20.5)
    assert plots.colour("oml") not in colours and len(ax.collections) == 2
    names = {text.get_text().strip(): text.xy[1] for text in ax.texts}
    assert set(names) == {"MACL", "LProto"} and names["LProto"] > names["MACL"]


def test_alpha_has_the_colour_of_its_sign_whatever_the_other_values():
    red, _, blue = plots.sign_colour(1.5)[:3]
    assert red > blue and plots.sign_colour(-1.5)[2] > plots.sign_colour(-1.5)[0]
    assert max(plots.sign_colour(0)[:3]) < 0.2
    rows = pd.DataFrame({"x": [1, 2] * 3, "param: alpha": [-0.5] * 2 + [0.0] * 2 + [2.5] * 2,
                         "seed": 0, "m": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]})  # fmt: skip
    (ax,) = plots.ablation(rows, "x", ["m"], by="param: alpha").axes
    assert ax.lines[1].get_color() == plots.sign_colour(0.0)
    assert "α = −0.5" in {text.get_text().strip() for text in ax.texts}


def test_ablations_of_several_archives_are_a_panel_a_setting_and_a_line_an_archive():
    def rows(x, values, loss="macl"):
        table = {x: list(values) * 2, "m": [*values.values()] * 2, "seed": [0, 0, 1, 1]}
        return pd.DataFrame(table).assign(loss=loss)

    found = {
        name: {
            "param: alpha": rows("param: alpha", {-1: level, 1: 0.2}),
            "lr": pd.concat([rows("lr", {0.1: level, 0.01: 0.6}),
                             rows("lr", {0.1: 0.9, 0.01: 0.9}, "mulsupcon")]),
        }
        for name, level in {"A": 0.3, "B": 0.7}.items()
    }  # fmt: skip
    left, right = plots.ablations_by_archive(found, ("first", "second"), "m").axes
    assert [ax.get_title() for ax in (left, right)] == ["first", "second"]
    assert [list(line.get_ydata()) for line in left.lines] == [[30, 20], [70, 20]]
    dashed = [line.get_ydata()[0] for line in right.lines if line.get_linestyle() == "--"]
    assert dashed == [90, 90] and len(right.lines) == 4 and right.get_xscale() == "log"
    ends = {text.get_text(): text.xy[1] for text in right.texts}
    assert set(ends) == {"A", "B"} and ends["A"] == pytest.approx(30, abs=3)
    assert left.lines[1].get_color() == right.lines[-1].get_color() != left.lines[0].get_color()


def test_values_stand_over_the_temperature_of_like_pairs_and_differences_over_alpha():
    rows = pd.DataFrame(
        {"series": ["MACL, τ = 1"] * 2 + ["MulSupCon"] * 2, "T": [0.24, 2.0, 0.1, 1.0],
         "param: alpha": [1.5, -0.5, np.nan, np.nan], "m": [0.5, 0.6, 0.7, 0.8]}
    )  # fmt: skip
    gaps = pd.DataFrame(
        {"difference": [-0.2], "low": -0.3, "high": -0.1, "series": "MACL, τ = 1",
         "param: alpha": 1.5, "T": 0.24},
        pd.MultiIndex.from_tuples([("m", "x")], names=["metric", "loss"]),
    )  # fmt: skip
    above, below = plots.like_pairs(rows, gaps, ["m"]).axes
    assert [tuple(line.get_xdata()) for line in above.lines] == [(0.24, 2.0), (0.1, 1.0)]
    assert np.allclose([line.get_ydata() for line in above.lines], [[50, 60], [70, 80]])
    assert [text.get_text() for text in above.texts] == ["α = 1.5"]
    (bar,) = below.containers
    line, _, (segments,) = bar
    assert line.get_xdata() == [1.5] and np.allclose(line.get_ydata(), -20)
    assert np.allclose(segments.get_segments()[0][:, 1], [-30, -10])


def test_the_sign_of_alpha_is_drawn_whole_and_near_zero():
    index = pd.MultiIndex.from_product([["m", "n"], ["a", "b", "c", "d"]], names=["metric", "loss"])
    table = pd.DataFrame(
        {"difference": np.arange(8) / 100, "low": np.arange(8) / 100 - 0.2,
         "high": np.arange(8) / 100 + 0.1, "alpha": [1.5, -1.0, 1.5, -1.0] * 2,
         "weights": ["w", "w", "1", "1"] * 2}, index,
    )  # fmt: skip
    other = table[table["alpha"] == -1.0].xs("b", level="loss", drop_level=False)
    fig = plots.sign_of_alpha(table, {"Elsewhere": other}, ["m", "n"])
    for i, ax in enumerate(fig.axes):
        metric = "mn"[i % 2]
        assert (ax.get_ylim() == (-4, 4)) == (i >= 2)
        first, second, points = ax.containers
        for container, value in zip((first, second), ("1", "w"), strict=True):
            part = table.loc[metric]
            part = part[part["weights"] == value].sort_values("alpha")
            line, _, (bars,) = container
            assert np.allclose(line.get_ydata(), 100 * part["difference"])
            assert np.allclose(line.get_xdata(), part["alpha"], atol=0.06)
            ends = [segment[:, 1] for segment in bars.get_segments()]
            assert np.allclose(ends, 100 * part[["low", "high"]])
        assert np.allclose(points[0].get_ydata(), 100 * other.loc[metric, "difference"])
    assert "MACL better ↑" in [text.get_text() for text in fig.axes[2].texts]


def test_a_heat_strip_is_bold_where_the_interval_excludes_zero():
    table = pd.DataFrame(
        {"row": ["m", "m", "n", "n"], "column": ["a", "b"] * 2,
         "difference": [0.05, -0.01, 0.0, 0.02], "low": [0.01, -0.02, -0.1, -0.01], "high": 0.06}
    )  # fmt: skip
    (ax,) = plots.heat_strip(table.assign(high=[0.1, -0.001, 0.1, 0.05]), "x").axes
    texts = {t.get_text(): t.get_fontweight() for t in ax.texts}
    assert texts == {"+5.0": "bold", "−1.0": "bold", "+0.0": "normal", "+2.0": "normal"}
    assert ax.images[0].get_array().tolist() == [[5.0, -1.0], [0.0, 2.0]]


def test_gains_stand_beside_the_published_ones():
    index = pd.MultiIndex.from_product([["m", "n"], ["mulsupcon", "macl"]])
    gaps = pd.DataFrame({"difference": [0.1, 0.2, 0.3, 0.4], "low": 0.05, "high": 0.5},
                        index.set_names(["metric", "loss"]))  # fmt: skip
    (ax,) = plots.pairs_of(gaps, pd.DataFrame({"m": [1.5], "n": [2.5]}, ["macl"])).axes
    means = [container[0].get_ydata().tolist() for container in ax.containers]
    assert np.allclose(means, [[10, 30], [20, 40]])
    (crosses,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert crosses.get_ydata().tolist() == [1.5, 2.5]
    assert np.allclose(crosses.get_xdata(), ax.containers[1][0].get_xdata())
