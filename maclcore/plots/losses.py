"""What a loss does to points, and what its terms are for an anchor of a batch."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from maclcore.plots.ends import name_ends
from maclcore.plots.style import GREY, colour, label, picture

TOWARDS, AWAY = "#C0392B", "#2C6DB2"


def forces(
    z: np.ndarray,
    pulls: Mapping[str, np.ndarray],
    names: Sequence[str],
    words: Sequence[str],
    prototypes: np.ndarray,
) -> Figure:
    """Points z (N, 2) on the unit circle and the way each loss moves them (−gradient, tangent).

    The first panel is the setting: each point by its name and words, and the prototypes (L, 2).
    Arrows are scaled within a panel; the first point's is black, of the others one is red that goes
    towards it and blue that goes away; a force below 4 % of the panel's largest is none.
    """
    columns = 5
    rows = -(-(len(pulls) + 1) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(8.4, 1.75 * rows), squeeze=False)
    for ax in axes.flat:
        ax.set(xlim=(-1.5, 1.5), ylim=(-1.35, 1.35), aspect="equal")
        ax.axis("off")
    setting, *panels = axes.flat
    _circle(setting, z)
    setting.plot(*prototypes.T, "D", color="0.6", ms=5, mfc="white")
    for point, name, word in zip(z, names, words, strict=True):
        setting.annotate(name, 0.72 * point, ha="center", va="center", weight="bold")
        setting.annotate(
            word, 1.2 * point, ha="left" if point[0] > 0 else "right", va="center", fontsize=8,
            annotation_clip=False,
        )  # fmt: skip
    for ax, (method, pull) in zip(panels, pulls.items(), strict=False):
        ax.set_title(label(method), pad=2)
        _circle(ax, z)
        size = np.linalg.norm(pull, axis=1)
        for i, (point, step, much) in enumerate(zip(z, pull, size / size.max(), strict=True)):
            if much < 0.04:
                continue
            shade = "black" if i == 0 else TOWARDS if step @ z[0] > 0 else AWAY
            end = point + step / np.linalg.norm(step) * (0.22 + 0.68 * much)
            arrow = {"arrowstyle": "-|>", "color": shade, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
            arrow |= {"mutation_scale": 6 + 5 * much}
            ax.annotate("", end, point, arrowprops=arrow, annotation_clip=False)
        for point, name in zip(z, names, strict=True):
            ax.annotate(name, 0.72 * point, ha="center", va="center")
    if len(panels) > len(pulls):
        text = panels[len(pulls)].text
        lines = {"i itself": "black", "towards i": TOWARDS, "away from i": AWAY}
        for height, (word, shade) in zip((0.5, 0, -0.5), lines.items(), strict=True):
            text(-1, height, f"→ {word}", color=shade, fontsize=11, va="center")
    return fig


def _circle(ax: plt.Axes, z: np.ndarray) -> None:
    circle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(circle), np.sin(circle), color="0.85", lw=1, zorder=0)
    ax.plot(*z.T, "o", color="black", ms=4)


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
    scale = 8.0 / wide
    fig, ax = plt.subplots(figsize=(8.4, scale * (1.3 * rows + 1) + 1.0))
    shade = sns.color_palette("colorblind", int(y[0].sum()))
    colours = dict(zip(np.flatnonzero(y[0]), shade, strict=True))
    for row, (labels, image) in enumerate(zip(y, images, strict=True)):
        at = 1.3 * row + 0.4 * (row > 0)  # the anchor stands apart
        ax.imshow(picture(image), extent=(-2.0, -0.8, at + 0.6, at - 0.6))
        for column, on in enumerate(labels):
            face, edge = (colours.get(column, "0.45"), "none") if on else ("none", "0.75")
            ax.plot(column, at, "o", mfc=face, mec=edge, ms=11)
        if not (labels & y[0]).any():
            box = plt.Rectangle((-2.1, at - 0.65), width + 1.7, 1.3, fill=False, ls=":", ec="black")
            ax.add_patch(box)
        for column, value in enumerate(values.iloc[row - 1] if row else values):
            text = f"{value:.3f}" if row else value
            ax.annotate(text, (width + 2.6 * column + 1, at), ha="center", va="center")
    ax.set_xticks(range(width), label_names, rotation=90)
    others = 1.3 * np.arange(1, rows) + 0.4
    ax.set_yticks([0, *others], ["anchor", *values.index])
    ax.set(xlim=(-2.2, wide - 1.9), ylim=(others.max(initial=0) + 0.8, -0.8), aspect="equal")
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for column, tick in enumerate(ax.get_xticklabels()):
        tick.set_color(colours.get(column, GREY))
    ax.spines[:].set_visible(False)
    return fig


def overlap_terms(temperatures: pd.DataFrame, influences: pd.DataFrame, printed: float) -> Figure:
    """What overlap does: left T over the Jaccard index, a column an α; right the positives of an
    anchor, a dot an image and label.

    temperatures: indexed by J, `printed` among its columns, which is drawn heavier. influences:
    columns `label`, `J`, `influence`, how hard one positive pulls through that label.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.1), width_ratios=(1.1, 1))
    for alpha, curve in temperatures.items():
        main = alpha == printed
        shade = colour("macl") if main else GREY
        left.plot(curve.index, curve, color=shade, lw=2.5 if main else 1.2)
        word = f"α = {alpha:g}".replace("-", "−") + (", printed" if main else "")
        name_ends(left, curve.index[-1], {word: (curve.iloc[-1], shade)}, 0)
    left.set(yscale="log", xlabel="Jaccard index J of the two label sets", ylabel="temperature T")
    left.set_yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
    left.minorticks_off()
    left.set_xlim(0, 1.42)
    left.set_xticks([0, 0.5, 1])
    names = influences["label"].unique()
    for name, shade in zip(names, sns.color_palette("colorblind", len(names)), strict=True):
        part = influences[influences["label"] == name]
        right.plot(part["J"], part["influence"], "o", ms=5, alpha=0.5, mew=0, color=shade)
        first = part.loc[part["J"].idxmax()]
        word = f"{name} ({len(part)})"
        name_ends(right, 1.02, {word: (first["influence"], shade)}, 0)
    right.set(
        yscale="log", xlabel="J of anchor and positive", ylabel="w / T / |P|, one positive's pull"
    )
    right.set_xlim(0, 1.45)
    right.set_xticks([0, 0.5, 1])
    right.minorticks_off()
    right.yaxis.set_major_formatter("{x:g}")
    return fig
