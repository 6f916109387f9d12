"""The seven columns of the paper's result tables: ranked relevance in, per-query values out.

Relevance is a matter of labels alone: with I labels that query and item share and U that either
has, J = I / U is the Jaccard index (0 where both are empty). Items with the same label set are
interchangeable, so relevance is looked up in tables (Q, S) over the S distinct sets of a gallery.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maclcore.evaluation.ranking import BLOCK, UnitRows, best_keys, key_scores
from maclcore.labels import Array, as_labels, bit_sets, distinct_rows

#: column -> least Jaccard index of a relevant item; 0 asks for one shared label
MAP_THRESHOLDS = {"mAP(sim)@5000": 0.0, "mAP@0.4": 0.4, "mAP@0.6": 0.6, "mAP@0.8": 0.8}
METRICS = ("mAP(sim)@5000", "nDCG(sim)@100", *list(MAP_THRESHOLDS)[1:], "nDCG@100", "wAP@100")
HARD = list(MAP_THRESHOLDS)[1:]  # what without_hit="hard" leaves a query out of
TOP = 100  # cut-off of nDCG(sim), nDCG and wAP
CHUNK = 256  # queries measured at a time; more of them outgrow the processor's cache
MEMORY = 1 << 30  # bytes of working arrays
SAMPLE = 256  # queries on which a precision below fp64 is compared with it


@dataclass(frozen=True)
class Readings:
    """What the paper leaves open; the defaults are this project's reading.

    map_cutoff     k of mAP@0.4, @0.6 and @0.8; None: the whole list. mAP(sim) is cut at 5000.
    normaliser     AP divides by the relevant items in the list ("hits", Eqs. 11 and 14 as
                   printed), or by min(R, k) with R the relevant items of the gallery ("min").
    area           AP takes the precision at each hit ("rectangle"), or its mean with the
                   precision just before it ("trapezoid", as for the Oxford buildings).
    ideal          the ideal DCG is the best the gallery allows ("gallery"), or the retrieved
                   list re-sorted ("list").
    wap_threshold  phi of Eq. 18 is J > 0 (at 0.0), or J >= wap_threshold; items below it then
                   count as 0 in the inner mean too.
    wap_weight     the inner mean of Eq. 18 is of J ("jaccard"), or of the number of "shared"
                   labels; the values may then exceed 1.
    without_hit    a query whose value is 0/0, as it has nothing relevant in its list (or in the
                   gallery, if that is divided by), scores 0 ("zero") or is left out ("omit");
                   or a query without an item of J >= 0.8 in the gallery is left out of mAP@0.4,
                   @0.6 and @0.8, and 0/0 is 0 otherwise ("hard").
    ties           items of equal score keep the order of the gallery ("storage"), or each value
                   is the expectation over all orders of them ("average"); of a query left out in
                   some of the orders, over the others.

    Two published protocols, as `evaluate(..., **PROTOCOLS[name])`:

    |               | "macl" (the defaults)         | "oml" (released code of OML)                |
    |---------------|-------------------------------|---------------------------------------------|
    | queries       | each against all others       | a random fifth of the test split            |
    | gallery       | the other test images         | the other four fifths                       |
    | AP            | precision at hits (Eq. 11)    | area="trapezoid"                            |
    | its list      | whole (§4.3.1)                | whole, so hits = all positives              |
    | without a hit | 0 (not stated)                | without_hit="hard"                          |
    | nDCG(sim)     | ideal of the gallery          | ideal="list"; OML adds 1e-6 to the ideal    |
    | wAP           | mean J (Eq. 18)               | wap_weight="shared"                         |
    | nDCG          | gain 2^J - 1 (Eq. 16)         | not in OML                                  |
    | mAP(sim)@5000 | one shared label              | not in OML                                  |
    """

    map_cutoff: int | None = None
    normaliser: str = "hits"
    area: str = "rectangle"
    ideal: str = "gallery"
    wap_threshold: float = 0.0
    wap_weight: str = "jaccard"
    without_hit: str = "zero"
    ties: str = "storage"

    def __post_init__(self) -> None:
        choices = {
            "normaliser": "hits min",
            "area": "rectangle trapezoid",
            "ideal": "gallery list",
            "wap_weight": "jaccard shared",
            "without_hit": "zero omit hard",
            "ties": "storage average",
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed.split():
                raise ValueError(f"{name} is one of {allowed}, not {getattr(self, name)!r}")
        if (
            not (self.map_cutoff is None or self.map_cutoff >= 1)
            or not 0 <= self.wap_threshold <= 1
        ):
            raise ValueError(f"map_cutoff >= 1 or None, wap_threshold in [0, 1]; not {self}")
        if self.ties == "average" and self.ideal == "list":
            raise ValueError('ties="average" has no closed form for ideal="list": take "gallery"')

    def cutoff(self, name: str) -> int | None:
        return 5000 if name == "mAP(sim)@5000" else self.map_cutoff


PROTOCOLS = {
    "macl": {},
    "oml": {
        "area": "trapezoid",
        "ideal": "list",
        "wap_weight": "shared",
        "without_hit": "hard",
    },
}


@dataclass(frozen=True)
class Evaluation:
    """`per_query`: a row for each query, columns METRICS, in [0, 1], NaN where left out.
    `without_hit`: column -> number of queries without a defined value (its expectation, where
    ties are averaged). `change`: in a precision below fp64, column -> mean difference from fp64
    over SAMPLE evenly spaced queries (of fewer, all)."""

    per_query: pd.DataFrame
    without_hit: dict[str, float]
    change: dict[str, float] | None = field(default=None, kw_only=True)

    def summary(self) -> dict[str, float]:
        """Means over the queries, in the order of METRICS."""
        return {name: float(self.per_query[name].mean()) for name in METRICS}


def evaluate(
    z_query: Any,
    y_query: Array,
    z_gallery: Any = None,
    y_gallery: Array | None = None,
    *,
    memory: int = MEMORY,
    precision: str = "fp64",
    device: torch.device | str | None = None,
    **readings: Any,
) -> Evaluation:
    """All METRICS of ranking the gallery by cosine similarity (MACL, Eqs. 11-18).

    z_query (Q, D) and z_gallery (G, D) of any row length, y_query (Q, L) and y_gallery (G, L)
    multi-hot; arrays or tensors, and the embeddings whatever `UnitRows` can read from disk.
    Without a gallery every query is searched among the others (leave-one-out, as in the paper).
    A list shorter than a cut-off is used whole; a query without labels has no hit. `readings`:
    the fields of `Readings`.

    Cosines tie when they are equal as float32; equal rows always tie, whatever the block, BLAS or
    device (`retrieval.GRID`). `precision` "fp32", "bf16" or "fp16" gives that up for speed: see
    `Evaluation.change`. `memory` bounds the working arrays, in bytes, beside the inputs and some
    50 bytes for each item, down to one query at a time; more memory means fewer passes over the
    gallery. A cut list ("map_cutoff") needs much less than the ranking of a whole large gallery.

    ValueError for an embedding row that is zero or not finite, labels other than 0 and 1, shapes
    that do not match, no queries, or nothing to search in.
    """
    reading = Readings(**readings)
    if (z_gallery is None) != (y_gallery is None):
        raise ValueError("z_gallery and y_gallery go together: give both or neither")
    if device is None:
        device = z_query.device if isinstance(z_query, Tensor) else "cpu"
    sources = [(z_query, "z_query"), (z_gallery, "z_gallery")]
    sources = sources[:1] * 2 if z_gallery is None else sources

    def unit_rows(precision: str) -> list[UnitRows]:
        return [UnitRows(z, name, device, precision) for z, name in sources]

    query, gallery = unit_rows(precision)
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"z_query has {query.shape[1]} columns, z_gallery {gallery.shape[1]}")
    overlap = Overlap(y_query, y_gallery, device, expect=(len(query), len(gallery)))
    if z_gallery is not None:
        for start in range(0, len(query), BLOCK):  # a bad row shows before the work, not after it
            query(slice(start, start + BLOCK))
    result = evaluate_rows(_cosines(query, gallery), overlap, reading, memory, dim=query.shape[1])
    if precision == "fp64":
        return result
    sample = slice(0, None, -(-len(query) // SAMPLE))
    exact = _cosines(*unit_rows("fp64"))
    exact = evaluate_rows(exact, overlap, reading, memory, dim=query.shape[1], queries=sample)
    change = (result.per_query[sample] - exact.per_query).mean().to_dict()
    return replace(result, change=change)


def evaluate_scores(
    scores: Any,
    y_query: Array,
    y_gallery: Array | None = None,
    *,
    memory: int = MEMORY,
    **readings: Any,
) -> Evaluation:
    """As `evaluate`, of ranking by any scores (Q, G), higher first; (Q, Q) without a gallery."""
    scores = scores if hasattr(scores, "shape") else np.array(scores, "f4")
    if len(scores.shape) != 2:
        raise ValueError(f"scores must be (Q, G); their shape is {tuple(scores.shape)}")
    device = scores.device if isinstance(scores, Tensor) else "cpu"
    overlap = Overlap(y_query, y_gallery, device, expect=tuple(scores.shape))

    def score(rows: slice) -> Callable[[slice], Tensor]:
        def block(items: slice) -> Tensor:
            part = scores[rows, items]
            part = part.float() if isinstance(part, Tensor) else torch.from_numpy(part.astype("f4"))
            if not part.isfinite().all():
                raise ValueError(f"scores of queries {rows.start} to {rows.stop} must be finite")
            return part

        return block

    return evaluate_rows(score, overlap, Readings(**readings), memory)


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

    def total(self, table: Tensor) -> Tensor:
        """Sums (Q,) of a table over the items of the gallery."""
        return (table * self.available).sum(dim=1)


class Overlap:
    """The label side of a search; `set_of (G,)` names each item's of the distinct `sets (S, L)`.

    Queries of the same label set fare alike: `query_set (Q,)` names each one's, and `first` has
    one query of each. Leave-one-out without a gallery: a list then holds G - 1 `items`."""

    def __init__(
        self,
        y_query: Array,
        y_gallery: Array | None = None,
        device: torch.device | str = "cpu",
        expect: tuple[int, ...] | None = None,
    ) -> None:
        self.leave_one_out = y_gallery is None
        query = as_labels(y_query, "y_query")
        gallery = query if self.leave_one_out else as_labels(y_gallery, "y_gallery")
        self.shape, self.items = (len(query), len(gallery)), len(gallery) - self.leave_one_out
        if query.shape[1] != gallery.shape[1]:
            raise ValueError(f"y_query has {query.shape[1]} labels, not {gallery.shape[1]}")
        if self.shape != (expect or self.shape):
            raise ValueError(f"labels of {self.shape} (queries, gallery) images for {expect}")
        if not (len(query) and self.items):
            raise ValueError(f"nothing to search: {len(query)} queries, {self.items} items")
        query, gallery = (y.cpu().numpy() if isinstance(y, Tensor) else y for y in (query, gallery))
        first, set_of, counts = distinct_rows(bit_sets(gallery))
        alike = (first, set_of) if self.leave_one_out else distinct_rows(bit_sets(query))[:2]
        arrays = (gallery[first].astype("f4"), set_of, counts, query[alike[0]].astype("f4"), *alike)
        arrays = (torch.from_numpy(array).to(device) for array in arrays)
        self.sets, self.set_of, self.counts, self.query_sets, self.first, self.query_set = arrays

    def relevance(self, rows: slice) -> Relevance:
        """Tables of some queries."""
        return self.relevance_of(self.query_set[rows])

    def relevance_of(self, query_sets: Tensor) -> Relevance:
        """Tables of the queries with some of the distinct label sets."""
        y = self.query_sets[query_sets]
        shared = (y @ self.sets.T).double()  # whole numbers below 2^24 are exact in float32
        union = y.sum(dim=1, keepdim=True) + self.sets.sum(dim=1) - shared
        available = self.counts.double().repeat(len(y), 1)
        if self.leave_one_out:
            available.scatter_add_(1, query_sets[:, None], -torch.ones_like(available[:, :1]))
        return Relevance(shared, union, available)


@torch.no_grad()
def evaluate_rows(
    score: Callable[[slice], Callable[[slice], Tensor]],
    overlap: Overlap,
    readings: Readings,
    memory: int = MEMORY,
    *,
    dim: int = 0,
    queries: slice = slice(None),
) -> Evaluation:
    """The loop behind every evaluation of `queries`.

    `score(rows)(items)` gives the scores of a slice of the queries for a slice of the gallery, of
    which it holds `dim` columns. Half of the `memory` is for ranking, a quarter each for those
    columns and for the metrics of ranked lists.
    """
    (total, items), device = overlap.shape, overlap.set_of.device
    k = max(5000, TOP, readings.map_cutoff or overlap.items)
    k = overlap.items if readings.ties == "average" else min(k, overlap.items)
    block = max(1, min(items, BLOCK, memory // 4 // (24 * dim + 1)))
    at_once = max(1, memory // 2 // (8 * min(items, 2 * k + block) + 64 * block + 24 * dim))
    if block == items:  # nothing is read twice
        at_once = min(at_once, CHUNK)
    per_entry, per_set = 50 if readings.ties == "storage" else 200, 200
    chunk = max(1, min(CHUNK, memory // 4 // (per_entry * k + per_set * len(overlap.sets))))
    every = torch.arange(len(overlap.first), device=device)
    at_hand = len(every) * len(overlap.sets) * per_set <= memory // 4
    tables = Tables(overlap.relevance_of(every), readings) if at_hand else None

    def measure(rows: slice) -> list[tuple[Tensor, Tensor]]:
        scores, sets = score(rows), overlap.query_set[rows]
        if overlap.leave_one_out:
            scores = _without(scores, torch.arange(total, device=device)[rows])
        keys = best_keys(scores, (len(sets), items), k, block=block, device=device)
        parts = zip(keys.split(chunk), sets.split(chunk), strict=True)
        if at_hand:
            return [_per_query(tables, of, overlap.set_of, part) for part, of in parts]
        parts = [(part, of.unique(return_inverse=True)) for part, of in parts]
        return [
            _per_query(Tables(overlap.relevance_of(own), readings), of, overlap.set_of, part)
            for part, (own, of) in parts
        ]

    index = range(total)[queries]
    groups = (index[start : start + at_once] for start in range(0, len(index), at_once))
    parts = [measure(slice(rows.start, rows.stop, rows.step)) for rows in groups]
    return collect_queries(sum(parts, []), readings, index)


def _cosines(query: UnitRows, gallery: UnitRows) -> Callable[[slice], Callable[[slice], Tensor]]:
    def score(rows: slice) -> Callable[[slice], Tensor]:
        z = query(rows)
        return lambda items: z @ gallery(items).T

    return score


def _without(score: Callable[[slice], Tensor], itself: Tensor) -> Callable[[slice], Tensor]:
    """Scores in which item `itself (Q,)` of each query comes last."""

    def block(items: slice) -> Tensor:
        scores = score(items).float()
        row = ((items.start <= itself) & (itself < items.stop)).nonzero()[:, 0]
        return scores.index_put((row, itself[row] - items.start), scores.new_tensor(-torch.inf))

    return block


def collect_queries(
    parts: list[tuple[Tensor, Tensor]], readings: Readings, index: range
) -> Evaluation:
    """From values (Q, 7), 0 for 0/0, and the probability of that (Q, 7), of consecutive queries."""
    values, none = (
        pd.DataFrame(torch.cat(part).cpu().numpy(), index=index, columns=list(METRICS))
        for part in zip(*parts, strict=True)
    )
    return Evaluation(left_out(values, none, readings), none.sum().to_dict())


def left_out(values: pd.DataFrame, none: pd.DataFrame, readings: Readings) -> pd.DataFrame:
    """The values, 0 for 0/0, with NaN for what the reading leaves out."""
    if readings.without_hit == "omit":
        return (values / (1 - none)).mask(none > 1 - 1e-12)
    if readings.without_hit == "hard":
        return values.assign(**values[HARD].mask(none[HARD] == 1))
    return values


class Tables:
    """All that values are looked up in: a row for each of some queries, a column for each set.

    `hits`: column of METRICS -> 1 where relevant (U, S); `positives`: what its AP divides by (U,),
    None for the hits in the list; `gains` (U, S) and `ideals` (U,) of the nDCGs, the latter None
    if taken from the list; `phi` and `weight` of Eq. 18 (U, S); `hard`: has an item of J >= 0.8."""

    def __init__(self, relevance: Relevance, readings: Readings) -> None:
        self.readings, self.items = readings, int(relevance.available[0].sum())
        self.hits = {name: relevance.at_least(t) for name, t in MAP_THRESHOLDS.items()}
        self.hard, self.positives = relevance.total(self.hits["mAP@0.8"]) > 0, {}
        for name, hit in self.hits.items():
            found = relevance.total(hit).clamp(max=readings.cutoff(name) or self.items)
            self.positives[name] = found if readings.normaliser == "min" else None
        self.gains, self.ideals = relevance.gains(), dict.fromkeys(relevance.gains())
        if readings.ideal == "gallery":
            for name, gain in self.gains.items():
                self.ideals[name] = ideal_dcg(gain, relevance.available, TOP)
        self.phi, self.weight = wap_tables(relevance, readings)


def _per_query(tables: Tables, of: Tensor, set_of: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Values (Q, 7), 0 for 0/0, and where they are (Q, 7), of lists of keys in order (Q, K)."""
    order = keys & 0xFFFFFFFF
    ranked = set_of.gather(0, order.view(-1)).view_as(order)
    if tables.readings.ties == "storage":
        return _in_order(tables, of, ranked)
    score = key_scores(keys)
    return average_over_ties(tables, of, ranked, torch.ones_like(score).double(), starts(score))


def starts(score: Tensor) -> Tensor:
    """Where a sorted score (Q, E) differs from the one before it."""
    first = torch.ones_like(score[:, :1], dtype=torch.bool)
    return torch.cat([first, score[:, 1:] != score[:, :-1]], dim=1)


def _in_order(tables: Tables, of: Tensor, ranked: Tensor) -> tuple[Tensor, Tensor]:
    """Values of lists of label sets `ranked (Q, K)`; query q has row `of[q]` of the tables."""
    readings, at = tables.readings, ranked + (of * tables.phi.shape[1])[:, None]
    top, values = at[:, :TOP], {}
    for name, hit in tables.hits.items():
        relevant = _look_up(hit.int(), at[:, : readings.cutoff(name)])
        positives = None if tables.positives[name] is None else tables.positives[name][of]
        values[name] = average_precision(relevant, positives=positives, area=readings.area)
    for name, gain in tables.gains.items():
        listed = _look_up(gain, top)
        if tables.ideals[name] is None:
            ideal = dcg(listed.sort(dim=1, descending=True).values)
        else:
            ideal = tables.ideals[name][of]
        values[name] = dcg(listed) / ideal
    values["wAP@100"] = average_precision(_look_up(tables.phi, top), _look_up(tables.weight, top))
    stacked = torch.stack([values[name] for name in METRICS], dim=1)
    none = stacked.isnan()
    if readings.without_hit == "hard":
        none[:, [METRICS.index(name) for name in HARD]] = ~tables.hard[of, None]
    return stacked.nan_to_num(0.0), none


def _look_up(table: Tensor, at: Tensor) -> Tensor:
    return table.view(-1).gather(0, at.reshape(-1)).view_as(at)


def wap_tables(relevance: Relevance, readings: Readings) -> tuple[Tensor, Tensor]:
    """phi of Eq. 18 and what its inner mean is of, 0 where phi is."""
    phi = relevance.at_least(readings.wap_threshold)
    return phi, phi * getattr(relevance, readings.wap_weight)


def average_precision(
    relevant: Tensor,
    weight: Tensor | None = None,
    positives: Tensor | None = None,
    area: str = "rectangle",
) -> Tensor:
    """AP (Q,) of relevance (Q, K) in {0, 1} in ranked order (Eqs. 11, 14); NaN where 0/0.

    The mean, over the relevant items, of the precision down to their rank; with `weight` of the
    mean weight down to it (Eq. 18). `positives (Q,)` replaces the number of relevant items.
    `area`: as in `Readings`.
    """
    relevant = relevant.int()  # faster than bool and float64, and exact
    weight = relevant if weight is None else weight
    before, own = precision_weights(relevant.shape[1], area, relevant.device)
    total = (weight.cumsum(dim=1, dtype=weight.dtype) * relevant).double() @ before
    if area == "trapezoid":
        total += (weight * relevant).double() @ (own - before)
    return total / (relevant.sum(dim=1, dtype=torch.int32) if positives is None else positives)


def precision_weights(
    k: int, area: str, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """What a hit at rank 1 ... k adds for each hit before it (k,), and for itself (k,)."""
    inverse = 1 / torch.arange(1, k + 1, dtype=torch.float64, device=device)
    if area == "rectangle":
        return inverse, inverse
    # the mean with the precision one rank higher up, which is 1 above the first
    shifted = torch.cat([inverse.new_zeros(1), inverse[:-1]])
    return (inverse + shifted) / 2, (inverse + inverse.floor()) / 2


def discounts(k: int, device: torch.device | str | None = None) -> Tensor:
    """1 / log2(1 + i), i = 1 ... k."""
    return 1 / torch.arange(2, k + 2, dtype=torch.float64, device=device).log2()


def dcg(gain: Tensor) -> Tensor:
    """Discounted cumulative gain (Q,) of gains (Q, K) in ranked order (Eqs. 12, 16)."""
    return gain @ discounts(gain.shape[1], gain.device)


def ideal_dcg(gain: Tensor, available: Tensor, k: int) -> Tensor:
    """The largest DCG@k (Q,), from each label set's gain and number of items (Q, S)."""
    gain, order = gain.sort(dim=1, descending=True)
    ranks = available.gather(1, order).cumsum(dim=1).clamp(max=k).long()  # used up by each set
    reached = _running(discounts(k, gain.device))[ranks]
    return (gain * reached.diff(dim=1, prepend=torch.zeros_like(gain[:, :1]))).sum(dim=1)


def _running(x: Tensor) -> Tensor:
    """Sums of the first 0, 1, ... n of x (n,)."""
    return torch.cat([x.new_zeros(1), x.cumsum(0)])


# --- Expectations over the orders of ties --------------------------------------------------------


class _Groups:
    """Lists in order, each a row of entries (Q, E) of `count` items; `fresh` opens a tie group.

    What holds for a group stands at its last entry (`last`): `start (Q, E)` items come before it,
    `size (Q, E)` are in it."""

    def __init__(self, count: Tensor, fresh: Tensor) -> None:
        entry = torch.arange(count.shape[1], device=count.device)
        self.opens = torch.where(fresh, entry, 0).cummax(dim=1).values
        self.last = torch.cat([fresh[:, 1:], torch.ones_like(fresh[:, :1])], dim=1)
        self.count = count
        self.start, self.size = self.sums(torch.ones_like(count))

    def sums(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of item values over all groups before, and within the group."""
        running = (self.count * values).cumsum(dim=1)
        before = (running - self.count * values).gather(1, self.opens)
        return before, running - before

    def spread(self, x: Tensor) -> Tensor:
        """Sums of x (n,) over those of the first n ranks that a group holds."""
        first, stop = (r.clamp(max=len(x)).long() for r in (self.start, self.start + self.size))
        running = _running(x)
        return running[stop] - running[first]


def average_over_ties(
    tables: Tables, of: Tensor, ranked: Tensor, count: Tensor, fresh: Tensor
) -> tuple[Tensor, Tensor]:
    """As `_in_order`, in expectation over all orders within tie groups; the probability of 0/0.

    Entry e of a list stands for `count (Q, E)` items of the label set `ranked (Q, E)`; `fresh`
    (Q, E) is True where it does not tie with the entry before. The lists are the whole gallery.
    """
    readings, at = tables.readings, ranked + (of * tables.phi.shape[1])[:, None]
    groups, top, values, none = _Groups(count, fresh), min(TOP, tables.items), {}, {}
    for name, table in tables.hits.items():
        hit, k = _look_up(table, at), min(readings.cutoff(name) or tables.items, tables.items)
        positives = None if tables.positives[name] is None else tables.positives[name][of]
        values[name], none[name] = _expected_ap(groups, hit, hit, positives, k, readings.area)
    for name, gain in tables.gains.items():
        mean = groups.sums(_look_up(gain, at))[1] / groups.size.clamp(min=1)
        total = (mean * groups.spread(discounts(top, at.device)) * groups.last).sum(dim=1)
        ideal = tables.ideals[name][of]
        values[name], none[name] = total / ideal.where(ideal > 0, 1), ideal == 0
    phi, weight = _look_up(tables.phi, at), _look_up(tables.weight, at)
    values["wAP@100"], none["wAP@100"] = _expected_ap(groups, phi, weight, None, top, "rectangle")
    if readings.without_hit == "hard":
        none |= dict.fromkeys(HARD, ~tables.hard[of])
    return tuple(torch.stack([x[name].double() for name in METRICS], dim=1) for x in (values, none))


def _expected_ap(
    groups: _Groups, hit: Tensor, weight: Tensor, positives: Tensor | None, k: int, area: str
) -> tuple[Tensor, Tensor]:
    """E[AP@k] (Q,) of `average_precision`, 0 for 0/0, and the probability of 0/0; weight <= hit.

    A group of m items, r of them hits with weights of sum s, behind hits of weight W. One of its
    ranks is a hit with probability r/m, then follows weight W and, of each rank of the group
    before it, (s/r)(r - 1)/(m - 1), and adds s/r itself. If the cut leaves t of its ranks, x of
    them hits (hypergeometric), then x, t and s x/r take the places of r, m and s.
    """
    before, own = precision_weights(k, area, hit.device)
    (h, r), (w, s) = groups.sums(hit), groups.sums(weight)
    a, m = groups.start, groups.size
    on_before, on_own = groups.spread(before), groups.spread(own)
    # each rank's number of ranks before it in its group
    on_ranks = groups.spread(before * torch.arange(k, device=hit.device)) - a * on_before

    def total(r, m, s, w, on_before, on_ranks, on_own):
        mean = s / m.clamp(min=1)
        return r / m.clamp(min=1) * w * on_before + mean * (
            (r - 1) / (m - 1).clamp(min=1) * on_ranks + on_own
        )

    early = total(r, m, s, w, on_before, on_ranks, on_own) * (groups.last & (a + m < k))
    cut = (groups.last & (a < k) & (a + m >= k)).int().argmax(dim=1, keepdim=True)
    a, m, h, r, w, s, on_before, on_ranks, on_own = (
        v.gather(1, cut) for v in (a, m, h, r, w, s, on_before, on_ranks, on_own)
    )
    t = k - a
    least, most = (t - (m - r)).clamp(min=0), torch.minimum(r, t)
    x = least + torch.arange(int((most - least).max()) + 1, device=hit.device)
    ways = _log_choose(r, x) + _log_choose(m - r, t - x)
    probability = ways.softmax(dim=1)
    sums = early.sum(dim=1, keepdim=True) + total(
        x, t, s * x / r.clamp(min=1), w, on_before, on_ranks, on_own
    )
    divisor = h + x if positives is None else positives[:, None].expand_as(x)
    value = (probability * sums / divisor.clamp(min=1)).sum(dim=1)
    return value, (probability * (divisor == 0)).sum(dim=1)


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    """Logarithm of the binomial coefficient, -inf for k outside 0 ... n."""
    inside = (k >= 0) & (k <= n)
    k = torch.where(inside, k, 0)
    ways = (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
    return ways.where(inside, -torch.inf)
