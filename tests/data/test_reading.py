"""Images and tables as people have them, and everything that can be wrong with them."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from trees import NAMES, fails, image, load, plain, workbook

from maclcore.data import ArchiveError, ArchiveWarning, load_archive
from maclcore.data.archives import read_labels
from maclcore.data.reading import DUPLICATE, SETS, Reading


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".tif"])
def test_a_folder_of_ones_own(tmp_path, suffix):
    archive = load(plain(tmp_path / "mine", suffix=suffix))
    assert archive.name == archive.title == "mine" and archive.footnote == ""
    assert archive.names == NAMES and archive.label_names == ("sea", "pier")
    assert archive.labels.dtype == bool and archive.labels.T.tolist() == [[1] * 6, [0, 1] * 3]
    assert archive.images.shape == (6, 3, 4, 4) and isinstance(archive.images, np.memmap)
    for i, pixels in enumerate(archive.images):
        wanted = np.array([10 * i, 20 * i, 255 - 10 * i])[:, None, None]
        assert np.abs(pixels - wanted).max() <= (3 if suffix == ".JPG" else 0)
    assert load("mine", root=tmp_path).fingerprint == archive.fingerprint


@pytest.mark.parametrize(
    "written",
    [
        {"encoding": "utf-8-sig"},
        {"end": "\r\n"},
        {"encoding": "utf-8-sig", "end": "\r\n", "separator": "\t"},
        {"separator": ";"},
        {"end": "\n\n"},
        {"rows": [(f"images/{n.upper()}.png", " 1", f"{i % 2}.0") for i, n in enumerate(NAMES)]},
        {"rows": [(n, '"1"', i % 2) for i, n in enumerate(NAMES)][::-1]},
    ],
)
def test_a_table_may_be_written_in_many_ways(tmp_path, written):
    one, other = load(plain(tmp_path / "a")), load(plain(tmp_path / "b", **written))
    assert one.label_names == other.label_names and one.names == other.names
    assert np.array_equal(one.labels, other.labels) and one.fingerprint == other.fingerprint


def test_label_names_of_ones_own_are_kept(tmp_path):
    archive = load(plain(tmp_path, header=("image", "Cars", "bare-soil é")))
    assert archive.label_names == ("Cars", "bare-soil é")


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.XLSX"])
def test_a_workbook_is_closed_after_reading(tmp_path, name):
    """Whether it is one, holds faults, is text, or a zip archive of something else."""
    file = tmp_path / name
    workbook(tmp_path / "sound.xlsx", [("image", "sea"), ("a", 1), ("b", 0), ("c", 1)])
    (tmp_path / "sound.xlsx").rename(file)
    with pytest.raises(ArchiveError, match="1 x row without a label.*\n.*line 3.: no label"):
        read_labels(file)
    workbook(tmp_path / "sound.xlsx", [("image", "sea"), ("a", 1)])
    (tmp_path / "sound.xlsx").rename(file)
    labels, names = read_labels(file)
    assert labels.tolist() == [[True]] and names == ("sea",)
    file.write_bytes(b"text")
    with pytest.raises(ArchiveError, match="not a workbook"):
        read_labels(file)
    with zipfile.ZipFile(file, "w") as other:
        other.writestr("readme", "no workbook")
    with pytest.raises(ArchiveError, match="not a workbook"):
        read_labels(file)
    descriptors = Path("/proc/self/fd").glob("*")  # where there is no such folder, none
    assert str(file) not in map(os.path.realpath, descriptors)


def test_all_faults_come_at_once_by_name_and_with_a_remedy(tmp_path):
    rows = [
        ("airplane00", 1, 1),
        ("airplane01", 1, 2),
        ("beach00", 0, 0),
        ("beach01", 1),
        ("river00", 1, 1),
        ("RIVER00.png", 1, 1),
        ("river01", 1, 1),
        ("lost", 1, 1),
        ("", 1, 1),
    ]
    plain(tmp_path / "mine", rows=rows)
    images = tmp_path / "mine/images"
    (images / "airplane00.png").write_bytes((images / "airplane00.png").read_bytes()[:50])
    (images / "beach00.png").write_bytes(b"<html>not found</html>")
    image(images / "River01.jpg")
    message = fails(tmp_path / "mine")
    assert message.startswith("mine cannot be used:\n")
    for expected in (
        "2 x duplicate image name, case and suffix aside: rename or remove one\n",
        "    images/River01.jpg = images/river01.png\n",
        "    RIVER00.png (labels.csv, line 7) = river00 (labels.csv, line 6)\n",
        "3 x faulty row: a name, then 0 or 1 for each label\n",
        "    airplane01 (labels.csv, line 3): pier is '2'\n",
        "1 x row without a label: give it one, or remove the row\n",
        "    beach00 (labels.csv, line 4): no label\n",
        "    beach01 (labels.csv, line 5): 1 label cells where the header has 2\n",
        "     (labels.csv, line 10): no name\n",
        "1 x row without an image: add the image or remove the row\n",
        "    lost (labels.csv, line 9)\n",
        "2 x image that cannot be decoded: convert it, copy it again, or remove it and its row\n",
        "    beach00.png: not an image",
    ):
        assert expected in message + "\n", message
    assert "    airplane00.png: " in message and "truncated" in message


def test_many_faults_are_counted_and_a_few_are_shown(tmp_path):
    rows = [(f"gone{i:02d}", 1, 1) for i in range(25)]
    plain(tmp_path, rows=[(n, 1, 1) for n in NAMES] + rows)
    message = fails(tmp_path)
    assert "25 x row without an image" in message
    assert message.count("gone") == 10 and "... and 15 more" in message


@pytest.mark.parametrize(
    "header, rows, expected",
    [
        (("image",), [(n,) for n in NAMES], "labels.csv: no label"),
        (("image", "a", "a"), None, "labels.csv: 2 columns 'a'"),
        (("image", "a", ""), None, "labels.csv: a column without a name"),
        (("image", "a", "b"), [], "labels.csv: no row"),
        (
            ("image", "a"),
            None,
            "airplane00 (labels.csv, line 2): 2 label cells where the header has 1",
        ),
        (
            ("image", "a", "b"),
            [*((n, 1, 0) for n in NAMES[:5]), (NAMES[5], 1, "yes")],
            "line 7): b is 'yes'",
        ),
        (("image", "a", "b"), [(n, 1, -1) for n in NAMES], "line 7): b is '-1'"),
    ],
)
def test_faulty_tables(tmp_path, header, rows, expected):
    assert expected in fails(plain(tmp_path, header, rows))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_table(tmp_path, content):
    (plain(tmp_path) / "labels.csv").write_bytes(content)
    assert "labels.csv: no label" in fails(tmp_path)


def test_a_table_in_an_encoding_that_nothing_tells(tmp_path):
    plain(tmp_path, encoding="utf-16-le")  # it has no mark
    assert (
        "table that cannot be read: save it as UTF-8 text\n    labels.csv: neither text nor a"
        in fails(tmp_path)
    )


@pytest.mark.parametrize("other", ["River01.png", "river01.jpeg", "deeper/river01.png"])
def test_names_that_collide(tmp_path, other):
    image(plain(tmp_path / "mine") / "images" / other)
    message = fails(tmp_path / "mine")
    assert "duplicate image name" in message and f"images/{other}" in message


def test_names_are_equal_however_unicode_composes_them(tmp_path):
    plain(tmp_path, rows=[(n, 1, 1) for n in NAMES] + [("caf\u00e9", 1, 0)])
    image(tmp_path / "images" / "cafe\u0301.png")
    assert "cafe\u0301" in load(tmp_path).names


def test_images_without_a_row_are_left_out_with_one_warning(tmp_path):
    plain(tmp_path / "mine", rows=[(n, 1, 1) for n in NAMES[:4]])
    (tmp_path / "mine/images/.DS_Store").write_bytes(b"")
    (tmp_path / "mine/images/Thumbs.db").write_bytes(b"")
    (tmp_path / "mine/images/river01.png").write_bytes(b"broken, but of no concern")
    with pytest.warns(ArchiveWarning) as caught:
        archive = load_archive(tmp_path / "mine", image_size=4)
    assert archive.names == NAMES[:4] and len(caught) == 1
    message = str(caught[0].message)
    assert "2 x image left out, no row gives its labels: add the row or remove the" in message
    assert "    river00.png\n    river01.png" in message
    assert "1 x file left out, its suffix is none of .jpg" in message and "    Thumbs.db" in message
    assert ".DS_Store" not in message


def test_control_characters_of_names_are_escaped(tmp_path):
    plain(tmp_path, rows=[(n, 1, 1) for n in NAMES] + [("\x1b[2Jevil", 1, 1)])
    message = fails(tmp_path)
    assert "\x1b" not in message and "\\x1b[2Jevil" in message


LINES = [("line 1", "b.png", ["sea", "pier"]), ("line 2", "a", ["sea"]), ("line 3", "c", ["quay"])]


def test_lists_of_labels_become_rows_in_the_order_of_the_labels():
    reading = Reading(Path("harbour"))
    reading.read_sets(LINES)
    assert reading.label_names == ("pier", "quay", "sea") and not any(reading.faults.values())
    rows = {key: row.tolist() for key, (_, row) in reading.rows.items()}
    assert rows == {"b": [True, False, True], "a": [False, False, True], "c": [False, True, False]}
    wanted = Reading(Path("harbour"), wanted=("sea", "quay", "pier"))
    wanted.read_sets(LINES)
    assert wanted.label_names == wanted.wanted
    assert [row.tolist() for _, row in wanted.rows.values()][0] == [True, False, True]


def test_all_faults_of_lists_of_labels_are_told():
    reading = Reading(Path("harbour"), wanted=("sea", "pier"))
    reading.read_sets(
        [*LINES, ("line 4", "A.jpg", ["sea"]), ("line 5", "", ["sea"]), ("6", "d", [])]
    )
    assert reading.faults[SETS] == [
        "c (line 3): unknown label 'quay'",
        " (line 5): no name",
        "d (6): no label",
    ]
    assert reading.faults[DUPLICATE] == ["A.jpg (line 4) = a (line 2)"]
