"""The page over HTTP: what it finds and refuses, and what it says when the index has gone."""

import base64
import io
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import browsing
import numpy as np
import pandas as pd
import pytest
from browsing import EVIL, LABELS, Client, N, content, labels, longitude, name
from PIL import Image

from maclcore.__main__ import main
from maclcore.data.stretch import Stretch
from maclcore.search import browse
from maclcore.search.browse import CELLS, PAGE, Server, Session
from maclcore.search.embedder import of_made
from maclcore.search.index import Index
from maclcore.search.query import Query, find
from maclcore.search.results import read_ticks

ALL = sorted(map(name, range(N)))

# --- What is found -------------------------------------------------------------------------------


def test_the_page_is_told_what_the_index_is_of(client):
    status, about, _ = client.get("/about")
    assert status == 200 and (about["title"], about["images"]) == ("Colours", N)
    counts = [sum(label in labels(i) for i in range(N)) for label in LABELS]
    assert about["labels"] == [list(pair) for pair in zip(LABELS, counts, strict=True)]
    season, cloud = about["columns"]
    assert season == {"name": "season", "values": ["it's summer", None]}
    assert cloud == {"name": "cloud cover", "range": [0, (N - 1) / N]}
    assert about["extent"][::2] == pytest.approx([longitude(0), longitude(N - 1)])


def test_without_examples_all_images_are_paged_through_by_name(client):
    pages = [client.find(offset) for offset in (0, 60, 120, 180)]
    assert [len(page["items"]) for page in pages] == [60, 60, 30, 0]
    assert [item["name"] for page in pages for item in page["items"]] == ALL
    assert {page["total"] for page in pages} == {N}
    item = next(x for page in pages for x in page["items"] if x["name"] == "img010")
    assert (item["cosine"], item["labels"], item["longitude"]) == (None, labels(10), longitude(10))
    assert item["columns"] == [["cloud cover", f"{10 / N:.12g}"]]  # no season is known
    assert base64.b64decode(item["thumbnail"].partition("base64,")[2]) == content(10)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"labels": ["warm"]}, lambda i: i < 40),
        ({"labels": ["warm", LABELS[2]]}, lambda i: i < 40 and i % 5 == 0),
        ({"not_labels": ["warm", LABELS[2]]}, lambda i: i >= 40 and i % 5),
        ({"equals": {"season": "it's summer"}}, lambda i: i % 2),
        ({"equals": {"season": None}}, lambda i: i % 2 == 0),
        ({"equals": {"cloud cover": 0.5}}, lambda i: i == 75),
        ({"between": {"cloud cover": [0.1, 0.2]}}, lambda i: 15 <= i <= 30),
        ({"where": "longitude > 1", "equals": {"season": None}}, lambda i: i in range(102, N, 2)),
        ({"where": "name = 'img003' OR name = 'img081'", "labels": ["cold"]}, lambda i: i == 81),
        ({"box": [-0.5, 40, 0.5, 60]}, lambda i: i != 9 and 25 <= i <= 75),
    ],
)  # fmt: skip
def test_conditions_leave_the_images_that_meet_them(client, asked, expected):
    which = sorted(name(i) for i in range(N) if expected(i))
    told = client.find(limit=200, **asked)
    assert [item["name"] for item in told["items"]] == which and told["total"] == len(which)
    alike = client.find(limit=200, like=["img020"], **asked)
    assert sorted(x["name"] for x in alike["items"]) == [n for n in which if n != "img020"]
    assert alike["total"] == len(alike["items"])


def test_results_are_those_of_a_query_page_after_page(client, served):
    asked = {"like": ["img010", EVIL], "unlike": ["img100"], "not_labels": ["cold"]}
    index = Index(served.session.where)
    query = Query(like=("img010", EVIL), unlike=("img100",), not_labels=("cold",))
    expected = find(index, query, N)
    items = [item for k in (0, 25, 50) for item in client.find(k, 25, **asked)["items"]]
    assert [item["name"] for item in items] == expected["name"].tolist() and len(items) == 73
    assert [item["cosine"] for item in items] == [float(x) for x in expected["cosine"]]
    assert not {"img010", EVIL, "img100"} & {item["name"] for item in items}


def test_a_dropped_image_is_searched_by_its_vector_and_not_kept(own, colours, monkeypatch):
    client = Client(own.address)
    (colours / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(colours / "temporary"))
    status, told, _ = client.drop(content(30))
    vector = np.frombuffer(base64.b64decode(told["vector"]), "<f4")
    made = Index(colours / "index").about.made
    assert status == 200
    np.testing.assert_array_equal(vector, of_made(made).file(colours / "images" / "img030.png"))
    items = client.find(vectors=[told["vector"]])["items"]
    assert items[0]["name"] == "img030" and items[0]["cosine"] == pytest.approx(1, abs=1e-6)
    assert {items[1]["name"], items[2]["name"]} == {"img029", "img031"}
    far = client.find(limit=200, unlike_vectors=[told["vector"]])["items"]
    assert far[-1]["name"] == "img030" and far[-1]["cosine"] == pytest.approx(-1, abs=1e-6)
    assert [*(colours / "temporary").iterdir()] == []


def test_a_picture_is_the_file_and_only_one_of_the_archive(own, colours, tmp_path):
    client = Client(own.address)
    large = tmp_path / "images" / "img010.png"
    Image.new("RGB", (3000, 1500), "white").save(large)
    status, jpeg, headers = client.get("/picture?name=img010")
    assert status == 200 and headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(jpeg)).size == (1024, 512)
    secret = tmp_path / "img014.png"
    Image.new("RGB", (999, 9), "red").save(secret)
    (tmp_path / "images" / "img011.png").unlink()
    (tmp_path / "away").mkdir()
    away = shutil.copy(secret, tmp_path / "away" / "img011.png")
    (tmp_path / "images" / "img011.png").symlink_to(away)
    (tmp_path / "images" / "img012.png").write_bytes(b"no image any more")
    (tmp_path / "images" / "img013.png").unlink()
    Index(colours / "index").table.update("name = 'img014'", {"file": str(secret)})
    (tmp_path / "img015.png").write_bytes(secret.read_bytes())
    outside = {"file": str(tmp_path / "images" / ".." / "img015.png")}
    Index(colours / "index").table.update("name = 'img015'", outside)
    part = {"file": str(tmp_path / "images" / "img020.png")}  # of which it is a tile
    Index(colours / "index").table.update("name = 'img016'", part)
    for i in range(11, 17):  # the thumbnail of the index
        assert client.get(f"/picture?name=img0{i}")[1] == content(i)


def test_of_very_many_places_the_map_gets_some_in_every_part(own, monkeypatch):
    client = Client(own.address)
    rng = np.random.default_rng(0)
    many = rng.uniform((-10, 40), (10, 60), (200_000, 2))
    monkeypatch.setattr(browse, "_places", lambda index: many)
    told = client.post("/places", {"view": [-10, 40, 10, 60]})[1]
    assert told["number"] == 200_000 and 0.99 * CELLS**2 < len(told["points"]) <= (CELLS + 1) ** 2
    near = client.post("/places", {"view": [0, 50, 0.2, 50.2]})[1]
    inside = many[(many >= (0, 50)).all(1) & (many <= (0.2, 50.2)).all(1)].round(6)
    assert near["number"] == len(inside) > 5
    assert sorted(near["points"]) == sorted(inside.tolist())


# --- Export --------------------------------------------------------------------------------------


def test_exports_are_those_of_search_and_are_read_again(client, tmp_path):
    _, dropped, _ = client.drop(content(30))
    asked = {"vectors": [dropped["vector"]], "like": ["img010"], "labels": ["warm"], "k": 12}
    asked["dropped"] = [["<i>.png", dropped["thumbnail"]]]
    names = client.names(**{k: asked[k] for k in ("vectors", "like", "labels")}, limit=12)
    status, csv, headers = client.post("/export", {**asked, "kind": "csv"})
    assert status == 200 and headers["Content-Disposition"] == "attachment"
    table = pd.read_csv(io.BytesIO(csv), dtype={"tick": object})
    assert table["name"].tolist() == names and table["rank"].tolist() == [*range(1, 13)]
    table.loc[[0, 3], "tick"] = ["good", "bad"]
    table.to_csv(tmp_path / "ticks.csv", index=False)
    assert read_ticks([tmp_path / "ticks.csv"]) == ((names[0],), (names[3],))
    _, said, _ = client.post("/export", {**asked, "kind": "json"})
    (answer,) = said["answers"]
    assert [row["name"] for row in answer["found"]] == names
    assert answer["query"] == {"like": ["<i>.png", "img010"], "labels": ["warm"]}
    _, sheet, _ = client.post("/export", {**asked, "kind": "html"})
    text = sheet.decode()
    assert "<i>" not in text and "&lt;i&gt;.png" in text and "<script" not in text
    assert dropped["thumbnail"].partition("base64,")[2] in text


@pytest.mark.parametrize("wrong", [{"kind": "exe"}, {"k": 0}, {"k": 10**9}, {"dropped": [[1]]},
                                   {"dropped": [["a", 3]]}, {"where": "nothing ="}])  # fmt: skip
def test_what_cannot_be_exported_is_refused(client, wrong):
    status, told, _ = client.post("/export", {"kind": "csv", "k": 10, **wrong})
    assert status == 400 and told["error"]


def test_a_quick_search_is_refused_where_there_is_none(client):
    assert client.find(like=["img010"], approximate=False)["total"] == N - 1
    status, told = client.find(like=["img010"], approximate=True)
    assert status == 400 and "no approximate search" in told


# --- Two at once ---------------------------------------------------------------------------------


def test_many_at_once_are_answered_as_one_alone(client):
    def ask(i):
        told = client.drop(content(i))[1]
        return told["vector"], client.find(vectors=[told["vector"]], labels=["warm"])

    alone, together = [ask(i) for i in range(8)], [None] * 8

    def run(i):
        together[i] = ask(i)

    threads = [threading.Thread(target=run, args=[i]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == alone


# --- An index that changes -----------------------------------------------------------------------


def test_an_index_that_is_gone_is_said_and_found_again(own, colours):
    client = Client(own.address)
    shutil.move(colours / "index", colours / "elsewhere")
    for status, told in (client.find(), client.find(like=["img010"])):
        assert status == 400 and f"no index {colours / 'index'}" in told
    assert client.get("/picture?name=img010")[0] == client.get("/about")[0] == 400
    (colours / "index").mkdir()
    assert "is no index" in client.find()[1]
    (colours / "index").rmdir()
    shutil.move(colours / "elsewhere", colours / "index")
    assert client.find()["total"] == N


def test_an_index_that_is_removed_in_mid_question_is_said(own, colours, monkeypatch):
    client = Client(own.address)
    whole = browse._thumbnails

    def gone(index, names):
        shutil.rmtree(colours / "index")
        return whole(index, names)

    monkeypatch.setattr(browse, "_thumbnails", gone)
    status, told = client.find()
    assert status == 400 and "cannot be read: it was changed or removed just now" in told


def test_what_is_written_to_the_index_shows_at_the_next_question(own, colours):
    client = Client(own.address)
    assert client.find(labels=["warm"])["total"] == 40
    Index(colours / "index").table.delete("name = 'img003'")
    assert client.find(labels=["warm"])["total"] == 39 and "img003" not in client.names()
    assert dict(client.get("/about")[1]["labels"])["warm"] == 39
    shutil.rmtree(colours / "index")  # and another one, of as many versions, in its place
    browsing.made(colours / "images", colours / "index", n=100)
    Index(colours / "index").table.delete("name = 'img004'")
    assert client.find(limit=200)["total"] == 99
    assert client.names(limit=200) == [n for n in ALL if n < "img100" and n != "img004"]


def test_an_index_of_another_network_asks_for_the_page_anew(own, colours):
    client = Client(own.address)
    network = client.get("/about")[1]["network"]
    assert client.find(network=network)["total"] == N
    browsing.made(colours / "images", colours / "index", network="0" * 16)
    status, told = client.find(network=network)
    assert status == 409 and "load this page again" in told
    status, told, _ = client.drop(content(3))
    assert status == 400 and "another network than is here now" in told["error"]
    assert client.names(like=["img010"])  # its own images need no network


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"offset": -1}, "results -1 to"),
        ({"offset": True}, "offset: a whole number"),
        ({"limit": 10**6}, "look for less"),
        ({"limit": "60"}, "limit: a whole number"),
        ({"offset": 10_000, "like": ["img010"]}, "look for less"),
        ({"like": "img010"}, "like: a list of texts"),
        ({"like": [3]}, "like: a list of texts"),
        ({"like": ["nobody"]}, "not in the index: nobody"),
        ({"like": ["img010"], "unlike": ["img010"]}, "both an example and a counter-example"),
        ({"labels": ["wram"]}, "did you mean 'warm'?"),
        ({"vectors": ["AAAA"]}, "a vector here has 3 numbers"),
        ({"vectors": ["é"]}, "a vector here has 3 numbers"),
        ({"vectors": [base64.b64encode(np.float32([1, np.nan, 0]).tobytes()).decode()]}, "finite"),
        ({"where": "nothing = 3"}, "nothing"),
        ({"where": "nothing = 3", "like": ["img010"]}, "nothing"),
        ({"where": "1; DROP TABLE images"}, "DROP TABLE"),
        ({"where": 3}, "where: a condition is a text"),
        ({"equals": []}, "equals: columns and what they have"),
        ({"equals": {"vector": 1}}, "no column 'vector'"),
        ({"equals": {"season` = '' OR `season": "x"}}, "no column"),
        ({"equals": {"season": {}}}, "nothing to choose by"),
        ({"between": {"cloud cover": [1]}}, "two numbers"),
        ({"between": {"cloud cover": [0, float("inf")]}}, "two numbers"),
        ({"box": [1, 2, 3]}, "a box is west"),
        ({"box": [0, 60, 1, 50]}, "no box"),
        ({"box": [0, float("nan"), 1, 50]}, "a box is west"),
    ],
)
def test_what_is_no_question_is_told(client, asked, message):
    status, told = client.find(**asked)
    assert status == 400 and message in told and "Traceback" not in told


def test_values_are_values_and_never_conditions(client):
    for text in ("x' OR '1'='1", "'; DROP TABLE images; --", "\\' OR 1=1 --"):
        assert client.find(equals={"season": text})["total"] == 0
        assert "not in the index" in client.find(like=[text])[1]
    assert client.find()["total"] == N


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "an empty file"),
        (b"no image", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (content(3)[:-30], "truncated"),
    ],
    ids=["empty", "text", "svg", "cut"],
)
def test_what_is_no_image_is_told(client, file, message):
    status, told, _ = client.drop(file)
    assert status == 400 and message in told["error"]
    assert client.drop(content(3))[0] == 200


def test_a_deep_image_is_taken_where_the_index_says_what_is_black_and_white(own, colours):
    deep, file = np.zeros((16, 16), np.uint16), io.BytesIO()
    deep[:8] = 4000
    Image.fromarray(deep).save(file, "PNG")
    status, told, _ = Client(own.address).drop(file.getvalue())
    assert status == 400 and "pixels are not 8-bit" in told["error"]
    stretch = Stretch.of("0,4000")
    browsing.made(colours / "images", colours / "index", stretch=stretch)
    told = Client(own.address).drop(file.getvalue())[1]
    shown = Image.open(io.BytesIO(base64.b64decode(told["thumbnail"].partition("base64,")[2])))
    assert shown.size == (16, 16) and np.array(shown)[2].min() > 250 > 5 > np.array(shown)[13].max()


def test_what_is_too_large_is_not_even_read(client):
    for length in (str(2**25 + 1), "-1", "x"):
        status, told, _ = client.drop(b"", Content_Length=length)
        assert status == 413 and "too much" in told["error"]
    assert client.drop(b"\0" * 2**25)[1]["error"] == "not an image"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1"},
        {"Host": "0.0.0.0:{port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:1"},
    ],
    ids=str,
)
def test_other_origins_get_nothing(served, client, headers):
    headers = {key: value.format(port=served.server_port) for key, value in headers.items()}
    for path in ("/", "/about", "/picture?name=img010"):
        assert client.get(path, **headers)[0] == 403
    for path in ("/find", "/places", "/export"):
        assert client.post(path, {"offset": 0, "limit": 1}, **headers)[0] == 403
    assert client.drop(content(3), **headers)[0] == 403


def test_questions_are_posted_as_json_by_a_page(client):
    good = {"offset": 0, "limit": 1}
    assert client.post("/find", good, Origin=None)[0] == 403
    assert client.post("/find", good, Content_Type="text/plain")[0] == 415
    assert client.get("/find")[0] == client.get("/example")[0] == client.get("/export")[0] == 404
    assert client.post("/about", good)[0] == client.post("/", good)[0] == 404
    for body in (b"{", b"[]", b"\xff", b"", b"[" * 60000):
        assert client.post("/find", body)[0] == 400
    assert client.post("/find", b" " * (2**20 + 1))[0] == 413


@pytest.mark.parametrize(
    "path",
    ["/image/../../etc/passwd", "/../../etc/passwd", "//etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
     "/picture/../../etc/passwd", "/picture?name=../../etc/passwd", "/picture?name=/etc/passwd",
     "/picture?name=..%2f..%2fetc%2fpasswd", "/picture?name=%00", "/picture", "/picture?name=",
     "/picture?name=x'%20OR%20'1'%3D'1", "/page.html", "/browse.py", "/index/images.lance",
     "/picture?name=images%2fimg003.png", "/picture?name=img003.png"],
)  # fmt: skip
def test_there_is_nothing_but_what_the_index_holds(served, path):
    with socket.create_connection(("127.0.0.1", served.server_port), timeout=30) as link:
        host = f"127.0.0.1:{served.server_port}"
        link.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        reply = b"".join(iter(lambda: link.recv(4096), b""))
    assert reply.split()[1] == b"404" and b"root:" not in reply


def test_the_page_loads_nothing_from_elsewhere(client):
    status, page, headers = client.get("/")
    policy = headers["Content-Security-Policy"]
    (nonce,) = {*re.findall(r"nonce-([\w-]+)", policy)}
    assert status == 200 and page.decode().count(f'nonce="{nonce}"') == 2
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    text = PAGE.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|url\(|@import|<link (?!rel=\"icon\" href=\"data:,\")", text)
    assert not re.search("innerHTML|outerHTML|insertAdjacent|document.write|eval", text)


# --- The command ---------------------------------------------------------------------------------


def test_the_command_serves_until_it_is_interrupted(colours):
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from maclcore.__main__ import main; main()"
    )
    words = [sys.executable, "-c", code, "browse", str(colours / "index"), "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as own:
        said, address = own.stdout.readline(), own.stdout.readline().split()[0]
        assert said == f"Colours: {N} images, 3 labels\n"
        assert Client(address).find()["total"] == N
        own.send_signal(signal.SIGINT)
        _, err = own.communicate(timeout=60)
    assert own.returncode == 0 and err == ""


def test_what_is_no_index_or_no_port_is_told(colours, served, capsys):
    assert main(["browse", str(colours / "nothing"), "--no-browser"]) == 1
    assert main(["browse", str(colours), "--no-browser"]) == 1
    taken = [str(colours / "index"), "--port", str(served.server_port), "--no-browser"]
    assert main(["browse", *taken]) == 1
    first, second, third = capsys.readouterr().err.splitlines()
    assert "no index" in first and "is no index" in second
    assert f"port {served.server_port} cannot be had" in third


def test_a_server_can_be_stopped_and_started_again(colours):
    for _ in range(2):
        server = Server(Session(colours / "index")).start()
        assert Client(server.address).find()["total"] == N
        server.stop()
