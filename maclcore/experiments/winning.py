"""Which loss should one use? What the stored rows of `winner` say of the proposed loss.

As in `standing`, sentences are computed from the rows that they speak of, and turn with them:
nothing here knows who has won.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from maclcore.evaluation import statistics
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import standing
from maclcore.experiments.standing import ARCHIVE, GRADED
from maclcore.experiments.tables import stored_experiment
from maclcore.experiments.winner import CHOSEN, PROPOSED, TRIALS, WEIGHTS
from maclcore.experiments.words import (
    counted,
    interval,
    listed,
    ordinal,
    points,
    probability,
    share,
    title,
)
from maclcore.losses import LOSSES, method_label

PROTOCOLS = {"quick": "the whole network trained", "frozen": "the head alone trained"}
IN_SHORT = {"quick": "whole network", "frozen": "head alone"}
ORDER = ("dlrsd", "ucm_multilabel", "ml_aid")
#: made of several losses, as the proposed one is: its kin, no rivals
KIN = tuple(name for name in CHOSEN if LOSSES[name].source == "our own")
#: settings of each loss among which it was chosen, in words
TRIED = counted(max(map(len, TRIALS.values())), "setting").split()[0]
SIDES = ("ahead", "level", "behind")


@dataclass(frozen=True)
class Standing:
    """How the losses of `winner` stand to one another under one profile."""

    profile: str
    runs: pd.DataFrame  #: rows of `collect()`, of those seeds that have all of `winner`
    levels: pd.DataFrame  #: `statistics.summary`, rows (archive, metric, loss), archives by title
    gaps: pd.DataFrame  #: `proposed_gaps`, rows (archive, metric, loss)
    loss: str = PROPOSED

    @classmethod
    def load(cls, profile: str, archive: str | None = None) -> "Standing":
        """Of the stored rows, of one archive or of all; with nothing in it where there are none."""
        runs = whole(stored_experiment("winner"), profile)
        if archive is not None:
            runs = runs[runs["archive"] == archive]
        values = standing.values_by_archive(runs) if len(runs) else {}
        return cls.measured(profile, runs, values)

    @classmethod
    def measured(
        cls, profile: str, runs: pd.DataFrame, values: dict[str, pd.DataFrame], loss: str = PROPOSED
    ) -> "Standing":
        """Of values of each query by the archive's title, columns (metric, loss)."""
        rows = [pd.DataFrame(), pd.DataFrame()]
        if values:
            names = ["archive", "metric", "loss"]
            tables = (
                {name: statistics.summary(table) for name, table in values.items()},
                {name: proposed_gaps(table, loss) for name, table in values.items()},
            )
            rows = [pd.concat(of, names=names) for of in tables]
        return cls(profile, runs, *rows, loss)

    @property
    def means(self) -> pd.DataFrame:
        """Methods × (archive, metric), chance, frozen and oracle with them."""
        return self.levels["mean"].unstack(["archive", "metric"])

    @property
    def rivals(self) -> list[str]:
        """Losses that are not made of others, the proposed one aside."""
        return [name for name in self.gaps.index.unique("loss") if name not in KIN]

    @property
    def ranks(self) -> pd.Series:
        """Mean rank of each loss over all columns, 1 the best, in order of it."""
        return standing.mean_ranks(self.means)

    @property
    def titles(self) -> list[str]:
        """Of the archives."""
        return list(self.gaps.index.unique("archive")) if self else []

    @property
    def columns(self) -> int:
        return self.means.shape[1]

    @property
    def critical(self) -> float:
        """Mean ranks that differ by less are alike (Nemenyi)."""
        return statistics.critical_difference(len(self.ranks), self.columns)

    def __bool__(self) -> bool:
        return bool(len(self.gaps))


def whole(rows: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Those of a profile and of `WEIGHTS`, of each archive's seeds that have every method."""
    rows = rows[(rows["profile"] == profile) & (rows["weights"] == WEIGHTS)]
    many = rows.groupby(["archive", "seed"])["loss"].transform("nunique")
    place = rows["archive"].map({name: i for i, name in enumerate(ORDER)})
    rows = rows.assign(place=place)[many == len(CHOSEN) + 3]  # chance, frozen, oracle
    return rows.sort_values(["place", "seed"], kind="stable").drop(columns="place")


def proposed_gaps(values: pd.DataFrame, loss: str = PROPOSED) -> pd.DataFrame:
    """The loss minus every other one, rows (metric, loss): `difference`, its interval `low` to
    `high` over queries, seeds and splits, and `p` and `holm` of `statistics.pairwise`, whose
    correction is over all pairs of losses in a metric, whichever is proposed."""
    losses = [name for name in values.columns.unique("loss") if name in LOSSES]
    values = values[pd.MultiIndex.from_product([METRICS, losses], names=["metric", "loss"])]
    others = values.drop(columns=loss, level="loss")
    mine = values.xs(loss, axis=1, level="loss")
    gap = mine[others.columns.get_level_values("metric")].to_numpy() - others
    table = statistics.summary(gap).rename(columns={"mean": "difference"})
    tests = statistics.pairwise(values)[["p", "holm"]]
    # a pair stands in the table once, in the order of its losses
    pair = [
        tests[tests.index.isin([loss], level=level)].droplevel(level) for level in ("loss", "rival")
    ]
    tests = pd.concat([one.rename_axis(["metric", "loss"]) for one in pair])
    return table[["difference", "low", "high"]].join(tests)


def side(gaps: pd.DataFrame) -> pd.Series:
    """Of each row one of `SIDES`, by its interval."""
    word = pd.Series("level", gaps.index).mask(gaps["low"] > 0, "ahead")
    return word.mask(gaps["high"] < 0, "behind")


def against_best(found: Standing) -> pd.DataFrame:
    """The proposed loss minus the best rival of each column, a bar that no single loss meets: rows
    (archive, metric) with the `rival`, which is chosen on the very runs it is compared on, and
    what `proposed_gaps` says of it."""
    best = found.means.loc[found.rivals].idxmax()
    rows = [(*column, rival) for column, rival in best.items()]
    return found.gaps.loc[rows].reset_index("loss").rename(columns={"loss": "rival"})


def dominance(found: Standing) -> pd.DataFrame:
    """In how many columns the proposed loss is ahead of each other loss, level and behind: rows
    (archive, loss), columns `SIDES`."""
    counts = side(found.gaps).groupby(level=["archive", "loss"], sort=False).value_counts()
    return counts.unstack(fill_value=0).reindex(columns=list(SIDES), fill_value=0)


def dominance_table(found: Standing) -> pd.DataFrame:
    """Rivals × archives as text, "7 · 0 · 0": ahead, level, behind."""
    counts = dominance(found)
    text = counts[list(SIDES)].astype(str).agg(" · ".join, axis=1).unstack("archive")
    ranks = found.ranks.drop(found.loss)
    return text.loc[ranks.index, counts.index.unique("archive")]


def protocol(found: Standing) -> str:
    """ "whole network, five splits"."""
    seeds = found.runs.groupby("archive")["seed"].nunique()
    splits = listed(counted(n, "split") for n in sorted(seeds.unique()))
    size = listed(f"{n} px" for n in found.runs["image_size"].unique())
    epochs = listed(counted(n, "epoch") for n in found.runs["epochs"].unique())
    return f"{PROTOCOLS[found.profile]}, {size}, {epochs}, {splits}"


def provenance(found: Standing) -> str:
    """Which archives and how trained, as captions have it."""
    return f"{listed(map(title, found.titles))}; {protocol(found)}" if found else ""


def nothing(profile: str) -> str:
    """What is said of a profile without stored rows."""
    return (
        f"No seed of `winner` is stored whole at the profile `{profile}` "
        f"({PROTOCOLS[profile]}): `python -m maclcore sweep winner --profile {profile}` has them."
    )


def answer(found: Standing) -> str:
    """The first thing to know: who is first, and how the proposed loss stands to the best of all
    others, column by column."""
    ranks, name = found.ranks, method_label(found.loss)
    best = against_best(found)
    counts = side(best).value_counts()
    ahead = share(counts.get("ahead", 0), len(best))
    rivals = ranks.index.intersection(found.rivals, sort=False)
    if ranks.index[0] == found.loss:
        first = (
            f"**{name} is first** by mean rank over {found.columns} columns, "
            f"{ranks.iloc[0]:.1f} of {len(ranks)} losses; of its {len(rivals)} rivals the next is"
        )
    else:
        kin = "its kin " if ranks.index[0] in KIN else ""
        first = (
            f"**{name} is not first**, but {kin}{method_label(ranks.index[0])}, by mean rank over "
            f"{found.columns} columns {ranks[found.loss]:.1f} to {ranks.iloc[0]:.1f} of "
            f"{len(ranks)} losses; the first of its {len(rivals)} rivals is"
        )
    return (
        f"* {first} {method_label(rivals[0])}, {ranks[rivals[0]]:.1f} "
        f"({provenance(found)}). {_over_seven(found, rivals[0])}\n"
        f"* **Against the best rival of each column**, another one each time and a bar that none "
        f"of them meets, the 95 % interval of the difference lies above zero in {ahead} columns, "
        f"holds it in {counts.get('level', 0)} and lies below in {counts.get('behind', 0)}.\n"
        f"* {where_not(found)}"
    )


def _over_seven(found: Standing, rival: str) -> str:
    mine = found.gaps.xs(rival, level="loss")
    mean = mine["difference"].groupby(level="archive", sort=False).mean()
    graded = mine.xs(GRADED, level="metric")
    told = listed(
        f"{points(mean[name])} on {title(name)} (`{GRADED}` {interval(row)})"
        for name, row in graded.iterrows()
    )
    return (
        f"Its differences from {method_label(rival)}, in points of the mean of the seven metrics: "
        f"{told}."
    )


def best_in_short(found: Standing) -> str:
    """Figure's words: how the proposed loss stands to the best rival of each column."""
    best = against_best(found)
    ahead, behind = ((side(best) == word).sum() for word in ("ahead", "behind"))
    return (
        f"{method_label(found.loss)} is above the best of its rivals in {share(ahead, len(best))} "
        f"columns, and below it in {share(behind, len(best))}."
    )


def also(found: Standing) -> str:
    """The same of another protocol, in a line."""
    best, ranks = against_best(found), found.ranks
    ahead, behind = ((side(best) == word).sum() for word in ("ahead", "behind"))
    what, size = protocol(found).split(", ", 1)
    return (
        f"* **{what.capitalize()}** ({size}) it is {_place(found)} of {len(ranks)} by mean rank, "
        f"{ranks[found.loss]:.1f}; above the best rival of the column in {ahead} of {len(best)} "
        f"and below in {behind}{_lost(best)}."
    )


def in_short(found: Standing) -> str:
    """The advice in two sentences, for pages that lead here."""
    best = against_best(found)
    ahead, behind = ((side(best) == word).sum() for word in ("ahead", "behind"))
    return (
        f"**{method_label(found.loss)}** (`--loss {found.loss}`) is {_place(found)} of "
        f"{len(found.ranks)} losses, each at the best of {TRIED} settings, chosen on other "
        f"splits. "
        f"Against the best rival *of each column* it gains in {ahead} of {len(best)}, beyond the "
        f"95 % interval, and loses in {behind}{_lost(best)}."
    )


def _place(found: Standing) -> str:
    place = found.ranks.index.get_loc(found.loss)
    return ordinal(place + 1) if place else "first"


def _lost(best: pd.DataFrame) -> str:
    """Where a loss is behind the best rival, in brackets."""
    lost = best[side(best) == "behind"]
    names = [
        f"`{metric}` on {title(name)}, to {method_label(rival)}"
        for (name, metric), rival in lost["rival"].items()
    ]
    return f" ({listed(names)})" if names else ""


def where_not(found: Standing) -> str:
    """In which columns the proposed loss is behind some rival, and by how much."""
    best = against_best(found)
    behind = best[side(best) == "behind"]
    if behind.empty:
        return f"There is no column in which {method_label(found.loss)} is behind any rival."
    told = "; ".join(
        f"{title(name)}: "
        + listed(
            f"`{row.name[1]}` {interval(row)} to {method_label(row['rival'])}"
            for _, row in part.iterrows()
        )
        for name, part in behind.groupby(level="archive", sort=False)
    )
    return f"**Where it does not hold**, in points behind the best rival of the column: {told}."


def dominates(found: Standing) -> str:
    """How many rivals the proposed loss is behind in no column of an archive, and who is left."""
    counts = dominance(found)
    counts = counts[counts.index.isin(found.rivals, level="loss")]
    told = []
    for name, part in counts.groupby(level="archive", sort=False):
        left = part[part["behind"] > 0].droplevel("archive")
        names = [f"{method_label(loss)} ({n})" for loss, n in left["behind"].items()]
        but = f" (not {listed(names)})" if names else ""
        told.append(f"{share(len(part) - len(left), len(part))} on {title(name)}{but}")
    return (
        f"**Rival by rival**: those that {method_label(found.loss)} is behind in no column "
        f"(beyond the 95 % interval): {'; '.join(told)}."
    )


def tests(found: Standing) -> str:
    """What permutation tests say, corrected for all pairs of losses in a column."""
    gaps = found.gaps[found.gaps.index.isin(found.rivals, level="loss")]
    apart = gaps[gaps["holm"] < 0.05]
    ahead, behind = (apart["difference"] > 0).sum(), (apart["difference"] < 0).sum()
    many = len(found.ranks)
    return (
        f"Of {len(gaps)} comparisons with a rival in a column, {ahead} are won and {behind} lost "
        f"with p < 0.05 in the paired permutation test, corrected (Holm) for all "
        f"{many * (many - 1) // 2} pairs of losses in the column; {len(gaps) - ahead - behind} are "
        f"open."
    )


def by_rank(found: Standing) -> str:
    """Which losses a critical difference does not tell from the proposed one."""
    ranks = found.ranks
    others = ranks.drop(found.loss)
    near = others[(others - ranks[found.loss]).abs() < found.critical]
    told = listed(method_label(name) for name in near.index) or "none"
    return (
        f"By mean rank over {found.columns} columns, {ranks[found.loss]:.1f}, "
        f"{method_label(found.loss)} cannot be told from: {told}."
    )


def order_at_all(found: Standing) -> str:
    """Friedman's test over all losses and columns."""
    p = statistics.friedman(found.means.loc[found.ranks.index])
    return f"Friedman's test of no order at all: p {probability(p)}"


def levels_table(found: Standing, archive: str) -> pd.DataFrame:
    """Methods × metrics of one archive as text in percent, with intervals, best mean rank first
    between the reference rows."""
    cells = statistics.cells(found.levels.loc[archive])
    order = ["chance", "frozen", *found.ranks.index, "oracle"]
    return cells.loc[[name for name in order if name in cells.index], list(METRICS)]


def tests_table(found: Standing, archive: str) -> pd.DataFrame:
    """The proposed loss minus each other one in points, ° where the corrected test leaves it
    open."""
    cells = statistics.cells(found.gaps.loc[archive])
    return cells.loc[found.ranks.drop(found.loss).index, list(METRICS)]


def seconds(found: Standing) -> pd.DataFrame:
    """Median seconds a training, rows of losses, columns of archives, and `times`, the ratio to
    MulSupCon, a mean over archives."""
    runs = found.runs[found.runs["loss"].isin(list(LOSSES))]
    table = runs.pivot_table(index="loss", columns=ARCHIVE, values="seconds", aggfunc="median")
    table = table[list(runs[ARCHIVE].unique())]
    return table.assign(times=(table / table.loc["mulsupcon"]).mean(axis=1)).sort_values("times")


def cost(found: Standing, names: Sequence[str] = ("lproto", "oml")) -> str:
    """What a training with the proposed loss costs beside one with MulSupCon."""
    if not found:
        return nothing(found.profile)
    table = seconds(found)
    mine = table.drop(columns="times").loc[found.loss]
    low, high = mine.min(), mine.max()
    others = listed(f"{method_label(name)} {table.loc[name, 'times']:.1f}" for name in names)
    return (
        f"A training takes {low:.0f} to {high:.0f} s (median of the stored runs, "
        f"{PROTOCOLS[found.profile]}), {table.loc[found.loss, 'times']:.1f} times as long as with "
        f"MulSupCon; {others} times. The machine had other work, so these are no benchmark; "
        "embedding and search cost the same whatever the loss was."
    )
