"""Each form of the results, read by a parser that knows nothing of how it was written."""

import base64
import csv
import hashlib
import io
import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from lxml import html
from PIL import Image
from small import LABELS, NAMES, Net, folder, index_of

from maclcore.search import contact_sheet, results
from maclcore.search.given import take_vectors
from maclcore.search.query import Query

EVIL = '</title><script>document.title="x"</script>&<img src=x onerror=alert(1)>.png'


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("results") / "archive")


@pytest.fixture(scope="module")
def index(archive):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maclcore.search.embedder.RetrievalNet", Net)
        patch.setenv("MACL_RESULTS", str(archive.parent / "results"))
        columns = {"year": tuple(2000 + i for i in range(40)), "note": (None, "a\nb") * 20}
        yield index_of(archive, archive.parent / "index", **columns)


@pytest.fixture(scope="module")
def example(archive):
    file = archive.parent / EVIL.replace("/", "∕")
    shutil.copy(archive / "images" / "img01.png", file)
    return file


@pytest.fixture
def answer(index, example):
    query = Query(like=(NAMES[1],), unlike=(NAMES[0],), labels=(LABELS[3],), where="year < 2039")
    (answer,), problems = results.search(index, query, 8, like=[example])
    assert not problems and len(answer.found) > 3
    return answer


def test_files_and_names_make_one_query_or_one_for_each_file(index, archive, example, tmp_path):
    other = archive / "images" / "img02.png"
    z = index.vectors(["img01", "img02"])
    query = Query(like=("img03",))
    (one,), _ = results.search(index, query, 5, like=[example, other], unlike=[other])
    np.testing.assert_array_equal(one.query.vectors, z)
    np.testing.assert_array_equal(one.query.unlike_vectors, z[1:])
    assert one.like == (example, other) and one.unlike == (other,)
    two, _ = results.search(index, query, 5, like=[example, other], each=True)
    assert [list(a.query.vectors[0]) for a in two] == [list(row) for row in z]
    assert [a.title for a in two] == [f"{example}, img03", f"{other}, img03"]


def test_a_file_that_cannot_be_read_is_named_and_stops_no_other(index, archive, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    good = archive / "images" / "img01.png"
    files = [tmp_path / "empty.png", good, tmp_path / "gone.png", tmp_path]
    answers, problems = results.search(index, Query(), 3, like=files, each=True)
    assert [a.like for a in answers] == [(good,)] and answers[0].found["name"][0] == "img01"
    assert len(problems) == 3
    assert all(any(f.name in p for p in problems) for f in files if f != good)
    answers, problems = results.search(index, Query(), 3, like=files[:1])
    assert answers == [] and len(problems) == 1


def test_the_text_is_printable_and_has_a_line_an_image(answer):
    first, *lines = results.text(answer).splitlines()
    assert len(lines) == len(answer.found) and all(line.isprintable() for line in (first, *lines))
    for line, row in zip(lines, answer.found.itertuples(), strict=True):
        cosine, rest = line.split(maxsplit=1)
        assert cosine == f"{row.cosine:.3f}" and rest.startswith(row.name)
        assert rest.endswith(", ".join(row.labels))


def test_of_nothing_found_nothing_is_told(index):
    (answer,), _ = results.search(index, Query(where="year = 1"), 3)
    assert results.text(answer).splitlines() == ["where year = 1", "  nothing"]


def test_json_says_what_was_asked_found_and_by_which_index(answer, index, example, tmp_path):
    results.write_json(tmp_path / "a.json", index, [answer, answer])
    said = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert said["index"]["made"]["network"] == index.about.made.network
    assert said["index"]["images"] == 40 and said["maclcore"]
    first, second = said["answers"]
    assert first == second
    assert first["query"] == {
        "like": [str(example), NAMES[1]],
        "not": [NAMES[0]],
        "labels": [LABELS[3]],
        "where": "year < 2039",
    }
    found = answer.found
    assert [row["name"] for row in first["found"]] == found["name"].tolist()
    assert [row["cosine"] for row in first["found"]] == found["cosine"].tolist()
    assert [row["labels"] for row in first["found"]] == [list(x) for x in found["labels"]]
    assert [row["longitude"] for row in first["found"]] == [None] * len(found)
    assert {row["note"] for row in first["found"]} <= {None, "a\nb"}


def test_csv_has_a_line_an_image_and_room_for_a_tick(answer, tmp_path):
    results.write_csv(tmp_path / "a.csv", [answer])
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    found = answer.found
    assert [row["name"] for row in rows] == found["name"].tolist()
    assert [int(row["rank"]) for row in rows] == [*range(1, len(found) + 1)]
    assert [np.float32(row["cosine"]) for row in rows] == found["cosine"].tolist()
    assert [row["labels"].split(";") for row in rows] == [list(x) for x in found["labels"]]
    assert [int(row["year"]) for row in rows] == found["year"].tolist()
    assert {row["tick"] for row in rows} == {""} and {row["query"] for row in rows} == {
        answer.title
    }
    assert results.read_ticks([tmp_path / "a.csv"]) == ((), ())
    results.write_csv(tmp_path / "none.csv", [])
    assert "name" in pd.read_csv(tmp_path / "none.csv")


def test_ticks_come_back_and_rounds_add_up(index, answer, tmp_path):
    results.write_csv(tmp_path / "1.csv", [answer])
    table = pd.read_csv(tmp_path / "1.csv", keep_default_na=False)
    table.loc[[0, 2], "tick"], table.loc[1, "tick"] = "good", " Bad "
    table.to_csv(tmp_path / "1.csv", index=False)
    names = table["name"].tolist()
    good, bad = results.read_ticks([tmp_path / "1.csv"])
    assert (good, bad) == ((names[0], names[2]), (names[1],))
    # as a spreadsheet may save it; and in the second round one has another tick
    table.loc[[0, 3], "tick"] = "bad"
    table.to_csv(tmp_path / "2.csv", index=False, sep=";", encoding="utf-8-sig")
    good, bad = results.read_ticks([tmp_path / "1.csv", tmp_path / "2.csv"])
    assert good == (names[2],) and bad == (names[0], names[1], names[3])
    (again,), _ = results.search(index, Query(like=good, unlike=bad), 40)
    assert not {*again.found["name"]} & {*good, *bad}
    z = {name: index.vectors([name])[0] for name in (*good, *bad)}
    towards, away = sum(z[n] for n in good), sum(z[n] for n in bad)
    q = towards / np.linalg.norm(towards) - 0.5 * away / np.linalg.norm(away)
    first = index.vectors([again.found["name"][0]])[0] @ q / np.linalg.norm(q)
    np.testing.assert_allclose(again.found["cosine"][0], first, atol=1e-6)


@pytest.mark.parametrize(
    "content, message",
    [
        ("name,tick\na,perhaps\n", "t.csv, line 2: a: a tick is good or bad or nothing, not"),
        ("name,tick\na,good\nb,\na,bad\n", "t.csv, line 4: a is ticked both good and bad"),
        ("image,good\na,1\n", "t.csv has no column name and no tick"),
        ("", "t.csv has no column name and no tick"),
    ],
)
def test_a_table_without_sound_ticks_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        results.read_ticks([tmp_path / "t.csv"])


def test_a_contact_sheet_has_all_pictures_and_asks_nobody(answer, index, example, tmp_path):
    contact_sheet.write(tmp_path / "a.html", index, [answer])
    page = html.parse(str(tmp_path / "a.html"), html.HTMLParser(encoding="utf-8")).getroot()
    assert not page.xpath("//script | //link | //iframe | //object | //form | //base | //a")
    names = {attribute for element in page.iter("*") for attribute in element.attrib}
    assert not {name for name in names if name.startswith("on") or name in ("style", "href")}
    sources = page.xpath("//@src")
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    pictures = [base64.b64decode(source.split(",")[1]) for source in sources]
    assert all(Image.open(io.BytesIO(picture)).format == "JPEG" for picture in pictures)
    asked = page.xpath("//figure[@class]")
    assert [figure.get("class") for figure in asked] == ["like", "like", "not"]
    assert [f.xpath(".//img/@alt")[0] for f in asked] == [example.name, NAMES[1], NAMES[0]]
    cards = page.xpath("//ol[@class='found']/li")
    assert [card.xpath("./img/@alt")[0] for card in cards] == answer.found["name"].tolist()
    assert pictures[3:] == [index.thumbnail(name) for name in answer.found["name"]]
    assert [float(card.xpath(".//b/text()")[0]) for card in cards] == [
        round(float(f"{c:.3f}"), 3) for c in answer.found["cosine"]
    ]
    assert [card.xpath(".//ul/li/text()") for card in cards] == [
        list(labels) for labels in answer.found["labels"]
    ]
    shared = {label for card in cards for label in card.xpath(".//li[@class='shared']/text()")}
    (own,) = index.rows(names=[NAMES[1]])["labels"]
    assert LABELS[3] in shared and shared <= {LABELS[3], *own}
    assert "year < 2039" in page.xpath("//dd/text()")
    assert page.xpath("//title/text()")[0].startswith(f"like {example}"[:200])
    (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    for style in page.xpath("//style"):
        digest = hashlib.sha256(style.text.encode()).digest()
        assert f"'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_of_given_vectors_the_page_has_names_alone(tmp_path):
    z = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    index = take_vectors(tmp_path / "index", [*"abcdefghi"], z, by="a <b>network</b> of theirs")
    (answer,), _ = results.search(index, Query(like=("a",), unlike=("b",)), 4)
    page = html.fromstring(contact_sheet.page(index, [answer]))
    assert not page.xpath("//img | //p//b") and len(page.xpath("//*[@class='none']")) == 6
    assert "a <b>network</b> of theirs" in page.xpath("//p")[0].text


def test_a_page_that_cannot_be_made_leaves_the_old_one(answer, index, tmp_path, monkeypatch):
    (tmp_path / "a.html").write_text("old")
    monkeypatch.setattr(index, "thumbnail", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        contact_sheet.write(tmp_path / "a.html", index, [answer])
    assert [*tmp_path.iterdir()] == [tmp_path / "a.html"]
    assert (tmp_path / "a.html").read_text() == "old"


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(not CHROMIUM, reason="no chromium or Chrome is installed")
def test_a_browser_shows_it_and_runs_nothing(answer, index, tmp_path):
    contact_sheet.write(tmp_path / "a.html", index, [answer])
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
    words += ["--window-size=900,700", f"--screenshot={tmp_path / 'a.png'}"]
    done = subprocess.run(
        [CHROMIUM, *words, (tmp_path / "a.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and "Content Security Policy" not in done.stderr
    shot = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert (shot[0, 0] == [0xFA, 0xFA, 0xF8]).all()  # the page's own styles are heeded
    accent = (shot == [0x1F, 0x5F, 0x8B]).all(axis=-1)  # frames of the examples
    assert accent.sum() > 500 and len(np.unique(shot.reshape(-1, 3), axis=0)) > 1000
