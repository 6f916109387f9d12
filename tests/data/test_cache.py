import errno
import functools
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import struct
import sys
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from maclcore import paths
from maclcore.data import cache


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))


@pytest.fixture
def files(tmp_path):
    """Seven lossless images of different sizes and shapes."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(7):
        pixels = rng.integers(0, 256, (10 + 3 * i, 12 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def decode8(file):
    return cache.decode(file, 8)


def rows(files, function=decode8, rule="rule"):
    return cache.cached_rows("some", rule, function, files)[:2]


def left_over():
    """Everything in the cache but locks and the index of contents."""
    inside = paths.cache_root().iterdir() if paths.cache_root().exists() else ()
    return [f.name for f in inside if f.suffix != ".lock" and not f.name.startswith("contents-")]


def test_rows_are_decoded_once_in_order_and_memory_mapped(files):
    calls = []

    def counted(file):
        calls.append(file)
        return decode8(file)

    first, key = rows(files, counted)
    again, same_key = rows(files, counted)
    assert len(calls) == 7 and key == same_key
    assert isinstance(again, np.memmap)
    assert again.shape == (7, 3, 8, 8) and again.dtype == np.uint8
    assert np.array_equal(first, np.stack([decode8(f) for f in files]))


def test_writing_to_the_array_is_an_error(files):
    array, _ = rows(files)
    with pytest.raises(ValueError, match="read-only"):
        array[:] = 0


def test_building_takes_the_memory_of_some_images_not_of_the_archive(files, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 8)
    rows(files)  # so that what is imported on the way does not count
    tracemalloc.start()
    array, _ = rows(files * 40, functools.partial(cache.decode, size=128))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * array.nbytes  # 8 of 280 images, and what is decoded


def test_more_files_than_a_chunk_keep_their_order(files, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 2)
    slow_first = {f: 0.01 * (7 - i) for i, f in enumerate(files)}

    def function(file):
        time.sleep(slow_first[file])
        return np.int32([int(file.stem)])

    assert rows(files, function)[0].ravel().tolist() == list(range(7))


def triangle(n, size):
    """(size, n) weights of antialiased bilinear resampling, one sum at a time."""
    scale = n / size
    reach = max(scale, 1.0)
    weights = np.zeros((size, n))
    for i in range(size):
        for j in range(n):
            weights[i, j] = max(0.0, 1 - abs((j + 0.5) - (i + 0.5) * scale) / reach)
        weights[i] /= weights[i].sum()
    return weights


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 24))
def test_resizing_is_antialiased_bilinear_of_the_whole_image(tmp_path_factory, height, width, size):
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3))
    file = tmp_path_factory.mktemp("one") / "a.png"
    Image.fromarray(pixels.astype(np.uint8)).save(file)
    wanted = np.einsum("ah,bw,hwc->cab", triangle(height, size), triangle(width, size), pixels)
    assert np.abs(cache.decode(file, size) - wanted).max() <= 1.5  # two passes, each rounded


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_eight_bit_modes_become_rgb(tmp_path, mode):
    image = Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode)
    image.save(tmp_path / "a.tif")
    assert (cache.decode(tmp_path / "a.tif", 2) == 255).all()


def chunks(*parts):
    """PNG chunks, from their names and data."""
    return b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def png(pixels, kind):
    """A PNG of big-endian samples (H, W, C), whose header says `kind` of colour."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, kind, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks(*parts)


def tiff(pixels, photometric, order="<", planar=False, big=False):
    """An uncompressed TIFF or BigTIFF of samples (H, W, C); each tag has numbers of 32 bits."""
    height, width, channels = pixels.shape
    planes = pixels.transpose(2, 0, 1) if planar else pixels[None]
    planes = [plane.astype(pixels.dtype.newbyteorder(order)).tobytes() for plane in planes]
    tags = {256: [width], 257: [height], 258: [8 * pixels.itemsize] * channels, 259: [1]}
    tags |= {262: [photometric], 273: [0] * len(planes), 277: [channels], 278: [height]}
    tags |= {279: [*map(len, planes)], 284: [1 + planar]}
    if channels == 4 and photometric == 2:
        tags[338] = [2]  # the fourth is alpha
    offset, room, start = ("Q", 8, 16) if big else ("I", 4, 8)
    entries = start + (8 if big else 2)
    values = entries + (4 + 2 * room) * len(tags) + room  # what has no room in its entry
    behind = values + sum(4 * len(v) for v in tags.values() if 4 * len(v) > room)
    tags[273] = [behind + sum(map(len, planes[:i])) for i in range(len(planes))]
    directory = more = b""
    for tag, value in tags.items():
        packed = struct.pack(f"{order}{len(value)}I", *value)
        if len(packed) > room:
            packed, more = struct.pack(order + offset, values + len(more)), more + packed
        directory += struct.pack(f"{order}HH{offset}", tag, 4, len(value)) + packed.ljust(
            room, b"\0"
        )
    header = (43, 8, 0, start, len(tags)) if big else (42, start, len(tags))
    header = struct.pack(order + ("HHHQQ" if big else "HIH"), *header)
    name = b"II" if order == "<" else b"MM"
    return b"".join([name, header, directory, bytes(room), more, *planes])


def jpeg2000(pixels, bits, **options):
    """A JPEG 2000 whose codestream says of every channel how many bits it has."""
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(stream, "JPEG2000", **options)
    content = bytearray(stream.getvalue())
    at = content.index(b"\xff\x4f\xff\x51") + 42
    content[at : at + 3 * pixels.shape[2] : 3] = [bits - 1] * pixels.shape[2]
    return bytes(content)


NOISE = np.random.default_rng(0).integers(0, 1 << 16, (6, 5, 4), dtype=np.uint16)
BYTES = (NOISE >> 8).astype(np.uint8)


def of_depth(bits):
    """The same images at 8 or 16 bits, by file name."""
    noise = NOISE if bits == 16 else BYTES
    files = {}
    for name, kind, channels in (("grey", 0, 1), ("rgb", 2, 3), ("alpha", 4, 2), ("rgba", 6, 4)):
        files[f"{name}.png"] = png(noise[:, :, :channels].astype(f">u{bits // 8}"), kind)
    for order, layout, big in itertools.product("<>", (False, True), (False, True)):
        if big and order == ">":
            continue  # Pillow does not read these
        for name, photometric, channels in (
            ("grey", 1, 1), ("rgb", 2, 3), ("rgba", 2, 4), ("cmyk", 5, 4),
        ):  # fmt: skip
            content = tiff(noise[:, :, :channels], photometric, order, layout, big)
            files[f"{name}{ord(order)}{layout:d}{big:d}.tif"] = content
    for channels in (1, 2, 3, 4):
        files[f"{channels}.jp2"] = jpeg2000(BYTES[:, :, :channels], bits)
    files["codestream.jp2"] = jpeg2000(BYTES[:, :, :3], bits, no_jp2=True)
    return files


@pytest.mark.parametrize("name", of_depth(16))
def test_deeper_pixels_are_refused_not_cut(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(of_depth(16)[name])
    with pytest.raises(ValueError, match=rf"^{name}: pixels are not 8-bit .*16 bits.*8-bit RGB"):
        cache.decode(file, 2)
    deep = cache.content_hashes([file])[0]
    file.write_bytes(of_depth(8)[name])
    with Image.open(file) as image:
        expected = np.asarray(image.convert("RGB"))
    image = Image.fromarray(expected).resize((4, 4), Image.Resampling.BILINEAR)
    assert np.array_equal(cache.decode(file, 4).transpose(1, 2, 0), image)
    assert deep.endswith(" deep") and cache.content_hashes([file]) == [plain_hash(file)]


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deeper_pixels_of_one_channel_are_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"^a.tif: pixels are not 8-bit .mode {mode}, .. bits"):
        cache.decode(tmp_path / "a.tif", 2)


def plain_hash(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


TURNS = {  # what undoes a camera's position, by EXIF's number
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


def turned(file, number, late=False):
    """An image of smooth noise with EXIF's number for its position; its pixels as stored."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = number
    pixels = np.asarray(Image.fromarray(BYTES[:, :, :3]).resize((40, 24)))
    Image.fromarray(pixels).save(file, **({} if number is None or late else {"exif": exif}))
    if late:  # behind the pixels, where a PNG may have it
        late = chunks((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
        file.write_bytes(file.read_bytes()[:-12] + late + file.read_bytes()[-12:])
    with Image.open(file) as image:
        image.info.pop("exif", None)
        if file.suffix != ".tif":  # Pillow turns these as it reads them
            pixels = np.asarray(image.convert("RGB"))
    return pixels


@pytest.mark.parametrize("number", TURNS)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".late.png", ".webp", ".tif"])
def test_images_lie_as_their_exif_says(tmp_path, suffix, number):
    file = tmp_path / f"a{suffix}"
    wanted = TURNS[number](turned(file, number, late=".late" in suffix))
    wanted = Image.fromarray(np.ascontiguousarray(wanted)).resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(decode8(file).transpose(1, 2, 0), wanted)
    # version 1 turned TIFFs already, so what it made of them is still right
    mark = " turned" if number > 1 and suffix != ".tif" else ""
    assert cache.content_hashes([file]) == [plain_hash(file) + mark]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_images_of_any_mode_are_turned(tmp_path, mode):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = Image.fromarray(BYTES[:, :, :3]).convert(mode)
    image.save(tmp_path / "a.png", exif=exif)
    expected = image.convert("RGB").transpose(Image.Transpose.ROTATE_270)
    found = cache.open_image(tmp_path / "a.png").convert("RGB")
    assert np.array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), changes=st.integers(1, 6))
def test_broken_exif_data_do_not_make_an_image_unreadable(tmp_path_factory, seed, changes):
    exif = Image.Exif()
    exif.update({ExifTags.Base.Orientation: 6, 0x010E: "words", 0x011A: 72.0})
    exif.update({0x8769: {0x9000: b"0230", 0x829A: 0.01}, 0x8825: {1: "N", 2: (1.0, 2.0, 3.0)}})
    data, rng = bytearray(exif.tobytes()), np.random.default_rng(seed)
    for at in rng.integers(14, len(data), changes):
        data[at] = rng.integers(256)
    file = tmp_path_factory.mktemp("one") / "a.jpg"
    Image.fromarray(BYTES[:, :, :3]).save(file, exif=bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decode8(file).shape == (3, 8, 8)


def test_broken_exif_data_are_passed_over_in_silence(tmp_path):
    data = b"Exif\0\0MM\0*\0\0\0\x08\0\x05" + bytes(9)  # five entries, and less than one
    Image.fromarray(BYTES[:, :, :3]).save(tmp_path / "a.png", exif=data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open(tmp_path / "a.png") as image:
            image.getexif()
        assert "Corrupt EXIF data" in str(caught.pop().message), "else there is nothing to hear"
        rows([tmp_path / "a.png"])
    assert not caught


def test_what_version_1_made_of_images_that_it_misread_is_not_found(tmp_path):
    """Neither by the hashes that it left in its index, nor under the key that it made of them."""
    (tmp_path / "a.png").write_bytes(of_depth(16)["rgb.png"])
    turned(tmp_path / "b.jpg", 6)
    turned(tmp_path / "c.jpg", 1)
    folder = hashlib.sha256(os.fsencode(tmp_path)).hexdigest()[:16]
    index = paths.cache_root() / f"hashes-{folder}.json"
    index.parent.mkdir(parents=True)
    files = [tmp_path / name for name in ("a.png", "b.jpg", "c.jpg")]
    times = [(f, f.stat()) for f in files]
    known = {str(f): [s.st_size, s.st_mtime_ns, s.st_ctime_ns, plain_hash(f)] for f, s in times}
    index.write_text(json.dumps(known))
    for file in files:
        key = hashlib.sha256(json.dumps(["rule", [plain_hash(file)]]).encode()).hexdigest()
        cache.save(paths.cache_root() / f"some-{key[:16]}.npy", np.full((1, 3, 8, 8), 7, np.uint8))
    with pytest.raises(cache.Unreadable, match="^a.png: .*16 bits"):
        rows(files[:1])
    assert not (rows(files[1:2])[0] == 7).all()
    assert (rows(files[2:])[0] == 7).all(), "what it read as it is read now is still good"


def test_the_content_of_a_file_that_is_no_image_is_its_bytes(tmp_path, monkeypatch):
    (tmp_path / "weights.safetensors").write_bytes(of_depth(16)["rgb.png"])
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = [tmp_path / "weights.safetensors", tmp_path / "broken.png"]
    assert cache.content_hashes(files) == [*map(plain_hash, files)]
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("looked for an image"))
    assert cache.content_hashes(files[:1]) == [plain_hash(files[0])]
    absent = [tmp_path / "absent"]
    assert cache.content_hashes(absent) != cache.content_hashes(absent)


@pytest.mark.parametrize("suffix, options", [(".jpg", {}), (".jpg", {"progressive": True})]
    + [(s, {}) for s in (".png", ".tif", ".bmp", ".webp", ".jp2")])  # fmt: skip
def test_an_image_cut_short_anywhere_is_refused(tmp_path, suffix, options):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole, cut = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    Image.fromarray(pixels).save(whole, **options)
    assert cache.decode(whole, 8).shape == (3, 8, 8)
    content = whole.read_bytes()
    for share in (0, 0.001, 0.1, 0.5, 0.9, 0.98):
        cut.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=f"^b{suffix}: ."):
            cache.decode(cut, 8)


def test_every_unreadable_file_is_named_and_nothing_is_kept(files):
    files[2].write_bytes(b"no image")
    files[4].write_bytes(files[4].read_bytes()[:60])
    files[5].unlink()
    files[6].write_bytes(b"")
    with pytest.raises(cache.Unreadable) as error:
        rows(files)
    two, four, five, six = error.value.problems
    assert two == "2.png: not an image" and six == "6.png: an empty file"
    assert four.startswith("4.png: ") and five.startswith("5.png: ") and "No such file" in five
    assert "4.png" not in four[5:], "its name is told once"
    assert left_over() == []


def test_a_decompression_bomb_is_refused_before_it_is_decoded(files, monkeypatch):
    monkeypatch.setattr(cache, "MAX_PIXELS", 12 * 10)
    with pytest.raises(cache.Unreadable) as error:
        rows(files)
    assert len(error.value.problems) == 6  # the first just fits
    assert "1.png: 13 x 13 pixels, a decompression bomb? Tile" in error.value.problems[0]


@pytest.mark.parametrize("side", [9_000, 10_000, 20_000])  # ours, Pillow's warning, its error
def test_real_bombs_are_refused_without_a_stray_warning(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packed = chunks((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + packed)
    with pytest.raises(cache.Unreadable, match="decompression bomb"):
        rows([tmp_path / "bomb.png"])


def test_a_failure_half_way_leaves_nothing_and_the_next_build_succeeds(files):
    def fails(file):
        if file.stem == "5":
            raise OSError(errno.ENOSPC, "No space left on device")
        return decode8(file)

    with pytest.raises(OSError, match="No space left"):
        rows(files, fails)
    assert left_over() == []
    assert len(rows(files)[0]) == 7


def test_other_content_is_another_cache_and_the_same_content_the_same(files):
    _, key = rows(files)
    assert rows(files, rule="other")[1] != key
    assert rows(files[::-1])[1] != key
    before = files[3].read_bytes()
    Image.new("RGB", (5, 5)).save(files[3])
    array, other = rows(files)
    assert other != key and not array[3].any()
    files[3].write_bytes(before)
    os.utime(files[3], (1, 1))
    assert rows(files)[1] == key and len(left_over()) == 4


def test_only_settled_files_are_not_read_again(files, monkeypatch):
    read, real, digest = [], time.time_ns, cache._content_hash
    monkeypatch.setattr(cache, "_content_hash", lambda file: read.append(file) or digest(file))
    _, key = rows(files)
    rows(files)
    assert len(read) == 14, "files of this very moment may still change within a tick of the clock"
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10**10)  # ten seconds later
    rows(files)
    assert rows(files)[1] == key and len(read) == 21
    before, stat = files[3].read_bytes(), files[3].stat()
    files[3].write_bytes(bytes([*before[:-20], before[-20] ^ 1, *before[-19:]]))
    os.utime(files[3], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    read.clear()
    assert cache.content_hashes(files)[3] == plain_hash(files[3])
    assert read == [files[3]], "same size and modification time, yet another change time"


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_cache_is_built_again(files, damage):
    array, _ = rows(files)
    (name,) = left_over()
    target = paths.cache_root() / name
    target.write_bytes(target.read_bytes()[:-100] if damage is None else damage)
    for index in paths.cache_root().glob("contents-*"):
        index.write_text("{")
    assert np.array_equal(rows(files)[0], np.stack([decode8(f) for f in files]))


def logged_decode(file, log):
    with open(log, "a") as out:
        out.write(f"{os.getpid()}\n")
    time.sleep(0.05)
    return decode8(file)


def logged_rows(files, log):
    return rows(files, functools.partial(logged_decode, log=log))[0]


@pytest.fixture
def builder(files, tmp_path):
    """Another process that is half way through decoding 350 rows, and the log of who decodes."""
    log = tmp_path / "log"
    fork = multiprocessing.get_context("fork")  # a spawned process would first import torch
    process = fork.Process(target=logged_rows, args=(files * 50, log))
    process.start()
    while not log.exists():
        assert process.is_alive()
        time.sleep(0.01)
    yield process, log
    process.kill()
    process.join()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_build_one_cache_once(files, builder):
    process, log = builder
    array = logged_rows(files * 50, log)
    assert set(log.read_text().split()) == {str(process.pid)}, "this process waited for the other"
    assert np.array_equal(array[-7:], np.stack([decode8(f) for f in files]))
    assert len(left_over()) == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_build_leaves_no_cache_behind(files, builder):
    process, log = builder
    process.kill()
    process.join()
    assert not list(paths.cache_root().glob("some-*.npy"))
    assert len(rows(files * 50)[0]) == 350


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_is_for_terminals_only(files, capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "80")
    cache.cached_rows("some", "rule", decode8, files, progress=True)
    assert ("Decoding some" in capsys.readouterr().err) == terminal
    cache.cached_rows("other", "rule", decode8, files, progress=False)
    assert capsys.readouterr().err == ""
