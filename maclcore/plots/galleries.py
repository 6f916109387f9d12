"""Photographs: samples of an archive, what is found for a query, the way through a network."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from maclcore.plots.style import label, picture


def image_grid(
    images: np.ndarray, titles: Sequence[str], *, columns: int = 6, size: float = 1.6
) -> Figure:
    """Images (N, 3, H, W), uint8 or float in [0, 1], each under its title."""
    rows = -(-len(images) // columns)
    above = max(0.45, *(0.11 * (title.count("\n") + 1) for title in titles))
    fig, axes = plt.subplots(rows, columns, figsize=(size * columns, (size + above) * rows))
    for ax in np.ravel(axes):
        ax.axis("off")
    for ax, image, title in zip(np.ravel(axes), images, titles, strict=False):
        ax.imshow(picture(image), interpolation="nearest")
        ax.set_title(title, fontsize=7)
    return fig


def gallery(
    queries: Sequence[int],
    ranked: Mapping[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    label_names: Sequence[str],
) -> Figure:
    """Queries and their ranked results, a row a query and method.

    queries: indices into images (N, 3, H, W) and labels (N, L); ranked: for each method the
    indices (len(queries), K). Under each result: ✓ shared labels, − the query's labels that it
    lacks, + labels that the query lacks; its frame is green from Jaccard 0.8, blue from 0.4.
    """
    rows = [(q, method, ranked[method][i]) for i, q in enumerate(queries) for method in ranked]
    captions = [
        ["\n".join(_names(labels[q], label_names))]
        + [_marks(labels[q], labels[found], label_names) for found in results]
        for q, _, results in rows
    ]
    heights = [1.8 + 0.15 * max(text.count("\n") + 1 for text in line) for line in captions]
    heights[-1] += 0.25  # of which the stamp takes a part
    fig, axes = plt.subplots(
        len(rows), len(captions[0]), squeeze=False, figsize=(1.72 * len(captions[0]), sum(heights))
    )
    fig.get_layout_engine().set(h_pad=0.07)  # between captions and the row below
    for line, texts, (query, method, results) in zip(axes, captions, rows, strict=True):
        _show(line[0], images[query], texts[0], "black")
        line[0].set_ylabel(label(method), fontsize=10)
        line[0].set_title("query", fontsize=9)
        for rank, (ax, found) in enumerate(zip(line[1:], results, strict=True), 1):
            both, either = labels[query] & labels[found], labels[query] | labels[found]
            jaccard = both.sum() / max(either.sum(), 1)
            frame = "#117733" if jaccard >= 0.8 else "#0072b2" if jaccard >= 0.4 else "#cc3311"
            _show(ax, images[found], texts[rank], frame)
            ax.set_title(f"{rank} · J = {jaccard:.2f}", fontsize=9)
    return fig


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
    like, unlike: an image (3, H, W) each, by what is written below it; framed blue and red.
    """
    asked = [(text, image, "#0072b2", "like") for text, image in like.items()]
    asked += [(text, image, "#cc3311", "unlike") for text, image in unlike.items()]
    answers = [
        ("\n".join([row.name, *row.labels]), image, "0.8", f"{rank} · {row.cosine:.3f}")
        for rank, (row, image) in enumerate(zip(found.itertuples(), images, strict=True), 1)
    ]
    lines = [
        part[i : i + columns] for part in (asked, answers) for i in range(0, len(part), columns)
    ]
    heights = [1.9 + 0.15 * max(text.count("\n") for text, *_ in line) for line in lines]
    fig, axes = plt.subplots(
        *(len(lines), columns), squeeze=False, height_ratios=heights,
        figsize=(1.72 * columns, sum(heights) + 0.25),
    )  # fmt: skip
    for ax in axes.flat:
        ax.set_axis_off()
    for row, line in zip(axes, lines, strict=True):
        for ax, (text, image, frame, title) in zip(row, line, strict=False):
            ax.set_axis_on()
            _show(ax, image, text, frame)
            ax.set_title(title, fontsize=9)
    return fig


def _marks(wanted: np.ndarray, has: np.ndarray, label_names: Sequence[str]) -> str:
    kinds = {"✓": wanted & has, "−": wanted & ~has, "+": has & ~wanted}
    return "\n".join(f"{mark} {n}" for mark, on in kinds.items() for n in _names(on, label_names))


def _show(ax: plt.Axes, image: np.ndarray, text: str, frame: str) -> None:
    ax.imshow(picture(image), interpolation="bilinear")
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel(text, fontsize=8, loc="left", linespacing=1.1)
    for spine in ax.spines.values():
        spine.set(visible=True, color=frame, linewidth=2.5)


def _names(on: np.ndarray, names: Sequence[str]) -> list[str]:
    return [name for name, flag in zip(names, on, strict=True) if flag]


def pipeline(pictures: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> Figure:
    """Training above, retrieval below, through the one encoder between them.

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

    fig, ax = plt.subplots(figsize=(10.4, 4.3))
    ax.set(xlim=(0, 10.4), ylim=(0.1, 4.3), aspect="equal")
    ax.axis("off")
    for name, (x, y) in corners.items():
        for left, image in zip((x, x + 0.68, x + 1.36), pictures[name], strict=False):
            ax.imshow(picture(image), extent=(left, left + 0.62, y, y + 0.62), zorder=2)
        ax.annotate(notes[name], (x, y + 0.68), fontsize=8.5, va="bottom")
    for name, (x, y, width, height) in boxes.items():
        style = {"boxstyle": "round,pad=0.04", "fc": faces.get(name, "0.95"), "ec": "0.5"}
        ax.add_patch(FancyBboxPatch((x, y), width, height, **style))
        middle = (x + width / 2, y + height / 2)
        ax.annotate(notes[name], middle, fontsize=8.5, ha="center", va="center")
    for start, end in steps:
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.3"})
    red = "#cc3311"
    ax.plot([8.85, 8.85, 3.1, 3.1], [3.6, 4.0, 4.0, 3.8], "--", color=red, lw=1.2)
    ax.plot(3.1, 3.8, "v", color=red, ms=6)
    ax.annotate("gradient, in training only", (6, 4.04), color=red, fontsize=8.5, ha="center")
    return fig
