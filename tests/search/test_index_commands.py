"""`index` on the command line, and vectors that do not depend on what is embedded beside them."""

import making
import numpy as np
import pytest
from making import content, folder_of, names, picture
from PIL import Image

from maclcore.__main__ import main
from maclcore.data import ArchiveWarning
from maclcore.search.embedder import BATCH, Embedder, of_made
from maclcore.search.index import Index

NETWORK = ("--backbone", "small", "--weights", "none", "--image-size", "16")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path, request):
    if "real" not in request.fixturenames:
        making.small(monkeypatch.setattr)
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def real():
    """Networks as they are."""


def test_from_a_folder_to_an_index_and_back(tmp_path, capsys, monkeypatch):
    folder_of(tmp_path / "own", names(20))
    assert main(["index", "build", "own", *NETWORK, "--out", "own.index"]) == 0
    told = capsys.readouterr().out
    assert "own: 20 images, 2 labels" in told and "own.index: 20 images; 20 new" in told
    assert "embedding" in told and " s: " in told
    folder_of(tmp_path / "own", names(25), header=["cloud"], more=lambda i: [i / 4])
    monkeypatch.chdir(tmp_path / "own")  # from elsewhere, too
    assert main(["index", "add", "../own.index"]) == 0
    assert "25 images; 5 new, 0 changed, 20 with other" in capsys.readouterr().out
    assert main(["index", "show", "../own.index"]) == 0
    told = capsys.readouterr().out
    assert "25; 25 with labels, 0 with coordinates" in told and "sea 25, pier 12" in told
    assert "columns      cloud" in told and "small, none, network" in told and "MB" in told
    index = Index(tmp_path / "own.index")
    assert index.rows("cloud > 5")["name"].tolist() == ["img021", "img022", "img023", "img024"]
    (tmp_path / "own" / "images" / "img003.png").unlink()
    labels = tmp_path / "own" / "labels.csv"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join(line for line in lines if not line.startswith("img003")))
    assert main(["index", "add", "../own.index"]) == 0
    assert "1 images are gone (img003): `index remove" in capsys.readouterr().out
    assert main(["index", "remove", "../own.index", "--missing"]) == 0 and len(index) == 24


def test_images_without_any_table(tmp_path, capsys):
    for name, seed in names(9).items():
        picture(tmp_path / "photos" / f"{name}.png", seed)
    assert main(["index", "build", "photos", *NETWORK, "--out", "i"]) == 0
    index = Index("i")
    assert index.about.label_names == () and len(index) == 9
    assert index.rows()["labels"].tolist() == [[]] * 9


def test_a_table_of_one_s_own_is_read_again_as_it_was(tmp_path, capsys):
    folder_of(tmp_path / "own", names(8))
    table = tmp_path / "notes.csv"
    rows = [f"img{i:03}.png,{'sea;quay' if i % 2 else 'land'},{i}" for i in range(8)]
    table.write_text("\n".join(["file,seen,year", *rows]) + "\n")
    arguments = ["--table", "notes.csv", "--labels-column", "seen"]
    assert main(["index", "build", "own", *NETWORK, *arguments, "--out", "i"]) == 0
    assert set(Index("i").about.label_names) == {"land", "quay", "sea"}
    table.write_text(table.read_text().replace("img003.png,sea;quay", "img003.png,land"))
    assert main(["index", "add", "i"]) == 0
    assert "0 new, 0 changed, 1 with other" in capsys.readouterr().out
    assert Index("i").rows(names=["img003"])["labels"][0] == ["land"]


def test_images_of_sixteen_bits_and_a_query_are_stretched_as_the_index_is(tmp_path, capsys):
    generator = np.random.default_rng(0)
    folder = tmp_path / "deep"
    folder.mkdir()
    for i in range(12):
        pixels = generator.integers(100, 2000, (20, 20), dtype=np.uint16)
        Image.fromarray(pixels).save(folder / f"d{i:02}.png")
    assert main(["index", "build", "deep", *NETWORK, "--out", "i"]) == 0
    index = Index("i")
    assert index.about.made.stretch and "stretch" not in index.about.options
    embedder = of_made(index.about.made)
    for name in ("d00", "d11"):
        assert np.array_equal(embedder.file(folder / f"{name}.png"), index.vectors([name])[0])
    bright = generator.integers(5000, 60000, (20, 20), dtype=np.uint16)
    Image.fromarray(bright).save(folder / "d12.png")  # which alone would be stretched otherwise
    before = content(index)
    assert main(["index", "add", "i"]) == 0 and len(index) == 13
    assert content(index)[:12] == before
    assert main(["index", "build", "deep", *NETWORK, "--out", "i"]) == 0  # the same command, too
    assert content(index)[:12] == before
    assert main(["index", "build", "deep", *NETWORK, "--out", "i", "--stretch", "0,9000"]) == 1
    assert "`index add` reads its archive as it was read" in capsys.readouterr().err


def test_what_cannot_be_asked_for_is_told(tmp_path, capsys):
    folder_of(tmp_path / "own", names(4))
    for arguments, message in [
        (["build", "own", "--out", "i"], "either --run RUN_ID or --backbone NAME"),
        (["build", "own", "--out", "i", "--run", "a", "--backbone", "b"], "either --run"),
        (["build", "nowhere", *NETWORK, "--out", "i"], "nowhere"),
        (["build", "own", "--run", "nothing", "--out", "i"], "nothing"),
        (["add", "own"], "is no index: it has no table"),
        (["show", "nowhere"], "no index nowhere: `index build"),
        (["remove", "own"], "give the names of images, or --missing"),
        (["approximate", "nowhere"], "no index nowhere"),
    ]:
        assert main(["index", *arguments]) == 1, arguments
        assert message in capsys.readouterr().err, arguments
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("backbone", ["resnet18", "timm/vit_tiny_patch16_224:depth=2"])
def test_a_vector_does_not_depend_on_what_is_embedded_beside_it(real, backbone):
    embedder = Embedder.of_backbone(backbone, "none", 32)
    images = np.random.default_rng(0).integers(0, 256, (BATCH + 6, 3, 32, 32)).astype(np.uint8)
    z = embedder(images)
    assert z.dtype == np.float32 and np.allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)
    order = np.random.default_rng(1).permutation(len(images))
    assert np.array_equal(embedder(images[order]), z[order])
    assert np.array_equal(embedder(images[3:4]), z[3:4])
    assert np.array_equal(embedder(images[-6:]), z[-6:])


def test_a_row_whose_image_is_gone_is_told_and_stops_nothing(tmp_path, capsys):
    folder_of(tmp_path / "own", names(9))
    assert main(["index", "build", "own", *NETWORK, "--out", "i"]) == 0
    (tmp_path / "own" / "images" / "img003.png").unlink()
    picture(tmp_path / "own" / "images" / "new.png", 77)
    with pytest.warns(ArchiveWarning, match="1 x row left out, its image is not there\n.*img003"):
        assert main(["index", "add", "i"]) == 0
    told = capsys.readouterr().out
    assert "1 new" in told and "1 images are gone (img003): `index remove" in told
    for i in range(1, 9):
        (tmp_path / "own" / "images" / f"img00{i}.png").unlink(missing_ok=True)
    assert main(["index", "add", "i"]) == 1  # of most: it is another table
    assert "8 x row without an image" in capsys.readouterr().err
