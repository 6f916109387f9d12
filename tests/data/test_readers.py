"""The named archives in small, as they are distributed; the real ones where MACL_DATA has them."""

import textwrap
import warnings

import numpy as np
import pytest
from packing import zipped
from PIL import Image
from trees import NAMES, OFFICIAL, fails, image, labels17, load, plain, table, workbook

from maclcore import paths
from maclcore.__main__ import main
from maclcore.data import (
    ArchiveWarning,
    archive_name,
    cache,
    describe,
    load_archive,
    readers,
    synthetic,
)
from maclcore.data.readers import COLOURS, READERS


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


@pytest.mark.parametrize("name", READERS)
def test_named_archives_in_the_plain_layout(tmp_path, name):
    names = READERS[name].label_names or ("sea", "pier")
    header = OFFICIAL if names == synthetic.LABELS else names
    y = np.resize([1, 0, 1], (len(NAMES), len(header)))
    rows = [(n, *row) for n, row in zip(NAMES, y, strict=True)]
    plain(tmp_path / name, header=("image", *header), rows=rows)
    archive = load(name, root=tmp_path)
    assert np.array_equal(archive.labels, y) and archive.name == name
    assert archive.label_names == names
    if name == "ml_aid":
        assert archive.title == "ML-AID 9 px" and "small objects are lost" in archive.footnote
    for option in READERS[name].read.__kwdefaults__ or ():
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


def test_a_named_archive_must_have_its_own_columns(tmp_path):
    header = ("image", *OFFICIAL[:-1], "watre")
    rows = [(n, *row) for n, row in zip(NAMES, labels17(), strict=True)]
    plain(tmp_path / "ml_aid", header, rows)
    message = fails("ml_aid", root=tmp_path)
    assert "labels.csv: no column 'water'" in message
    assert "labels.csv: unknown column 'watre'" in message


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


# --- A reader more ------------------------------------------------------------------------------


@pytest.fixture
def harbour(tmp_path, monkeypatch):
    """The reader of CONTRIBUTING.md, as it stands there, and a tree of twenty images for it."""
    _, _, text = (paths.ROOT / "CONTRIBUTING.md").read_text().partition("```python\n")
    code = textwrap.dedent(text.partition("```")[0])
    monkeypatch.setitem(READERS, "harbour", None)  # which takes it out again afterwards
    exec(code, dict(vars(readers)))
    monkeypatch.setenv("MACL_DATA", str(tmp_path / "data"))
    tree = tmp_path / "downloads" / "harbour-v1"
    rows = [(f"{i:02}.png", 1, i % 2, int(i % 3 == 0)) for i in range(20)]
    for name, *_ in rows:
        image(tree / "tiles" / name, int(name[:2]))
    table(tree / "contents.csv", ("tile", "Sea", "cars", "dry-dock"), rows)
    return tree


def declare(monkeypatch, **what):
    monkeypatch.setitem(READERS, "harbour", READERS["harbour"]._replace(**what))


def test_another_reader_is_known_wherever_archives_are(harbour, tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    harbour.rename(tmp_path / "data" / "harbour")
    archive = load("harbour")
    assert (archive.name, archive.title, archive.footnote) == ("harbour", "Harbour", "")
    assert archive.label_names == ("Sea", "cars", "dry-dock")  # as its table has them
    assert archive.labels.sum(axis=0).tolist() == [20, 10, 7] and archive.names[3] == "03"
    assert archive.images[3, :, 0, 0].tolist() == [3, 6, 252]
    assert tuple(map(len, archive.split(0))) == (14, 2, 4)
    assert describe(archive).startswith("Harbour: 20 images at 4 px, 3 labels, 1.85 per image\n")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "decode", lambda *_: pytest.fail("decoded again"))
        assert load("harbour").fingerprint == archive.fingerprint
    assert archive_name("harbour") == "harbour"
    assert main(["data", "harbour", "--image-size", "4"]) == 0
    assert f"fingerprint {archive.fingerprint}" in capsys.readouterr().out
    assert main(["data", "harbor"]) == 1
    assert "did you mean 'harbour'?" in capsys.readouterr().err
    for words in (["data"], ["data", "prepare"]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert list(READERS)[-1] == "harbour" and ", ".join(READERS) in shown


@pytest.mark.parametrize("packed", [True, False])
def test_another_reader_is_prepared_from_what_one_has(harbour, tmp_path, capsys, packed):
    words = ["data", "prepare", "harbour", "--image-size", "4"]
    assert main(words) == 1
    assert capsys.readouterr().err.startswith(
        "error: Harbour must be fetched by hand: download it from https://example.org/harbour and "
    )
    given = harbour.parent
    if packed:
        files = sorted(file for file in given.rglob("*") if file.is_file())
        members = [(f.relative_to(given).as_posix(), "file", f.read_bytes()) for f in files]
        zipped(given := tmp_path / "harbour.zip", members)
    assert main([*words, "--from", str(given)]) == 0
    out = capsys.readouterr().out
    first, second, *_ = out.splitlines()
    assert first == f"Harbour in {tmp_path / 'data' / 'harbour'}"
    assert second == "page     https://example.org/harbour" and "sensor" not in out
    assert ("received harbour.zip: " in out) == packed and "counts" not in out
    assert "Harbour: 20 images at 4 px, 3 labels" in out
    assert main(words) == 0 and capsys.readouterr().out == out


def test_all_faults_of_another_reader_come_at_once(harbour, tmp_path, capsys):
    (harbour / "tiles" / "04.png").unlink()
    (harbour / "tiles" / "05.png").write_bytes(b"")
    text = (harbour / "contents.csv").read_text()
    (harbour / "contents.csv").write_text(text.replace("06.png,1,0", "06.png,1,x"))
    assert main(["data", "prepare", "harbour", "--from", str(harbour.parent)]) == 1
    message = capsys.readouterr().err
    for fault in ("04.png (contents.csv, line 6)", "05.png: an empty file", "cars is 'x'"):
        assert fault in message
    assert "not all of Harbour; nothing has been kept" in message and "tiles/ and con" in message
    assert not (tmp_path / "data" / "harbour").exists()


@pytest.mark.parametrize("half", ["neither", "images", "rows"])
def test_a_reader_that_sets_half_is_told(tmp_path, harbour, monkeypatch, half):
    def read(reading):
        if half == "images":
            reading.images = reading.files(harbour)
        if half == "rows":
            reading.read_table(harbour / "contents.csv")

    declare(monkeypatch, read=read)
    (tmp_path / "data" / "harbour").mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ArchiveWarning)
        assert "1 x no images or no rows: the reader is to set both" in fails("harbour")


def test_what_an_entry_declares_is_checked(harbour, tmp_path, monkeypatch, capsys):
    root = tmp_path / "data"
    words = ["data", "prepare", "harbour", "--image-size", "4", "--from", str(harbour.parent)]
    declare(monkeypatch, label_names=("Dry dock", "Sea", "Cars"), size=21)
    assert main(words) == 1
    assert "20 images, where it has 21: are files missing?" in capsys.readouterr().err
    counts = {"Sea": 20, "Cars": 11}
    declare(monkeypatch, size=20, licence="none", counts=counts, counted="its authors' table")
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "licence  none\n" in out
    assert "counts   1 of 2 labels as in its authors' table; Cars 10 (not 11)\n" in out
    archive = load("harbour")
    assert archive.label_names == ("Dry dock", "Sea", "Cars") and archive.footnote == ""
    assert archive.labels.sum(axis=0).tolist() == [7, 20, 10]
    declare(monkeypatch, size=30)
    assert load("harbour").footnote == "20 of the archive's 30 images."
    declare(monkeypatch, label_names=("Sea", "Cars", "Quay"))
    message = fails("harbour", root=root)
    assert "no column 'Quay'" in message and "unknown column 'dry dock'" in message


# --- The real archives ---------------------------------------------------------------------------


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
def test_real_archives_have_the_published_counts_and_are_decoded_once(name, monkeypatch):
    archive = load_archive(name, image_size=8, progress=False)
    assert archive.label_names == synthetic.LABELS
    assert tuple(archive.labels.sum(axis=0).tolist()) == COUNTS[archive.title]
    assert bool(archive.footnote) == (archive.title in ("DLRSD*", "ML-AID 150 px"))
    assert str(paths.data_root()) not in archive.footnote
    sizes = (2100, 300, 600) if name == "ml_aid" else (1475, 214, 411)
    assert tuple(map(len, archive.split(0))) == sizes
    opened, really = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a) or really(*a, **k))
    again = load_archive(name, image_size=8)
    assert len(opened) <= 1  # ML-AID's reader asks one image for its size
    assert again.fingerprint == archive.fingerprint
    if name != "ml_aid":
        twins = [archive.names.index(n) for n in ("airplane01", "airplane02")]
        assert np.array_equal(*archive.images[twins]), "the same scene twice, as distributed"
