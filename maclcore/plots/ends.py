"""Names at the ends of lines, in place of a legend."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np


def name_ends(
    ax: plt.Axes, x: float, ends: Mapping[str, tuple[float, str]], gap: float, **words: object
) -> None:
    """Write each name beside x, at the height and in the colour of its line's end, `gap` apart at
    least, in units of the axis."""
    names = sorted(ends, key=lambda name: ends[name][0])
    heights = spread([ends[name][0] for name in names], gap)
    for name, height in zip(names, heights, strict=True):
        ax.annotate(
            name, (x, height), (4, 0), textcoords="offset points", va="center", fontsize=9,
            color=ends[name][1], annotation_clip=False, **words,
        )  # fmt: skip


def spread(heights: list[float], gap: float) -> np.ndarray:
    """Rising heights, moved as little as it takes (in squares) to stand `gap` apart."""
    steps = gap * np.arange(len(heights))
    blocks: list[list[float]] = []  # of which each is the mean of what lies too close together
    for height in np.asarray(heights) - steps:
        blocks.append([height])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return np.concatenate([[np.mean(b)] * len(b) for b in blocks]) + steps if blocks else steps
