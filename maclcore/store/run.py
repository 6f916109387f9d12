"""One folder a run under `results/runs/`, written atomically; `collect()` reads them all.

The small files of a finished run may lie in a pack instead (`maclcore.store.packed`); a folder of
its name then has at most what is in no pack, its weights and embeddings.

config.json        what was asked for, written first
identity.json      what it is made from, by content (`maclcore.store.identity`), written with it
checkpoint-?.safetensors   the state after the last two whole epochs; removed when the run is done
log.jsonl          one line an epoch, written as they end
history.csv        one row an epoch
per_query.parquet  the seven metrics of every test query, float32
predictions.parquet  of a training that tells labels: their probabilities for every test image
weights.safetensors, embeddings.safetensors   in no pack
README.md          the card of the weights (`maclcore.training.card`), beside these alone
result.json        metrics and provenance, written last: a run that has it is finished
transfer.json      what probes have said of it since, by name (`maclcore.experiments.transfer`)
failure.json       why the last attempt of a sweep failed; removed when the run is finished
run.lock, lease.lock   held while a process is at it
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import AcquireReturnProxy, FileLock, SoftFileLease, Timeout
from safetensors.numpy import load_file

from maclcore import paths, reads
from maclcore.config import Config, nearest
from maclcore.progress import countdown, say
from maclcore.store import files, packed, revision
from maclcore.store.files import IDENTITY, PREDICTIONS, RESULT, TRANSFER

#: seconds without a sign of life after which another machine may take a run over: more than the
#: minute for which a client of NFS may believe what it has cached
LEASE = 90.0


@dataclass(frozen=True)
class Run:
    """A run, read lazily from its folder or from the pack that has it."""

    folder: Path
    #: whether the call of `train` that returned it has computed it, or found it stored
    computed: bool = field(default=False, compare=False)

    @classmethod
    def find(cls, run_id: str) -> "Run":
        """The finished or unfinished run of that id; ValueError names the nearest one."""
        run = cls(paths.runs_root() / run_id)
        reads.note([run_id])
        if run.read("config.json") is None:
            known = [run.run_id for run in cls.all()]
            raise ValueError(
                f"no run {run_id!r} in {paths.runs_root()}"
                + (nearest(run_id, known) if known else ", which is empty")
            )
        return run

    @classmethod
    def all(cls) -> list["Run"]:
        """Every run of the store, finished or not, packed or not, by its id."""
        begun = (file.parent.name for file in paths.runs_root().glob("*/config.json"))
        ids = {*begun, *packed.holders(paths.results_root())}
        return [cls(paths.runs_root() / run_id) for run_id in sorted(ids)]

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def pack(self) -> packed.Pack | None:
        """The pack that has its small files; None where its folder has them."""
        return packed.holder(self.folder)

    def read(self, name: str) -> bytes | None:
        """One of its small files, from its folder or its pack; None if it has none."""
        pack = self.pack
        if name == TRANSFER and pack is not None and not (self.folder / RESULT).is_file():
            return self._joined(pack)
        if pack is None:
            with suppress(FileNotFoundError, NotADirectoryError):
                return (self.folder / name).read_bytes()
            pack = self.pack  # once more: it may have been packed in between
        return None if pack is None else pack.read(self.run_id, name)

    def _joined(self, pack: packed.Pack) -> bytes | None:
        """What probes said before it was packed, and since, which lies in its folder."""
        before, since = pack.read(self.run_id, TRANSFER), None
        with suppress(FileNotFoundError, NotADirectoryError):
            since = (self.folder / TRANSFER).read_bytes()
        if before is None or since is None or before == since:
            return since or before
        old, new = (files.parsed(text, self.folder / TRANSFER) for text in (before, since))
        return since if old.keys() <= new.keys() else files.json_bytes({**old, **new})

    def _need(self, name: str) -> bytes:
        content = self.read(name)
        if content is None:
            raise FileNotFoundError(f"{self.folder / name} is not there")
        return content

    @property
    def finished(self) -> bool:
        return (self.folder / RESULT).is_file() or packed.held(self.folder) is not None

    @property
    def claimed(self) -> bool:
        """Whether it holds, or has begun, results of some content."""
        return self.finished or (self.folder / IDENTITY).is_file() or self.saved

    @property
    def saved(self) -> bool:
        """Whether the state of an unfinished training is there."""
        return any(self.folder.glob("checkpoint-?.safetensors"))

    @property
    def identity(self) -> dict[str, str]:
        """Hashes of what it is made from: archive, split, weights; {} if it does not say.

        Runs that were stored by versions before identities have their archive's alone.
        """
        if self.finished:
            return packed.identity(self.result)
        content = self.read(IDENTITY)
        return {} if content is None else files.parsed(content, self.folder / IDENTITY)

    @property
    def provenance(self) -> str:
        """Of a finished run, such as "RUN_ID: stored on 2026-11-24, git ec8c6330dc, archive
        9e2558151112dae8; not computed now", and how to."""
        git = self.result["environment"]["git"]
        when, commit = self.result.get("time", "")[:10], revision.day(paths.PACKAGE, git)
        if not when and commit:  # a run that is older than this field
            when = f"{commit} or later"
        parts = [f"stored on {when}" if when else "stored", f"git {git}" if git else ""]
        parts += [f"archive {self.result['archive']['fingerprint']}"]
        told = f"{self.run_id}: {', '.join(filter(None, parts))}; not computed now"
        return f"{told} (`python -m maclcore runs recompute {self.run_id}` does that)"

    def tidy(self) -> None:
        """Remove it if nothing worth keeping was saved; for whoever holds it (`alone`)."""
        if self.finished or self.saved:
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
        files.write_json(self.folder / "config.json", config.to_dict())
        content = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "attempt": attempt,
            "error": traceback.strip().splitlines()[-1],
            "traceback": traceback.splitlines(),
        }
        files.write_json(self.folder / "failure.json", content)

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            self.folder.rmdir()

    @cached_property
    def config(self) -> Config:
        file = "config.json"
        return Config.from_dict(files.parsed(self._need(file), self.folder / file))

    @cached_property
    def result(self) -> dict[str, Any]:
        if not self.finished:
            raise ValueError(f"run {self.run_id} is not finished; train(config) completes it")
        return files.parsed(self._need(RESULT), self.folder / RESULT)

    @property
    def metrics(self) -> dict[str, float]:
        """The seven metrics on the test split, in [0, 1], from the projection head's output."""
        return self.result["metrics"]

    @property
    def transfer(self) -> dict[str, Any]:
        """What each probe has said of it (`maclcore.experiments.transfer`), by name; {} if none."""
        content = self.read(TRANSFER)
        return {} if content is None else files.parsed(content, self.folder / TRANSFER)

    def keep_transfer(self, name: str, said: Mapping[str, Any]) -> None:
        """Store what a probe has said beside the run, which may be packed, and other probes'."""
        with self.alone():
            files.write_json(self.folder / TRANSFER, {**self.transfer, name: said})

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch; empty for reference rows."""
        content = self.read("history.csv")
        return pd.DataFrame() if content is None else pd.read_csv(io.BytesIO(content))

    @cached_property
    def per_query(self) -> pd.DataFrame:
        """One row a test query, indexed by the image's name."""
        return pd.read_parquet(io.BytesIO(self._need("per_query.parquet")))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Of a training that tells labels: their probabilities (Q, L), a row a test image, indexed
        by its name, a column a label."""
        return pd.read_parquet(io.BytesIO(self._need(PREDICTIONS)))

    @cached_property
    def embeddings(self) -> np.ndarray:
        """Embeddings (Q, D) of the test split, in the order of `per_query`."""
        file = self.folder / "embeddings.safetensors"
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} is not there: embeddings and weights stay on the machine that trained; "
                f"copy them, or compute some by `python -m maclcore runs recompute {self.run_id}`, "
                "which leaves them in results/recomputed/"
            )
        return load_file(file)["z"]


def _acquired(lease: SoftFileLease, timeout: float) -> AcquireReturnProxy:
    """`lease.acquire`, also where filelock cannot take a stale lease over, because the file system,
    such as NFS, does not exchange two names: there what stood still for LEASE is removed."""
    seconds_left = countdown(None if timeout < 0 else timeout)
    patience = 1.2 * LEASE  # filelock itself is content with LEASE
    while True:
        left, seen = seconds_left(), _last_touched(lease)
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
