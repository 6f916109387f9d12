"""Curves over epochs or steps."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from maclcore.losses import COLOURS, WEAK_COLOURS
from maclcore.plots.style import colour, label, legend


def lines(table: pd.DataFrame, ylabel: str) -> Figure:
    """The columns of a table over its index; the names of index and columns label the figure."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    for column, shade in zip(table, sns.color_palette("viridis", table.shape[1]), strict=True):
        ax.plot(table.index, table[column], color=shade, label=column)
    ax.set(xlabel=table.index.name, ylabel=ylabel)
    ax.grid(alpha=0.3)
    ax.legend(title=table.columns.name)
    return fig


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
