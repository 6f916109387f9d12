"""Photographs: samples of an archive, what is found for a query, the way through a network."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from maclcore.plots.style import label, picture


def image_grid(
    images: np.ndarray,
    titles: Sequence[str],
    *,
    columns: int = 6,
    size: float = 1.6,
    fontsize: float = 7,
) -> Figure:
    """Images (N, 3, H, W), uint8 or float in [0, 1], each under its title."""
    rows = -(-len(images) // columns)
    line = 0.11 * fontsize / 7
    above = max(0.45, *(line * (title.count("\n") + 1) for title in titles))
    fig, axes = plt.subplots(rows, columns, figsize=(size * columns, (size + above) * rows))
    for ax in np.ravel(axes):
        ax.axis("off")
    for ax, image, title in zip(np.ravel(axes), images, titles, strict=False):
        ax.imshow(picture(image), interpolation="nearest")
        ax.set_title(title, fontsize=fontsize)
    return fig


def image_table(
    images: Sequence[Sequence[np.ndarray]], rows: Sequence[str], heads: Sequence[Sequence[str]]
) -> Figure:
    """Images (3, H, W), uint8 or float in [0, 1], in rows with a name at the left of each.

    heads: of each row the titles of its columns, which are drawn where they differ from those of
    the row above.
    """
    count, wide = len(images), max(map(len, images))
    new = [i == 0 or heads[i] != heads[i - 1] for i in range(count)]
    side = 7.9 / wide
    fig, axes = plt.subplots(
        count, wide, squeeze=False, figsize=(8.4, side * count + 0.3 * sum(new) + 0.2)
    )
    for line, row, name, titles, first in zip(axes, images, rows, heads, new, strict=True):
        for ax, image, title in zip(line, row, titles, strict=True):
            ax.imshow(picture(image), interpolation="bilinear")
            ax.set(xticks=[], yticks=[])
            ax.set_title(title if first else "", fontsize=9)
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=9)
    return fig


def gallery(
    queries: Sequence[int],
    ranked: Mapping[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    label_names: Sequence[str],
) -> Figure:
    """Queries, each once, and their ranked results, a row a method.

    queries: indices into images (N, 3, H, W) and labels (N, L); ranked: for each method the
    indices (len(queries), K). Under each result: ✓ shared labels, − the query's labels that it
    lacks, + labels that the query lacks; above it its Jaccard index, of which its frame has the
    colour (`frame`).
    """
    count = next(iter(ranked.values())).shape[1]
    side = 8.4 / (count + 1.25)
    fold = int(12.5 * side)  # characters that fit below a picture
    rows = [(i, q, method) for i, q in enumerate(queries) for method in ranked]
    texts = [[_marks(labels[q], labels[j], label_names, fold) for j in ranked[method][i]]
             for i, q, method in rows]  # fmt: skip
    heights = [side + 0.3 + 0.15 * max(text.count("\n") + 1 for text in line) for line in texts]
    fig, axes = plt.subplots(
        len(rows), count + 2, squeeze=False, figsize=(8.4, sum(heights) + 0.25),
        height_ratios=heights, width_ratios=[1, 0.25, *[1] * count],
    )  # fmt: skip
    fig.get_layout_engine().set(h_pad=0.01, w_pad=0.01)
    for line, marks, (i, query, method) in zip(axes, texts, rows, strict=True):
        if method == next(iter(ranked)):
            own = "\n".join(_names(labels[query], label_names))
            _show(line[0], images[query], own, "black")
            line[0].set_title("query", fontsize=9)
        else:
            line[0].axis("off")
        line[1].axis("off")
        line[1].text(0.5, 0.5, label(method), rotation=90, ha="center", va="center", fontsize=10)
        for ax, found, text in zip(line[2:], ranked[method][i], marks, strict=True):
            both, either = labels[query] & labels[found], labels[query] | labels[found]
            jaccard = both.sum() / max(either.sum(), 1)
            _show(ax, images[found], text, frame(jaccard))
            ax.set_title(f"J = {jaccard:.2f}", fontsize=9)
    return fig


def frame(jaccard: float) -> str:
    """Blue from 0.8, light blue from 0.4, else orange, which the colour-blind tell apart, too."""
    return "#0072b2" if jaccard >= 0.8 else "#8cc5e3" if jaccard >= 0.4 else "#d55e00"


def contact_sheet(
    found: pd.DataFrame,
    images: np.ndarray,
    like: Mapping[str, np.ndarray],
    unlike: Mapping[str, np.ndarray],
    *,
    columns: int = 6,
) -> Figure:
    """What a search has found, best first, below the examples and counter-examples of its query.

    found: a row an image, with columns name, cosine and labels (a list), of images (K, 3, H, W);
    like, unlike: an image (3, H, W) each, by what is written below it; framed blue and orange.
    """
    asked = [(text, image, "#0072b2", "like") for text, image in like.items()]
    asked += [(text, image, "#d55e00", "unlike") for text, image in unlike.items()]
    side = 8.4 / columns
    fold = int(12.5 * side)
    answers = [
        ("\n".join([row.name, *textwrap.wrap(", ".join(row.labels), fold)]), image, "0.8",
         f"{rank} · {row.cosine:.3f}".replace("-", "−"))
        for rank, (row, image) in enumerate(zip(found.itertuples(), images, strict=True), 1)
    ]  # fmt: skip
    lines = [
        part[i : i + columns] for part in (asked, answers) for i in range(0, len(part), columns)
    ]
    heights = [side + 0.45 + 0.15 * max(text.count("\n") for text, *_ in line) for line in lines]
    fig, axes = plt.subplots(
        *(len(lines), columns), squeeze=False, height_ratios=heights,
        figsize=(8.4, sum(heights) + 0.25),
    )  # fmt: skip
    for ax in axes.flat:
        ax.set_axis_off()
    for row, line in zip(axes, lines, strict=True):
        for ax, (text, image, edge, title) in zip(row, line, strict=False):
            ax.set_axis_on()
            _show(ax, image, text, edge)
            ax.set_title(title, fontsize=9)
    return fig


def _marks(wanted: np.ndarray, has: np.ndarray, label_names: Sequence[str], fold: int) -> str:
    kinds = {"✓": wanted & has, "−": wanted & ~has, "+": has & ~wanted}
    lines = (
        f"{mark} {', '.join(_names(on, label_names))}" for mark, on in kinds.items() if on.any()
    )
    return "\n".join(textwrap.fill(line, fold, subsequent_indent="   ") for line in lines)


def _show(ax: plt.Axes, image: np.ndarray, text: str, edge: str) -> None:
    ax.imshow(picture(image), interpolation="bilinear")
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel(text, fontsize=9, loc="left", linespacing=1.1)
    for spine in ax.spines.values():
        spine.set(visible=True, color=edge, linewidth=2.5)


def _names(on: np.ndarray, names: Sequence[str]) -> list[str]:
    return [name for name, flag in zip(names, on, strict=True) if flag]


def pipeline(
    pictures: Mapping[str, np.ndarray], notes: Mapping[str, str], trained: str = "backbone"
) -> Figure:
    """Training above, retrieval below, through the one encoder between them.

    The gradient goes back to `trained`: the backbone, and the head on its way, or the head alone.

    pictures: images (n, 3, H, W) of a `batch`, of the `archive`, of a `query` and those `found`,
    at most three each; notes: what is written at these, and in the boxes `backbone`, `head`,
    `embeddings`, `labels`, `terms`, `loss` and `ranking`.
    """
    train, search = 3.2, 1.0  # heights of the two lanes
    corners = {
        "batch": (0.1, 2.9), "query": (0.1, 1.15), "archive": (0.1, 0.25), "found": (8.2, 0.7),
    }  # fmt: skip
    boxes = {
        "backbone": (2.5, 0.4, 1.2, 3.3), "head": (4.05, 0.4, 1.2, 3.3),
        "embeddings": (5.6, 2.85, 1.25, 0.7), "loss": (8.2, 2.85, 1.3, 0.7),
        "labels": (5.6, 1.95, 1.25, 0.55), "terms": (8.2, 1.95, 1.3, 0.55),
        "ranking": (5.6, 0.55, 1.65, 0.9),
    }  # fmt: skip
    faces = {"backbone": "#dde8f2", "head": "#dde8f2", "loss": "#f6e7d8", "terms": "#f6e7d8"}
    steps = [((x, y), (x + 0.3, y)) for x in (2.15, 3.72, 5.27) for y in (train, search)]
    steps += [((6.9, train), (8.15, train)), ((6.9, 2.22), (8.15, 2.22))]
    steps += [((8.85, 2.55), (8.85, 2.8)), ((7.3, search), (8.1, search))]

    fig, ax = plt.subplots(figsize=(8.4, 3.6))
    ax.set(xlim=(0, 10.4), ylim=(0.1, 4.4), aspect="equal")
    ax.axis("off")
    for name, (x, y) in corners.items():
        for left, image in zip((x, x + 0.68, x + 1.36), pictures[name], strict=False):
            ax.imshow(picture(image), extent=(left, left + 0.62, y, y + 0.62), zorder=2)
        ax.annotate(notes[name], (x, y + 0.68), fontsize=9, va="bottom")
    for name, (x, y, width, height) in boxes.items():
        style = {"boxstyle": "round,pad=0.04", "fc": faces.get(name, "0.95"), "ec": "0.5"}
        ax.add_patch(FancyBboxPatch((x, y), width, height, **style))
        middle = (x + width / 2, y + height / 2)
        ax.annotate(notes[name], middle, fontsize=9, ha="center", va="center")
    for start, end in steps:
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.3"})
    back = 3.1 if trained == "backbone" else 4.65
    ax.plot([8.85, 8.85, back, back], [3.6, 4.0, 4.0, 3.8], "--", color="#d55e00", lw=1.2)
    ax.plot(back, 3.8, "v", color="#d55e00", ms=6)
    note = "gradient, in training only"
    ax.annotate(note, (6.6, 4.05), color="#d55e00", fontsize=9, ha="center", va="bottom")
    return fig
