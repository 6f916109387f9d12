"""What becomes of the images of a folder of one's own: one stretch for all, and tiles."""

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from maclcore import paths
from maclcore.data import cache
from maclcore.data.bands import opened
from maclcore.data.layout import Images
from maclcore.data.reading import DUPLICATE, Reading
from maclcore.data.scenes import (
    RULE,
    Scene,
    contents,
    files_of,
    is_plain,
    read,
    red_green_blue,
    shape,
    squares,
)
from maclcore.data.stretch import EIGHT, Stretch

SCALE = "images of more than 8 bits without a common scale: correct them, or say one (stretch=)"
SAMPLED = 64  # images whose pixels decide the stretch, evenly among those in order of their names
PIXELS = 2**22  # of all of them together, about
PERCENTILES = (2, 98)


def prepared(reading: Reading, images: Images, tile: int = 0, stretch: Any = None) -> Images:
    """Find the stretch of deep images, and cut those larger than a tile; what rows may name then.

    That is a tile, or an image that is cut: then its tiles have what its row tells (`spread`).
    """
    if tile < 0:
        raise ValueError(f"tile is {tile}; a tile has at least 1 pixel")
    find_stretch(reading, stretch)
    if not tile:
        return images
    with cache.no_stray_warnings():
        _cut(reading, tile)
    paths = dict(images.paths)
    for key, of in reading.tiles.items():
        *folders, _ = images.paths[of]
        paths[key] = (*folders, key.rsplit("/", 1)[-1])
    return Images(paths)


def spread(reading: Reading) -> None:
    """Give every tile what the table says of its image, but for what it says of the tile."""
    cut = {*reading.tiles.values()}
    for of in (reading.rows, reading.coordinates, *reading.columns.values()):
        for key, image in reading.tiles.items():
            if image in of:
                of.setdefault(key, of[image])
        for image in cut:
            of.pop(image, None)


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
                what = f"of {data.count} bands ({file.name})"
                return [f"{what} those shown in red, green and blue: {which}"]
    return []


# --- The stretch --------------------------------------------------------------------------------


def find_stretch(reading: Reading, given: Any = None) -> None:
    """Set the stretch of images of more than 8 bits; `given` is one, as `Stretch.of` takes it."""
    stretch = None if given is None else Stretch.of(given)
    with cache.no_stray_warnings():
        deep = [image for image in _ordered(reading) if not is_plain(image)]
        reading.stretch = stretch
        if not deep:
            return
        try:
            reading.stretch = stretch or _found(reading, deep)
            if stretch:
                reading.said.append(f"{_many(len(deep))} of more than 8 bits: {stretch}, as asked")
        except ValueError as error:
            reading.faults[SCALE].append(str(error))
        reading.said += _shown(deep)


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
    """Put, for each image larger than a tile, its tiles in its place."""
    scenes = 0
    for key, image in list(reading.images.items()):
        try:
            height, width = shape(image)
        except ValueError:  # told with all others when it is decoded
            continue
        if max(height, width) <= side:
            continue
        del reading.images[key]
        scenes += 1
        name = reading.names.get(key, image.stem)
        for at, window in squares(height, width, side):
            tile, own = Scene(f"{name}_{at}", files_of(image), window), f"{key}_{at}"
            if own in reading.images:
                reading.faults[DUPLICATE].append(f"{tile.name} is an image and a tile of {name}")
            reading.images[own] = tile
            reading.places[own] = name
            reading.tiles[own] = key
    if scenes:
        reading.said.append(
            f"{_many(scenes)} cut into {len(reading.tiles):,} tiles of {side} pixels, "
            "<image>_<row>_<column>, the last of a row or column at the edge; labels of an image "
            "are those of its tiles"
        )
