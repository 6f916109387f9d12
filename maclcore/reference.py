"""Chance and oracle: the rows that frame every results table. Both need labels alone.

(The third reference row, frozen features, is `evaluate` on what an untrained network computes.)
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import hypergeom
from torch import Tensor

from maclcore import metrics
from maclcore.metrics import (
    CHUNK,
    MAP_THRESHOLDS,
    METRICS,
    Evaluation,
    Overlap,
    Readings,
    Relevance,
    discounts,
    evaluate_rows,
    ideal_dcg,
)


def oracle(
    y_query, y_gallery=None, *, by="jaccard", chunk=CHUNK, device="cpu", **readings
) -> Evaluation:
    """Evaluation of ranking by the labels: by Jaccard index, or by "shared" label count.

    The first is the ceiling of the threshold mAPs and nDCG, the second of nDCG(sim), both of
    mAP(sim). wAP has no such ceiling: it divides by the hits found, so that one good hit and no
    other can beat a list of hits. Ties keep the gallery's order; the rest is as in `evaluate`.
    """
    if by not in ("jaccard", "shared"):
        raise ValueError(f"by is jaccard or shared, not {by!r}")
    overlap = Overlap(y_query, y_gallery, device)

    def score(rows: slice) -> Tensor:
        return getattr(overlap.relevance(rows), by)[:, overlap.set_of]

    return evaluate_rows(score, overlap, Readings(**readings), chunk)


@dataclass(frozen=True)
class Chance(Evaluation):
    """Expectations over random orders: `per_query` (of a query left out in some of them: over the
    others), `without_hit`, and the summary, whose `standard_error` is 0 where it is exact."""

    expected: dict[str, float]
    standard_error: dict[str, float]

    def summary(self) -> dict[str, float]:
        return self.expected


def chance(
    y_query, y_gallery=None, *, seed=0, tolerance=5e-4, chunk=CHUNK, device="cpu", **readings
) -> Chance:
    """Expectation of every metric when the gallery is ranked at random; as in `evaluate` else.

    Exact, but for two readings that are averaged over as many random rankings, drawn from `seed`,
    as bring the standard error down to `tolerance`: nDCG with ideal="list"; and with without_hit=
    "omit" what chance leaves out, in wAP and in the AP ("hits") of a list that is cut.
    """
    overlap, reading = Overlap(y_query, y_gallery, device), Readings(**readings)
    starts, tiny, drawn = range(0, overlap.shape[0], chunk), 1e-12, set()
    parts = [_expectation(overlap.relevance(slice(i, i + chunk)), reading) for i in starts]
    values, none = (pd.concat(part, ignore_index=True) for part in zip(*parts, strict=True))
    if reading.without_hit == "omit":
        values = values.mask(none > 1 - tiny)
        drawn |= {name for name in METRICS if none[name].between(tiny, 1 - tiny).any()}
    if reading.ideal == "list" and overlap.items > metrics.TOP:
        drawn |= {"nDCG(sim)@100", "nDCG@100"}
    expected, error = values.mean(), pd.Series(0.0, index=METRICS)
    generator, draws, drawn = torch.Generator().manual_seed(seed), [], sorted(drawn)

    def score(rows: slice) -> Tensor:
        size = (rows.stop - rows.start, overlap.shape[1])
        return torch.rand(size, generator=generator).to(device)

    while drawn and (not draws or (error > tolerance).any()):
        for _ in range(16):
            draws.append(evaluate_rows(score, overlap, reading, chunk).per_query[drawn])
        means = pd.DataFrame([draw.mean() for draw in draws])
        expected[drawn], error[drawn] = means.mean(), means.sem()
    if drawn:
        values[drawn] = pd.concat(draws).groupby(level=0).mean()
    return Chance(values, none.sum().to_dict(), expected.to_dict(), error.to_dict())


def _expectation(relevance: Relevance, reading: Readings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Expected value of each query, 0 for a list without a hit, and the probability of that."""
    items = int(relevance.available[0].sum())
    top, values, none = min(metrics.TOP, items), {}, {}

    def total(table: Tensor) -> np.ndarray:
        return (table * relevance.available).sum(dim=1).cpu().numpy()

    for name, threshold in MAP_THRESHOLDS.items():
        hits, k = total(relevance.at_least(threshold)), min(reading.cutoff(name) or items, items)
        values[name], none[name] = _expected_ap(hits, items, k, reading.normaliser)
    for name, gain in relevance.gains().items():
        best = ideal_dcg(gain, relevance.available, top).cpu().numpy()
        # each rank of a random list holds the gallery's mean gain
        random = total(gain) / items * float(discounts(top).sum())
        values[name] = random / np.where(best > 0, best, 1)
        k = items if reading.ideal == "gallery" else top
        none[name] = hypergeom.pmf(0, items, total(gain > 0), k)
    phi = relevance.at_least(reading.wap_threshold)
    hits = total(phi)
    ap, none["wAP@100"] = _expected_ap(hits, items, top, "hits")
    # whatever their ranks, the hits of a random list have the mean J of all hits
    values["wAP@100"] = ap * total(phi * relevance.jaccard) / hits.clip(1)
    return pd.DataFrame(values)[list(METRICS)], pd.DataFrame(none)[list(METRICS)].astype(float)


def _expected_ap(hits: np.ndarray, items: int, k: int, normaliser: str):
    """E[AP@k] (Q,) of a random order of `items` with `hits (Q,)` relevant; P(none in the list).

    Let n of the k ranks be hits, every n of them alike. Rank i is one with probability n/k, and
    has one at each of the i - 1 before it with (n - 1)/(k - 1), so that with H = 1 + ... + 1/k
    sum_i E[hit_i precision_i] = n (H/k + (n - 1) b),  b = (k - H) / (k (k - 1)).
    AP divides by n, or by min(hits, k); n is hypergeometric, with mean k hits / items.
    """
    harmonic = (1 / np.arange(1, k + 1)).sum()
    first, b = harmonic / k, (k - harmonic) / (k * max(k - 1, 1))
    mean = k * hits / items
    if normaliser == "min":
        pairs = mean * (k - 1) * (hits - 1) / max(items - 1, 1)  # E[n (n - 1)]
        return (mean * first + pairs * b) / np.fmin(hits, k).clip(1), hits == 0
    none = hypergeom.pmf(0, items, hits, k)
    return (1 - none) * (first - b) + mean * b, none
