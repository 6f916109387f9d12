"""What a paper says against what can be known: verdicts, and printed values beside chance."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from maclcore.plots.style import GREY, colour, key

#: a colour a verdict, told apart with any eyes
VERDICT_COLOURS = {
    "reproduced": "#0072B2",
    "not reproduced": "#D55E00",
    "contradicted by the paper's own tables": "#771155",
    "not testable": "#BBBBBB",
    "undecided": "#F0C24B",
}
THRESHOLDS = ("mAP@0.4", "mAP@0.6", "mAP@0.8")


def verdict_squares(ledger: pd.DataFrame) -> Figure:
    """A square a claim, by verdict, in rows by topic; with the number of each verdict above.

    ledger: rows with `topic` and `verdict`, as of `claims.ledger`; topics keep their order.
    """
    topics = list(dict.fromkeys(ledger["topic"]))
    fig, ax = plt.subplots(figsize=(8.4, 0.36 * len(topics) + 0.8))
    for y, topic in enumerate(topics):
        counts = ledger.loc[ledger["topic"] == topic, "verdict"].value_counts()
        x = 0
        for verdict, shade in VERDICT_COLOURS.items():
            n = counts.get(verdict, 0)
            ax.plot([*range(x, x + n)], [y] * n, "s", color=shade, ms=15, mec="white")
            x += n
    most = ledger["topic"].value_counts().max()
    ax.set(xlim=(-0.7, max(most, 22) - 0.3), ylim=(len(topics) - 0.4, -0.6), xticks=[])
    ax.set_yticks(range(len(topics)), topics, fontsize=10)
    ax.tick_params(left=False)
    ax.spines[:].set_visible(False)
    counts = ledger["verdict"].value_counts()
    key(fig, {
        f"{counts.get(verdict, 0)} {verdict.split(' by ')[0]}":
            {"color": shade, "ls": "", "marker": "s", "ms": 10}
        for verdict, shade in VERDICT_COLOURS.items()
    })  # fmt: skip
    return fig


def printed_beside_chance(
    labels: Mapping[str, pd.DataFrame],
    printed: Mapping[str, pd.DataFrame],
    metrics: Sequence[str],
    *,
    marked: str = "macl",
) -> Figure:
    """Published values on the way from a random ranking to an oracle, a panel an archive, in
    percent; over the threshold columns stands how near to chance all of them are.

    labels: by archive's title rows "chance mAP@0.4", "oracle mAP@0.4" …, columns `mean` and
        `deviation` over splits, as `evidence.label_statistics` has them.
    printed: by archive's title methods × `metrics`; the row `marked` is coloured.
    """
    fig, axes = plt.subplots(
        1, len(printed), figsize=(8.4, 0.4 * len(metrics) + 1.2), sharey=True, squeeze=False
    )
    for ax, (title, table) in zip(axes.flat, printed.items(), strict=True):
        for y, metric in enumerate(metrics):
            low, high = (labels[title].loc[f"{row} {metric}"] for row in ("chance", "oracle"))
            ax.barh(y, high["mean"] - low["mean"], 0.55, low["mean"], color="0.91", zorder=0)
            ax.barh(y, 4 * low["deviation"], 0.55, low["mean"] - 2 * low["deviation"],
                    color="0.7", zorder=1)  # fmt: skip
            ax.plot([low["mean"]] * 2, [y - 0.4, y + 0.4], color="black", lw=2, zorder=2)
            others = table[metric].drop(marked)
            ax.plot(others, [y] * len(others), "|", color=GREY, ms=13, mew=1, zorder=3)
            ax.plot(table.loc[marked, metric], y, "D", color=colour(marked), ms=5, zorder=4)
        _say_how_near(ax, labels[title], table, metrics)
        ax.set(title=title, xlabel="%", xlim=(0, 100))
    axes[0, 0].set_yticks(range(len(metrics)), metrics)
    axes[0, 0].invert_yaxis()
    key(fig, {
        "random ranking (grey: ± 2 sd over splits)": {"color": "black", "lw": 2},
        "printed: MACL": {"color": colour(marked), "ls": "", "marker": "D", "ms": 5},
        "printed: the other twelve": {"color": GREY, "ls": "", "marker": "|", "ms": 13},
        "up to an oracle": {"color": "0.88", "lw": 8},
    })  # fmt: skip
    return fig


def from_chance(labels: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Printed values of the threshold columns minus those of a random ranking, in points."""
    chance = labels["mean"].loc[[f"chance {metric}" for metric in THRESHOLDS]]
    return table[list(THRESHOLDS)] - chance.to_numpy()


def _say_how_near(
    ax: plt.Axes, labels: pd.DataFrame, table: pd.DataFrame, metrics: Sequence[str]
) -> None:
    gaps = from_chance(labels, table).abs()
    rows = [list(metrics).index(name) for name in THRESHOLDS]
    far, n = gaps.max(axis=None), gaps.size
    words = f"{n} of {n} printed values\nwithin {far:.1f} points\nof a random ranking"
    ax.text(97, sum(rows) / len(rows), words, ha="right", va="center", fontsize=9,
            bbox={"fc": "white", "ec": "none", "pad": 2}, zorder=5)  # fmt: skip
