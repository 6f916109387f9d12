"""Decode once: memory-mapped arrays on disk, keyed by the content of the files they come from.

Files are decoded and resized here, by threads, before the first epoch, and not again in every epoch
by the workers of a loader (ours: once; usual: every epoch; why: the result is the same). Memory
is that of CHUNK images, whatever the archive's size.
A cache file appears under its final name only when it is complete, is built by one process at a
time, and is never changed; other content gets another name. Deleting any of them is safe.
"""

import hashlib
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin
from tqdm.auto import tqdm

from maclcore import paths

# Part of every key: a change of what `decode` computes must change this line, or mark the files
# that it concerns, as `_mark` does.
RESIZE_RULE = "1: whole image, 8-bit RGB, antialiased bilinear to SxS, aspect ratio not kept"
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "JPEG2000")  # none that can run code
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2")
PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # where Pillow looks for it
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how they begin, the last two BigTIFFs
KINDS = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex float"}
MAX_PIXELS = 2**26  # 8192 x 8192; what is larger is taken for a decompression bomb
CHUNK = 256  # images in flight, so that memory does not grow with the archive


class Unreadable(ValueError):
    """Files that could not be read; `.problems` holds one line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems[:10]))
        self.problems = problems


def open_image(file: Path) -> Image.Image:
    """A fully decoded image of at most 8 bits a channel, turned as its EXIF data say.

    ValueError, which names the file, if it is none, is cut short, too deep or far too large.
    """
    file = Path(file)
    try:
        with open(file, "rb") as stream:
            image = Image.open(stream, formats=FORMATS)
            bits = depth(image, stream)
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width} x {image.height} pixels"
                reason = f"{size}, a decompression bomb? Tile it (as TIFF, --tile 256) or shrink it"
            elif bits > 8:  # of several channels Pillow would keep the high bytes, without a word
                channels = f"mode {image.mode}, {bits} bits a channel"
                reason = f"pixels are not 8-bit ({channels}); scale and convert it to 8-bit RGB"
            else:
                image.load()
                # Masks too: labels do not see it, and a mask then lies as its image does.
                if orientation(image) > 1:
                    image.info.pop("exif", None)  # else it is written anew, for which it may be bad
                    ImageOps.exif_transpose(image, in_place=True)
                return image
    except Image.UnidentifiedImageError:
        reason = _unidentified(file)
    except Exception as error:  # a broken file can make a decoder raise anything
        reason = f"{error or type(error).__name__}"
    raise ValueError(f"{file.name}: {reason}")


def decode(file: Path, size: int) -> np.ndarray:
    """(3, size, size) uint8 by `RESIZE_RULE`; ValueError as `open_image`."""
    return square(open_image(file).convert("RGB"), size)


def square(image: Image.Image, size: int) -> np.ndarray:
    """(3, size, size) uint8 of an image of mode RGB, by `RESIZE_RULE`."""
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def tiff_tags(file: Path) -> Mapping[int, Any]:
    """The tags of a TIFF's first image by number; {} of a file that is none, or is broken."""
    with open(file, "rb") as stream:
        head = stream.read(16)
        if head[:4] not in TIFFS:
            return {}
        try:
            tags = TiffImagePlugin.ImageFileDirectory_v2(head[: 16 if b"+" in head[:4] else 8])
            stream.seek(tags.next)
            tags.load(stream)
            return tags
        except Exception:  # a broken file can make it raise anything
            return {}


def _unidentified(file: Path) -> str:
    """What a file is that Pillow cannot read."""
    if not file.stat().st_size:
        return "an empty file"
    tags = tiff_tags(file)
    if not tags:
        return "not an image"
    bands = tags.get(ExifTags.Base.SamplesPerPixel, 1)
    bits = tags.get(ExifTags.Base.BitsPerSample, (1,))[0]
    kind = KINDS.get(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0], "")
    return (
        f"a TIFF of {bands} bands, {kind}{bits}: it can be read where it lies in a folder of one's "
        "own; here, export red, green and blue of it in 8 bits"
    )


def depth(image: Image.Image, stream: BinaryIO) -> int:
    """Bits a channel in the file, of an image just opened from it: the mode may have fewer."""
    if image.format == "TIFF":  # Pillow reads only channels of one depth
        return image.tag_v2.get(ExifTags.Base.BitsPerSample, (1,))[0]
    if image.format == "PNG":
        return 16 if any(";16" in args for *_, args in image.tile) else 8
    if image.format == "JPEG2000":  # SIZ, at the start of the codestream, has a byte a component
        stream.seek(0)
        _, _, siz = stream.read().partition(b"\xff\x4f\xff\x51")
        components = int.from_bytes(siz[36:38])
        return max((1 + (depth & 127) for depth in siz[38::3][:components]), default=8)
    return 8


def orientation(image: Image.Image) -> int:
    """How EXIF data say that the image lies, 1 to 8; 1, as it is stored, if they say nothing."""
    try:
        number = image.getexif().get(ExifTags.Base.Orientation)
        return number if number in range(2, 9) else 1
    except Exception:  # unreadable EXIF data do not make an image unreadable
        return 1


def cached_rows(
    stem: str,
    rule: str,
    function: Callable[[Path], np.ndarray],
    files: Sequence[Any],
    progress: bool = False,
    hashes: list[str] | None = None,
) -> tuple[np.ndarray, str, list[str]]:
    """The memory-mapped array whose row i is `function(files[i])`, its key, the files' hashes.

    The key is the SHA-256 of `rule` and of the content of all files, or of `hashes` if they are
    something else than files. One that `function` rejects with a ValueError, which names it, does
    not stop the others: all are told in one `Unreadable`, nothing is kept.
    """
    hashes = content_hashes(files, progress) if hashes is None else hashes
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


@contextmanager
def no_stray_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
        warnings.filterwarnings("ignore", "Corrupt EXIF data")  # then there are none
        logger = logging.getLogger("PIL.TiffImagePlugin")  # of many bands Pillow says it has none
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before


def _write_rows(temporary: Path, function: Callable, files: Sequence[Any], what: str) -> None:
    # Plain writes, not a writable memory map: a full disk is then an OSError, not a crash.
    with open(temporary, "wb") as out, no_stray_warnings():
        for i, row in enumerate(_parallel(function, files, what)):
            if i == 0:
                header = np.lib.format.header_data_from_array_1_0(row)
                header |= {"shape": (len(files), *row.shape), "fortran_order": False}
                np.lib.format.write_array_header_1_0(out, header)
            out.write(row.tobytes())


def content_hashes(files: Sequence[Path], progress: bool = False) -> list[str]:
    """The content of each file, of any kind, as text; another content has another text.

    It is the SHA-256 of the bytes, and for some images a mark behind it. It is computed again only
    if size or either time of a file has changed. A file that cannot be read gets a random one.
    """
    folder = os.fsencode(os.path.commonpath([file.parent for file in files]))
    # not the name of version 1, whose hashes had no marks
    index = paths.cache_root() / f"contents-{hashlib.sha256(folder).hexdigest()[:16]}.json"
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

    stamps = {str(file): stamp(file) for file in files}
    hashes = {file: known[file][-1] for file, s in stamps.items() if known.get(file, "?")[:-1] == s}
    if stale := [file for file in files if str(file) not in hashes]:
        with no_stray_warnings():
            fresh = _parallel(_content_hash, stale, "Hashing" * progress)
            hashes |= zip(map(str, stale), fresh, strict=True)
        # A file changed in the last two seconds may change again within one tick of its clock.
        recent = time.time_ns() - 2e9
        settled = {f: [*s, hashes[f]] for f, s in stamps.items() if s and max(s[1:]) < recent}
        with suppress(OSError), paths.atomic_path(index) as temporary:  # it can be done without
            temporary.write_text(json.dumps(settled))
    return [hashes[str(file)] for file in files]


def _content_hash(file: Path) -> str:
    try:
        with open(file, "rb") as stream:
            plain = hashlib.file_digest(stream, "sha256").hexdigest()
            return plain + (_mark(stream) if file.suffix.lower() in SUFFIXES else "")
    except OSError:  # no content, so no key that recurs; decoding will say what is wrong
        return os.urandom(32).hex()


def _mark(stream: BinaryIO) -> str:
    """What sets an image apart that version 1 of `decode` read otherwise; "" for most.

    It cut deep pixels to 8 bits, and turned none but TIFFs, which Pillow turns.
    """
    try:
        image = Image.open(stream, formats=FORMATS)
        if depth(image, stream) > 8:
            return " deep"
        if image.format == "PNG":  # the data may follow the pixels, which are not read for nothing
            stream.seek(0)
            content = stream.read()
            if not any(place in content for place in PNG_EXIF):
                return ""
        fits = image.width * image.height <= MAX_PIXELS
        return " turned" if fits and image.format != "TIFF" and orientation(image) > 1 else ""
    except Exception:  # as in `open_image`, which will say what is wrong
        return ""


def _parallel(function: Callable, files: Sequence[Any], what: str = "") -> Iterator:
    """`map` over threads (Pillow and hashlib release the interpreter lock), in order.

    After the first ValueError nothing more is yielded; at the end all go into one `Unreadable`.
    """
    problems: list[str] = []

    def guarded(file: Any) -> tuple:
        try:
            return function(file), None
        except ValueError as error:
            return None, str(error)

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
