"""Curves over epochs or steps."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from maclcore.losses import COLOURS, WEAK_COLOURS
from maclcore.plots.ends import name_ends
from maclcore.plots.style import GREY, REFERENCE_STYLE, colour, label, legend

TOLD = ("mulsupcon", "macl")  #: the losses that `learning_curves` tells from the others


def lines(table: pd.DataFrame, ylabel: str, *, steps: bool = False) -> Figure:
    """The columns of a table over its index; the names of index and columns label the figure.
    `steps`: a value holds until the next."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    style = "steps-post" if steps else "default"
    for column, shade in zip(table, sns.color_palette("viridis", table.shape[1]), strict=True):
        ax.plot(table.index, table[column], color=shade, label=column, drawstyle=style)
    ax.set(xlabel=table.index.name, ylabel=ylabel)
    ax.grid(alpha=0.3)
    ax.legend(title=table.columns.name, title_fontsize=9)
    return fig


def learning_curves(
    histories: pd.DataFrame, columns: Mapping[str, str], references: pd.DataFrame
) -> Figure:
    """Columns of histories over epochs, a row of panels each; a column of panels an archive.

    histories: columns `title` (the archive's), `loss`, `seed`, `epoch` and those of `columns`, with
    their names. Each seed of `TOLD` is a thin line; other losses are grey, the mean over seeds.
    references: indexed by title, a column a reference row (`chance`, `frozen`), levels in the units
    of the first of `columns`.
    """
    titles = list(dict.fromkeys(histories["title"]))
    size = (8.4, 1.9 * len(columns) + 0.4)
    fig, axes = plt.subplots(
        len(columns), len(titles), figsize=size, sharex=True, sharey="row", squeeze=False
    )
    for line, (column, name) in zip(axes, columns.items(), strict=True):
        for ax, title in zip(line, titles, strict=True):
            part = histories[histories["title"] == title]
            ends = _curves(ax, part, column)
            if column == next(iter(columns)):
                ax.set_title(title)
                for row, level in references.loc[title].items():
                    ax.axhline(level, color="0.35", ls=REFERENCE_STYLE[row], lw=1)
                    ends[label(row)] = level, "0.35"
        line[0].set_ylabel(name)
        low, high = ax.get_ylim()
        name_ends(ax, part["epoch"].max(), ends, 0.11 * (high - low))
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    return fig


def _curves(ax: plt.Axes, part: pd.DataFrame, column: str) -> dict[str, tuple[float, str]]:
    """Draws one archive's; where the lines end, and in which colour, by name."""
    means = part.pivot_table(index="epoch", columns="loss", values=column, sort=False)
    others = means.drop(columns=[name for name in TOLD if name in means])
    ax.plot(others.index, others, color="0.8", lw=1, zorder=1)
    for (method, _), run in part[part["loss"].isin(TOLD)].groupby(["loss", "seed"]):
        ax.plot(run["epoch"], run[column], color=colour(method), lw=1.1)
    last = means.iloc[-1]
    ends = {label(name): (last[name], colour(name)) for name in TOLD if name in last}
    if others.shape[1]:
        ends["other losses"] = last[others.columns].median(), GREY
    return ends


def training_curves(histories: Mapping[str, pd.DataFrame], columns: Mapping[str, str]) -> Figure:
    """Columns of the histories over epochs, one panel a column, one line a method, or a variant of
    one, which has no colour of its own."""
    variants = [name for name in histories if name not in COLOURS | WEAK_COLOURS]
    shades = dict(zip(variants, sns.color_palette("viridis", len(variants)), strict=True))
    fig, axes = plt.subplots(1, len(columns), figsize=(3.4 * len(columns), 3), squeeze=False)
    for ax, (column, title) in zip(axes.flat, columns.items(), strict=True):
        for method, history in histories.items():
            shade = shades.get(method) or colour(method)
            ax.plot(history["epoch"], history[column], color=shade, label=label(method))
        ax.set(xlabel="epoch", ylabel=title)
        ax.xaxis.get_major_locator().set_params(integer=True)
    legend(fig, "right center")
    return fig
