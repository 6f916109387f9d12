"""One folder a run under `results/runs/`, written atomically; `collect()` reads them all.

config.json        what was asked for, written first
identity.json      what it is made from, by content (`maclcore.identity`), written with it
checkpoint-?.safetensors   the state after the last two whole epochs; removed when the run is done
log.jsonl          one line an epoch, written as they end; not tracked by git
history.csv        one row an epoch
per_query.parquet  the seven metrics of every test query, float32
weights.safetensors, embeddings.safetensors   not tracked by git
result.json        metrics and provenance, written last: a run that has it is finished
failure.json       why the last attempt of a sweep failed; removed when the run is finished
run.lock, lease.lock   held while a process is at it; not tracked by git
"""

import json
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchvision
from filelock import AcquireReturnProxy, FileLock, SoftFileLease, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from maclcore import paths, revision
from maclcore.config import Config, nearest
from maclcore.metrics import METRICS
from maclcore.progress import say

RESULT, IDENTITY = "result.json", "identity.json"
#: seconds without a sign of life after which another machine may take a run over: more than the
#: minute for which a client of NFS may believe what it has cached
LEASE = 90.0


@dataclass(frozen=True)
class Run:
    """A run's folder, read lazily."""

    folder: Path
    #: whether the call of `train` that returned it has computed it, or found it stored
    computed: bool = field(default=False, compare=False)

    @classmethod
    def find(cls, run_id: str) -> "Run":
        """The finished or unfinished run of that id; ValueError names the nearest one."""
        folder = paths.runs_root() / run_id
        if not (folder / "config.json").is_file():
            known = [path.name for path in sorted(paths.runs_root().glob("*"))]
            raise ValueError(
                f"no run {run_id!r} in {paths.runs_root()}"
                + (nearest(run_id, known) if known else ", which is empty")
            )
        return cls(folder)

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        return (self.folder / RESULT).is_file()

    @property
    def claimed(self) -> bool:
        """Whether it holds, or has begun, results of some content."""
        return self.finished or (self.folder / IDENTITY).is_file() or self._saved

    @property
    def _saved(self) -> bool:
        return any(self.folder.glob("checkpoint-?.safetensors"))

    @property
    def identity(self) -> dict[str, str]:
        """Hashes of what it is made from: archive, split, weights; {} if it does not say.

        Runs that were stored by versions before identities have their archive's alone.
        """
        if self.finished:
            return self.result.get("identity") or {"archive": self.result["archive"]["fingerprint"]}
        file = self.folder / IDENTITY
        return _read_json(file) if file.is_file() else {}

    @property
    def provenance(self) -> str:
        """Of a finished run, such as "RUN_ID: stored on 2026-11-24, git ec8c6330dc, archive
        9e2558151112dae8; not computed now", and how to."""
        git = self.result["environment"]["git"]
        when, commit = self.result.get("time", "")[:10], revision.day(Path(__file__).parent, git)
        if not when and commit:  # a run that is older than this field
            when = f"{commit} or later"
        parts = [f"stored on {when}" if when else "stored", f"git {git}" if git else ""]
        parts += [f"archive {self.result['archive']['fingerprint']}"]
        told = f"{self.run_id}: {', '.join(filter(None, parts))}; not computed now"
        return f"{told} (`python -m maclcore runs recompute {self.run_id}` does that)"

    def tidy(self) -> None:
        """Remove it if nothing worth keeping was saved; for whoever holds it (`alone`)."""
        if self.finished or self._saved:
            return
        with suppress(OSError):
            for file in self.folder.iterdir():
                if file.name != "lease.lock":  # which goes when it is given up
                    file.unlink()

    @contextmanager
    def alone(self, wait: float = -1) -> Iterator[None]:
        """Hold the run's folder against other processes, of this machine and of others.

        wait: seconds to wait while another one has it, before `filelock.Timeout`; -1: as long as
        it takes. OSError if it cannot be written to. What a killed process left half-written is
        removed.

        Two locks. The kernel's ends with its process, whatever became of it, but not every shared
        file system carries it to other machines. The lease does, where creating a file is atomic
        (NFS since version 3): its holder touches it every third of LEASE, and whoever has seen
        that stop for LEASE seconds of his own clock takes it over; at once if the holder was of
        the same machine and is dead, on file systems that can exchange two names (NFS cannot). A
        holder that was only paused so long then works beside its successor: time is lost, not
        results, since both write the same files, each atomically.
        """
        kernel = FileLock(self.folder / "run.lock")
        lease = SoftFileLease(self.folder / "lease.lock", lease_duration=LEASE)
        with ExitStack() as held:
            held.callback(self._remove_if_empty)

            def hold(timeout: float) -> None:
                held.enter_context(kernel.acquire(timeout, poll_interval=0.2))
                held.enter_context(_acquired(lease, timeout))

            with paths.writing_to(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                try:
                    hold(0)
                except Timeout:
                    if wait == 0:
                        raise
                    say(f"{self.run_id}: another process is at it; waiting for its result")
                    hold(wait)
            for leftover in (*self.folder.glob(".tmp*"), *self.folder.glob(".*.tmp")):
                leftover.unlink(missing_ok=True)
            yield
            if self.finished:
                (self.folder / "failure.json").unlink(missing_ok=True)

    def failed(self, config: Config, attempt: int, traceback: str) -> None:
        """Keep why an attempt at this run failed."""
        write_json(self.folder / "config.json", config.to_dict())
        content = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "attempt": attempt,
            "error": traceback.strip().splitlines()[-1],
            "traceback": traceback.splitlines(),
        }
        write_json(self.folder / "failure.json", content)

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            self.folder.rmdir()

    @cached_property
    def config(self) -> Config:
        return Config.from_dict(_read_json(self.folder / "config.json"))

    @cached_property
    def result(self) -> dict[str, Any]:
        if not self.finished:
            raise ValueError(f"run {self.run_id} is not finished; train(config) completes it")
        return _read_json(self.folder / RESULT)

    @property
    def metrics(self) -> dict[str, float]:
        """The seven metrics on the test split, in [0, 1], from the projection head's output."""
        return self.result["metrics"]

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch; empty for reference rows."""
        file = self.folder / "history.csv"
        return pd.read_csv(file) if file.is_file() else pd.DataFrame()

    @cached_property
    def per_query(self) -> pd.DataFrame:
        """One row a test query, indexed by the image's name."""
        return pd.read_parquet(self.folder / "per_query.parquet")

    @cached_property
    def embeddings(self) -> np.ndarray:
        """Embeddings (Q, D) of the test split, in the order of `per_query`."""
        file = self.folder / "embeddings.safetensors"
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} is not there: embeddings and weights stay on the machine that trained; "
                f"copy them, or delete {self.folder / RESULT} and train again"
            )
        return load_file(file)["z"]


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    with paths.atomic_path(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    with paths.atomic_path(file) as temporary:
        temporary.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log, an epoch each; [] if there is none."""
    file = folder / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def write_csv(file: Path, table: pd.DataFrame) -> None:
    with paths.atomic_path(file) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def write_per_query(file: Path, table: pd.DataFrame) -> None:
    with paths.atomic_path(file) as temporary:
        table.astype(np.float32).to_parquet(temporary, compression="zstd")


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in tensors.items()}
    with paths.atomic_path(file) as temporary:
        try:
            save_file(arrays, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:  # such as: no space left on device
            raise OSError(f"{file}: {error}") from error


def former_weights() -> dict[str, str]:
    """Names of weights and what they were (`weights_content`), for runs stored without that."""
    file = paths.results_root() / "weights.json"
    return _read_json(file) if file.is_file() else {}


def runs() -> pd.DataFrame:
    """One row a run, finished or not, indexed by run_id, the one touched last first.

    `state` is finished, running (a process holds it), failed (in a sweep), interrupted, or damaged
    (its files cannot be read); `epoch` of `epochs`, NaN for reference rows; the seven metrics, on
    the validation split where the run is not finished; `age` in seconds since it was last written
    to; `size` in bytes.
    """
    rows = {}
    for file in sorted(paths.runs_root().glob("*/config.json")):
        run = Run(file.parent)
        parts = []
        for part in run.folder.iterdir():
            with suppress(FileNotFoundError):  # a temporary file, renamed in between
                parts += [part.stat()] if part.suffix != ".lock" else []
        row = {
            "age": time.time() - max(part.st_mtime for part in parts),
            "size": sum(part.st_size for part in parts),
        }
        try:
            row |= _progress(run)
        except (ValueError, TypeError):
            row["state"] = "damaged"
        rows[run.run_id] = row
    columns = ["state", "epoch", "epochs", *METRICS, "age", "size"]
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=columns)
    return table.rename_axis("run_id").sort_values("age")


def _progress(run: Run) -> dict[str, Any]:
    epochs = run.config.epochs
    if run.finished:
        done = {"epoch": epochs, "epochs": epochs} if (run.folder / "history.csv").is_file() else {}
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


def _acquired(lease: SoftFileLease, timeout: float) -> AcquireReturnProxy:
    """`lease.acquire`, also where filelock cannot take a stale lease over, because the file system,
    such as NFS, does not exchange two names: there what stood still for LEASE is removed."""
    end = time.monotonic() + timeout if timeout >= 0 else float("inf")
    patience = 1.2 * LEASE  # filelock itself is content with LEASE
    while True:
        left, seen = max(end - time.monotonic(), 0), _last_touched(lease)
        try:
            return lease.acquire(min(left, patience), poll_interval=0.2)
        except Timeout:
            if left < patience:
                raise
            if seen is not None and _last_touched(lease) == seen:
                lease.break_lock()


def _last_touched(lease: SoftFileLease) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        status = os.stat(lease.lock_file)
        return status.st_mtime_ns, status.st_ino
    return None


def collect() -> pd.DataFrame:
    """One row a finished run, indexed by run_id: configuration, metrics, provenance as columns.

    Metrics have their own names, those of the backbone's features `backbone: <name>`, the
    loss's parameters, defaults included, `param: <name>`.
    """
    results = _results()
    if not results:
        columns = [*Config.__dataclass_fields__, *METRICS, "archive: fingerprint"]
        return pd.DataFrame(columns=columns)
    rows = [_row(result) for result in results.values()]
    return pd.DataFrame(rows, index=list(results)).rename_axis("run_id")


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    config = result["config"]
    return {
        **config,
        "loss_params": json.dumps(config["loss_params"]),
        **{f"param: {name}": value for name, value in result["loss"].items()},
        **result["metrics"],
        **{f"backbone: {name}": v for name, v in result["metrics_backbone"].items()},
        **{f"archive: {name}": v for name, v in result["archive"].items()},
        **result["environment"],
        "queries": result["queries"],
        "protocol": result["protocol"],
        "seconds": result["seconds"],
    }


def _results() -> dict[str, dict[str, Any]]:
    """result.json of every finished run, by run_id, in order.

    What has not changed since, by time and size, comes from one file instead of thousands: an
    index that may be deleted at any time, and need not be writable.
    """
    index = paths.cache_root() / "runs.parquet"
    try:
        known = pd.read_parquet(index, page_checksum_verification=True)
        texts = dict(zip(zip(*(known[c] for c in _KEY), strict=True), known["text"], strict=True))
    except (OSError, ValueError, KeyError):  # there is none, or it is damaged
        texts = {}
    found = {}
    for folder in sorted(paths.runs_root().glob("*")):
        with suppress(FileNotFoundError, NotADirectoryError):
            status = os.stat(folder / RESULT)
            key = (folder.name, status.st_mtime_ns, status.st_size)
            found[key] = texts.get(key) or (folder / RESULT).read_text()
    results = {
        key[0]: _parsed(text, paths.runs_root() / key[0] / RESULT) for key, text in found.items()
    }
    if found.keys() != texts.keys():
        table = pd.DataFrame(list(found), columns=_KEY).assign(text=list(found.values()))
        with suppress(OSError), paths.atomic_path(index) as temporary:
            table.to_parquet(temporary, compression="zstd", write_page_checksum=True)
    return results


_KEY = ["run_id", "mtime_ns", "size"]


def compare(a: str | Run, b: str | Run) -> pd.DataFrame:
    """What differs between two finished runs, by the names of `collect()`'s columns, and the
    metrics in any case: columns a, b and, of numbers that were measured, difference (b - a).

    ValueError for a run that is not in the store, or not finished.
    """
    runs = [run if isinstance(run, Run) else Run.find(run) for run in (a, b)]
    # fields that are younger than a run are in its configuration, with their defaults
    x, y = (_row({**run.result, "config": run.config.to_dict()}) for run in runs)
    measured = {*METRICS, *(f"backbone: {name}" for name in METRICS), "seconds"}
    rows = {}
    for name in dict.fromkeys([*x, *y]):
        values = x.get(name), y.get(name)
        if name in measured and None not in values:
            rows[name] = [*values, values[1] - values[0]]
        elif values[0] != values[1]:
            rows[name] = [*values, float("nan")]
    columns = ["a", "b", "difference"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=object)


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Versions and hardware, as every result row carries them."""
    from maclcore import __version__

    return {
        "maclcore": __version__,
        "git": git_revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "computed in": precision,
    }


@cache
def git_revision() -> str:
    """The commit of the package's own source, of a checkout with "+" if it was changed since; ""
    where that is not known, whatever repository the package is installed or run in."""
    package = Path(__file__).resolve().parent
    return revision.of_checkout(package) or revision.of_installation(package)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _read_json(file: Path) -> dict[str, Any]:
    return _parsed(file.read_text(), file)


def _parsed(text: str, file: Path) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is damaged ({error}); delete its folder and run again") from error
