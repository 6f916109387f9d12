"""Images read for an index: what the network sees of each, and what people see of it."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maclcore.annotation.pictures import COLOURS
from maclcore.data import bands, cache, scenes
from maclcore.data.catalogue import Catalogue
from maclcore.data.stretch import Stretch

THUMBNAIL = 128  # pixels of its longer side
CHUNK = 256  # images that are read, embedded and written at once: what a killed build loses at most


@dataclass(frozen=True)
class Chunk:
    """Some images of an archive, those that could be read."""

    rows: tuple[int, ...]  #: which they are
    pixels: np.ndarray  #: (n, C, S, S) uint8
    thumbnails: tuple[bytes, ...]
    problems: tuple[str, ...]  #: a line for each that could not be read


@dataclass(frozen=True)
class Reader:
    """Reads images of one archive for a network; can be sent to another process.

    `read` gives the pixels of an image, and a picture of it of any size.
    """

    read: Callable[[Any], tuple[np.ndarray, Image.Image]]

    @classmethod
    def of(cls, catalogue: Catalogue, size: int) -> "Reader":
        if catalogue.drawn:
            return cls(_drawn)
        if catalogue.bands:
            return cls(partial(_stack, decode=catalogue.decoder(size), taken=catalogue.bands))
        return cls(partial(_rgb, size=size, stretch=catalogue.stretch))

    def __call__(self, rows: Sequence[int], images: Sequence[Any]) -> Chunk:
        """Read `images`, whose rows are these, by threads; one that fails stops no other."""
        with ThreadPoolExecutor() as pool:
            return gathered(rows, list(pool.map(self.one, images)))

    def one(self, image: Any) -> tuple[np.ndarray, bytes] | str:
        """Pixels and thumbnail, or what is wrong with the image."""
        try:
            pixels, picture = self.read(image)
            return pixels, thumbnail(picture)
        except (ValueError, OSError) as error:
            return str(error)


def gathered(rows: Sequence[int], read: Sequence[tuple[np.ndarray, bytes] | str]) -> Chunk:
    good = [(row, *one) for row, one in zip(rows, read, strict=True) if not isinstance(one, str)]
    return Chunk(
        tuple(row for row, _, _ in good),
        np.stack([pixels for _, pixels, _ in good]) if good else np.empty(0, dtype=np.uint8),
        tuple(jpeg for _, _, jpeg in good),
        tuple(one for one in read if isinstance(one, str)),
    )


def chunks(
    reader: Reader, images: Sequence[Any], parts: Iterable[Sequence[int]]
) -> Iterator[Chunk]:
    """Each part read by threads, the next one while this one is in use."""
    with ThreadPoolExecutor() as pool:
        ahead: deque = deque()
        for rows in parts:
            ahead.append((rows, [pool.submit(reader.one, images[row]) for row in rows]))
            if len(ahead) == 2:
                yield _awaited(*ahead.popleft())
        if ahead:
            yield _awaited(*ahead.popleft())


def _awaited(rows: Sequence[int], futures: list) -> Chunk:
    return gathered(rows, [future.result() for future in futures])


def thumbnail(image: Image.Image) -> bytes:
    """A JPEG of an image, at most THUMBNAIL pixels a side, in its own proportions."""
    image = image.convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return content.getvalue()


def file_of(image: Any) -> str:
    """Where an image lies: its file, the first one of those of its bands; "" if it is drawn."""
    if isinstance(image, bands.Stack):
        return str(next(iter(image.sources.values())).file)
    return str(scenes.files_of(image)[0]) if isinstance(image, Path | scenes.Scene) else ""


# --- Pictures -----------------------------------------------------------------------------------


def _rgb(image: Any, size: int, stretch: Stretch | None) -> tuple[np.ndarray, Image.Image]:
    """As `scenes.decode`, from the picture that is at hand then."""
    picture = scenes.open_rgb(image, stretch)
    return cache.square(picture, size), picture


def _stack(
    stack: bands.Stack, decode: Callable, taken: Sequence[bands.Band]
) -> tuple[np.ndarray, Image.Image]:
    return decode(stack), _colours(stack, taken)


def _colours(stack: bands.Stack, taken: Sequence[bands.Band]) -> Image.Image:
    """Red, green and blue of many bands; else the first one that is taken, in grey."""
    of = {band.name: band for band in taken}
    named = (names.split(",") for names in COLOURS)
    shown = next(([of[n] for n in names] for names in named if of.keys() >= {*names}), [taken[0]])
    height, width = (stack.window.side,) * 2 if stack.window else bands.grid(stack)
    scale = THUMBNAIL / max(height, width, THUMBNAIL)
    square = bands.decode(stack, shown, min(max(height, width), THUMBNAIL))
    sides = max(round(width * scale), 1), max(round(height * scale), 1)
    return _image(square).resize(sides, Image.Resampling.BILINEAR)


def _image(pixels: np.ndarray) -> Image.Image:
    """Of (3, H, W), or of (1, H, W) in grey."""
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)).squeeze())


def images_of(catalogue: Catalogue, size: int) -> Sequence[Any]:
    """What a `Reader` reads; of an archive that is drawn, its pixels and those of thumbnails."""
    if catalogue.drawn is None:
        return catalogue.images
    return _Drawn(catalogue.drawn(size).images, catalogue.drawn(THUMBNAIL).images)


class _Drawn(Sequence):
    def __init__(self, *images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images[0])

    def __getitem__(self, row: Any) -> Any:
        return tuple(np.array(images[row]) for images in self.images)


def _drawn(drawn: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, Image.Image]:
    pixels, shown = drawn
    return pixels, _image(shown[:3] if len(shown) >= 3 else shown[:1])
