"""What methods reach: between the reference rows, against one another, label by label."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from maclcore.evaluation.relevance import HARD
from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import LOSSES
from maclcore.plots.ends import name_ends
from maclcore.plots.style import GREY, REFERENCE_STYLE, colour, key, label, name_rows
from maclcore.plots.table import Table

CHANCE = "#fde3c8"  #: behind what lies at the level of chance
OTHERS = "#a3a3a3"  #: of methods that a figure is not about


def archive_panels(
    archives: Mapping[str, tuple[pd.DataFrame, pd.DataFrame | None]],
    order: Sequence[str],
    leader: str,
) -> Figure:
    """How far from chance to oracle each loss is, a row of panels an archive, a panel a metric.

    archives: by title rows of `collect()`, a point a run, and the published values (methods ×
    METRICS, in percent), crosses, or None. order: the losses, the first on top; all are grey but
    MACL, MulSupCon and the `leader`. Where three quarters of the crosses of a panel lie within a
    tenth of the way from chance, the panel says so.
    """
    fig, axes = plt.subplots(
        len(archives), len(METRICS), figsize=(8.4, len(archives) * (0.17 * len(order) + 0.3) + 0.8),
        sharex="col", sharey="row", squeeze=False,
    )  # fmt: skip
    for line, (title, content) in zip(axes, archives.items(), strict=True):
        for ax, metric in zip(line, METRICS, strict=True):
            _panel(ax, metric, order, leader, *content)
        line[0].set_ylabel(title)
        _named(line[0], order, leader)
    for ax in axes.flat:
        ax.tick_params(axis="y", length=0)
    for ax, metric in zip(axes[0], METRICS, strict=True):
        ax.set_title(metric.replace("@", "\n@"), fontsize=9)
    for ax in axes[-1]:
        ax.set_xticks([0, 1], ["chance", "\noracle"])  # in two lines: they are near
    dot = {"color": GREY, "ls": ""}
    styles = {"a run of ours": {**dot, "marker": "o", "ms": 4}}
    if any(paper is not None for _, paper in archives.values()):
        styles["published"] = {**dot, "color": "black", "marker": "x", "ms": 4}
        styles["most published ≈ chance"] = {"color": CHANCE, "lw": 8}
    if any("frozen" in set(runs["loss"]) for runs, _ in archives.values()):
        styles["before training"] = {"color": GREY, "ls": REFERENCE_STYLE["frozen"]}
    key(fig, styles)
    return fig


def _panel(
    ax: plt.Axes, metric: str, order: Sequence[str], leader: str, runs: pd.DataFrame,
    paper: pd.DataFrame | None,
) -> None:  # fmt: skip
    means = runs.groupby("loss")[metric].mean()
    low, high = means["chance"], means["oracle"]
    ax.axvline(0, color=GREY, ls=REFERENCE_STYLE["chance"], lw=1)
    ax.axvline(1, color=GREY, ls=REFERENCE_STYLE["oracle"], lw=1)
    if "frozen" in means:
        ax.axvline(
            (means["frozen"] - low) / (high - low), color=GREY, ls=REFERENCE_STYLE["frozen"], lw=1
        )
    crosses = []
    for y, method in enumerate(order):
        way = (runs.loc[runs["loss"] == method, metric] - low) / (high - low)
        shade = emphasis(method, leader)
        ax.plot(way, [y] * len(way), "o", color=shade, ms=4, alpha=0.8, mec="none")
        if paper is not None and method in paper.index:
            crosses.append((paper.loc[method, metric] / 100 - low) / (high - low))
            ax.plot(crosses[-1], y, "x", color="black", ms=4, mew=0.8)
    if crosses and np.mean(np.abs(crosses) < 0.1) > 0.75:
        ax.axvspan(-0.1, 0.1, color=CHANCE, lw=0, zorder=0)
        if metric == HARD[0]:  # where there is room
            ax.text(0.22, len(order) / 2 - 1, "published ≈ chance", fontsize=9, rotation=90,
                    ha="center", va="center")  # fmt: skip
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, -0.15, *(cross - 0.1 for cross in crosses)), max(right, 1.12))
    ax.grid(axis="y", alpha=0.2)


def ink(colour: str) -> tuple[float, ...]:
    """A colour for letters on white: darker where it is light."""
    rgb = np.array(to_rgb(colour))
    return tuple(rgb * min(1.0, 0.45 / float(rgb @ [0.3, 0.6, 0.1] + 1e-9)))


def emphasis(method: str, leader: str) -> str:
    """The method's colour if a reader is to see it, MACL, MulSupCon and the leader; else grey."""
    return colour(method) if method in ("macl", "mulsupcon", leader) else OTHERS


def _named(ax: plt.Axes, order: Sequence[str], leader: str) -> None:
    name_rows(ax, order)
    for text, method in zip(ax.get_yticklabels(), order, strict=True):
        if emphasis(method, leader) != OTHERS:
            text.set(color=ink(colour(method)), fontweight="bold")


def differences_by_archive(
    gaps: pd.DataFrame, order: Sequence[str], leader: str, metrics: Sequence[str]
) -> Figure:
    """Points by which losses differ from MulSupCon with intervals, a panel an archive, of rows
    (archive, metric, loss) of `statistics.compare`; a marker for each of two metrics."""
    archives = gaps.index.unique("archive")
    order = [method for method in order if method != "mulsupcon"]
    fig, axes = plt.subplots(
        1, len(archives), figsize=(8.4, 0.27 * len(order) + 1.2), sharey=True, squeeze=False
    )
    for ax, archive in zip(axes.flat, archives, strict=True):
        ax.axvline(0, color=colour("mulsupcon"), lw=1)
        for y, method in enumerate(order):
            for metric, marker, aside in zip(metrics, "os", (-0.15, 0.15), strict=True):
                row = 100 * gaps.loc[(archive, metric, method), ["low", "difference", "high"]]
                shade = emphasis(method, leader)
                ax.plot(row[["low", "high"]], [y + aside] * 2, color=shade, lw=1.5)
                face = shade if marker == "o" else "white"
                ax.plot(row["difference"], y + aside, marker, color=shade, mfc=face, ms=5)
        ax.set(title=archive, xlabel="points from MulSupCon, better →")
        ax.grid(axis="y", alpha=0.2)
    _named(axes[0, 0], order, leader)
    dot = {"color": GREY, "ls": ""}
    faces = ({"marker": "o"}, {"marker": "s", "mfc": "white"})
    key(fig, {metric: {**dot, **face} for metric, face in zip(metrics, faces, strict=True)})
    return fig


def group_slopes(gaps: pd.DataFrame, leader: str, metric: str) -> Figure:
    """Points by which losses differ from MulSupCon on rare, medium and frequent labels, a line a
    loss and a panel an archive, of rows (archive, group, loss) of `statistics.compare`; MACL and
    the leader with intervals."""
    archives = gaps.index.unique("archive")
    fig, axes = plt.subplots(1, len(archives), figsize=(8.4, 3.6), sharey=True, squeeze=False)
    for ax, archive in zip(axes.flat, archives, strict=True):
        part = 100 * gaps.loc[archive, ["difference", "low", "high"]]
        ax.axhline(0, color=colour("mulsupcon"), lw=1.5)
        for method in part.index.unique("loss"):
            line = part.xs(method, level="loss")
            shade = emphasis(method, leader)
            front = shade != OTHERS
            ax.plot(line.index, line["difference"], "o-", color=shade, ms=4, lw=2 if front else 1,
                    zorder=2 + front)  # fmt: skip
            if front:
                ends = abs(line[["low", "high"]].T.to_numpy() - line["difference"].to_numpy())
                ax.errorbar(line.index, line["difference"], ends, color=shade, lw=1.2, zorder=3)
        ax.set(title=archive, xlabel="labels", xlim=(-0.25, 2.25))
    axes[0, 0].set_ylabel(f"{metric}, points from MulSupCon")
    last = part["difference"].xs(part.index.unique("group")[-1], level="group")
    ends = {label(m): (last.get(m, 0.0), ink(colour(m))) for m in ("mulsupcon", "macl", leader)}
    name_ends(axes[0, -1], 2.25, ends, 0.07 * np.ptp(axes[0, -1].get_ylim()))
    return fig


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
    mean_ranks: pd.Series, difference: float, cliques: Sequence[tuple[float, float]], leader: str
) -> Figure:
    """Mean ranks of methods, best on the left; bars join those that `statistics.cliques` finds
    alike (Demšar 2006). All are grey but MACL, MulSupCon and the leader."""
    mean_ranks = mean_ranks.sort_values()
    k, half, top = len(mean_ranks), -(-len(mean_ranks) // 2), 0.45 * len(cliques) + 0.9
    fig, ax = plt.subplots(figsize=(8.4, 0.22 * (half + top) + 0.7))
    ax.plot([1, k], [0, 0], color="black", lw=1)
    for tick in range(1, k + 1):
        ax.plot([tick, tick], [0, 0.2], color="black", lw=1)
        ax.annotate(f"{tick}", (tick, 0.3), ha="center", va="bottom", fontsize=9)
    ax.plot([1, 1 + difference], [1.8, 1.8], color=GREY, lw=3)
    text = f" critical difference {difference:.2f}"
    ax.annotate(text, (1 + difference, 1.8), va="center", fontsize=9, color=GREY)
    edge = 0.03 * k
    for i, (method, rank) in enumerate(mean_ranks.items()):
        left = i < half
        depth, end = top + (i if left else k - 1 - i), 1 - edge if left else k + edge
        shade = emphasis(str(method), leader)
        front = shade != OTHERS
        ax.plot([rank, rank, end], [0, -depth, -depth], color=shade, lw=2 if front else 1)
        ax.annotate(f" {label(str(method))} ({rank:.1f}) ", (end, -depth), va="center", fontsize=9,
                    ha="right" if left else "left", color=ink(shade) if front else "0.3",
                    fontweight="bold" if front else "normal")  # fmt: skip
    for level, (first, last) in enumerate(cliques, 1):
        ax.plot([first - 0.01 * k, last + 0.01 * k], [-0.45 * level] * 2, color="black", lw=4)
    ax.axis("off")
    ax.set(xlim=(1 - 0.28 * k, k + 0.28 * k), ylim=(-top - half, 2.6))
    return fig


def folded(summary: str, *tables: Table) -> Table:
    """Tables that a page shows on a click, under a line that says what they are."""
    inner = "".join(table._repr_html_() for table in tables)
    html = f"<details><summary>{summary}</summary>{inner}</details>"
    return Table(html, "\n\n".join([summary, *map(repr, tables)]))


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
