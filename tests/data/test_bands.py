"""Images of many bands: by name, at several sizes, as a folder of one's own declares them."""

import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
from geo import L2A, S2, bands_of, decibels, tif
from PIL import Image
from trees import fails, image, load, plain, table

from maclcore.__main__ import main
from maclcore.config import Config
from maclcore.data import ArchiveWarning, declared, describe, labels_from_map, load_archive, maps
from maclcore.data.bands import PRODUCTS, spelled, taken
from maclcore.data.declared import faults
from maclcore.data.statistics import STATISTICS
from maclcore.store.identity import identify

CITIES = ("aachen", "bonn", "celle")
ROWS = [("aachen", 1, 0), ("bonn", 0, 1), ("celle", 0, 0)]
WARNED = pytest.mark.filterwarnings("ignore::maclcore.data.ArchiveWarning")


def byte(value, band, product="s2_l1c"):
    """One value by the sentence of the rule, in whole arithmetic of Python."""
    mean, std = STATISTICS[product][band]
    return int(min(max((value - (mean - 2 * std)) / (4 * std) * 255, 0), 255))


def stacked(folder, toml="[s2_l1c]\n", rows=ROWS, dtype=np.int16, names=S2):
    """Three cities of 4 x 4 pixels; band i of city k is 100 i + 1000 k everywhere."""
    for k, city in enumerate(CITIES):
        levels = np.arange(len(names)) * 100 + 1000 * k
        array = np.broadcast_to(levels[:, None, None], (len(names), 4, 4)).astype(dtype)
        tif(folder / "images" / f"{city}.tif", array)
    table(folder / "labels.csv", ("image", "sea", "pier"), rows)
    (folder / "bands.toml").write_text(toml)
    return folder


def one_a_band(folder, toml="[s2_l2a]\n", names=L2A, pattern="{city}/{city}_{band}.tif", side=12):
    """The same three cities, a file a band, at 10, 20 and 60 m."""
    for k, city in enumerate(CITIES):
        for band, array in bands_of(k, names, side).items():
            spelling = f"B{band[1:]:0>2}"
            tif(folder / "images" / pattern.format(city=city, band=spelling), array)
    table(folder / "labels.csv", ("image", "sea", "pier"), ROWS)
    (folder / "bands.toml").write_text(toml)
    return folder


# --- What becomes of the values ------------------------------------------------------------------


def test_a_stacked_file_becomes_bytes_band_by_band(tmp_path):
    archive = load(stacked(tmp_path / "d"))
    assert archive.bands == S2 and archive.images.shape == (3, 13, 4, 4)
    for k in range(3):
        for i, band in enumerate(S2):
            assert (archive.images[k, i] == byte(100 * i + 1000 * k, band)).all()
    assert archive.images[0, 10, 0, 0] == 255  # 1,000 of B10, which is 22 in the mean
    assert archive.labels.tolist() == [[True, False], [False, True], [False, False]]
    assert archive.footnote == "" and archive.places == ()


def test_bands_come_by_name_in_the_order_asked_for(tmp_path):
    folder = stacked(tmp_path / "d")
    whole = load(folder)
    some = load(folder, bands="B8A, b04,B02")
    assert some.bands == ("B8A", "B4", "B2")
    assert np.array_equal(some.images, whole.images[:, [8, 3, 1]])
    assert len({whole.fingerprint, some.fingerprint, load(folder, bands="B4").fingerprint}) == 3
    assert some.contents == whole.contents  # the same images, of which more or less is taken
    assert load(folder, bands="s2").fingerprint == whole.fingerprint


@pytest.mark.parametrize("pattern", ["{city}/{city}_{band}.tif", "{city}_{band}.tif",
                                     "deep/{city}/{band}.TIF"])  # fmt: skip
def test_a_file_a_band_at_three_resolutions(tmp_path, pattern):
    folder = one_a_band(tmp_path / "d", pattern=pattern)
    archive = load_archive(folder, image_size=12, progress=False)
    assert archive.names == CITIES and archive.bands == L2A
    for k in range(3):
        for band, array in bands_of(k, L2A).items():
            got = archive.images[k, L2A.index(band)]
            if len(array) == 12:  # not resampled: exact
                assert got.tolist() == [[byte(v, band, "s2_l2a") for v in row] for row in array]
            else:
                corner = byte(array[0, 0], band, "s2_l2a")
                assert got[0, 0] == corner, "bilinear, so a corner keeps its value"
                assert got.min() >= byte(array.min(), band, "s2_l2a")
                assert got.max() <= byte(array.max(), band, "s2_l2a")


def bilinear(array, size):
    """Each pixel of the larger image between the two nearest of the smaller, along both axes."""
    at = np.clip((np.arange(size) + 0.5) * len(array) / size - 0.5, 0, len(array) - 1)
    low = np.minimum(at.astype(int), len(array) - 2)
    weight = at - low
    rows = array[low] * (1 - weight)[:, None] + array[low + 1] * weight[:, None]
    return (rows.T[low] * (1 - weight)[:, None] + rows.T[low + 1] * weight[:, None]).T


def test_coarse_bands_are_resampled_as_by_hand(tmp_path):
    archive = load_archive(one_a_band(tmp_path / "d"), image_size=12, progress=False)
    for band in ("B1", "B5"):
        array = bands_of(1, L2A)[band].astype(float)
        wanted = np.vectorize(lambda v, b=band: byte(v, b, "s2_l2a"))(bilinear(array, 12))
        difference = np.abs(archive.images[1, L2A.index(band)].astype(int) - wanted)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.05  # float32 at an edge


def test_an_offset_is_taken_before_and_never_below_zero(tmp_path):
    plain_one = load(stacked(tmp_path / "a"))
    moved = load(stacked(tmp_path / "b", "[s2_l1c]\noffset = -1000\n"))
    assert np.array_equal(moved.images[1], plain_one.images[0])
    wanted = [byte(max(100 * i - 1000, 0), band) for i, band in enumerate(S2)]
    assert moved.images[0, :, 0, 0].tolist() == wanted and wanted[10] == 99
    assert moved.footnote == "-1,000 added in all 3 images."
    some = load(stacked(tmp_path / "c", "[s2_l1c]\noffset = {'Bonn.tif' = -1000}\n"))
    assert np.array_equal(some.images[0], some.images[1]) and "1 of 3 images" in some.footnote
    assert some.contents[0] == plain_one.contents[0] and some.contents[1] != plain_one.contents[1]


def test_b10_is_filled_before_normalisation_and_said(tmp_path):
    folder = one_a_band(tmp_path / "d")
    archive = load(folder, bands="s2_l1c")
    assert archive.bands == S2 and (archive.images[:, 10] == 99).all()
    assert archive.footnote == "Filled, for it lacks: B10 with 0 in all 3 images."
    twelve = load(folder)
    assert np.array_equal(np.delete(archive.images, 10, axis=1), twelve.images)
    assert load(folder, bands="B10,B2").bands == ("B10", "B2")


def test_a_declared_fill_is_told_image_by_image(tmp_path):
    folder = one_a_band(tmp_path / "d", "[s2_l2a]\nfill = {B05 = 1625}\n")
    (folder / "images/bonn/bonn_B05.tif").unlink()
    with pytest.warns(ArchiveWarning, match="1 x image that lacks a band, filled: B5 with 1625"):
        archive = load_archive(folder, image_size=12, progress=False)
    assert (archive.images[1, 4] == byte(1625, "B5", "s2_l2a")).all()
    assert archive.footnote == "Filled, for it lacks: B5 with 1625 in 1 of 3 images."


def test_a_sensor_of_ones_own_and_reflectances(tmp_path):
    folder = tmp_path / "d"
    for k, city in enumerate(CITIES):
        tif(folder / "images" / f"{city}.tif", np.full((2, 4, 4), 10 + k, np.uint8))
    table(folder / "labels.csv", ("image", "sea"), [(city, 1) for city in CITIES])
    text = "[planet]\nbands = ['Blue', 'NIR']\nmean = [10, 11]\nstd = [1, 1]\n"
    (folder / "bands.toml").write_text(text)
    archive = load(folder, bands="nir,blue")
    assert archive.bands == ("NIR", "Blue")
    assert archive.images[:, :, 0, 0].tolist() == [[63, 127], [127, 191], [191, 255]]
    share = stacked(tmp_path / "e", "[s2_l1c]\nscale = 10000\n", dtype=np.float32)
    for file in (share / "images").iterdir():
        tif(file, np.full((13, 4, 4), 0.2, np.float32))
    assert (load(share, bands="B2").images == byte(2000, "B2")).all()
    (share / "bands.toml").write_text("[s2_l1c]\n")
    assert "reflectances? State scale = 10000" in fails(share)


@pytest.mark.parametrize(("units", "factor"), [("power", 10), ("amplitude", 20)])
def test_decibels_of_power_and_amplitude(tmp_path, units, factor):
    folder = tmp_path / "d"
    for k, city in enumerate(CITIES):
        array = np.array([[[10.0 ** -(k + 1)]], [[0]]], np.float32) * np.ones((2, 4, 4))
        tif(folder / "images" / f"{city}.tif", array.astype(np.float32))
    table(folder / "labels.csv", ("image", "sea"), [(city, 1) for city in CITIES])
    (folder / "bands.toml").write_text("[s1]\n")
    assert "decibels that are all above 0: state the units" in fails(folder)
    (folder / "bands.toml").write_text(f"[s1]\nunits = '{units}'\n")
    archive = load(folder)
    assert archive.bands == ("VV", "VH") and (archive.images[:, 1] == 0).all()
    wanted = [byte(-factor * (k + 1), "VV", "s1") for k in range(3)]
    assert np.abs(archive.images[:, 0, 0, 0].astype(int) - wanted).max() <= 1
    tif(folder / "images/bonn.tif", -np.ones((2, 4, 4), np.float32))
    assert f"bonn: bonn.tif, VV: a {units} of -1: are these decibels?" in fails(folder)


# --- Which bands ---------------------------------------------------------------------------------


def test_names_have_one_spelling():
    for names in (("B2", "b02", " B02 "), ("B8A", "b8a", "B08A"), ("B10",), ("VV", "vv"),
                  ("B12", "B012")):  # fmt: skip
        assert {spelled(name) for name in names} == {names[0]}


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ("B4,B77", "bands='B4,B77' asks for no band B77; there are B1, B2, B3, B4, B5"),
        ("B4,b04", "asks for B4 twice"),
        ("s1", "asks for no band VV, no band VH"),
        ("B4,", "no band ''"),
        ("B4,s2", "B4 twice"),
    ],
)
def test_bands_that_are_not_there_are_told_with_those_that_are(tmp_path, asked, what):
    folder = stacked(tmp_path / "d")
    with pytest.raises(ValueError, match=what.replace("(", r"\(")):
        load(folder, bands=asked)
    assert "B10 (filled)" in str(
        pytest.raises(ValueError, taken, "B0", [PRODUCTS["s2_l2a"]], {*L2A}).value
    )


def test_images_of_three_colours_have_no_bands_to_choose(tmp_path):
    for name in (plain(tmp_path / "d"), "synthetic"):
        with pytest.raises(ValueError, match="are read as red, green, blue.*bands.toml"):
            load_archive(name, image_size=4, bands="B4", progress=False)
    assert load(tmp_path / "d").bands == ("red", "green", "blue")


def test_the_order_that_a_file_tells(tmp_path):
    order = ("B4", "B3", "B2")
    folder = tmp_path / "d"
    for k, city in enumerate(CITIES):
        array = np.array([400, 300, 200], np.uint16)[:, None, None] + np.zeros((3, 4, 4), int) + k
        tif(folder / "images" / f"{city}.tif", array.astype(np.uint16), ("B04", "B03", "B02"))
    table(folder / "labels.csv", ("image", "sea", "pier"), ROWS)
    (folder / "bands.toml").write_text("[s2_l1c]\n")
    archive = load(folder)
    assert archive.bands == order and archive.images[0, 2, 0, 0] == byte(200, "B2")
    (folder / "bands.toml").write_text("[s2_l1c]\nbands = ['B02', 'B03', 'B04']\n")
    message = fails(folder)
    assert message.count("its bands are B4, B3, B2, by their descriptions, and not B2, B3") == 3


# --- Faults --------------------------------------------------------------------------------------


def test_all_faults_of_an_archive_at_once(tmp_path):
    folder = one_a_band(tmp_path / "d")
    at = folder / "images"
    (at / "aachen/aachen_B05.tif").unlink()
    big, small = at / "bonn/bonn_B02.tif", at / "bonn/bonn_B01.tif"
    big.rename(at / "bonn/x"), small.rename(big), (at / "bonn/x").rename(small)
    cut = at / "celle/celle_B03.tif"
    cut.write_bytes(cut.read_bytes()[:-150])
    (at / "celle/celle_B04.tif").write_bytes(b"")
    tif(at / "celle/celle_B11.tif", np.full((6, 6), 70_000, np.int32))
    tif(at / "celle/celle_B12.tif", np.full((6, 6), -5, np.int16))
    tif(at / "celle/celle_B09.tif", np.zeros((2, 4), np.uint16))
    tif(at / "celle/celle_B8A.tif", np.full((6, 6), np.nan, np.float32))
    message = fails(folder)
    assert "3 x image that cannot be used" in message and "`fill` in bands.toml" in message
    aachen, bonn, celle = (line.strip() for line in message.splitlines()[2:])
    assert aachen == "aachen: no B5"
    swapped = "B2 has 2 x 2 pixels and B1 12 x 12, but B2 is the finer one: are they swapped?"
    assert bonn == f"bonn: {swapped}"
    for what in (
        "celle_B03.tif: celle_B03.tif, band 1: IReadBlock failed",
        "celle_B04.tif: an empty file",
        "celle_B11.tif, B11: holds 70000, which is beyond 0 to 65535: wrapped around?",
        "celle_B12.tif, B12: holds -5, which",
        "B9 has 4 x 2 pixels and B2 12 x 12: they do not show the same ground",
        "celle_B8A.tif, B8A: 36 pixels are no numbers",
    ):
        assert what in celle, what


def test_a_file_of_another_number_of_bands_or_without_data(tmp_path):
    folder = stacked(tmp_path / "d")
    tif(folder / "images/bonn.tif", np.zeros((12, 4, 4), np.uint16))
    tif(folder / "images/celle.tif", np.full((13, 4, 4), 7, np.uint16), nodata=7)
    message = fails(folder)
    assert "bonn: bonn.tif: 12 bands where 13 are expected (B1, B2" in message
    assert "celle: celle.tif: 208 pixels without data (7): fill them" in message


def test_a_band_that_is_there_twice(tmp_path):
    folder = one_a_band(tmp_path / "d")
    tif(folder / "images/more/bonn/B2.tif", np.zeros((12, 12), np.uint16))
    assert "B2: bonn/bonn_B02.tif = more/bonn/B2.tif" in fails(folder)


@WARNED
def test_a_band_that_no_image_has_is_told(tmp_path):
    folder = one_a_band(tmp_path / "d", names=L2A[:-1])
    with pytest.warns(ArchiveWarning, match="1 x band that no image has\n    B12"):
        assert load_archive(folder, image_size=4, progress=False).bands == L2A[:-1]
    assert load(folder, bands="B2,B3").bands == ("B2", "B3")
    with pytest.raises(ValueError, match="no band B12"):
        load(folder, bands="B12")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("tile = 0\n[s1]", "tile cannot be 0"),
        ("place = '('\n[s1]", "place cannot be '('"),
        ("tiles = 3\n[s1]", "tiles is not known; there may be tile, place"),
        ("", "no product, such as [s2_l2a]"),
        ("[s2]", "[s2] is none of s2_l1c, s2_l2a, s1, so it must state its bands, mean, std"),
        ("[x]\nbands=['a']\nmean=[1]\nstd=[0]", "[x] std cannot be [0]"),
        ("[x]\nbands=['a']\nmean=[1, 2]\nstd=[1]", "[x] 2 numbers of mean, 1 bands"),
        ("[s1]\nmean=[1, 2]", "[s1] mean and std go together"),
        ("[s2_l2a]\nbands=['B1', 'B77']", "[s2_l2a] no mean and std of B77"),
        ("[s2_l2a]\nbands=['B1', 'B01']", "[s2_l2a] has B1 twice"),
        ("[s2_l2a]\nfill={B1='x'}", "[s2_l2a] fill cannot be {'B1': 'x'}"),
        ("[s2_l2a]\nfill={VV=3}", "[s2_l2a] no mean and std of VV"),
        ("[s1]\nunits='dB'", "[s1] units cannot be 'dB'"),
        ("[s2_l2a]\n[s2_l1c]", "B1 is in [s2_l2a] and in [s2_l1c]"),
        ("[s1]\n[map]\nclasses={}", "[map] states no folder"),
        ("[s1]\n[map]\nclasses={a='b'}", "[map] classes cannot be {'a': 'b'}"),
        ("[s1]\n[map]\nthreshold=1", "[map] threshold cannot be 1"),
        ("[s1]\n[map]\nignore=[true]", "[map] ignore cannot be [True]"),
        ("[s1", "Expected ']'"),
        ("[s1]\noffset = {nowhere = 3}", "[s1] offset of no image: nowhere"),
    ],
)
def test_a_fault_in_bands_toml_is_named(tmp_path, text, what):
    folder = stacked(tmp_path / "d", text)
    message = fails(folder)
    assert "fault in bands.toml (maclcore.data.declared says what it may hold)" in message
    assert what in message


def test_faults_go_before_bands_that_are_not_there(tmp_path):
    assert "[s2_l1c] colour is not known" in fails(
        stacked(tmp_path / "d", "[s2_l1c]\ncolour = 3\n"), bands="B77"
    )


def test_sound_declarations_have_no_fault():
    example = textwrap.dedent(declared.__doc__.partition("More:\n")[2].partition("Tiles are")[0])
    assert len(tables := tomllib.loads(example)) == 6 and faults(tables) == []
    sound = {"tile": 3, "place": "^a", "s1": {"units": "power"}, "s2_l2a": {"fill": {"B10": 0}}}
    assert faults(sound) == []
    own = {"bands": ["a"], "mean": [1], "std": [2.5], "fill": {"a": 3}, "offset": {"x": 1}}
    assert faults({"own": own, "map": {"folder": "m", "classes": {"1": "w"}}}) == []


# --- Labels from maps ----------------------------------------------------------------------------

LAND = np.array([[4, 4, 4, 9], [4, 4, 9, 9], [2, 4, 4, 4], [4, 4, 4, 4]])
THREE = {2: "grass", 4: "crops", 9: "cloud"}


def test_labels_of_a_map_worked_out_by_hand():
    assert maps.class_pixels(LAND, THREE).tolist() == [1, 12, 3, 16]
    assert labels_from_map(LAND, THREE).tolist() == [True, True, True]
    assert labels_from_map(LAND, THREE, 0.1).tolist() == [False, True, True]
    assert labels_from_map(LAND, THREE, 0.0625).tolist() == [False, True, True]  # more than
    without = {"ignore": (0, 9)}
    assert labels_from_map(LAND, THREE, **without).tolist() == [True, True, False]
    assert labels_from_map(LAND, THREE, 1 / 13, **without).tolist() == [False, True, False]
    assert labels_from_map(LAND, THREE, 0.076, **without).tolist() == [True, True, False]
    assert labels_from_map(LAND, {2: "green", 4: "green", 9: "x"}, 0.8).tolist() == [True, False]


def test_a_map_of_which_less_than_half_is_valid_tells_nothing():
    land = np.array([[1, 1, 0, 0]])
    assert labels_from_map(land, {1: "sea"}).tolist() == [True]
    assert labels_from_map(np.array([[1, 0, 0, 0]]), {1: "sea"}).tolist() == [False]
    assert labels_from_map(np.zeros((2, 2), int), {1: "sea"}).tolist() == [False]


@pytest.mark.parametrize("seed", range(4))
def test_labels_of_a_map_as_by_counting_pixel_for_pixel(seed):
    draw = np.random.default_rng(seed)
    land = draw.integers(0, 6, (5, 7), dtype=np.uint8)
    classes = {3: "a", 1: "b", 5: "c", 2: "a", 4: "d"}
    threshold = draw.random() / 2
    pixels = [classes[v] for v in land.ravel().tolist() if v]
    wanted = [pixels.count(x) / len(pixels) > threshold for x in "abcd"]
    assert labels_from_map(land, classes, threshold).tolist() == wanted
    assert np.array_equal(labels_from_map(land.T[::-1], classes, threshold), wanted)


def test_maps_that_cannot_be_used():
    with pytest.raises(ValueError, match="no known class: 3, the first in row 0, column 3 with 9"):
        labels_from_map(LAND, {2: "grass", 4: "crops"})
    with pytest.raises(ValueError, match="whole numbers in rows and columns, this one shape"):
        labels_from_map(LAND / 2, THREE)
    with pytest.raises(ValueError, match="threshold is 1"):
        labels_from_map(LAND, THREE, 1)


def mapped(folder, more=""):
    """Two scenes of 4 x 8 pixels with both sensors, cut into tiles of 4, and their land cover."""
    for k, city in enumerate(CITIES[:2]):
        array = np.arange(13 * 32, dtype=np.uint16).reshape(13, 4, 8) + 1000 * k
        tif(folder / "optical" / f"{city}.tif", array)
        tif(folder / "radar" / f"{city}.tif", np.stack([*decibels(k, 8).values()])[:, :4])
        tif(folder / "maps" / f"{city}.tif", np.hstack([LAND, LAND * k]).astype(np.uint8))
    (folder / "bands.toml").write_text(
        f"tile = 4\n[s2_l1c]\nimages = 'optical'\n[s1]\nimages = 'radar'\n[map]\nfolder = 'maps'\n"
        f"classes = {{2 = 'grass', 4 = 'crops', 9 = 'cloud'}}\n{more}"
    )
    return folder


def test_scenes_cut_into_tiles_with_labels_from_their_maps(tmp_path):
    archive = load(mapped(tmp_path / "d", "threshold = 0.1\n"))
    assert archive.names == ("aachen_0_0", "aachen_0_1", "bonn_0_0", "bonn_0_1")
    assert archive.places == ("aachen", "aachen", "bonn", "bonn")
    assert archive.bands == (*S2, "VV", "VH") and archive.images.shape == (4, 15, 4, 4)
    assert archive.label_names == ("grass", "crops", "cloud")
    left = [1, 12, 3]  # as LAND has them, and nothing where it is multiplied by 0
    assert archive.areas().tolist() == [left, [0, 0, 0], left, left]
    part = [False, True, True]
    assert archive.labels.tolist() == [part, [False] * 3, part, part]
    assert archive.images[1, 2, 3, 1] == byte(2 * 32 + 3 * 8 + 5, "B3")
    vh = decibels(1, 8)["VH"][2, 6]
    assert abs(int(archive.images[3, 14, 2, 2]) - byte(float(vh), "VH", "s1")) <= 1
    text = describe_places(archive)
    assert "places: 4, none of them in two parts" in text
    assert "images of which no label is known: 1" in text
    assert "bands (share of pixels at 0 or 255): B1 50%, B2" in text


def describe_places(archive):
    """The data sheet; two places are too few to split, so two more join."""
    double = {f: getattr(archive, f) for f in archive.__dataclass_fields__}
    double |= {"images": np.concatenate([archive.images] * 2), "names": archive.names * 2}
    double |= {"labels": np.concatenate([archive.labels, np.ones((4, 3), bool)])}
    double |= {"places": (*archive.places, "celle", "celle", "dorf", "dorf")}
    return describe(type(archive)(**double))


def test_faults_of_maps_and_tiles(tmp_path):
    folder = mapped(tmp_path / "d")
    tif(folder / "maps/bonn.tif", np.hstack([LAND, LAND + 1]).astype(np.uint8))
    message = fails(folder)
    assert "1 x map that cannot be used" in message
    assert "bonn.tif: pixels of no known class: 16, the first in row 0, column 0 with 5" in message
    (folder / "maps/bonn.tif").unlink()
    tif(folder / "radar/aachen.tif", np.zeros((2, 3, 6), np.float32))
    table(folder / "labels.csv", ("image", "sea"), [("aachen", 1)])
    message = fails(folder)
    assert "image without a map in maps: add it\n    bonn" in message
    assert "[map] and labels.csv: labels come from one of them" in message
    assert "aachen_0_1: aachen.tif: a tile of 4 of 4 pixels has no whole number" not in message
    tif(folder / "optical/bonn.tif", np.zeros((13, 3, 3), np.uint16))
    tif(folder / "radar/bonn.tif", np.zeros((2, 3, 3), np.float32))
    assert "image smaller than a tile\n    bonn: 3 x 3" in fails(folder)


def test_tiles_that_the_coarse_bands_cannot_give(tmp_path):
    folder = one_a_band(tmp_path / "d", "tile = 4\n[s2_l2a]\n")
    rows = [(f"{city}_{r}_{c}", 1, 0) for city in CITIES for r in range(3) for c in range(3)]
    table(folder / "labels.csv", ("image", "sea", "pier"), rows)
    message = fails(folder)
    assert "bonn_B01.tif: a tile of 4 of 12 pixels has no whole number of this band's 2" in message
    assert "take tiles of a multiple of 6" in message
    (folder / "bands.toml").write_text("tile = 6\n[s2_l2a]\n")
    rows = [(f"{city}_{r}_{c}", 1, 0) for city in CITIES for r in range(2) for c in range(2)]
    table(folder / "labels.csv", ("image", "sea", "pier"), rows)
    archive = load_archive(folder, image_size=6, progress=False)
    b1 = bands_of(1, L2A)["B1"]
    assert (
        archive.images[archive.names.index("bonn_1_0"), 0] == byte(b1[1, 0], "B1", "s2_l2a")
    ).all()


def test_one_place_at_several_times(tmp_path):
    folder = tmp_path / "d"
    names = [f"p{place}_t{time}" for place in range(5) for time in range(3)]
    for name in names:
        tif(folder / "images" / f"{name}.tif", np.zeros((2, 4, 4), np.float32) - 12)
    table(folder / "labels.csv", ("image", "sea"), [(name, 1) for name in names])
    (folder / "bands.toml").write_text("place = '^(p\\d)_'\n[s1]\n")
    archive = load(folder)
    assert archive.places == tuple(name[:2] for name in names)
    for seed in range(5):
        for stratified in (False, True):
            parts = [{archive.places[i] for i in part} for part in archive.split(seed, stratified)]
            assert sum(map(len, parts)) == 5 and len(set().union(*parts)) == 5
    (folder / "bands.toml").write_text("place = '^(q\\d)_'\n[s1]\n")
    assert "15 x image whose name has no place '^(q" in fails(folder)


# --- From the command line, and without the extra ------------------------------------------------


def test_the_data_sheet_of_some_bands(tmp_path, capsys):
    folder = stacked(tmp_path / "d")
    with pytest.warns(ArchiveWarning):
        assert main(["data", str(folder), "--image-size", "4", "--bands", "B4,B3"]) == 0
    assert "bands (share of pixels at 0 or 255): B4" in capsys.readouterr().out


def test_a_run_is_of_the_bands_that_its_configuration_names(tmp_path):
    folder = stacked(tmp_path / "d", rows=[(city, 1, 1) for city in CITIES])
    for name in "defghijklmno":
        shutil.copy(folder / "images/bonn.tif", folder / "images" / f"{name}.tif")
    names = [file.stem for file in (folder / "images").iterdir()]
    table(folder / "labels.csv", ("image", "sea"), [(name, 1) for name in names])
    sources = [identify(Config(archive=str(folder), image_size=4, loss="oracle", bands=bands))
               for bands in ("", "B4,B3,B2")]  # fmt: skip
    assert [source.archive.bands for source in sources] == [S2, ("B4", "B3", "B2")]
    assert sources[0].key != sources[1].key


def test_many_bands_without_the_extra_name_it(tmp_path):
    folder = stacked(tmp_path / "d")
    code = (
        "import sys; sys.modules['rasterio'] = None\n"
        "from maclcore.data import load_archive\n"
        f"load_archive({str(folder)!r}, image_size=4)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "maclcore.data.bands needs the extra 'geo': pip install 'maclcore[geo]'" in done.stderr


def test_a_folder_of_colour_images_needs_no_rasterio(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    assert load(plain(tmp_path / "d")).images.shape == (6, 3, 4, 4)


def test_other_files_are_left_out_with_a_word(tmp_path):
    folder = stacked(tmp_path / "d")
    image(folder / "images/quicklook.png")
    (folder / "images/bonn.tif.aux.xml").write_text("<x/>")
    with pytest.warns(ArchiveWarning, match="1 x file left out, it is no GeoTIFF"):
        load_archive(folder, image_size=4, progress=False)


# --- The real files ------------------------------------------------------------------------------

REAL = Path(os.environ.get("MACL_DATA", "")).absolute() / "sentinel" / "terramesh5"
CLASSES = ("water", "trees", "flooded", "crops", "built", "bare", "snow", "cloud", "rangeland")
SHIFTED = ("282D_485L_3_3", "433D_629L_3_1", "609U_541L_3_0")


@pytest.mark.skipif(not REAL.is_dir(), reason="MACL_DATA has no sentinel/terramesh5")
def test_five_real_places_end_to_end(tmp_path):
    folder = tmp_path / "terramesh5"
    folder.mkdir()
    for name in ("S2L1C", "S1RTC", "LULC"):
        (folder / name).symlink_to(REAL / name)
    shift = ", ".join(f"{name} = -1000" for name in SHIFTED)
    numbers = ", ".join(f"{i + 1} = '{name}'" for i, name in enumerate(CLASSES))
    (folder / "bands.toml").write_text(
        f"tile = 32\n[s2_l1c]\nimages = 'S2L1C'\noffset = {{{shift}}}\n[s1]\nimages = 'S1RTC'\n"
        f"[map]\nfolder = 'LULC'\nthreshold = 0.01\nclasses = {{{numbers}}}\n"
    )
    archive = load_archive(folder, image_size=32, progress=False)
    assert archive.images.shape == (245, 15, 32, 32) and len(set(archive.places)) == 5
    tiles = np.load(REAL.parent / "terramesh5_tiles32.npz")
    assert tuple(tiles["bands"]) == archive.bands[:13]
    for i, band in enumerate(archive.bands):
        product = "s1" if band in ("VV", "VH") else "s2_l1c"
        mean, std = STATISTICS[product][band]
        values = (tiles["s2"][:, i] if i < 13 else tiles["s1"][:, i - 13]).astype(np.float64)
        wanted = np.clip((values - mean + 2 * std) / (4 * std) * 255, 0, 255).astype(int)
        assert np.abs(archive.images[:, i] - wanted).max() <= (0 if i < 13 else 1), band
    assert np.array_equal(archive.labels, tiles["share"] > 0.01)
    assert archive.labels.sum(axis=0).tolist() == [48, 65, 2, 132, 45, 14, 49, 0, 85]
    clipped = ((archive.images == 0) | (archive.images == 255)).mean(axis=(0, 2, 3))
    # the table of the specification that this follows, and of the radar at most 0.4 %
    told = [0.20, 0.20, 0.15, 0.14, 0.15, 0.14, 0.13, 0.13, 0.12, 0.16, 0.00, 0.01, 0.01]
    assert clipped[:13] == pytest.approx(told, abs=0.006) and clipped[13:].max() < 0.01
    vv, vh = archive.images[:, 13].mean(), archive.images[:, 14].mean()
    to_db = [(m - 2 * s, 4 * s / 255) for m, s in STATISTICS["s1"].values()]
    brighter = (to_db[0][0] + vv * to_db[0][1]) - (to_db[1][0] + vh * to_db[1][1])
    assert brighter == pytest.approx(7, abs=1.5)
    with pytest.warns(ArchiveWarning, match="label without a training image"):
        parts = archive.split(0)
    assert [len(part) for part in parts] == [147, 49, 49]


@pytest.mark.skipif(not REAL.is_dir(), reason="MACL_DATA has no sentinel")
def test_a_real_scene_of_the_size_of_ssl4eo(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "images").symlink_to(REAL.parent / "copernicusfm1")
    name = next((folder / "images").iterdir()).stem
    table(folder / "labels.csv", ("image", "sea"), [(name, 0)])
    (folder / "bands.toml").write_text("[s2_l1c]\n")
    archive = load_archive(folder, image_size=264, progress=False)
    assert archive.images.shape == (1, 13, 264, 264) and not archive.labels.any()
    means = archive.images.mean(axis=(0, 2, 3))
    assert means[10] < 160 and ((archive.images > 0) & (archive.images < 255)).mean() > 0.9


def test_resampling_to_the_stored_size_changes_nothing():
    values = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    same = Image.fromarray(values).resize((9, 9), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(same), values)
