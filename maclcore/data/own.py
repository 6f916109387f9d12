"""What a folder of one's own holds beside 8-bit files: files a band, deep scenes, and tiles."""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from maclcore import paths
from maclcore.data import cache
from maclcore.data.bands import Window, opened, spelled
from maclcore.data.reading import DUPLICATE, Reading, image_key
from maclcore.data.scenes import (
    RULE,
    Scene,
    contents,
    files_of,
    is_plain,
    read,
    red_green_blue,
    shape,
)
from maclcore.data.stretch import EIGHT, Stretch

SCALE = "images of more than 8 bits without a common scale: correct them, or say one (stretch=)"
BROKEN = "image that cannot be read: convert it, copy it again, or remove it and its row"
SAMPLED = 64  # images whose pixels decide the stretch, evenly among those in order of their names
PIXELS = 2**22  # of all of them together, about
PERCENTILES = (2, 98)


def together(reading: Reading) -> None:
    """Make one image of files a band, "x_B02.tif", "x_B03.tif" and "x_B04.tif" of over 8 bits."""
    groups: dict[tuple[Path, str], dict[str, str]] = defaultdict(dict)
    for key, file in reading.images.items():
        if isinstance(file, Path) and file.suffix.lower() in (".tif", ".tiff"):
            if match := re.fullmatch(r"(.+)_(B\d{1,2}A?)", file.stem, re.IGNORECASE):
                groups[file.parent, match[1]][spelled(match[2])] = key
    made = 0
    for (_, name), of in groups.items():
        if not {"B2", "B3", "B4"} <= of.keys():
            continue
        scene = Scene(name, tuple(reading.images[of[band]] for band in ("B4", "B3", "B2")))
        if any(is_plain(file) for file in scene.files):  # read one by one as ever
            continue
        for key in of.values():
            del reading.images[key]
        if (first := reading.images.setdefault(image_key(name), scene)) is not scene:
            reading.faults[DUPLICATE].append(f"{name} = {first.name}")
        made += 1
    if made:
        reading.said.append(
            f"{_many(made)} of a file a band, shown by their B4, B3 and B2; a bands.toml with "
            "[s2_l2a] or another product takes all bands (maclcore.data.declared)"
        )


def take(reading: Reading, tile: int = 0, stretch: Any = None) -> None:
    """Find the stretch of deep images, or take the one given, and cut those larger than a tile.

    `stretch`: as `Stretch.of` takes it, for an archive whose earlier images were stretched so.
    """
    if tile < 0:
        raise ValueError(f"tile is {tile}; a tile has at least 1 pixel")
    given = None if stretch is None else Stretch.of(stretch)
    with cache.no_stray_warnings():
        deep = [image for image in _ordered(reading) if not is_plain(image)]
        try:
            reading.stretch = (given or _found(reading, deep)) if deep else None
            reading.said += _shown(deep)
        except ValueError as error:
            reading.faults[SCALE].append(str(error))
        if tile:
            _cut(reading, tile)


def _many(images: int) -> str:
    return f"{images:,} image{'s' * (images != 1)}"


def _ordered(reading: Reading) -> list[Any]:
    images = [image for image in reading.images.values() if isinstance(image, Path | Scene)]
    return sorted(images, key=lambda image: image.stem)


def _shown(deep: Sequence[Path | Scene]) -> list[str]:
    """Which bands of the first image of several are shown, as a line."""
    for image in deep[:1]:
        with suppress(ValueError), opened(file := files_of(image)[0]) as data:
            if data.count not in (1, 3):
                which = ", ".join(map(str, red_green_blue(data)))
                return [
                    f"of {data.count} bands ({file.name}) those shown in red, green and blue: {which}"
                ]
    return []


# --- The stretch --------------------------------------------------------------------------------


def _found(reading: Reading, deep: Sequence[Path | Scene]) -> Stretch:
    """The stretch of an archive, which is that of the same files wherever it is found."""
    places = np.linspace(0, len(deep) - 1, min(SAMPLED, len(deep))).round().astype(int)
    images = _ordered(reading)
    hashes = dict(zip(images, contents(images, reading.progress), strict=True))
    sample = [deep[i] for i in places]
    key = json.dumps([RULE, PERCENTILES, PIXELS, [hashes[image] for image in sample]])
    name = f"stretch-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
    found = cache.cached(paths.cache_root() / name, lambda to: cache.save(to, measure(sample)))
    stretch = Stretch(*(tuple(map(float, side)) for side in found))
    if stretch != EIGHT:
        reading.said.append(
            f"{_many(len(deep))} of more than 8 bits: {stretch} become 0 to 255, by the "
            f"percentiles {PERCENTILES[0]} and {PERCENTILES[1]} of each colour in "
            f"{len(sample):,} of them; pixels without data are black"
        )
    return stretch


def measure(sample: Sequence[Path | Scene]) -> np.ndarray:
    """(2, 3) low and high ends: the percentiles of each colour's pixels, all images together.

    Pixels without data, and those that are 0 in all three colours, as scenes have them at their
    margins, do not count; nor do files that cannot be read. ValueError if some hold integers and
    some fractions, for these have no common scale, or if no pixel has data.
    """
    side = math.isqrt(PIXELS // len(sample))
    pixels: list[np.ndarray] = []
    kinds: dict[str, str] = {}
    for image in sample:
        file = files_of(image)[0]
        try:
            bands = read(image, side)
            with opened(file) as data:
                kind = "fractions" if np.dtype(data.dtypes[0]).kind == "f" else "integers"
        except ValueError:  # told with all others when it is decoded
            continue
        if bands.dtype != np.uint8:
            kinds.setdefault(kind, f"{file.name} holds {kind}")
            flat = bands.reshape(3, -1)
            pixels.append(flat[:, np.isfinite(flat).all(axis=0) & flat.any(axis=0)])
    if len(kinds) > 1:
        raise ValueError(f"{', '.join(kinds.values())}: put them in folders of their own")
    if not kinds:
        return np.array(EIGHT)
    every = np.concatenate(pixels, axis=1)
    if not every.size:
        raise ValueError(f"all pixels are 0 or no data, in {len(pixels):,} images looked at")
    # an observed value, not one between two, so that any library finds the same
    low, high = np.percentile(every, PERCENTILES, axis=1, method="inverted_cdf").astype(float)
    return np.array([low, np.where(high > low, high, low + 1)])


# --- Tiles --------------------------------------------------------------------------------------


def _cut(reading: Reading, side: int) -> None:
    """Put, for each image larger than a tile, its tiles in its place, each with its labels."""
    scenes = tiles = 0
    for key, image in list(reading.images.items()):
        try:
            height, width = shape(image)
        except ValueError as error:
            reading.faults[BROKEN].append(str(error))
            del reading.images[key]
            reading.rows.pop(key, None)
            continue
        if max(height, width) <= side:
            continue
        del reading.images[key]
        row = reading.rows.pop(key, None)
        for tile in squares(image, height, width, side):
            own = image_key(tile.name)
            if (first := reading.images.setdefault(own, tile)) is not tile:
                reading.faults[DUPLICATE].append(f"{tile.name} = {first.name}")
            reading.places[own] = image.stem
            if row is not None:
                reading.rows.setdefault(own, row)
            tiles += 1
        scenes += 1
    if scenes:
        reading.said.append(
            f"{_many(scenes)} cut into {tiles:,} tiles of {side} pixels, <image>_<row>_<column>; "
            "the last of a row or column ends at the edge; each has the labels of its image"
        )


def squares(image: Path | Scene, height: int, width: int, side: int) -> Iterator[Scene]:
    """Tiles that cover an image: the last of a row or column ends at the edge, and so overlaps.

    Of an image narrower than a tile they are as wide as it is.
    """
    side = min(side, height, width)
    rows, columns = -(-height // side), -(-width // side)
    for i in range(rows):
        for j in range(columns):
            at = f"{i:0{len(str(rows - 1))}}_{j:0{len(str(columns - 1))}}"
            top, left = min(i * side, height - side), min(j * side, width - side)
            window = Window(top, left, side, height, width)
            yield Scene(f"{image.stem}_{at}", files_of(image), window)
