"""Folders of one's own however their images lie, which image a row means, and how it is used."""

import os
import unicodedata
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from trees import NAMES, image, load, plain, table

from maclcore.__main__ import main
from maclcore.data import ArchiveError, ArchiveWarning, load_archive
from maclcore.data.archives import read_archive
from maclcore.data.layout import Images, path_key
from maclcore.data.plain import write_labels

CLASSES = ("beach", "forest", "Río")
NUMBERED = [f"{name}/{i:03d}" for name in CLASSES for i in range(4)]


def nested(where, names=NUMBERED, suffix=".png", under=""):
    for i, name in enumerate(names):
        image(where / under / f"{name}{suffix}", i)
    return where


def of(catalogue):
    """Of each image the names of its labels."""
    names = np.array(catalogue.label_names)
    return {
        n: set(names[row].tolist())
        for n, row in zip(catalogue.names, catalogue.labels, strict=True)
    }


def refused(where, **options):
    with pytest.raises(ArchiveError) as error:
        read_archive(where, progress=False, **options)
    return str(error.value)


@pytest.mark.parametrize("under", ["", "images", "a/deep place"])
def test_folders_are_labels_where_there_is_no_table(tmp_path, under):
    archive = load(nested(tmp_path / "own", under=under))
    assert archive.names == tuple(sorted(NUMBERED)) and archive.label_names == (
        "Río",
        "beach",
        "forest",
    )
    assert of(archive) == {name: {name.split("/")[0]} for name in NUMBERED}
    assert archive.said == (
        "names of images are paths, such as 'Río/000', for 4 file names recur in several folders",
        "3 labels, the folders of the images: Río, beach, forest",
    )
    for i, name in enumerate(NUMBERED):  # and each name has its own pixels
        assert archive.images[archive.names.index(name), 0, 0, 0] == i


def test_names_that_do_not_recur_are_without_folders(tmp_path):
    names = [f"{name}/{name}{i}" for name in CLASSES for i in range(2)]
    catalogue = read_archive(nested(tmp_path, names))
    assert of(catalogue) == {name.split("/")[1]: {name.split("/")[0]} for name in names}
    flat = plain(tmp_path / "flat")
    before = load(flat)
    (flat / "images/more").mkdir()
    for name in NAMES[:3]:
        (flat / f"images/{name}.png").rename(flat / f"images/more/{name}.png")
    assert load(flat).fingerprint == before.fingerprint and load(flat).names == NAMES


@pytest.mark.parametrize(
    "written",
    ["{}", "{}.png", "{}.JPG", "./{}", "images/{}.png", "/data/city/images/{}.png"],
)
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_a_row_says_the_folder_in_any_way(tmp_path, written, separator):
    nested(tmp_path, under="images")
    rows = [
        (written.format(name.upper()).replace("/", separator), f"l{i}")
        for i, name in enumerate(NUMBERED)
    ]
    table(tmp_path / "labels.csv", ("file", "labels"), rows)
    assert of(read_archive(tmp_path)) == {name: {f"l{i}"} for i, name in enumerate(NUMBERED)}


def test_a_row_that_several_images_fit_is_a_fault(tmp_path):
    nested(tmp_path)
    table(tmp_path / "labels.csv", ("image", "labels"), [("000.png", "a"), ("beach/001", "b")])
    message = refused(tmp_path)
    assert "1 x duplicate image name in several folders: let the row say which, as" in message
    assert (
        "    000.png (labels.csv, line 2): Río/000.png or beach/000.png or forest/000.png"
        in message
    )
    (tmp_path / "forest/000.png").rename(tmp_path / "forest/only.png")
    rows = [("beach/000", "a"), ("forest/000", "b"), ("city/only", "c"), ("only", "d")]
    table(tmp_path / "labels.csv", ("image", "labels"), rows)
    message = refused(tmp_path)  # the folder that is named must be the image's
    assert "2 x row without an image" in message
    assert (
        "forest/000 (labels.csv, line 3)" in message and "city/only (labels.csv, line 4)" in message
    )


def test_a_row_of_an_image_that_lacks_is_not_taken_for_another_folders(tmp_path):
    """No file name recurs here any more, but the table tells that some did."""
    nested(tmp_path, ["beach/000", "forest/001"])
    rows = [("beach/000", "sand"), ("forest/000", "tree"), ("forest/001", "tree")]
    table(tmp_path / "labels.csv", ("image", "labels"), rows)
    assert "1 x row without an image" in (message := refused(tmp_path))
    assert "    forest/000 (labels.csv, line 3)" in message
    table(tmp_path / "labels.csv", ("image", "labels"), [rows[0], ("a/001", "b"), ("b/001", "c")])
    assert "duplicate image name" in refused(tmp_path)  # whose folders are none of the image's


def test_paths_by_parts():
    images = Images({"/".join(p): p for p in (("x",), ("a", "x"), ("b", "a", "x"), ("c", "y"))})
    assert images.which("A\\X.PNG") == "a/x" == images.which("/elsewhere/a/x.tif")
    assert images.which("b/a/x") == "b/a/x" and images.which("q/x") == "x"
    assert images.which("y") == "c/y" == images.which("r/c/y") and images.which("d/y") is None
    assert images.which("z") is None and images.match(["a/x", "", "y"]) == ["a/x", None, "c/y"]
    with pytest.raises(ValueError):
        images.which("x.png")
    assert path_key("Bea\u0301ch /./A.tif.PNG") == ("be\u00e1ch", "a.tif")


@pytest.mark.parametrize("loose", [False, True])
def test_names_with_spaces_commas_and_accents(tmp_path, loose):
    files = [
        "a b, c.png",
        " spaced .png",
        unicodedata.normalize("NFD", "café é.jpg"),
        "x.y.TIF",
        "Ω;|.bmp",
    ]
    for file in files:
        image(tmp_path / ("" if loose else "images") / file)
    rows = [
        ("A B, C", "l0"),
        ("spaced", "l1"),
        ("Café é.png", "l2"),
        ("x.Y", "l3"),
        ("ω;|.BMP", "l4"),
    ]
    pd.DataFrame(rows, columns=["image", "tags"]).to_csv(tmp_path / "any name.csv", index=False)
    found = of(read_archive(tmp_path))
    assert found == {os.path.splitext(file)[0]: {f"l{i}"} for i, file in enumerate(files)}


def test_linked_folders_are_read_once_and_loops_are_none(tmp_path):
    nested(tmp_path / "store", ["c/000", "c/001"])
    own = nested(tmp_path / "own", ["a/000"])
    (own / "b").symlink_to(tmp_path / "store/c")
    (own / "a/round").symlink_to(own)
    (own / "b2").symlink_to(tmp_path / "store/c")
    (tmp_path / "store/c/back").symlink_to(tmp_path / "store")
    with pytest.warns(ArchiveWarning, match="is a link to one that is read as well") as caught:
        found = of(read_archive(own))
    assert found == {"a/000": {"a"}, "b/000": {"b"}, "b/001": {"b"}} and len(caught) == 1
    assert {"    a/round", "    b2"} <= set(str(caught[0].message).splitlines())


def test_what_systems_add_is_no_image(tmp_path):
    nested(tmp_path, [*NUMBERED, "__MACOSX/beach/000", ".thumbs/000", "forest/.000"])
    for name in ("README.md", "~$labels.xlsx", ".labels.csv", "Thumbs.db"):
        (tmp_path / name).write_text("")
    with pytest.warns(ArchiveWarning, match="1 x file left out, its suffix.*\n    Thumbs.db$"):
        assert read_archive(tmp_path).names == tuple(sorted(NUMBERED))


@pytest.mark.parametrize(
    "names", [["a/b/0", "a/c/1", "d/2"], ["0", "a/1", "b/2"], ["a/b/0", "c/d/1"]]
)
def test_folders_of_several_depths_are_not_labels(tmp_path, names):
    archive = load(nested(tmp_path, names))
    assert archive.label_names == () and archive.labels.shape == (len(names), 0)
    assert "folders are not taken for them, for images lie at several depths" in archive.said[-1]


@pytest.mark.parametrize("named", [False, True])
def test_folders_may_tell_the_split(tmp_path, named):
    names = [f"{part}/{label}/{part}{label}{i}" for part in ("train", "val", "TEST")
             for label in ("sea", "pier") for i in range(3)]  # fmt: skip
    archive = load(nested(tmp_path, names))
    assert archive.label_names == ("pier", "sea") and set(map(len, of(archive).values())) == {1}
    split = archive.split(0, official=True)
    for part, word in zip(split, ("train", "val", "TEST"), strict=True):
        assert sorted(archive.names[i] for i in part) == sorted(
            n for n in archive.names if word in n
        )


# --- No labels ------------------------------------------------------------------------------------


def test_images_alone_are_an_archive_that_cannot_be_trained_on(tmp_path, capsys):
    for i, name in enumerate(NAMES):
        image(tmp_path / "own" / f"{name}.png", 10 * i)
    archive = load(tmp_path / "own")
    assert (
        archive.names == NAMES and archive.labels.shape == (6, 0) and archive.labels.dtype == bool
    )
    with pytest.raises(ArchiveError, match="own has no labels .*table .*folder.* annotate FOLDER"):
        archive.split(0)
    assert main(["data", str(tmp_path / "own")]) == 0
    assert capsys.readouterr().out.startswith(
        "no labels, neither in a table nor by folders\n\nown: 6 images at 64 px, no labels\nfinger"
    )
    assert (
        main(["train", "--archive", str(tmp_path / "own"), "--loss", "mulsupcon", "--quiet"]) == 1
    )
    assert "has no labels to train on" in capsys.readouterr().err
    labelled = plain(tmp_path / "b")
    assert load(labelled).contents == archive.contents
    assert load(labelled).fingerprint != archive.fingerprint


def test_unlabelled_images_of_a_table_are_kept_if_asked(tmp_path):
    nested(tmp_path)
    table(tmp_path / "labels.csv", ("image", "labels"), [("beach/000", "sea"), ("beach/001", "")])
    found = of(read_archive(tmp_path, unlabelled=True))
    assert len(found) == 12 and found["beach/000"] == {"sea"} and found["beach/001"] == set()
    table(tmp_path / "labels.csv", ("image", "labels"), [("beach/000", "sea")])
    with pytest.warns(ArchiveWarning, match="11 x image left out, no row gives its labels"):
        assert of(read_archive(tmp_path)) == {"beach/000": {"sea"}}


# --- By the command line --------------------------------------------------------------------------


def test_the_command_says_writes_and_reads_again(tmp_path, capsys):
    own = nested(tmp_path / "own")
    rows = [
        (name + ".png", "; ".join(["sea", "pier", "x"][: i % 3 + 1]), 10 + i)
        for i, name in enumerate(NUMBERED)
    ]
    pd.DataFrame(rows, columns=["Datei", "Klassen", "Höhe"]).to_excel(
        own / "liste.xlsx", index=False
    )
    words = ["data", str(own), "--image-size", "8"]
    target = own / "labels.csv"
    assert main([*words, "--labels-column", "Klassen", "--write-labels", str(target)]) == 0
    said = capsys.readouterr().out
    assert (
        "read 12 rows of liste.xlsx: names in column 'Datei', 3 labels in column 'Klassen', "
        "separated by ';'\nnames of images are paths, such as 'Río/000', for 4 file names recur in "
        "several folders\nkept beside the labels: 'Höhe'\n\nown: 12 images at 8 px, 3 labels"
    ) in said
    assert said.endswith(f"written: {target} (other columns are left out)\n")
    first = load_archive(own, image_size=8, table="liste.xlsx", labels_column="Klassen")
    assert load_archive(own, image_size=8).fingerprint == first.fingerprint
    read = pd.read_csv(target, index_col="image")
    assert read.loc["forest/003"].tolist() == [1, 1, 0] and list(read) == ["pier", "sea", "x"]
    assert main([*words, "--table", "liste.xlsx", "--label-columns", "Höhe"]) == 1
    streams = capsys.readouterr()
    assert "read 12 rows of liste.xlsx" in streams.out and "Höhe is '10'" in streams.err
    assert main([*words, "--write-labels", str(target)]) == 1
    assert "is there already, and is not replaced" in capsys.readouterr().err
    assert main(["data", "synthetic", "--table", "x"]) == 1
    assert "has no option table" in capsys.readouterr().err


def test_names_that_a_table_cannot_hold_are_told_and_nothing_is_written(tmp_path):
    own = plain(tmp_path / "own")
    bad = os.fsencode(own / "images") + b"/caf\xe9.png"
    os.rename(os.fsencode(own / "images/beach00.png"), bad)
    catalogue = read_archive(nested(tmp_path / "b", ["a/0", "b/1"]))
    odd = replace(catalogue, names=("caf\udce9", "1"))
    with pytest.raises(ArchiveError, match="whose name a row cannot tell.*\n.*caf.udce9"):
        write_labels(odd, tmp_path / "c.csv")
    assert not (tmp_path / "c.csv").exists()


def test_preparing_a_folder_of_ones_own_says_what_it_is(tmp_path, capsys):
    own = nested(tmp_path / "own")
    assert main(["data", "prepare", str(own)]) == 1
    said = capsys.readouterr().err
    assert f"needs no preparation: python -m maclcore data {own}" in said
    assert "3 labels, the folders of the images" in said
    table(own / "labels.csv", ("image", "labels"), [("lake", "a")])
    assert main(["data", "prepare", str(own)]) == 1
    assert "1 x row without an image" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.XLSX"])
def test_labels_alone_are_read_in_any_form(tmp_path, name, capsys):
    rows = [(f"i{i}", ";".join("abc"[: i % 3 + 1])) for i in range(9)]
    pd.DataFrame(rows, columns=["file", "labels"]).to_excel(tmp_path / "t.xlsx", index=False)
    (tmp_path / "t.xlsx").rename(tmp_path / name)
    assert main(["evaluate", "--labels-only", str(tmp_path / name)]) == 0
    assert f"{name}: 9 images, 3 labels" in capsys.readouterr().out
