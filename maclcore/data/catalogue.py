"""What an archive holds, found, matched and checked, before any of its pixels is decoded."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from maclcore.data import bands as stacked
from maclcore.data import cache, scenes
from maclcore.data.bands import Band
from maclcore.data.coordinates import centres
from maclcore.data.reading import ABSENT, PLAIN_TREE, ArchiveError, Reading, message, warn
from maclcore.data.stacks import take
from maclcore.data.stretch import Stretch

RGB = ("red", "green", "blue")
UNDECODED = "image that cannot be decoded: convert it, copy it again, or remove it and its row"

UNKNOWN = (np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The images of an archive and what is known of each, in the order of their names.

    `images` are what `decode` reads: files, `Scene`s, or `Stack`s of bands. `labels` (N, L) bool; a
    row without any is an image of which none is known. `columns`: what else the table says, a value
    an image, None where it says none. `said`: in a line each, how the folder was understood.
    """

    name: str
    title: str
    folder: Path | None  #: None of an archive that is drawn
    images: tuple[Any, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    label_names: tuple[str, ...]
    footnote: str = ""
    bands: tuple[Band, ...] = ()  #: of images of many bands those that are taken
    places: tuple[str, ...] = ()
    areas: Callable[[], np.ndarray] | None = None
    columns: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    stretch: Stretch | None = None  #: of images of more than 8 bits which values they show
    told: np.ndarray | None = None  #: (N, 2) longitude and latitude, where the table tells them
    drawn: Callable[[int], Any] | None = None  #: the `Archive` that is drawn at a size

    def __len__(self) -> int:
        return len(self.names)

    @property
    def channels(self) -> tuple[str, ...]:
        """What the C channels of a decoded image are."""
        if self.drawn:
            return self.drawn(64).bands
        return tuple(band.name for band in self.bands) or RGB

    def rule(self, size: int) -> str:
        """All that the pixels of a decoded image depend on beside its file's content."""
        if self.bands:
            return json.dumps([stacked.RULE, size, self.bands])
        return scenes.rule(size, self.stretch)

    @cached_property
    def coordinates(self) -> np.ndarray | None:
        """(N, 2) longitude and latitude, WGS84, of each image's centre; None without any.

        As the table tells them, or else the files (`centres`); of tiles the other way round.
        """
        found = None if self.drawn else centres(self.images)
        if self.told is None or found is None:
            return found if self.told is None else self.told
        tiles = np.array([[getattr(image, "window", None) is not None] for image in self.images])
        first, second = np.where(tiles, found, self.told), np.where(tiles, self.told, found)
        return np.where(np.isnan(first), second, first)

    def decode(self, row: int, size: int) -> np.ndarray:
        """(C, size, size) uint8 of an image; ValueError, which names it, if it cannot be read."""
        if self.drawn:
            return np.array(self.drawn(size).images[row])
        return self.decoder(size)(self.images[row])

    def decoder(self, size: int) -> Callable[[Any], np.ndarray]:
        if self.bands:
            return partial(stacked.decode, bands=self.bands, size=size)
        return scenes.decoder(size, self.stretch)

    def contents(self, rows: Sequence[int] | None = None, progress: bool = False) -> list[str]:
        """Of each image a hash of its file's content, and of how it is read."""
        if self.drawn:
            of = self.drawn(64).contents
            return [of[i] for i in (range(len(self)) if rows is None else rows)]
        images = list(self.images) if rows is None else [self.images[i] for i in rows]
        hashes = stacked.contents if self.bands else scenes.contents
        return hashes(images, progress) if images else []


class Matched:
    """The images of a `Reading` and their rows; what does not match is among its faults."""

    def __init__(self, reading: Reading, tree: str = "") -> None:
        self.reading, self.tree = reading, tree
        self.bands: tuple[Band, ...] = ()
        if reading.products and reading.images:
            self.bands = take(reading)
        elif not any(reading.faults.values()):
            refuse(reading.asked, reading.folder.name)
        images, rows = reading.images, reading.rows
        if images and rows:
            kind = "row without an image: add the image or remove the row"
            reading.faults[kind] += [rows[key][0] for key in rows if key not in images]
            kind = "image left out, no row gives its labels: add the row or remove the image"
            reading.notes[kind] += [images[key].name for key in images if key not in rows]
            images = {key: file for key, file in images.items() if key in rows}
        elif not any(reading.faults.values()):
            kind = "no images or no rows: the reader is to set both"
            reading.faults[kind].append(str(reading.folder))
        self.keys = sorted(images, key=self.name)

    def name(self, key: str) -> str:
        return self.reading.names.get(key, self.reading.images[key].stem)

    @property
    def images(self) -> list[Any]:
        return [self.reading.images[key] for key in self.keys]

    def decoded(self, size: int) -> tuple[np.ndarray, str, list[str]] | None:
        """All images (N, C, size, size) from the cache, its key and the contents' hashes; None, and
        a fault, where any of them cannot be decoded."""
        reading = self.reading
        if not self.keys:
            return None
        stem = f"{reading.folder.name}-{size}px"
        try:
            if self.bands:
                of = (self.images, self.bands, size, reading.progress)
                return stacked.cached_stacks(stem, *of)
            rule, decode = scenes.rule(size, reading.stretch), scenes.decoder(size, reading.stretch)
            hashes = scenes.contents(self.images, reading.progress)
            return cache.cached_rows(stem, rule, decode, self.images, reading.progress, hashes)
        except cache.Unreadable as error:
            kind = (
                "image that cannot be decoded: convert it, copy it again, or remove it and its row"
            )
            kind = stacked.UNUSABLE if self.bands else kind
            reading.faults[kind] += error.problems
            return None

    def catalogue(self) -> Catalogue:
        """What was found; ArchiveError of all faults, a warning of all notes, once."""
        reading, keys, name = self.reading, self.keys, self.reading.folder.name
        if any(reading.faults.values()):
            text = message(f"{name} cannot be used", reading.faults)
            if ABSENT in reading.faults:
                tree = f"{self.tree}; or {PLAIN_TREE}" if self.tree else PLAIN_TREE
                text += f"\nExpected in {reading.folder}: {tree}"
            raise ArchiveError(text, reading.said)
        warn(name, reading.notes)
        if reading.size not in (None, len(keys)):
            part = f"{len(keys):,} of the archive's {reading.size:,} images."
            reading.footnote = f"{part} {reading.footnote}".strip()
        images, names = self.images, tuple(map(self.name, keys))
        known = reading.coordinates
        places = [reading.places.get(k, name) for k, name in zip(keys, names, strict=True)]
        return Catalogue(
            *(name, reading.title, reading.folder, tuple(images), names),
            *(np.array([reading.rows[key][1] for key in keys], dtype=bool), reading.label_names),
            footnote=reading.footnote,
            bands=self.bands,
            places=tuple(places) if reading.places else (),
            stretch=reading.stretch,
            areas=None if reading.areas is None else partial(_in_order, reading.areas, keys, names),
            columns={x: tuple(map(of.get, keys)) for x, of in reading.columns.items()},
            told=np.array([known.get(k, UNKNOWN) for k in keys]) if known else None,
            said=tuple(reading.said),
        )


def refuse(bands: str, name: str) -> None:
    """ValueError if bands are asked for of an archive that has but three colours."""
    if bands:
        raise ValueError(
            f"bands={bands!r}, but {name} has none to choose from: its images are read as "
            f"{', '.join(RGB)}. GeoTIFFs of many bands need a bands.toml (maclcore.data.declared)"
        )


def _in_order(
    areas: Callable[[], dict[str, np.ndarray]], keys: list[str], names: tuple[str, ...]
) -> np.ndarray:
    found = areas()
    if lack := [name for key, name in zip(keys, names, strict=True) if key not in found]:
        raise ArchiveError(message("masks", {"image without a mask: add it": lack}))
    return np.array([found[key] for key in keys])
