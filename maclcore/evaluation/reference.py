"""Chance and oracle: the rows that frame every results table. Both need labels alone.

(The third reference row, frozen features, is `evaluate` on what an untrained network computes.)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.stats import hypergeom
from torch import Tensor

from maclcore.evaluation.measures import discounts, ideal_dcg
from maclcore.evaluation.relevance import (
    HARD,
    MAP_THRESHOLDS,
    METRICS,
    TOP,
    Overlap,
    Readings,
    Relevance,
    Tables,
    wap_tables,
)
from maclcore.evaluation.retrieval import (
    MEMORY,
    Evaluation,
    collect_queries,
    evaluate_rows,
    left_out,
    starts,
)
from maclcore.evaluation.ties import average_over_ties
from maclcore.labels import Array


def oracle(
    y_query: Array,
    y_gallery: Array | None = None,
    *,
    by: str = "jaccard",
    memory: int = MEMORY,
    device: torch.device | str = "cpu",
    **readings: Any,
) -> Evaluation:
    """Evaluation of ranking by the labels: by Jaccard index, or by "shared" label count.

    The first is the ceiling of the threshold mAPs and nDCG, the second of nDCG(sim), both of
    mAP(sim). wAP has no such ceiling: it divides by the hits found, so that one good hit and no
    other can beat a list of hits. The rest is as in `evaluate`. Ties are many: with
    ties="average" the result is a function of the label sets alone, and so is its cost.
    """
    if by not in ("jaccard", "shared"):
        raise ValueError(f"by is jaccard or shared, not {by!r}")
    overlap, reading = Overlap(y_query, y_gallery, device), Readings(**readings)
    if reading.ties == "average":
        parts = [_averaged_oracle(relevance, by, reading) for relevance in _all(overlap, memory)]
        parts = [torch.cat(part)[overlap.query_set] for part in zip(*parts, strict=True)]
        return collect_queries([parts], reading, range(overlap.shape[0]))

    def score(rows: slice) -> Callable[[slice], Tensor]:
        table = getattr(overlap.relevance(rows), by)
        return lambda items: table[:, overlap.set_of[items]]

    return evaluate_rows(score, overlap, reading, memory)


def _averaged_oracle(relevance: Relevance, by: str, reading: Readings) -> tuple[Tensor, Tensor]:
    """The lists are of label sets, each entry as many items as the gallery has of the set."""
    score, ranked = getattr(relevance, by).sort(dim=1, descending=True)
    of, count = torch.arange(len(score), device=score.device), relevance.available.gather(1, ranked)
    return average_over_ties(Tables(relevance, reading), of, ranked, count, starts(score))


def _all(overlap: Overlap, memory: int) -> Iterator[Relevance]:
    """Of all distinct label sets of the queries, some at a time."""
    at_once = max(1, memory // (400 * len(overlap.sets)))
    for query_sets in torch.arange(len(overlap.first), device=overlap.first.device).split(at_once):
        yield overlap.relevance_of(query_sets)


@dataclass(frozen=True)
class Chance(Evaluation):
    """Expectations over random orders: `per_query` (of a query left out in some of them: over the
    others), `without_hit`, and the summary, whose `standard_error` is 0 where it is exact."""

    expected: dict[str, float]
    standard_error: dict[str, float]

    def summary(self) -> dict[str, float]:
        return self.expected


def chance(
    y_query: Array,
    y_gallery: Array | None = None,
    *,
    seed: int = 0,
    tolerance: float = 5e-4,
    memory: int = MEMORY,
    device: torch.device | str = "cpu",
    **readings: Any,
) -> Chance:
    """Expectation of every metric when the gallery is ranked at random; as in `evaluate` else.

    Exact, but for two readings that are averaged over as many random rankings, drawn from `seed`,
    as bring the standard error down to `tolerance`: nDCG with ideal="list"; and with without_hit=
    "omit" what chance leaves out, in wAP and in the AP ("hits") of a list that is cut.
    """
    overlap, reading = Overlap(y_query, y_gallery, device), Readings(**readings)
    tiny, drawn = 1e-12, set()
    parts = [_expectation(relevance, reading) for relevance in _all(overlap, memory)]
    values, none = (pd.concat(part, ignore_index=True) for part in zip(*parts, strict=True))
    values, none = (x.iloc[overlap.query_set.cpu()].reset_index(drop=True) for x in (values, none))
    if reading.without_hit == "omit":
        drawn |= {name for name in METRICS if none[name].between(tiny, 1 - tiny).any()}
    if reading.ideal == "list" and overlap.items > TOP:
        drawn |= {"nDCG(sim)@100", "nDCG@100"}
    values = left_out(values, none, reading)
    expected, error = values.mean(), pd.Series(0.0, index=METRICS)
    generator, draws, drawn = torch.Generator().manual_seed(seed), [], sorted(drawn)

    def score(rows: slice) -> Callable[[slice], Tensor]:
        queries = len(range(rows.start, rows.stop))

        def block(items: slice) -> Tensor:
            return torch.rand(queries, items.stop - items.start, generator=generator).to(device)

        return block

    while drawn and (not draws or (error > tolerance).any()):
        for _ in range(16):
            draws.append(evaluate_rows(score, overlap, reading, memory).per_query[drawn])
        means = pd.DataFrame([draw.mean() for draw in draws])
        expected[drawn], error[drawn] = means.mean(), means.sem()
    if drawn:
        values[drawn] = pd.concat(draws).groupby(level=0).mean()
    return Chance(values, none.sum().to_dict(), expected.to_dict(), error.to_dict())


def chance_bound(counts: npt.ArrayLike, images: int, split: int | None = None) -> float:
    """Least mAP(sim), of the whole list and leave-one-out, that chance has in an archive of which
    only the `images` of each label are known (`counts (L,)`); every image has a label.

    With `split`, of random splits of so many of its images, on average. An image of which the
    commonest label has c images has at least c - 1 relevant ones, and more can only help. All
    carriers of the commonest label have that one; the bound supposes that the other images have
    but one label each, the rarest ones first. ValueError for counts that leave an image without.
    """
    items = (images if split is None else split) - 1
    counts = np.sort(np.asarray(counts))
    if not (0 < items < images and 0 <= counts[0] and counts[-1] <= images <= counts.sum()):
        raise ValueError(
            f"counts are in 0 ... images, with a sum of at least images, and split in 2 ... images;"
            f" not {counts.tolist()} of {images} images, split {split}"
        )
    room = images - counts[-1]  # images without the commonest label
    queries = np.append(np.diff(counts[:-1].cumsum().clip(max=room), prepend=0), counts[-1])
    # of the c - 1 others with the label, the split has a hypergeometric number
    ap = _expected_ap(np.fmax(counts - 1, 0), images - 1, items, "hits", "rectangle")[0]
    return float(queries @ ap / images)


def _expectation(relevance: Relevance, reading: Readings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Expected value of each query, 0 for a list without a hit, and the probability of that."""
    items = int(relevance.available[0].sum())
    top, values, none = min(TOP, items), {}, {}

    def total(table: Tensor) -> np.ndarray:
        return relevance.total(table).cpu().numpy()

    for name, threshold in MAP_THRESHOLDS.items():
        hits, k = total(relevance.at_least(threshold)), min(reading.cutoff(name) or items, items)
        values[name], none[name] = _expected_ap(hits, items, k, reading.normaliser, reading.area)
    for name, gain in relevance.gains().items():
        best = ideal_dcg(gain, relevance.available, top).cpu().numpy()
        # each rank of a random list holds the gallery's mean gain
        random = total(gain) / items * float(discounts(top).sum())
        values[name] = random / np.where(best > 0, best, 1)
        k = items if reading.ideal == "gallery" else top
        none[name] = hypergeom.pmf(0, items, total(gain > 0), k)
    phi, weight = wap_tables(relevance, reading)
    hits = total(phi)
    ap, none["wAP@100"] = _expected_ap(hits, items, top, "hits", "rectangle")
    # whatever their ranks, the hits of a random list have the mean weight of all hits
    values["wAP@100"] = ap * total(weight) / hits.clip(1)
    if reading.without_hit == "hard":
        none |= dict.fromkeys(HARD, total(relevance.at_least(0.8)) == 0)
    return pd.DataFrame(values)[list(METRICS)], pd.DataFrame(none)[list(METRICS)].astype(float)


def _expected_ap(
    hits: np.ndarray, items: int, k: int, normaliser: str, area: str
) -> tuple[np.ndarray, np.ndarray]:
    """E[AP@k] (Q,) of a random order of `items` with `hits (Q,)` relevant; P(none in the list).

    Let n of the k ranks be hits, every n of them alike. Rank i is one with probability n/k, and
    has one at each of the i - 1 before it with (n - 1)/(k - 1), so that with H = 1 + ... + 1/k
    sum_i E[hit_i precision_i] = n (H/k + (n - 1) b),  b = (k - H) / (k (k - 1)).
    The precision just before rank i adds up to n (1/k + (n - 1)/k): it is 1 at the first rank.
    AP divides by n, or by min(hits, k); n is hypergeometric, with mean k hits / items.
    """
    harmonic = (1 / np.arange(1, k + 1)).sum()
    first, b = harmonic / k, (k - harmonic) / (k * max(k - 1, 1))
    if area == "trapezoid":
        first, b = (first + 1 / k) / 2, (b + (k > 1) / k) / 2
    mean = k * hits / items
    if normaliser == "min":
        pairs = mean * (k - 1) * (hits - 1) / max(items - 1, 1)  # E[n (n - 1)]
        return (mean * first + pairs * b) / np.fmin(hits, k).clip(1), hits == 0
    none = hypergeom.pmf(0, items, hits, k)
    return (1 - none) * (first - b) + mean * b, none


#: rows that need no network, by name
LABELS_ALONE: dict[str, Callable[..., Evaluation]] = {"chance": chance, "oracle": oracle}
#: rows that need no training and stand beside every method
REFERENCES = ("chance", "frozen", "oracle")
