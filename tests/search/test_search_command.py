"""`search` on the command line: what it prints, writes and refuses."""

import json

import pandas as pd
import pytest
from small import LABELS, Net, folder, index_of

from maclcore.__main__ import main
from maclcore.search.query import Query, find


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("command") / "archive")


@pytest.fixture(scope="module")
def index(archive):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maclcore.search.embedder.RetrievalNet", Net)
        patch.setenv("MACL_RESULTS", str(archive.parent / "results"))
        yield index_of(archive, archive.parent / "index", year=tuple(2000 + i for i in range(40)))


def names(out):
    """Of the lines of results: after the cosine, which has five characters, or none."""
    return [line[9:].split("  ")[0] for line in out.splitlines() if line.startswith("  ")]


def test_all_that_can_be_asked_for_is_one_query(index, archive, tmp_path, capsys):
    a, b = (str(archive / "images" / f"img0{i}.png") for i in (1, 2))
    words = [index.where, a, "--k", "6", "--like", "img05", "it's", "--not", b, "img06"]
    words += ["--labels", f"{LABELS[0]},{LABELS[1]}", "--without", LABELS[2], "--where"]
    words += ["year >= 2000", "--json", str(tmp_path / "a.json"), "--csv", str(tmp_path / "a.csv")]
    assert main(["search", *words, "--html", str(tmp_path / "a.html")]) == 0
    z = index.vectors(["img01", "img02"])
    query = Query(
        like=("img05", "it's"),
        unlike=("img06",),
        vectors=z[:1],
        unlike_vectors=z[1:],
        labels=LABELS[:2],
        not_labels=(LABELS[2],),
        where="year >= 2000",
    )
    expected = find(index, query, 6)["name"].tolist()
    out = capsys.readouterr().out
    assert names(out) == expected
    (answer,) = json.loads((tmp_path / "a.json").read_text())["answers"]
    assert [row["name"] for row in answer["found"]] == expected
    assert answer["query"]["without"] == [LABELS[2]]
    assert pd.read_csv(tmp_path / "a.csv")["name"].tolist() == expected
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")


def test_a_box_takes_negative_degrees(index, capsys):
    at = {"longitude": -60.5, "latitude": -10.5}
    index.table.update(where="name = 'img09'", values=at)
    assert main(["search", index.where, "--box", "-61", "-11", "-60", "-10"]) == 0
    assert names(capsys.readouterr().out) == ["img09"]
    assert main(["search", index.where, "--box", "-62", "-11", "-61", "-10"]) == 0
    assert "nothing" in capsys.readouterr().out


def test_ticks_of_one_round_are_the_examples_of_the_next(index, archive, tmp_path, capsys):
    image, first, second = (
        str(archive / "images" / "img01.png"),
        tmp_path / "1.csv",
        tmp_path / "2.csv",
    )
    assert main(["search", index.where, image, "--k", "5", "--csv", str(first)]) == 0
    table = pd.read_csv(first, keep_default_na=False)
    table.loc[1, "tick"], table.loc[4, "tick"] = "good", "bad"
    table.to_csv(first, index=False)
    words = [index.where, image, "--k", "5", "--ticks", str(first), "--csv", str(second)]
    assert main(["search", *words]) == 0
    query = Query(
        like=(table["name"][1],), unlike=(table["name"][4],), vectors=index.vectors(["img01"])
    )
    assert pd.read_csv(second)["name"].tolist() == find(index, query, 5)["name"].tolist()
    assert not {*pd.read_csv(second)["name"]} & {table["name"][1], table["name"][4]}


def test_bad_files_are_named_and_the_others_are_written(index, archive, tmp_path, capsys):
    good = str(archive / "images" / "img01.png")
    (tmp_path / "no\x1bimage.png").write_bytes(b"no image")
    words = [str(tmp_path / "no\x1bimage.png"), good, str(tmp_path / "gone.png"), "--each"]
    assert (
        main(["search", index.where, *words, "--k", "2", "--json", str(tmp_path / "a.json")]) == 1
    )
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == good and len(out.splitlines()) == 3
    assert "gone.png" in err and "image.png: not an image" in err and "\x1b" not in err
    assert len(json.loads((tmp_path / "a.json").read_text())["answers"]) == 1


@pytest.mark.parametrize(
    "words, message",
    [
        (["INDEX"], "nothing to look for"),
        (["INDEX", "--like", "img01", "--each"], "--each makes a list for each image file"),
        (["INDEX", "--like", "img01", "--k", "0"], "k is 0"),
        (["INDEX", "--like", "img01", "--archive", "synthetic"], "--archive is for a run"),
        (["INDEX", "--like", "nobody"], "not in the index: nobody"),
        (["INDEX", "--like", "img01", "--not", "gone.png"], "not in the index: gone.png"),
        (["INDEX", "--like", "img01", "--labels", "o clock"], "did you mean"),
        (["INDEX", "--ticks", "gone.csv"], "gone.csv"),
        (["some-run", "a.jpg"], "no run 'some-run'"),
        (["./some-index", "a.jpg"], "no index ./some-index"),
    ],
)
def test_what_cannot_be_searched_is_one_line(words, message, index, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    words = [index.where if word == "INDEX" else word for word in words]
    assert main(["search", *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_labels_are_split_at_commas_but_for_those_that_have_them():
    from maclcore.commands.search import _labels

    assert _labels(("water, tree", "a, b", "x"), ("water", "tree", "a, b")) == (
        "water", "tree", "a, b", "x",
    )  # fmt: skip
