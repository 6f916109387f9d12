"""Small archives on disk, and how they load."""

import warnings

import numpy as np
import pytest
from openpyxl import Workbook
from openpyxl.styles import Font
from PIL import Image

from maclcore import paths
from maclcore.data import ArchiveError, load_archive

# the 17 columns as the distributed tables spell them
OFFICIAL = (
    *("airplane", "bare-soil", "buildings", "cars", "chaparral", "court", "dock", "field", "grass"),
    *("mobile-home", "pavement", "sand", "sea", "ship", "tanks", "trees", "water"),
)
NAMES = ("airplane00", "airplane01", "beach00", "beach01", "river00", "river01")


def image(file, value=0, size=(9, 7)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 2 * value, 255 - value)).save(file)


def table(file, header, rows, separator=",", encoding="utf-8", end="\n"):
    lines = [separator.join(map(str, row)) for row in (header, *rows)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes((end.join(lines) + end).encode(encoding))


def labels17(n=6, seed=0):
    y = np.random.default_rng(seed).integers(0, 2, (n, 17))
    y[:, 3] = 1
    return y


def plain(folder, header=("image", "sea", "pier"), rows=None, suffix=".png", **options):
    """A sound plain archive of six images and two labels, if nothing else is asked for."""
    rows = [(name, 1, i % 2) for i, name in enumerate(NAMES)] if rows is None else rows
    for i, name in enumerate(NAMES):
        image(folder / "images" / f"{name}{suffix}", 10 * i)
    table(folder / "labels.csv", header, rows, **options)
    return folder


def load(where, **options):
    with warnings.catch_warnings():  # six images are no whole archive, so a split may lack labels
        warnings.simplefilter("error")
        return load_archive(where, image_size=4, progress=False, **options)


def fails(where, **options):
    """The message of an archive that must not load, nor leave a half-written cache."""
    with pytest.raises(ArchiveError) as error:
        load(where, **options)
    assert not [*paths.cache_root().glob(".*")]
    if "cannot be decoded" in str(error.value):
        assert not [*paths.cache_root().glob("*px-*.npy")]
    return str(error.value)


def workbook(file, rows):
    book = Workbook()
    for row in rows:
        book.active.append(row)
    book.active.cell(row=1, column=40).font = Font(bold=True)  # a cell that exists, but is empty
    book.save(file)
