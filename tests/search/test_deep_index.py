"""An index of images of more than 8 bits, and of tiles: what is added and asked is seen alike."""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from small import Net
from test_deep_images import png16

from maclcore.__main__ import main
from maclcore.data.archives import read_archive
from maclcore.data.scenes import open_rgb
from maclcore.search.browse import Session
from maclcore.search.embedder import Embedder
from maclcore.search.index import Index
from maclcore.search.kept import kept

HOW = ["--backbone", "tiny", "--weights", "none", "--image-size", "16"]


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    monkeypatch.setattr("maclcore.search.embedder.RetrievalNet", Net)
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))


def picture(seed, height=20, width=20):
    rough = np.random.default_rng(seed).integers(0, 40 * (seed + 1), (3, 3, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height)))


def deep(folder, names, factor=12):
    for seed, name in enumerate(names):
        png16(folder / f"{name}.png", picture(seed).astype(np.uint16) * factor)
    return folder


def near(jpeg, wanted):
    """Whether a JPEG shows these pixels."""
    shown = np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)
    return shown.shape == np.shape(wanted) and np.abs(shown - np.asarray(wanted)).mean() < 8


def nearest(index, image):
    row = found(index, image)[0]
    return row["name"], row["cosine"]


def found(index, image):
    out = Path(index).with_suffix(".json")
    out.unlink(missing_ok=True)
    assert main(["search", str(index), str(image), "--json", str(out)]) == 0
    return json.loads(out.read_text())["answers"][0]["found"]


def test_deep_images_are_indexed_asked_for_and_added_by_one_stretch(tmp_path, capsys):
    where, out = deep(tmp_path / "a", "bcdef"), tmp_path / "i"
    build = ["index", "build", str(where), "--out", str(out), *HOW]
    assert main(build) == 0
    first = Index(out)
    stretch, vectors = first.about.made.stretch, first.vectors(list("bcdef"))
    assert "5 images of more than 8 bits" in capsys.readouterr().out
    # a copy elsewhere is the image itself
    copy = tmp_path / "copy.png"
    copy.write_bytes((where / "d.png").read_bytes())
    assert nearest(out, copy) == ("d", pytest.approx(1, abs=1e-6))
    browsed = Session(out)
    vector = base64.b64decode(browsed.example(copy.read_bytes())["vector"])
    assert np.allclose(np.frombuffer(vector, "<f4"), vectors[2], atol=1e-6)
    assert near(browsed.picture("d")[1], open_rgb(copy, stretch))
    # what comes later is brighter by far, and does not change what is there
    deep(where, "ghijk", 60)
    assert main(build) == 0
    more = deep(tmp_path / "more", ("x", "y"), 3)
    assert main(["index", "add", str(out), str(more)]) == 0
    now = Index(out)
    assert len(now) == 12 and now.about.made.stretch == stretch
    assert np.array_equal(now.vectors(list("bcdef")), vectors)


def test_an_index_that_is_kept_of_an_archive_knows_its_stretch(tmp_path):
    where = deep(tmp_path / "a", "bcdef")
    catalogue = read_archive(where, progress=False, unlabelled=True)
    index, problems = kept(catalogue, Embedder.of_backbone("tiny", "none", 16))
    assert problems == [] and index.about.made.stretch == catalogue.stretch


def test_tiles_are_indexed_with_the_file_and_a_picture_of_their_own(tmp_path):
    where, out = tmp_path / "a", tmp_path / "i"
    where.mkdir()
    Image.fromarray(picture(4, 32, 48)).save(where / "city.png")
    Image.fromarray(picture(2, 9, 9)).save(where / "b.png")
    build = ["index", "build", str(where), "--out", str(out), "--tile", "16", *HOW]
    assert main(build) == 0
    index = Index(out)
    rows = index.rows()
    assert rows["name"].tolist() == ["b", *(f"city_{i}_{j}" for i in (0, 1) for j in (0, 1, 2))]
    assert set(rows["file"]) == {str(where / "city.png"), str(where / "b.png")}
    wanted = picture(4, 32, 48)[16:, 32:]
    assert near(index.thumbnail("city_1_2"), wanted)
    assert near(Session(out).picture("city_1_2")[1], wanted)
    Image.fromarray(wanted).save(tmp_path / "asked.png")
    assert nearest(out, tmp_path / "asked.png") == ("city_1_2", pytest.approx(1, abs=1e-6))
    vectors = index.vectors(["b"])
    assert main(["index", "add", str(out)]) == 0  # read as it was
    assert len(Index(out)) == 7 and np.array_equal(Index(out).vectors(["b"]), vectors)
