"""Large images cut into tiles, in a folder of one's own."""

import csv

import numpy as np
import pytest
from geo import tif
from PIL import ExifTags, Image

from maclcore.data import ArchiveError, cache, load_archive, scenes
from maclcore.data.archives import read_archive
from maclcore.data.bands import Window
from maclcore.data.patches import found_again
from maclcore.data.scenes import Scene
from maclcore.data.stretch import Stretch


def scene(seed, height, width):
    """Smooth enough for a JPEG, and nowhere twice the same."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype(np.uint8))
    return np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC))


def folder_of(root, images, write=lambda file, pixels: Image.fromarray(pixels).save(file)):
    (root / "images").mkdir(parents=True)
    with open(root / "labels.csv", "w", newline="") as out:
        rows = [[name.rsplit(".", 1)[0], 1, i % 2] for i, name in enumerate(images)]
        csv.writer(out).writerows([["image", "sea", "pier"], *rows])
    for name, pixels in images.items():
        write(root / "images" / name, pixels)
    return root


def put_together(catalogue, image, stretch=None):
    """A scene of its tiles, each where its window says; ties must agree."""
    whole, seen = None, None
    for tile in catalogue.images:
        if not isinstance(tile, Scene) or not tile.name.startswith(f"{image}_"):
            continue
        row, column, side, height, width = tile.window
        pixels = np.asarray(scenes.open_rgb(tile, stretch)).astype(int)
        assert pixels.shape == (side, side, 3)
        if whole is None:
            whole, seen = np.full((height, width, 3), -1), np.zeros((height, width), int)
        there = whole[row : row + side, column : column + side]
        assert ((there == -1) | (there == pixels)).all()
        whole[row : row + side, column : column + side] = pixels
        seen[row : row + side, column : column + side] += 1
    return whole, seen


@pytest.mark.parametrize(("height", "width"), [(64, 48), (50, 70), (17, 90), (90, 17), (33, 16)])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_tiles_put_together_are_the_scene(tmp_path, height, width, suffix):
    where = folder_of(tmp_path / "a", {f"city.{suffix}": scene(1, height, width)})
    known = read_archive(where, tile=16, progress=False)
    whole, seen = put_together(known, "city")
    assert np.array_equal(whole, cache.open_image(where / f"images/city.{suffix}").convert("RGB"))
    assert seen.min() == 1 and known.stretch is None
    rows, columns = -(-height // 16), -(-width // 16)
    assert len(known) == rows * columns
    # none reaches beyond the edge, and only the last one of a row or column overlaps another
    assert (seen[: 16 * (height // 16 - 1), : 16 * (width // 16 - 1)] == 1).all()


def test_deep_tiles_put_together_are_the_scene(tmp_path):
    def deep(file, pixels):
        tif(file, pixels.transpose(2, 0, 1).astype(np.uint16) * 12)

    where = folder_of(tmp_path / "a", {"city.tif": scene(1, 50, 70), "b.tif": scene(2, 9, 9)}, deep)
    known = read_archive(where, tile=16, progress=False)
    whole = scenes.open_rgb(where / "images/city.tif", known.stretch)
    assert np.array_equal(put_together(known, "city", known.stretch)[0], whole)
    # tiles are stretched as the scenes are, whose sample it is
    assert known.stretch == read_archive(where, progress=False).stretch


@pytest.mark.parametrize("number", [3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_tiles_are_cut_as_the_image_lies(tmp_path, suffix, number):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = number

    def turned(file, pixels):
        Image.fromarray(pixels).save(file, exif=exif)

    where = folder_of(tmp_path / "a", {f"city.{suffix}": scene(1, 40, 24)}, turned)
    known = read_archive(where, tile=16, progress=False)
    whole = cache.open_image(where / f"images/city.{suffix}").convert("RGB")
    assert np.array_equal(put_together(known, "city")[0], whole)
    assert known.images[0].window[3:] == ((24, 40) if number > 4 else (40, 24))


def test_tiles_have_names_places_and_labels_of_their_scene(tmp_path):
    images = {"wide.png": scene(1, 16, 16 * 11), "small.png": scene(2, 9, 9)}
    where = folder_of(tmp_path / "a", images)
    found = load_archive(where, image_size=4, tile=16, progress=False)
    assert found.names == ("small", *(f"wide_0_{i:02}" for i in range(11)))
    assert found.places == ("small", *["wide"] * 11)
    assert found.labels.tolist() == [[True, True], *[[True, False]] * 11]
    said = read_archive(where, tile=16, progress=False).said
    assert (
        "1 image cut into 11 tiles of 16 pixels, <image>_<row>_<column>, the last of a row or "
        "column at the edge; labels of an image are those of its tiles"
    ) in said


def test_a_split_keeps_the_tiles_of_a_scene_together(tmp_path):
    images = {f"s{i}.png": scene(i, 32, 32) for i in range(12)}
    found = load_archive(folder_of(tmp_path / "a", images), image_size=4, tile=16, progress=False)
    assert len(found) == 48
    parts = [{found.places[i] for i in part} for part in found.split(0)[:3]]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 12


def test_a_table_may_have_rows_of_tiles(tmp_path):
    where = folder_of(tmp_path / "a", {"s.png": scene(0, 16, 32)})
    (where / "labels.csv").write_text("image,sea,pier\ns_0_0,1,0\ns_0_1,0,1\n")
    found = load_archive(where, image_size=4, tile=16, progress=False)
    assert found.labels.tolist() == [[True, False], [False, True]]


def test_a_tile_is_known_by_its_scene_and_its_window(tmp_path):
    images = {"a.png": scene(1, 32, 32), "b.png": scene(2, 32, 32)}
    where = folder_of(tmp_path / "a", images)
    before = read_archive(where, tile=16, progress=False)
    hashes = before.contents()
    assert len(set(hashes)) == 8
    assert before.contents([5, 0]) == [hashes[5], hashes[0]]
    Image.fromarray(scene(3, 32, 32)).save(where / "images/b.png")
    after = read_archive(where, tile=16, progress=False)
    assert after.contents()[:4] == hashes[:4] and not {*after.contents()[4:]} & {*hashes}
    keys = {
        load_archive(where, image_size=4, tile=t, progress=False).fingerprint for t in (0, 8, 16)
    }
    whole = load_archive(where, image_size=4, progress=False).fingerprint
    assert len(keys) == 3 and whole in keys


def test_pillow_decodes_a_scene_once_for_all_its_tiles(tmp_path, monkeypatch):
    opened, real = [], cache.open_image
    monkeypatch.setattr(cache, "open_image", lambda file: opened.append(file.name) or real(file))
    images = {f"{n}.jpg": scene(i, 64, 64) for i, n in enumerate("abc")}
    found = load_archive(folder_of(tmp_path / "a", images), image_size=4, tile=8, progress=False)
    assert len(found) == 192
    # once each; again only where a thread was so late that two scenes have come in between
    assert {*opened} == {"a.jpg", "b.jpg", "c.jpg"} and len(opened) < 12


def test_what_is_too_large_to_be_read_whole_is_read_in_tiles(tmp_path, monkeypatch):
    def both(file, pixels):
        tif(file, pixels.transpose(2, 0, 1), tiled=True, blockxsize=16, blockysize=16)

    images = {"a.tif": scene(1, 64, 64), "b.tif": scene(2, 64, 80)}
    where = folder_of(tmp_path / "a", images, both)
    wanted = {n: np.asarray(scenes.open_rgb(where / "images" / n)) for n in images}
    monkeypatch.setattr(cache, "MAX_PIXELS", 64 * 64)
    with pytest.raises(ArchiveError, match=r"b.tif: 80 x 64 pixels, .*--tile 256") as error:
        load_archive(where, image_size=4, progress=False)
    assert "a.tif" not in str(error.value)
    known = read_archive(where, tile=24, progress=False)
    for name, pixels in wanted.items():
        assert np.array_equal(put_together(known, name[0])[0], pixels)

    def deep(file, pixels):
        tif(file, pixels.transpose(2, 0, 1).astype(np.uint16) * 257)

    where = folder_of(tmp_path / "b", {"b.tif": images["b.tif"]}, deep)
    with pytest.raises(ArchiveError, match=r"b.tif: 80 x 64 pixels: .*--tile 256"):
        load_archive(where, image_size=4, progress=False)
    known = read_archive(where, tile=24, progress=False, stretch="0,65535")
    assert np.array_equal(put_together(known, "b", known.stretch)[0], wanted["b.tif"])


def test_a_large_file_that_cannot_be_read_in_parts_is_told(tmp_path, monkeypatch):
    where = folder_of(tmp_path / "a", {"a.png": scene(1, 64, 64), "b.jpg": scene(2, 8, 8)})
    monkeypatch.setattr(cache, "MAX_PIXELS", 1000)
    with pytest.raises(ArchiveError, match=r"a.png: 64 x 64 pixels, too large .* to TIFF"):
        load_archive(where, image_size=4, tile=16, progress=False)


def test_broken_scenes_are_told_at_once(tmp_path):
    images = {f"{n}.png": scene(i, 32, 32) for i, n in enumerate("abc")}
    where = folder_of(tmp_path / "a", images)
    (where / "images/a.png").write_bytes(b"")
    (where / "images/c.png").write_text("words")
    with pytest.raises(ArchiveError) as error:
        load_archive(where, image_size=4, tile=16, progress=False)
    assert "2 x image that cannot be decoded" in str(error.value)
    assert "a.png: " in str(error.value) and "c.png: " in str(error.value)
    assert "row without" not in str(error.value)


def test_two_images_of_one_name_are_told(tmp_path):
    images = {"a.png": scene(0, 16, 32), "a_0_1.png": scene(1, 8, 8)}
    with pytest.raises(ArchiveError, match="a_0_1 is an image and a tile of a"):
        read_archive(folder_of(tmp_path / "a", images), tile=16, progress=False)


def test_a_tile_of_no_pixels_and_one_beside_a_bands_toml_are_refused(tmp_path):
    where = folder_of(tmp_path / "a", {"a.png": scene(0, 16, 32)})
    with pytest.raises(ValueError, match="tile is -1"):
        read_archive(where, tile=-1, progress=False)
    (where / "bands.toml").write_text("[s1]\n")
    with pytest.raises(ValueError, match="without bands.toml, which says them"):
        read_archive(where, tile=16, progress=False)


@pytest.mark.parametrize(("height", "width", "side"), [(100, 30, 40), (7, 7, 3), (1, 9, 4)])
def test_squares_cover_every_pixel(height, width, side):
    places, cut = zip(*scenes.squares(height, width, side), strict=True)
    assert [*places] == sorted({*places})
    seen = np.zeros((height, width), int)
    for row, column, edge, *_ in cut:
        assert edge == min(side, height, width) and row + edge <= height and column + edge <= width
        seen[row : row + edge, column : column + edge] += 1
    assert seen.min() == 1 and len({*cut}) == len(cut)
    assert isinstance(cut[0], Window)


def test_a_deep_png_is_cut_too(tmp_path):
    def deep(file, pixels):
        Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257).save(file)

    where = folder_of(tmp_path / "a", {"a.png": scene(0, 20, 30)}, deep)
    known = read_archive(where, tile=16, progress=False, stretch="0,65535")
    whole = put_together(known, "a", Stretch.of("0,65535"))[0]
    assert np.array_equal(whole[:, :, 1], scene(0, 20, 30)[:, :, 0])


def test_what_a_table_tells_of_a_scene_is_of_its_tiles(tmp_path):
    where = folder_of(tmp_path / "a", {"s.png": scene(0, 16, 32), "t.png": scene(1, 9, 9)})
    rows = ["image,sea,year,lon,lat", "s,1,2019,10,50", "t,0,2020,11,51"]
    (where / "labels.csv").write_text("\n".join(rows) + "\n")
    known = read_archive(where, tile=16, progress=False, unlabelled=True)
    assert known.names == ("s_0_0", "s_0_1", "t")
    assert known.columns["year"] == (2019, 2019, 2020)
    assert known.coordinates.tolist() == [[10, 50], [10, 50], [11, 51]]


def test_class_folders_with_recurring_names_are_cut(tmp_path):
    for folder in ("beach", "city"):
        (tmp_path / folder).mkdir()
        Image.fromarray(scene(len(folder), 16, 32)).save(tmp_path / folder / "0.png")
    known = read_archive(tmp_path, tile=16, progress=False)
    assert known.names == ("beach/0_0_0", "beach/0_0_1", "city/0_0_0", "city/0_0_1")
    assert known.label_names == ("beach", "city") and known.places[0] == "beach/0"
    assert known.labels.tolist() == [[True, False]] * 2 + [[False, True]] * 2


def test_an_image_is_found_again_by_its_name_and_its_file(tmp_path):
    """What an index keeps of an image is enough to show it."""
    images = {"a.png": scene(0, 33, 50), "b_0_1.jpg": scene(1, 16, 80), "c_1_2.tif": scene(2, 9, 9)}
    where = folder_of(tmp_path / "a", images)
    for band in ("B02", "B03", "B04"):
        for name, side in (("x", 40), ("y_0_0", 8)):
            pixels = np.random.default_rng(side).integers(0, 4000, (side, side)).astype(np.uint16)
            tif(where / f"images/{name}/{name}_{band}.tif", pixels)
    for tile in (0, 16):
        known = read_archive(where, tile=tile, progress=False, unlabelled=True)
        assert len(known) == (5 if tile == 0 else 12 + 5 + 1 + 9 + 1)
        for name, image in zip(known.names, known.images, strict=True):
            again = found_again(scenes.files_of(image)[0], name, tile)
            shown = [scenes.open_rgb(one, known.stretch) for one in (again, image)]
            assert np.array_equal(*shown), name
