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
from maclcore.experiments.words import counted, interval, listed, ordinal, points, share, title
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
        f"* **{method_label(leader)} is first** by its mean rank, {ranks[leader]:.1f} of "
        f"{len(ranks)} over {many} columns ({counted(many // len(METRICS), 'archive')} × seven "
        f"metrics), before {behind}, and leads {lead} of the columns. {_stands(leader, gaps)}\n"
        f"* **MACL as printed is {ordinal(ranks.index.get_loc('macl') + 1)}.** "
        f"{_stands('macl', gaps)}{_untrained(table)}"
    )


def _stands(loss: str, gaps: pd.DataFrame) -> str:
    """Where a loss stands to MulSupCon, in words."""
    if loss == "mulsupcon":
        return "MACL is MulSupCon with other weights and temperatures."
    mine = gaps.xs(loss, level="loss")
    above, below = (mine["low"] > 0).sum(), (mine["high"] < 0).sum()
    graded = mine.xs(GRADED, level="metric")
    told = listed(f"{interval(row)} on {title(name)}" for name, row in graded.iterrows())
    return (
        f"Its 95 % interval lies above MulSupCon in {share(above, len(mine))} columns and below in "
        f"{share(below, len(mine))}; in `{GRADED}` the difference in points is {told}."
    )


def _untrained(table: pd.DataFrame) -> str:
    if "frozen" not in table.index:
        return ""
    below = (table.loc["macl"] < table.loc["frozen"]).sum()
    return f" It is below the same network before training in {share(below, table.shape[1])}."


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
    said, near = [], False
    for (name, archive), part in runs.groupby([ARCHIVE, "archive"], sort=False):
        published = paper_table(archive)
        if published is None:
            said.append(f"The paper has no table of {title(name)}.")
            continue
        near = True
        means = 100 * part.groupby("loss")[HARD].mean()
        apart = (published[HARD] - means.loc["chance"]).abs()
        ahead = means.loc["frozen"] - means.loc["chance"]
        said.append(
            f"On {title(name)} all {apart.size} printed values of `mAP@0.4`, `mAP@0.6` and "
            f"`mAP@0.8` lie within {apart.max().max():.1f} points of chance, where the network "
            f"before training is {ahead.min():.0f} to {ahead.max():.0f} points above it."
        )
    if near:
        said.append("What is so near to chance was hardly measured as it is here.")
    return " ".join(said)


def by_group(runs: pd.DataFrame, groups: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Of each archive, by its title, the values of label groups as `statistics` takes them: a row a
    group and replicate, columns (metric, loss).

    groups: `breakdown.by_frequency`, rows (run_id, group). Archives that it lacks are left out, and
    those with labels too few for rare, medium and frequent ones.
    """
    tables = {}
    for name, part in runs.groupby(ARCHIVE, sort=False):
        if not set(part.index) <= set(groups.index.unique("run_id")):
            continue
        rows = groups.loc[part.index, list(METRICS)].join(part[["split_seed", "seed", "loss"]])
        rows = rows.reset_index("group").rename(columns={"group": "query"})
        if not set(LABEL_GROUPS) <= set(rows["query"]):
            continue
        wide = rows.pivot(index=["split_seed", "seed", "query"], columns="loss")
        tables[name] = wide.rename_axis(columns=["metric", "loss"])
    return tables


def group_differences(tables: dict[str, pd.DataFrame], metric: str) -> pd.DataFrame:
    """Every loss minus MulSupCon in a metric on each group of labels, rows (archive, group, loss),
    of `by_group`; intervals hold the luck of seed and split, and are NaN for a single one."""
    found = {}
    for name, table in tables.items():
        losses = [loss for loss in LOSSES if (metric, loss) in table]
        chosen = table.reindex(columns=pd.MultiIndex.from_product([[metric], losses]))
        chosen.columns.names = table.columns.names
        for group in LABEL_GROUPS:
            part = chosen.xs(group, level="query", drop_level=False)
            gaps = statistics.compare(part, "mulsupcon").loc[metric]
            if len(part) == 1:
                gaps[["low", "high"]] = float("nan")
            found[name, group] = gaps
    return pd.concat(found, names=["archive", "group"])


def rare_labels(gaps: pd.DataFrame, metric: str) -> str:
    """Where MACL is on rare labels and on frequent ones, of `group_differences`."""
    mine = gaps.xs("macl", level="loss")
    rare, frequent = (mine.xs(group, level="group") for group in ("rare", "frequent"))
    told = listed(
        f"{interval(row)} on {title(name)} ({interval(frequent.loc[name])})"
        for name, row in rare.iterrows()
    )
    return (
        f"MACL minus MulSupCon in `{metric}` on rare labels, and in brackets on frequent ones, in "
        f"points: {told}."
    )


def head_or_backbone(runs: pd.DataFrame) -> str:
    """How the features below the head compare with its output, and whether MACL's place changes."""
    features = runs.copy()
    features[list(METRICS)] = runs[[f"backbone: {metric}" for metric in METRICS]]
    head, below = (columns(rows[rows["loss"].isin(list(LOSSES))]) for rows in (runs, features))
    gain = (below - head).xs(GRADED, axis=1, level="metric")
    better = (gain > 0).sum()
    before, after = (mean_ranks(table) for table in (head, below))
    where = listed(title(name) for name in gain)
    told = " and ".join(
        f"for {method_label(loss)} by {listed(map(points, gain.loc[loss]))} points"
        for loss in ("macl", "mulsupcon")
    )
    place = [ordinal(ranks.index.get_loc("macl") + 1) for ranks in (before, after)]
    return (
        f"In `{GRADED}` the features are better than the head's output for {listed(better)} of "
        f"{len(gain)} losses ({where}), {told}. By mean rank over all metrics MACL is "
        f"{place[1]} with them and {place[0]} with the head; {method_label(after.index[0])} is "
        f"first with them, {method_label(before.index[0])} with the head."
    )


def first_in_short(ranks: pd.Series) -> str:
    """Of `mean_ranks`, the leader and MACL."""
    place = ordinal(ranks.index.get_loc("macl") + 1)
    if ranks.index[0] == "macl":
        return f"MACL is first of {len(ranks)} losses."
    return f"{method_label(ranks.index[0])} is first and MACL {place} of {len(ranks)} losses."


def apart_in_short(gaps: pd.DataFrame) -> str:
    """Of `differences`, which losses are above MulSupCon in all archives, and where MACL is."""
    graded = gaps.xs(GRADED, level="metric")
    above = (graded["low"] > 0).groupby(level="loss", sort=False).all()
    names = [method_label(name) for name in above[above].index]
    mine = graded.xs("macl", level="loss")["difference"]
    ends = listed(map(points, sorted({mine.min(), mine.max()})))
    where = "every archive" if len(mine) > 1 else title(mine.index[0])
    who = f"{listed(names)} {'is' if len(names) == 1 else 'are'}" if names else "No loss is"
    between = f"between {ends}" if len(mine) > 1 else f"at {ends}"
    return f"{who} above MulSupCon in `{GRADED}` on {where}; MACL is {between} points from it."


def alike(ranks: pd.Series, difference: float) -> str:
    """Which losses a critical difference does not tell from the first, of `mean_ranks`."""
    leader, near = ranks.index[0], ranks.index[1:][ranks.iloc[1:] - ranks.iloc[0] < difference]
    told = listed(method_label(name) for name in near) or "no other loss"
    macl = "MACL is told from it." if "macl" not in (*near, leader) else ""
    return f"{told} cannot be told from {method_label(leader)} by rank. {macl}".strip()


def rare_in_short(gaps: pd.DataFrame) -> str:
    """Where MACL stands to MulSupCon on rare labels, of `group_differences`."""
    rare = gaps.xs("macl", level="loss").xs("rare", level="group")
    low, high = (rare[end].fillna(rare["difference"]) for end in ("low", "high"))
    above, below = (low > 0).sum(), (high < 0).sum()
    side = "above" if above > below else "below" if below > above else "neither above nor below"
    many = max(above, below) if above != below else len(rare)
    where = counted(len(rare), "archive")
    where = where if many == len(rare) else f"{many} of {where}"
    return f"On rare labels MACL is {side} MulSupCon on {where}."
