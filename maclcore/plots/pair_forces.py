"""To which pairs a loss gives its force: over α, as a figure and with sliders; loss by loss."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from maclcore.extras import need
from maclcore.losses.forces import BANDS
from maclcore.plots.ends import name_ends
from maclcore.plots.style import GREY, colour, legend, name_rows

#: kinds of pairs as `maclcore.losses.forces` has them, in words and colours
WORDS = {"equal": "equal label sets", "some": "some labels shared", "none": "no label shared"}
SHADES = {"equal": colour("macl"), "some": GREY, "none": colour("mulsupcon")}
#: bands of Jaccard indices, from none to equal
BAND_SHADES = ("#29406B", "#7F9CC9", "#C9C9C9", "#E9A36B", "#D55E00")
#: how far the embedding has come, in words
LEVELS = {0.0: "all similarities 0: training begins", 1.0: "each similarity as it should be, s = J"}


def pair_forces(
    table: pd.DataFrame, levels: Mapping[float, str] = LEVELS, alpha: float = 1.5
) -> Figure:
    """The share of all force that draws pairs of each kind together (above 0) or pushes them apart
    (below), over α, a panel a level.

    table: as `maclcore.losses.forces.pair_forces` gives it; levels: those to draw, with titles;
    alpha: that is marked.
    """
    size = (8.4 if len(levels) > 1 else 6.4, 3.4)
    fig, axes = plt.subplots(1, len(levels), figsize=size, sharey=True, squeeze=False)
    first, last = table["alpha"].min(), table["alpha"].max()
    for ax, (level, title) in zip(axes.flat, levels.items(), strict=True):
        part = table[table["level"] == level]
        shares = part.pivot(index="alpha", columns="kind", values="share")
        ax.axhspan(-100, 0, color="0.95", zorder=0)
        ax.axvline(alpha, color="black", lw=1, ls=":")
        for kind in WORDS:
            heavy = 2.6 if kind == "equal" else 1.5
            ax.plot(shares.index, shares[kind], color=SHADES[kind], lw=heavy)
            ax.plot(alpha, shares.loc[alpha, kind], "o", color=SHADES[kind], ms=6)
        ax.set_title(title)
        ax.set(xlim=(first, last), ylim=(-75, 58), xlabel="α")
    name_ends(ax, last, {WORDS[k]: (shares[k].iloc[-1], SHADES[k]) for k in WORDS}, 9)
    ax = axes[0, 0]
    printed = "α = 1.5, as printed" if alpha == 1.5 else f"α = {alpha:g}".replace("-", "−")
    ax.annotate(printed, (alpha, -73), (-4, 0), textcoords="offset points", ha="right", fontsize=9)
    ax.annotate("drawn together ↑", (first + 0.08, 50), fontsize=9, color="0.35")
    ax.annotate("pushed apart ↓", (first + 0.08, -64), fontsize=9, color="0.35")
    ax.set_ylabel("share of the loss's force, %")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}".replace("-", "−"))
    return fig


def band_forces(table: pd.DataFrame, levels: Mapping[float, str] = LEVELS) -> Figure:
    """The share of each loss's force that draws pairs of a band together (to the right of 0) or
    pushes them apart (to the left), a row a loss, a panel a level.

    table: of one archive, as `maclcore.audit.forces.archive_bands` gives it.
    """
    names = list(table["loss"].unique())
    size = (4.2 * len(levels), 1.2 + 0.36 * len(names))
    fig, axes = plt.subplots(1, len(levels), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (level, title) in zip(axes.flat, levels.items(), strict=True):
        part = table[table["level"] == level]
        shares = part.pivot(index="loss", columns="band", values="share").loc[names, list(BANDS)]
        for side in (shares.clip(lower=0), shares.clip(upper=0)):
            # to the right the most alike stand at the end, to the left the least
            order = BANDS if side.to_numpy().max() > 0 else BANDS[::-1]
            left = side[list(order)].cumsum(axis=1) - side[list(order)]
            for band in order:
                shade = BAND_SHADES[BANDS.index(band)]
                ax.barh(names, side[band], 0.7, left[band], color=shade, label=f"J: {band}")
        ax.axvline(0, color="black", lw=1)
        ax.set(title=title, xlabel="share of the loss's force, %")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}".replace("-", "−"))
    name_rows(axes[0, 0], names)
    legend(fig, "upper center")
    return fig


def sentence(table: pd.DataFrame, alpha: float, level: float) -> str:
    """What becomes of pairs with equal label sets there."""
    at = table[(table["alpha"] == alpha) & (table["level"] == level)].set_index("kind")
    share = at.loc["equal", "share"]
    does = "draws them together" if share > 0 else "pushes them apart"
    return (
        f"α = {alpha:g}, s = {level:g} J: {abs(share):.0f} % of the force acts on pairs with "
        f"equal label sets, and <b>{does}</b>."
    ).replace("-", "−")


def force_sliders(table: pd.DataFrame) -> Any:
    """`pair_forces` with a slider for α and one for the level; an ipywidgets box.

    ImportError without the extra `notebooks`.
    """
    need("notebooks", "a figure with sliders")
    import ipywidgets

    def slider(column: str, name: str, value: float) -> Any:
        steps = [(f"{step:g}".replace("-", "−"), step) for step in sorted(table[column].unique())]
        return ipywidgets.SelectionSlider(options=steps, value=value, description=name)

    alpha, level = slider("alpha", "α", 1.5), slider("level", "s / J", 1.0)
    image, words = ipywidgets.Image(format="png", width=640), ipywidgets.HTML()

    def redraw(_: object = None) -> None:
        title = LEVELS.get(level.value, f"s = {level.value:g} J")
        fig = pair_forces(table, {level.value: title}, alpha.value)
        file = BytesIO()
        fig.savefig(file, format="png", dpi=150)
        plt.close(fig)
        image.value, words.value = file.getvalue(), sentence(table, alpha.value, level.value)

    for control in (alpha, level):
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox([alpha, level]), words, image])


def show_sliders(table: pd.DataFrame) -> None:
    """`force_sliders` where widgets run; elsewhere a line says that they need a kernel."""
    line = "*Sliders for α and s stand here where the notebook runs, as in JupyterLab.*"
    bundle = {"text/plain": line.strip("*"), "text/markdown": line}
    display(force_sliders(table)._repr_mimebundle_() | bundle, raw=True)
