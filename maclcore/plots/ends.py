"""Names at the ends of lines, instead of a legend."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb


def ink(colour: str) -> tuple[float, ...]:
    """A colour for letters on white: darker where it is light."""
    rgb = np.array(to_rgb(colour))
    return tuple(rgb * min(1.0, 0.45 / float(rgb @ [0.3, 0.6, 0.1] + 1e-9)))


def name_ends(ax: plt.Axes, ends: Mapping[str, tuple[float, str]], size: float = 9) -> None:
    """Names right of the axes at the heights of their lines' ends, moved until none covers another.

    ends: name -> height in the units of the axis, and the line's colour.
    """
    ax.figure.canvas.draw()  # the height of the axes and the scale of y are known only then
    names = sorted(ends, key=lambda name: ends[name][0])
    down = ax.transData.transform([(1, ends[name][0]) for name in names])[:, 1]
    down = apart(down, 1.2 * size * ax.figure.dpi / 72)
    for name, y in zip(names, down, strict=True):
        place = ax.transAxes.inverted().transform((0, y))[1]
        ax.annotate(f" {name}", (1, place), xycoords="axes fraction", va="center", fontsize=size,
                    color=ink(ends[name][1]), annotation_clip=False)  # fmt: skip


def apart(values: np.ndarray, gap: float) -> np.ndarray:
    """Sorted values moved as little as it takes for neighbours to be `gap` apart: groups that run
    into one another are spread around their middle."""
    groups = [[value] for value in values]
    i = 0
    while i + 1 < len(groups):
        reach = gap * (len(groups[i]) + len(groups[i + 1])) / 2
        if np.mean(groups[i + 1]) - np.mean(groups[i]) < reach:
            groups[i : i + 2] = [groups[i] + groups[i + 1]]
            i = max(i - 1, 0)
        else:
            i += 1
    spread = [np.mean(g) + gap * (np.arange(len(g)) - (len(g) - 1) / 2) for g in groups]
    return np.concatenate(spread)
