"""Computing a stored run once more, beside it, and holding the two against each other."""

from datetime import UTC, datetime

import pandas as pd
from safetensors.torch import load_file

from maclcore import paths
from maclcore.evaluation import statistics
from maclcore.evaluation.retrieval import METRICS
from maclcore.store import Run, identity
from maclcore.training import compute, distributed


def recompute(run_id: str, *, device: str | None = None, progress: bool = True) -> tuple[Run, Run]:
    """The stored run and a new one of the same configuration and content, computed here and now.

    The new one lies in results/recomputed/<run_id>/<time>, where no table reads it; one that was
    interrupted is taken up. ValueError for a run that is not finished, and for an archive, split or
    weights that are not those it was made from.
    """
    stored = Run.find(run_id)
    source = identity.identify(stored.config, progress=progress)
    _ = stored.result  # ValueError if it is not finished
    identity.check(stored, source)
    parent = paths.results_root() / "recomputed" / run_id
    begun = [Run(file.parent) for file in sorted(parent.glob("*/config.json"))]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%f")
    again = next((run for run in begun if not run.finished), Run(parent / now))
    with distributed.processes(device) as on, again.alone():
        try:
            if not again.finished:  # by another process, which this one has waited for
                identity.begin(again, source)
                compute(source, again, on, progress)
        finally:
            again.tidy()
    return stored, again


def agreement(stored: Run, again: Run) -> pd.DataFrame:
    """The seven metrics of two runs on the same queries: stored, again, difference, low, high.

    In [0, 1]; low and high are the 95 % interval of the paired difference over queries.
    """
    tables = {"stored": stored.per_query, "again": again.per_query}
    values = pd.concat(tables, axis=1, names=["loss", "metric"]).swaplevel(axis=1)[list(METRICS)]
    values = pd.concat({(0, 0): values}, names=statistics.REPLICATE)
    compared = statistics.compare(values.astype(float), "stored").xs("again", level="loss")
    means = {
        name: [run.metrics[m] for m in METRICS]
        for name, run in (("stored", stored), ("again", again))
    }
    table = pd.DataFrame(means, index=list(METRICS))
    return table.join(compared[["difference", "low", "high"]])


def weights_difference(stored: Run, again: Run) -> float | None:
    """The largest difference between two networks' weights; None where one has none stored."""
    files = [run.folder / "weights.safetensors" for run in (stored, again)]
    if not all(file.is_file() for file in files):
        return None
    a, b = map(load_file, files)
    if a.keys() != b.keys():
        return float("inf")
    return max(((a[k].double() - b[k].double()).abs().max().item() for k in a), default=0.0)
