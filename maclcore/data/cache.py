"""Decode once: memory-mapped arrays on disk, keyed by the content of the files they come from.

Files are decoded and resized here, by threads, before the first epoch, and not again in every epoch
by the workers of a loader (ours: once; usual: every epoch; why: the result is the same). Memory
is that of CHUNK images, whatever the archive's size.
A cache file appears under its final name only when it is complete, is built by one process at a
time, and is never changed; other content gets another name. Deleting any of them is safe.
"""

import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image
from tqdm.auto import tqdm

from maclcore import paths

# Part of every key: a change of what `decode` computes must change this line.
RESIZE_RULE = "1: whole image, 8-bit RGB, antialiased bilinear to SxS, aspect ratio not kept"
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "JPEG2000")  # none that can run code
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2")
MAX_PIXELS = 2**26  # 8192 x 8192; what is larger is taken for a decompression bomb
CHUNK = 256  # images in flight, so that memory does not grow with the archive


class Unreadable(ValueError):
    """Files that could not be read; `.problems` holds one line for each."""

    def __init__(self, problems: list[str]):
        super().__init__("; ".join(problems[:10]))
        self.problems = problems


def open_image(file: Path) -> Image.Image:
    """A fully decoded image; ValueError if it is none, is cut short, or is far too large."""
    try:
        with open(file, "rb") as stream:
            image = Image.open(stream, formats=FORMATS)
            if image.width * image.height <= MAX_PIXELS:
                image.load()
                return image
        reason = f"{image.width} x {image.height} pixels, a decompression bomb? Tile or shrink it"
    except Image.UnidentifiedImageError:
        reason = "not an image" if file.stat().st_size else "an empty file"
    except Exception as error:  # a broken file can make a decoder raise anything
        reason = f"{error or type(error).__name__}"
    raise ValueError(reason)


def decode(file: Path, size: int) -> np.ndarray:
    """(3, size, size) uint8 by `RESIZE_RULE`; ValueError if the file is not an 8-bit image."""
    image = open_image(file)
    if image.mode[0] in "IF":
        raise ValueError(f"pixels are not 8-bit (mode {image.mode}); convert it to 8-bit RGB")
    image = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def cached_rows(
    stem: str,
    rule: str,
    function: Callable[[Path], np.ndarray],
    files: Sequence[Path],
    progress: bool = False,
) -> tuple[np.ndarray, str, list[str]]:
    """The memory-mapped array whose row i is `function(files[i])`, its key, the files' hashes.

    The key is the SHA-256 of `rule` and of the bytes of all files. A file that `function` rejects
    with ValueError does not stop the others: all are named in one `Unreadable`, nothing is kept.
    """
    hashes = content_hashes(files, progress)
    key = hashlib.sha256(json.dumps([rule, hashes]).encode()).hexdigest()
    target = paths.cache_root() / f"{stem}-{key[:16]}.npy"
    what = f"Decoding {stem}" * progress
    write = partial(_write_rows, function=function, files=files, what=what)
    return cached(target, write), key, hashes


def cached(target: Path, write: Callable[[Path], None]) -> np.ndarray:
    """The memory-mapped array in `target`, which `write(temporary)` makes if it is not there."""
    array = _mapped(target)
    if array is None:
        paths.make_folder(target.parent)
        with FileLock(f"{target}.lock"):
            array = _mapped(target)  # another process may have built it while this one waited
            if array is None:
                with paths.atomic_path(target) as temporary:
                    write(temporary)
                array = _mapped(target)
    return array


def save(target: Path, array: np.ndarray) -> None:
    """`np.save` under exactly this name."""
    with open(target, "wb") as out:
        np.save(out, array)


def _mapped(target: Path) -> np.ndarray | None:
    try:
        return np.load(target, mmap_mode="r")  # to be read only: `Images` reads past the map
    except (FileNotFoundError, EOFError, ValueError):  # absent, or damaged: build it again
        return None


def _write_rows(temporary: Path, function: Callable, files: Sequence[Path], what: str) -> None:
    # Plain writes, not a writable memory map: a full disk is then an OSError, not a crash.
    with open(temporary, "wb") as out, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
        for i, row in enumerate(_parallel(function, files, what)):
            if i == 0:
                header = np.lib.format.header_data_from_array_1_0(row)
                header |= {"shape": (len(files), *row.shape), "fortran_order": False}
                np.lib.format.write_array_header_1_0(out, header)
            out.write(row.tobytes())


def content_hashes(files: Sequence[Path], progress: bool = False) -> list[str]:
    """SHA-256 of each file; computed again only if its size or either of its times has changed."""
    folder = os.fsencode(os.path.commonpath([file.parent for file in files]))
    index = paths.cache_root() / f"hashes-{hashlib.sha256(folder).hexdigest()[:16]}.json"
    try:
        known = json.loads(index.read_text())
    except (OSError, ValueError):
        known = {}

    def stamp(file: Path) -> list[int]:
        try:
            stat = file.stat()
        except OSError:
            return []
        return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]

    def digest(file: Path) -> str:
        try:
            return hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError:  # no content, so no key that recurs; decoding will say what is wrong
            return os.urandom(32).hex()

    stamps = {str(file): stamp(file) for file in files}
    hashes = {file: known[file][-1] for file, s in stamps.items() if known.get(file, "?")[:-1] == s}
    if stale := [file for file in files if str(file) not in hashes]:
        fresh = _parallel(digest, stale, "Hashing" * progress)
        hashes |= zip(map(str, stale), fresh, strict=True)
        # A file changed in the last two seconds may change again within one tick of its clock.
        recent = time.time_ns() - 2e9
        settled = {f: [*s, hashes[f]] for f, s in stamps.items() if s and max(s[1:]) < recent}
        with paths.atomic_path(index) as temporary:
            temporary.write_text(json.dumps(settled))
    return [hashes[str(file)] for file in files]


def _parallel(function: Callable, files: Sequence[Path], what: str = "") -> Iterator:
    """`map` over threads (Pillow and hashlib release the interpreter lock), in order.

    After the first ValueError nothing more is yielded; at the end all go into one `Unreadable`.
    """
    problems: list[str] = []

    def guarded(file: Path) -> tuple:
        try:
            return function(file), None
        except ValueError as error:
            return None, f"{file.name}: {error}"

    quiet = not (what and sys.stderr.isatty())
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(files), desc=what, unit="image", disable=quiet, leave=False) as bar,
    ):
        for start in range(0, len(files), CHUNK):
            for result, problem in pool.map(guarded, files[start : start + CHUNK]):
                bar.update()
                if problem:
                    problems.append(problem)
                elif not problems:
                    yield result
    if problems:
        raise Unreadable(problems)
