"""Metrics over the settings of a loss: curves over one, surfaces over two."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import seaborn as sns
from matplotlib.figure import Figure
from scipy.stats import t as student

from maclcore.losses import LOSSES
from maclcore.plots.style import GREY, REFERENCE_STYLE, SYMBOLS, colour, label, legend


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
    legend(fig, "right center")
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


def _range(grids: Mapping[str, pd.DataFrame], chance: float | None) -> tuple[float, float]:
    values = np.concatenate([grid.to_numpy().ravel() for grid in grids.values()])
    low = values.min() if chance is None else min(values.min(), chance)
    pad = max(0.05 * (values.max() - low), 0.1)
    return float(low - pad), float(values.max() + pad)
