"""Packing finished runs, so that they can be kept in git, and giving them their folders back."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from maclcore import paths
from maclcore.store import packed
from maclcore.store.files import RESULT, TRANSFER, parsed
from maclcore.store.packed import FILES, RUN_ID, Pack
from maclcore.store.run import Run

#: runs that are compressed, and read where all of one is needed, together
GROUP = 16

Files = Mapping[str, bytes]


def pack(name: str, run_ids: Iterable[str]) -> Path:
    """Move the small files of finished runs into results/packed/NAME.parquet, which may be there.

    A run in NAME is renewed by what its folder has, one that is the same in another pack stays
    there. The folders lose what the packs have, byte for byte, once all of it has been read back
    from there; weights and embeddings stay. Safe to interrupt and to repeat.

    ValueError, with nothing changed, for a run that is not stored, not finished or damaged, that
    another pack holds with other numbers, or whose folder is of other content than the packed one.
    """
    name = name.removesuffix(".parquet")
    if not name or name.startswith(".") or Path(name).name != name:
        raise ValueError(f"{name!r} is no name for a pack: it is to be one in results/packed/")
    results = paths.results_root()
    target = results / "packed" / f"{name}.parquet"
    paths.make_folder(paths.cache_root())
    with FileLock(paths.cache_root() / "pack.lock"):
        for leftover in target.parent.glob(".*.tmp"):  # of a killed process
            leftover.unlink()
        before = Pack(target, (0, 0, 0)).content() if target.is_file() else {}
        content: dict[str, Files] = {**before}
        clear: dict[Run, Files] = {}
        for run in map(Run.find, dict.fromkeys(run_ids)):
            holder = packed.held(run.folder)
            clear[run] = _files(run, holder)
            if holder is None or holder.file == target:
                content[run.run_id] = clear[run]
            elif clear[run] != holder.files(run.run_id):
                raise ValueError(
                    f"{run.run_id} is in {holder.file}, with other numbers than in its folder: "
                    f"pack it as {holder.file.stem}, or rename the folder"
                )
        if content != before:
            _write(target, content)
        for run, files in clear.items():
            _clear(run, files)
    return target


def unpack(run_ids: Iterable[str]) -> None:
    """Write the small files of packed runs into their folders; the packs stay as they are.

    ValueError for a run that is not packed, and one in whose folder an unfinished training is.
    """
    for run in map(Run.find, run_ids):
        holder = packed.held(run.folder)
        if holder is None:
            raise ValueError(f"{run.run_id} is in no pack: its files are in {run.folder}")
        with run.alone(wait=0):
            if run.pack is None:  # it has been unpacked already
                continue
            if (run.folder / RESULT).is_file() or run.saved:
                raise ValueError(f"{run.folder} holds another run: rename or delete it first")
            files = holder.files(run.run_id)
            if said := run.read(TRANSFER):  # by a probe, after it was packed
                files[TRANSFER] = said
            for name in sorted(files, key=RESULT.__eq__):  # it last: it says that all is there
                with paths.atomic_path(run.folder / name) as temporary:
                    temporary.write_bytes(files[name])


def _files(run: Run, holder: Pack | None) -> Files:
    """The small files of a finished run, from where it is read."""
    if not run.finished:
        raise ValueError(f"{run.run_id} is not finished: only what is finished can be packed")
    if holder and run.pack and (run.folder / RESULT).is_file():
        raise ValueError(f"{run.folder} is of other content than the packed run: rename it")
    files = {name: content for name in FILES if (content := run.read(name)) is not None}
    for name in ("config.json", RESULT, "per_query.parquet"):
        if name not in files:
            raise ValueError(f"{run.folder / name} is not there: delete its folder and run again")
    for name in ("config.json", RESULT):
        parsed(files[name], run.folder / name)
    return files


def _write(target: Path, content: Mapping[str, Files]) -> None:
    """A pack of `content`, in place once every byte of it has been read back."""
    ids = sorted(content)
    columns = {name: [content[run_id].get(name) for run_id in ids] for name in FILES}
    arrays = {name: pa.array(values, pa.binary()) for name, values in columns.items()}
    table = pa.table({RUN_ID: pa.array(ids, pa.string()), **arrays})
    with paths.atomic_path(target) as temporary:
        pq.write_table(
            table.replace_schema_metadata({packed.IDS: packed.ids_digest(ids)}),
            temporary,
            row_group_size=GROUP,
            compression="zstd",
            compression_level=19,
            use_dictionary=False,  # no two files are alike as wholes
            write_statistics=False,
            write_page_checksum=True,
        )
        if Pack(temporary, (0, 0, 0)).content() != content:
            raise OSError(f"{target} could not be written: it reads otherwise; nothing is changed")


def _clear(run: Run, files: Files) -> None:
    """Remove from a run's folder what its pack has, and the folder if nothing is left."""
    if not run.folder.is_dir():
        return
    with run.alone(wait=0):
        # the result first: from then on the pack is read, whenever this is interrupted
        for name in sorted(FILES, key=RESULT.__ne__):
            file = run.folder / name
            if not run.saved and file.is_file() and file.read_bytes() == files.get(name):
                file.unlink()
        (run.folder / "run.lock").unlink(missing_ok=True)
