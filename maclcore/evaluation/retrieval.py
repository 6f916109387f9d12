"""The seven columns of the paper's result tables, of a ranking of a gallery for each query."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maclcore.evaluation.measures import average_precision, dcg
from maclcore.evaluation.ranking import BLOCK, UnitRows, best_keys, key_scores
from maclcore.evaluation.relevance import (
    HARD,
    METRICS,
    TOP,
    Overlap,
    Readings,
    Tables,
    look_up,
)
from maclcore.evaluation.ties import average_over_ties
from maclcore.labels import Array

CHUNK = 256  # queries measured at a time; more of them outgrow the processor's cache
MEMORY = 1 << 30  # bytes of working arrays
SAMPLE = 256  # queries on which a precision below fp64 is compared with it


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
    device (`ranking.GRID`). `precision` "fp32", "bf16" or "fp16" gives that up for speed: see
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
    top, values = at[:, : tables.top], {}
    for name, hit in tables.hits.items():
        relevant = look_up(hit.int(), at[:, : readings.cutoff(name)])
        positives = None if tables.positives[name] is None else tables.positives[name][of]
        values[name] = average_precision(relevant, positives=positives, area=readings.area)
    for name, gain in tables.gains.items():
        listed = look_up(gain, top)
        if tables.ideals[name] is None:
            ideal = dcg(listed.sort(dim=1, descending=True).values)
        else:
            ideal = tables.ideals[name][of]
        values[name] = dcg(listed) / ideal
    values["wAP@100"] = average_precision(look_up(tables.phi, top), look_up(tables.weight, top))
    stacked = torch.stack([values[name] for name in METRICS], dim=1)
    none = stacked.isnan()
    if readings.without_hit == "hard":
        none[:, [METRICS.index(name) for name in HARD]] = ~tables.hard[of, None]
    return stacked.nan_to_num(0.0), none
