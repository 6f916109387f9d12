"""What the metrics and the weights measure: a query worked out, a range, a curve."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from maclcore.evaluation.retrieval import METRICS
from maclcore.plots.style import GREY, picture

BLUE, ORANGE, FAINT = "#0072b2", "#d55e00", "0.85"


def worked_query(
    images: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    jaccard: np.ndarray,
    seen: pd.DataFrame,
    values: Mapping[str, float],
    rules: Mapping[str, str],
) -> Figure:
    """A query and its K results in columns; in rows their labels, and what each metric sees.

    A label of the query is blue, another orange. A result that a metric takes for relevant has a
    dot, a gain is a number, and at the right end is the value that the metric takes.

    Args:
        images: (1 + K, 3, H, W), the query first; labels: (1 + K, L) bool.
        jaccard, seen, values: of `evaluation.worked`.
        rules: what a row shows, in words, by metric.
    """
    own = labels[0]
    rows = [*np.flatnonzero(own), *np.flatnonzero(labels.any(axis=0) & ~own)]
    at = np.arange(len(images)) + 0.4 * (np.arange(len(images)) > 0)
    first = 1.6 + len(rows)  # row of the Jaccard index
    last = first + 0.8 + len(seen)
    left, right, row = -3.4, at[-1] + 1.6, 0.22  # an inch has 1 / row rows
    side = 0.94 * 8.4 / (right - left) / row  # of a picture, in rows
    fig, ax = plt.subplots(figsize=(8.4, row * (last + side + 1.1)))
    for x, image, rank in zip(at, images, ["query", *range(1, len(images))], strict=True):
        extent = (x - 0.47, x + 0.47, 0.2, 0.2 - side)
        ax.imshow(picture(image), interpolation="bilinear", aspect="auto", extent=extent)
        ax.text(x, 0.1 - side, rank, ha="center", va="bottom", fontsize=9)
    ax.set(xlim=(left, right), ylim=(last + 0.2, -side - 0.9))
    ax.axis("off")
    write = {"va": "center", "fontsize": 9}
    for y, label in enumerate(rows, 1):
        ax.text(-0.7, y, names[label], ha="right", **write)
        for x, has in zip(at, labels[:, label], strict=True):
            shade = (BLUE if own[label] else ORANGE) if has else FAINT
            ax.plot(x, y, "s", color=shade, ms=8 if has else 3)
    ax.text(-0.7, first, "Jaccard index J", ha="right", **write)
    for x, value in zip(at[1:], jaccard, strict=True):
        ax.text(x, first, f"{value:.2f}", ha="center", **write)
    ax.axhline(first + 0.7, color=GREY, lw=0.8)
    for y, (metric, line) in enumerate(seen.iterrows(), 1):
        y += first + 0.3
        ax.text(-0.7, y, rules[metric], ha="right", **write)
        for x, value in zip(at[1:], line, strict=True):
            if metric.startswith("mAP"):
                ax.plot(x, y, "o", color=BLUE if value else FAINT, ms=8 if value else 3)
            else:
                ax.text(x, y, f"{value:.{2 * (value % 1 > 0)}f}", ha="center", **write)
        ax.text(right, y, f"{100 * values[metric]:.1f}", ha="right", weight="bold", **write)
    ax.text(right, first, "value, %", ha="right", color=GREY, **write)
    return fig


def chance_ranges(
    archives: Mapping[str, tuple[Mapping[str, float], Mapping[str, float], pd.DataFrame | None]],
) -> Figure:
    """From chance to oracle on each metric, in percent, a panel an archive.

    archives: by title chance, oracle and, where there are some, the published values (methods ×
    METRICS), which are ticks.
    """
    fig, axes = plt.subplots(1, len(archives), figsize=(8.4, 3.1), sharey=True, squeeze=False)
    for ax, (title, (chance, oracle, paper)) in zip(axes[0], archives.items(), strict=True):
        for y, metric in enumerate(METRICS):
            low, high = chance[metric], oracle[metric]
            ax.plot([low, high], [y, y], color=FAINT, lw=11, solid_capstyle="butt", zorder=0)
            ax.annotate(f"{low:.0f}", (-4, y), va="center", ha="right", fontsize=9)
            if paper is not None:
                ax.plot(paper[metric], [y] * len(paper), "|", color=ORANGE, ms=10, alpha=0.8)
        ax.annotate("chance", (-4, -0.75), va="center", ha="right", fontsize=9, color=GREY)
        ax.set(xlabel="%", xlim=(-22, 101), xticks=[0, 25, 50, 75, 100])
        ax.set_title(title)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    axes[0, 0].set_yticks(range(len(METRICS)), METRICS)
    axes[0, 0].set_ylim(len(METRICS) - 0.5, -1.1)
    return fig


def rarity_weights(pairs: Sequence[int], spans: Mapping[str, tuple[int, int]]) -> Figure:
    """w = 1 / ln(1 + f) over f, with a rug of the f of some pairs.

    spans: below it, by name, from which f to which a group reaches, with w at its ends.
    """
    fig, (ax, below) = plt.subplots(
        2, 1, figsize=(8.4, 3.1 + 0.3 * len(spans)), sharex=True,
        height_ratios=[2.6, 0.3 * len(spans) + 0.3],
    )  # fmt: skip
    f = np.geomspace(1, 6000, 200)
    ax.plot(f, 1 / np.log1p(f), color="black")
    ax.plot(pairs, np.zeros(len(pairs)), "|", color=BLUE, ms=16, alpha=0.05)
    ax.set(xscale="log", ylabel="weight w", ylim=(0, 1.5), xlim=(1, 6000))
    ax.annotate("pairs of a batch", (1.05, 0.06), fontsize=9, color=BLUE)
    for y, (name, ends) in enumerate(spans.items()):
        w = [1 / np.log1p(end) for end in ends]
        below.plot(ends, [y, y], "o-", color="0.3", ms=5)
        below.annotate(f"{name}  {w[0]:.2f} ", (ends[0], y), (-5, 0), ha="right", **_BESIDE)
        below.annotate(f" {w[1]:.2f}", (ends[1], y), (5, 0), **_BESIDE)
    below.set(yticks=[], ylim=(len(spans) - 0.4, -0.6), xlabel="f: images with the shared labels")
    below.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    below.spines["left"].set_visible(False)
    return fig


_BESIDE = {"textcoords": "offset points", "va": "center", "fontsize": 9}
