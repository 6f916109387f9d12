"""One loss against all others: what it gains on the best of them, and the front of its parts."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from maclcore.plots.ends import spread
from maclcore.plots.results import OTHERS, ink
from maclcore.plots.style import GREY, colour, key, label

BEHIND = "#b2182b"  #: of what is worse than the best of the others


def against_best(parts: Mapping[str, pd.DataFrame], loss: str, xlabel: str = "points") -> Figure:
    """Points by which a loss differs from the best rival of each row, which stands at its right,
    with intervals; a line of panels a part, a panel an archive.

    parts: by their words rows (archive, row) of `rival`, `difference`, `low`, `high`, fractions.
        Filled where the interval lies above zero, red where below.
    """
    archives = list(dict.fromkeys(a for part in parts.values() for a in part.index.unique(0)))
    heights = [max(len(part.loc[a]) for a in part.index.unique(0)) for part in parts.values()]
    fig, axes = plt.subplots(
        len(parts), len(archives), figsize=(8.4, 0.27 * sum(heights) + 0.55 * len(parts) + 0.5),
        sharex="col", squeeze=False, height_ratios=heights,
    )  # fmt: skip
    for ax, archive in zip(axes[0], archives, strict=True):
        ax.set_title(archive)
    for line, (words, part) in zip(axes, parts.items(), strict=True):
        rows = list(dict.fromkeys(part.index.get_level_values(1)))
        for ax, archive in zip(line, archives, strict=True):
            found = part.loc[archive] if archive in part.index.unique(0) else part.iloc[:0]
            _gains(ax, found, rows, colour(loss))
            ax.tick_params(labelleft=ax is line[0])
        line[0].set_ylabel(words)
    fig.supxlabel(xlabel, fontsize=10)
    dot = {"color": ink(colour(loss)), "ls": "", "marker": "o"}
    styles = {"above the best rival": dot, "interval holds zero": {**dot, "mfc": "white"}}
    if any((part["high"] < 0).any() for part in parts.values()):
        styles["below"] = {**dot, "color": BEHIND}
    key(fig, styles)
    return fig


def _gains(ax: plt.Axes, found: pd.DataFrame, rows: Sequence[str], shade: str) -> None:
    ax.axvline(0, color=GREY, lw=1)
    for name, row in found.iterrows():
        y = rows.index(name)
        ends = 100 * row[["low", "high"]].astype(float)
        drawn = BEHIND if row["high"] < 0 else ink(shade)
        face = "white" if row["low"] <= 0 <= row["high"] else drawn
        ax.plot(ends, [y, y], color=drawn, lw=1.5)
        ax.plot(100 * row["difference"], y, "o", color=drawn, mfc=face, ms=5)
        ax.annotate(
            label(row["rival"]), (1.02, y), xycoords=("axes fraction", "data"), va="center",
            fontsize=8.5, color=GREY, annotation_clip=False,
        )  # fmt: skip
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", alpha=0.2)


def front(
    curves: pd.DataFrame, dots: pd.DataFrame, own: pd.DataFrame, loss: str,
    axes: tuple[str, str], titles: Mapping[str, str],
) -> Figure:  # fmt: skip
    """A loss as a curve over the shares of its parts between two metrics, and others as dots; a
    panel an archive.

    curves: rows (archive, shares) in percent, in the order of the curve. dots: rows (archive,
        loss). own: of an archive the loss as it was trained, a diamond. All have the two metrics of
        `axes`, x and y. titles: of archives, else their names.
    """
    archives = curves.index.unique(0)
    fig, panels = plt.subplots(1, len(archives), figsize=(8.4, 4.2), squeeze=False)
    x, y = axes
    for ax, archive in zip(panels.flat, archives, strict=True):
        line = curves.loc[archive]
        ax.plot(line[x], line[y], "o-", color=ink(colour(loss)), ms=5, lw=2, zorder=3)
        for end, by in ((line.iloc[0], (6, -2)), (line.iloc[-1], (0, 7))):  # strictest: above
            ax.annotate(
                str(end.name).replace(", ", "\n"), (end[x], end[y]), by,
                textcoords="offset points", va="top" if by[0] else "bottom",
                ha="left" if by[0] else "right", fontsize=8.5, color=ink(colour(loss)),
            )  # fmt: skip
        if archive in own.index:
            ax.plot(*own.loc[archive, [x, y]], "D", color=ink(colour(loss)), mfc="white", zorder=4)
        if len(dots) and archive in dots.index.unique(0):
            _dots(ax, dots.loc[archive], line, axes)
        low, high = ax.get_ylim()
        ax.set_ylim(top=high + 0.22 * (high - low))  # room for the name above
        ax.set(title=titles.get(archive, archive), xlabel=f"{x}, %")
    panels[0, 0].set_ylabel(f"{y}, %")
    return fig


def _dots(ax: plt.Axes, dots: pd.DataFrame, line: pd.DataFrame, axes: tuple[str, str]) -> None:
    """The others, those near the curve by name; what is far below it is cut off."""
    x, y = axes
    lowest = {metric: line[metric].min() for metric in axes}
    reach = {metric: max(2 * np.ptp(line[metric]), 4.0) for metric in axes}
    near = dots[np.logical_and.reduce([dots[m] > lowest[m] - reach[m] for m in axes])]
    ax.plot(near[x], near[y], "o", color=OTHERS, ms=5)
    near = near.sort_values(y)
    tall = np.ptp([*near[y], *line[y]])
    heights = spread(list(near[y]), 0.045 * tall)
    for (name, row), height in zip(near.iterrows(), heights, strict=True):
        left = row[y] >= lowest[y]  # beside the curve, away from it
        ax.annotate(label(str(name)), (row[x], height), (-5 if left else 5, 0),
                    textcoords="offset points", va="center", ha="right" if left else "left",
                    fontsize=8.5, color=GREY)  # fmt: skip
