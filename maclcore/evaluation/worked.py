"""One query worked out: what each metric sees at each rank, and the value that comes of it."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from maclcore.evaluation.relevance import METRICS, Overlap, Readings, Tables
from maclcore.evaluation.retrieval import evaluate_scores


class Worked(NamedTuple):
    """`jaccard` (K,); `seen`: METRICS × ranks, 1 or 0 where a result is relevant or not, the gain
    of an nDCG, the Jaccard index in wAP; `values`: METRICS, in [0, 1]."""

    jaccard: np.ndarray
    seen: pd.DataFrame
    values: pd.Series


def worked(y_query: np.ndarray, y_ranked: np.ndarray) -> Worked:
    """Of a query (L,) and what was found for it (K, L), best first, as if the archive held no more.

    By `evaluate` itself and its tables, in the readings that are the defaults.
    """
    overlap = Overlap(y_query[None], y_ranked)
    relevance = overlap.relevance_of(torch.tensor([0]))
    tables = Tables(relevance, Readings())
    of = {**tables.hits, **tables.gains, "wAP@100": tables.weight}
    ranks = pd.RangeIndex(1, len(y_ranked) + 1, name="rank")
    at = overlap.set_of
    seen = pd.DataFrame({name: of[name][0, at].numpy() for name in METRICS}, index=ranks).T
    falling = -np.arange(len(y_ranked), dtype=float)[None]
    values = evaluate_scores(falling, y_query[None], y_ranked).summary()
    return Worked(relevance.jaccard[0, at].numpy(), seen, pd.Series(values))
