"""DataFrame in, Figure out. Nothing here trains, reads the store or chooses a result.

One colour per method for life (the registry's); figures carry their profile in small grey type
unless it is `paper`, so that a smoke figure cannot pass for a result.
"""

from maclcore.extras import need

need("plots", __name__)

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import seaborn as sns
from IPython.display import Image as Picture
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from scipy.stats import t as student

from maclcore import paths
from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import COLOURS, LOSSES
from maclcore.losses import method_label as label

GREY = "#7f7f7f"
PAGE = 840  # pixels
#: how the reference rows are drawn: lines that frame an axis, not points on it
REFERENCE_STYLE = {"chance": ":", "frozen": "-.", "oracle": "--"}
#: columns of `collect()` as axes and legends name them
SYMBOLS = {
    "param: alpha": "α",
    "param: beta": "β",
    "param: temperature": "τ",
    "lr": "learning rate",
}


def use_style() -> None:
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "savefig.dpi": 150,
            "savefig.bbox": "tight",  # else titles of axes without a frame are cut off
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


def slug(archive: str | Path) -> str:
    """An archive's name, or its folder's, as a part of the name of a file."""
    name = Path(archive).absolute().name
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:40]


def save(fig: Figure, name: str, *, shows: str = "synthetic", dpi: int | None = None) -> Path:
    """Write a figure of record, `figures/<name>.png`; dpi: None is the style's, less saves bytes
    where there are many photographs.

    A figure that shows images of an archive names it: those of a real archive may not be
    redistributed and go to `figures/private/`, which git ignores.
    """
    folder = paths.figures_root() / ("" if shows == "synthetic" else "private")
    with paths.atomic_path(folder / f"{name}.png") as temporary:
        temporary.write_bytes(_png(fig, dpi))
    return folder / f"{name}.png"


def show(fig: Figure, name: str, **options: Any) -> None:
    """`save` a figure and show it, no wider than a page, in a third of the bytes that a notebook
    would make of it."""
    save(fig, name, **options)
    display(Picture(_png(fig, dpi=min(80, PAGE / fig.get_figwidth()))))
    plt.close(fig)


def _png(fig: Figure, dpi: int | None = None) -> bytes:
    drawn, small = BytesIO(), BytesIO()
    fig.savefig(drawn, format="png", dpi=dpi)
    # 128 colours are a third of the bytes, and no eye sees the difference
    with Image.open(drawn) as picture:
        picture = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def stamp(fig: Figure, profile: str, archive: str) -> Figure:
    """Small grey provenance at the lower right, unless the profile is `paper`."""
    if profile != "paper":
        fig.supxlabel(f"{profile} · {archive}", fontsize=8, color=GREY, x=0.995, ha="right")
    return fig


def colour(method: str) -> str:
    return COLOURS.get(method, GREY)


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


def chance_to_oracle(
    chance: Mapping[str, float], oracle: Mapping[str, float], paper: pd.DataFrame | None = None
) -> Figure:
    """The range open to a method on each metric, in [0, 1], and the published rows, in percent."""
    fig, ax = plt.subplots(figsize=(7, 3.4))
    for y, metric in enumerate(METRICS):
        low, high = 100 * chance[metric], 100 * oracle[metric]
        ax.plot([low, high], [y, y], color="0.85", lw=9, solid_capstyle="butt", zorder=0)
        ax.text(103, y, f"chance {low:.1f}", va="center", fontsize=8, color=GREY)
        for method in () if paper is None else paper.index:
            ax.plot(paper.loc[method, metric], y, "|", color="black", ms=13, alpha=0.7)
    ax.set(xlabel="%", xlim=(0, 101), yticks=range(len(METRICS)), yticklabels=METRICS)
    ax.invert_yaxis()
    return fig


def lines(table: pd.DataFrame, ylabel: str) -> Figure:
    """The columns of a table over its index; the names of index and columns label the figure."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    for column, shade in zip(table, sns.color_palette("viridis", table.shape[1]), strict=True):
        ax.plot(table.index, table[column], color=shade, label=column)
    ax.set(xlabel=table.index.name, ylabel=ylabel)
    ax.grid(alpha=0.3)
    ax.legend(title=table.columns.name)
    return fig


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
        ax.imshow(np.moveaxis(np.asarray(image), 0, -1), interpolation="nearest")
        ax.set_title(title, fontsize=7)
    return fig


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
        picture = np.moveaxis(np.asarray(image), 0, -1)
        ax.imshow(picture, extent=(-1.65, -0.7, at + 0.475, at - 0.475))
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
            picture = np.moveaxis(np.asarray(image), 0, -1)
            ax.imshow(picture, extent=(left, left + 0.62, y, y + 0.62), zorder=2)
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


def training_curves(histories: Mapping[str, pd.DataFrame], columns: Mapping[str, str]) -> Figure:
    """Columns of the histories over epochs, one panel a column, one line a method."""
    fig, axes = plt.subplots(1, len(columns), figsize=(3.4 * len(columns), 3), squeeze=False)
    for ax, (column, title) in zip(axes.flat, columns.items(), strict=True):
        for method, history in histories.items():
            ax.plot(history["epoch"], history[column], color=colour(method), label=label(method))
        ax.set(xlabel="epoch", ylabel=title)
        ax.xaxis.get_major_locator().set_params(integer=True)
    handles, names = ax.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside right center")
    return fig


def metric_panels(
    runs: pd.DataFrame, paper: pd.DataFrame | None = None, intervals: pd.DataFrame | None = None
) -> Figure:
    """The seven metrics of rows of `collect()`: a point a run, framed by the reference rows;
    crosses are the published values (methods × METRICS, in percent), bars `intervals` of the mean
    (rows of `statistics.summary`)."""
    return archive_panels({"": (runs, paper, intervals)})


def archive_panels(
    archives: Mapping[str, tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame | None]],
) -> Figure:
    """`metric_panels` of several archives, by title, one below the other."""
    order = [[m for m in LOSSES if m in set(runs["loss"])] for runs, *_ in archives.values()]
    count = [len(methods) for methods in order]
    fig, axes = plt.subplots(
        len(order), len(METRICS), figsize=(1.9 * len(METRICS), sum(0.32 * n + 1 for n in count)),
        sharey="row", squeeze=False, height_ratios=[n + 0.5 for n in count],
    )  # fmt: skip
    for line, methods, (title, content) in zip(axes, order, archives.items(), strict=True):
        for ax, metric in zip(line, METRICS, strict=True):
            _panel(ax, metric, methods, *content)
        line[0].set_ylabel(title)
        line[0].set_yticks(range(len(methods)), [label(m) for m in methods])
        line[0].set_ylim(len(methods) - 0.5, -0.5)
    for ax, metric in zip(axes[0], METRICS, strict=True):
        ax.set_title(metric)
    for ax in axes[-1]:
        ax.set_xlabel("%")
    key = {name: {"color": GREY, "ls": line} for name, line in REFERENCE_STYLE.items()}
    key["ours, a point a run"] = {"color": "black", "ls": "", "marker": "o", "ms": 5}
    if any(intervals is not None for *_, intervals in archives.values()):
        key["95 % interval of the mean"] = {"color": "black", "lw": 4, "alpha": 0.35}
    if any(paper is not None for _, paper, _ in archives.values()):
        key["published"] = {"color": "black", "ls": "", "marker": "x", "ms": 5}
    handles = [plt.Line2D([], [], **style) for style in key.values()]
    fig.legend(handles, list(key), loc="outside upper center", ncols=len(key))
    return fig


def _panel(
    ax: plt.Axes, metric: str, methods: Sequence[str], runs: pd.DataFrame,
    paper: pd.DataFrame | None, intervals: pd.DataFrame | None,
) -> None:  # fmt: skip
    for reference in [name for name in REFERENCE_STYLE if name in set(runs["loss"])]:
        values = 100 * runs.loc[runs["loss"] == reference, metric]
        ax.axvspan(values.min(), values.max(), color=GREY, alpha=0.25, lw=0)  # each seed its split
        ax.axvline(values.mean(), color=GREY, ls=REFERENCE_STYLE[reference], lw=1)
    for y, method in enumerate(methods):
        values = 100 * runs.loc[runs["loss"] == method, metric]
        ax.plot(values, [y] * len(values), "o", color=colour(method), ms=5, alpha=0.8)
        ax.plot(values.mean(), y, "|", color=colour(method), ms=14)
        if intervals is not None:
            ends = 100 * intervals.loc[(metric, method), ["low", "high"]]
            ax.plot(ends, [y, y], color=colour(method), lw=4, alpha=0.35)
        if paper is not None and method in paper.index:
            ax.plot(paper.loc[method, metric], y, "x", color="black", ms=5)
    ax.grid(axis="y", alpha=0.3)


def differences(comparison: pd.DataFrame, reference: str, alpha: float = 0.05) -> Figure:
    """Points by which methods differ from `reference`, with intervals, from the rows of
    `statistics.compare`; filled where Holm's p is below `alpha`."""
    metrics, found = (comparison.index.unique(level) for level in ("metric", "loss"))
    order = [*REFERENCE_STYLE, *LOSSES, *found]
    methods = sorted(found, key=order.index)
    fig, axes = plt.subplots(
        1, len(metrics), figsize=(1.9 * len(metrics), 0.32 * len(methods) + 1.3), sharey=True,
        squeeze=False,
    )  # fmt: skip
    for ax, metric in zip(axes.flat, metrics, strict=True):
        ax.axvline(0, color=GREY, lw=1)
        for y, method in enumerate(methods):
            row = comparison.loc[(metric, method)]
            shade = colour(method)
            ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=shade, lw=2)
            face = shade if row["holm"] < alpha else "white"
            ax.plot(100 * row["difference"], y, "o", color=shade, mfc=face, ms=6)
        ax.set(title=metric, xlabel="points")
        ax.set_yticks(range(len(methods)), [label(m) for m in methods])
        ax.set_ylim(len(methods) - 0.5, -0.5)
        ax.grid(axis="y", alpha=0.3)
    handles = [
        plt.Line2D([], [], color="black", ls="", marker="o", mfc=face)
        for face in ("black", "white")
    ]
    names = [f"differs from {label(reference)}, Holm's p < {alpha:g}", "does not"]
    fig.legend(handles, names, loc="outside upper center", ncols=2)
    return fig


def differences_over(comparison: pd.DataFrame, x: str, by: str, reference: str) -> Figure:
    """Points by which methods differ from `reference` over the column `x`, with intervals; one line
    a value of `by`, from rows of `statistics.compare` that have both. One scale for all metrics,
    logarithmic beyond 3 points."""
    metrics, near = comparison.index.unique("metric"), 3
    width = -(-(len(metrics) + 1) // 2)  # with room for the legend
    fig, axes = plt.subplots(2, width, figsize=(2.7 * width, 5.2), sharey=True, squeeze=False)
    palette = sns.color_palette("colorblind")
    low, high = 100 * comparison["low"].min(), 100 * comparison["high"].max()
    ticks = [v for v in (-50, -20, -10, *range(-near, near + 1), 10, 20, 50) if low < v < high]
    for ax, metric in zip(axes.flat, metrics, strict=False):
        ax.axhline(0, color=GREY, lw=1)
        for i, (value, part) in enumerate(comparison.loc[metric].groupby(by)):
            part = part.sort_values(x)
            middle = 100 * part["difference"]
            ends = abs(100 * part[["low", "high"]].T.to_numpy() - middle.to_numpy())
            aside = part[x] + 0.04 * i  # or one interval hides the other
            ax.errorbar(aside, middle, ends, fmt="o-", color=palette[i], ms=4, lw=1.2, label=value)
        ax.set(title=metric, xlabel=SYMBOLS.get(x, x))
        ax.set_xticks(sorted(comparison[x].unique()))
        ax.set_yscale("symlog", linthresh=near)
        ax.set_yticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
        ax.minorticks_off()
    for line in axes:
        line[0].set_ylabel("points")
    for ax in axes.flat[len(metrics) :]:
        ax.axis("off")
    handles, names = axes[0, 0].get_legend_handles_labels()
    axes[-1, -1].legend(handles, names, title=f"minus {label(reference)}", loc="center")
    return fig


def critical_difference(
    mean_ranks: pd.Series, difference: float, cliques: Sequence[tuple[float, float]]
) -> Figure:
    """Mean ranks of methods, best on the left; bars join those that `statistics.cliques` finds
    alike (Demšar 2006)."""
    mean_ranks = mean_ranks.sort_values()
    k, half, top = len(mean_ranks), -(-len(mean_ranks) // 2), 0.45 * len(cliques) + 0.9
    fig, ax = plt.subplots(figsize=(8, 0.3 * (half + top) + 0.9))
    ax.plot([1, k], [0, 0], color="black", lw=1)
    for tick in range(1, k + 1):
        ax.plot([tick, tick], [0, 0.2], color="black", lw=1)
        ax.annotate(f"{tick}", (tick, 0.3), ha="center", va="bottom", fontsize=9)
    ax.plot([1, 1 + difference], [1.6, 1.6], color=GREY, lw=3)
    text = f"critical difference {difference:.2f}"
    ax.annotate(text, (1, 1.8), va="bottom", fontsize=9, color=GREY)
    edge = 0.03 * k
    for i, (method, rank) in enumerate(mean_ranks.items()):
        left = i < half
        depth, end = top + (i if left else k - 1 - i), 1 - edge if left else k + edge
        ax.plot([rank, rank, end], [0, -depth, -depth], color=colour(method), lw=1.5)
        ax.annotate(f" {label(method)} ({rank:.1f}) ", (end, -depth), va="center",
                    ha="right" if left else "left")  # fmt: skip
    for level, (first, last) in enumerate(cliques, 1):
        ax.plot([first - 0.01 * k, last + 0.01 * k], [-0.45 * level] * 2, color="black", lw=4)
    ax.axis("off")
    ax.set(xlim=(1 - 0.3 * k, k + 0.3 * k), ylim=(-top - half, 3))
    return fig


def label_bars(table: pd.DataFrame, counts: pd.Series, groups: pd.Series, metric: str) -> Figure:
    """A metric of each label (rows), in [0, 1], for methods and reference rows (columns), the
    labels in order of their training images `counts`, and parted where their group changes."""
    order = counts.sort_values(kind="stable").index
    methods = [m for m in table if m in LOSSES]
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(9, 0.3 * len(order) * max(1, 0.4 * len(methods)) + 1.2), sharey=True,
        width_ratios=(1, 3),
    )  # fmt: skip
    y = np.arange(len(order))
    left.plot(counts[order], y, "o", color="black", ms=5)
    left.set(xscale="log", xlabel="training images", yticks=y, yticklabels=order)
    left.grid(axis="x", alpha=0.3)
    height = 0.8 / len(methods)
    for i, method in enumerate(methods):
        right.barh(y + (i - (len(methods) - 1) / 2) * height, 100 * table.loc[order, method],
                   height, color=colour(method), label=label(method))  # fmt: skip
    for reference in [name for name in REFERENCE_STYLE if name in table]:
        right.vlines(100 * table.loc[order, reference], y - 0.45, y + 0.45, color="black",
                     ls=REFERENCE_STYLE[reference], lw=1.3, label=reference)  # fmt: skip
    for ax in (left, right):
        for edge in np.flatnonzero(groups[order].to_numpy()[1:] != groups[order].to_numpy()[:-1]):
            ax.axhline(edge + 0.5, color=GREY, lw=0.8)
    for group, where in pd.Series(y, index=order).groupby(groups, observed=True):
        right.annotate(f" {group}", (1, where.mean()), xycoords=("axes fraction", "data"),
                       va="center", fontsize=9, color=GREY, rotation=270)  # fmt: skip
    right.set(xlabel=f"{metric} in %", ylim=(-0.6, len(order) - 0.4))
    handles, names = right.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=len(names))
    return fig


def precision_recall(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Precision over recall of each method and reference row (`breakdown.precision_recall`), a
    panel for each least Jaccard index of a relevant item."""
    thresholds = next(iter(curves.values())).columns
    fig, axes = plt.subplots(1, len(thresholds), figsize=(3 * len(thresholds), 3), sharey=True)
    for ax, threshold in zip(axes, thresholds, strict=True):
        for method, table in curves.items():
            style = {"color": colour(method), "ls": REFERENCE_STYLE.get(method, "-")}
            ax.plot(100 * table.index, 100 * table[threshold], label=label(method), **style)
        relevant = f"J ≥ {threshold:g}" if threshold else "J > 0"
        ax.set(title=f"relevant: {relevant}", xlabel="recall in %", xlim=(0, 100), ylim=(0, 102))
    axes[0].set_ylabel("precision in %")
    handles, names = ax.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside right center")
    return fig


def query_scatter(x: pd.Series, y: pd.Series, marked: Mapping[str, int]) -> Figure:
    """One point a query: a metric in percent under two methods, which name the series.

    marked: names of single queries, by position.
    """
    fig, ax = plt.subplots(figsize=(5, 4.6))
    ax.plot([0, 100], [0, 100], color=GREY, lw=1)
    ax.plot(100 * x, 100 * y, "o", color=colour(y.name), ms=4, alpha=0.4, mec="none")
    for name, i in marked.items():
        point = (100 * x.iloc[i], 100 * y.iloc[i])
        ax.plot(*point, "o", mfc="none", mec="black", ms=9)
        ax.annotate(name, point, xytext=(7, 7), textcoords="offset points", fontsize=9)
    ax.set(xlabel=f"{label(x.name)}, %", ylabel=f"{label(y.name)}, %", aspect="equal")
    return fig


def ablation(
    runs: pd.DataFrame,
    x: str,
    metrics: Sequence[str],
    *,
    by: str = "loss",
    references: pd.DataFrame | None = None,
    log: bool = False,
) -> Figure:
    """Metrics in percent over the column `x`; one line a value of `by`, mean over the rest; the
    band is the 95 % t-interval over seeds, where there are several."""
    lines = runs[by].nunique()
    size = (3.3 * len(metrics), max(3.1, 0.25 * lines + 0.9))  # as high as its legend
    fig, axes = plt.subplots(1, len(metrics), figsize=size, squeeze=False)
    values = runs[by]
    signed = values.dtype.kind == "f" and values.min() < 0 < values.max()
    palette = sns.color_palette("icefire" if signed else "viridis", lines)
    for ax, metric in zip(axes.flat, metrics, strict=True):
        for i, (value, part) in enumerate(runs.groupby(by, sort=False)):
            of_seed = 100 * part.pivot_table(index=x, columns="seed", values=metric)
            mean, n = of_seed.mean(axis=1), of_seed.shape[1]
            shade = colour(value) if value in LOSSES else palette[i]
            name = label(value) if value in LOSSES else f"{SYMBOLS.get(by, by)} = {value:g}"
            name = name.replace("-", "−") if by != "loss" else name
            ax.plot(mean.index, mean, "o-", color=shade, label=name, ms=4)
            if n > 1:
                half = of_seed.sem(axis=1) * student.isf(0.025, n - 1)
                ax.fill_between(mean.index, mean - half, mean + half, color=shade, alpha=0.15, lw=0)
        low, high = ax.get_ylim()
        for reference, line in REFERENCE_STYLE.items():
            if references is None or reference not in set(references["loss"]):
                continue
            value = 100 * references.loc[references["loss"] == reference, metric].mean()
            if value > low - (high - low) / 2:
                ax.axhline(value, color=GREY, ls=line, lw=1, label=reference)
            else:  # it would flatten the curves
                ax.set_title(f"{reference}: {value:.1f}", loc="right", size=9, color=GREY)
        ax.set(xlabel=SYMBOLS.get(x, x), ylabel=f"{metric} in %")
        if log:
            tried = sorted(runs[x].unique())
            ax.set_xscale("log")
            ax.set_xticks(tried, [f"{value:g}" for value in tried])
            ax.minorticks_off()
    entries = {}
    for ax in axes.flat:
        handles, names = ax.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    fig.legend(list(entries.values()), list(entries), loc="outside right center")
    return fig


def surfaces(grids: Mapping[str, pd.DataFrame], metric: str, chance: float | None = None) -> Figure:
    """3-D surfaces of a metric in percent over α (rows) × β (columns), on one z-range; the colours
    span the surfaces, the axis also the plane at `chance`."""
    low, high = _range(grids, chance)
    bottom, top = _range(grids, None)
    fig = plt.figure(figsize=(4.6 * len(grids), 3.7))
    for i, (title, grid) in enumerate(grids.items()):
        ax = fig.add_subplot(1, len(grids), i + 1, projection="3d")
        beta, alpha = np.meshgrid(grid.columns, grid.index)
        if chance is not None:
            corners = np.ix_([0, -1], [0, -1])  # one patch: more of them show their seams
            plane = np.full((2, 2), chance)
            ax.plot_surface(alpha[corners], beta[corners], plane, color=GREY, alpha=0.3)
        ax.plot_surface(
            alpha, beta, grid.to_numpy(), cmap="viridis", vmin=bottom, vmax=top,
            edgecolor="0.3", lw=0.5, rstride=1, cstride=1,
        )  # fmt: skip
        ax.set(xlabel="α", ylabel="β", zlabel=f"{metric} in %", zlim=(low, high))
        ax.set_title(title, y=1.0)
        for axis in ("x", "y"):
            ax.locator_params(axis=axis, nbins=5)  # more of them run into one another
            ax.tick_params(axis=axis, pad=-1)
        ax.view_init(elev=24, azim=-130)
        ax.set_box_aspect((5, 5, 4), zoom=0.95)  # the z label just fits
    return fig


def surfaces_interactive(grids: Mapping[str, pd.DataFrame], metric: str) -> go.Figure:
    """The same surfaces for plotly, with values on hover."""
    low, high = _range(grids, None)
    fig = go.Figure().set_subplots(
        1, len(grids), specs=[[{"type": "surface"}] * len(grids)], subplot_titles=list(grids)
    )
    scene = {
        "xaxis_title": "β", "yaxis_title": "α", "zaxis_title": f"{metric} %",
        "zaxis_range": [low, high],
    }  # fmt: skip
    for i, grid in enumerate(grids.values()):
        fig.add_surface(
            x=[float(v) for v in grid.columns],
            y=[float(v) for v in grid.index],
            z=grid.round(2).to_numpy().tolist(),
            cmin=low, cmax=high, colorscale="Viridis", showscale=i == 0, row=1, col=i + 1,
            hovertemplate="α %{y}<br>β %{x}<br>%{z:.2f} %<extra></extra>",
        )  # fmt: skip
    fig.update_scenes(scene)
    fig.update_layout(width=500 * len(grids), height=430, margin={"l": 0, "r": 0, "t": 30, "b": 0})
    return fig


def heatmaps(grids: Mapping[str, pd.DataFrame], metric: str) -> Figure:
    """The numbers of the surfaces, which depth hides; one colour range."""
    low, high = _range(grids, None)
    fig, axes = plt.subplots(1, len(grids), figsize=(4.4 * len(grids), 3.2), squeeze=False)
    for ax, (title, grid) in zip(axes.flat, grids.items(), strict=True):
        sns.heatmap(
            grid, ax=ax, annot=True, fmt=".1f", cmap="viridis", vmin=low, vmax=high,
            cbar_kws={"label": f"{metric} in %"},
        )  # fmt: skip
        ax.set(title=title, xlabel="β", ylabel="α")
        ax.tick_params(axis="y", rotation=0)
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


def _marks(wanted: np.ndarray, has: np.ndarray, label_names: Sequence[str]) -> str:
    kinds = {"✓": wanted & has, "−": wanted & ~has, "+": has & ~wanted}
    return "\n".join(f"{mark} {n}" for mark, on in kinds.items() for n in _names(on, label_names))


def _show(ax: plt.Axes, image: np.ndarray, text: str, frame: str) -> None:
    ax.imshow(np.moveaxis(np.asarray(image), 0, -1), interpolation="bilinear")
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel(text, fontsize=8, loc="left", linespacing=1.1)
    for spine in ax.spines.values():
        spine.set(visible=True, color=frame, linewidth=2.5)


def _names(on: np.ndarray, names: Sequence[str]) -> list[str]:
    return [name for name, flag in zip(names, on, strict=True) if flag]


def _range(grids: Mapping[str, pd.DataFrame], chance: float | None) -> tuple[float, float]:
    values = np.concatenate([grid.to_numpy().ravel() for grid in grids.values()])
    low = values.min() if chance is None else min(values.min(), chance)
    pad = max(0.05 * (values.max() - low), 0.1)
    return float(low - pad), float(values.max() + pad)
