"""A metric over α × β: flat, in three dimensions, and against another metric."""

from collections.abc import Mapping
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import display
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from maclcore.plots.ablations import SIGNS, WIDTH, sign_colour
from maclcore.plots.style import GREY

#: settings that a figure marks: name -> (α, β)
Marks = Mapping[str, tuple[float, float]]
FRAMES = ({"ec": "red"}, {"ec": "red", "ls": ":"}, {"ec": "black"})


def heatmaps(
    grids: Mapping[str, pd.DataFrame], metric: str, marks: Mapping[str, Marks] | None = None
) -> Figure:
    """A metric in percent over β (columns) and α (rows, upward), a map a grid, one colour range.

    marks: of each grid, by its title, the settings that are framed, by name.
    """
    marks = marks or {title: {} for title in grids}
    low, high = _range(grids)
    fig, axes = plt.subplots(1, len(grids), figsize=(WIDTH, 4.3), sharey=True, squeeze=False)
    frames = dict(
        zip(dict.fromkeys(name for each in marks.values() for name in each), FRAMES, strict=False)
    )
    for ax, (title, grid) in zip(axes.flat, grids.items(), strict=True):
        values = grid.sort_index().to_numpy()
        image = ax.imshow(
            values, cmap="viridis", vmin=low, vmax=high, aspect="auto", origin="lower"
        )
        for (i, j), value in np.ndenumerate(values):
            dark = (value - low) / (high - low) < 0.6
            ax.annotate(f"{value:.1f}", (j, i), ha="center", va="center", fontsize=9,
                        color="white" if dark else "black")  # fmt: skip
        ax.set_xticks(range(len(grid.columns)), [f"{value:g}" for value in grid.columns])
        ax.set_yticks(range(len(grid)), [f"{v:g}".replace("-", "−") for v in sorted(grid.index)])
        ax.tick_params(length=0)
        ax.set(title=title, xlabel="β")
        for k, (name, (alpha, beta)) in enumerate(marks[title].items()):
            at = (list(grid.columns).index(beta), sorted(grid.index).index(alpha))
            inset = 0.46 - 0.07 * k
            corner = (at[0] - inset, at[1] - inset)
            ax.add_patch(
                plt.Rectangle(corner, 2 * inset, 2 * inset, fill=False, lw=2, **frames[name])
            )
    axes[0, 0].set_ylabel("α")
    fig.colorbar(image, ax=axes, label=f"{metric}, %", pad=0.01, aspect=30)
    handles = [plt.Rectangle((0, 0), 1, 1, fill=False, lw=2, **style) for style in frames.values()]
    if frames:
        fig.legend(handles, list(frames), loc="outside upper center", ncols=len(frames))
    return fig


def surfaces(grids: Mapping[str, pd.DataFrame], metric: str) -> Figure:
    """3-D surfaces of a metric in percent over α (rows) × β (columns), on one z-range."""
    low, high = _range(grids)
    fig = plt.figure(figsize=(WIDTH, 3.7))
    for i, (title, grid) in enumerate(grids.items()):
        ax = fig.add_subplot(1, len(grids), i + 1, projection="3d")
        beta, alpha = np.meshgrid(grid.columns, grid.index)
        ax.plot_surface(
            alpha, beta, grid.to_numpy(), cmap="viridis", vmin=low, vmax=high,
            edgecolor="0.3", lw=0.5, rstride=1, cstride=1,
        )  # fmt: skip
        ax.set(xlabel="α", ylabel="β", zlabel=f"{metric}, %", zlim=(low, high))
        ax.set_title(title, y=1.0)
        for axis in ("x", "y"):
            ax.locator_params(axis=axis, nbins=5)  # more of them run into one another
            ax.tick_params(axis=axis, pad=-1)
        ax.view_init(elev=24, azim=-130)
        ax.set_box_aspect((5, 5, 4), zoom=0.92)  # the z label just fits
    return fig


def surfaces_interactive(
    grids: Mapping[str, Mapping[str, pd.DataFrame]],
    spreads: Mapping[str, Mapping[str, pd.DataFrame]],
) -> go.Figure:
    """Surfaces for plotly, with α, β, the value and ± its standard deviation over seeds on hover; a
    button a metric.

    grids: metric -> title -> means in percent, α × β; spreads: the deviations, alike.
    """
    metrics = list(grids)
    titles = list(grids[metrics[0]])
    fig = go.Figure().set_subplots(
        1, len(titles), specs=[[{"type": "surface"}] * len(titles)], subplot_titles=titles,
        horizontal_spacing=0.02,
    )  # fmt: skip
    for metric in metrics:
        low, high = _range(grids[metric])
        for i, title in enumerate(titles):
            grid, spread = grids[metric][title], spreads[metric][title]
            several = bool(spread.notna().all(axis=None))  # one seed has no deviation
            said = spread.round(2).to_numpy().tolist() if several else None
            fig.add_surface(
                x=[float(v) for v in grid.columns], y=[float(v) for v in grid.index],
                z=grid.round(2).to_numpy().tolist(), customdata=said,
                cmin=low, cmax=high, colorscale="Viridis", showscale=i == len(titles) - 1,
                colorbar={"title": {"text": f"{metric}, %", "side": "right"}, "len": 0.8},
                visible=metric == metrics[0], row=1, col=i + 1,
                hovertemplate=f"α %{{y}}<br>β %{{x}}<br>{metric} %{{z:.2f}}"
                + " ± %{customdata:.2f}" * several + " %<extra></extra>",
            )  # fmt: skip
    eye = {"x": -1.6, "y": -1.7, "z": 0.9}  # so far off that the labels of the axes are within
    fig.update_scenes(
        xaxis={"title": "β", "dtick": 1}, yaxis={"title": "α", "dtick": 1}, zaxis_title="",
        camera_eye=eye, aspectmode="cube",
    )  # fmt: skip
    buttons = [
        {
            "label": metric, "method": "update",
            "args": [{"visible": [m == metric for m in metrics for _ in titles]}],
        }
        for metric in metrics
    ]  # fmt: skip
    fig.update_layout(
        autosize=True, height=480, margin={"l": 60, "r": 60, "t": 90, "b": 60},
        updatemenus=[{"type": "buttons", "direction": "right", "buttons": buttons,
                      "x": 0, "y": 1.2, "xanchor": "left"}],
    )  # fmt: skip
    return fig


def metric_against_metric(
    settings: pd.DataFrame,
    x: str,
    y: str,
    marks: Mapping[str, tuple[float, float]],
    line: pd.DataFrame,
) -> Figure:
    """One metric against another in percent, a point a setting in the colour of its `alpha`;
    settings with weights (`reweight`) are filled.

    marks: name -> values of x and y in percent; line: rows of `collect()` of MulSupCon over τ.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 4.4))
    largest = float(settings["alpha"].abs().max())
    for weighted, part in settings.groupby("reweight"):
        colours = [sign_colour(alpha, largest) for alpha in part["alpha"]]
        faces = colours if weighted else "white"
        ax.scatter(100 * part[x], 100 * part[y], s=34, c=faces, edgecolors=colours, lw=1.3,
                   label="w and T" if weighted else "T alone (w = 1)")  # fmt: skip
    if len(line):
        over = 100 * line.groupby("param: temperature")[[x, y]].mean()
        ax.plot(over[x], over[y], "-x", color=GREY, lw=1, ms=6, label="MulSupCon over τ")
        for tau in {over.index[0], over.index[-1], over[y].idxmax()}:
            ax.annotate(f"τ = {tau:g}", over.loc[tau], (7, 4), textcoords="offset points",
                        fontsize=9, color=GREY)  # fmt: skip
    for name, at in marks.items():
        ax.annotate(name, at, (-70, -14), textcoords="offset points", fontsize=9, ha="right",
                    arrowprops={"arrowstyle": "-", "color": "black", "lw": 0.8})  # fmt: skip
    scale = ScalarMappable(Normalize(-largest, largest), SIGNS)
    bar = fig.colorbar(scale, ax=ax, label="α", pad=0.01, aspect=30)
    bar.ax.set_ylim(settings["alpha"].min(), settings["alpha"].max())
    ax.set(xlabel=f"{x}, %", ylabel=f"{y}, %")
    ax.legend(loc="lower right")
    return fig


def show_interactive(interactive: go.Figure, still: Figure, alt: str) -> None:
    """One output with both: a viewer that draws plotly shows it, any other the picture."""
    file = BytesIO()
    still.savefig(file, format="png", dpi=100)  # jupyterlab-plotly shows it at its own size
    plt.close(still)
    bundle = {
        "application/vnd.plotly.v1+json": interactive.to_plotly_json(),
        "image/png": file.getvalue(),
        "text/plain": alt,
    }
    metadata = {"image/png": {"width": 840, "alt": alt}}
    display(bundle, metadata=metadata, raw=True)


def _range(grids: Mapping[str, pd.DataFrame]) -> tuple[float, float]:
    values = np.concatenate([grid.to_numpy().ravel() for grid in grids.values()])
    pad = max(0.05 * (values.max() - values.min()), 0.1)
    return float(values.min() - pad), float(values.max() + pad)
