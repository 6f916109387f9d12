"""How sure the stored results from one label an image are: the store's `one_label.csv`.

Intervals and comparisons need the labels of the test images, which lie in no pack, and minutes. So
they are measured once, where the archives are, and read by notebook 11 everywhere:

    python -c "from maclcore.audit import one_label; one_label.measure()"
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from maclcore import paths
from maclcore.data import make_split, read_labels
from maclcore.evaluation.classification import (
    classification_scores,
    differences,
    intervals,
    set_scores,
)
from maclcore.evaluation.transfer import prevalence
from maclcore.experiments.tables import TABLE, stored_weak
from maclcore.store import Run, write_csv

REFERENCE = "gc"
OF_SETS = ("OA", "OA of no labels", "image mAP")
FILE = "one_label.csv"
COLUMNS = (
    "experiment", "archive", "archive: title", "profile", "seeds", "loss", "metric", "value",
    "low", "high", "difference", "difference: low", "difference: high", "p", "holm", "ahead",
)  # fmt: skip


def measured() -> pd.DataFrame:
    """What `measure` has written, one row a method and metric; no rows where it was never called.

    value, low, high     mean over the seeds in [0, 1], and its 95 % interval
    difference, …        of the method minus `gc`, as `classification.differences` has them
    """
    file = paths.results_root() / FILE
    return pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=list(COLUMNS))


def of_runs(rows: pd.DataFrame, experiment: str, metric: str) -> pd.DataFrame:
    """A metric of one table of `stored_weak(experiment)`, a row a loss in its order, in percent.

    value                       mean over seeds
    low, high                   its 95 % interval, over seeds and images
    gap, gap low, gap high      AdaGC minus the loss, and its interval
    ahead                       by the sign of that interval: 1, -1, or 0 where it holds 0

    NaN where intervals were not measured of these seeds.
    """
    known = measured()
    same = (known["experiment"] == experiment) & (known["archive"] == rows["archive"].iloc[0])
    same &= (known["profile"] == rows["profile"].iloc[0]) & (known["metric"] == metric)
    same &= known["seeds"] == " ".join(map(str, sorted(rows["seed"].unique())))
    known = 100 * known[same].set_index("loss")[
        ["low", "high", "difference", "difference: low", "difference: high"]
    ].astype(float)
    table = 100 * rows.groupby("loss", sort=False)[[f"test: {metric}"]].mean()
    table = table.set_axis(["value"], axis=1).join(known)
    table["gap"] = table["value"].get(REFERENCE, np.nan) - table["value"]
    table["gap low"], table["gap high"] = -table["difference: high"], -table["difference: low"]
    table["ahead"] = np.sign(table["gap low"]).where(table["gap low"] * table["gap high"] > 0, 0)
    table["ahead"] = table["ahead"].where(table["gap low"].notna())
    return table.drop(columns=["difference", "difference: low", "difference: high"])


def measure(resamples: int = 1000) -> None:
    """Write `one_label.csv` of the stored runs whose archives are in the data folder; some seconds
    a run for an interval, and as many for a comparison."""
    parts = []
    for name in ("weak_labels", "weak_network"):
        for _, rows in stored_weak(name).groupby(TABLE, sort=False):
            table = paths.data_root() / rows["archive"].iloc[0] / "labels.csv"
            if table.is_file():
                parts.append(of_table(rows, labels_by_name(table), resamples, name))
    empty = pd.DataFrame(columns=list(COLUMNS))
    write_csv(paths.results_root() / FILE, pd.concat(parts) if parts else empty)


def labels_by_name(table: str) -> pd.DataFrame:
    """(N, L) bool, the labels of a `labels.csv` by the images' names."""
    y, names = read_labels(table)
    images = pd.read_csv(table, usecols=[0], dtype=str).iloc[:, 0]
    return pd.DataFrame(y, index=list(images), columns=list(names))


def of_table(
    rows: pd.DataFrame, labels: pd.DataFrame, resamples: int, experiment: str
) -> pd.DataFrame:
    """Rows of `measured()` for one table of `stored_weak`, whose test images `labels` has.

    ValueError where stored scores are not those of the labels.
    """
    rows = rows.sort_values("seed")
    runs = {loss: [Run.find(i) for i in part.index] for loss, part in rows.groupby("loss")}
    predictions = {loss: [run.predictions for run in runs[loss]] for loss in rows["loss"].unique()}
    for found in runs.values():
        for run in found:
            _check(run, labels)
    y = [labels.loc[one.index].to_numpy() for one in next(iter(predictions.values()))]
    values = [*_chance(rows, labels)]
    for loss, each in predictions.items():
        pairs = [(one.to_numpy(), truth) for one, truth in zip(each, y, strict=True)]
        values += _scores(loss, pairs, resamples)
    table = pd.DataFrame(values).set_index(["metric", "loss"])
    if REFERENCE in predictions:
        gaps = differences(predictions, labels, REFERENCE, resamples=resamples)
        gaps = gaps.rename(columns={"low": "difference: low", "high": "difference: high"})
        table = table.join(gaps.drop(columns="replicates"))
    first = rows.iloc[0]
    about = {name: first[name] for name in ("archive", "archive: title", "profile")}
    seeds = " ".join(map(str, sorted(rows["seed"].unique())))
    table = table.reset_index().assign(experiment=experiment, seeds=seeds, **about)
    return table.reindex(columns=list(COLUMNS)).round(6)


def _scores(
    loss: str, pairs: list[tuple[np.ndarray, np.ndarray]], resamples: int
) -> Iterator[dict[str, float | str]]:
    point = pd.DataFrame([classification_scores(*pair) for pair in pairs]).mean()
    for metric, (low, high) in intervals(pairs, resamples=resamples).items():
        yield {"loss": loss, "metric": metric, "value": point[metric], "low": low, "high": high}
    sets = pd.DataFrame([set_scores(*pair) for pair in pairs]).mean()
    for metric in OF_SETS:
        yield {"loss": loss, "metric": metric, "value": sets[metric]}


def _chance(rows: pd.DataFrame, labels: pd.DataFrame) -> Iterator[dict[str, float | str]]:
    """The share of each label among the training images, for every image."""
    y, found = labels.to_numpy(), []
    for seed in rows["split_seed"].unique():
        split = make_split(y, int(seed))
        found.append(prevalence(y[split.train], y[split.test]).scores)
    for metric, value in pd.DataFrame(found).mean().items():
        yield {"loss": "chance", "metric": str(metric), "value": value}


def _check(run: Run, labels: pd.DataFrame) -> None:
    said, stored = run.predictions, run.result["scores"]
    found = classification_scores(said.to_numpy(), labels.loc[said.index].to_numpy())
    for metric, value in stored.items():
        if not np.isclose(found[metric], value, atol=1e-5):
            raise ValueError(
                f"{run.run_id}: its {metric} is {value:.6f}, and by the labels here "
                f"{found[metric]:.6f}: they are not those that it was measured by"
            )
