"""Where a result comes from: by label, by frequency, by label set, by query.

The seven columns are broken down from the stored per-query values and the label table. What asks
for the ranking itself (AP of a label, precision at a recall) starts from `ranking`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from maclcore import paths
from maclcore.data import ArchiveError, load_archive
from maclcore.evaluation.ranking import UnitRows, rank
from maclcore.evaluation.relevance import MAP_THRESHOLDS
from maclcore.evaluation.statistics import compare
from maclcore.labels import jaccard
from maclcore.store import per_query

GROUPS = ("rare", "medium", "frequent")
NOTHING = pd.MultiIndex([[], []], [[], []], names=["run_id", "group"])
LABEL_GROUPS = "label_groups.csv"  #: what `by_frequency` says of stored runs
#: least Jaccard index of each band
BANDS = {
    0.0: "J < 0.4",
    0.4: "0.4 ≤ J < 0.6",
    0.6: "0.6 ≤ J < 0.8",
    0.8: "0.8 ≤ J < 1",
    1.0: "J = 1",
}


def query_labels(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Labels of the test queries of one archive's rows of `collect()`, and training images a label.

    Rows (split_seed, query), a bool column a label; the counts are means over the splits.
    Raises ArchiveError if the archive is not there, ValueError if it is another than the runs'.
    """
    columns = ["archive", "image_size", "bands", "archive: fingerprint"]
    ((name, size, bands, fingerprint),) = runs[columns].drop_duplicates().to_numpy(object).tolist()
    archive = load_archive(name, image_size=size, bands=bands, progress=False)
    if archive.fingerprint != fingerprint:
        raise ValueError(f"{name} here is not the archive of the runs: a file or label differs")
    labels = pd.DataFrame(archive.labels, columns=archive.label_names, index=archive.names)
    splits = {seed: archive.split(seed) for seed in runs["split_seed"].unique().tolist()}
    queries = {seed: labels.iloc[split.test] for seed, split in splits.items()}
    counts = [labels.iloc[split.train].sum() for split in splits.values()]
    return pd.concat(queries, names=["split_seed", "query"]), sum(counts) / len(counts)


def align(table: pd.DataFrame | pd.Series, values: pd.DataFrame) -> pd.DataFrame | pd.Series:
    """Rows (split_seed, query) of `table` for the rows (split_seed, seed, query) of `values`."""
    return table.loc[values.index.droplevel("seed")].set_axis(values.index)


def frequency_groups(counts: pd.Series) -> pd.Series:
    """Labels (L,) as rare, medium or frequent: terciles by training images, of which the rarer take
    what does not divide by three; equal counts go by order. Without an image: rare."""
    parts = np.array_split(counts.sort_values(kind="stable").index, len(GROUPS))
    groups = {label: name for name, part in zip(GROUPS, parts, strict=True) for label in part}
    kind = pd.CategoricalDtype(GROUPS, ordered=True)
    return counts.index.to_series().map(groups).astype(kind)


def describe_queries(labels: pd.DataFrame, counts: pd.Series) -> pd.DataFrame:
    """What may make a query hard, a row a query of `labels`: its number of `labels`; the group of
    its `rarest` label; the band of Jaccard with its `best match` in its split."""
    groups = frequency_groups(counts)[labels.columns]
    # the groups are ordered from rare on: the first that a query touches
    rarest = [groups[row].min() for row in labels.to_numpy()]
    best = pd.concat([_best_jaccard(part) for _, part in labels.groupby(level="split_seed")])
    bands = pd.cut(best, [*BANDS, np.inf], right=False, labels=list(BANDS.values()))
    facts = {"labels": labels.sum(axis=1), "rarest": rarest, "best match": bands}
    return pd.DataFrame(facts).astype({"rarest": groups.dtype})


def by_label(values: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Mean of each column over the queries that carry a label, (Q, M), (Q, L) -> (L, M) with the
    rows of both in the same order (`align`); NaN where none does."""
    carried = labels.astype(float)
    return (carried.T @ values).div(carried.sum(), axis=0)


def by_frequency(runs: pd.DataFrame) -> pd.DataFrame:
    """What one archive's rows of `collect()` reach on rare, medium and frequent labels: rows
    (run_id, group), a column a metric, and how many `labels` the group has.

    The value of a label is the mean over the test queries that carry it, that of a group the mean
    over its labels, so that each label counts alike. Raises as `query_labels` does.
    """
    labels, counts = query_labels(runs)
    groups, rows = frequency_groups(counts), {}
    for loss, part in runs.groupby("loss", sort=False):
        values = per_query(part).xs(loss, axis=1, level="loss")
        for run_id, seed in part["seed"].items():
            mine = values.xs(seed, level="seed", drop_level=False)
            means = by_label(mine, align(labels, mine)).groupby(groups, observed=True).mean()
            rows[run_id] = means.assign(labels=groups.value_counts())
    return pd.concat(rows, names=["run_id", "group"])


def stored_by_frequency(runs: pd.DataFrame) -> pd.DataFrame:
    """`by_frequency` of each archive's runs, from `label_groups.csv` of the store, or else of the
    repository, where these have all of them, or measured where the archive is at hand; what is
    neither is left out."""
    files = paths.results_root() / LABEL_GROUPS, paths.paper_root().parent / LABEL_GROUPS
    found = [pd.read_csv(file, index_col=["run_id", "group"]) for file in files if file.is_file()]
    tables = []
    for _, part in runs.groupby("archive", sort=False):
        known = [table for table in found if set(part.index) <= set(table.index.levels[0])]
        try:
            table = known[0].loc[list(part.index)] if known else by_frequency(part)
        except ArchiveError:
            continue
        tables.append(table)
    return pd.concat(tables) if tables else pd.DataFrame(index=NOTHING)


def compare_within(values: pd.DataFrame, group: pd.Series, reference: str) -> pd.DataFrame:
    """`statistics.compare` within each group of queries (aligned; a row a query), in rows (group,
    metric, loss) with the number of its `queries`; Holm's correction is over a group's rows."""
    parts = {name: values[group == name] for name in group.cat.categories}
    tables = {
        name: compare(part, reference).assign(queries=len(part))
        for name, part in parts.items()
        if len(part)
    }
    return pd.concat(tables, names=[group.name])


def hardest(values: pd.DataFrame, labels: pd.DataFrame, n: int = 10) -> pd.DataFrame:
    """The n queries with the lowest mean over the columns of `values`; `labels` are aligned."""
    worst = values.mean(axis=1).nsmallest(n)
    names = labels.loc[worst.index].apply(lambda row: ", ".join(row.index[row]), axis=1)
    return pd.DataFrame({"mean": worst, "labels": names})


def cosine(z: np.ndarray) -> np.ndarray:
    """Scores (Q, Q) of embeddings (Q, D), to the last bit those that `evaluate` ranks by."""
    rows = UnitRows(z, "z")(slice(0, len(z)))
    return (rows @ rows.T).numpy()


def ranking(scores: np.ndarray) -> np.ndarray:
    """Leave-one-out ranking (Q, Q - 1) by scores (Q, Q), as `evaluate` ranks."""
    scores = torch.as_tensor(scores)
    return rank(scores, exclude=torch.arange(len(scores))).numpy()


def label_ap(order: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """AP of single labels in the whole `ranking`, a row a label of `y` (Q, L).

    `AP`: mean over the `queries` that carry the label of the average precision with which the
    others that do are ranked; NaN for fewer than two. `chance`: its expectation for random order.
    """
    rows, items = [], order.shape[1]
    ranks = np.arange(1, items + 1)
    harmonic = (1 / ranks).sum()
    for carried in np.asarray(y, dtype=bool).T:
        row = {"queries": carried.sum(), "AP": np.nan, "chance": np.nan}
        if (hits := carried.sum() - 1) > 0:
            relevant = carried[order[carried]]
            precision = relevant.cumsum(axis=1) / ranks
            row["AP"] = (precision * relevant).sum(axis=1).mean() / hits
            # above a hit, each rank is one with probability (hits - 1) / (items - 1)
            above = (hits - 1) / max(items - 1, 1)
            row["chance"] = (harmonic + above * (items - harmonic)) / items
        rows.append(row)
    return pd.DataFrame(rows)


def precision_recall(
    order: np.ndarray, y: np.ndarray, thresholds: Sequence[float] = tuple(MAP_THRESHOLDS.values())
) -> pd.DataFrame:
    """Precision at recall 0.05, 0.1, ..., 1, a column for each least Jaccard index (0: J > 0).

    Mean over the queries with a relevant item of the precision down to the rank at which that
    share of them is found, without interpolation; NaN without such a query.
    """
    overlap = np.take_along_axis(jaccard(y), order, axis=1)
    percent, curves = np.arange(5, 101, 5), {}
    for threshold in thresholds:
        # a quotient of whole numbers that equals a threshold is the same float64
        query, position = ((overlap >= threshold) & (overlap > 0)).nonzero()
        total = np.bincount(query, minlength=len(y))
        total, start = total[total > 0], (total.cumsum() - total)[total > 0]
        wanted = -(-total[:, None] * percent // 100)  # whole numbers: 5 % of 20 is one
        precision = wanted / (position[start[:, None] + wanted - 1] + 1)
        curves[threshold] = precision.mean(axis=0) if len(total) else np.nan
    return pd.DataFrame(curves, index=pd.Index(percent / 100, name="recall"))


def _best_jaccard(labels: pd.DataFrame) -> pd.Series:
    overlap = jaccard(labels.to_numpy())
    np.fill_diagonal(overlap, 0)
    return pd.Series(overlap.max(axis=1), index=labels.index)
