"""Every number of a table is drawn where it belongs."""

import numpy as np
import pandas as pd

from maclcore import plots
from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import LOSSES


def dots(ax, marker="o"):
    return [line for line in ax.lines if line.get_marker() == marker]


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


def test_the_two_values_of_each_query_and_the_names_of_some():
    x, y = pd.Series([0.2, 0.9], name="mulsupcon"), pd.Series([0.1, 1.0], name="macl")
    (ax,) = plots.query_scatter(x, y, "nDCG@100", {"rare": 1}).axes
    assert ax.lines[1].get_xydata().tolist() == [[20, 10], [90, 100]]
    assert ax.lines[2].get_xydata().tolist() == [[90, 100]]
    assert ax.get_xlabel() == "nDCG@100 of MulSupCon, %" and ax.texts[0].get_text() == "rare"
