"""From one label an image to retrieval: the way, what was completed, and what it was worth."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from maclcore.plots.style import GREY, colour, key, picture

#: what a label of a completed image is: its mark, its colour, its weight of type
KINDS = {
    "named": ("●", "black", "bold"),
    "new, right": ("✓", "#117733", "normal"),
    "new, wrong": ("✗", "#cc3311", "normal"),
    "missed": ("○", GREY, "normal"),
}
MARKERS = {"AN": "o", "EPR": "s", "GC": "D"}


def label_chain(steps: Mapping[str, str], image: np.ndarray) -> Figure:
    """Boxes from left to right, arrows between them: of each its title and its text; the image
    (3, H, W) stands in the first."""
    fig, ax = plt.subplots(figsize=(8.4, 2.1))
    ax.set(xlim=(0, 10.4), ylim=(0, 2.3))
    ax.axis("off")
    width = 10.4 / len(steps)
    for i, (title, text) in enumerate(steps.items()):
        left = i * width
        style = {"boxstyle": "round,pad=0.04", "fc": "#dde8f2" if i % 2 else "0.96", "ec": "0.5"}
        ax.add_patch(FancyBboxPatch((left + 0.1, 0.15), width - 0.45, 2, **style))
        ax.text(left + 0.2, 2.05, title, fontsize=9.5, weight="bold", va="top")
        ax.text(left + 0.17, 1.72 if i else 0.75, text, fontsize=9, va="top")
        if i:
            arrow = {"arrowstyle": "-|>", "color": "0.3"}
            ax.annotate("", (left + 0.06, 1.15), (left - 0.31, 1.15), arrowprops=arrow)
    ax.imshow(picture(image), extent=(0.2, 1.2, 0.8, 1.8), zorder=2, aspect="auto")
    return fig


def completed_labels(
    images: np.ndarray,
    truth: np.ndarray,
    observed: np.ndarray,
    completed: Mapping[str, np.ndarray],
    label_names: Sequence[str],
) -> Figure:
    """Images (n, 3, H, W), and below each what every completion made of its labels, told apart by
    mark, colour and weight; label tables are (n, L) bool."""
    kinds = {
        name: [
            [(label, kind) for kind, on in _kinds(*row).items() for label in _on(on, label_names)]
            for row in zip(truth, observed, table, strict=True)
        ]
        for name, table in completed.items()
    }
    lines = {name: max(map(len, rows)) for name, rows in kinds.items()}
    heights = [1.7, *(0.2 * count + 0.25 for count in lines.values())]
    fig, axes = plt.subplots(
        len(heights), len(images), figsize=(8.4, sum(heights) + 0.5),
        height_ratios=heights, squeeze=False,
    )  # fmt: skip
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], xlim=(0, 1))
        ax.spines[:].set_visible(False)
    for ax, image in zip(axes[0], images, strict=True):
        ax.imshow(picture(image), interpolation="nearest", extent=(0, 1, 0, 1))
    for line, (name, rows) in zip(axes[1:], kinds.items(), strict=True):
        line[0].set_ylabel(name, fontsize=10, weight="bold")
        for ax, row in zip(line, rows, strict=True):
            ax.set_ylim(lines[name], -0.3)
            for y, (label, kind) in enumerate(row):
                mark, shade, weight = KINDS[kind]
                ax.text(0.02, y, f"{mark} {label}", color=shade, weight=weight, fontsize=9,
                        va="top")  # fmt: skip
    marks = {
        f"{mark} {kind}": {"color": shade, "ls": ""} for kind, (mark, shade, _) in KINDS.items()
    }
    legend = fig.legend(
        [plt.Line2D([], [], ls="") for _ in marks], list(marks), loc="outside upper center",
        ncols=len(marks), handlelength=0, handletextpad=0,
    )  # fmt: skip
    for text, (_, shade, weight) in zip(legend.get_texts(), KINDS.values(), strict=True):
        text.set(color=shade, weight=weight)
    return fig


def shares_of_gap(shares: Mapping[str, pd.DataFrame], metrics: Sequence[str]) -> Figure:
    """Share of the way from one label to complete labels that each completion has closed, with
    intervals, a row of panels an archive (by title), a panel a metric.

    Each table has rows (retrieval, metric, loss), `loss` being the completion, and the columns of
    `statistics.share_of_gap`. 0 is the one label, 1 the complete labels.
    """
    losses = [list(table.index.unique(0)) for table in shares.values()]
    fig, axes = plt.subplots(
        len(shares), len(metrics), squeeze=False, sharey="row", sharex=True,
        figsize=(8.4, sum(0.55 * len(names) + 0.55 for names in losses) + 0.4),
    )  # fmt: skip
    tables = zip(axes, losses, shares.items(), strict=True)
    for line, names, (title, table) in tables:
        for ax, metric in zip(line, metrics, strict=True):
            for edge in (0, 1):
                ax.axvline(edge, color=GREY, ls=":" if edge == 0 else "--", lw=1)
            for y, loss in enumerate(names):
                part = table.loc[loss].loc[metric]
                for i, (name, row) in enumerate(part.iterrows()):
                    at, shade = y + 0.24 * (i - (len(part) - 1) / 2), colour(name.lower())
                    ax.plot([row["low"], row["high"]], [at, at], color=shade, lw=2)
                    ax.plot(row["share"], at, MARKERS.get(name, "o"), color=shade, ms=6)
            ax.grid(axis="y", alpha=0.3)
        line[0].set_yticks(range(len(names)), names)
        line[0].set_ylim(len(names) - 0.5, -0.5)
        line[0].set_ylabel(title)
    for ax, metric in zip(axes[0], metrics, strict=True):
        ax.set_title(metric)
    axes[0, 0].set_xlim(-0.5, 1.5)
    for ax in axes[-1]:
        ax.set_xlabel("share of the gap closed")
    found = dict.fromkeys(n for table in shares.values() for n in table.index.unique("loss"))
    styles = {
        name: {"color": colour(name.lower()), "marker": MARKERS.get(name, "o"), "lw": 2}
        for name in found
    }
    styles |= {
        "one label": {"color": GREY, "ls": ":"},
        "complete labels": {"color": GREY, "ls": "--"},
    }
    key(fig, styles)
    return fig


def _kinds(truth: np.ndarray, observed: np.ndarray, completed: np.ndarray) -> dict[str, np.ndarray]:
    new = completed & ~observed
    return {
        "named": observed, "new, right": new & truth, "new, wrong": new & ~truth,
        "missed": truth & ~completed,
    }  # fmt: skip


def _on(on: np.ndarray, names: Sequence[str]) -> list[str]:
    return [name for name, flag in zip(names, on, strict=True) if flag]
