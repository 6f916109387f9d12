import errno
import functools
import hashlib
import multiprocessing
import os
import struct
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

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
    """Everything in the cache but locks and the index of hashes."""
    inside = paths.cache_root().iterdir() if paths.cache_root().exists() else ()
    return [f.name for f in inside if f.suffix != ".lock" and not f.name.startswith("hashes-")]


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


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_deeper_pixels_are_refused_not_clipped(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"not 8-bit .mode {mode}.; convert it to 8-bit RGB"):
        cache.decode(tmp_path / "a.tif", 2)


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
        with pytest.raises(ValueError, match="."):
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
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0"))]
    packed = (
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
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
    read, real = [], time.time_ns
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or read_bytes(self))
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
    assert cache.content_hashes(files, False)[3] == hashlib.sha256(read_bytes(files[3])).hexdigest()
    assert read == [files[3]], "same size and modification time, yet another change time"


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_cache_is_built_again(files, damage):
    array, _ = rows(files)
    (name,) = left_over()
    target = paths.cache_root() / name
    target.write_bytes(target.read_bytes()[:-100] if damage is None else damage)
    for index in paths.cache_root().glob("hashes-*"):
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
