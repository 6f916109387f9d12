"""Vectors that others have made: read from every form, matched with labels, refused by row."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maclcore.__main__ import main
from maclcore.data import ArchiveError
from maclcore.data.vectors import query_and_gallery, read_vectors
from maclcore.evaluation.reference import chance, oracle
from maclcore.evaluation.retrieval import evaluate

NAMES = [f"img{i:02}" for i in range(30)]


@pytest.fixture
def z():
    return np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)


@pytest.fixture
def y():
    y = np.random.default_rng(1).random((30, 4)) < 0.4
    y[:, 0] |= ~y.any(axis=1)
    return y


@pytest.fixture
def table(tmp_path, y):
    rows = pd.DataFrame(y.astype(int), columns=["a", "b", "c", "d"])
    rows.insert(0, "image", [f"{name}.tif" for name in NAMES])
    rows.sample(frac=1, random_state=0).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


def numbered(z):
    return {f"e{d}": z[:, d] for d in range(z.shape[1])}


def write(z, names, kind, file):
    """The forms in which others keep vectors, by the programs that they use."""
    if kind == "fixed":
        lists = pa.FixedSizeListArray.from_arrays(pa.array(z.ravel()), z.shape[1])
        pq.write_table(pa.table({"name": names, "vector": lists}), file, row_group_size=7)
    elif kind == "pandas":
        frame = pd.DataFrame({"file": names, "date": "2020", "embeddings": [row for row in z]})
        frame.assign(count=3).to_parquet(file)
    elif kind == "large":
        lists = pa.array(z.astype(np.float64).tolist(), pa.large_list(pa.float64()))
        pq.write_table(pa.table({"vector": lists, "id": pa.array(names, pa.large_string())}), file)
    elif kind == "several":
        frame = pd.DataFrame(
            {"name": names, "Embedding": [r for r in z], "bbox": [[0.0, 1.0]] * len(z)}
        )
        frame.to_parquet(file)
    elif kind == "columns":
        frame = pd.DataFrame({"lon": 1.5, "name": names, "year2020": 7, **numbered(z)})
        frame.to_parquet(file)
    elif kind == "index":
        pd.DataFrame(z, columns=map(str, range(z.shape[1])), index=names).to_parquet(file)
    elif kind == "csv":
        pd.DataFrame({"lon": 1.5, **numbered(z)}, index=names).to_csv(file)
    elif kind == "semicolons":
        pd.DataFrame(numbered(z), index=pd.Index(names, name="x")).to_csv(
            file, sep=";", encoding="utf-8-sig"
        )
    elif kind == "npz":
        np.savez(file, names=np.array(names), z=z, seed=3)
    return file


FORMS = {
    "fixed": "p.parquet",
    "pandas": "p.parquet",
    "large": "p.parquet",
    "several": "p.parquet",
    "columns": "p.parquet",
    "index": "p.parquet",
    "csv": "p.csv",
    "semicolons": "p.csv",
    "npz": "p.npz",
}


@pytest.mark.parametrize("kind", FORMS)
def test_every_form_gives_the_same_names_and_vectors(kind, z, tmp_path):
    names = ["001", "NA", *NAMES[2:]]  # neither a number nor nothing
    vectors = read_vectors(write(z, names, kind, tmp_path / FORMS[kind]))
    assert vectors.names == tuple(names) and len(vectors) == 30
    np.testing.assert_allclose(vectors.z, z, rtol=1e-6)
    assert vectors.said.startswith("vectors of 12 values in ")


def test_labels_are_matched_by_name_whatever_the_order(z, y, table, tmp_path):
    order = np.random.default_rng(2).permutation(30)[:20]
    file = write(
        z[order], [f"tiles/{NAMES[i].upper()}.png" for i in order], "fixed", tmp_path / "p.parquet"
    )
    found, label_names, said = read_vectors(file).labels(table)
    np.testing.assert_array_equal(found, y[order])
    assert label_names == ("a", "b", "c", "d")
    assert said[-1] == "10 rows of labels.csv have no vector"


def test_names_may_be_paths_and_the_table_of_any_form(z, tmp_path):
    names = ["a/000.png", "b/000.png", "b/001.png"]
    file = write(z[:3], names, "fixed", tmp_path / "p.parquet")
    table = tmp_path / "labels.csv"
    table.write_text("file;labels\nb/000;sea|sand\ndata/a/000.tif;tree\nb/001.jpg;sand\n")
    y, label_names, _ = read_vectors(file).labels(table)
    has = [{n for n, on in zip(label_names, row, strict=True) if on} for row in y]
    assert has == [{"tree"}, {"sea", "sand"}, {"sand"}]
    table.write_text("file,labels\n000,sea\na/000,tree\nb/001,sea\n")
    with pytest.raises(ArchiveError, match="several folders"):
        read_vectors(file).labels(table)
    (tmp_path / "q.txt").write_text("000\n")
    table.write_text("file,labels\nb/000,sea\na/000,tree\nb/001,sea\n")
    with pytest.raises(ArchiveError, match=r"without a vector, or of several.*\n.*000"):
        query_and_gallery(file, table, tmp_path / "q.txt")


def test_evaluate_prints_the_metrics_between_chance_and_oracle(z, y, table, tmp_path, capsys):
    file = write(z, NAMES, "fixed", tmp_path / "mine.parquet")
    assert main(["evaluate", str(file), str(table)]) == 0
    said, how, count, header, *lines = capsys.readouterr().out.splitlines()
    assert "30 rows of labels.csv" in how and "4 labels" in how
    assert said == "mine.parquet: 30 vectors of 12 values in vector, names in name"
    assert count == "30 queries, each against the others, 4 labels" and "wAP@100" in header
    expected = {"chance": chance(y), "mine": evaluate(z, y), "oracle": oracle(y)}
    for line, (name, of) in zip(lines, expected.items(), strict=True):
        assert line.split() == [name, *(f"{100 * v:.2f}" for v in of.summary().values())]


def test_queries_may_be_named_or_searched_for_in_another_file(z, y, table, tmp_path, capsys):
    queries = tmp_path / "queries.txt"
    queries.write_text("\ufeffimg03.tif\n\nIMG07\nimg01\n", encoding="utf-8")
    file = write(z, NAMES, "csv", tmp_path / "p.csv")
    sets, said = query_and_gallery(file, table, queries)
    chosen = [1, 3, 7]
    others = [i for i in range(30) if i not in chosen]
    for found, expected in zip(sets, (z[chosen], y[chosen], z[others], y[others]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert said[-1] == "3 queries, in 27 images, 4 labels"

    first = write(z[:10], NAMES[:10], "fixed", tmp_path / "q.parquet")
    second = write(z[10:], NAMES[10:], "npz", tmp_path / "g.npz")
    turned = pd.read_csv(table)[["image", "d", "b", "c", "a"]]
    turned.to_csv(tmp_path / "turned.csv", index=False)
    gallery = (second, tmp_path / "turned.csv")
    sets, said = query_and_gallery(first, table, None, gallery)
    for found, expected in zip(sets, (z[:10], y[:10], z[10:], y[10:]), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert "20 rows of labels.csv have no vector" in said
    words = ["evaluate", str(first), str(table), "--gallery", *map(str, gallery)]
    assert main(words) == 0
    values = evaluate(z[:10], y[:10], z[10:], y[10:]).summary().values()
    assert " ".join(f"{100 * v:.2f}" for v in values) in " ".join(capsys.readouterr().out.split())


def test_all_rows_that_are_wrong_are_named_at_once(z, tmp_path):
    z[4], z[7, 3], z[9, 0] = 0, np.nan, np.inf
    names = [*NAMES[:28], "IMG02.png", ""]
    with pytest.raises(ArchiveError) as error:
        read_vectors(write(z, names, "fixed", tmp_path / "p.parquet"))
    said = str(error.value)
    for part in (
        "1 x vector that is all zero, and has no direction",
        "row 5 (img04)",
        "2 x vector that has values that are not finite",
        "row 8 (img07)",
        "row 10 (img09)",
        "row 29 (IMG02.png) = row 3 (img02)",
        "row without a name",
        "row 30",
    ):
        assert part in said


def lists(*rows):
    return {"name": NAMES[: len(rows)], "vector": pa.array(rows, pa.list_(pa.float32()))}


@pytest.mark.parametrize(
    "columns, message",
    [
        (lists([1.0, 2.0], [1.0], [2.0, 1.0], None), "have 2 values; row 2 has 1, row 4 has 0"),
        (lists([], []), "no values"),
        (lists([1.0, None], [1.0, 2.0]), r"not finite.*\n.*row 1 \(img00\)"),
        ({"name": NAMES}, "no column of lists of floats, and none of numbers"),
        ({"vector": [[1.0, 2.0]]}, "no column of text"),
        ({"name": NAMES[:1], "x": [[1.0]], "z": [[1.0]]}, "which column has the vectors, x, z"),
        (
            {"name": NAMES[:2], "e0": [1.0, 2.0], "e1": ["1", "?"]},
            "in e1 not every cell is a number",
        ),
        ({"name": pa.array([], pa.string()), "e0": pa.array([], pa.float64())}, "without a row"),
    ],
)
def test_a_table_without_sound_vectors_is_refused(columns, message, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(ArchiveError, match=message):
        read_vectors(tmp_path / "p.parquet")


def test_a_cell_that_is_no_number_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text("name,e0,e1\na,1,2\nb,,4\n")
    with pytest.raises(ArchiveError, match=r"not finite.*\n.*row 2 \(b\)"):
        read_vectors(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("name,e0,e1\na,1,2\nb,x,4\n")
    with pytest.raises(ArchiveError, match="in e0 not every cell is a number"):
        read_vectors(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("name,e0,e1\na,1,2\nb,1\n")
    with pytest.raises(ArchiveError, match="p.csv cannot be read"):
        read_vectors(tmp_path / "p.csv")


def test_what_is_no_file_of_vectors_is_refused(tmp_path):
    (tmp_path / "p.parquet").write_text("no table")
    np.savez(tmp_path / "p.npz", a=np.zeros((3, 2)), b=np.zeros((3, 2)), names=np.array(NAMES[:3]))
    np.savez(tmp_path / "o.npz", z=np.ones((1, 2)), names=np.array([object()]))
    (tmp_path / "p.pt").write_text("")
    for name, message in {
        "p.parquet": "cannot be read",
        "p.npz": "one array of text",
        "o.npz": "cannot be read",
        "p.pt": "read from .parquet, .csv, .npz",
        "gone.csv": "no file",
    }.items():
        with pytest.raises(ArchiveError, match=message):
            read_vectors(tmp_path / name)


def test_what_does_not_match_is_refused(z, table, tmp_path):
    file = write(z, NAMES, "fixed", tmp_path / "p.parquet")
    other = write(z, [*NAMES[:29], "more"], "fixed", tmp_path / "more.parquet")
    short = write(z[:5, :3], [f"x{i}" for i in range(5)], "fixed", tmp_path / "short.parquet")
    (tmp_path / "short.csv").write_text(
        "image,a,b,c,d\n" + "".join(f"x{i},1,0,0,0\n" for i in range(5))
    )
    (tmp_path / "few.csv").write_text("image,a,b\n" + "".join(f"{n},1,0\n" for n in NAMES))
    (tmp_path / "bad.csv").write_text("image,a\nimg00,2\n")
    (tmp_path / "nobody.txt").write_text("img01\nnobody\n")
    (tmp_path / "all.txt").write_text("\n".join(NAMES))
    for given, message in (
        ((other, table), r"vector without a row in labels.csv.*\n.*more"),
        ((file, tmp_path / "bad.csv"), r"table without labels.*\n.*bad.csv"),
        ((file, tmp_path / "gone.csv"), "path not found"),
        ((file, table, tmp_path / "nobody.txt"), r"name without a vector, or.*\n.*nobody"),
        ((file, table, tmp_path / "all.txt"), "some images are queries, and some others are not"),
        ((file, table, None, (file, table)), r"find itself.*\n.*img00"),
        ((file, table, None, (short, tmp_path / "short.csv")), "vectors of 12 values, .* of 3"),
        ((short, tmp_path / "short.csv", None, (file, tmp_path / "few.csv")), "same labels: c, d"),
    ):
        with pytest.raises(ArchiveError, match=message):
            query_and_gallery(*given)


@pytest.mark.parametrize(
    "words, message",
    [
        (["v.parquet"], "give the table of their labels, too"),
        (["v.parquet", "labels.csv", "--probe", "linear"], "no --archive, --split or --probe"),
        (["v.parquet", "labels.csv", "--split", "all"], "no --archive, --split or --probe"),
        (["some-run", "--query", "names.txt"], "--query and --gallery are of vectors"),
        (["v.parquet", "labels.csv"], "no file v.parquet"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and "Traceback" not in err
