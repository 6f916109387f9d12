"""A faster search that may miss some: made on request, and with what it finds said beside it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from lancedb.index import IvfSq

from maclcore.progress import Progress
from maclcore.search.index import Approximate, Index, alone
from maclcore.search.table import Table, room

WORTH = 1_000_000  # vectors from which on it is worth its while
LEAST = 1000  # vectors without which there is nothing to divide
QUERIES = 100  # of the index's own vectors
GOAL = 0.95  # of the best 100 that are to be found


def make(where: str | Path, progress: bool = False) -> Approximate:
    """Divide an index into √N parts by k-means, and look how many of them a query must look into.

    They are doubled until GOAL of the best 100 are found, of a sample of the index's own vectors
    that are searched for in both ways (an inverted file, whose vectors are kept in 8 bits a number;
    what is found is compared again, exactly). ValueError for an index of fewer than LEAST vectors;
    TimeoutError if another process is writing it; OSError if there is no room.
    """
    index = Index(where)
    if len(index) < LEAST:
        raise ValueError(
            f"{where} has {len(index):,} vectors: of fewer than {LEAST:,} there is the exact "
            "search alone"
        )
    with alone(where), room(where):
        partitions = round(len(index) ** 0.5)
        parts = IvfSq(distance_type="dot", num_partitions=partitions)
        index.table.create_index("vector", config=parts)
        names, z = _sample(index)
        label, unit = f"Measuring {where}", "queries"
        with Progress(label, unit, 0, len(names), progress) as bar:
            best = []
            for name, row in zip(names, z, strict=True):
                best.append(_others(index, name, row, None))
                bar.advance()
        found, probed = np.zeros(2), 1
        while True:
            found = np.mean(
                [_found(index, *of, probed) for of in zip(names, z, best, strict=True)], 0
            )
            if found[1] >= GOAL or probed >= partitions:
                break
            probed = min(2 * probed, partitions)
        measured = Approximate(partitions, probed, float(found[0]), float(found[1]), len(names))
        Table(index.table, index.where).say(replace(index.about, approximate=measured))
    return measured


def _sample(index: Index) -> tuple[list[str], np.ndarray]:
    batches = index.table.search().select(["name"]).to_batches(1 << 16)
    names = np.array(
        [name for batch in batches for name in batch["name"].to_pylist()], dtype=object
    )
    names.sort()
    chosen = (
        np.random.default_rng(0).choice(names, min(QUERIES, len(names)), replace=False).tolist()
    )
    return chosen, index.vectors(chosen)


def _others(index: Index, name: str, z: np.ndarray, probed: int | None) -> list[str]:
    """The 100 best but the query itself."""
    found = index.candidates(z, 101, probed)
    return [other for other in found if other != name][:100]


def _found(
    index: Index, name: str, z: np.ndarray, best: list[str], probed: int
) -> tuple[float, float]:
    """Shares of the best 10 and 100 that the approximate search has among its own."""
    here = _others(index, name, z, probed)
    shares = (len({*here[:k]} & {*best[:k]}) / len(best[:k]) for k in (10, 100))
    return next(shares), next(shares)
