"""Whom the proposed loss serves: rare labels, and images of many labels. The store's `served.csv`.

The labels of test images lie in no pack. So this is measured once, where the archives are, and
read by notebook 13 everywhere:

    python -c "from maclcore.audit import served; served.measure()"
"""

from collections.abc import Iterator

import pandas as pd

from maclcore import paths
from maclcore.audit import breakdown
from maclcore.data import ArchiveError
from maclcore.evaluation import statistics
from maclcore.experiments.standing import ARCHIVE, GRADED
from maclcore.experiments.tables import stored_experiment
from maclcore.experiments.winner import PROPOSED
from maclcore.experiments.winning import IN_SHORT, Standing, whole
from maclcore.experiments.words import counted, interval, listed, title
from maclcore.losses import LOSSES, method_label
from maclcore.store import per_query, write_csv

FILE = "served.csv"
#: queries by their number of labels
SIZES = {"1": (1, 1), "2": (2, 2), "3–4": (3, 4), "5–6": (5, 6), "7 or more": (7, 10**6)}
BY = {"label": "labels", "size": "labels of the query"}
LACKING = f"The labels of these runs are in no table `{FILE}` of this store."


def measured() -> pd.DataFrame:
    """What `measure` has written, of the store or else of the repository; no rows if neither has.

    by, group          `label`: rare, medium, frequent, thirds of the labels by training images;
                       `size`: queries by their number of labels
    many               how many labels or queries the group has
    loss, value        its `nDCG@100`; of a group of labels the mean over its labels
    proposed, seeds    of which loss, over which runs
    difference, low, high   the proposed loss minus it, with the 95 % interval
    """
    file = paths.table(FILE)
    return pd.DataFrame() if file is None else pd.read_csv(file, dtype={"seeds": str, "group": str})


def measure() -> None:
    """Write the store's `served.csv` of the stored rows of `winner` whose archive is in the data
    folder; some seconds a run."""
    tables, rows = [pd.DataFrame()], stored_experiment("winner")
    for profile in IN_SHORT:
        runs = whole(rows, profile)
        runs = runs[runs["loss"].isin(list(LOSSES))]
        for name, part in runs.groupby(ARCHIVE, sort=False):
            try:
                found = of_archive(part, PROPOSED[profile])
            except ArchiveError:
                continue
            seeds = _seeds(part)
            about = {
                "profile": profile,
                "seeds": seeds,
                "proposed": PROPOSED[profile],
                ARCHIVE: name,
            }
            tables.append(found.assign(**about))
    table = pd.concat(tables).reset_index(drop=True)
    write_csv(paths.results_root() / FILE, table.round(6))


def of_archive(runs: pd.DataFrame, loss: str) -> pd.DataFrame:
    """Rows of `measured()` for one archive's rows of `collect()`, profile and seeds aside. Raises
    as `breakdown.query_labels` does."""
    labels, counts = breakdown.query_labels(runs)
    values = per_query(runs)[[GRADED]]
    return of_values(values, breakdown.align(labels, values), counts, loss)


def of_values(
    values: pd.DataFrame, labels: pd.DataFrame, counts: pd.Series, loss: str
) -> pd.DataFrame:
    """The same of values of each query, columns (metric, loss) of one metric, the labels of the
    rows, and training images a label."""
    parts = [*_by_label(values, labels, counts), *_by_size(values, labels)]
    tables = []
    for by, group, many, part in parts:
        (metric,) = part.columns.unique("metric")
        gap = part[[(metric, loss)]].to_numpy() - part
        found = statistics.summary(gap).rename(columns={"mean": "difference"})
        value = part.groupby(level=statistics.REPLICATE).mean().mean()
        table = found[["difference", "low", "high"]].assign(value=value).droplevel("metric")
        tables.append(table.reset_index().assign(by=by, group=group, many=many))
    return pd.concat(tables)


def _by_label(
    values: pd.DataFrame, labels: pd.DataFrame, counts: pd.Series
) -> Iterator[tuple[str, str, int, pd.DataFrame]]:
    """Of each third of the labels the value of each label in each replicate, the mean over the
    queries that carry it; labels that some replicate has no query of are left out."""
    each = {
        key: breakdown.by_label(part, labels.loc[part.index])
        for key, part in values.groupby(level=statistics.REPLICATE)
    }
    table = pd.concat(each, names=[*statistics.REPLICATE, "query"])
    lacking = table[table.isna().any(axis=1)].index.unique("query")
    table = table.drop(index=lacking, level="query")
    for group, names in breakdown.frequency_groups(counts).groupby(
        breakdown.frequency_groups(counts), observed=True
    ):
        part = table[table.index.isin(names.index, level="query")]
        if len(part):
            yield "label", str(group), part.index.unique("query").size, part


def _by_size(
    values: pd.DataFrame, labels: pd.DataFrame
) -> Iterator[tuple[str, str, int, pd.DataFrame]]:
    size = labels.sum(axis=1)
    replicates = values.groupby(level=statistics.REPLICATE).ngroups
    for group, (low, high) in SIZES.items():
        part = values[size.between(low, high)]
        # a group that some split has no query of has no mean over splits
        if part.groupby(level=statistics.REPLICATE).ngroups == replicates:
            yield "size", group, len(part), part


def against_best(table: pd.DataFrame, found: Standing) -> pd.DataFrame:
    """Of `measured()`, the proposed loss minus the best rival of each group, rows (by, archive,
    group) with `rival`, `difference`, `low`, `high`, `many`; of those archives that were measured
    with the runs of `found`."""
    seeds = {name: _seeds(part) for name, part in found.runs.groupby(ARCHIVE)} if found else {}
    if table.empty or not seeds:
        return table.iloc[:0]
    same = (table["profile"] == found.profile) & (table["proposed"] == found.loss)
    same &= table[ARCHIVE].map(seeds) == table["seeds"]
    rows = table[same & table["loss"].isin(found.rivals)].reset_index(drop=True)
    if rows.empty:
        return rows
    best = rows.loc[rows.groupby(["by", ARCHIVE, "group"])["value"].idxmax()]
    order = {name: i for i, name in enumerate((*breakdown.GROUPS, *SIZES))}
    best = best.assign(place=best["group"].map(order)).sort_index()
    archives = {name: i for i, name in enumerate(rows[ARCHIVE].unique())}
    best = best.assign(at=best[ARCHIVE].map(archives)).sort_values(["by", "at", "place"])
    best = best.rename(columns={"loss": "rival", ARCHIVE: "archive"})
    return best.set_index(["by", "archive", "group"])[
        ["rival", "difference", "low", "high", "many"]
    ]


def _seeds(runs: pd.DataFrame) -> str:
    return " ".join(map(str, sorted(runs["seed"].unique())))


def said(best: pd.DataFrame) -> tuple[str, str]:
    """Whether rare labels and large label sets gain, of `against_best`: in short, and with the
    differences."""
    short, told = [], []
    for by, group, words in (
        ("label", "rare", "on rare labels"),
        ("size", "7 or more", "on queries of seven labels or more"),
    ):
        if (by, group) not in best.index.droplevel("archive"):
            continue
        rows = best.xs(by, level="by").xs(group, level="group")
        each = listed(
            f"{interval(row)} on {title(name)} (to {method_label(row['rival'])})"
            for name, row in rows.iterrows()
        )
        ahead, behind = (rows["low"] > 0).sum(), (rows["high"] < 0).sum()
        many = counted(len(rows), "archive")
        short.append(f"{words} it is above the best rival in {ahead} of {many}, below in {behind}")
        told.append(f"{words} {each}")
    return f"{'; '.join(short).capitalize()}.", f"In points, {'; '.join(told)}."
