"""GeoTIFFs in small, of any bands and sizes."""

import json

import numpy as np
import rasterio
from rasterio.transform import Affine

from maclcore.data.bands import METRES
from maclcore.data.statistics import STATISTICS

S2 = tuple(STATISTICS["s2_l1c"])
L2A = tuple(STATISTICS["s2_l2a"])


def tif(file, array, descriptions=(), **options):
    """Write `array` (H, W) or (C, H, W) as it is."""
    array = np.asarray(array)
    array = array[None] if array.ndim == 2 else array
    file.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = array.shape
    shape = {"count": count, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.open(
        *(file, "w", "GTiff"), **shape, transform=Affine(10, 0, 0, 0, -10, 0), **options
    ) as out:
        out.write(array)
        for i, text in enumerate(descriptions):
            out.set_band_description(i + 1, text)
    return file


def bands_of(seed, names=S2, side=12):
    """Digital numbers of each band, at the size that Sentinel-2 sees `side` finest pixels."""
    draw = np.random.default_rng(seed)
    sides = {name: side * 10 // METRES[name] for name in names}
    return {n: draw.integers(200, 5000, (s, s)).astype(np.uint16) for n, s in sides.items()}


def decibels(seed, side=12):
    draw = np.random.default_rng(seed)
    both = {"VV": -10, "VH": -17}
    return {n: draw.normal(m, 3, (side, side)).astype(np.float32) for n, m in both.items()}


def patch(folder, seed=0, names=L2A, labels=("Pastures",), suffix="B{:0>2}", side=12, **more):
    """A patch of BigEarthNet: a file a band, and its JSON."""
    for name, array in bands_of(seed, names, side).items():
        number = name[1:]
        tif(folder / f"{folder.name}_{suffix.format(number)}.tif", array)
    tell(folder, labels, **more)
    return folder


def radar(folder, partner, seed=0, labels=("Pastures",)):
    for name, array in decibels(seed).items():
        tif(folder / f"{folder.name}_{name}.tif", array)
    tell(folder, labels, corresponding_s2_patch=partner)
    return folder


def tell(folder, labels, **more):
    text = json.dumps({"labels": [*labels], **more})
    (folder / f"{folder.name}_labels_metadata.json").write_text(text)
