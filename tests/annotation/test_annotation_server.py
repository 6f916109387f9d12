"""The page's server over HTTP: what it gives, what it refuses, and what it never loses."""

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest
from asking import LABELS, answer, encoded
from PIL import Image

from maclcore.__main__ import main
from maclcore.annotation.answers import Log, LogError, read
from maclcore.annotation.server import PAGE, Server
from maclcore.annotation.session import Conflict, Session
from maclcore.annotation.widget import Widget
from maclcore.data import ArchiveError


class Client:
    """As the page asks, unless other headers are given."""

    def __init__(self, address):
        self.host = urlsplit(address).netloc
        self.headers = {"Origin": f"http://{self.host}", "Content-Type": "application/json"}

    def get(self, path, **headers):
        return self._ask("GET", path, None, headers)

    def post(self, path, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self._ask("POST", path, body, {**self.headers, **headers})

    def _ask(self, method, path, body, headers):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            headers = {k.replace("_", "-"): v for k, v in headers.items() if v is not None}
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        kind = reply.headers["Content-Type"]
        return reply.status, json.loads(content) if "json" in kind else content, reply.headers

    def answer(self, kind="labels", **given):
        _, state, _ = self.get("/state")
        labels = state["task"]["candidates"][:1] if kind == "labels" else []
        content = {"turn": state["turn"], "answer": kind, "labels": labels, "batches": 1}
        return self.post("/answer", {**content, **given})


@pytest.fixture
def served(folder):
    server = Server(Session(folder, annotator="ada", labels=LABELS)).start()
    yield server
    server.stop()


@pytest.fixture
def client(served):
    return Client(served.address)


# --- Asked and answered --------------------------------------------------------------------------


def test_answers_are_kept_with_all_that_they_were_given_under(served, client):
    status, state, _ = client.get("/state")
    assert status == 200 and (state["done"], state["to_go"]) == (0, len(served.session.tasks))
    task = state["task"]
    status, after, _ = client.answer(labels=task["candidates"][5:3:-1], batches=2, seconds=3.25)
    assert status == 200 and after["done"] == 1 and after["task"]["name"] != task["name"]
    (line,) = read(served.session.store)["ada"]
    assert (line.image, line.mode, line.seed, line.seconds) == (task["name"], "one", 0, 3.25)
    assert line.labels == tuple(task["candidates"][5:3:-1])
    assert line.candidates == tuple(task["candidates"]) and len(line.candidates) == 6
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+\+00:00", line.time) and not line.repeat


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ({"turn": 7}, 409, "another window"),
        ({"turn": None}, 409, "another window"),
        ({"answer": "perhaps"}, 400, "no answer in the mode 'one': 'perhaps'"),
        ({"answer": "right"}, 400, "no answer in the mode 'one': 'right'"),
        ({"answer": ["labels"]}, 400, "no answer in the mode"),
        ({"labels": []}, 400, "the answer 'labels' with the labels []"),
        ({"answer": "none"}, 400, "the answer 'none' with the labels ["),
        ({"labels": ["lava"]}, 400, "labels that were not shown: ['lava']"),
        ({"labels": "water"}, 400, "a list, each once"),
        ({"labels": [["water"]]}, 400, "not shown"),
        ({"batches": 0}, 400, "of 2 batches of candidates 0 cannot be shown"),
        ({"batches": 3}, 400, "of 2 batches"),
        ({"batches": True}, 400, "of 2 batches"),
        ({"seconds": -1}, 400, "seconds are -1"),
        ({"seconds": float("nan")}, 400, "seconds are nan"),
        ({"seconds": "1"}, 400, "seconds are '1'"),
        ({"answer": "undo"}, 409, "nothing to undo"),
    ],
)
def test_what_is_no_answer_is_refused_and_not_kept(served, client, given, status, message):
    found, content, _ = client.answer(**{"kind": "labels", **given})
    assert found == status and message in content["error"]
    assert served.session.log.file.read_bytes() == b""
    assert client.answer()[0] == 200


def test_a_label_twice_or_not_shown_yet_is_refused(client):
    task = client.get("/state")[1]["task"]["candidates"]
    assert client.answer(labels=[task[0], task[0]])[0] == 400
    assert client.answer(labels=[task[4]])[0] == 400
    assert client.answer(labels=[task[4]], batches=2)[0] == 200


def test_the_end_says_how_it_went_and_writes_the_tables(served, client):
    while (state := client.get("/state")[1])["task"]:
        kind = "none" if state["task"]["name"] == "img3" else "labels"
        assert client.answer(kind, seconds=30)[0] == 200
    status, found, _ = client.get("/summary")
    number = len(served.session.tasks)
    assert status == 200 and (found["answered"], found["minutes"]) == (number, number / 2)
    assert found["an_hour"] == 120 and found["none"] == 1 and found["others"] == {}
    status, files, _ = client.post("/export", {})
    assert status == 200 and [file["rows"] for file in files] == [7, 7, 0]
    reply = client.post("/answer", {"turn": state["turn"], "answer": "skip", "batches": 1})
    assert reply[0] == 409 and "all is answered" in reply[1]["error"]


def test_agreement_with_oneself_is_that_of_what_was_asked_twice(folder):
    for i in range(60):
        Image.new("L", (2, 2)).save(folder / "images" / f"more{i}.png")
    session = Session(folder, annotator="ada", labels=LABELS, seed=1)
    twice = [task.image for task in session.tasks if task.repeat]
    assert 1 < len(twice) < 10
    while task := session.state()["task"]:
        second = any(line.image == task["name"] for line in session.log.lines)
        assert second <= (task["name"] in twice)
        same = sorted(task["candidates"])[0] if task["name"] != twice[0] or not second else "water"
        answer(session, answer="labels", labels=[same], batches=2)
    found = session.summary()["self"]
    session.close()
    assert found["number"] == len(twice)
    assert found["same"] == pytest.approx(1 - 1 / len(twice))


# --- Two at once ---------------------------------------------------------------------------------


def test_two_annotators_at_once_each_in_a_file(folder):
    servers = [Server(Session(folder, annotator=n, labels=LABELS)).start() for n in ("ada", "bob")]
    failed = []

    def annotate(server):
        client = Client(server.address)
        while client.get("/state")[1]["task"]:
            failed.extend(reply for reply in [client.answer()] if reply[0] != 200)

    threads = [threading.Thread(target=annotate, args=[server]) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = Client(servers[0].address).get("/summary")[1]["others"]["bob"]
    status, files, _ = Client(servers[1].address).post("/export", {})
    for server in servers:
        server.stop()
    logs = read(folder / "annotations")
    assert not failed and logs.keys() == {"ada", "bob"}
    for name, lines in logs.items():
        assert len({line.task for line in lines}) == len(lines) == len(servers[0].session.tasks)
        assert {line.annotator for line in lines} == {name}
    # the same seed shows the same candidates, of which both took the first
    assert (found["number"], found["same"], found["cells"]) == (8, 1.0, 1.0)
    assert status == 200 and files[0]["rows"] == 8 and files[2]["rows"] == 0


def test_one_question_is_answered_once_however_many_answer_it(served, client):
    content = {"turn": 0, "answer": "none", "labels": [], "batches": 1}
    replies = []
    threads = [
        threading.Thread(target=lambda: replies.append(client.post("/answer", content)[0]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(replies) == [200] + [409] * 7
    assert len(read(served.session.store)["ada"]) == 1


def test_a_second_server_for_one_annotator_is_refused(served, folder):
    with pytest.raises(LogError, match="ada is already annotating here"):
        Session(folder, annotator="ada", labels=LABELS)


# --- What goes wrong -----------------------------------------------------------------------------


def test_on_a_full_disk_the_answer_is_refused_and_the_question_stays(served, client, monkeypatch):
    client.answer()
    before, content = client.get("/state")[1], served.session.log.file.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        status, reply, _ = client.answer()
        assert status == 507 and "not saved" in reply["error"] and "No space" in reply["error"]
        assert client.answer("undo")[0] == 507 and client.post("/export", {})[0] == 507
    assert client.get("/state")[1] == before and served.session.log.file.read_bytes() == content
    assert client.answer()[0] == 200


START = [sys.executable, "-m", "maclcore", "annotate"]


def started(folder, *words):
    process = subprocess.Popen(
        [*START, str(folder), "--annotator", "ada", "--no-browser", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(2)]
    if not lines[1].startswith("http"):
        lines.append(process.stdout.readline())
    return process, Client(lines[-1].split()[0]), lines


def test_killed_in_mid_answer_it_goes_on_where_it_stopped(folder):
    process, client, _ = started(folder, "--labels", ",".join(LABELS))
    for _ in range(3):
        assert client.answer()[0] == 200
    state = client.get("/state")[1]
    with process:
        process.kill()
    with open(folder / "annotations" / "ada.jsonl", "ab") as file:
        file.write(encoded(read(folder / "annotations")["ada"][0])[:40])
    process, client, lines = started(folder, "--labels", ",".join(LABELS))
    assert "was cut off, and is ignored" in lines[0] and "3 answers so far" in lines[1]
    assert client.get("/state")[1] == {**state, "cut": True}
    assert client.answer()[0] == 200
    with process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and err == "" and "4 lines in" in out


# --- What is refused -----------------------------------------------------------------------------


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
        {"Origin": "http://127.0.0.1:{port}.evil.example"},
    ],
    ids=str,
)
def test_other_origins_get_and_change_nothing(served, client, headers):
    headers = {name: value.format(port=served.server_port) for name, value in headers.items()}
    for path in ("/", "/state", "/summary", "/image/0"):
        status, content, _ = client.get(path, **headers)
        assert status == 403 and content["error"].startswith("only the page at http://127.0.0.1:")
    for path in ("/answer", "/export"):
        content = {"turn": 0, "answer": "none", "labels": [], "batches": 1}
        assert client.post(path, content, **headers)[0] == 403
    assert served.session.log.file.read_bytes() == b"" and client.answer()[0] == 200


def test_answers_are_posted_as_json_by_a_page(served, client):
    good = {"turn": 0, "answer": "none", "labels": [], "batches": 1}
    assert client.post("/answer", good, Origin=None)[0] == 403  # a form of no origin
    assert client.post("/answer", good, Content_Type="text/plain")[0] == 415  # nor one of another
    assert client.get("/answer")[0] == client.get("/export")[0] == 404
    assert client.post("/state", good)[0] == 404
    for body in (b"{", b"[]", b"\xff", b""):
        assert client.post("/answer", body)[0] == 400
    assert client.post("/answer", b" " * 2**17)[0] == 413
    assert served.session.log.file.read_bytes() == b""
    assert client.post("/answer", good)[0] == 200


def test_localhost_is_this_server_too(served):
    client = Client(f"http://localhost:{served.server_port}/")
    assert client.answer()[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/image/8", "/image/-1", "/image/0x1", "/image/", "/image/999999999", "/image/9999999999",
     "/image/../labels.csv", "/../../etc/passwd", "/image/%2e%2e/secret", "//etc/passwd",
     "/annotations/ada.jsonl", "/image/img0.png", "/page.html", "/image/٣"],
)  # fmt: skip
def test_there_is_nothing_but_the_page_and_images_by_number(served, path):
    with socket.create_connection(("127.0.0.1", served.server_port), timeout=30) as link:
        host = f"127.0.0.1:{served.server_port}"
        link.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        reply = b"".join(iter(lambda: link.recv(4096), b""))
    assert reply.split()[1] == b"404"


def test_the_page_loads_nothing_from_elsewhere(client):
    status, page, headers = client.get("/")
    policy = headers["Content-Security-Policy"]
    (nonce,) = {*re.findall(r"nonce-([\w-]+)", policy)}
    assert status == 200 and page.decode().count(f'nonce="{nonce}"') == 2
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert nonce not in client.get("/")[2]["Content-Security-Policy"]
    text = PAGE.read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|<link (?!rel=\"icon\" href=\"data:,\")", text)
    assert "innerHTML" not in text and "insertAdjacent" not in text  # names are text, never markup
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


# --- Images --------------------------------------------------------------------------------------


def picture(client, index=0):
    status, content, headers = client.get(f"/image/{index}")
    assert status == 200, content
    return Image.open(io.BytesIO(content)), headers["Content-Type"]


def annotated(folder, **options):
    return Server(Session(folder, **{"annotator": "ada", "labels": LABELS, **options})).start()


def test_images_come_as_they_are(client):
    shown, kind = picture(client, 3)
    assert kind == "image/png" and shown.size == (24, 16)
    assert shown.getpixel((5, 5)) == (0, 255, 63)


MODES_OF = {
    "tif": ["RGB", "L", "RGBA", "CMYK", "P", "1"],
    "bmp": ["RGB", "L", "P", "1"],
    "webp": ["RGB", "RGBA"],
    "jp2": ["RGB", "L", "RGBA"],
    "jpg": ["RGB", "L", "CMYK"],
}


@pytest.mark.parametrize(("suffix", "mode"), [(s, mode) for s in MODES_OF for mode in MODES_OF[s]])
def test_every_format_that_is_read_is_one_that_a_browser_shows(tmp_path, suffix, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / f"a.{suffix}")
    server = annotated(tmp_path)
    shown, kind = picture(Client(server.address))
    server.stop()
    assert (kind, shown.size, shown.mode) == ("image/png", (20, 10), "RGB")
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert np.array_equal(np.asarray(shown), np.asarray(image.convert("RGB")))


def test_a_large_image_comes_as_jpeg_and_a_turned_one_as_it_is_to_be_seen(tmp_path):
    Image.new("RGB", (2000, 1000), (0, 0, 200)).save(tmp_path / "large.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "turned.jpg", exif=exif)
    server = annotated(tmp_path)
    (large, kind), (turned, _) = (picture(Client(server.address), i) for i in (0, 1))
    server.stop()
    assert (kind, large.size, turned.size) == ("image/jpeg", (2000, 1000), (10, 20))


def test_what_cannot_be_shown_is_named_and_can_be_skipped(folder):
    (folder / "images" / "empty.png").touch()
    (folder / "images" / "text.png").write_text("<script>alert(1)</script>")
    cut = (folder / "images" / "img0.png").read_bytes()
    (folder / "images" / "short.png").write_bytes(cut[: len(cut) // 2])
    Image.new("I;16", (9, 9)).save(folder / "images" / "deep.tif")
    (folder / "images" / "gone.png").write_bytes(cut)
    server = annotated(folder)
    (folder / "images" / "gone.png").unlink()
    client, names = Client(server.address), server.session.pictures.names
    said = {}
    for name in ("empty", "text", "short", "deep", "gone"):
        status, content, headers = client.get(f"/image/{names.index(name)}")
        assert status == 422 and headers["Content-Type"] == "application/json"
        said[name] = content["error"]
    assert all(said[name].startswith(name) for name in said)
    assert "an empty file" in said["empty"] and "16 bits" in said["deep"]
    while (state := client.get("/state")[1])["task"]:
        client.answer("skip" if state["task"]["name"] in said else "labels")
    assert {*client.get("/summary")[1]["aside"]} == {*said}
    server.stop()


def test_links_out_of_the_folder_are_refused(folder, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    (folder / "images" / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "images" / "in.png").symlink_to(folder / "images" / "img0.png")
    (folder / "images" / "beyond").symlink_to(tmp_path)
    server = annotated(folder)
    client, names = Client(server.address), server.session.pictures.names
    assert "secret" not in names
    status, content, _ = client.get(f"/image/{names.index('out')}")
    assert status == 422 and "out: out.png is a link out of the folder" in content["error"]
    assert client.get(f"/image/{names.index('in')}")[0] == 200
    (folder / "images" / "img1.png").unlink()  # and one that becomes a link later
    (folder / "images" / "img1.png").symlink_to(tmp_path / "secret.png")
    assert client.get(f"/image/{names.index('img1')}")[0] == 422
    server.stop()


def bands(folder, names, toml):
    rasterio = pytest.importorskip("rasterio")
    (folder / "images").mkdir()
    (folder / "bands.toml").write_text(toml)
    shape = {"count": len(names), "height": 6, "width": 8, "dtype": "uint16"}
    with rasterio.open(
        folder / "images" / "a.tif",
        "w",
        "GTiff",
        transform=rasterio.Affine(10, 0, 0, 0, -10, 0),
        **shape,
    ) as out:
        for i, level in enumerate(names.values()):
            out.write(np.full((6, 8), level, np.uint16), i + 1)
    return annotated(folder)


def test_of_many_bands_red_green_and_blue_are_shown(tmp_path):
    levels = {"B2": 100, "B3": 1500, "B4": 3000, "B8": 200}
    toml = '[s2_l2a]\nbands = ["B2", "B3", "B4", "B8"]\n'
    server = bands(tmp_path, levels, toml)
    shown, kind = picture(Client(server.address))
    server.stop()
    red, green, blue = shown.getpixel((3, 3))
    assert kind == "image/png" and shown.size == (8, 6) and red > green > blue


def test_bands_without_colours_are_an_error_that_says_so(tmp_path):
    server = bands(tmp_path, {"B5": 9, "B8": 9}, '[s2_l2a]\nbands = ["B5", "B8"]\n')
    status, content, _ = Client(server.address).get("/image/0")
    server.stop()
    assert status == 422 and "a: no B4,B3,B2" in content["error"] and "B5, B8" in content["error"]


# --- A review ------------------------------------------------------------------------------------


@pytest.fixture
def completed(folder):
    (folder / "labels.completed.csv").write_text(
        "image,water,sand\n" + "".join(f"img{i},{i % 2},1\n" for i in range(3))
    )
    (folder / "labels.probabilities.csv").write_text(
        "image,sand,water\nimg0,0.9,0.45\nimg1,0.8,0.99\nimg2,0.52,0.1\nimg9,0.5,0.5\n"
    )
    return folder


def test_a_review_asks_for_the_most_doubtful_cells_first(completed):
    session, asked = Session(completed, annotator="ada", mode="review"), []
    while task := session.state()["task"]:
        asked.append((task["name"], task["label"], task["completed"], task["probability"]))
        answer(session, answer="wrong" if len(asked) <= 2 else "right")
    assert asked[:6] == [
        ("img2", "sand", True, 0.52),
        ("img0", "water", False, 0.45),
        ("img1", "sand", True, 0.8),
        ("img0", "sand", True, 0.9),
        ("img2", "water", False, 0.1),
        ("img1", "water", True, 0.99),
    ]
    assert session.state()["changed"] == 2
    session.export()
    session.close()
    text = (completed / "annotations" / "labels.reviewed.csv").read_text()
    assert text == "image,water,sand\nimg0,1,1\nimg1,1,1\n"  # of img2 no label is left
    assert (completed / "labels.completed.csv").read_text().startswith("image,water,sand\nimg0,0,1")


@pytest.mark.parametrize(
    ("table", "probabilities", "message"),
    [
        (None, "", r"labels\.completed\.csv"),
        (
            "image,water\nimg0,1\nelse,1\n",
            "image,water\nimg0,1\n",
            "row without an image.*\n.*else",
        ),
        ("image,water\nimg0,1\n", None, r"labels\.probabilities\.csv cannot be read"),
        ("image,water\nimg0,1\n", "", r"its labels are \[\], those of labels\.completed\.csv"),
        ("image,water\nimg0,1\n", "image,sand\nimg0,1\n", r"its labels are \['sand'\]"),
        ("image,water\nimg0,1\n", "image,water\nimg0,1.5\n", r"img0 \(labels.prob.*, line 2\)"),
        ("image,water\nimg0,1\n", "image,water\nimg0,nan\n", "img0"),
        ("image,water\nimg0,1\n", "image,water\nimg0,0.5,1\n", "img0"),
        ("image,water\nimg0,1\n", "image,water\nimg1,0.5\n", "without a row in.*\n.*img0"),
    ],
)
def test_tables_that_do_not_fit_are_told(folder, table, probabilities, message):
    for name, text in {"completed": table, "probabilities": probabilities}.items():
        if text is not None:
            (folder / f"labels.{name}.csv").write_text(text)
    with pytest.raises(ArchiveError, match=message):
        Session(folder, annotator="ada", mode="review")


# --- From the command line and in a notebook -----------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which labels?"),
        (["--labels", "water,,sand"], "labels that cannot be: ''"),
        (["--labels", "water, water"], "'water' twice"),
        (["--labels", "a", "--labels-file", "b"], "give one of them"),
        (["--labels-file", "nowhere.txt"], "nowhere.txt"),
        (["--labels", "a", "--annotator", "../ada"], "'../ada' cannot be"),
        (["--labels", "a", "--annotator", ".ada"], "'.ada' cannot be"),
        (["--labels", "a", "--port", "70000"], "port 70000 cannot be had"),
        (["--labels", "a", "--completed", "x.csv"], "is for the mode 'review'"),
        (["--labels", "a", "--mode", "review"], "leave them out"),
    ],
)
def test_what_does_not_fit_together_is_one_line(folder, capsys, words, message):
    assert main(["annotate", str(folder), "--no-browser", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


def test_a_folder_that_cannot_be_annotated_is_told(tmp_path, capsys):
    assert main(["annotate", str(tmp_path / "nowhere"), "--labels", "a"]) == 1
    assert "no folder" in capsys.readouterr().err
    assert main(["annotate", str(tmp_path), "--labels", "a"]) == 1
    assert "folder without an image" in capsys.readouterr().err
    for name in ("a.png", "A.tif"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    assert main(["annotate", str(tmp_path), "--labels", "a"]) == 1
    assert "duplicate image name" in capsys.readouterr().err
    assert not (tmp_path / "annotations").exists()


def test_labels_are_those_of_the_table_or_of_a_file(folder, tmp_path):
    (folder / "labels.csv").write_text("image,trees,bare soil\nimg0,1,0\nimg1,0,0\n")
    session = Session(folder, annotator="ada")
    session.close()
    assert session.labels == ("trees", "bare soil")
    (tmp_path / "names.txt").write_text("\ufeffForst\n\n Straße, breit \n", encoding="utf-8")
    process, client, _ = started(folder, "--labels-file", str(tmp_path / "names.txt"))
    assert client.get("/state")[1]["labels"] == ["Forst", "Straße, breit"]
    with process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_images_lie_in_a_plain_folder_too_and_an_answer_is_no_image(tmp_path):
    for place in ("b.png", "deeper/a.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / place)
    session = Session(tmp_path, annotator="ada", labels=LABELS)
    answer(session, answer="none")
    session.export()
    session.close()
    session = Session(tmp_path, annotator="ada", labels=LABELS)
    session.close()
    assert session.pictures.names == ("a", "b")


def test_a_widget_shows_the_page_and_gives_way_to_its_next_run(folder):
    first = Widget(folder, annotator="ada", labels=LABELS)
    Client(first.address).answer()
    second = Widget(folder, annotator="ada", labels=LABELS, height=500)
    assert f'src="{second.address}"' in second._repr_html_() and "500" in second._repr_html_()
    assert Client(second.address).get("/state")[1]["done"] == 1
    with pytest.raises(ConnectionError):
        Client(first.address).get("/state")
    first.stop()  # nothing happens
    assert Client(second.address).answer()[0] == 200
    second.stop()
    Log(folder / "annotations" / "ada.jsonl").close()


def test_a_session_that_has_ended_takes_no_answer(folder):
    session = Session(folder, annotator="ada", labels=LABELS)
    session.close()
    with pytest.raises(OSError, match="this server has ended"):
        answer(session, answer="none")
    with pytest.raises(Conflict):
        session.answer({"turn": 5, "answer": "none"})
