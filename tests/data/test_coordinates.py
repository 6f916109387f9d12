"""Where images lie on earth: GeoTIFFs, their tiles, photographs."""

import math

import numpy as np
import pytest
from geo import S2, bands_of, tif
from PIL import ExifTags, Image
from rasterio.transform import Affine

from maclcore import extras
from maclcore.data import load_archive
from maclcore.data.archives import read_archive
from maclcore.data.coordinates import centres


def of_utm(zone, north, easting, northing):
    """Longitude and latitude by Krueger's series to the fourth order, WGS84."""
    flattening, radius = 1 / 298.257223563, 6378137.0
    n = flattening / (2 - flattening)
    a = radius / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    xi = (northing - (0 if north else 1e7)) / (0.9996 * a)
    eta = (easting - 5e5) / (0.9996 * a)
    beta = (
        n / 2 - 2 * n**2 / 3 + 37 * n**3 / 96,
        n**2 / 48 + n**3 / 15,
        17 * n**3 / 480,
    )
    delta = 2 * n - 2 * n**2 / 3 - 2 * n**3, 7 * n**2 / 3 - 8 * n**3 / 5, 56 * n**3 / 15
    x = xi - sum(b * math.sin(2 * j * xi) * math.cosh(2 * j * eta) for j, b in enumerate(beta, 1))
    y = eta - sum(b * math.cos(2 * j * xi) * math.sinh(2 * j * eta) for j, b in enumerate(beta, 1))
    chi = math.asin(math.sin(x) / math.cosh(y))
    latitude = chi + sum(d * math.sin(2 * j * chi) for j, d in enumerate(delta, 1))
    longitude = math.atan2(math.sinh(y), math.cos(x))
    return math.degrees(longitude) + 6 * zone - 183, math.degrees(latitude)


def placed(file, epsg, west, north, pixel=10, shape=(3, 20, 30), dtype=np.uint8):
    return retransformed(
        file, np.ones(shape, dtype), epsg, Affine(pixel, 0, west, 0, -pixel, north)
    )


def retransformed(file, array, epsg, transform):
    import rasterio

    tif(file, array, crs=epsg)
    with rasterio.open(file, "r+") as data:
        data.transform = transform
    return file


@pytest.mark.parametrize(
    ("zone", "north", "x", "y"),
    [
        (32, True, 500_000, 5_000_000),
        (32, True, 699_960, 5_300_040),
        (60, False, 399_960, 5_700_040),
        (1, False, 300_000, 9_990_000),
        (29, True, 600_000, 5_900_040),
    ],
)
def test_the_centre_of_an_image_in_utm(tmp_path, zone, north, x, y):
    file = placed(tmp_path / "a.tif", f"EPSG:{32600 if north else 32700}"[:-2] + f"{zone:02}", x, y)
    (found,) = centres([file])
    wanted = of_utm(zone, north, x + 150, y - 100)
    assert np.abs(found - wanted).max() < 2e-8  # of degrees: 2 mm


def test_the_centre_of_an_image_in_degrees_or_turned(tmp_path):
    file = placed(tmp_path / "a.tif", "EPSG:4326", 10, 50, pixel=0.5)
    assert centres([file]).tolist() == [[17.5, 45]]
    turned = Affine(0, 0.5, 10, 0.5, 0, 20)  # rows run east, columns north
    file = retransformed(tmp_path / "b.tif", np.ones((20, 30), np.uint8), "EPSG:4326", turned)
    assert centres([file]).tolist() == [[15, 27.5]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_tile_has_the_centre_of_its_own(tmp_path, dtype):
    placed(tmp_path / "images/a.tif", "EPSG:4326", 10, 50, 0.5, (3, 20, 30), dtype)
    Image.new("RGB", (16, 16)).save(tmp_path / "images/b.png")
    (tmp_path / "labels.csv").write_text("image,sea\na,1\nb,1\n")
    known = read_archive(tmp_path, tile=16, progress=False)
    assert known.names == ("a_0_0", "a_0_1", "a_1_0", "a_1_1", "b")
    # 20 x 30 pixels: rows from 0 and 4, columns from 0 and 14
    wanted = [[14, 46], [21, 46], [14, 44], [21, 44]]
    assert known.coordinates[:4].tolist() == wanted
    assert np.isnan(known.coordinates[4]).all()


def test_images_of_a_bands_toml_and_their_tiles(tmp_path):
    side = 12
    for name, array in bands_of(0, S2, side).items():
        pixel = 10 * side / array.shape[0]
        file = tmp_path / f"images/x/x_{name}.tif"
        retransformed(file, array, "EPSG:32633", Affine(pixel, 0, 500_000, 0, -pixel, 5_000_000))
    (tmp_path / "bands.toml").write_text("tile = 6\n[s2_l1c]\n")
    (tmp_path / "labels.csv").write_text("image,sea\n" + "".join(
        f"x_{i}_{j},1\n" for i in range(2) for j in range(2)
    ))  # fmt: skip
    known = read_archive(tmp_path, progress=False)
    wanted = [
        of_utm(33, True, 500_030 + 60 * j, 4_999_970 - 60 * i) for i in (0, 1) for j in (0, 1)
    ]
    assert np.abs(known.coordinates - wanted).max() < 2e-8


def photograph(file, latitude, longitude, refs=("S", "W")):
    exif = Image.Exif()
    exif[ExifTags.IFD.GPSInfo] = {1: refs[0], 2: latitude, 3: refs[1], 4: longitude}
    Image.new("RGB", (8, 8)).save(file, exif=exif)
    return file


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_photograph_says_where_it_was_taken(tmp_path, suffix):
    file = photograph(tmp_path / f"a.{suffix}", (33.0, 52.0, 30.0), (151.0, 12.0, 36.0))
    assert np.abs(centres([file])[0] - (-151.21, -33.875)).max() < 1e-9
    file = photograph(tmp_path / f"a.{suffix}", (33.0, 52.0, 30.0), (151.0, 0.0, 0.0), ("N", "E"))
    assert np.abs(centres([file])[0] - (151, 33.875)).max() < 1e-9


@pytest.mark.parametrize(
    ("latitude", "longitude", "refs"),
    [
        ((95.0, 0.0, 0.0), (0.0, 0.0, 0.0), ("N", "E")),
        ((5.0, 0.0), (0.0, 0.0), ("N", "E")),
        ((math.nan, 0.0, 0.0), (0.0, 0.0, 0.0), ("N", "E")),
    ],
)
def test_what_is_nowhere_on_earth_is_unknown(tmp_path, latitude, longitude, refs):
    try:
        file = photograph(tmp_path / "a.jpg", latitude, longitude, refs)
    except (ValueError, ZeroDivisionError):
        pytest.skip("Pillow does not write it")
    assert centres([file]) is None


def test_without_coordinates_there_are_none(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.tif")
    tif(tmp_path / "c.tif", np.ones((8, 8), np.uint8))  # a transform, in no system that is known
    (tmp_path / "d.tif").write_bytes(b"II*\0 and no more")
    (tmp_path / "e.tif").write_bytes(b"")
    files = sorted(tmp_path.iterdir())
    assert centres(files) is None and centres([]) is None
    file = placed(tmp_path / "f.tif", "EPSG:4326", 10, 50, 0.5)
    found = centres([*files, file])
    assert found[-1].tolist() == [17.5, 45] and np.isnan(found[:-1]).all()


def test_a_world_file_counts_where_the_system_is_named(tmp_path):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (30, 20)).save(file)
    (tmp_path / "a.jgw").write_text("0.5\n0\n0\n-0.5\n10.25\n49.75\n")
    assert centres([file]) is None
    (tmp_path / "a.jpg.aux.xml").write_text("<PAMDataset><SRS>EPSG:4326</SRS></PAMDataset>")
    assert centres([file]).tolist() == [[17.5, 45]]


def test_a_system_that_is_none_of_the_earth_is_unknown(tmp_path):
    local = 'LOCAL_CS["a building",UNIT["metre",1]]'
    file = tif(tmp_path / "a.tif", np.ones((8, 8), np.uint8), crs=local)
    assert centres([file]) is None


def test_coordinates_are_read_when_asked_for_and_change_no_key(tmp_path, monkeypatch):
    placed(tmp_path / "images/a.tif", "EPSG:4326", 10, 50, 0.5)
    (tmp_path / "labels.csv").write_text("image,sea\na,1\n")
    known = read_archive(tmp_path, progress=False)
    before = load_archive(tmp_path, image_size=4, progress=False).fingerprint
    assert known.coordinates is known.coordinates
    assert load_archive(tmp_path, image_size=4, progress=False).fingerprint == before
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda n: None if n == "rasterio" else found(n))
    load_archive(tmp_path, image_size=4, progress=False)  # 8 bits need no extra
    with pytest.raises(ImportError, match=r"maclcore\[geo\]"):
        _ = read_archive(tmp_path, progress=False).coordinates
