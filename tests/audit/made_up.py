"""Runs that are made up, for tests of what is read from runs."""

import pandas as pd

from maclcore.audit.claims import CLAIMS
from maclcore.audit.evidence import PROTOCOL
from maclcore.evaluation.retrieval import METRICS

QUICK = dict(zip(PROTOCOL, ("quick", 64, 25, "some", "0"), strict=True))
CHECKS = {claim.id: claim.check for claim in CLAIMS}


def runs_of(scores, archive="dlrsd", **protocol):
    """Rows as of `comparable_runs` from {method: values by seed}, the same for all metrics."""
    rows = [
        {
            "archive": archive, "archive: title": archive, "method": name, "seed": seed,
            **QUICK, **protocol, **dict.fromkeys(METRICS, value),
            "mean_cosine": 0.5, "log seconds": value,
        }
        for name, values in scores.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table.index = [f"{r.method} {r.archive} {r.epochs} {r.seed}" for r in table.itertuples()]
    return table
