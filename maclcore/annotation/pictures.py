"""The images of a folder, found as archives are, and each as a browser shows it."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from maclcore.data import ArchiveError, bands
from maclcore.data.bands import Stack
from maclcore.data.declared import read_folder
from maclcore.data.own import SCALE, find_stretch
from maclcore.data.patches import together
from maclcore.data.reading import ABSENT, Reading, image_key, message
from maclcore.data.scenes import files_of, open_rgb

#: what is shown of many bands: Sentinel-2's, or those of a product of one's own
COLOURS = ("B4,B3,B2", "red,green,blue")
EXACT = 2**20  # pixels up to which an image is sent as it is, and not as a JPEG


class Pictures:
    """The images of `folder` by name, in the order of their names, and each as a file to show.

    They lie in `images/`, where a `bands.toml` says, or else anywhere in the folder. ArchiveError
    names all that is wrong with them; a file that cannot be shown is told when it is to be.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ArchiveError(f"no folder {folder}: give one with images")
        self.folder = folder
        reading = Reading(folder)
        if (folder / "bands.toml").is_file():
            read_folder(reading)
            absent = reading.faults[ABSENT]  # of what labels are yet to come
            absent[:] = [what for what in absent if what != str(folder / "labels.csv")]
        else:
            root = folder / "images"
            reading.images = dict(reading.files(root if root.is_dir() else folder))
            together(reading, reading.images, lambda file: image_key(file.name))
            find_stretch(reading)
            reading.faults.pop(SCALE, None)  # then these cannot be shown, and others can
        images = {image.stem: image for image in reading.images.values()}
        kind = "file name that is no UTF-8: rename it"
        reading.faults[kind] += [ascii(name) for name in images if not _is_text(name)]
        _raise(reading, "annotated")
        self._images, self._products = images, reading.products
        self._stretch = reading.stretch
        self.names = tuple(sorted(images))

    def shown(self, name: str) -> tuple[str, bytes]:
        """Type and content of an image file that every browser shows, as large as the image.

        ValueError that names the image, and says what is wrong with it.
        """
        image = self._images[name]
        inside = os.path.realpath(self.folder)
        for file in files_of(image):
            if os.path.commonpath([inside, os.path.realpath(file)]) != inside:
                raise ValueError(f"{name}: {file.name} is a link out of the folder: copy the image")
        try:
            if isinstance(image, Stack):
                pixels = self._colours(image)
            else:
                pixels = open_rgb(image, self._stretch)
        except OSError as error:
            raise ValueError(f"{name}: {error.strerror or error}") from error
        return _encoded(pixels)

    def _colours(self, stack: Stack) -> Image.Image:
        """Red, green and blue of an image of many bands, as networks are given them."""
        height, width = bands.grid(stack)
        taken = bands.taken(_asked(stack), self._products, set(stack.sources))
        square = bands.decode(stack, taken, max(height, width))
        return Image.fromarray(np.ascontiguousarray(square.transpose(1, 2, 0))).resize(
            (width, height), Image.Resampling.BILINEAR
        )


def label_names(folder: Path) -> tuple[str, ...]:
    """The labels of a folder's table, or of its maps; ArchiveError if it has neither."""
    reading, table = Reading(folder), folder / "labels.csv"
    if (folder / "bands.toml").is_file() and not table.exists():
        read_folder(reading)
    elif table.exists():
        reading.read_table(table, unlabelled=True)
    if not reading.label_names:
        raise ArchiveError(
            f"which labels? {folder} has no labels.csv: give them, as --labels water,trees, or as "
            "--labels-file with one a line"
        )
    _raise(reading, "read")
    return reading.label_names


def _raise(reading: Reading, what: str) -> None:
    if any(reading.faults.values()):
        raise ArchiveError(message(f"{reading.folder} cannot be {what}", reading.faults))


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _asked(stack: Stack) -> str:
    for names in COLOURS:
        if stack.sources.keys() >= {*names.split(",")}:
            return names
    has = ", ".join(stack.sources)
    raise ValueError(f"{stack.name}: no {' or '.join(COLOURS)} to show, its bands are {has}")


def _encoded(image: Image.Image) -> tuple[str, bytes]:
    content = io.BytesIO()
    if image.width * image.height <= EXACT:
        image.save(content, "PNG", compress_level=1)
        return "image/png", content.getvalue()
    image.save(content, "JPEG", quality=92, subsampling=0)
    return "image/jpeg", content.getvalue()
