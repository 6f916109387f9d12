"""What methods reach: between the reference rows, against one another, label by label."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import LOSSES
from maclcore.plots.style import GREY, REFERENCE_STYLE, colour, key, label, legend, name_rows


def chance_to_oracle(
    chance: Mapping[str, float], oracle: Mapping[str, float], paper: pd.DataFrame | None = None
) -> Figure:
    """The range open to a method on each metric, in [0, 1], and the published rows, in percent."""
    fig, ax = plt.subplots(figsize=(7, 3.4))
    for y, metric in enumerate(METRICS):
        low, high = 100 * chance[metric], 100 * oracle[metric]
        ax.plot([low, high], [y, y], color="0.85", lw=9, solid_capstyle="butt", zorder=0)
        ax.text(103, y, f"chance {low:.1f}", va="center", fontsize=8, color=GREY)
        for method in () if paper is None else paper.index:
            ax.plot(paper.loc[method, metric], y, "|", color="black", ms=13, alpha=0.7)
    ax.set(xlabel="%", xlim=(0, 101), yticks=range(len(METRICS)), yticklabels=METRICS)
    ax.invert_yaxis()
    return fig


def metric_panels(
    runs: pd.DataFrame, paper: pd.DataFrame | None = None, intervals: pd.DataFrame | None = None
) -> Figure:
    """The seven metrics of rows of `collect()`: a point a run, framed by the reference rows;
    crosses are the published values (methods × METRICS, in percent), bars `intervals` of the mean
    (rows of `statistics.summary`)."""
    return archive_panels({"": (runs, paper, intervals)})


def archive_panels(
    archives: Mapping[str, tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame | None]],
) -> Figure:
    """`metric_panels` of several archives, by title, one below the other."""
    order = [[m for m in LOSSES if m in set(runs["loss"])] for runs, *_ in archives.values()]
    count = [len(methods) for methods in order]
    fig, axes = plt.subplots(
        len(order), len(METRICS), figsize=(1.9 * len(METRICS), sum(0.32 * n + 1 for n in count)),
        sharey="row", squeeze=False, height_ratios=[n + 0.5 for n in count],
    )  # fmt: skip
    for line, methods, (title, content) in zip(axes, order, archives.items(), strict=True):
        for ax, metric in zip(line, METRICS, strict=True):
            _panel(ax, metric, methods, *content)
        line[0].set_ylabel(title)
        name_rows(line[0], methods)
    for ax, metric in zip(axes[0], METRICS, strict=True):
        ax.set_title(metric)
    for ax in axes[-1]:
        ax.set_xlabel("%")
    styles = {name: {"color": GREY, "ls": line} for name, line in REFERENCE_STYLE.items()}
    styles["ours, a point a run"] = {"color": "black", "ls": "", "marker": "o", "ms": 5}
    if any(intervals is not None for *_, intervals in archives.values()):
        styles["95 % interval of the mean"] = {"color": "black", "lw": 4, "alpha": 0.35}
    if any(paper is not None for _, paper, _ in archives.values()):
        styles["published"] = {"color": "black", "ls": "", "marker": "x", "ms": 5}
    key(fig, styles)
    return fig


def _panel(
    ax: plt.Axes, metric: str, methods: Sequence[str], runs: pd.DataFrame,
    paper: pd.DataFrame | None, intervals: pd.DataFrame | None,
) -> None:  # fmt: skip
    for reference in [name for name in REFERENCE_STYLE if name in set(runs["loss"])]:
        values = 100 * runs.loc[runs["loss"] == reference, metric]
        ax.axvspan(values.min(), values.max(), color=GREY, alpha=0.25, lw=0)  # each seed its split
        ax.axvline(values.mean(), color=GREY, ls=REFERENCE_STYLE[reference], lw=1)
    for y, method in enumerate(methods):
        values = 100 * runs.loc[runs["loss"] == method, metric]
        ax.plot(values, [y] * len(values), "o", color=colour(method), ms=5, alpha=0.8)
        ax.plot(values.mean(), y, "|", color=colour(method), ms=14)
        if intervals is not None:
            ends = 100 * intervals.loc[(metric, method), ["low", "high"]]
            ax.plot(ends, [y, y], color=colour(method), lw=4, alpha=0.35)
        if paper is not None and method in paper.index:
            ax.plot(paper.loc[method, metric], y, "x", color="black", ms=5)
    ax.grid(axis="y", alpha=0.3)


def differences(comparison: pd.DataFrame, reference: str, alpha: float = 0.05) -> Figure:
    """Points by which methods differ from `reference`, with intervals, from the rows of
    `statistics.compare`; filled where Holm's p is below `alpha`."""
    metrics, found = (comparison.index.unique(level) for level in ("metric", "loss"))
    order = [*REFERENCE_STYLE, *LOSSES, *found]
    methods = sorted(found, key=order.index)
    fig, axes = plt.subplots(
        1, len(metrics), figsize=(1.9 * len(metrics), 0.32 * len(methods) + 1.3), sharey=True,
        squeeze=False,
    )  # fmt: skip
    for ax, metric in zip(axes.flat, metrics, strict=True):
        ax.axvline(0, color=GREY, lw=1)
        for y, method in enumerate(methods):
            row = comparison.loc[(metric, method)]
            shade = colour(method)
            ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=shade, lw=2)
            face = shade if row["holm"] < alpha else "white"
            ax.plot(100 * row["difference"], y, "o", color=shade, mfc=face, ms=6)
        ax.set(title=metric, xlabel="points")
        ax.grid(axis="y", alpha=0.3)
    name_rows(axes[0, 0], methods)
    dot = {"color": "black", "ls": "", "marker": "o"}
    unlike = f"differs from {label(reference)}, Holm's p < {alpha:g}"
    key(fig, {unlike: {**dot, "mfc": "black"}, "does not": {**dot, "mfc": "white"}})
    return fig


def critical_difference(
    mean_ranks: pd.Series, difference: float, cliques: Sequence[tuple[float, float]]
) -> Figure:
    """Mean ranks of methods, best on the left; bars join those that `statistics.cliques` finds
    alike (Demšar 2006)."""
    mean_ranks = mean_ranks.sort_values()
    k, half, top = len(mean_ranks), -(-len(mean_ranks) // 2), 0.45 * len(cliques) + 0.9
    fig, ax = plt.subplots(figsize=(8, 0.3 * (half + top) + 0.9))
    ax.plot([1, k], [0, 0], color="black", lw=1)
    for tick in range(1, k + 1):
        ax.plot([tick, tick], [0, 0.2], color="black", lw=1)
        ax.annotate(f"{tick}", (tick, 0.3), ha="center", va="bottom", fontsize=9)
    ax.plot([1, 1 + difference], [1.6, 1.6], color=GREY, lw=3)
    text = f"critical difference {difference:.2f}"
    ax.annotate(text, (1, 1.8), va="bottom", fontsize=9, color=GREY)
    edge = 0.03 * k
    for i, (method, rank) in enumerate(mean_ranks.items()):
        left = i < half
        depth, end = top + (i if left else k - 1 - i), 1 - edge if left else k + edge
        ax.plot([rank, rank, end], [0, -depth, -depth], color=colour(method), lw=1.5)
        ax.annotate(f" {label(method)} ({rank:.1f}) ", (end, -depth), va="center",
                    ha="right" if left else "left")  # fmt: skip
    for level, (first, last) in enumerate(cliques, 1):
        ax.plot([first - 0.01 * k, last + 0.01 * k], [-0.45 * level] * 2, color="black", lw=4)
    ax.axis("off")
    ax.set(xlim=(1 - 0.3 * k, k + 0.3 * k), ylim=(-top - half, 3))
    return fig


def label_bars(table: pd.DataFrame, counts: pd.Series, groups: pd.Series, metric: str) -> Figure:
    """A metric of each label (rows), in [0, 1], for methods and reference rows (columns), the
    labels in order of their training images `counts`, and parted where their group changes."""
    order = counts.sort_values(kind="stable").index
    methods = [m for m in table if m in LOSSES]
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(9, 0.3 * len(order) * max(1, 0.4 * len(methods)) + 1.2), sharey=True,
        width_ratios=(1, 3),
    )  # fmt: skip
    y = np.arange(len(order))
    left.plot(counts[order], y, "o", color="black", ms=5)
    left.set(xscale="log", xlabel="training images", yticks=y, yticklabels=order)
    left.grid(axis="x", alpha=0.3)
    height = 0.8 / len(methods)
    for i, method in enumerate(methods):
        right.barh(y + (i - (len(methods) - 1) / 2) * height, 100 * table.loc[order, method],
                   height, color=colour(method), label=label(method))  # fmt: skip
    for reference in [name for name in REFERENCE_STYLE if name in table]:
        right.vlines(100 * table.loc[order, reference], y - 0.45, y + 0.45, color="black",
                     ls=REFERENCE_STYLE[reference], lw=1.3, label=reference)  # fmt: skip
    for ax in (left, right):
        for edge in np.flatnonzero(groups[order].to_numpy()[1:] != groups[order].to_numpy()[:-1]):
            ax.axhline(edge + 0.5, color=GREY, lw=0.8)
    for group, where in pd.Series(y, index=order).groupby(groups, observed=True):
        right.annotate(f" {group}", (1, where.mean()), xycoords=("axes fraction", "data"),
                       va="center", fontsize=9, color=GREY, rotation=270)  # fmt: skip
    right.set(xlabel=f"{metric} in %", ylim=(-0.6, len(order) - 0.4))
    legend(fig, "upper center")
    return fig


def precision_recall(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Precision over recall of each method and reference row (`breakdown.precision_recall`), a
    panel for each least Jaccard index of a relevant item."""
    thresholds = next(iter(curves.values())).columns
    fig, axes = plt.subplots(1, len(thresholds), figsize=(3 * len(thresholds), 3), sharey=True)
    for ax, threshold in zip(axes, thresholds, strict=True):
        for method, table in curves.items():
            style = {"color": colour(method), "ls": REFERENCE_STYLE.get(method, "-")}
            ax.plot(100 * table.index, 100 * table[threshold], label=label(method), **style)
        relevant = f"J ≥ {threshold:g}" if threshold else "J > 0"
        ax.set(title=f"relevant: {relevant}", xlabel="recall in %", xlim=(0, 100), ylim=(0, 102))
    axes[0].set_ylabel("precision in %")
    legend(fig, "right center")
    return fig


def query_scatter(x: pd.Series, y: pd.Series, metric: str, marked: Mapping[str, int]) -> Figure:
    """One point a query: a metric in percent under two methods, which name the series.

    marked: names of single queries, by position.
    """
    fig, ax = plt.subplots(figsize=(5.4, 5))
    ax.plot([0, 100], [0, 100], color=GREY, lw=1)
    ax.plot(100 * x, 100 * y, "o", color=GREY, ms=4, alpha=0.5, mec="none")
    for name, i in marked.items():
        point = (100 * x.iloc[i], 100 * y.iloc[i])
        above = point[1] > point[0]  # away from the diagonal, where most points are
        ax.plot(*point, "o", mfc="none", mec="black", ms=9)
        ax.annotate(
            name, point, xytext=(-8, 6) if above else (8, -6), textcoords="offset points",
            fontsize=9, ha="right" if above else "left", va="bottom" if above else "top",
        )  # fmt: skip
    ax.set(xlabel=f"{metric} of {label(x.name)}, %", ylabel=f"{metric} of {label(y.name)}, %")
    ax.set_aspect("equal")
    ax.text(3, 97, f"{label(y.name)} better", color=GREY, va="top", fontsize=9)
    ax.text(97, 3, f"{label(x.name)} better", color=GREY, ha="right", fontsize=9)
    return fig
