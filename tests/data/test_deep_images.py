"""Images of any depth and bands in a folder of one's own, against plain loops."""

import json
import math
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
import rasterio
from geo import tif
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import ColorInterp

from maclcore import extras
from maclcore.annotation.pictures import Pictures
from maclcore.data import ArchiveError, cache, load_archive, own, scenes
from maclcore.data.archives import read_archive
from maclcore.data.stretch import Stretch

WHOLE = "0,65535"  # what 257 times 8 bits fill


def png16(file, pixels):
    """A PNG of 16 bits (H, W) or (H, W, 3), chunk by chunk; Pillow writes none in colour."""
    height, width = pixels.shape[:2]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(
            ">I", zlib.crc32(name + data)
        )  # fmt: skip

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    kind = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def noise(seed, shape=(11, 9, 3), low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.uint8)


def archive(folder, write, images):
    """A folder of `images` by name, each written by `write(stem, pixels)`, all labelled."""
    for name, pixels in images.items():
        write(folder / "images" / name, pixels)
    table = ["image,sea", *(f"{name},1" for name in images)]
    (folder / "labels.csv").write_text("\n".join(table) + "\n")
    return folder


def eight(stem, pixels):
    stem.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(stem.with_suffix(".png"))


def as_png(factor):
    return lambda stem, pixels: png16(stem.with_suffix(".png"), pixels.astype(np.uint16) * factor)


def as_tif(change, **options):
    return lambda stem, pixels: tif(
        stem.with_suffix(".tif"), change(pixels.transpose(2, 0, 1)), **options
    )


SIX = {f"im{i}": noise(i, high=40 * (i + 1)) for i in range(6)}


def load(folder, **options):
    return load_archive(folder, image_size=5, progress=False, **options)


# --- The stretch --------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.integers(-40_000, 40_000), min_size=1, max_size=12),
    low=st.integers(-30_000, 30_000),
    span=st.integers(1, 60_000),
)
def test_a_stretch_is_the_rounded_line_from_low_to_high(values, low, span):
    stretch = Stretch((low,) * 3, (low + span,) * 3)
    found = stretch(np.broadcast_to(np.array(values, np.int32), (3, 1, len(values))))
    for value, byte in zip(values, found[1, 0], strict=True):
        exact = min(max(Fraction(255 * (value - low), span), 0), 255)
        assert abs(exact - int(byte)) <= Fraction(1, 2)
    assert (np.diff(found[0, 0][np.argsort(values)].astype(int)) >= 0).all()


def test_each_colour_has_its_own_ends_and_what_is_no_number_is_black():
    stretch = Stretch((0, 10, 20), (255, 20, 1020))
    bands = np.array([[[7, np.nan]], [[15, np.inf]], [[1020, -np.inf]]])
    assert stretch(bands).tolist() == [[[7, 0]], [[128, 0]], [[255, 0]]]


@pytest.mark.parametrize(
    ("given_as", "stretch"),
    [
        ("0,3000", Stretch((0, 0, 0), (3000, 3000, 3000))),
        ("1,2,3,4,5,6.5", Stretch((1, 3, 5), (2, 4, 6.5))),
        ([[1, 3, 5], [2, 4, 6.5]], Stretch((1, 3, 5), (2, 4, 6.5))),
    ],
)
def test_a_stretch_may_be_said_in_text_or_as_json_has_it(given_as, stretch):
    assert Stretch.of(given_as) == stretch == Stretch.of(json.loads(json.dumps(stretch)))


@pytest.mark.parametrize(
    "wrong", ["", "3", "5,5", "9,1", "0,nan", "0,inf", "a,b", "1,2,3,4", [[1], [2]], 7, [1, 2]]
)
def test_a_stretch_that_is_none_is_named(wrong, tmp_path):
    with pytest.raises(ValueError, match="a stretch cannot be .* as 0,3000"):
        Stretch.of(wrong)
    with pytest.raises(ValueError, match="a stretch cannot be"):
        load(archive(tmp_path, as_png(12), SIX), stretch=wrong)


def nth(values, percent):
    """The least value that at least so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(Fraction(percent, 100) * len(ordered)) - 1, 0)]


def test_the_ends_are_percentiles_of_all_pixels_that_have_data(tmp_path):
    images = {}
    for i, pixels in enumerate(SIX.values()):
        deep = pixels.transpose(2, 0, 1).astype(np.uint16) * 7 + 1
        deep[:, :4] = 0  # a margin
        deep[0, 5, 5] = 9999  # no data
        images[i] = tif(tmp_path / f"{i}.tif", deep, nodata=9999)
    ends = own.measure([*images.values()])
    for colour in range(3):
        kept = [
            int(a[colour, y, x]) * 7 + 1
            for a in (pixels.transpose(2, 0, 1) for pixels in SIX.values())
            for y in range(4, 11)
            for x in range(9)
            if (y, x) != (5, 5)
        ]
        assert ends[:, colour].tolist() == [nth(kept, 2), nth(kept, 98)]


def test_no_more_than_a_sample_is_looked_at_and_it_is_the_same_one(tmp_path, monkeypatch):
    looked = []
    measure = own.measure
    monkeypatch.setattr(own, "SAMPLED", 3)
    monkeypatch.setattr(own, "measure", lambda s: looked.extend(f.stem for f in s) or measure(s))
    where = archive(tmp_path, as_png(12), SIX)
    first = read_archive(where, progress=False)
    assert looked == ["im0", "im2", "im5"]  # 0, 2.5 and 5, rounded to even
    assert read_archive(where, progress=False).stretch == first.stretch
    assert len(looked) == 3  # told by the cache


# --- One picture, in whatever it is stored ------------------------------------------------------


def test_257_times_8_bits_in_16_are_the_same_picture(tmp_path):
    same = load(archive(tmp_path / "8", eight, SIX)).images
    for name, write in (
        ("png", as_png(257)),
        ("tif", as_tif(lambda a: a.astype(np.uint16) * 257)),
        ("big-endian", as_tif(lambda a: a.astype(np.uint16) * 257, ENDIANNESS="BIG")),
        ("big", as_tif(lambda a: a.astype(np.uint16) * 257, ENDIANNESS="BIG", BIGTIFF="YES")),
        ("planes", as_tif(lambda a: a.astype(np.uint16) * 257, interleave="band")),
        ("packed", as_tif(lambda a: a.astype(np.uint16) * 257, compress="deflate", predictor=2)),
        ("wide", as_tif(lambda a: a.astype(np.uint32) * 257)),
    ):
        found = load(archive(tmp_path / name, write, SIX), stretch=WHOLE)
        assert np.array_equal(found.images, same), name
    floats = archive(tmp_path / "f", as_tif(lambda a: a.astype(np.float32) / 255), SIX)
    assert np.array_equal(load(floats, stretch="0,1").images, same)
    signed = archive(tmp_path / "i", as_tif(lambda a: a.astype(np.int16) - 128), SIX)
    assert np.array_equal(load(signed, stretch="-128,127").images, same)


def test_the_stretch_that_is_found_knows_no_unit(tmp_path):
    """An archive times any number is the same archive, and black and white are its own."""
    twelve = load(archive(tmp_path / "12", as_png(12), SIX)).images
    for name, write in (
        ("200", as_png(200)),
        ("tif", as_tif(lambda a: a.astype(np.uint16) * 12)),
        ("fractions", as_tif(lambda a: a.astype(np.float64) / 4)),
    ):
        assert np.array_equal(load(archive(tmp_path / name, write, SIX)).images, twelve), name
    known = read_archive(tmp_path / "12", progress=False)
    ends = [scenes.open_rgb(file, known.stretch).getextrema() for file in known.images]
    assert [max(high for _, high in of) for of in ends][-1] == 255
    assert min(low for of in ends for low, _ in of) == 0
    assert twelve.mean(axis=(1, 2, 3)).argsort().tolist() == [*range(6)]  # im5 is the brightest


def test_a_bright_and_a_dark_field_do_not_look_alike(tmp_path):
    fields = {"dark": np.full((9, 9, 3), 20, np.uint8), "light": np.full((9, 9, 3), 200, np.uint8)}
    dark, light = load(archive(tmp_path, as_png(12), fields)).images
    assert dark.max() == 0 and light.min() == 255


def test_jpeg2000_of_16_bits(tmp_path):
    (tmp_path / "images").mkdir()
    pixels = noise(3, (64, 64)).astype(np.uint16) * 257
    shape = {"count": 1, "height": 64, "width": 64, "dtype": "uint16"}
    shape["transform"] = rasterio.Affine(10, 0, 0, 0, -10, 0)
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    with rasterio.open(tmp_path / "images/a.jp2", "w", "JP2OpenJPEG", **shape, **lossless) as out:
        out.write(pixels, 1)
    found = scenes.open_rgb(tmp_path / "images/a.jp2", Stretch.of(WHOLE))
    assert np.array_equal(np.asarray(found), np.stack([pixels // 257] * 3, axis=2))


def test_an_image_to_search_with_is_seen_as_those_of_the_archive(tmp_path):
    where = archive(tmp_path, as_tif(lambda a: a.astype(np.uint16) * 12), SIX)
    known = read_archive(where, progress=False)
    kept = Stretch.of(json.loads(json.dumps(known.stretch)))
    loaded = load(where)
    for i, file in enumerate(known.images):
        assert np.array_equal(scenes.decode(file, 5, kept), known.decode(i, 5))
        assert np.array_equal(known.decode(i, 5), loaded.images[i])
    assert loaded.stretch == kept
    shown = Pictures(where).shown("im3")[1]
    (tmp_path / "shown.png").write_bytes(shown)
    assert np.array_equal(
        Image.open(tmp_path / "shown.png"), scenes.open_rgb(known.images[3], kept)
    )


def test_an_archive_that_grows_keeps_the_stretch_that_is_given(tmp_path):
    where = archive(tmp_path, as_png(12), SIX)
    before = read_archive(where, progress=False)
    archive(tmp_path, as_png(200), {**SIX, "im9": SIX["im5"]})
    grown = read_archive(where, progress=False, stretch=list(before.stretch))
    assert grown.stretch == before.stretch != read_archive(where, progress=False).stretch
    assert grown.rule(5) == before.rule(5)


# --- Keys ---------------------------------------------------------------------------------------


def test_8_bit_archives_keep_their_keys_and_a_stretch_is_part_of_one(tmp_path):
    plain = read_archive(archive(tmp_path / "8", eight, SIX), progress=False)
    assert plain.stretch is None and not any("8 bits" in line for line in plain.said)
    assert plain.rule(5) == f"{cache.RESIZE_RULE}, S=5"
    assert plain.contents() == cache.content_hashes(plain.images)
    where = archive(tmp_path / "16", as_png(257), SIX)
    found, told = load(where), load(where, stretch=WHOLE)
    assert found.fingerprint != told.fingerprint != load(where, stretch="0,65534").fingerprint
    rule = read_archive(where, progress=False, stretch=WHOLE).rule(5)
    assert "[0.0, 0.0, 0.0], [65535.0, 65535.0, 65535.0]" in rule and scenes.RULE in rule


# --- Which bands --------------------------------------------------------------------------------

FOUR = np.arange(4)[:, None, None] * 50 + np.zeros((4, 6, 6), np.int64)


def shown(file, stretch="0,255"):
    return np.asarray(scenes.open_rgb(file, Stretch.of(stretch)))[2, 2].tolist()


@pytest.mark.parametrize(
    ("descriptions", "seen"),
    [
        ((), [0, 50, 100]),
        (("B02", "B03", "B04", "B08"), [100, 50, 0]),
        (("nir", "Blue", "green", "RED"), [150, 100, 50]),
        (("SR_B2", "SR_B3", "SR_B4", "QA"), [100, 50, 0]),
        (("B4", "B8", "B11", "B12"), [0, 50, 100]),  # no blue: in their order
    ],
)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int16])
def test_bands_are_known_by_their_descriptions_or_by_their_order(
    tmp_path, descriptions, seen, dtype
):
    file = tif(tmp_path / "a.tif", FOUR.astype(dtype), descriptions)
    assert shown(file) == seen


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_are_known_by_their_colours(tmp_path, dtype):
    file = tif(tmp_path / "a.tif", FOUR.astype(dtype), photometric="MINISBLACK")
    with rasterio.open(file, "r+") as data:
        data.colorinterp = [
            ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red,
        ]  # fmt: skip
    assert shown(file) == [150, 100, 50]


@pytest.mark.parametrize("count", [12, 13])
def test_12_or_13_bands_without_names_are_sentinel_2s(tmp_path, count):
    bands = np.arange(count)[:, None, None] * 10 + np.zeros((count, 6, 6), np.uint16)
    assert shown(tif(tmp_path / "a.tif", bands.astype(np.uint16))) == [30, 20, 10]
    assert shown(tif(tmp_path / "b.tif", bands.astype(np.uint8))) == [30, 20, 10]
    (tmp_path / "images").mkdir()
    (tmp_path / "a.tif").rename(tmp_path / "images/a.tif")
    (tmp_path / "labels.csv").write_text("image,sea\na,1\n")
    said = read_archive(tmp_path, progress=False).said
    assert any(f"of {count} bands (a.tif)" in line and "4, 3, 2" in line for line in said)


def test_one_or_two_bands_are_grey(tmp_path):
    assert shown(tif(tmp_path / "a.tif", FOUR[1:2].astype(np.uint16))) == [50, 50, 50]
    assert shown(tif(tmp_path / "b.tif", FOUR[2:].astype(np.float64))) == [100, 100, 100]


@pytest.mark.parametrize("fourth", ["alpha", "near infrared"])
def test_the_fourth_of_8_bits_is_left_out_as_ever(tmp_path, fourth):
    options = {"alpha": {"ALPHA": "YES"}, "near infrared": {"ALPHA": "NO"}}[fourth]
    pixels = noise(1, (4, 8, 8))
    file = tif(tmp_path / "a.tif", pixels, photometric="RGB", **options)
    assert np.array_equal(np.asarray(scenes.open_rgb(file)), pixels[:3].transpose(1, 2, 0))
    assert np.array_equal(scenes.decode(file, 3), cache.decode(file, 3))
    assert scenes.is_plain(file)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp", "bmp", "jp2"])
def test_8_bits_are_decoded_as_ever(tmp_path, mode, suffix):
    file = tmp_path / f"a.{suffix}"
    try:
        Image.fromarray(noise(2)).convert(mode).save(file)
    except (OSError, ValueError, KeyError):
        pytest.skip(f"no {suffix} of mode {mode}")
    assert np.array_equal(scenes.decode(file, 4), cache.decode(file, 4))


def test_a_file_a_band_is_one_image(tmp_path):
    for i, name in enumerate(("x", "y")):
        for band in (2, 3, 4, 8):
            pixels = np.full((6, 6), 10 * band + i, np.uint16)
            tif(tmp_path / "images" / name / f"{name}_B{band:02}.tif", pixels)
    (tmp_path / "labels.csv").write_text("image,sea\nx,1\ny,0\n")
    known = read_archive(tmp_path, progress=False, unlabelled=True, stretch="0,255")
    assert known.names == ("x", "y")
    assert known.decode(1, 2)[:, 0, 0].tolist() == [41, 31, 21]
    assert "2 images of a file a band" in " ".join(known.said)
    before = known.contents()
    tif(tmp_path / "images/y/y_B03.tif", np.full((6, 6), 99, np.uint16))
    after = known.contents()
    assert after[0] == before[0] and after[1] != before[1]
    tif(tmp_path / "images/y/y_B03.tif", np.full((3, 3), 99, np.uint16))
    with pytest.raises(ValueError, match=r"^y_B04.tif: its bands have different sizes"):
        known.decode(1, 2)


# --- Without data -------------------------------------------------------------------------------


def test_pixels_without_data_are_black(tmp_path):
    pixels = np.full((3, 4, 4), 200, np.int16)
    pixels[:, 0, 0] = -9999
    file = tif(tmp_path / "a.tif", pixels, nodata=-9999)
    found = np.asarray(scenes.open_rgb(file, Stretch.of("-10000,255")))
    assert found[0, 0].tolist() == [0, 0, 0] and found.min(axis=(0, 1)).tolist() == [0, 0, 0]
    assert (found.reshape(-1, 3)[1:] == found[1, 1]).all() and found[1, 1, 0] > 200
    nan = pixels.astype(np.float32)
    nan[:, 0, 0] = np.nan
    found = np.asarray(scenes.open_rgb(tif(tmp_path / "b.tif", nan), Stretch.of("-300,255")))
    assert found[0, 0].tolist() == [0, 0, 0] and found[1, 1, 0] > 200


def test_deep_pixels_that_are_transparent_are_black(tmp_path):
    pixels = np.full((4, 4, 4), 60_000, np.uint16)
    pixels[3, 0, 0] = 0
    file = tif(tmp_path / "a.tif", pixels, photometric="RGB", ALPHA="YES")
    found = np.asarray(scenes.open_rgb(file, Stretch.of(WHOLE)))
    assert found[0, 0].tolist() == [0, 0, 0] and found[1, 1].tolist() == [233, 233, 233]


# --- Faults -------------------------------------------------------------------------------------


def test_without_an_archive_nothing_says_what_is_white(tmp_path):
    png16(tmp_path / "s2.png", np.full((64, 64, 3), 3000, np.uint16))
    with pytest.raises(
        ValueError, match=r"^s2.png: pixels are not 8-bit \(uint16, 16 bits.*8-bit RGB"
    ):
        scenes.decode(tmp_path / "s2.png", 8)
    assert (scenes.decode(tmp_path / "s2.png", 8, Stretch.of("0,3000")) == 255).all()


def test_a_tiff_of_many_bands_is_no_longer_no_image(tmp_path):
    file = tif(tmp_path / "a.tif", FOUR.astype(np.uint16))
    with pytest.raises(ValueError, match=r"^a.tif: a TIFF of 4 bands, uint16: .* in 8 bits"):
        cache.decode(file, 8)


def test_integers_and_fractions_have_no_common_scale(tmp_path):
    archive(tmp_path, as_tif(lambda a: a.astype(np.float32) / 255), {"a": SIX["im1"]})
    archive(tmp_path, as_tif(lambda a: a.astype(np.uint16) * 12), {"b": SIX["im2"]})
    (tmp_path / "labels.csv").write_text("image,sea\na,1\nb,1\n")
    with pytest.raises(ArchiveError, match=r"a.tif holds fractions, b.tif holds integers: put"):
        load(tmp_path)
    assert load(tmp_path, stretch="0,3000").images.shape == (2, 3, 5, 5)


def test_an_archive_without_any_data_is_a_fault(tmp_path):
    where = archive(tmp_path, as_png(12), {"a": np.zeros((5, 5, 3), np.uint8)})
    with pytest.raises(ArchiveError, match="all pixels are 0 or no data"):
        load(where)


def test_complex_numbers_and_deep_cmyk_are_refused(tmp_path):
    file = tif(tmp_path / "a.tif", np.ones((1, 4, 4), np.complex64))
    with pytest.raises(ValueError, match=r"^a.tif: its pixels are complex numbers \(complex64\)"):
        scenes.open_rgb(file, Stretch.of(WHOLE))
    file = tif(tmp_path / "b.tif", np.ones((4, 4, 4), np.uint16), photometric="CMYK")
    with pytest.raises(ValueError, match=r"^b.tif: CMYK of more than 8 bits"):
        scenes.open_rgb(file, Stretch.of(WHOLE))


def test_all_broken_files_are_told_at_once(tmp_path):
    where = archive(tmp_path, as_tif(lambda a: a.astype(np.uint16) * 12), SIX)
    whole = (where / "images/im1.tif").read_bytes()
    (where / "images/im1.tif").write_bytes(whole[: len(whole) // 2])
    (where / "images/im2.tif").write_bytes(b"II*\0 and no more")
    (where / "images/im3.tif").write_bytes(b"")
    (where / "images/im4.tif").write_text("words")
    with pytest.raises(ArchiveError) as error:
        load(where)
    for name in ("im1", "im2", "im3", "im4"):
        assert f"    {name}.tif: " in str(error.value)
    assert "4 x image that cannot be decoded" in str(error.value)
    assert str(where) not in str(error.value).replace(f"{where} cannot", "")


def test_the_extra_that_is_missing_is_named(tmp_path, monkeypatch):
    where = archive(tmp_path, as_png(12), SIX)
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda n: None if n == "rasterio" else found(n))
    with pytest.raises(ImportError, match=r"pip install 'maclcore\[geo\]'"):
        read_archive(where, progress=False)
    plain = archive(tmp_path / "8", eight, SIX)
    assert load(plain).images.shape == (6, 3, 5, 5)


def test_files_a_band_in_class_folders_take_their_labels(tmp_path):
    for label, patch in (("corn", "x"), ("corn", "y"), ("wood", "z")):
        for band in (2, 3, 4):
            pixels = np.full((6, 6), 10 * band, np.uint16)
            tif(tmp_path / label / patch / f"{patch}_B{band:02}.tif", pixels)
            tif(tmp_path / label / f"{patch}{patch}" / f"B{band:02}.tif", pixels)
    known = read_archive(tmp_path, progress=False, stretch="0,255", tile=4)
    assert known.label_names == ("corn", "wood")
    assert known.names[:4] == ("x_0_0", "x_0_1", "x_1_0", "x_1_1") and len(known) == 24
    assert known.labels[:, 0].sum() == 16
    assert known.decode(23, 2)[:, 0, 0].tolist() == [40, 30, 20]
