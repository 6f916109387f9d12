"""The finding as one picture: every loss between a random ranking and a perfect one."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from maclcore.losses import LOSSES
from maclcore.plots.style import GREY, colour, label

OURS, PRINTED = 0.0, 1.0  # rows of an archive


def finding(
    means: pd.DataFrame,
    published: Mapping[str, pd.DataFrame],
    metrics: Mapping[str, str],
    marked: Sequence[str] = ("macl", "mulsupcon", "lproto"),
) -> Figure:
    """Losses between chance (0 %) and the oracle (100 %): a band an archive, a panel a metric.

    Above, our runs: a dot a loss, `marked` ones with colour and name, and a tick for the network
    before training, `frozen`. Below, crosses: the published values, on the same way.

    Args:
        means: (archive, loss) × metrics, of all losses and the rows chance, frozen and oracle.
            KeyError without one of these.
        published: for some of the archives losses × metrics, in the unit of `means`.
        metrics: those to show, and the title of the panel of each.
    """
    archives = list(means.index.unique(0))
    size = (8.4, 0.9 + 1.25 * len(archives))
    fig, axes = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False)
    for ax, (metric, title) in zip(axes[0], metrics.items(), strict=True):
        for band, archive in enumerate(archives):
            values = means.loc[archive, metric]
            way = 100 * (values - values["chance"]) / (values["oracle"] - values["chance"])
            y = 2.6 * band
            _ours(ax, way, y, marked, named=band == 0)
            if archive in published:
                printed = published[archive][metric]
                printed = 100 * (printed - values["chance"]) / (values["oracle"] - values["chance"])
                _published(ax, printed, y + PRINTED, named=band == 0)
        ax.axvline(0, color="black", lw=1, ls=":")
        ax.axvline(100, color="black", lw=1, ls="--")
        ax.set(title=title, xlim=(-9, 104), ylim=(2.6 * len(archives) - 1.1, -1.5))
        ax.set_xticks([0, 50, 100], ["0 %\nrandom", "50 %", "100 %\nperfect"])
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    rows = [(2.6 * i + at, text) for i, archive in enumerate(archives)
            for at, text in ((OURS, f"{archive}\nour runs"), (PRINTED, "as published"))
            if at == OURS or archive in published]  # fmt: skip
    axes[0, 0].set_yticks(*zip(*rows, strict=True))
    return fig


def _ours(ax: plt.Axes, way: pd.Series, y: float, marked: Sequence[str], named: bool) -> None:
    ax.axhline(y, color=GREY, lw=0.6, alpha=0.5, zorder=0)
    ax.plot([way["frozen"]] * 2, [y - 0.45, y + 0.45], color="black", lw=2)
    losses = [name for name in way.index if name in LOSSES]
    others = way[[name for name in losses if name not in marked]]
    ax.plot(others, [y] * len(others), "o", color=GREY, alpha=0.45, ms=7, mec="none")
    for name in (name for name in marked if name in way):
        size = 6 if name == marked[1] else 9  # where two lie on one another both are seen
        ax.plot(way[name], y, "o", color=colour(name), ms=size, mec="white", zorder=12 - size)
    if named:
        ax.annotate("before\ntraining", (way["frozen"], y - 0.62), ha="center", fontsize=9)
        _names(ax, way, y, [name for name in marked if name in way])


def _names(ax: plt.Axes, way: pd.Series, y: float, names: Sequence[str]) -> None:
    """Each below its dot, from the left to the right, or above where it would cover another."""
    end = -float("inf")
    for name in sorted(names, key=way.get):
        half = 2.0 * len(label(name))
        below = way[name] - half > end
        end = way[name] + half if below else end
        dark = [0.7 * part for part in to_rgb(colour(name))]
        ax.annotate(label(name), (way[name], y + (0.27 if below else -0.22)), ha="center",
                    va="top" if below else "bottom", fontsize=9, color=dark,
                    fontweight="bold")  # fmt: skip


def _published(ax: plt.Axes, way: pd.Series, y: float, named: bool) -> None:
    ax.plot(way, [y] * len(way), "x", color="black", ms=6, mew=1.2)
    if named:
        text = f"all {len(way)} losses" + (", as a random ranking" if way.abs().max() < 3 else "")
        ax.annotate(text, (max(way.max(), 0) + 3, y), va="center", fontsize=9)
