"""How the losses of the main tables stand to one another, in numbers and in sentences.

The sentences are computed from the rows that they speak of, and turn with them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from maclcore.evaluation import statistics
from maclcore.evaluation.relevance import HARD
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import paper
from maclcore.experiments.sweep import stored
from maclcore.experiments.tables import paper_table
from maclcore.experiments.words import counted, interval, listed, ordinal, points, title
from maclcore.losses import LOSSES, method_label
from maclcore.store import per_query

#: the metric that sentences quote: graded by overlap, and of the first hundred results
GRADED = "nDCG@100"
ARCHIVE = "archive: title"
#: as `breakdown.by_frequency` names them
LABEL_GROUPS = ("rare", "medium", "frequent")


def main_rows(
    profile: str, archives: Iterable[str], seeds: Sequence[int], **overrides: Any
) -> pd.DataFrame:
    """Rows of `collect()` of `main_tables` of these archives, and behind them of `other_losses` as
    far as all seeds of a loss are stored. LookupError if a run of `main_tables` is missing."""
    tables = []
    for archive in archives:
        tables.append(stored(paper.main_tables(profile, archive, seeds, **overrides)))
        others = paper.other_losses(profile, archive, seeds, **overrides)
        for loss in dict.fromkeys(config.loss for config in others):
            try:
                tables.append(stored(config for config in others if config.loss == loss))
            except LookupError:
                continue
    return pd.concat(tables)


def values_by_archive(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The stored values (`per_query`) of each archive's rows, by its title."""
    return {name: per_query(part) for name, part in runs.groupby(ARCHIVE, sort=False)}


def differences(values: dict[str, pd.DataFrame], reference: str = "mulsupcon") -> pd.DataFrame:
    """`statistics.compare` of the losses of each archive, rows (archive, metric, loss)."""
    tables = {}
    for name, table in values.items():
        losses = [loss for loss in table.columns.unique("loss") if loss in LOSSES]
        tables[name] = statistics.compare(table.reindex(columns=losses, level="loss"), reference)
    return pd.concat(tables, names=["archive"])


def columns(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, methods × (archive, metric), of the methods that every archive has."""
    means = {
        name: part.groupby("loss", sort=False)[list(METRICS)].mean()
        for name, part in runs.groupby(ARCHIVE, sort=False)
    }
    return pd.concat(means, axis=1, names=["archive", "metric"]).dropna()


def mean_ranks(table: pd.DataFrame) -> pd.Series:
    """Of `columns` the mean rank of each loss, 1 the best, in order of it."""
    return statistics.ranks(table[table.index.isin(list(LOSSES))]).mean(axis=1)


def who_is_first(table: pd.DataFrame, gaps: pd.DataFrame) -> str:
    """Which loss leads, and where it and MACL stand to MulSupCon: of `columns`, `differences`."""
    ranks = mean_ranks(table)
    leader, *others = ranks.index
    many = table.shape[1]
    lead = (table.loc[ranks.index].idxmax() == leader).sum()
    behind = listed(f"{method_label(name)} ({ranks[name]:.1f})" for name in others[:2])
    return (
        f"**{method_label(leader)} is first** by its mean rank, {ranks[leader]:.1f} of "
        f"{len(ranks)} over {many} columns ({counted(many // len(METRICS), 'archive')} × seven "
        f"metrics), before {behind}, and leads {lead} of the columns. {_stands(leader, gaps)} "
        f"**MACL as printed is {ordinal(ranks.index.get_loc('macl') + 1)}.** "
        f"{_stands('macl', gaps)}{_untrained(table)}"
    )


def _stands(loss: str, gaps: pd.DataFrame) -> str:
    """Where a loss stands to MulSupCon, in words."""
    if loss == "mulsupcon":
        return "All differences below are from it."
    mine = gaps.xs(loss, level="loss")
    above, below = (mine["low"] > 0).sum(), (mine["high"] < 0).sum()
    told = listed(
        f"{interval(row)} on {title(name)}"
        for name, row in mine.xs(GRADED, level="metric").iterrows()
    )
    return (
        f"Its interval against MulSupCon lies above zero in {above} of {len(mine)} columns and "
        f"below in {below}; in `{GRADED}` the difference is {told}."
    )


def _untrained(table: pd.DataFrame) -> str:
    if "frozen" not in table.index:
        return ""
    below = (table.loc["macl"] < table.loc["frozen"]).sum()
    return f" It is below the same network before training in {below} of {table.shape[1]}."


def above_before_training(table: pd.DataFrame) -> str:
    """Which losses are below the frozen features somewhere, of `columns`."""
    losses = table[table.index.isin(list(LOSSES))]
    below = (losses < table.loc["frozen"]).sum(axis=1)
    worse = ", ".join(f"{method_label(name)} ({n})" for name, n in below[below > 0].items())
    return (
        f"Below the features before training, in so many of {table.shape[1]} columns: {worse}."
        if worse
        else "No loss is below the features before training in any column."
    )


def published_and_chance(runs: pd.DataFrame) -> str:
    """How far printed values of the threshold columns are from chance, an archive a sentence."""
    said = []
    for (name, archive), part in runs.groupby([ARCHIVE, "archive"], sort=False):
        published = paper_table(archive)
        if published is None:
            said.append(f"The paper has no table of {title(name)}.")
            continue
        means = 100 * part.groupby("loss")[HARD].mean()
        apart = (published[HARD] - means.loc["chance"]).abs()
        ahead = means.loc["frozen"] - means.loc["chance"]
        said.append(
            f"On {title(name)} all {apart.size} printed values of `mAP@0.4`, `mAP@0.6` and "
            f"`mAP@0.8` lie within {apart.max().max():.1f} points of chance, where the network "
            f"before training is {ahead.min():.0f} to {ahead.max():.0f} points above it."
        )
    return " ".join(said)


def by_group(runs: pd.DataFrame, groups: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Of each archive, by its title, the values of label groups as `statistics` takes them: a row a
    group and replicate, columns (metric, loss).

    groups: `breakdown.by_frequency`, rows (run_id, group). Archives that it lacks are left out.
    """
    tables = {}
    for name, part in runs.groupby(ARCHIVE, sort=False):
        if not set(part.index) <= set(groups.index.unique("run_id")):
            continue
        rows = groups.loc[part.index, list(METRICS)].join(part[["split_seed", "seed", "loss"]])
        rows = rows.reset_index("group").rename(columns={"group": "query"})
        wide = rows.pivot(index=["split_seed", "seed", "query"], columns="loss")
        tables[name] = wide.rename_axis(columns=["metric", "loss"])
    return tables


def group_differences(tables: dict[str, pd.DataFrame], metric: str) -> pd.DataFrame:
    """Every loss minus MulSupCon in a metric on each group of labels, rows (archive, group, loss),
    of `by_group`; the intervals hold the luck of seed and split."""
    found = {}
    for name, table in tables.items():
        losses = [loss for loss in LOSSES if (metric, loss) in table]
        chosen = table.reindex(columns=pd.MultiIndex.from_product([[metric], losses]))
        chosen.columns.names = table.columns.names
        for group in LABEL_GROUPS:
            part = chosen.xs(group, level="query", drop_level=False)
            found[name, group] = statistics.compare(part, "mulsupcon").loc[metric]
    return pd.concat(found, names=["archive", "group"])


def rare_labels(gaps: pd.DataFrame, metric: str) -> str:
    """Whether MACL gains on rare labels, of `group_differences`."""
    mine = gaps.xs("macl", level="loss")
    rare = mine.xs("rare", level="group")
    above, below = (rare["low"] > 0).sum(), (rare["high"] < 0).sum()
    told = []
    for name, row in rare.iterrows():
        frequent = mine.loc[(name, "frequent"), "difference"]
        told.append(f"{interval(row)} on {title(name)} (frequent labels {points(frequent)})")
    return (
        f"**On rare labels** MACL is above MulSupCon in {above} and below in {below} of "
        f"{counted(len(rare), 'archive')}: in `{metric}` by {listed(told)}."
    )


def head_or_backbone(runs: pd.DataFrame) -> str:
    """How the features below the head compare with its output, an archive a sentence."""
    said = []
    for name, part in runs[runs["loss"].isin(list(LOSSES))].groupby(ARCHIVE, sort=False):
        means = part.groupby("loss", sort=False)[list(METRICS)].mean()
        below = part.groupby("loss", sort=False)[[f"backbone: {m}" for m in METRICS]].mean()
        gain = below.set_axis(list(METRICS), axis=1) - means
        better = [f"{(gain[metric] > 0).sum()} in `{metric}`" for metric in (GRADED, "mAP@0.8")]
        said.append(
            f"On {title(name)} they are better than the head's output for {listed(better)} of "
            f"{len(gain)} losses, for MACL by {points(gain.loc['macl', GRADED])} and "
            f"{points(gain.loc['macl', 'mAP@0.8'])}, for MulSupCon by "
            f"{points(gain.loc['mulsupcon', GRADED])} and "
            f"{points(gain.loc['mulsupcon', 'mAP@0.8'])} points."
        )
    return " ".join(said)
