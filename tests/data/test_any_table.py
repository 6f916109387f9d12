"""Tables of an archive of one's own in all the forms that people have, and what is said of them."""

import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from maclcore.data import ArchiveError, ArchiveWarning
from maclcore.data.archives import read_archive
from maclcore.data.plain import write_labels

STEMS = [f"{name}{i:02d}" for name in ("beach", "forest") for i in range(4)]
LABELS = ["bare soil", "tree", "water"]
Y = pd.DataFrame([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 1],
                  [0, 0, 1]], index=STEMS, columns=LABELS).astype(bool)  # fmt: skip


def folder_of(where, stems=STEMS, suffix=".png"):
    """Nothing is decoded here, so what the files hold does not matter."""
    (where / "images").mkdir(parents=True)
    for stem in stems:
        (where / "images" / f"{stem}{suffix}").write_bytes(b"")
    return where


@pytest.fixture
def own(tmp_path):
    return folder_of(tmp_path / "own")


def cells(yes="1", no="0", **columns):
    """A row for each of STEMS, in another order than the images', with these cells."""
    frame = Y.replace({True: yes, False: no}).astype(str).rename_axis("image").reset_index()
    return frame.assign(**columns).iloc[::-1]


def frame_of(catalogue):
    return pd.DataFrame(
        catalogue.labels, index=list(catalogue.names), columns=list(catalogue.label_names)
    )


def holds(own, file="labels.csv", **options):
    """The catalogue, after its labels have been compared with Y."""
    catalogue = read_archive(own, progress=False, **options)
    pd.testing.assert_frame_equal(frame_of(catalogue), Y)
    assert any(f" rows of {file}: " in line for line in catalogue.said)
    return catalogue


def refused(own, **options):
    with pytest.raises(ArchiveError) as error:
        read_archive(own, progress=False, **options)
    return str(error.value)


# --- How a table is written -----------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_of_any_separator_encoding_and_line(own, separator, encoding, end):
    text = cells().to_csv(index=False, sep=separator, lineterminator=end)
    (own / "labels.csv").write_bytes(text.encode(encoding))
    (said,) = holds(own).said
    assert said == "read 8 rows of labels.csv: names in column 'image', 3 labels in a column each"


@pytest.mark.parametrize(
    ("yes", "no"),
    [("1", "0"), ("1.0", "0.0"), ("1.00", "0"), ("1,0", "0,0"), ("True", "False"), ("TRUE", ""),
     ("yes", "no"), ("Y", "n"), ("x", ""), ("X", ""), ("1", ""), ("t", "f")],
)  # fmt: skip
def test_yes_and_no_in_any_words(own, yes, no):
    cells(yes, no).to_csv(own / "labels.csv", index=False)
    (said,) = holds(own).said
    assert ("; 11 blank cells are no" in said) == (no == "")


def test_what_excel_adds_is_left_out(own):
    text = cells("x", "").assign(**{"": "", " ": ""}).to_csv(index=False, sep=";")
    (own / "labels.csv").write_text(f'"sep=;"\n# of 2024; by hand\n\n{text};;;;;;\n')
    holds(own)


def test_an_index_and_empty_columns_are_left_out(own):
    cells(tree2="").reset_index(drop=True).to_csv(own / "labels.csv")
    assert "empty columns left out: 'tree2'" in holds(own).said
    cells().reset_index(drop=True).to_csv(own / "labels.csv", index_label="Unnamed: 0")
    holds(own)
    cells().set_index("image").rename_axis(None).to_csv(own / "labels.csv")
    assert "names first" in holds(own).said[0]  # it is the index that holds them


def test_another_encoding_is_guessed_and_said(own):
    frame = cells().rename(columns={"tree": "forêt – dense"})
    (own / "labels.csv").write_bytes(frame.to_csv(index=False).encode("cp1252"))
    catalogue = read_archive(own)
    assert catalogue.label_names == ("bare soil", "forêt – dense", "water")
    assert "labels.csv is read as Windows-1252, for line 1 is no UTF-8" in catalogue.said[1]
    (own / "labels.csv").write_bytes(frame.to_csv(index=False).encode("cp1252") + b"# \x81\n")
    assert read_archive(own).label_names[1].startswith("forêt")


@pytest.mark.parametrize("name", ["labels.xlsx", "Annotations 2024.XLSX"])
def test_a_workbook_of_numbers_truths_or_lists_is_read_and_closed(own, name):
    file = own / name
    open_before = len(os.listdir("/proc/self/fd"))
    frame = Y.rename_axis("image").reset_index()
    for of in (frame, frame.replace({True: 1, False: 0}), frame.replace({True: "x", False: None})):
        of.to_excel(own / "labels.xlsx", index=False)
        (own / "labels.xlsx").rename(file)
        holds(own, name)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_of_several_sheets_the_one_shown_is_read(own):
    book = Workbook()
    for row in [["file", "labels", "day"], *([s, ";".join(Y.columns[Y.loc[s]]),
                pd.Timestamp("2024-05-01")] for s in STEMS)]:  # fmt: skip
        book.active.append(row)
    book.create_sheet("notes")
    book.save(own / "b.xlsx")
    catalogue = holds(own, "b.xlsx")
    assert "b.xlsx has 2 sheets; read: 'Sheet'" in catalogue.said
    assert catalogue.columns["day"] == ("2024-05-01",) * 8


# --- Labels by name -------------------------------------------------------------------------------


def listed(join):
    return pd.DataFrame({"file": STEMS, "labels": [join(Y.columns[Y.loc[s]]) for s in STEMS]})


@pytest.mark.parametrize(
    ("join", "how"),
    [
        (";".join, "separated by ';'"),
        ("; ".join, "separated by ';'"),
        ("|".join, "separated by '|'"),
        (", ".join, "separated by ','"),
        (lambda labels: json.dumps([*labels]), "as lists"),
        (lambda labels: str([*labels]), "as lists"),
    ],
)
def test_a_column_names_labels(own, join, how):
    listed(join).to_csv(own / "table.csv", index=False)
    (said,) = holds(own, "table.csv").said
    assert (
        said
        == f"read 8 rows of table.csv: names in column 'file', 3 labels in column 'labels', {how}"
    )


@pytest.mark.parametrize("column", ["labels", "label", "Tags", "Category", "classes"])
def test_an_image_may_have_several_rows(own, column):
    pairs = Y.stack()
    pairs = pairs[pairs].index.to_frame(index=False, name=["image", column])
    pairs.assign(n=range(len(pairs)), by="me").to_csv(own / "labels.csv", index=False)
    catalogue = holds(own)
    assert f"3 labels in column {column!r}, one a row" in catalogue.said[0]
    assert "columns left out, for the rows of an image differ: 'n'" in catalogue.said
    assert dict(catalogue.columns) == {"by": ("me",) * 8}


def test_a_cell_of_a_column_called_in_the_singular_is_one_label(own):
    rows = [(stem, "Pasture, grass" if i % 2 else "sea;pier") for i, stem in enumerate(STEMS)]
    pd.DataFrame(rows, columns=["image", "label"]).to_csv(own / "labels.csv", index=False)
    with pytest.warns(ArchiveWarning, match="1 x label with ; or |: are these several.*\n.*sea;p"):
        assert read_archive(own).label_names == ("Pasture, grass", "sea;pier")
    # in a cell of several, what comes first of ; | , is what separates
    catalogue = read_archive(own, labels_column="label")
    assert catalogue.label_names == ("Pasture, grass", "pier", "sea")


COCO = {
    "info": {"year": 2024},
    "images": [{"id": i + 1, "file_name": f"{s}.png", "width": 256} for i, s in enumerate(STEMS)],
    "annotations": [
        {"id": 100 * i + j, "image_id": i + 1, "category_id": j + 7, "bbox": [0, 0, 5, 5]}
        for i, stem in enumerate(STEMS)
        for j in np.flatnonzero(Y.loc[stem]).tolist() * 2
    ],
    "categories": [{"id": j + 7, "name": name} for j, name in enumerate(LABELS)],
}


@pytest.mark.parametrize(
    "content",
    [
        COCO,
        [{"image": s, "labels": [*Y.columns[Y.loc[s]]]} for s in STEMS],
        {f"{s}.png": [*Y.columns[Y.loc[s]]] for s in STEMS},
        {s: Y.loc[s].to_dict() for s in STEMS},
    ],
)
def test_json(own, content):
    (own / "annotations.json").write_text(json.dumps(content))
    catalogue = holds(own, "annotations.json")
    assert dict(catalogue.columns) == ({"width": (256,) * 8} if content is COCO else {})


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({**COCO, "images": COCO["images"][1:]}, "an annotation of no image: image_id 1"),
        ({**COCO, "categories": []}, "JSON with images, but not as COCO has them: KeyError(7)"),
        (["a", "b"], "JSON of another form: a list of records"),
        ("{", "table that cannot be read"),
    ],
)
def test_faulty_json(own, content, fault):
    text = content if isinstance(content, str) else json.dumps(content)
    (own / "annotations.json").write_text(text)
    assert fault in refused(own) and "annotations.json: " in refused(own)


# --- What else a table says -----------------------------------------------------------------------


def test_other_columns_are_kept_and_not_labels(own):
    frame = cells(**{"class": "coast", "cloud": [0.5, 3, 0, 0, 2, 1, 1, 1], "id": range(8),
                     "Lon": [f"{x},25" for x in range(8)], "lat": "48.5", "code": "007",
                     "note": [None, "a;b", *"cdefgh"]})  # fmt: skip
    frame = frame[["id", "class", *frame.columns.drop(["id", "class"])]]
    frame.to_csv(own / "labels.csv", index=False)
    message = refused(own)  # 1 and 0 are most of what is said of clouds
    assert "1 x column of 0 and 1, but for some cells: correct them, or" in message
    assert "labels.csv: cloud has '2.0' and the like in 3 of 8 rows" in message
    catalogue = holds(own, label_columns=LABELS)
    assert catalogue.said[1:] == (
        "kept beside the labels: 'id', 'class', 'cloud', 'Lon', 'lat', 'code', 'note'",
        "coordinates: 'Lon' east, 'lat' north",
    )
    table = pd.read_csv(own / "labels.csv", index_col="image").loc[STEMS]
    for name in ("id", "class", "cloud", "lat"):
        assert catalogue.columns[name] == tuple(table[name])
    assert catalogue.columns["code"] == ("007",) * 8 and catalogue.columns["note"][0] is None
    east = [float(x.replace(",", ".")) for x in table["Lon"]]
    assert np.array_equal(catalogue.coordinates, np.array([east, [48.5] * 8]).T)


def test_coordinates_are_checked_and_may_lack(own):
    east = [float(i) for i in range(8)]
    cells(longitude=[*east[:-1], None], LATITUDE=48).to_csv(own / "labels.csv", index=False)
    places = holds(own).coordinates
    assert places.dtype == np.float64 and np.isnan(places[-1]).all()
    assert places[:-1].tolist() == [[i, 48] for i in range(7)]
    cells(longitude=[*east[:-1], 181], LATITUDE="N").to_csv(own / "labels.csv", index=False)
    message = refused(own)
    assert "9 x coordinate that is none, from -180 to 180 degrees east" in message
    assert "forest03 (labels.csv, line 2): longitude is '181.0'" in message
    assert "forest03 (labels.csv, line 2): LATITUDE is 'N'" in message
    cells(x=[690_000 + i for i in range(8)], y=5_300_000).to_csv(own / "labels.csv", index=False)
    catalogue = holds(own)
    assert catalogue.coordinates is None and catalogue.columns["y"] == (5_300_000,) * 8
    assert "'x' and 'y' are no degrees" in catalogue.said


@pytest.mark.parametrize("words", [("train", "val", "test"), ("Training", "validation", "TEST")])
def test_a_split_of_ones_own(tmp_path, words):
    from trees import NAMES, load, plain, table

    parts = [words[0], words[2], words[1], words[0], words[2], words[0]]
    header = ("image", "sea", "pier", "split")
    rows = [(name, 1, i % 2, part) for i, (name, part) in enumerate(zip(NAMES, parts, strict=True))]
    archive = load(plain(tmp_path, header, rows))
    split = archive.split(0, official=True)
    assert [sorted(part) for part in split] == [[0, 3, 5], [2], [1, 4]]
    assert archive.split(1, official=True).train.tolist() != split.train.tolist()
    assert load(plain(tmp_path / "b")).fingerprint == archive.fingerprint
    assert [*map(len, archive.split(0))] == [4, 1, 1]  # it is not taken unasked
    table(tmp_path / "labels.csv", header, [(*row[:3], words[i > 3]) for i, row in enumerate(rows)])
    with pytest.raises(ValueError, match="the column of the split has no image of test"):
        load(tmp_path).split(0, official=True)
    two = [(*row[:3], words[2 * (i > 3)]) for i, row in enumerate(rows)]
    table(tmp_path / "labels.csv", header, two)
    split = load(tmp_path).split(0, official=True)
    assert sorted(split.test) == [4, 5] and [*map(len, split)] == [3, 1, 2]
    table(tmp_path / "labels.csv", header, [(*row[:3], "fold 1") for row in rows])
    with pytest.raises(ValueError, match="has no official split"):
        load(tmp_path).split(0, official=True)


# --- What is not clear ----------------------------------------------------------------------------

REMEDY = "say which columns they are, as --label-columns a,b,c, or which one names them"


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (
            {"labels": list("abcdefgh")},
            "could be labels: 'labels', or 'bare soil', 'tree', 'water' of",
        ),
        ({"tag": "a", "labels": "b"}, "could be labels: 'tag', 'labels', or"),
    ],
)
def test_what_could_be_labels_twice_is_asked(own, more, fault):
    cells(**more).to_csv(own / "labels.csv", index=False)
    message = refused(own)
    assert REMEDY in message and f"labels.csv: {fault}" in message
    holds(own, label_columns=LABELS)
    assert set(read_archive(own, labels_column="labels").label_names) == {*more["labels"]}


def test_a_table_without_labels_says_so(own):
    pd.DataFrame({"image": STEMS, "klassen": list("aabbccdd")}).to_csv(own / "t.csv", index=False)
    catalogue = read_archive(own)
    assert catalogue.labels.shape == (8, 0) and catalogue.columns["klassen"] == tuple("aabbccdd")
    assert "no column of t.csv is known for labels, by its name or by 0 and 1" in catalogue.said
    assert read_archive(own, labels_column="klassen").label_names == tuple("abcd")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"labels_column": "lables"}, "t.csv: no column 'lables'; did you mean 'labels'?"),
        ({"label_columns": ["tree", "labels"]}, "t.csv: no column 'tree'"),
        ({"table": "u.csv"}, "u.csv"),
        ({"label_columns": ["labels"]}, "beach00 (t.csv, line 2): labels is 'a'"),
    ],
)
def test_options_that_name_nothing(own, options, fault):
    pd.DataFrame({"image": STEMS, "labels": "a"}).to_csv(own / "t.csv", index=False)
    assert fault in refused(own, **options)
    with pytest.raises(ValueError, match="label_columns or labels_column"):
        read_archive(own, label_columns=["a"], labels_column="labels")


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("beach00.png,1,0\nbeach01.png,0,1\n",
         ["the first line is of an image, beach00.png: name the columns above it"]),
        ("image,labels\nbeach00,a;b\nbeach01,a|b\n",
         ["separated by ';', but these by '|': take one\n    a|b"]),
        ("image,labels\nbeach00,[a\nbeach01,b\n",
         ["is no list of labels, such as", "beach00 (labels.csv, line 2): '[a'"]),
        ("image,labels\nbeach00,a,b\nbeach01,b\n",
         ["in quotes what has a separator in it\n    beach00 (labels.csv, line 2): 2 cells beside "
          "the name where the header has 1"]),
        ("image,labels\nbeach00,a\nbeach01,\n",
         ["row without a label: give it one, or remove the row\n    beach01 (labels.csv, line 3)"]),
        ("image,labels\nbeach00,a\nforrest01,a\n",
         ["add the image or remove the row\n    forrest01 (labels.csv, line 3)"]),
        ("image,a,b\nbeach00,1,0\nbeach00.png,1,0\n",
         ["rename or remove one\n    beach00.png (labels.csv, line 3) = beach00 (labels.csv, "]),
    ],
)  # fmt: skip
def test_faults_have_line_value_and_remedy(own, text, faults):
    (own / "labels.csv").write_text(text)
    message = refused(own)
    assert all(fault in message for fault in faults), message


def test_many_faults_of_one_kind_are_few_lines(own):
    rows = [f"gone{i:03d},a;b" for i in range(300)]
    (own / "labels.csv").write_text("\n".join(["image,labels", "beach00,a", *rows]))
    message = refused(own)
    assert "300 x row without an image" in message and len(message.splitlines()) < 15


def test_labels_that_may_be_one_are_named(own):
    (own / "labels.csv").write_text("image,labels\nbeach00,Bare soil;x\nbeach01,bare-soil\n")
    with pytest.warns(
        ArchiveWarning, match="2 x image|1 x labels that differ in case.*\n.*Bare soil = bare-soil"
    ):
        read_archive(own)


def test_what_was_understood_is_told_of_a_faulty_folder_too(own):
    (own / "labels.csv").write_text("image,labels\nbeach00,a;b\ngone,a\n")
    with pytest.raises(ArchiveError) as error:
        read_archive(own)
    assert error.value.said == ("read 2 rows of labels.csv: names in column 'image', 2 labels in "
                                "column 'labels', separated by ';'",)  # fmt: skip


# --- Which file it is -----------------------------------------------------------------------------


def test_of_several_tables_one_is_to_be_named(own):
    for name in ("a.csv", "b.xlsx", "README.txt", "~$b.xlsx", "labels.probabilities.csv"):
        (own / name).write_text("image,labels\nbeach00,a\n" if name == "a.csv" else "read me")
    (own / "b.xlsx").unlink()
    listed(";".join).to_excel(own / "b.xlsx", index=False)
    message = refused(own)
    assert "2 x table too many: say which has the labels, as --table FILE" in message
    assert "    a.csv\n    b.xlsx" in message and "README" not in message
    holds(own, "b.xlsx", table="b.xlsx")
    (own / "b.xlsx").rename(own.parent / "b.xlsx")
    holds(own, "b.xlsx", table=own.parent / "b.xlsx")
    cells().to_csv(own / "labels.csv", index=False)
    holds(own)  # as it ever was


def test_a_table_that_names_no_image_is_left_out_or_told(own):
    (own / "prices.csv").write_text("thing,price\nbread,3\n")
    with pytest.warns(ArchiveWarning, match="1 x table left out, it names none.*\n.*prices.csv"):
        assert read_archive(own).label_names == ()
    (own / "prices.csv").rename(own / "labels.tsv")
    assert "bread (labels.tsv, line 2)" in refused(own)
    (own / "labels.tsv").rename(own / "annotations.xls")
    assert read_archive(own).label_names == ()


def test_a_workbook_under_another_name_is_told(own):
    Y.to_excel(own / "old.xlsx")
    (own / "old.xlsx").rename(own / "labels.csv")
    assert "labels.csv: a workbook or zip archive: let its name end as it is" in refused(own)
    (own / "labels.csv").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    assert "labels.csv: a workbook of the old form: save it as .xlsx" in refused(own)


# --- Written and read again -----------------------------------------------------------------------


def same(one, other):
    assert one.names == other.names and one.label_names == other.label_names
    assert np.array_equal(one.labels, other.labels)


def test_labels_are_written_in_the_plain_layout_and_never_over_a_file(own, tmp_path):
    listed(";".join).assign(day=3).to_csv(own / "t.csv", index=False)
    first = read_archive(own)
    write_labels(first, own / "labels.csv")
    table = pd.read_csv(own / "labels.csv", index_col="image")
    pd.testing.assert_frame_equal(table.rename_axis(None).astype(bool), Y)
    same(read_archive(own), first)
    before = (own / "labels.csv").read_bytes()
    with pytest.raises(FileExistsError, match="labels.csv is there already, and is not replaced"):
        write_labels(first, own / "labels.csv")
    assert (own / "labels.csv").read_bytes() == before
    (own / "labels.csv").unlink(), (own / "t.csv").unlink()
    with pytest.raises(ArchiveError, match="own has no labels to write"):
        write_labels(read_archive(own), own / "labels.csv")
    assert sorted(file.name for file in own.iterdir()) == ["images"]


FORBIDDEN = ("split", "subset", "partition", "fold", "id", "index", "longitude", "lon", "lng",
             "long", "x", "latitude", "lat", "y")  # fmt: skip
WORD = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=9
)
NAME = WORD.filter(
    lambda name: len(name.encode()) < 99 and name.strip().strip(".") and name[0] not in ".~"
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(NAME, min_size=2, max_size=5, unique_by=lambda n: n.casefold().strip()[:1]),
    st.lists(WORD.map(str.strip).filter(bool), min_size=1, max_size=4, unique=True),
    st.data(),
)
@example(["a.png", "#b", "c d,e;f"], ["sep=;", '"', "a;b;c,|"], None)
def test_whatever_is_written_is_read_again(tmp_path_factory, names, labels, data):
    """Names and labels with any separators, quotes and spaces in them."""
    own = folder_of(tmp_path_factory.mktemp("own"), names)
    rows = np.ones((len(names), len(labels)), dtype=bool)
    if data is not None and len(labels) > 1:
        bits = data.draw(st.integers(0, 2 ** rows[:, 1:].size - 1))
        rows[:, 1:].flat = [bits >> i & 1 for i in range(rows[:, 1:].size)]
    first = replace(read_archive(own), labels=rows, label_names=tuple(labels))
    write_labels(first, own / "labels.csv")
    same(read_archive(own), first)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(",;\t|"),
    st.integers(0, 3),
    st.sampled_from([("1", "0"), ("TRUE", "FALSE"), ("x", ""), ("yes", "no")]),
    st.lists(WORD.map(str.strip).filter(lambda x: x and x.casefold() not in FORBIDDEN),
             min_size=3, max_size=3, unique_by=str.casefold),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)  # fmt: skip
def test_what_pandas_writes_is_read(tmp_path_factory, separator, quoting, words, labels, encoding):
    own = folder_of(tmp_path_factory.mktemp("own"))
    frame = cells(*words).set_axis(["image", *labels], axis=1)
    if quoting == 3:
        quoting = 0
    frame.to_csv(own / "t.csv", index=False, sep=separator, quoting=quoting, encoding=encoding)
    catalogue = read_archive(own)
    assert catalogue.label_names == tuple(labels)
    assert np.array_equal(catalogue.labels, Y.to_numpy())
