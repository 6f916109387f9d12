"""Labels of an archive: how many images have them, and which come together."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from maclcore.plots.style import legend


def label_counts(table: pd.DataFrame) -> Figure:
    """Images per label on a logarithmic axis; rows are labels, columns archives or sources."""
    table = table.sort_values(table.columns[0])
    fig, ax = plt.subplots(figsize=(7, max(0.28 * len(table), 1) + 1))
    markers = "os^Dv"
    for i, column in enumerate(table):
        ax.plot(table[column], table.index, markers[i % 5], label=column, alpha=0.8, ms=6 - i)
    ax.set(xscale="log", xlabel="images with the label")
    ax.grid(axis="x", alpha=0.3)
    ax.legend()
    return fig


def cooccurrence(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """P(column | row) in percent from a co-occurrence matrix (L, L)."""
    share = 100 * counts / np.maximum(np.diag(counts), 1)[:, None]
    return _label_matrix(share, names, "label", "P(column | row) in %", vmin=0, vmax=100)


def confusion(shares: np.ndarray, names: Sequence[str]) -> Figure:
    """Labels that the first results bring along, in points over chance (`breakdown.confusion`)."""
    extent = max(100 * np.nanmax(np.abs(shares)), 1)
    return _label_matrix(
        100 * shares, names, "label of the results", "points beyond chance", cmap="PuOr",
        vmin=-extent, vmax=extent,
    )  # fmt: skip


def _label_matrix(values: np.ndarray, names: Sequence[str], xlabel: str, unit: str, **style):
    fig, ax = plt.subplots(figsize=(0.36 * len(names) + 2, 0.3 * len(names) + 1.5))
    shown = np.round(values) + 0.0  # no "-0"
    sns.heatmap(
        values, ax=ax, xticklabels=names, yticklabels=names, annot=shown, fmt=".0f",
        annot_kws={"size": 7}, cbar_kws={"label": unit}, **{"cmap": "viridis", **style},
    )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel="given label")
    return fig


def set_sizes(sizes: Mapping[str, Sequence[int]]) -> Figure:
    """Share of images by number of labels, one line an archive."""
    fig, ax = plt.subplots(figsize=(6, 3))
    for name, values in sizes.items():
        share = np.bincount(np.asarray(values)) / len(values) * 100
        ax.plot(np.arange(len(share)), share, "o-", label=name, ms=4)
    ax.set(xlabel="labels of an image", ylabel="images in %")
    ax.legend()
    return fig


def set_frequencies(counts: np.ndarray) -> Figure:
    """Images of each distinct label set (S,), commonest first, on logarithmic axes."""
    fig, ax = plt.subplots(figsize=(6, 3))
    ax.plot(np.arange(1, len(counts) + 1), np.sort(counts)[::-1], ".", ms=4)
    ax.set(xscale="log", yscale="log", xlabel="rank of the label set", ylabel="images with the set")
    ax.grid(alpha=0.3)
    return fig


def similarities(maps: Mapping[str, pd.DataFrame]) -> Figure:
    """How alike some label sets are, 0 to 1: a panel a measure, its numbers in the cells."""
    side = max(len(table) for table in maps.values())
    fig, axes = plt.subplots(
        1, len(maps), figsize=((0.5 * side + 1) * len(maps), 0.42 * side + 1), squeeze=False
    )
    for ax, (name, table) in zip(axes[0], maps.items(), strict=True):
        sns.heatmap(
            table, ax=ax, annot=True, fmt=".2f", annot_kws={"size": 8}, cbar=False, vmin=0, vmax=1,
            cmap="viridis", square=True,
        )  # fmt: skip
        ax.set(title=name, xlabel="", ylabel="")
        ax.tick_params(axis="y", rotation=0)
    return fig


def cumulative(shares: Mapping[str, pd.Series], xlabel: str, ylabel: str) -> Figure:
    """Of each series, shares by value, how much lies at a value or below, in percent."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    for name, share in shares.items():
        total = 100 * share.sort_index().cumsum()
        ax.step([0, *total.index], [0, *total], where="post", label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(0, 101))
    ax.grid(alpha=0.3)
    legend(fig, "right center")
    return fig
