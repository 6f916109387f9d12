"""Official and plain trees, made small here; the real archives wherever MACL_DATA has them."""

import os
import shutil
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from openpyxl import Workbook
from openpyxl.styles import Font
from PIL import Image

from maclcore import paths
from maclcore.data import ArchiveError, ArchiveWarning, cache, describe, load_archive, synthetic
from maclcore.data.archives import ARCHIVES, COLOURS, read_labels

# the 17 columns as the distributed tables spell them
OFFICIAL = (
    *("airplane", "bare-soil", "buildings", "cars", "chaparral", "court", "dock", "field", "grass"),
    *("mobile-home", "pavement", "sand", "sea", "ship", "tanks", "trees", "water"),
)
NAMES = ("airplane00", "airplane01", "beach00", "beach01", "river00", "river01")


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))


def image(file, value=0, size=(9, 7)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 2 * value, 255 - value)).save(file)


def table(file, header, rows, separator=",", encoding="utf-8", end="\n"):
    lines = [separator.join(map(str, row)) for row in (header, *rows)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes((end.join(lines) + end).encode(encoding))


def labels17(n=6, seed=0):
    y = np.random.default_rng(seed).integers(0, 2, (n, 17))
    y[:, 3] = 1
    return y


def plain(folder, header=("image", "sea", "pier"), rows=None, suffix=".png", **options):
    """A sound plain archive of six images and two labels, if nothing else is asked for."""
    rows = [(name, 1, i % 2) for i, name in enumerate(NAMES)] if rows is None else rows
    for i, name in enumerate(NAMES):
        image(folder / "images" / f"{name}{suffix}", 10 * i)
    table(folder / "labels.csv", header, rows, **options)
    return folder


def load(where, **options):
    with warnings.catch_warnings():  # six images are no whole archive, so a split may lack labels
        warnings.simplefilter("error")
        return load_archive(where, image_size=4, progress=False, **options)


def fails(where, **options):
    """The message of an archive that must not load, nor leave a half-written cache."""
    with pytest.raises(ArchiveError) as error:
        load(where, **options)
    assert not [*paths.cache_root().glob(".*")]
    if "cannot be decoded" in str(error.value):
        assert not [*paths.cache_root().glob("*px-*.npy")]
    return str(error.value)


# --- Layouts ------------------------------------------------------------------------------------


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


def official_ucm(root):
    y = labels17()
    for i, name in enumerate(NAMES):
        image(root / "ucm_multilabel/UCMerced_LandUse/Images" / name[:-2] / f"{name}.tif", i)
    rows = [(name, *row) for name, row in zip(NAMES, y, strict=True)]
    file = root / "ucm_multilabel/LandUse_Multilabeled.txt"
    table(file, ("IMAGE\\LABEL", *OFFICIAL), rows, "\t", end="\r\n")
    return y


def test_official_ucm(tmp_path):
    y = official_ucm(tmp_path)
    archive = load("ucm_multilabel", root=tmp_path)
    assert archive.title == "UC Merced" and archive.names == NAMES
    assert archive.label_names == synthetic.LABELS and np.array_equal(archive.labels, y)
    assert archive.footnote == "6 of the archive's 2,100 images."
    assert archive.images[3, :, 0, 0].tolist() == [3, 6, 252]


def test_columns_in_any_order_come_out_in_that_of_table_3(tmp_path):
    y = official_ucm(tmp_path)
    rows = [(name, *row[::-1]) for name, row in zip(NAMES, y, strict=True)]
    file = tmp_path / "ucm_multilabel/LandUse_Multilabeled.txt"
    table(file, ("IMAGE\\LABEL", *OFFICIAL[::-1]), rows, "\t")
    archive = load("ucm_multilabel", root=tmp_path)
    assert archive.label_names == synthetic.LABELS and np.array_equal(archive.labels, y)


def official_dlrsd(root, mode="L"):
    """Masks of 3 x 4 pixels: image i has 12 - i pixels of label i + 1 and i of label 17."""
    folder = root / "dlrsd" / "DLRSD"
    for i, name in enumerate(NAMES):
        image(folder / "Images" / name[:-2] / f"{name}.tif", i)
        mask = Image.fromarray(np.array([i + 1] * (12 - i) + [17] * i, np.uint8).reshape(3, 4))
        if mode == "P":
            mask.putpalette([255 - v for v in range(256) for _ in "rgb"])
        file = folder / "Labels" / name[:-2] / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        mask.save(file)
    return folder


@pytest.mark.parametrize("mode", ["L", "P"])
def test_official_dlrsd_masks(tmp_path, mode):
    official_dlrsd(tmp_path, mode)
    archive = load("dlrsd", root=tmp_path)
    wanted = np.eye(6, 17, dtype=bool)
    wanted[1:, 16] = True
    assert archive.title == "DLRSD" and archive.label_names == synthetic.LABELS
    assert np.array_equal(archive.labels, wanted)
    at_least_four = load("dlrsd", root=tmp_path, min_pixels=4)
    wanted[:4, 16] = False
    assert np.array_equal(at_least_four.labels, wanted)
    assert at_least_four.fingerprint != archive.fingerprint


def workbook(file, rows):
    book = Workbook()
    for row in rows:
        book.active.append(row)
    book.active.cell(row=1, column=40).font = Font(bold=True)  # a cell that exists, but is empty
    book.save(file)


def test_official_dlrsd_spreadsheet_goes_before_the_masks(tmp_path):
    folder, y = official_dlrsd(tmp_path), labels17(seed=1)
    rows = [(name, *map(float, row)) for name, row in zip(NAMES, y, strict=True)]
    workbook(folder / "multilabels.xlsx", [("image", *OFFICIAL), *rows])
    (folder / "~$multilabels.xlsx").write_bytes(b"lock")
    (folder / "multilabels.xlsx").rename(folder / "Multilabels.XLSX")
    assert np.array_equal(load("dlrsd", root=tmp_path).labels, y)
    masks = load("dlrsd", root=tmp_path, min_pixels=1).labels
    assert masks.sum() == 11
    workbook(folder / "other.xlsx", [("image",)])
    assert "1 x spreadsheet too many: keep one" in fails("dlrsd", root=tmp_path)


def test_a_spreadsheet_that_is_none(tmp_path):
    (official_dlrsd(tmp_path) / "multilabels.xlsx").write_bytes(b"text")
    assert "multilabels.xlsx: not a workbook" in fails("dlrsd", root=tmp_path)


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.XLSX"])
def test_a_workbook_is_closed_after_reading(tmp_path, name):
    """Whether it is one, holds faults, is text, or a zip archive of something else."""
    file = tmp_path / name
    workbook(tmp_path / "sound.xlsx", [("image", "sea"), ("a", 1), ("b", 0), ("c", 1)])
    (tmp_path / "sound.xlsx").rename(file)
    with pytest.raises(ArchiveError, match="1 x faulty row.*\n.*line 3.: no label"):
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


def test_official_ml_aid_with_either_table(tmp_path):
    y, corrected = labels17(), labels17(seed=2)
    for i, name in enumerate(NAMES):
        part = "images_test" if i % 3 == 2 else "images_tr"
        image(tmp_path / "ml_aid" / part / name[:-2].title() / f"{name}.jpg", i, size=(600, 600))
    for file, rows, separator in (
        ("multilabel.csv", y, "\t"),
        ("multilabel_correct_final.csv", corrected, ","),
    ):
        rows = [(name, *row) for name, row in zip(NAMES, rows, strict=True)]
        table(tmp_path / "ml_aid" / file, ("IMAGE\\LABEL", *OFFICIAL), rows, separator)
    archive = load("ml_aid", root=tmp_path)
    assert archive.title == "ML-AID" and archive.names == NAMES
    assert np.array_equal(archive.labels, y)
    assert np.array_equal(load("ml_aid", root=tmp_path, labels="corrected").labels, corrected)
    with pytest.raises(ValueError, match="labels is 'best'; ML-AID has 'original' and 'corrected'"):
        load("ml_aid", root=tmp_path, labels="best")


def official_whdld(root):
    """Mask i: half of colour i, half of colour i + 1 but for i pixels of colour i + 2."""
    colours = list(COLOURS.values())
    for i in range(6):
        image(root / "whdld/Images" / f"wh{i:04d}.jpg", i)
        chosen = [colours[i]] * 8 + [colours[(i + 1) % 6]] * (8 - i) + [colours[(i + 2) % 6]] * i
        file = root / "whdld/ImagesPNG" / f"wh{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(chosen, np.uint8).reshape(4, 4, 3)).save(file)


def test_official_whdld(tmp_path):
    official_whdld(tmp_path)
    archive = load("whdld", root=tmp_path)
    order = ("building", "road", "pavement", "vegetation", "bare soil", "water")
    assert archive.title == "WHDLD" and archive.label_names == order
    pixels = np.zeros((6, 6), int)
    for i in range(6):
        pixels[i, [i, (i + 1) % 6, (i + 2) % 6]] = 8, 8 - i, i
    for least in (1, 4, 8):
        labels = load("whdld", root=tmp_path, min_pixels=least).labels
        assert np.array_equal(labels, pixels >= least)
    assert np.array_equal(archive.labels, pixels >= 1)


@pytest.mark.parametrize("name", [a for a in ARCHIVES if a != "synthetic"])
def test_named_archives_in_the_plain_layout(tmp_path, name):
    header = list(COLOURS) if name == "whdld" else list(OFFICIAL)
    y = labels17()[:, : len(header)]
    rows = [(n, *row) for n, row in zip(NAMES, y, strict=True)]
    plain(tmp_path / name, header=("image", *header), rows=rows)
    archive = load(name, root=tmp_path)
    assert np.array_equal(archive.labels, y) and archive.name == name
    assert archive.label_names == (tuple(COLOURS) if name == "whdld" else synthetic.LABELS)
    if name == "ml_aid":
        assert archive.title == "ML-AID 9 px" and "small objects are lost" in archive.footnote
    for option in {"dlrsd": ["min_pixels"], "whdld": ["min_pixels"], "ml_aid": ["labels"]}.get(
        name, []
    ):
        value = "corrected" if option == "labels" else 2
        with pytest.raises(ValueError, match=f"{option}={value!r} is for the official tree"):
            load(name, root=tmp_path, **{option: value})


def test_dlrsd_labels_alone_use_the_images_of_uc_merced(tmp_path):
    y = labels17(seed=5)
    header = ("image", *OFFICIAL)
    plain(
        tmp_path / "ucm_multilabel",
        header,
        [(n, *r) for n, r in zip(NAMES, labels17(), strict=True)],
    )
    table(tmp_path / "dlrsd/labels.csv", header, [(n, *r) for n, r in zip(NAMES, y, strict=True)])
    dlrsd, ucm = (load(name, root=tmp_path) for name in ("dlrsd", "ucm_multilabel"))
    assert np.array_equal(dlrsd.labels, y) and dlrsd.title == "DLRSD"
    assert np.array_equal(dlrsd.images, ucm.images) and dlrsd.fingerprint != ucm.fingerprint


# --- Content and cache --------------------------------------------------------------------------


def test_the_fingerprint_is_the_content(tmp_path):
    def fingerprint():
        return load(tmp_path / "mine").fingerprint

    plain(tmp_path / "mine")
    first = fingerprint()
    os.utime(tmp_path / "mine/images/river00.png")
    assert fingerprint() == first
    seen = {first}
    table(tmp_path / "mine/labels.csv", ("image", "sea", "pier"), [(n, 1, 1) for n in NAMES])
    seen.add(fingerprint())
    table(tmp_path / "mine/labels.csv", ("image", "sea", "quay"), [(n, 1, 1) for n in NAMES])
    seen.add(fingerprint())
    image(tmp_path / "mine/images/river00.png", 77)
    seen.add(fingerprint())
    assert load(tmp_path / "mine").images[4, 0, 0, 0] == 77
    (tmp_path / "mine/images/river00.png").rename(tmp_path / "mine/images/river02.png")
    table(
        tmp_path / "mine/labels.csv",
        ("image", "sea", "quay"),
        [(n.replace("river00", "river02"), 1, 1) for n in NAMES],
    )
    seen.add(fingerprint())
    assert len(seen) == 5
    assert load_archive(tmp_path / "mine", image_size=5).fingerprint not in seen


def test_the_second_load_decodes_nothing(tmp_path, monkeypatch):
    first = load(plain(tmp_path))
    monkeypatch.setattr(cache, "decode", lambda *_: pytest.fail("decoded again"))
    assert np.array_equal(load(tmp_path).images, first.images)


def test_synthetic_is_cached_by_its_parameters(monkeypatch):
    archive = load_archive("synthetic", image_size=8, n=5, seed=1)
    images, labels = synthetic.generate(5, 8, 1)
    assert np.array_equal(archive.images, images) and np.array_equal(archive.labels, labels)
    assert archive.label_names == synthetic.LABELS and len(archive.names) == len(archive) == 5
    other = load_archive("synthetic", image_size=8, n=5, seed=2)
    assert other.fingerprint != archive.fingerprint
    calls = []
    monkeypatch.setattr(synthetic, "generate", lambda *a: calls.append(a) or (images, labels))
    again = load_archive("synthetic", image_size=8, n=5, seed=1)
    assert not calls and again.fingerprint == archive.fingerprint
    for file in paths.cache_root().glob("*.labels.npy"):
        file.unlink()
    assert (
        np.array_equal(load_archive("synthetic", image_size=8, n=5, seed=1).labels, labels)
        and len(calls) == 1
    )


def test_the_synthetic_archive_is_another_when_any_of_its_code_is(tmp_path, monkeypatch):
    code = Path(synthetic.__file__).parent
    names = sorted(file.name for file in code.glob("*.py"))
    assert len(names) > 1
    seen = {load_archive("synthetic", image_size=8, n=2).fingerprint}
    monkeypatch.setattr(synthetic, "__file__", str(tmp_path / "code" / "__init__.py"))
    shutil.copytree(code, tmp_path / "code")
    assert load_archive("synthetic", image_size=8, n=2).fingerprint in seen  # wherever it lies
    for name in names:
        with open(tmp_path / "code" / name, "a") as file:
            file.write("# and more\n")
        seen.add(load_archive("synthetic", image_size=8, n=2).fingerprint)
    assert len(seen) == 1 + len(names)


def test_an_archive_describes_itself(tmp_path):
    rows = [(n, 1, i % 2) for i, n in enumerate(NAMES)]
    text = describe(
        load(plain(tmp_path / "mine", ("image", "sea", "x\x1b[31m"), rows)), stratified=True
    )
    assert text.startswith(
        "mine: 6 images at 4 px, 2 labels, 1.50 per image\nsplit 0, stratified: 4"
    )
    assert "\x1b" not in text and "x\\x1b[31m" in text
    (sea,) = (line.split() for line in text.splitlines() if line.startswith("sea"))
    assert sea == ["sea", "6", "100.0%", "4", "1", "1"]


# --- Bad input ----------------------------------------------------------------------------------


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
        "4 x faulty row: a name, then 0 or 1 for each label, at least one of them 1\n",
        "    airplane01 (labels.csv, line 3): pier is '2'\n",
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
        (("image", "a", "b"), [(n, 1, "") for n in NAMES], "line 2): b is ''"),
        (("image", "a", "b"), [(n, 1, "yes") for n in NAMES], "line 7): b is 'yes'"),
        (("image", "a", "b"), [(n, 1, -1) for n in NAMES], "line 7): b is '-1'"),
    ],
)
def test_faulty_tables(tmp_path, header, rows, expected):
    assert expected in fails(plain(tmp_path, header, rows))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_table(tmp_path, content):
    (plain(tmp_path) / "labels.csv").write_bytes(content)
    assert "labels.csv: no label" in fails(tmp_path)


def test_a_table_in_another_encoding(tmp_path):
    plain(tmp_path, encoding="utf-16")
    message = fails(tmp_path)
    assert (
        "table that cannot be read: save it as UTF-8 text\n    labels.csv: 'utf-8' codec" in message
    )


def test_a_named_archive_must_have_its_own_columns(tmp_path):
    header = ("image", *OFFICIAL[:-1], "watre")
    rows = [(n, *row) for n, row in zip(NAMES, labels17(), strict=True)]
    plain(tmp_path / "ml_aid", header, rows)
    message = fails("ml_aid", root=tmp_path)
    assert "labels.csv: no column 'water'" in message
    assert "labels.csv: unknown column 'watre'" in message


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


def test_a_label_without_a_training_image_is_one_warning(tmp_path):
    names = [f"{i:02d}" for i in range(30)]
    for i, name in enumerate(names):
        image(tmp_path / "images" / f"{name}.png", i)
    rows = [(n, 1, int(i == 0), int(i == 1)) for i, n in enumerate(names)]
    table(tmp_path / "labels.csv", ("image", "common", "rare", "rarer"), rows)
    archive = load(tmp_path)
    missing = 0
    for seed in range(10):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train = archive.split(seed).train
        absent = [n for n, i in (("rare", 0), ("rarer", 1)) if i not in train]
        assert len(caught) == bool(absent)
        if absent:
            missing += 1
            message = str(caught[0].message)
            assert caught[0].category is ArchiveWarning and caught[0].filename == __file__
            assert f"split {seed}:\n- {len(absent)} x label without a training image" in message
            assert message.splitlines()[2:] == [f"    {name}" for name in absent]
            assert "stratified=True" in message
    assert missing


def test_empty_and_wrong_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    message = fails(tmp_path / "empty")
    assert message.count(str(tmp_path / "empty")) == 3  # images, labels.csv, what is expected
    assert "2 x path not found: is this the right folder, and completely unpacked?" in message
    assert message.endswith("images/<name>.<ext> and labels.csv")
    table(tmp_path / "hollow/labels.csv", ("image", "a"), [("x", 1)])
    (tmp_path / "hollow/images").mkdir()
    assert "1 x folder without an image: is it unpacked?" in fails(tmp_path / "hollow")


@pytest.mark.parametrize(
    "name, tree",
    [
        ("dlrsd", "DLRSD/Labels/<class>/"),
        ("ucm_multilabel", "LandUse_Multilabeled.txt"),
        ("ml_aid", "images_test/<Class>/"),
        ("whdld", "ImagesPNG/"),
    ],
)
def test_an_archive_that_is_absent_or_empty_says_what_is_expected(tmp_path, name, tree):
    message = fails(name, root=tmp_path)
    assert f"no folder {tmp_path / name}: unpack" in message
    assert tree in message and "MACL_DATA or --data" in message
    (tmp_path / name).mkdir()
    message = fails(name, root=tmp_path)
    assert "path not found" in message and tree in message.splitlines()[-1]


@pytest.mark.parametrize("name, near", [("dlsrd", "'dlrsd'"), ("ml-aid", "'ml_aid'"), ("", None)])
def test_an_unknown_name_gets_the_nearest_one(tmp_path, name, near):
    message = fails(name, root=tmp_path)
    assert f"no archive {name!r}" in message and "synthetic, dlrsd, ucm_multilabel" in message
    assert near is None or f"did you mean {near}?" in message


def test_unknown_options_and_sizes(tmp_path):
    with pytest.raises(TypeError, match="'synthetic' has no option min_pixels; it has n, seed"):
        load("synthetic", min_pixels=3)
    with pytest.raises(TypeError, match="has no option seed; it has none"):
        load(plain(tmp_path), seed=3)
    with pytest.raises(ValueError, match="image_size is 0"):
        load_archive(tmp_path, image_size=0)


def test_masks_with_unknown_values_or_channels(tmp_path):
    folder = official_dlrsd(tmp_path) / "Labels"
    pixels = np.ones((3, 4), np.uint8)
    pixels[1, 2], pixels[2, 0] = 18, 0
    Image.fromarray(pixels).save(folder / "beach/beach00.png")
    Image.new("RGB", (4, 3)).save(folder / "beach/beach01.png")
    (folder / "river/river00.png").write_bytes(b"")
    Image.new("I;16", (4, 3), 5).save(folder / "river/river01.png")
    message = fails("dlrsd", root=tmp_path)
    assert "4 x mask that cannot be used: convert it, or copy it again" in message
    assert message.count("beach00.png: ") == 1, "each is named once"
    assert "river01.png: pixels are not 8-bit (mode I;16, 16 bits a channel)" in message
    assert (
        "beach00.png: pixels of no known label: 2, the first in row 1, column 2 with 18, "
        "which is none of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]" in message
    )
    assert "beach01.png: a mask of one 8-bit channel is expected, this one is RGB" in message
    assert "river00.png: an empty file" in message


def test_masks_with_unknown_colours_or_without_labels(tmp_path):
    official_whdld(tmp_path)
    mask = Image.open(tmp_path / "whdld/ImagesPNG/wh0003.png")
    mask.putpixel((3, 1), (255, 0, 1))
    mask.save(tmp_path / "whdld/ImagesPNG/wh0003.png")
    (tmp_path / "whdld/Images/wh0005.jpg").unlink()
    message = fails("whdld", root=tmp_path)
    assert (
        "wh0003.png: pixels of no known label: 1, the first in row 1, column 3 with [255, 0, 1]"
        in message
    )
    assert "1 x row without an image: add the image or remove the row\n    wh0005.png" in message
    mask.putpixel((3, 1), (255, 0, 0))
    mask.save(tmp_path / "whdld/ImagesPNG/wh0003.png")
    image(tmp_path / "whdld/Images/wh0005.jpg")
    message = fails("whdld", root=tmp_path, min_pixels=9)
    assert "6 x mask without a label of 9 pixels: lower min_pixels\n    wh0000.png" in message
    with pytest.raises(ValueError, match="min_pixels is 0"):
        load("whdld", root=tmp_path, min_pixels=0)


def test_control_characters_of_names_are_escaped(tmp_path):
    plain(tmp_path, rows=[(n, 1, 1) for n in NAMES] + [("\x1b[2Jevil", 1, 1)])
    message = fails(tmp_path)
    assert "\x1b" not in message and "\\x1b[2Jevil" in message


# --- The real archives --------------------------------------------------------------------------


def real(name):
    absent = not (paths.data_root() / name).is_dir()
    return pytest.param(name, marks=pytest.mark.skipif(absent, reason=f"MACL_DATA has no {name}"))


# Images of each label, in the order of `synthetic.LABELS`. DLRSD's and ML-AID's are Table 3 of the
# paper (MACL); the starred copy of DLRSD has tree and water of UC Merced, and the table of ML-AID
# that is at hand has one more tree than is printed.
_DLRSD = (100, 754, 713, 897, 116, 105, 100, 103, 977, 102, 1331, 291, 101, 103, 100)
_ML_AID = (99, 1475, 2161, 2026, 112, 344, 271, 214, 2295, 2, 2328, 259, 221, 284, 108, 2407, 852)
_UCM = (100, 718, 691, 886, 115, 105, 100, 103, 975, 102, 1300, 294, 100, 102, 100, 1009, 203)
COUNTS = {
    "UC Merced": _UCM,
    "DLRSD": (*_DLRSD, 1021, 208),
    "DLRSD*": (*_DLRSD, 1009, 203),
    "ML-AID": _ML_AID,
    "ML-AID 150 px": _ML_AID,
}


@pytest.mark.parametrize("name", [real(n) for n in ("ucm_multilabel", "dlrsd", "ml_aid")])
def test_real_archives_have_the_published_counts_and_load_at_once_the_second_time(name):
    archive = load_archive(name, image_size=8, progress=False)
    assert archive.label_names == synthetic.LABELS
    assert tuple(archive.labels.sum(axis=0).tolist()) == COUNTS[archive.title]
    assert bool(archive.footnote) == (archive.title in ("DLRSD*", "ML-AID 150 px"))
    assert str(paths.data_root()) not in archive.footnote
    sizes = (2100, 300, 600) if name == "ml_aid" else (1475, 214, 411)
    assert tuple(map(len, archive.split(0))) == sizes
    started = time.perf_counter()
    again = load_archive(name, image_size=8)
    assert time.perf_counter() - started < 3, "0.1 s on an idle machine"
    assert again.fingerprint == archive.fingerprint
    if name != "ml_aid":
        twins = [archive.names.index(n) for n in ("airplane01", "airplane02")]
        assert np.array_equal(*archive.images[twins]), "the same scene twice, as distributed"
