"""Images as the page shows them: of every format, by number, never from elsewhere."""

import io

import numpy as np
import pytest
from asking import LABELS, Client
from PIL import Image

from maclcore.annotation.server import Server
from maclcore.annotation.session import Session


def picture(client, index=0):
    status, content, headers = client.get(f"/image/{index}")
    assert status == 200, content
    return Image.open(io.BytesIO(content)), headers["Content-Type"]


def annotated(folder, **options):
    return Server(Session(folder, **{"annotator": "ada", "labels": LABELS, **options})).start()


def test_images_come_as_they_are(client):
    shown, kind = picture(client, 3)
    assert kind == "image/png" and shown.size == (24, 16)
    assert shown.getpixel((5, 5)) == (0, 255, 63)


MODES_OF = {
    "tif": ["RGB", "L", "RGBA", "CMYK", "P", "1"],
    "bmp": ["RGB", "L", "P", "1"],
    "webp": ["RGB", "RGBA"],
    "jp2": ["RGB", "L", "RGBA"],
    "jpg": ["RGB", "L", "CMYK"],
}


@pytest.mark.parametrize(("suffix", "mode"), [(s, mode) for s in MODES_OF for mode in MODES_OF[s]])
def test_every_format_that_is_read_is_one_that_a_browser_shows(tmp_path, suffix, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / f"a.{suffix}")
    server = annotated(tmp_path)
    shown, kind = picture(Client(server.address))
    server.stop()
    assert (kind, shown.size, shown.mode) == ("image/png", (20, 10), "RGB")
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert np.array_equal(np.asarray(shown), np.asarray(image.convert("RGB")))


def test_a_large_image_comes_as_jpeg_and_a_turned_one_as_it_is_to_be_seen(tmp_path):
    Image.new("RGB", (2000, 1000), (0, 0, 200)).save(tmp_path / "large.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "turned.jpg", exif=exif)
    server = annotated(tmp_path)
    (large, kind), (turned, _) = (picture(Client(server.address), i) for i in (0, 1))
    server.stop()
    assert (kind, large.size, turned.size) == ("image/jpeg", (2000, 1000), (10, 20))


def test_what_cannot_be_shown_is_named_and_can_be_skipped(folder):
    (folder / "images" / "empty.png").touch()
    (folder / "images" / "text.png").write_text("<script>alert(1)</script>")
    cut = (folder / "images" / "img0.png").read_bytes()
    (folder / "images" / "short.png").write_bytes(cut[: len(cut) // 2])
    Image.new("I;16", (9, 9)).save(folder / "images" / "deep.tif")
    (folder / "images" / "gone.png").write_bytes(cut)
    server = annotated(folder)
    (folder / "images" / "gone.png").unlink()
    client, names = Client(server.address), server.session.pictures.names
    said = {}
    for name in ("empty", "text", "short", "deep", "gone"):
        status, content, headers = client.get(f"/image/{names.index(name)}")
        assert status == 422 and headers["Content-Type"] == "application/json"
        said[name] = content["error"]
    assert all(said[name].startswith(name) for name in said)
    assert "an empty file" in said["empty"] and "16 bits" in said["deep"]
    while (state := client.get("/state")[1])["task"]:
        client.answer("skip" if state["task"]["name"] in said else "labels")
    assert {*client.get("/summary")[1]["aside"]} == {*said}
    server.stop()


def test_links_out_of_the_folder_are_refused(folder, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    (folder / "images" / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "images" / "in.png").symlink_to(folder / "images" / "img0.png")
    (folder / "images" / "beyond").symlink_to(tmp_path)
    server = annotated(folder)
    client, names = Client(server.address), server.session.pictures.names
    assert "secret" not in names
    status, content, _ = client.get(f"/image/{names.index('out')}")
    assert status == 422 and "out: out.png is a link out of the folder" in content["error"]
    assert client.get(f"/image/{names.index('in')}")[0] == 200
    (folder / "images" / "img1.png").unlink()  # and one that becomes a link later
    (folder / "images" / "img1.png").symlink_to(tmp_path / "secret.png")
    assert client.get(f"/image/{names.index('img1')}")[0] == 422
    server.stop()


def bands(folder, names, toml):
    rasterio = pytest.importorskip("rasterio")
    (folder / "images").mkdir()
    (folder / "bands.toml").write_text(toml)
    shape = {"count": len(names), "height": 6, "width": 8, "dtype": "uint16"}
    with rasterio.open(
        folder / "images" / "a.tif",
        "w",
        "GTiff",
        transform=rasterio.Affine(10, 0, 0, 0, -10, 0),
        **shape,
    ) as out:
        for i, level in enumerate(names.values()):
            out.write(np.full((6, 8), level, np.uint16), i + 1)
    return annotated(folder)


def test_of_many_bands_red_green_and_blue_are_shown(tmp_path):
    levels = {"B2": 100, "B3": 1500, "B4": 3000, "B8": 200}
    toml = '[s2_l2a]\nbands = ["B2", "B3", "B4", "B8"]\n'
    server = bands(tmp_path, levels, toml)
    shown, kind = picture(Client(server.address))
    server.stop()
    red, green, blue = shown.getpixel((3, 3))
    assert kind == "image/png" and shown.size == (8, 6) and red > green > blue


def test_bands_without_colours_are_an_error_that_says_so(tmp_path):
    server = bands(tmp_path, {"B5": 9, "B8": 9}, '[s2_l2a]\nbands = ["B5", "B8"]\n')
    status, content, _ = Client(server.address).get("/image/0")
    server.stop()
    assert status == 422 and "a: no B4,B3,B2" in content["error"] and "B5, B8" in content["error"]
