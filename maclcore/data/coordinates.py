"""Where on earth images lie, by their files' headers; no pixel is read."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from maclcore.data import cache
from maclcore.data.bands import Stack, opened
from maclcore.data.scenes import Scene, files_of
from maclcore.extras import need

GEOKEYS = 34735  # the tag of a TIFF that names its coordinate system
UNKNOWN = (float("nan"), float("nan"))


def centres(images: Sequence[Any]) -> np.ndarray | None:
    """(N, 2) longitude and latitude (WGS84, degrees) of each image's or tile's centre.

    Of a GeoTIFF, or another image with a `.aux.xml` that names its coordinate system, by its
    georeference (a world file alone does not say in which system it is), which needs the extra
    `geo`; else of a photograph by GPS in its EXIF data. NaN where neither tells; None if none does.
    """
    _georeference.cache_clear()  # files may have changed
    with ThreadPoolExecutor() as pool, cache.no_stray_warnings():
        found = np.array([*pool.map(_centre, images)], dtype=np.float64).reshape(-1, 2)
    return None if np.isnan(found).all() else found


def _centre(image: Path | Scene | Stack) -> tuple[float, float]:
    file = files_of(image)[0]
    try:
        placed = _georeference(file)
    except (ValueError, OSError):  # a broken file is told when its pixels are read
        return UNKNOWN
    if placed is None:
        return _gps(file)
    transform, crs, height, width = placed
    row, column = height / 2, width / 2
    if window := getattr(image, "window", None):  # in pixels of an image's finest band
        row = (window.row + window.side / 2) * height / window.height
        column = (window.column + window.side / 2) * width / window.width
    a, b, c, d, e, f = transform[:6]
    return _wgs84(crs, a * column + b * row + c, d * column + e * row + f)


@lru_cache(maxsize=64)  # for all tiles of a scene
def _georeference(file: Path) -> tuple[Any, Any, int, int] | None:
    """The transform, coordinate system, height and width of a file that has the first two."""
    tagged = file.suffix.lower() in (".tif", ".tiff", ".jp2") and (
        file.suffix.lower() == ".jp2" or GEOKEYS in cache.tiff_tags(file)
    )
    if not tagged and not Path(f"{file}.aux.xml").is_file():
        return None
    with opened(file) as data:
        if data.crs is None or data.transform.is_identity:
            return None
        return data.transform, data.crs, data.height, data.width


def _wgs84(crs: Any, x: float, y: float) -> tuple[float, float]:
    need("geo", __name__)
    from rasterio.warp import transform

    try:
        (longitude,), (latitude,) = transform(crs, "EPSG:4326", [x], [y])
    except Exception:  # a system that is none of the earth: errors of GDAL without a public class
        return UNKNOWN
    return _sound(longitude, latitude)


def _gps(file: Path) -> tuple[float, float]:
    """Where a photograph was taken."""
    try:
        with Image.open(file, formats=cache.FORMATS) as image:
            tags = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        latitude, longitude = (
            sign * float(np.dot([float(part) for part in tags[number + 1]], (1, 1 / 60, 1 / 3600)))
            for number in (ExifTags.GPS.GPSLatitudeRef, ExifTags.GPS.GPSLongitudeRef)
            for sign in (-1 if str(tags[number]).strip("\0 ").upper() in ("S", "W") else 1,)
        )
        return _sound(longitude, latitude)
    except Exception:  # no such tags, or broken ones
        return UNKNOWN


def _sound(longitude: float, latitude: float) -> tuple[float, float]:
    inside = abs(longitude) <= 180 and abs(latitude) <= 90  # false of NaN
    return (longitude, latitude) if inside else UNKNOWN
