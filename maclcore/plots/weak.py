"""What learning from one label does to a probability, when it begins, and how far it gets."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from maclcore.losses import LOSSES, WEAK_LOSSES
from maclcore.plots.style import GREY, label, legend


def gradients(curves: Mapping[str, pd.DataFrame], fixed: Mapping[str, Sequence[float]]) -> Figure:
    """Gradients over p, a panel a title, a line a column, whose names are values of t.

    fixed: of each panel the p at which the lines cross 0, marked by dots; 0 or less has none.
    """
    fig, axes = plt.subplots(1, len(curves), figsize=(8.4, 3), sharey=True, squeeze=False)
    for ax, (title, table) in zip(axes.flat, curves.items(), strict=True):
        ax.axhline(0, color=GREY, lw=1)
        shades = sns.color_palette("viridis", table.shape[1])
        for t, point, shade in zip(table, fixed[title], shades, strict=True):
            ax.plot(table.index, table[t], color=shade, label=f"t = {t:g}")
            if 0 < point < 1:
                ax.plot(point, 0, "o", color=shade, ms=6)
        ax.set(title=title, xlabel="p")
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylabel("gradient")
    legend(fig, "right center")
    return fig


def mark(fig: Figure, epoch: float, words: str) -> Figure:
    """A dotted line in all panels at an epoch, named in the first."""
    for ax in fig.axes:
        ax.axvline(epoch, color="black", ls=":", lw=1.2)
    ax = fig.axes[0]
    ax.annotate(
        words, (epoch, 1), xycoords=("data", "axes fraction"), xytext=(3, -3),
        textcoords="offset points", va="top", fontsize=9,
    )  # fmt: skip
    return fig


def dots_by_archive(
    tables: Mapping[str, pd.DataFrame],
    xlabel: str,
    *,
    lines: Mapping[str, Mapping[str, float]] | None = None,
    marked: Mapping[str, str] | None = None,
    digits: int = 1,
) -> Figure:
    """A panel an archive, a row a method: a dot, its interval and its number.

    xlabel: the unit; "points" are differences, with a sign and a line at 0.
    tables: by archive's title the methods, first on top, with columns `value`, `low` and `high`;
        NaN for no interval. All have the same rows, or lack some.
    lines: by title values that frame the dots, such as a ceiling, named above.
    marked: methods that are not grey, with their colours.
    """
    rows = list(dict.fromkeys(name for table in tables.values() for name in table.index))
    fig, axes = plt.subplots(
        1, len(tables), figsize=(8.4, 0.27 * len(rows) + 1), sharey=True, squeeze=False
    )
    marked, lines = marked or {}, lines or {}
    known = [label(name) if name in (*LOSSES, *WEAK_LOSSES) else name for name in rows]
    for ax, (title, table) in zip(axes.flat, tables.items(), strict=True):
        for name, row in table.iterrows():
            y, shade = rows.index(name), marked.get(name, GREY)
            ax.plot([row["low"], row["high"]], [y, y], color=shade, lw=2)
            ax.plot(row["value"], y, "o", color=shade, ms=6)
            sign, colour = "+" if xlabel == "points" else "", "black" if name in marked else GREY
            text = f" {row['value']:{sign}.{digits}f}".replace("-", "−")
            ax.annotate(text, (1, y), xycoords=("axes fraction", "data"), va="center", fontsize=9,
                        color=colour)  # fmt: skip
        if xlabel == "points":
            ax.axvline(0, color=GREY, ls=":", lw=1)
        for name, x in lines.get(title, {}).items():
            ax.axvline(x, color="black", ls="--", lw=1)
            ax.annotate(name, (x, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                        textcoords="offset points", ha="center", fontsize=9)  # fmt: skip
        ax.set_title(title, pad=16 if lines else 6)
        ax.set_xlabel(xlabel)
        ax.grid(axis="y", alpha=0.3)
    axes[0, 0].set_yticks(range(len(rows)), known)
    axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    return fig


def rise_and_fall(histories: Mapping[str, pd.DataFrame], columns: Mapping[str, str]) -> Figure:
    """Columns of the histories over epochs, a row a column, a panel a history of its own scale;
    where a history has a `trigger`, a dotted line after that epoch."""
    shape = len(columns), len(histories)
    fig, axes = plt.subplots(*shape, figsize=(8.4, 1.9 * shape[0] + 0.4), squeeze=False)
    for i, (column, title) in enumerate(columns.items()):
        for ax, (name, history) in zip(axes[i], histories.items(), strict=True):
            ax.plot(history["epoch"], history[column], color="black")
            best = np.argmin if column.endswith("an") else np.argmax
            at = best(history[column].to_numpy())
            ax.plot(history["epoch"].iloc[at], history[column].iloc[at], "o", color="black", ms=4)
            if history["trigger"].iloc[-1] > 0:
                ax.axvline(history["trigger"].iloc[-1], color="#D55E00", ls=":", lw=1.5)
            ax.set(title=name if i == 0 else "", xlabel="epoch" if i == shape[0] - 1 else "")
            ax.grid(alpha=0.3)
        axes[i, 0].set_ylabel(title)
    return fig
