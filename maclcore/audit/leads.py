"""By how much a method is ahead of others, paired by seed; one interval for one difference.

A seed has its own split. Where the store has every query's value, the interval is that of
`statistics.compare`, over seeds, splits and queries, to the last digit shown; else it is a
t-interval over seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from maclcore import paths
from maclcore.audit.evidence import PROTOCOL, describe
from maclcore.evaluation.retrieval import METRICS
from maclcore.evaluation.statistics import deviations
from maclcore.experiments.tables import weights_label
from maclcore.store import Run

SEEDS = 3  # fewer decide nothing: their interval is too wide, or there is none
#: archives in the short code of a setting
LETTERS = {"dlrsd": "D", "ml_aid": "M", "ucm_multilabel": "U", "whdld": "W"}
TAIL = 0.025
NO_INTERVALS = pd.DataFrame(columns=["low", "high"], dtype=float)


@dataclass(frozen=True)
class Lead:
    """By how much a method is ahead of rivals in one quantity, seed by seed, in percent points."""

    name: str
    metric: str
    rivals: Sequence[str]
    gaps: pd.DataFrame  #: seeds × those of the rivals that have been run; method − rival
    protocol: str = ""  #: in words
    code: str = ""  #: the protocol in two, such as "quick D"
    runs: tuple[str, ...] = ()
    #: low and high over seeds, splits and queries, of the rivals for which that is known
    intervals: pd.DataFrame = field(default_factory=NO_INTERVALS.copy)

    @property
    def title(self) -> str:
        return describe(self.name)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a rival: mean, 95 % interval (low, high), n seeds. The interval is that of
        `intervals`, else a t-interval over seeds, NaN for one."""
        n, half = self.gaps.count(), self.gaps.sem()
        half = half * t.isf(TAIL, (n - 1).where(n > 1))
        mean = self.gaps.mean()
        table = pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "n": n})
        table.update(self.intervals)
        return table

    @property
    def by_seed(self) -> bool:
        """Is an interval that decides one over seeds alone?"""
        several = self.table.index[self.table["n"] > 1]
        return not several.isin(self.intervals.index).all()

    @cached_property
    def status(self) -> str:
        """ahead (of every rival's interval), behind (one of them), even, or missing."""
        table = self.table[self.table["n"] >= SEEDS]
        if (table["high"] < 0).any():
            return "behind"
        if len(table) < len(self.rivals):
            return "missing"
        return "ahead" if (table["low"] > 0).all() else "even"


def told(leads: Iterable[Lead]) -> str:
    """Gaps to the strongest rival of each: "MACL − LBase, n = 3: mAP@0.4 +1.0 [+0.2, +1.8], …"."""
    gaps: dict[str, list[str]] = {}
    for one in leads:
        table = one.table.dropna(subset="mean")
        if table.empty:
            gaps.setdefault("no runs", []).append(one.metric)
            continue
        rival = table["mean"].idxmin()
        mean, low, high, n = table.loc[rival]
        interval = f" [{low:+.1f}, {high:+.1f}]" if low == low else ""
        gap = f"{one.metric} " + f"{mean:+.1f}{interval}".replace("-", "−")
        gaps.setdefault(f"{one.title} − {describe(rival)}, n = {n:.0f}", []).append(gap)
    return "; ".join(f"{pair}: {', '.join(dict.fromkeys(gap))}" for pair, gap in gaps.items())


def lead(runs: pd.DataFrame, archive: str, name: str, rivals: Sequence[str], metric: str) -> Lead:
    """The one of `leads`."""
    return leads(runs, archive, name, rivals, [metric])[0]


def leads(
    runs: pd.DataFrame, archive: str, name: str, rivals: Sequence[str], metrics: Sequence[str]
) -> list[Lead]:
    """`name` against `rivals` in each of `metrics`, under one protocol: that with most seeds (up to
    `SEEDS`) of all of them, then most rivals; fine-tuning before runs of the head alone; then most
    epochs."""
    rows = runs[(runs["archive"] == archive) & runs["method"].isin([name, *rivals])]
    best, chosen = (), None
    for protocol, part in rows.groupby(PROTOCOL):
        gaps = _gaps(part, name, metrics[0])
        complete = len(gaps.dropna()) if gaps.shape[1] == len(rivals) else 0
        merit = (min(complete, SEEDS), gaps.shape[1], protocol[0] != "frozen", protocol[2])
        if gaps.size and merit > best:
            best, chosen = merit, (protocol, part)
    if chosen is None:
        return [Lead(name, metric, rivals, pd.DataFrame(dtype=float)) for metric in metrics]
    (profile, size, epochs, weights, _), part = chosen
    title = part["archive: title"].iloc[0]
    words = f"{title} at {size} px, {epochs} epochs, weights {weights_label(weights)}"
    words += ", only the head trained" * (profile == "frozen")
    code = f"{'head' if profile == 'frozen' else profile} {LETTERS.get(archive, title)}"
    found = []
    for metric in metrics:
        gaps = _gaps(part, name, metric)
        used = tuple(part.index[part["seed"].isin(gaps.index)])
        intervals = _intervals(part, name, gaps, metric) if metric in METRICS else NO_INTERVALS
        protocol = f"{words} ({profile})"
        found.append(Lead(name, metric, rivals, gaps, protocol, code, used, intervals))
    return found


def difference(one: Lead, other: Lead) -> Lead:
    """How much larger the first lead is than the second, of one rival each."""
    gaps = pd.DataFrame()
    if one.gaps.size and other.gaps.size and one.protocol == other.protocol:
        gaps = (one.gaps.iloc[:, 0] - other.gaps.iloc[:, 0]).dropna().to_frame(other.name)
    metric, runs = f"gain in {one.metric}", one.runs + other.runs
    return Lead(one.name, metric, [other.name], gaps, one.protocol, one.code, runs)


def _gaps(part: pd.DataFrame, name: str, metric: str) -> pd.DataFrame:
    """Seeds × rivals, method − rival in percent points, for rows of one protocol."""
    wide = part.pivot(index="seed", columns="method", values=metric).astype(float)
    if name not in wide:
        return pd.DataFrame(dtype=float)
    gaps = 100 * wide.drop(columns=name).rsub(wide[name], axis=0)
    return gaps.dropna(how="all").dropna(axis=1, how="all")


def _intervals(rows: pd.DataFrame, name: str, gaps: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Of those rivals whose every query is stored, low and high, in percent points."""
    known = rows[rows["by query"]] if "by query" in rows else rows[:0]
    found = {}
    for seeds, rivals in _by_seeds(gaps).items():
        ids = _complete(known, seeds)
        if name not in ids:
            continue
        mean, deviation = _drawn(paths.results_root(), tuple(ids.values()))
        at = {method: len(METRICS) * i + METRICS.index(metric) for i, method in enumerate(ids)}
        for rival in at.keys() & set(rivals):
            # all methods share their draws, so those of a difference are the differences of draws
            spread = deviation[:, at[name]] - deviation[:, at[rival]]
            gap = mean[at[name]] - mean[at[rival]]
            found[rival] = 100 * (gap + np.quantile(spread, [TAIL, 1 - TAIL]))
    return pd.DataFrame.from_dict(found, orient="index", columns=["low", "high"], dtype=float)


def _by_seeds(gaps: pd.DataFrame) -> Mapping[tuple[int, ...], list[str]]:
    """Rivals by the seeds that they have in common with the method."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for rival, column in gaps.items():
        groups.setdefault(tuple(column.dropna().index), []).append(str(rival))
    return groups


def _complete(rows: pd.DataFrame, seeds: tuple[int, ...]) -> Mapping[str, tuple[str, ...]]:
    """Methods that have all the seeds, each with its run of every seed."""
    ids: dict[str, tuple[str, ...]] = {}
    chosen = rows[rows["seed"].isin(seeds)].sort_values("seed", kind="stable")
    for method, run in zip(chosen["method"], chosen.index, strict=True):
        ids[method] = (*ids.get(method, ()), run)
    return {method: ids[method] for method in sorted(ids) if len(ids[method]) == len(seeds)}


@lru_cache(maxsize=16)
def _drawn(store: Path, ids: tuple[tuple[str, ...], ...]) -> tuple[np.ndarray, np.ndarray]:
    """`statistics.deviations` of methods' runs, METRICS of each after one another."""
    replicates = [[_by_query(store, run) for run in runs] for runs in zip(*ids, strict=True)]
    return deviations([np.hstack(values) for values in replicates])


@lru_cache(maxsize=1024)
def _by_query(store: Path, run_id: str) -> np.ndarray:
    """(Q, 7) of a run of the store, by the queries' names, as `store.per_query` has them."""
    return Run.find(run_id).per_query[list(METRICS)].sort_index().to_numpy(float)
