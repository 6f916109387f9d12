"""Curves and surfaces over settings hold the given numbers."""

import numpy as np
import pandas as pd
import pytest

from maclcore import plots


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
