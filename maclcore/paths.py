"""Where things are; nothing else in the package knows the file system's layout.

Three environment variables move the three folders: `MACL_DATA` (archives and weights, written only
by `data prepare`), `MACL_RESULTS` (runs, cache, executed notebooks) and `MACL_FIGURES` (figures as
they are drawn, by default among the results). Empty is as good as unset.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: the folder of the package itself
PACKAGE = Path(__file__).resolve().parent
_IN_REPOSITORY = (PACKAGE.parent / "results" / "paper").is_dir()
#: the repository; for a copy installed elsewhere, the folder one works in
ROOT = PACKAGE.parent if _IN_REPOSITORY else Path.cwd()


def data_root() -> Path:
    """Archives as the user unpacked them, one folder each, and `weights/`."""
    return _folder("MACL_DATA", ROOT / "data")


def results_root() -> Path:
    return _folder("MACL_RESULTS", ROOT / "results")


def runs_root() -> Path:
    return results_root() / "runs"


def cache_root() -> Path:
    """Decoded images; may be deleted at any time."""
    return results_root() / "cache"


def figures_root() -> Path:
    """Not `figures/`: those of record are renewed by `make figures` alone, on purpose."""
    return _folder("MACL_FIGURES", results_root() / "figures")


def _folder(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).expanduser().resolve()


def paper_root() -> Path:
    """The published tables; part of the repository, and in a copy installed elsewhere of the
    package, so `MACL_RESULTS` does not move them."""
    return (ROOT if _IN_REPOSITORY else PACKAGE) / "results" / "paper"


def table(name: str) -> Path | None:
    """A table such as labels.csv, of the store, or else as it comes with the repository; None
    where neither has it."""
    files = (folder / name for folder in (results_root(), paper_root().parent))
    return next((file for file in files if file.is_file()), None)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """OSErrors inside say what to do; those of waiting (TimeoutError) pass."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        raise OSError(
            f"cannot write to {folder} ({error}): make it writable, or set MACL_RESULTS to a "
            "folder that is"
        ) from error


def make_folder(folder: Path) -> None:
    """`folder` and those above it; OSError with the remedy where it cannot be."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary sibling of `target` to write to, flushed and renamed onto it on success.

    Readers see the old file or the new one, never a part of either; on an exception the
    temporary file is removed and `target` is untouched.
    """
    make_folder(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(PermissionError):  # Windows opens no folders
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself survives a power cut
        finally:
            os.close(folder)
