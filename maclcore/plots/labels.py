"""Labels of an archive: how many images have them, and which come together."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from maclcore.plots.style import legend

BARS = "#b8c4ce"
SERIES = ("#0072b2", "#b8c4ce", "#d55e00")


def label_panels(counts: pd.DataFrame, images: Mapping[str, int]) -> Figure:
    """Of how many of its `images` an archive (a column) has each label (a row): a panel each.

    Bars are shares, numbers counts; NaN, a label that the archive does not know, has neither.
    """
    fig, axes = plt.subplots(
        1, counts.shape[1], figsize=(8.4, 0.26 * len(counts) + 0.9), sharey=True, squeeze=False
    )
    for ax, (archive, column) in zip(axes[0], counts.items(), strict=True):
        share = 100 * column / images[archive]
        ax.barh(counts.index, share, color=BARS, height=0.75)
        for y, (value, width) in enumerate(zip(column, share, strict=True)):
            if not np.isnan(value):
                ax.annotate(f" {value:,.0f}", (width, y), va="center", fontsize=9)
        ax.set(xlim=(0, 118), xticks=[0, 50, 100], xlabel="% of the images")
        ax.set_title(f"{archive}, {images[archive]:,} images", loc="left")
        ax.tick_params(axis="y", length=0)
    axes[0, 0].set_ylim(len(counts) - 0.4, -0.6)
    return fig


def cooccurrence(counts: np.ndarray, names: Sequence[str], images: int) -> Figure:
    """P(column | row) in percent from a co-occurrence matrix (L, L), blank where that is 0.

    The first row is the share of all `images` with each label; the colour of the others is how far
    they are from it, in points. Labels that go together stand together.
    """
    single = np.diag(counts)
    overall, given = 100 * single / images, 100 * counts / np.maximum(single, 1)[:, None]
    order = _together(given - overall)
    given, overall, names = given[order][:, order], overall[order], [names[i] for i in order]
    shown = np.vstack([overall, given])
    points = np.vstack([np.full(len(names), np.nan), given - overall])
    points[1:][np.eye(len(names), dtype=bool)] = np.nan
    text = np.where(shown > 0, np.char.mod("%.0f", shown), "")
    fig, ax = plt.subplots(figsize=(8.4, 0.3 * len(names) + 1.9))
    sns.heatmap(
        points, ax=ax, xticklabels=names, yticklabels=["all images", *names], cmap="PuOr",
        vmin=-100, vmax=100,
        cbar_kws={"label": "points above the share of all images", "aspect": 40},
    )  # fmt: skip
    for row, line in enumerate(text):
        for column, word in enumerate(line):
            dark = abs(np.nan_to_num(points[row, column])) > 60
            ax.text(
                column + 0.5, row + 0.5, word, ha="center", va="center", fontsize=9,
                color="white" if dark else "black",
            )  # fmt: skip
    ax.axhline(1, color="black", lw=1)
    ax.set(xlabel="… carries this label", ylabel="an image with this label …")
    ax.tick_params(length=0)
    return fig


def _together(surprise: np.ndarray) -> np.ndarray:
    """An order of labels (L,) in which those of like rows and columns (L, L) are neighbours."""
    alike = (surprise + surprise.T) / 2
    np.fill_diagonal(alike, 0)
    if len(alike) < 3:
        return np.arange(len(alike))
    return leaves_list(linkage(pdist(alike), "average", optimal_ordering=True))


def set_sizes(
    sizes: Mapping[str, Sequence[int]],
    partners: Mapping[str, float] | None = None,
    batch: int = 128,
) -> Figure:
    """Share of images by number of labels, bars side by side for archives.

    partners: beside it, how many of the other images in a `batch` are partners of one image, by
    what makes a partner: so many of its squares are filled.
    """
    beside = partners or {}
    fig, axes = plt.subplots(
        1, 1 + len(beside), figsize=(8.4, 3), squeeze=False,
        width_ratios=[1.6, *[1] * len(beside)],
    )  # fmt: skip
    ax, width = axes[0, 0], 0.8 / len(sizes)
    for i, (name, values) in enumerate(sizes.items()):
        share = 100 * np.bincount(np.asarray(values)) / len(values)
        ax.bar(np.arange(len(share)) + i * width, share, width, color=SERIES[i % 3], label=name)
    ax.set(xlabel="labels of an image", ylabel="% of the images", xlim=(0.4, None))
    if len(sizes) > 1:
        ax.legend()
    for ax, (name, number) in zip(axes[0, 1:], beside.items(), strict=True):
        _squares(ax, number, batch - 1)
        ax.set_title(f"{name}: {number:.{int(number < 10)}f} of {batch - 1}")
    return fig


def _squares(ax: plt.Axes, number: float, of: int, columns: int = 16) -> None:
    """`of` squares in rows, the first `number` of them filled, the last of these in part."""
    for i in range(of):
        left, top = i % columns, i // columns
        ax.add_patch(Rectangle((left, top), 0.8, 0.8, fc="0.9"))
        full = min(max(number - i, 0), 1)
        ax.add_patch(Rectangle((left, top), 0.8 * full, 0.8, fc=SERIES[0]))
    ax.set(xlim=(0, columns), ylim=(-(-of // columns), 0), aspect="equal")
    ax.axis("off")


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
