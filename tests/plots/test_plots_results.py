"""Every number of a table is drawn where it belongs."""

import numpy as np
import pandas as pd

from maclcore import plots
from maclcore.evaluation.retrieval import METRICS


def dots(ax, marker="o"):
    return [line for line in ax.lines if line.get_marker() == marker]


def test_every_run_is_as_far_from_chance_to_oracle_as_it_is(runs):
    other = runs[runs["loss"].isin(["chance", "macl", "mulsupcon", "oracle"])].assign(seed=1)
    published = pd.DataFrame({m: [10.0, 90.0] for m in METRICS}, index=["macl", "oml"])
    order = ["mulsupcon", "macl", "oml"]
    fig = plots.archive_panels({"A": (runs, published), "B": (other, None)}, order, "oml")
    axes = np.array(fig.axes).reshape(2, len(METRICS))
    assert [line[0].get_ylabel() for line in axes] == ["A", "B"]
    assert [t.get_text() for t in axes[1, 0].get_yticklabels()] == ["MulSupCon", "MACL", "OML"]
    means = runs.set_index("loss")[list(METRICS)]
    low, high = means.loc["chance"], means.loc["oracle"]
    for ax, metric in zip(axes[0], METRICS, strict=True):
        for dot, method in zip(dots(ax), order, strict=True):
            way = (means.loc[method, metric] - low[metric]) / (high[metric] - low[metric])
            assert np.allclose(dot.get_xdata(), way) and dot.get_ydata() == [order.index(method)]
        crosses = [line.get_xdata()[0] for line in dots(ax, "x")]
        wanted = (np.array([0.1, 0.9]) - low[metric]) / (high[metric] - low[metric])
        assert np.allclose(crosses, wanted)
    assert dots(axes[0, 0])[2].get_color() == plots.colour("oml")
    assert not [line for ax in axes[1] for line in dots(ax, "x")]


def test_panels_are_shaded_where_published_values_are_at_chance(runs):
    means = runs.set_index("loss")[list(METRICS)]
    near = pd.DataFrame([100 * means.loc["chance"]] * 2, index=["macl", "oml"])
    for published, shaded in (
        (near, 7),
        (near + 100 * (means.loc["oracle"] - means.loc["chance"]), 0),
    ):
        fig = plots.archive_panels({"A": (runs, published)}, ["macl", "oml"], "oml")
        assert sum(bool(ax.patches) for ax in fig.axes) == shaded
        assert ("published ≈ chance" in [t.get_text() for ax in fig.axes for t in ax.texts]) == (
            shaded > 0
        )


def gaps_of(name, values, metrics=("m", "n")):
    index = pd.MultiIndex.from_product([["A", "B"], values, ["macl", "oml"]])
    numbers = np.arange(len(index)) / 100
    table = {"difference": numbers, "low": numbers - 0.05, "high": numbers + 0.1}
    return pd.DataFrame(table, index.set_names(["archive", name, "loss"]))


def test_differences_stand_in_the_panel_of_their_archive_by_metric():
    gaps = gaps_of("metric", ["m", "n"])
    fig = plots.differences_by_archive(gaps, ["oml", "mulsupcon", "macl"], "oml", ("m", "n"))
    for ax, archive in zip(fig.axes, "AB", strict=True):
        assert ax.get_title() == archive
        for metric, marker in zip("mn", "os", strict=True):
            for dot, method in zip(dots(ax, marker), ["oml", "macl"], strict=True):
                assert dot.get_xdata() == 100 * gaps.loc[(archive, metric, method), "difference"]
        bars = [line.get_xdata() for line in ax.lines if line.get_lw() == 1.5]
        assert np.allclose(bars[0], 100 * gaps.loc[(archive, "m", "oml"), ["low", "high"]])
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["OML", "MACL"]


def test_slopes_over_label_groups_are_those_of_the_table():
    gaps = gaps_of("group", ["rare", "medium", "frequent"])
    fig = plots.group_slopes(gaps, "oml", "m")
    for ax, archive in zip(fig.axes, "AB", strict=True):
        lines = {line.get_color(): line for line in dots(ax)}
        for method in ("macl", "oml"):
            wanted = 100 * gaps.loc[archive].xs(method, level="loss")["difference"]
            assert np.allclose(lines[plots.colour(method)].get_ydata(), wanted)
    names = {text.get_text().strip() for text in fig.axes[-1].texts}
    assert names == {"MulSupCon", "MACL", "OML"}


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
    fig = plots.critical_difference(ranks, 1.0, [(1.2, 2.0), (2.0, 2.8)], "lbase")
    (ax,) = fig.axes
    for method, rank in ranks.items():
        (leg,) = [
            line for line in ax.lines if line.get_xdata()[0] == rank and len(line.get_xdata()) == 3
        ]
        assert leg.get_ydata()[0] == 0 and leg.get_color() == plots.emphasis(method, "lbase")
        name = f" {plots.label(method)} ({rank:.1f}) "
        (text,) = [text for text in ax.texts if text.get_text() == name]
        assert text.xy == (leg.get_xdata()[-1], leg.get_ydata()[-1])
    bars = [line for line in ax.lines if line.get_lw() == 4]
    for bar, (first, last) in zip(bars, [(1.2, 2.0), (2.0, 2.8)], strict=True):
        low, high = bar.get_xdata()
        assert low < first < last < high and high - low < last - first + 0.1


def test_folded_tables_are_there_on_a_click_and_as_text():
    table = plots.table(pd.DataFrame({"x": [1.5]}, ["macl"]), "of `smoke`")
    folded = plots.folded("all numbers", table)
    html = folded._repr_html_()
    assert html.startswith("<details><summary>all numbers</summary><table") and "1.5" in html
    assert repr(folded) == f"all numbers\n\n{table!r}"


def test_the_two_values_of_each_query_and_the_names_of_some():
    x, y = pd.Series([0.2, 0.9], name="mulsupcon"), pd.Series([0.1, 1.0], name="macl")
    (ax,) = plots.query_scatter(x, y, "nDCG@100", {"rare": 1}).axes
    assert ax.lines[1].get_xydata().tolist() == [[20, 10], [90, 100]]
    assert ax.lines[2].get_xydata().tolist() == [[90, 100]]
    assert ax.get_xlabel() == "nDCG@100 of MulSupCon, %" and ax.texts[0].get_text() == "rare"
