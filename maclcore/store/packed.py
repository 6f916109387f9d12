"""Packs, in which finished runs lie in few files, as they are read; `store.pack` makes them.

A pack is `results/packed/NAME.parquet`, a row a run: `run_id`, then a column a small file, with its
bytes as they are, null where a run has no such file. Weights and embeddings are in no pack.

Parquet, because one column is read without the others (`collect()` reads `result.json` alone), one
run without the others (a row group has sixteen), each page carries a checksum, and what reads
tables reads packs. Runs beside one another are of the same images and have nearly the same files,
so they take less than half of what they take as files, and two thirds of what a zip archive takes.

Whose files count: those of a run's folder, if it is finished and of the same content as the packed
run; else those of the pack. So a run of other content never takes the name of a packed one.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maclcore.store.files import IDENTITY, PREDICTIONS, RESULT, TRANSFER, digest

#: what a pack holds of a run
FILES = (
    *("config.json", IDENTITY, RESULT, "history.csv", "log.jsonl", "per_query.parquet"),
    *(TRANSFER, PREDICTIONS),
)
LATER = (TRANSFER, PREDICTIONS)  #: those that packs of earlier versions have no column for
TABLES = ("per_query.parquet", PREDICTIONS)  #: those that are too large to be kept of all runs
#: the column of ids, and the file's metadata with a digest of them
RUN_ID, IDS = "run_id", b"run_ids"


class PackWarning(UserWarning):
    """A pack that cannot be read, or a folder beside it that does not count."""


@dataclass(frozen=True)
class Pack:
    """A pack as it is now; another one once it has been renewed."""

    file: Path
    stamp: tuple[int, int, int]  #: time in ns, size and inode

    @cached_property
    def groups(self) -> dict[str, int]:
        """The row group of each run, by run_id."""
        with _reading(self.file) as parquet:
            ids = parquet.read([RUN_ID])[RUN_ID].to_pylist()
            sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
            # what says how many rows there are has no checksum of its own
            if (parquet.schema_arrow.metadata or {}).get(IDS, ids_digest(ids)) != ids_digest(ids):
                raise ValueError("it does not hold the runs that it was written with")
        return dict(zip(ids, (i for i, n in enumerate(sizes) for _ in range(n)), strict=True))

    def column(self, name: str) -> dict[str, bytes | None]:
        """One small file of all runs, by run_id."""
        if name not in self._columns:
            self._columns[name] = _column(self.file, name)
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, dict[str, bytes | None]]:
        return {}

    def read(self, run_id: str, name: str) -> bytes | None:
        """One small file of one run; None if it has none."""
        if name not in TABLES:
            return self.column(name)[run_id]
        return _column(self.file, name, self.groups[run_id])[run_id]

    def files(self, run_id: str) -> dict[str, bytes]:
        """All that it holds of a run, by the names of the files."""
        return _there({name: self.read(run_id, name) for name in FILES})

    def content(self) -> dict[str, dict[str, bytes]]:
        """All that it holds, by run_id."""
        columns = {name: _column(self.file, name) for name in FILES}
        return {i: _there({name: columns[name][i] for name in FILES}) for i in self.groups}


def ids_digest(ids: Sequence[str]) -> bytes:
    return digest(list(ids)).encode()


def packs(results: Path) -> list[Pack]:
    """Those of a folder of results, by name, damaged ones too."""
    found = []
    with suppress(FileNotFoundError), os.scandir(results / "packed") as entries:
        for entry in entries:
            if entry.name.endswith(".parquet") and not entry.name.startswith("."):
                with suppress(FileNotFoundError):  # removed in between
                    status = entry.stat()
                    stamp = status.st_mtime_ns, status.st_size, status.st_ino
                    found.append((entry.path, stamp))
    return [_pack(*one) for one in sorted(found)]


def holders(results: Path) -> Mapping[str, Pack]:
    """The pack of each packed run, by run_id.

    Warns (PackWarning) of a pack that cannot be read; the others are there. ValueError for two that
    hold different runs of one id.
    """
    return _holders(*packs(results))


def held(folder: Path) -> Pack | None:
    """The pack that has a run of this folder's name, whatever is in the folder."""
    return holders(folder.parent.parent).get(folder.name)


def holder(folder: Path) -> Pack | None:
    """The pack that counts for a run's folder; None where the folder itself does.

    Warns (PackWarning) of a finished run of other content in the folder.
    """
    pack = held(folder)
    if pack is not None:
        with suppress(FileNotFoundError, NotADirectoryError):
            if counts(folder, (folder / RESULT).read_bytes(), pack.read(folder.name, RESULT)):
                return None
    return pack


def counts(folder: Path, result: bytes, other: bytes | None) -> bool:
    """Whether the result in a folder counts before the packed one: it is of the same content."""
    if result == other:
        return True
    try:
        ours, theirs = (identity(json.loads(text or b"")) for text in (result, other))
    except (ValueError, TypeError, KeyError):
        return True  # damaged, as whoever reads it will say
    if all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys()):
        return True
    warnings.warn(
        f"{folder} holds a run of other content than the packed one of its name, and is left "
        f"aside: rename it to {folder.name}@{digest(ours)[:8]}",
        PackWarning,
        stacklevel=2,
    )
    return False


def identity(result: Mapping[str, Any]) -> dict[str, str]:
    """What a finished run is made from; of versions before identities its archive alone."""
    return result.get("identity") or {"archive": result["archive"]["fingerprint"]}


@lru_cache(maxsize=64)
def _pack(file: str, stamp: tuple[int, int, int]) -> Pack:
    return Pack(Path(file), stamp)  # the same object as long as it is the same file


@lru_cache(maxsize=8)
def _holders(*packs: Pack) -> dict[str, Pack]:
    found: dict[str, Pack] = {}
    for pack in packs:
        try:
            twice = [run_id for run_id in pack.groups if run_id in found]
            differ = [i for i in twice if found[i].files(i) != pack.files(i)]
        except ValueError as error:
            warnings.warn(str(error), PackWarning, stacklevel=2)
            continue
        if differ:
            raise ValueError(
                f"{differ[0]} is in {found[differ[0]].file} and, with other content, in "
                f"{pack.file}: one of them has to go; `git log` tells where each comes from"
            )
        found |= dict.fromkeys(pack.groups.keys() - found.keys(), pack)
    return found


def _there(files: Mapping[str, bytes | None]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if content is not None}


def _column(file: Path, name: str, group: int | None = None) -> dict[str, bytes | None]:
    with _reading(file) as parquet:
        columns = [RUN_ID, name]
        table = parquet.read(columns) if group is None else parquet.read_row_group(group, columns)
        ids = table[RUN_ID].to_pylist()
        if name in LATER and name not in table.column_names:
            return dict.fromkeys(ids)
        values = table[name].to_pylist()
    return dict(zip(ids, values, strict=True))


@contextmanager
def _reading(file: Path) -> Iterator[pq.ParquetFile]:
    """A pack, open; ValueError with the remedy for all that can be wrong with it."""
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} cannot be read ({error}): bring it back (in a clone `git checkout -- "
            f"{file.parent.name}/{file.name}` in {file.parent.parent}), or delete it, and its runs "
            "are not stored any more"
        ) from error
