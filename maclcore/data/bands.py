"""Images of any number of bands: where each band lies, and how it becomes 8 bits.

A band is known by its name, never by its place: "B02", "b2" and "B2" are one. An image is a
`Stack`, which says of each of its bands where it lies; a `Product`, what such files hold. What is
made of them by `decode` is the rule `RULE`, with μ and σ of each band (`statistics`).
"""

import hashlib
import json
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from maclcore.data import cache
from maclcore.data.statistics import STATISTICS, to_uint8
from maclcore.extras import need

# Part of every key, with all of each band: a change of what `decode` computes must change it.
RULE = (
    "1: scale, offset (then not below 0), decibels; antialiased bilinear to SxS, aspect ratio not "
    "kept; mean -+ 2 standard deviations in 8 bits, fractions cut off"
)
UNUSABLE = (
    "image that cannot be used: copy it again, add what it lacks, ask for the bands that it has "
    "(bands=), declare what they are to hold (`fill` in bands.toml), or remove it and its row"
)
#: metres of a pixel as Sentinel-2 sees it; a band of larger ones has no more pixels
METRES = dict.fromkeys(("B2", "B3", "B4", "B8"), 10)
METRES |= dict.fromkeys(("B5", "B6", "B7", "B8A", "B11", "B12"), 20)
METRES |= dict.fromkeys(("B1", "B9", "B10"), 60)
#: what files hold: digital numbers, decibels, or what decibels are made of
UNITS = ("numbers", "decibels", "power", "amplitude")
#: what a file may hold, before its offset; what is beyond has been wrapped around, or is no data
RANGES = {"s2": (0, 65535), "s1": (-100, 60)}
TINY = 1e-30  # a pixel without any echo has no logarithm, and becomes the least of RANGES


def spelled(band: str) -> str:
    """The one spelling of a band's name: "b02" is "B2", "vv" is "VV"."""
    return re.sub(r"^B0+(?=\d)", "B", band.strip().upper())


@dataclass(frozen=True)
class Product:
    """What the files of one sensor hold.

    `bands`: as a file that has all of them stacks them. `statistics`: mean and standard deviation
    of each, and of those that may be filled. `fill`: what a band holds in an image that lacks it,
    as a file would; a band that is not there is a fault. `units`: one of `UNITS`.
    """

    name: str
    bands: tuple[str, ...]
    statistics: Mapping[str, tuple[float, float]]
    fill: Mapping[str, float] = field(default_factory=dict)
    units: str = "numbers"
    scale: float = 1.0

    @property
    def sensor(self) -> str:
        return self.name.split("_")[0]


#: Sentinel's products. At the surface there is no B10, which sees only the atmosphere: a network
#: for 13 bands is given digital number 0, which is byte 99, as its authors' loaders do it.
PRODUCTS = {
    name: Product(name, tuple(of), of, units="decibels" if name == "s1" else "numbers")
    for name, of in STATISTICS.items()
}
PRODUCTS["s2_l2a"] = Product(
    "s2_l2a",
    tuple(STATISTICS["s2_l2a"]),
    {**STATISTICS["s2_l2a"], "B10": STATISTICS["s2_l1c"]["B10"]},
    fill={"B10": 0.0},
)
NAMES = frozenset(band for of in STATISTICS.values() for band in of)


class Source(NamedTuple):
    """Where a band lies: in the file of bands `order` (of a zarr: sample, time, band) at `index`.

    `offset` is added to what is there.
    """

    file: Path
    index: tuple[int, ...] = (1,)
    order: tuple[str, ...] = ()
    offset: float = 0.0


class Window(NamedTuple):
    """A square of an image, in pixels of its finest band, which has `height` x `width` of them."""

    row: int
    column: int
    side: int
    height: int
    width: int


@dataclass(frozen=True)
class Stack:
    """An image: of each band that it has, where it lies; all of it, or the part in `window`."""

    name: str
    sources: Mapping[str, Source]
    window: Window | None = None

    @property
    def stem(self) -> str:
        return self.name

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(source.file for source in self.sources.values())


class Band(NamedTuple):
    """A band as it is taken: how its values become bytes, and what it holds where it lacks."""

    name: str
    product: str
    mean: float
    std: float
    fill: float | None
    units: str
    scale: float

    @property
    def sensor(self) -> str:
        return self.product.split("_")[0]


def taken(asked: str, products: Sequence[Product], there: set[str]) -> tuple[Band, ...]:
    """The bands that are asked for, in that order; "": all that are `there`.

    `asked`: names with commas, of bands, of a sensor ("s1", "s2"), or of a product ("s2_l1c": its
    13 bands, of which an archive of another level fills those that lack). ValueError that names
    those there are.
    """
    known: dict[str, Band] = {}
    for product in products:
        for name, (mean, std) in product.statistics.items():
            fill = product.fill.get(name)
            if name in there or fill is not None:
                band = Band(name, product.name, mean, std, fill, product.units, product.scale)
                known.setdefault(spelled(name), band)
    present = [name for product in products for name in product.bands if name in there]
    groups = {p.sensor: [b for b in p.bands if b in there] for p in products}
    groups |= {name: [*of] for name, of in STATISTICS.items()}
    words = [word.strip() for word in asked.split(",")] if asked else present
    names = [spelled(n) for word in words for n in groups.get(word.lower(), [word])]
    unknown = [name or "''" for name in dict.fromkeys(names) if name not in known]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if unknown or twice or not names:
        what = [f"no band {name}" for name in unknown] + [f"{name} twice" for name in twice]
        fills = [f"{band.name} (filled)" for band in known.values() if band.name not in there]
        raise ValueError(
            f"bands={asked!r} asks for {', '.join(what) or 'none'}; there are "
            f"{', '.join(present + fills) or 'none'}"
        )
    return tuple(known[name] for name in names)


# --- Reading ------------------------------------------------------------------------------------


def decode(stack: Stack, bands: Sequence[Band], size: int) -> np.ndarray:
    """(C, size, size) uint8 of an image's `bands`, by `RULE`.

    ValueError that names the image, and of all its files what is wrong with them.
    """
    files, faults = defaultdict(list), lacking(stack, bands)
    values = {b.name: np.full((1, 1), b.fill) for b in bands if b.name not in stack.sources}
    for band in bands:
        if band.name in stack.sources:
            files[stack.sources[band.name].file].append(band)
    for file, group in files.items():
        sources = [stack.sources[band.name] for band in group]
        try:
            arrays = read(file, sources, stack.window)
        except ValueError as error:
            faults.append(f"{file.name}: {error}")
            continue
        for band, source, array in zip(group, sources, arrays, strict=True):
            try:
                values[band.name] = _measured(array, band, source.offset)
            except ValueError as error:
                faults.append(f"{file.name}, {band.name}: {error}")
    faults += _sizes([b for b in bands if b.name in stack.sources and b.name in values], values)
    if faults:
        raise ValueError(f"{stack.name}: {'; '.join(faults)}")
    resized = np.stack([_resize(values[band.name], size) for band in bands])
    return to_uint8(resized, [band.mean for band in bands], [band.std for band in bands])


def lacking(stack: Stack, bands: Sequence[Band]) -> list[str]:
    """What an image lacks of the bands, where nothing is declared to fill it; [] if it has all."""
    absent = [b for b in bands if b.name not in stack.sources and b.fill is None]
    whole = {b.sensor for b in absent} - {b.sensor for b in bands if b.name in stack.sources}
    names = [b.name for b in absent if b.sensor not in whole]
    return [f"no image of {sensor}" for sensor in sorted(whole)] + [f"no {name}" for name in names]


def read(file: Path, sources: Sequence[Source], window: Window | None = None) -> list[np.ndarray]:
    """The bands (H, W) that `sources` say, of one file, as they are stored; ValueError if not."""
    with opened(file) as data:
        if isinstance(data, dict):
            sample, time, _ = sources[0].index  # one chunk, which has all bands
            image = np.asarray(data["bands"][sample, time])
            return [image[s.index[2]][_slices(window, *image.shape[1:])] for s in sources]
        order = sources[0].order
        described = [spelled(text) for text in data.descriptions if text]
        if order and data.count != len(order):
            raise ValueError(
                f"{data.count} bands where {len(order)} are expected ({', '.join(order)}): name "
                "those that it has, in their order"
            )
        told = len(described) == len(order) and NAMES.issuperset(described)
        if told and described != [spelled(name) for name in order]:
            raise ValueError(
                f"its bands are {', '.join(described)}, by their descriptions, and not "
                f"{', '.join(order)}"
            )
        rows, columns = _slices(window, data.height, data.width)
        if window is None and data.height * data.width > cache.MAX_PIXELS:
            raise ValueError(f"{data.width} x {data.height} pixels: cut it into tiles")
        part = None if window is None else ((rows.start, rows.stop), (columns.start, columns.stop))
        arrays = [data.read(source.index[0], window=part) for source in sources]
        if data.nodata not in (None, 0):
            missing = sum(int((array == data.nodata).sum()) for array in arrays)
            if missing:
                raise ValueError(f"{missing:,} pixels without data ({data.nodata:g}): fill them")
        return arrays


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A GeoTIFF open in rasterio, or the arrays of a zarr by name; ValueError if it cannot be."""
    need("geo", __name__)
    import rasterio
    import zarr

    # no image needs one; for good, because a thread cannot say it for itself
    warnings.filterwarnings("ignore", "Dataset has no geotransform")
    try:
        if file.suffix == ".zip":
            with zarr.storage.ZipStore(file, mode="r") as store:
                yield dict(zarr.open_group(store, mode="r").arrays())
        else:
            with rasterio.open(file) as data:
                yield data
    except ValueError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        if file.is_file() and not file.stat().st_size:
            raise ValueError("an empty file") from error
        reason = str(error.__cause__ or error) or type(error).__name__
        raise ValueError(reason.replace(f"{file.parent}{os.sep}", "")) from error


def described(file: Path) -> tuple[str, ...]:
    """The bands of a GeoTIFF of several, if its descriptions name all of them; else ()."""
    with opened(file) as data:
        names = tuple(spelled(text or "") for text in data.descriptions)
        return names if len(names) > 1 and NAMES.issuperset(names) else ()


def grid(stack: Stack) -> tuple[int, int]:
    """Height and width of the finest band of an image."""
    sizes = []
    for file in {source.file for source in stack.sources.values()}:
        with opened(file) as data:
            sizes.append((data.height, data.width))
    return max(sizes)


def _slices(window: Window | None, height: int, width: int) -> tuple[slice, slice]:
    """The part of a band of that size that the window is of its image's finest."""
    if window is None:
        return slice(0, height), slice(0, width)
    spans = []
    for start, whole, here in (
        (window.row, window.height, height),
        (window.column, window.width, width),
    ):
        ends = start * here / whole, (start + window.side) * here / whole
        if not all(end.is_integer() for end in ends):
            raise ValueError(
                f"a tile of {window.side} of {whole} pixels has no whole number of this band's "
                f"{here}: take tiles of a multiple of {whole / here:g}"
            )
        spans.append(slice(*map(int, ends)))
    return spans[0], spans[1]


def _measured(array: np.ndarray, band: Band, offset: float) -> np.ndarray:
    """What was measured, (H, W) float32: digital numbers without their offset, or decibels."""
    values = array.astype(np.float32) * band.scale
    if bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{bad:,} pixels are no numbers: fill them, or leave the image out")
    if band.units in ("power", "amplitude"):
        if values.min() < 0:
            raise ValueError(f"a {band.units} of {values.min():g}: are these decibels?")
        factor = 20 if band.units == "amplitude" else 10
        values = np.maximum(factor * np.log10(np.maximum(values, TINY)), RANGES["s1"][0])
    low, high = RANGES.get(band.sensor, (-np.inf, np.inf))
    if values.min() < low or values.max() > high:
        beyond = values.min() if values.min() < low else values.max()
        raise ValueError(f"holds {beyond:g}, which is beyond {low:g} to {high:g}: wrapped around?")
    if band.sensor == "s1" and values.min() >= 0 and values.max() > 0:
        raise ValueError("decibels that are all above 0: state the units, power or amplitude")
    if band.sensor == "s2" and array.dtype.kind == "f" and 0 < values.max() <= 2:
        raise ValueError(f"holds {values.max():g} at most: reflectances? State scale = 10000")
    return np.maximum(values + offset, 0) if offset else values


def _sizes(bands: Sequence[Band], values: Mapping[str, np.ndarray]) -> list[str]:
    """What is wrong with the sizes of an image's bands: they show one ground, the finest best."""
    wrong = []
    for sensor in dict.fromkeys(band.sensor for band in bands):
        names = [band.name for band in bands if band.sensor == sensor]
        largest = max(names, key=lambda name: values[name].size)
        height, width = values[largest].shape
        finer, _, least = min((METRES.get(n, 60), values[n].size, n) for n in names)
        for name in names:
            h, w = values[name].shape
            what = f"{name} has {w} x {h} pixels and {largest} {width} x {height}"
            if abs(h * width / w - height) > max(height / h, width / w) / 2:
                wrong.append(f"{what}: they do not show the same ground")
            elif name == least and h < height and finer < METRES.get(largest, 10):
                wrong.append(f"{what}, but {name} is the finer one: are they swapped?")
    return wrong


def _resize(values: np.ndarray, size: int) -> np.ndarray:
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


# --- The cache ----------------------------------------------------------------------------------


def contents(stacks: Sequence[Stack], progress: bool = False) -> list[str]:
    """Of each image a hash of all its files, and of how they are read."""
    files = list(dict.fromkeys(s.file for stack in stacks for s in stack.sources.values()))
    of = dict(zip(files, cache.content_hashes(files, progress), strict=True))

    def content(stack: Stack) -> str:
        parts = [[band, of[s.file], *s[1:]] for band, s in sorted(stack.sources.items())]
        return hashlib.sha256(json.dumps([parts, stack.window]).encode()).hexdigest()

    return [content(stack) for stack in stacks]


def cached_stacks(
    stem: str, stacks: Sequence[Stack], bands: Sequence[Band], size: int, progress: bool = False
) -> tuple[np.ndarray, str, list[str]]:
    """`decode` of each image, (N, C, size, size) uint8, as `cache.cached_rows` returns it."""
    rule, hashes = json.dumps([RULE, size, bands]), contents(stacks, progress)
    function = partial(decode, bands=bands, size=size)
    return cache.cached_rows(stem, rule, function, stacks, progress, hashes)
