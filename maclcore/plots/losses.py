"""What a loss does to points, and what its terms are for an anchor of a batch."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from maclcore.plots.style import GREY, colour, label, picture


def forces(z: np.ndarray, pulls: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Points z (N, 2) on the unit circle and the way each loss moves them (−gradient, tangent)."""
    columns = 5
    rows = -(-len(pulls) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(2.3 * columns, 2.3 * rows), squeeze=False)
    circle = np.linspace(0, 2 * np.pi, 200)
    for ax in axes.flat[len(pulls) :]:
        ax.axis("off")
    for ax, (method, pull) in zip(axes.flat, pulls.items(), strict=False):
        ax.plot(np.cos(circle), np.sin(circle), color="0.85", lw=1)
        ax.plot(*z.T, "o", color="black", ms=4)
        scale = 0.9 / max(np.linalg.norm(pull, axis=1).max(), 1e-12)
        ax.quiver(
            *z.T, *(pull * scale).T, angles="xy", scale_units="xy", scale=1, width=0.016,
            headwidth=3.5, headlength=4, headaxislength=3.5, minlength=0.2, color=colour(method),
        )  # fmt: skip
        for point, name in zip(z, names, strict=True):
            ax.annotate(name, point * 0.75, ha="center", va="center", fontsize=11)
        ax.set(xlim=(-1.4, 1.4), ylim=(-1.2, 1.4), aspect="equal")
        ax.set_title(label(method))
        ax.axis("off")
    return fig


def positive_sets(
    y: np.ndarray, label_names: Sequence[str], images: np.ndarray, values: pd.DataFrame
) -> Figure:
    """Label sets of an anchor, on top, and of other images of its batch: a circle a label, filled
    where the image has it, coloured where the anchor has it too.

    y (1 + C, L) and images (1 + C, 3, H, W), the anchor first; values: numbers to print beside the
    C others, the index names their rows. An image that shares no label has a dotted outline.
    """
    rows, width = y.shape
    wide = width + 2.6 * values.shape[1] + 2
    fig, ax = plt.subplots(figsize=(0.3 * wide + 0.7, 0.3 * rows + 1.2))
    shade = sns.color_palette("colorblind", int(y[0].sum()))
    colours = dict(zip(np.flatnonzero(y[0]), shade, strict=True))
    for row, (labels, image) in enumerate(zip(y, images, strict=True)):
        at = row + 0.4 * (row > 0)  # the anchor stands apart
        ax.imshow(picture(image), extent=(-1.65, -0.7, at + 0.475, at - 0.475))
        for column, on in enumerate(labels):
            face, edge = (colours.get(column, "0.45"), "none") if on else ("none", "0.75")
            ax.plot(column, at, "o", mfc=face, mec=edge, ms=11)
        if not (labels & y[0]).any():
            box = plt.Rectangle((-1.8, at - 0.5), width + 1.4, 1, fill=False, ls=":", ec="black")
            ax.add_patch(box)
        for column, value in enumerate(values.iloc[row - 1] if row else values):
            text = f"{value:.3f}" if row else value
            ax.annotate(text, (width + 2.6 * column + 1, at), ha="center", va="center")
    ax.set_xticks(range(width), label_names, rotation=90)
    ax.set_yticks([0, *(np.arange(1, rows) + 0.4)], ["anchor", *values.index])
    ax.set(xlim=(-1.9, wide - 1.9), ylim=(rows, -0.6), aspect="equal")
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for column, tick in enumerate(ax.get_xticklabels()):
        tick.set_color(colours.get(column, GREY))
    ax.spines[:].set_visible(False)
    return fig


def label_terms(terms: Mapping[str, np.ndarray], J: np.ndarray, carriers: pd.DataFrame) -> Figure:
    """Terms (N,) of an anchor with the N images of its batch, a row each; a column each of its
    labels, a bar each image that carries it, in order and colour of the Jaccard index J (N,).

    carriers: (N, labels of the anchor) bool, the anchor's own row False.
    """
    size = (2.2 * carriers.shape[1] + 1.6, 1.5 * len(terms) + 0.8)
    fig, axes = plt.subplots(
        len(terms), carriers.shape[1], figsize=size, sharey="row", squeeze=False
    )
    scale = plt.cm.ScalarMappable(plt.Normalize(0, 1), "viridis")
    for line, (name, values) in zip(axes, terms.items(), strict=True):
        for ax, on in zip(line, carriers.to_numpy().T, strict=True):
            some = np.flatnonzero(on)
            some = some[np.lexsort((-values[some], -J[some]))]
            ax.bar(np.arange(len(some)), values[some], 1, color=scale.to_rgba(J[some]), lw=0)
            ax.set(xticks=[], xlim=(-0.5, max(len(some), 8) - 0.5))
        line[0].set_ylabel(name)
    for column, (label_name, on) in enumerate(carriers.items()):
        axes[0, column].set_title(label_name)
        axes[-1, column].set_xlabel(f"{on.sum()} positives, 1/{on.sum()} each")
    fig.colorbar(scale, ax=axes, label="Jaccard index with the anchor", aspect=30)
    return fig
