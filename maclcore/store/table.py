"""Runs side by side: what is stored, in one table, and what differs between two of them."""

import io
import json
import os
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import Timeout

from maclcore import paths
from maclcore.config import MAPPINGS, Config
from maclcore.evaluation.retrieval import METRICS
from maclcore.evaluation.statistics import REPLICATE
from maclcore.store import packed
from maclcore.store.files import RESULT, TRANSFER, log, parsed
from maclcore.store.run import LEASE, Run

#: what may differ between the configurations of runs that are compared: the method, and what its
#: training sees of the labels; what they are measured by may not
FREE = {"loss", *MAPPINGS, "labels", "validation_labels", "completion", *REPLICATE}
DEFAULTS = Config().to_dict()


def runs() -> pd.DataFrame:
    """One row a run, finished or not, indexed by run_id, the one touched last first.

    `state` is finished, running (a process holds it), failed (in a sweep), interrupted, or damaged
    (its files cannot be read); `epoch` of `epochs`, NaN for reference rows; the seven metrics, on
    the validation split where the run is not finished; `age` in seconds since it was last written
    to, of a packed run since it was stored, or else packed; `size` in bytes, with its share of the
    pack.
    """
    rows = {}
    for run in Run.all():
        parts = []
        with suppress(FileNotFoundError):  # it has no folder
            for part in run.folder.iterdir():
                with suppress(FileNotFoundError):  # a temporary file, renamed in between
                    parts += [part.stat()] if part.suffix != ".lock" else []
        row: dict[str, Any] = {"size": sum(part.st_size for part in parts)}
        if pack := run.pack:
            row["size"] += pack.stamp[1] // len(pack.groups)
        try:
            row |= _progress(run)
            stored = run.result.get("time") if pack else None
        except (ValueError, TypeError):
            row["state"], stored = "damaged", None
        touched = [pack.stamp[0] / 1e9] if pack else [part.st_mtime for part in parts]
        now = time.time()
        last = datetime.fromisoformat(stored).timestamp() if stored else max(touched, default=now)
        rows[run.run_id] = {**row, "age": now - last}
    columns = ["state", "epoch", "epochs", *METRICS, "age", "size"]
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=columns)
    return table.rename_axis("run_id").sort_values("age")


def _progress(run: Run) -> dict[str, Any]:
    epochs = run.config.epochs
    if run.finished:
        done = {"epoch": epochs, "epochs": epochs} if run.read("history.csv") else {}
        return {"state": "finished", **done, **run.metrics}
    epoch = log(run.folder)
    last = epoch[-1] if epoch else {}
    metrics = {name: last[name] for name in METRICS if name in last}
    failed = "failed" if (run.folder / "failure.json").is_file() else "interrupted"
    state = "running" if _held(run) else failed
    return {"state": state, "epoch": len(epoch), "epochs": epochs, **metrics}


def _held(run: Run) -> bool:
    if not (run.folder / "run.lock").is_file():
        return False
    try:
        with run.alone(wait=0):
            return False
    except Timeout as timeout:  # a lease that outlived its machine holds nobody off
        lock = Path(timeout.lock_file)
        with suppress(FileNotFoundError):  # given up meanwhile
            return lock.name == "run.lock" or time.time() - lock.stat().st_mtime < LEASE
        return False
    except OSError:  # a store that may only be read: nobody trains there
        return False


def collect() -> pd.DataFrame:
    """One row a finished run, indexed by run_id: configuration, metrics, provenance as columns.

    Metrics have their own names, those of the backbone's features `backbone: <name>`, the
    loss's parameters, defaults included, `param: <name>`, settings of its method `method: <name>`,
    how good the labels are that were completed for it `completion: <name>`, of a training that
    tells labels how well it does `test: <name>`, such as `test: macro mAP`, and what probes have
    said `<probe>: <name>`, such as `linear: macro mAP`.
    """
    rows = _rows()
    if not rows:
        columns = [*Config.__dataclass_fields__, *METRICS, "archive: fingerprint"]
        return pd.DataFrame(columns=columns, index=pd.Index([], dtype=object, name="run_id"))
    for run_id, transfer in _probed().items():
        if run_id in rows:
            rows[run_id] = rows[run_id] | _scores(transfer)
    return pd.DataFrame(list(rows.values()), index=list(rows)).rename_axis("run_id")


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    config = {**DEFAULTS, **result["config"]}  # of fields that came later: their defaults
    return {
        **config,
        **{name: json.dumps(config[name]) for name in MAPPINGS},
        **{f"param: {name}": value for name, value in result["loss"].items()},
        **{f"method: {name}": value for name, value in result.get("method", {}).items()},
        **{f"completion: {name}": v for name, v in result.get("completion", {}).items()},
        **result["metrics"],
        **{f"backbone: {name}": v for name, v in result["metrics_backbone"].items()},
        **{f"test: {name}": value for name, value in result.get("scores", {}).items()},
        **{f"archive: {name}": v for name, v in result["archive"].items()},
        **result["environment"],
        "queries": result["queries"],
        "protocol": result["protocol"],
        "seconds": result["seconds"],
    }


def _scores(transfer: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{probe}: {name}": value
        for probe, said in transfer.items()
        for name, value in said["scores"].items()
    }


def _probed() -> dict[str, dict[str, Any]]:
    """`Run.transfer` of every run that has one, by run_id."""
    found = {file.parent.name for file in paths.runs_root().glob(f"*/{TRANSFER}")}
    for pack in packed.packs(paths.results_root()):
        with suppress(ValueError):  # a damaged pack, of which its results have told
            found |= {run_id for run_id, text in pack.column(TRANSFER).items() if text}
    return {run_id: Run(paths.runs_root() / run_id).transfer for run_id in sorted(found)}


def _rows() -> dict[str, dict[str, Any]]:
    """`_row` of every finished run, by run_id, in order; of packs by one column, read once.

    What has not changed in folders since, by time and size, comes from one file instead of
    thousands: an index that may be deleted at any time, and need not be writable.
    """
    runs, index = paths.runs_root(), paths.cache_root() / "runs.parquet"
    try:
        known = pd.read_parquet(index, page_checksum_verification=True)
        texts = dict(zip(zip(*(known[c] for c in _KEY), strict=True), known["text"], strict=True))
    except (OSError, ValueError, KeyError):  # there is none, or it is damaged
        texts = {}
    found = {}
    for folder in runs.glob("*"):
        with suppress(FileNotFoundError, NotADirectoryError):
            status = os.stat(folder / RESULT)
            key = (folder.name, status.st_mtime_ns, status.st_size)
            found[key] = texts.get(key) or (folder / RESULT).read_text()
    holders, rows = _packed()
    for (run_id, *_), text in found.items():
        folder = runs / run_id
        other = holders[run_id].column(RESULT)[run_id] if run_id in rows else None
        if other is None or packed.counts(folder, text.encode(), other):
            rows[run_id] = _row(parsed(text, folder / RESULT))
    if found.keys() != texts.keys():
        table = pd.DataFrame(list(found), columns=_KEY).assign(text=list(found.values()))
        with suppress(OSError), paths.atomic_path(index) as temporary:
            table.to_parquet(temporary, compression="zstd", write_page_checksum=True)
    return dict(sorted(rows.items()))


def _packed() -> tuple[Mapping[str, packed.Pack], dict[str, dict[str, Any]]]:
    """The pack and the row of every packed run that can be read; PackWarning for others."""
    holders = packed.holders(paths.results_root())
    rows: dict[str, dict[str, Any]] = {}
    for pack in set(holders.values()):
        try:
            pack.column(RESULT)
        except ValueError as error:
            warnings.warn(str(error), packed.PackWarning, stacklevel=4)
            continue
        rows |= {i: row for i, row in _pack_rows(pack).items() if holders[i] is pack}
    return holders, rows


@lru_cache(maxsize=64)
def _pack_rows(pack: packed.Pack) -> dict[str, dict[str, Any]]:
    """`_row` of each of its runs; a pack that is renewed is another one."""
    runs = pack.file.parent.parent / "runs"
    texts = pack.column(RESULT).items()
    return {run_id: _row(parsed(text or b"", runs / run_id / RESULT)) for run_id, text in texts}


_KEY = ["run_id", "mtime_ns", "size"]


def compare(a: str | Run, b: str | Run) -> pd.DataFrame:
    """What differs between two finished runs, by the names of `collect()`'s columns, and the
    metrics in any case: columns a, b and, of numbers that were measured, difference (b - a).

    ValueError for a run that is not in the store, or not finished.
    """
    runs = [run if isinstance(run, Run) else Run.find(run) for run in (a, b)]
    # fields that are younger than a run are in its configuration, with their defaults
    x, y = (
        _row({**run.result, "config": run.config.to_dict()}) | _scores(run.transfer) for run in runs
    )
    measured = {*METRICS, *(f"backbone: {name}" for name in METRICS), "seconds"}
    measured.update(*(_scores(run.transfer) for run in runs))
    measured.update(f"test: {name}" for run in runs for name in run.result.get("scores", {}))
    rows = {}
    for name in dict.fromkeys([*x, *y]):
        values: tuple[Any, Any] = x.get(name), y.get(name)
        if name in measured and None not in values:
            rows[name] = [*values, values[1] - values[0]]
        elif values[0] != values[1]:
            rows[name] = [*values, float("nan")]
    columns = ["a", "b", "difference"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=object)


def per_query(runs: pd.DataFrame) -> pd.DataFrame:
    """The stored values of rows of `collect()`, each in [0, 1].

    ValueError for no rows, rows of different protocols, two runs of a method in one replicate,
    and a method that lacks a replicate or a query that another has.
    """
    if runs.empty:
        raise ValueError("no runs to compare: `python -m maclcore sweep` computes some")
    stored = {run_id: Run.find(run_id) for run_id in runs.index}
    fixed = [name for name in Config.__dataclass_fields__ if name not in FREE]
    # from the configuration, which has the default of a field that is younger than the run
    protocol = {name: {getattr(run.config, name) for run in stored.values()} for name in fixed}
    protocol |= {name: set(runs[name]) for name in ("archive: fingerprint", "queries", "protocol")}
    for name, found in protocol.items():
        if len(found) > 1:
            raise ValueError(
                f"runs of different protocols: {name} is {' and '.join(sorted(map(str, found)))}; "
                "compare one at a time"
            )
    twice = runs[runs.duplicated(["loss", *REPLICATE], keep=False)]
    if len(twice):
        raise ValueError(
            f"several runs of {twice['loss'].iloc[0]} in one split and seed: "
            f"{', '.join(twice.index)}; keep one, or tell them apart in the column `loss`"
        )
    keys = zip(runs["loss"], runs["split_seed"], runs["seed"], strict=True)
    tables = {key: run.per_query for key, run in zip(keys, stored.values(), strict=True)}
    values = pd.concat(tables, names=["loss", *REPLICATE]).unstack("loss")
    for (metric, loss), column in values.items():
        if column.isna().any():
            split, seed, query = column.isna().idxmax()
            raise ValueError(f"no {metric} of {loss} for query {query}, split {split}, seed {seed}")
    columns = pd.MultiIndex.from_product([METRICS, runs["loss"].unique()], names=["metric", "loss"])
    return values[columns].set_axis(columns, axis=1).astype(float)


def histories(runs: pd.DataFrame) -> pd.DataFrame:
    """Every epoch of rows of `collect()`, a row each, indexed by run_id, in their order; reference
    rows have none. Columns are those of `Run.history` of any of them."""
    parts: dict[bytes, dict[str, bytes]] = {}  # those of one header are one table, read at once
    for run_id in runs.index:
        header, _, lines = (Run.find(run_id).read("history.csv") or b"").partition(b"\n")
        if lines:
            parts.setdefault(header, {})[run_id] = lines
    if not parts:
        return pd.DataFrame({"epoch": []}, index=pd.Index([], dtype=object, name="run_id"))
    tables = []
    for header, found in parts.items():
        table = pd.read_csv(io.BytesIO(header + b"\n" + b"".join(found.values())))
        lengths = [lines.count(b"\n") for lines in found.values()]
        tables.append(table.set_axis(np.repeat(list(found), lengths)))
    order = {run_id: i for i, run_id in enumerate(runs.index)}
    table = pd.concat(tables).rename_axis("run_id")
    return table.sort_index(key=lambda ids: ids.map(order), kind="stable")
