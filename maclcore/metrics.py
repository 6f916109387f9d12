"""The seven columns of the paper's result tables: ranked relevance in, per-query values out.

Relevance is a matter of labels alone: with I labels that query and item share and U that either
has, J = I / U is the Jaccard index (0 where both are empty). Items with the same label set are
interchangeable, so relevance is looked up in tables (Q, S) over the S distinct sets of a gallery.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maclcore.labels import as_labels
from maclcore.retrieval import rank

#: column -> least Jaccard index of a relevant item; 0 asks for one shared label
MAP_THRESHOLDS = {"mAP(sim)@5000": 0.0, "mAP@0.4": 0.4, "mAP@0.6": 0.6, "mAP@0.8": 0.8}
METRICS = ("mAP(sim)@5000", "nDCG(sim)@100", *list(MAP_THRESHOLDS)[1:], "nDCG@100", "wAP@100")
TOP = 100  # cut-off of nDCG(sim), nDCG and wAP
CHUNK = 256  # queries ranked at a time; more of them outgrow the processor's cache


@dataclass(frozen=True)
class Readings:
    """What the paper leaves open; the defaults are this project's reading.

    map_cutoff     k of mAP@0.4, @0.6 and @0.8; None: the whole list. mAP(sim) is cut at 5000.
    normaliser     AP divides by the relevant items in the list ("hits", Eqs. 11 and 14 as
                   printed), or by min(R, k) with R the relevant items of the gallery ("min").
    ideal          the ideal DCG is the best the gallery allows ("gallery"), or the retrieved
                   list re-sorted ("list", as in the code of OML, Imbriaco et al.).
    wap_threshold  phi of Eq. 18 is J > 0 (at 0.0), or J >= wap_threshold; items below it then
                   count as 0 in the inner mean too.
    without_hit    a query whose value is 0/0, as it has nothing relevant in its list (or in the
                   gallery, if that is divided by), scores 0 ("zero") or is left out ("omit").
    """

    map_cutoff: int | None = None
    normaliser: str = "hits"
    ideal: str = "gallery"
    wap_threshold: float = 0.0
    without_hit: str = "zero"

    def __post_init__(self):
        choices = {"normaliser": "hits min", "ideal": "gallery list", "without_hit": "zero omit"}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed.split():
                raise ValueError(f"{name} is one of {allowed}, not {getattr(self, name)!r}")
        if (
            not (self.map_cutoff is None or self.map_cutoff >= 1)
            or not 0 <= self.wap_threshold <= 1
        ):
            raise ValueError(f"map_cutoff >= 1 or None, wap_threshold in [0, 1]; not {self}")

    def cutoff(self, name: str) -> int | None:
        return 5000 if name == "mAP(sim)@5000" else self.map_cutoff


@dataclass(frozen=True)
class Evaluation:
    """`per_query`: a row for each query, columns METRICS, in [0, 1], NaN where left out.
    `without_hit`: column -> number of queries without a defined value."""

    per_query: pd.DataFrame
    without_hit: dict[str, float]

    def summary(self) -> dict[str, float]:
        """Means over the queries, in the order of METRICS."""
        return {name: float(self.per_query[name].mean()) for name in METRICS}


def evaluate(
    z_query, y_query, z_gallery=None, y_gallery=None, *, chunk=CHUNK, device=None, **readings
) -> Evaluation:
    """All METRICS of ranking the gallery by cosine similarity (MACL, Eqs. 11-18).

    z_query (Q, D) and z_gallery (G, D) of any row length, y_query (Q, L) and y_gallery (G, L)
    multi-hot; arrays or tensors. Without a gallery every query is searched among the others
    (leave-one-out, as in the paper). Equal cosines, as float32, keep the gallery's order; a list
    shorter than a cut-off is used whole; a query without labels has no hit. `readings`: the
    fields of `Readings`. ValueError for an embedding row that is zero or not finite, labels
    other than 0 and 1, shapes that do not match, no queries, or nothing to search in.
    """
    if (z_gallery is None) != (y_gallery is None):
        raise ValueError("z_gallery and y_gallery go together: give both or neither")
    if device is None:
        device = z_query.device if isinstance(z_query, Tensor) else "cpu"
    zq = _unit_rows(z_query, "z_query", device)
    zg = zq if z_gallery is None else _unit_rows(z_gallery, "z_gallery", device)
    if zq.shape[1] != zg.shape[1]:
        raise ValueError(f"z_query has {zq.shape[1]} columns, z_gallery {zg.shape[1]}")
    overlap = Overlap(y_query, y_gallery, device, expect=(len(zq), len(zg)))
    # A float64 product, rounded: equal rows tie exactly, whatever the chunk or the BLAS.
    return evaluate_rows(lambda i: (zq[i] @ zg.T).float(), overlap, Readings(**readings), chunk)


def evaluate_scores(scores, y_query, y_gallery=None, *, chunk=CHUNK, **readings) -> Evaluation:
    """As `evaluate`, of ranking by any scores (Q, G), higher first; (Q, Q) without a gallery."""
    scores = scores if isinstance(scores, Tensor) else torch.from_numpy(np.array(scores, "f4"))
    if scores.ndim != 2 or not scores.isfinite().all():
        raise ValueError(f"scores must be (Q, G) and finite; their shape is {tuple(scores.shape)}")
    overlap = Overlap(y_query, y_gallery, scores.device, expect=tuple(scores.shape))
    return evaluate_rows(lambda i: scores[i], overlap, Readings(**readings), chunk)


class Relevance(NamedTuple):
    """Tables (Q, S), float64: shared labels, united labels, items of each set in the gallery."""

    shared: Tensor
    union: Tensor
    available: Tensor

    @property
    def jaccard(self) -> Tensor:
        return self.shared / self.union.clamp(min=1)

    def at_least(self, threshold: float) -> Tensor:
        """1 where J >= threshold and a label is shared. Compares whole numbers: 2/5 is 0.4."""
        ratio = Fraction(threshold).limit_denominator(1000)
        enough = ratio.denominator * self.shared >= ratio.numerator * self.union
        return (enough & (self.shared > 0)).double()

    def gains(self) -> dict[str, Tensor]:
        """2^I - 1 (Eq. 12) and 2^J - 1 (Eq. 16)."""
        return {"nDCG(sim)@100": self.shared.exp2() - 1, "nDCG@100": self.jaccard.exp2() - 1}


class Overlap:
    """The label side of a search; `set_of (G,)` names each item's of the distinct `sets (S, L)`.

    Leave-one-out without a gallery: a list then holds G - 1 `items`."""

    def __init__(self, y_query, y_gallery=None, device="cpu", expect=None):
        self.leave_one_out = y_gallery is None
        tables = [as_labels(y_query, "y_query")]
        tables += [] if y_gallery is None else [as_labels(y_gallery, "y_gallery")]
        tables = [y if isinstance(y, Tensor) else torch.from_numpy(y.astype("f4")) for y in tables]
        self.query, gallery = (tables[i].to(device, torch.float32) for i in (0, -1))
        self.shape, self.items = (len(self.query), len(gallery)), len(gallery) - self.leave_one_out
        if self.query.shape[1] != gallery.shape[1]:
            raise ValueError(f"y_query has {self.query.shape[1]} labels, not {gallery.shape[1]}")
        if self.shape != (expect or self.shape):
            raise ValueError(f"labels of {self.shape} (queries, gallery) images for {expect}")
        if not (len(self.query) and self.items):
            raise ValueError(f"nothing to search: {len(self.query)} queries, {self.items} items")
        distinct = torch.unique(gallery, dim=0, return_inverse=True, return_counts=True)
        self.sets, self.set_of, self.counts = distinct

    def relevance(self, rows: slice) -> Relevance:
        y = self.query[rows]
        shared = (y @ self.sets.T).double()  # whole numbers below 2^24 are exact in float32
        union = y.sum(dim=1, keepdim=True) + self.sets.sum(dim=1) - shared
        available = self.counts.double().repeat(len(y), 1)
        if self.leave_one_out:
            available.scatter_add_(1, self.set_of[rows, None], -torch.ones_like(available[:, :1]))
        return Relevance(shared, union, available)


@torch.no_grad()
def evaluate_rows(
    score: Callable[[slice], Tensor], overlap: Overlap, readings: Readings, chunk: int = CHUNK
) -> Evaluation:
    """The loop behind every evaluation; `score` gives the rows of scores (Q, G) of some queries."""
    queries, parts = overlap.shape[0], []
    depth = max(5000, TOP, readings.map_cutoff or overlap.items)
    for start in range(0, queries, chunk):
        rows = slice(start, min(start + chunk, queries))
        itself = torch.arange(rows.start, rows.stop, device=overlap.set_of.device)
        order = rank(score(rows), depth, itself if overlap.leave_one_out else None)
        values = _per_query(overlap.relevance(rows), overlap.set_of[order], readings)
        parts.append(torch.stack([values[name] for name in METRICS], dim=1))
    per_query = pd.DataFrame(torch.cat(parts).cpu().numpy(), columns=list(METRICS))
    without_hit = {name: int(count) for name, count in per_query.isna().sum().items()}
    if readings.without_hit == "zero":
        per_query = per_query.fillna(0.0)
    return Evaluation(per_query, without_hit)


def _per_query(relevance: Relevance, ranked: Tensor, readings: Readings) -> dict[str, Tensor]:
    """Values (Q,), NaN for 0/0, of lists of label sets in ranked order (Q, K)."""
    values = {}
    for name, threshold in MAP_THRESHOLDS.items():
        table, positives = relevance.at_least(threshold), None
        relevant = table.gather(1, ranked[:, : readings.cutoff(name)])
        if readings.normaliser == "min":
            positives = (table * relevance.available).sum(dim=1).clamp(max=relevant.shape[1])
        values[name] = average_precision(relevant, positives=positives)
    top = ranked[:, :TOP]
    for name, table in relevance.gains().items():
        gain = table.gather(1, top)
        ideal = ideal_dcg(table, relevance.available, TOP)
        if readings.ideal == "list":
            ideal = dcg(gain.sort(dim=1, descending=True).values)
        values[name] = dcg(gain) / ideal
    phi = relevance.at_least(readings.wap_threshold)
    jaccard = (phi * relevance.jaccard).gather(1, top)
    values["wAP@100"] = average_precision(phi.gather(1, top), jaccard)
    return values


def average_precision(
    relevant: Tensor, weight: Tensor | None = None, positives: Tensor | None = None
) -> Tensor:
    """AP (Q,) of relevance (Q, K) in {0, 1} in ranked order (Eqs. 11, 14); NaN where 0/0.

    The mean, over the relevant items, of the precision down to their rank; with `weight` of the
    mean weight down to it (Eq. 18). `positives (Q,)` replaces the number of relevant items.
    """
    relevant = relevant.double()
    total = (relevant if weight is None else weight).cumsum(dim=1) * relevant
    position = torch.arange(1, total.shape[1] + 1, dtype=torch.float64, device=total.device)
    return total @ position.reciprocal() / (relevant.sum(dim=1) if positives is None else positives)


def discounts(k: int, device=None) -> Tensor:
    """1 / log2(1 + i), i = 1 ... k."""
    return 1 / torch.arange(2, k + 2, dtype=torch.float64, device=device).log2()


def dcg(gain: Tensor) -> Tensor:
    """Discounted cumulative gain (Q,) of gains (Q, K) in ranked order (Eqs. 12, 16)."""
    return gain @ discounts(gain.shape[1], gain.device)


def ideal_dcg(gain: Tensor, available: Tensor, k: int) -> Tensor:
    """The largest DCG@k (Q,), from each label set's gain and number of items (Q, S)."""
    gain, order = gain.sort(dim=1, descending=True)
    ranks = available.gather(1, order).cumsum(dim=1).clamp(max=k).long()  # used up by each set
    reached = torch.cat([gain.new_zeros(1), discounts(k, gain.device).cumsum(0)])[ranks]
    return (gain * reached.diff(dim=1, prepend=torch.zeros_like(gain[:, :1]))).sum(dim=1)


def _unit_rows(z, name: str, device) -> Tensor:
    """(N, D) rows of length 1, float64."""
    z = z.detach() if isinstance(z, Tensor) else torch.from_numpy(np.array(z, dtype=np.float64))
    if z.ndim != 2:
        raise ValueError(f"{name} must be (N, D); its shape is {tuple(z.shape)}")
    z = z.to(device, torch.float64)
    length = z.norm(dim=1, keepdim=True)
    bad = (~length.isfinite() | (length == 0)).nonzero()[:, 0].tolist()
    if bad:
        kind = "all zero" if length[bad[0]] == 0 else "not finite"
        raise ValueError(f"{name}: row {bad[0]} is {kind} (rows without a direction: {len(bad)})")
    return z / length
