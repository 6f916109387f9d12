"""Metrics over one setting of a loss, and the question of the sign of α."""

from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from scipy.stats import t as student

from maclcore.losses import LOSSES
from maclcore.plots.ends import name_ends
from maclcore.plots.results import OTHERS, ink
from maclcore.plots.style import GREY, REFERENCE_STYLE, SYMBOLS, colour, key, label

WIDTH = 8.4
BANDS = 4  #: more of them over one another are grey
#: α below zero is blue and above it red, and the nearer to zero the darker
SIGNS: Colormap = sns.diverging_palette(240, 20, s=90, l=60, center="dark", as_cmap=True)
SERIES = {"MACL, τ = 1": "#D55E00", "MACL, τ = 0.3": "#E69F00", "MulSupCon": colour("mulsupcon")}
#: values of α whose points carry them, where they do not run into one another
NAMED = {"MACL, τ = 1": (-1.5, 0.5, 1.5), "MACL, τ = 0.3": (-1.0, 0.5, 1.5)}


def sign_colour(alpha: float, largest: float = 2.5) -> tuple[float, ...]:
    """The colour of a value of α in every figure: zero is the middle of the palette."""
    return SIGNS((alpha / largest + 1) / 2)


def ablation(
    runs: pd.DataFrame,
    x: str,
    metrics: Sequence[str],
    *,
    by: str = "loss",
    front: Collection[str] = (),
    references: pd.DataFrame | None = None,
    log: bool = False,
) -> Figure:
    """Metrics in percent over the column `x`; one line a value of `by`, the mean over the rest,
    with its name at the end.

    Of losses only those of `front` have a colour, a name and, where there are several seeds, the
    95 % t-interval over them as a band. Values of α have the colours of their signs. A reference
    row far below the lines is told in the title, as its line would flatten them.
    """
    fig, axes = plt.subplots(1, len(metrics), figsize=(WIDTH, 3.0), squeeze=False)
    values = sorted(runs[by].unique(), key=lambda value: value in front)
    for ax, metric in zip(axes.flat, metrics, strict=True):
        ends: dict[str, tuple[float, str]] = {}
        for i, value in enumerate(values):
            part = runs[runs[by] == value]
            shade, name = _line(by, value, i / max(len(values) - 1, 1), front)
            band = bool(name) and (by == "loss" or len(values) <= BANDS)
            end = _curve(ax, part, x, metric, band, color=shade, lw=1.6 if name else 0.8)
            if name:
                ends[name] = (end, ink(shade))
        _references(ax, references, metric)
        ax.set_xlabel(SYMBOLS.get(x, x))
        if log:
            _ticks(ax, runs[x])
    last = axes[0, -1]
    name_ends(last, last.get_xlim()[1], ends, 0.07 * np.ptp(last.get_ylim()))
    return fig


def ablations_by_archive(
    found: Mapping[str, Mapping[str, pd.DataFrame]], titles: Sequence[str], metric: str
) -> Figure:
    """A metric in percent over each of some settings, a panel a setting with one of `titles`, a
    line an archive; MACL's, and dashed MulSupCon's.

    found: by the archive's title rows of `collect()` by the column of the setting; all but the
    first are on a logarithmic axis.
    """
    fig, axes = plt.subplots(1, len(titles), figsize=(WIDTH, 3.2), sharey=True)
    ends: dict[str, tuple[float, str]] = {}
    for i, (archive, varied) in enumerate(found.items()):
        shade = plt.cm.viridis(0.85 * i / max(len(found) - 1, 1))
        for ax, (x, runs) in zip(axes, varied.items(), strict=True):
            for loss, part in runs.groupby("loss"):
                end = _curve(ax, part, x, metric, color=shade, ls="-" if loss == "macl" else "--")
                if loss == "macl":  # in the end of the last panel
                    ends[archive] = (end, ink(shade))
    for k, (ax, title, (x, runs)) in enumerate(zip(axes, titles, varied.items(), strict=True)):
        ax.set(title=title, xlabel=SYMBOLS.get(x, x))
        if k:
            _ticks(ax, runs[x])
    axes[0].set_ylabel(f"{metric}, %")
    name_ends(axes[-1], axes[-1].get_xlim()[1], ends, 0.07 * np.ptp(axes[-1].get_ylim()))
    return fig


def _curve(
    ax: plt.Axes, runs: pd.DataFrame, x: str, metric: str, band: bool = True, **style: object
) -> float:
    """Draw the mean over seeds of a metric in percent over the column `x`, where there are several
    with their 95 % t-interval as a band; where the line ends."""
    of_seed = 100 * runs.pivot_table(index=x, columns="seed", values=metric)
    mean, n = of_seed.mean(axis=1), of_seed.shape[1]
    ax.plot(mean.index, mean, "o", ms=4, **{"ls": "-", **style})
    if n > 1 and band:
        half = of_seed.sem(axis=1) * student.isf(0.025, n - 1)
        low, high = mean - half, mean + half
        ax.fill_between(mean.index, low, high, color=style["color"], alpha=0.15, lw=0)
    return mean.iloc[-1]


def _ticks(ax: plt.Axes, values: pd.Series) -> None:
    """A logarithmic axis, with a tick at each value that was tried."""
    tried = sorted(values.unique())
    ax.set_xscale("log")
    ax.set_xticks(tried, [f"{value:g}" for value in tried])
    ax.minorticks_off()


def _line(by: str, value: object, place: float, front: Collection[str]) -> tuple[object, str]:
    """Colour and name of a line; no name for those in the background."""
    if by == "loss":
        loss = str(value)
        known = loss in LOSSES and loss in front
        return (colour(loss), label(loss)) if known else (OTHERS, "")
    name = f"{SYMBOLS.get(by, by)} = {value:g}".replace("-", "−")
    shade = sign_colour(float(value)) if by == "param: alpha" else plt.cm.viridis(0.85 * place)
    return shade, name


def _references(ax: plt.Axes, references: pd.DataFrame | None, metric: str) -> None:
    low, high = ax.get_ylim()
    told = []
    for name, line in REFERENCE_STYLE.items():
        if references is None or name not in set(references["loss"]):
            continue
        value = 100 * references.loc[references["loss"] == name, metric].mean()
        if value > low - (high - low) / 2:
            ax.axhline(value, color=GREY, ls=line, lw=1)
            ax.annotate(f"{name} ", (1, value), xycoords=ax.get_yaxis_transform(), ha="right",
                        va="bottom", fontsize=9, color=GREY)  # fmt: skip
        else:
            told.append(f"{name} {value:.0f}")
    ax.set_title(f"{metric}, %" + f" ({', '.join(told)})" * bool(told))


def like_pairs(rows: pd.DataFrame, gaps: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """Above, metrics in percent over the temperature of like pairs, a line a series of
    `temperatures.like_pairs`; below, MACL minus MulSupCon at equal temperature over α, with the
    intervals of `temperatures.at_equal_temperature`."""
    fig, axes = plt.subplots(2, len(metrics), figsize=(WIDTH, 6.2), squeeze=False)
    for above, below, metric in zip(*axes, metrics, strict=True):
        for series, part in rows.groupby("series", sort=False):
            line = part.groupby("T").agg({metric: "mean", "param: alpha": "first"})
            above.plot(line.index, 100 * line[metric], "o-", color=SERIES[series], ms=4)
            for T, (value, alpha) in line.iterrows():
                if alpha in NAMED.get(series, ()):
                    text = f"α = {alpha:g}".replace("-", "−")
                    aside = (6, -10) if series == "MACL, τ = 1" or T < 0.1 else (-6, 4)
                    above.annotate(
                        text, (T, 100 * value), aside, textcoords="offset points", fontsize=9,
                        ha="left" if aside[0] > 0 else "right", color=ink(SERIES[series]),
                    )  # fmt: skip
        above.margins(y=0.12)
        above.set(xscale="log", xlabel="T of like pairs (J = 1), logarithmic", title=f"{metric}, %")
        ticks = [0.05, 0.1, 0.2, 0.5, 1, 2, 4]
        above.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        above.minorticks_off()
        below.axhline(0, color=SERIES["MulSupCon"], lw=1.2)
        for series, part in gaps.loc[metric].groupby("series", sort=False):
            part = 100 * part.set_index("param: alpha")[["difference", "low", "high"]].sort_index()
            ends = abs(part[["low", "high"]].T.to_numpy() - part["difference"].to_numpy())
            below.errorbar(part.index, part["difference"], ends, fmt="o-", ms=4, lw=1.2,
                           color=SERIES[series])  # fmt: skip
        below.axvline(0, color=GREY, lw=0.8, ls=":")
        below.set(xlabel="α", title=f"{metric}: points from MulSupCon at the same T")
    handles = {name: {"color": shade, "marker": "o", "ms": 4} for name, shade in SERIES.items()}
    key(fig, {name: style for name, style in handles.items() if name in set(rows["series"])})
    return fig


def sign_of_alpha(
    curve: pd.DataFrame, others: Mapping[str, pd.DataFrame], metrics: Sequence[str], near: float = 4
) -> Figure:
    """MACL minus MulSupCon in points over α with intervals, all of it above and within ± `near`
    below, a column a metric; the paper's α is marked.

    curve: rows (metric, loss) of `statistics.compare` of one archive, with `alpha` and `weights`,
    which tells the lines apart; others: the same of further archives by title, drawn as points.
    """
    fig, axes = plt.subplots(
        2, len(metrics), figsize=(WIDTH, 5.6), sharex=True, sharey="row", squeeze=False,
        height_ratios=(1, 1.2),
    )  # fmt: skip
    lines = dict(
        zip(sorted(curve["weights"].unique()), (SERIES["MACL, τ = 1"], OTHERS), strict=False)
    )
    shapes = dict(zip(others, "^sDv", strict=False))
    for line in axes:
        for ax, metric in zip(line, metrics, strict=True):
            ax.axhline(0, color=SERIES["MulSupCon"], lw=1.2)
            ax.axvline(1.5, color=GREY, lw=1, ls="--")
            for i, (name, shade) in enumerate(lines.items()):
                part = curve.loc[metric]
                part = part[part["weights"] == name].sort_values("alpha")
                _bars(ax, part, 0.05 * i, fmt="o-", color=shade)
            for i, (title, table) in enumerate(others.items()):
                _bars(ax, table.loc[metric], -0.1 - 0.1 * i, fmt=shapes[title], color="black")
    for ax, metric in zip(axes[0], metrics, strict=True):
        ax.set_title(metric)
        ax.annotate("paper's α ", (1.5, 0.04), xycoords=ax.get_xaxis_transform(), ha="right",
                    fontsize=9, color=GREY)  # fmt: skip
    for ax in axes[1]:
        ax.set(ylim=(-near, near), xlabel="α (τ = 0.3)")
        ax.annotate("MACL better ↑", (0.89, 0.97), xycoords="axes fraction", fontsize=9, color=GREY,
                    va="top", ha="right")  # fmt: skip
    axes[0, 0].set_ylabel("points from MulSupCon")
    axes[1, 0].set_ylabel(f"the same, within ±{near:g}")
    styles = {name: {"color": shade, "marker": "o", "ms": 4} for name, shade in lines.items()}
    points = {"color": "black", "ls": "", "ms": 5}
    key(fig, styles | {title: {**points, "marker": shape} for title, shape in shapes.items()})
    return fig


def _bars(ax: plt.Axes, part: pd.DataFrame, aside: float, **style: object) -> None:
    """Differences over α with their intervals, moved aside, or one hides the other."""
    middle = 100 * part["difference"].to_numpy()
    ends = abs(100 * part[["low", "high"]].T.to_numpy() - middle)
    ax.errorbar(part["alpha"] + aside, middle, ends, ms=4, lw=1.2, **style)


def heat_strip(table: pd.DataFrame, unit: str) -> Figure:
    """Differences in points (rows × columns) as coloured cells with their numbers, in bold where
    the interval excludes zero.

    table: rows of `statistics.compare` with `row` and `column`, which name the cell.
    """
    shape = [list(dict.fromkeys(table[name])) for name in ("row", "column")]
    fig, ax = plt.subplots(figsize=(WIDTH, 0.33 * len(shape[0]) + 1.0))
    wide = (
        100
        * table.pivot(index="row", columns="column", values="difference").loc[shape[0], shape[1]]
    )
    largest = 1.5 * float(np.nanmax(np.abs(wide.to_numpy())))  # letters stand on it
    ax.imshow(wide, cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto", alpha=0.75)
    for _, row in table.iterrows():
        sure = row["low"] > 0 or row["high"] < 0
        text = f"{100 * row['difference']:+.1f}".replace("-", "−")
        at = (shape[1].index(row["column"]), shape[0].index(row["row"]))
        ax.annotate(text, at, ha="center", va="center", fontsize=9,
                    fontweight="bold" if sure else "normal")  # fmt: skip
    ax.set_xticks(range(len(shape[1])), shape[1])
    ax.set_yticks(range(len(shape[0])), shape[0])
    ax.tick_params(length=0)
    ax.set_xlabel(unit)
    return fig


def pairs_of(gaps: pd.DataFrame, published: pd.DataFrame | None) -> Figure:
    """Points that a change brings each loss in each metric, with intervals; crosses are published
    values (methods × metrics, in points).

    gaps: rows (metric, loss) of `difference`, `low`, `high`.
    """
    metrics, losses = (list(gaps.index.unique(level)) for level in ("metric", "loss"))
    fig, ax = plt.subplots(figsize=(WIDTH, 3.2))
    ax.axhline(0, color=GREY, lw=1)
    width = 0.8 / len(losses)
    for i, loss in enumerate(losses):
        aside = (i - (len(losses) - 1) / 2) * width
        shade = colour(loss) if loss in ("macl", "mulsupcon") else OTHERS
        part = 100 * gaps.xs(loss, level="loss").loc[metrics]
        ends = abs(part[["low", "high"]].T.to_numpy() - part["difference"].to_numpy())
        at = np.arange(len(metrics)) + aside
        ax.errorbar(at, part["difference"], ends, fmt="o", color=shade, ms=5, label=label(loss))
        if published is not None and loss in published.index:
            ax.plot(at, published.loc[loss, metrics], "x", color="black", ms=6)
    ax.set_xticks(range(len(metrics)), [metric.replace("@", "\n@") for metric in metrics])
    ax.set_ylabel("points gained")
    styles = {label(loss): {"color": colour(loss) if loss in ("macl", "mulsupcon") else OTHERS,
                            "marker": "o", "ls": ""} for loss in losses}  # fmt: skip
    if published is not None:
        styles["published"] = {"color": "black", "marker": "x", "ls": ""}
    key(fig, styles)
    return fig
