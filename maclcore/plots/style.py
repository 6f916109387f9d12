"""How figures look: colours, lines and names of methods; what several figures share."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from maclcore.losses import COLOURS, WEAK_COLOURS
from maclcore.losses import method_label as label

GREY = "#7f7f7f"


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


def colour(method: str) -> str:
    return (COLOURS | WEAK_COLOURS).get(method, GREY)


def stamp(fig: Figure, profile: str, archive: str) -> Figure:
    """Small grey provenance at the lower right, unless the profile is `paper`."""
    if profile != "paper":
        fig.supxlabel(f"{profile} · {archive}", fontsize=8, color=GREY, x=0.995, ha="right")
    return fig


def picture(image: np.ndarray) -> np.ndarray:
    """An image (3, H, W) with its channels last, as matplotlib has them."""
    return np.moveaxis(np.asarray(image), 0, -1)


def name_rows(ax: plt.Axes, methods: Sequence[str]) -> None:
    """A row a method, the first on top."""
    ax.set_yticks(range(len(methods)), [label(method) for method in methods])
    ax.set_ylim(len(methods) - 0.5, -0.5)


def legend(fig: Figure, place: str) -> None:
    """One legend for all axes, outside of them, with each name once; above them it is one row."""
    entries = {}
    for ax in fig.axes:
        handles, names = ax.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    columns = len(entries) if "upper" in place else 1
    fig.legend(list(entries.values()), list(entries), loc=f"outside {place}", ncols=columns)


def key(fig: Figure, styles: Mapping[str, Mapping]) -> None:
    """A legend above, of lines and markers in these styles whatever is drawn."""
    handles = [plt.Line2D([], [], **style) for style in styles.values()]
    fig.legend(handles, list(styles), loc="outside upper center", ncols=len(styles))
