"""Images as they come in a folder of one's own: of any depth and bands, whole or in tiles.

What Pillow reads in 8 bits is decoded as ever (`cache.open_image`). Of any other image red, green
and blue are taken, through rasterio, and become 8 bits by a `Stretch` that is one for the whole
archive. Pages, thumbnails, networks and examples of a search see an image through `open_rgb`.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from maclcore.data import cache
from maclcore.data.bands import PRODUCTS, Window, opened, spelled
from maclcore.data.stretch import Stretch

# Part of every key of an archive with such images: a change of what `open_rgb` makes of them must
# change it. Images that Pillow reads in 8 bits have a rule of their own (`cache.RESIZE_RULE`).
RULE = (
    "1: red, green and blue by the bands' descriptions, or their colours, or in that order (12 or "
    "13 without names: Sentinel-2's), one or two bands as grey, of 8 bits as they are, "
    "without alpha; others from `low` to `high` in 256 equal steps, rounded, and black where they "
    "have no data (nodata, a mask, alpha 0, NaN)"
)
#: what bands of red, green and blue are called, as `spelled` has it
COLOURS = (("RED", "GREEN", "BLUE"), ("B4", "B3", "B2"), ("R", "G", "B"))
EIGHT_BITS = (".jpg", ".jpeg", ".bmp", ".webp")  # what never has more, nor other bands


@dataclass(frozen=True)
class Scene:
    """An image that is more, or less, than a file: one of several files, or a part of it.

    `files`: one, or red, green and blue. `window`: the part of it that a tile shows.
    """

    name: str
    files: tuple[Path, ...]
    window: Window | None = None

    @property
    def stem(self) -> str:
        return self.name


PARTLY = (".tif", ".tiff", ".jp2")  # that can be read in parts


def files_of(image: Any) -> tuple[Path, ...]:
    """The files of an image of a catalogue: a file itself, a `Scene`, or a `Stack`."""
    return getattr(image, "files", (image,))


def location(image: Any) -> Path:
    """Where an image lies, as if it were one file: its folder says what its own folder is."""
    file = files_of(image)[0]
    if not isinstance(image, Scene):
        return file
    name = image.name.rsplit("/", 1)[-1]
    of_bands = len(image.files) > 1 and (file.parent.name == image.name or image.window)
    return (file.parent.parent if of_bands else file.parent) / f"{name}.tif"


def is_plain(image: Path | Scene) -> bool:
    """Whether Pillow reads it as 8 bits, or else not at all, and can say why."""
    files = files_of(image)
    if len(files) > 1:
        return False
    if files[0].suffix.lower() in EIGHT_BITS:
        return True
    try:
        with open(files[0], "rb") as stream:
            head = stream.read(25)
            if head.startswith(b"\x89PNG"):
                return head[24:25] <= b"\x08"
            if head[:4] in cache.TIFFS and _samples(files[0]) > 4:
                return False
            try:
                return cache.depth(Image.open(stream, formats=cache.FORMATS), stream) <= 8
            except Exception:  # a broken file can make it raise anything
                return head[:4] not in cache.TIFFS
    except OSError:
        return True


def _samples(file: Path) -> int:
    return cache.tiff_tags(file).get(ExifTags.Base.SamplesPerPixel, 1)


# --- Decoding -----------------------------------------------------------------------------------


def open_rgb(image: Path | Scene, stretch: Stretch | None = None) -> Image.Image:
    """Red, green and blue of an image in 8 bits, as large as it is.

    `stretch` is the archive's. ValueError, which names the file, if it cannot be read or has more
    than 8 bits where there is no stretch; ImportError if it needs the extra `geo`.
    """
    file, window = files_of(image)[0], getattr(image, "window", None)
    if is_plain(image):
        if window is None:
            return cache.open_image(file).convert("RGB")
        if window.height * window.width <= cache.MAX_PIXELS:
            return _part(file, window)
        if file.suffix.lower() not in PARTLY:
            size = f"{window.width} x {window.height} pixels"
            raise ValueError(f"{file.name}: {size}, too large for its kind: convert it to TIFF")
    try:
        bands = read(image)
        if bands.dtype != np.uint8 and stretch is None:
            raise ValueError(
                f"pixels are not 8-bit ({bands.dtype}, {8 * bands.itemsize} bits a channel), and "
                "no archive says which values are black and white; convert it to 8-bit RGB"
            )
        pixels = bands if bands.dtype == np.uint8 else Stretch.of(stretch)(bands)
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def decode(image: Path | Scene, size: int, stretch: Stretch | None = None) -> np.ndarray:
    """(3, size, size) uint8 of `open_rgb`; errors as there."""
    return cache.square(open_rgb(image, stretch), size)


def decoder(size: int, stretch: Stretch | None) -> Callable[[Path | Scene], np.ndarray]:
    return partial(decode, size=size, stretch=stretch)


def rule(size: int, stretch: Stretch | None) -> str:
    """What the pixels of `decode` depend on beside the content of files."""
    own = "" if stretch is None else f"{json.dumps([RULE, stretch])}; "
    return f"{own}{cache.RESIZE_RULE}, S={size}"


def contents(images: Sequence[Path | Scene], progress: bool = False) -> list[str]:
    """Of each image a hash of its files' content, and of which part of it is taken."""
    files = list(dict.fromkeys(file for image in images for file in files_of(image)))
    if not files:
        return []
    of = dict(zip(files, cache.content_hashes(files, progress), strict=True))

    def content(image: Path | Scene) -> str:
        if not isinstance(image, Scene):
            return of[image]
        parts = [[of[file] for file in image.files], image.window]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    return [content(image) for image in images]


_decoding = threading.Lock()


def _part(file: Path, window: Window) -> Image.Image:
    """A tile of an image that Pillow reads, which is decoded once for all tiles, not for each."""
    stat = file.stat()
    with _decoding:  # so that no two threads hold a large image for the same tiles
        whole = _whole(file, stat.st_mtime_ns, stat.st_size)
    row, column, side = window[:3]
    return whole.crop((column, row, column + side, row + side))


@lru_cache(maxsize=2)  # threads that decode tiles in order are in two scenes at most
def _whole(file: Path, *_: int) -> Image.Image:
    return cache.open_image(file).convert("RGB")


# --- Through rasterio ---------------------------------------------------------------------------


def read(image: Path | Scene, largest: int | None = None) -> np.ndarray:
    """Red, green and blue (3, H, W) as they are stored, or, in floats, NaN where there is no data.

    `largest`: of that many rows and columns at most, every n-th; default: all. ValueError if it
    cannot be read, or is too large to be read whole.
    """
    window = getattr(image, "window", None)
    with ExitStack() as stack:
        datas = [stack.enter_context(opened(file)) for file in files_of(image)]
        height, width = datas[0].shape
        if any(data.shape != (height, width) for data in datas):
            raise ValueError("its bands have different sizes: are they all of 10 m?")
        if window is None and largest is None and height * width > cache.MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels: cut it into tiles (--tile 256)")
        part = window and (
            (window.row, window.row + window.side),
            (window.column, window.column + window.side),
        )
        few = {}
        if largest is not None:
            few = {"out_shape": (min(height, largest), min(width, largest))}
        bands = [(data, 1) for data in datas]
        if len(datas) == 1:
            bands = [(datas[0], index) for index in red_green_blue(datas[0])]
        arrays = [_band(data, index, window=part, **few) for data, index in bands]
    if len({array.dtype for array in arrays}) > 1:
        arrays = [array.astype(np.float64) for array in arrays]
    return np.stack(arrays * 3 if len(arrays) == 1 else arrays)


def _band(data: Any, index: int, **how: Any) -> np.ndarray:
    """A band as it is stored; of one of more than 8 bits, floats with NaN where it has no data."""
    array = data.read(index, **how)
    if array.dtype.kind == "c":
        raise ValueError(f"its pixels are complex numbers ({array.dtype}): take their amplitude")
    if data.colorinterp[index - 1].name == "palette" and array.dtype == np.uint8:
        raise ValueError("a palette, too large to be read at once: convert it to RGB")
    if array.dtype == np.uint8 or "all_valid" in {f.name for f in data.mask_flag_enums[index - 1]}:
        return array
    there = data.read_masks(index, **how) > 0
    return np.where(there, array, np.nan)


def red_green_blue(data: Any) -> list[int]:
    """The numbers, from 1 on, of the bands that are shown; one of a grey image."""
    names = [spelled(text or "").removeprefix("SR_") for text in data.descriptions]
    colours = [colour.name.upper() for colour in data.colorinterp]
    if not {*names} & {name for trio in COLOURS for name in trio}:
        stacked = {len(PRODUCTS[name].bands): PRODUCTS[name].bands for name in ("s2_l1c", "s2_l2a")}
        if data.count in stacked:
            names = list(stacked[data.count])
    for found in (names, colours):
        for trio in COLOURS:
            if {*trio} <= {*found}:
                return [found.index(name) + 1 for name in trio]
    if {"CYAN", "MAGENTA"} & {*colours}:
        raise ValueError("CMYK of more than 8 bits: convert it to RGB")
    shown = [i for i, colour in enumerate(colours, 1) if colour != "ALPHA"]
    return shown[:3] if len(shown) >= 3 else shown[:1]


def shape(image: Path | Scene) -> tuple[int, int]:
    """Height and width of an image as `open_rgb` gives it, by its header; ValueError if broken."""
    file = files_of(image)[0]
    if not is_plain(image):
        try:
            with opened(file) as data:
                return data.shape
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
    try:
        with open(file, "rb") as stream:
            found = Image.open(stream, formats=cache.FORMATS)
            turned = found.format != "TIFF" and cache.orientation(found) >= 5
            return (found.width, found.height) if turned else (found.height, found.width)
    except Exception as error:  # a broken file can make it raise anything
        raise ValueError(f"{file.name}: {error or type(error).__name__}") from error


def squares(height: int, width: int, side: int) -> Iterator[tuple[str, Window]]:
    """Tiles that cover an image: the last of a row or column ends at the edge, and so overlaps.

    Each with its place, "row_column". Of an image narrower than a tile they are as wide as it is.
    """
    side = min(side, height, width)
    rows, columns = -(-height // side), -(-width // side)
    for i in range(rows):
        for j in range(columns):
            at = f"{i:0{len(str(rows - 1))}}_{j:0{len(str(columns - 1))}}"
            top, left = min(i * side, height - side), min(j * side, width - side)
            yield at, Window(top, left, side, height, width)
