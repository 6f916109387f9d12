"""The page's server over HTTP: what it gives, what it refuses, and what it never loses."""

import os
import re
import socket
import threading

import pytest
from asking import LABELS, Client, answer
from PIL import Image

from maclcore.annotation.answers import LogError, read
from maclcore.annotation.server import PAGE, Server
from maclcore.annotation.session import Session

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


def test_a_browser_that_has_gone_is_no_fault_and_anything_else_is_shown(served, capsys):
    for error in (BrokenPipeError(), ConnectionResetError(), ZeroDivisionError("a fault")):
        try:
            raise error
        except (ArithmeticError, OSError):
            served.handle_error(None, ("127.0.0.1", 1))
    said = capsys.readouterr().err
    assert said.count("Traceback") == 1 and "a fault" in said


def test_a_damaged_file_of_another_annotator_is_named(served, client):
    (served.session.store / "bob.jsonl").write_text("no line\n")
    for status, content, _ in (client.get("/summary"), client.post("/export", {})):
        assert status == 400 and "bob.jsonl, line 1 is no answer" in content["error"]
    assert client.answer()[0] == 200


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
    for body in (b"{", b"[]", b"\xff", b"", b"[" * 60000):
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
