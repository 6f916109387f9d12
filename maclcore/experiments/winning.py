"""Which loss should one use? How the losses of the stored rows of `winner` stand to one another.

Which of them is proposed is a constant; all else is computed. `advice` says it in sentences.
"""

from dataclasses import dataclass

import pandas as pd

from maclcore.data import archive_name
from maclcore.evaluation import statistics
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import standing
from maclcore.experiments.standing import ARCHIVE
from maclcore.experiments.tables import stored_experiment
from maclcore.experiments.winner import ARCHIVES, CHOSEN, PROPOSED, RIVALS, WEIGHTS
from maclcore.losses import LOSSES
from maclcore.store import histories

#: profiles whose rows are looked at, in words
IN_SHORT = {"quick": "whole network", "frozen": "head alone"}
#: the candidates, of which the proposed loss is one; the others, of the papers, are its rivals
KIN = tuple(name for name in CHOSEN if name not in RIVALS)
SIDES = ("ahead", "level", "behind")


@dataclass(frozen=True)
class Standing:
    """How the losses of `winner` stand to one another under one profile."""

    profile: str
    runs: pd.DataFrame  #: rows of `collect()`, of those seeds that have all of `winner`
    levels: pd.DataFrame  #: `statistics.summary`, rows (archive, metric, loss), archives by title
    gaps: pd.DataFrame  #: `proposed_gaps`, rows (archive, metric, loss)
    kin: pd.DataFrame  #: `kin_gaps`, rows (archive, metric, loss)
    loss: str  #: the proposed one

    @classmethod
    def load(cls, profile: str, archive: str | None = None, since: int = 0) -> "Standing":
        """Of the stored rows, of `ARCHIVES` or of one archive, from a seed on; with nothing in it
        where there are none. ArchiveError for a folder of one's own that is not there."""
        which = ARCHIVES if archive is None else (archive_name(archive),)
        rows = stored_experiment("winner")
        runs = whole(rows[rows["archive"].isin(which)], profile)
        runs = runs[runs["seed"] >= since]
        values = standing.values_by_archive(runs) if len(runs) else {}
        return cls.measured(profile, runs, values)

    @classmethod
    def measured(
        cls, profile: str, runs: pd.DataFrame, values: dict[str, pd.DataFrame]
    ) -> "Standing":
        """Of values of each query by the archive's title, columns (metric, loss)."""
        loss = PROPOSED[profile]
        rows = [pd.DataFrame(), pd.DataFrame(), pd.DataFrame()]
        if values:
            names = ["archive", "metric", "loss"]
            tables = (
                {name: statistics.summary(table) for name, table in values.items()},
                {name: proposed_gaps(table, loss) for name, table in values.items()},
                {name: kin_gaps(table) for name, table in values.items()},
            )
            rows = [pd.concat(of, names=names) for of in tables]
        return cls(profile, runs, *rows, loss)

    @property
    def means(self) -> pd.DataFrame:
        """Methods × (archive, metric), chance, frozen and oracle with them."""
        return self.levels["mean"].unstack(["archive", "metric"])

    @property
    def rivals(self) -> list[str]:
        """The losses of the papers."""
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
    """Those of a profile and of `WEIGHTS`, or what most runs of an archive without such have, of
    each archive's seeds that have every method that the profile has; none where it lacks the
    proposed loss or a rival."""
    rows = rows[rows["profile"] == profile]
    weights = rows.groupby("archive")["weights"].transform(
        lambda of: WEIGHTS if (of == WEIGHTS).any() else of.mode()[0]
    )
    rows = rows[rows["weights"] == weights]
    if not {PROPOSED[profile], *RIVALS} <= set(rows["loss"]):
        rows = rows.iloc[:0]
    many = rows.groupby(["archive", "seed"])["loss"].transform("nunique")
    place = rows["archive"].map({name: i for i, name in enumerate(ARCHIVES)})
    rows = rows.assign(place=place)[many == rows["loss"].nunique()]
    return rows.sort_values(["place", "seed"], kind="stable").drop(columns="place")


def proposed_gaps(values: pd.DataFrame, loss: str) -> pd.DataFrame:
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


def kin_gaps(values: pd.DataFrame) -> pd.DataFrame:
    """Each candidate minus the best rival of each metric, rows (metric, loss) of `difference`,
    `low`, `high`."""
    means = values.groupby(level=statistics.REPLICATE).mean().mean().unstack("metric")
    means = means[[name not in KIN and name in LOSSES for name in means.index]]
    best = [(metric, means[metric].idxmax()) for metric in METRICS]
    kin = [loss for loss in KIN if loss in values.columns.unique("loss")]
    mine = [(metric, loss) for metric in METRICS for loss in kin]
    rival = values[[pair for pair in best for _ in kin]].to_numpy()
    table = statistics.summary(values[mine] - rival).rename(columns={"mean": "difference"})
    return table[["difference", "low", "high"]]


def split_columns(found: Standing) -> pd.DataFrame:
    """The metrics of each split by itself, methods × (seed, archive, metric)."""
    of = {seed: standing.columns(part) for seed, part in found.runs.groupby("seed")}
    return pd.concat(of, axis=1, names=["seed"])


def validated(found: Standing) -> pd.DataFrame:
    """Mean of the seven metrics on the validation parts after the last epoch, losses × archives, in
    percent: what one knows before any test."""
    runs = found.runs[found.runs["loss"].isin(list(LOSSES))]
    last = histories(runs).groupby(level="run_id").last()[list(METRICS)].mean(axis=1)
    means = runs.assign(value=100 * last).groupby(["loss", ARCHIVE], sort=False)["value"].mean()
    return means.unstack(ARCHIVE)


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
    # where the proposed loss was trained; older runs of others may be another machine's
    there = runs["device"] == runs.loc[runs["loss"] == found.loss, "device"].mode()[0]
    runs = runs[there] if (runs.loc[there, "loss"] == "mulsupcon").any() else runs
    table = runs.pivot_table(index="loss", columns=ARCHIVE, values="seconds", aggfunc="median")
    table = table[list(runs[ARCHIVE].unique())]
    return table.assign(times=(table / table.loc["mulsupcon"]).mean(axis=1)).sort_values("times")
