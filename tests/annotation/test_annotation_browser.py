"""The page as a person has it, in a real browser, by keyboard alone."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from asking import LABELS
from chromium import BROWSER, chromium, wait
from PIL import Image

from maclcore.annotation.answers import read
from maclcore.annotation.server import Server
from maclcore.annotation.session import Session

pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium or Chrome is installed")

EVIL = '<img src=x onerror="document.title=1"> & <b>bold</b>'


@pytest.fixture(scope="module")
def page():
    with chromium() as browser:
        yield browser.new_page(viewport={"width": 1280, "height": 800})


@pytest.fixture
def serve():
    """Starts servers, which end with the test."""
    running = []

    def start(folder, **options):
        server = Server(Session(folder, **{"annotator": "ada", "labels": LABELS, **options}))
        running.append(server.start())
        return server

    yield start
    for server in running:
        server.stop()


def begin(page, server):
    """Open the page, and go from the start to the first image."""
    page.goto(server.address)
    wait(page, "document.querySelector('#start h1') !== null")
    page.keyboard.press("Enter")
    shown(page)


def shown(page):
    """Wait until an image is on the screen."""
    wait(page, "!document.querySelector('#ask').hidden")
    wait(page, "document.querySelector('#image').complete")


def done(page, number):
    wait(page, f"document.querySelector('#count').textContent.startsWith('{number} done')")


def candidates(page):
    return page.evaluate(
        "[...document.querySelectorAll('#choices button span')].map(x => x.innerText)"
    )


def test_three_images_are_answered_by_keyboard_alone(page, serve, folder):
    server = serve(folder)
    begin(page, server)
    assert "ada · one label" in page.inner_text("body") and "0 done" in page.inner_text("body")
    first = candidates(page)
    assert page.evaluate("document.querySelector('#image').naturalWidth") == 24
    page.keyboard.press("3")  # one label
    done(page, 1)
    shown(page)
    second = candidates(page)
    page.keyboard.press("m")  # several, of two batches
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("2")  # not this one after all
    page.keyboard.press(" ")
    rest = candidates(page)
    page.keyboard.press("2")
    wait(page, "document.querySelector('#hint').textContent.startsWith('Chosen')")
    page.keyboard.press("0")
    done(page, 2)
    page.keyboard.press(" ")
    page.keyboard.press(" ")  # behind the last batch: none of these
    done(page, 3)
    lines = read(folder / "annotations")["ada"]
    assert [line.labels for line in lines] == [(first[2],), (second[0], rest[1]), ()]
    assert [line.answer for line in lines] == ["labels", "labels", "none"]
    assert [line.candidates for line in lines][:2] == [tuple(first), tuple(second + rest)]
    assert len(lines[2].candidates) == 6 and all(line.seconds > 0 for line in lines)
    assert [line.image for line in lines] == [task.image for task in server.session.tasks[:3]]


def test_every_answer_can_be_undone_over_a_restart_and_all_keys_work(page, serve, folder):
    server = serve(folder)
    begin(page, server)
    for i, key in enumerate("1?s0"):
        shown(page)
        page.keyboard.press(key)
        wait(page, f"state.turn === {i + 1}")
    server.stop()
    server = serve(folder)
    begin(page, server)
    done(page, 3)
    for i in range(4):
        page.keyboard.press("Backspace")
        wait(page, f"state.turn === {i + 5}")
    done(page, 0)
    page.keyboard.press("Backspace")  # nothing happens
    assert page.evaluate("document.querySelector('[data-key=Backspace]').disabled")
    lines = read(folder / "annotations")["ada"]
    assert [x.answer for x in lines] == ["labels", "unsure", "skip", "none"] + ["undo"] * 4


def test_zoom_name_and_the_neighbours_that_are_loaded_before(page, serve, folder):
    server = serve(folder)
    begin(page, server)
    width = "document.querySelector('#image').getBoundingClientRect().width"
    before = page.evaluate(width)
    page.keyboard.press("z")
    assert page.evaluate(width) == pytest.approx(3 * before, rel=0.1)
    page.keyboard.press("z")
    assert page.evaluate(width) == before
    name = server.session.tasks[0].image
    assert name not in page.inner_text("body")
    page.keyboard.press("n")
    assert name in page.inner_text("body")
    for number in (1, 2, 3):
        page.keyboard.press("1")
        done(page, number)
    index = [server.session.index[task.image] for task in server.session.tasks[1:5]]
    near = page.evaluate("[...near.keys()]")
    assert near == [index[0], index[1], index[3]]  # two before, one behind
    assert wait(page, "[...near.values()].every(x => x.complete && x.naturalWidth > 0)")


def test_focus_is_seen_and_stays_and_enter_presses_it(page, serve, folder):
    begin(page, serve(folder))
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.key") == "2":
            break
    assert page.evaluate("document.activeElement.dataset.key") == "2"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    second = candidates(page)[1]
    page.keyboard.press("Enter")
    done(page, 1)
    assert page.evaluate("document.activeElement.dataset.key") == "2"
    page.keyboard.press(" ")  # the key of the page, not the button in focus
    wait(page, "document.querySelector('#hint').textContent === 'Candidates 2 of 2'")
    assert [line.labels for line in read(folder / "annotations")["ada"]] == [(second,)]
    page.keyboard.press("e")
    wait(page, "document.activeElement.dataset.key === 'Enter'")  # to go on
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # what is in focus, and not its own key
    wait(page, "document.querySelector('#written table') !== null")
    assert (folder / "annotations" / "single_positive.csv").exists()


def test_a_key_that_is_held_down_answers_once(page, serve, folder):
    begin(page, serve(folder))
    page.keyboard.down("?")
    done(page, 1)
    for _ in range(5):
        page.keyboard.down("?")  # as a keyboard repeats it
    page.keyboard.up("?")
    page.keyboard.press("2")
    done(page, 2)
    assert [line.answer for line in read(folder / "annotations")["ada"]] == ["unsure", "labels"]


def test_names_are_text_wherever_they_are_shown(page, serve, tmp_path):
    folder = tmp_path / EVIL.replace("/", "∕")
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / f"{EVIL.replace('/', '∕')}.png")
    (folder / '<i onclick="x">.png').write_bytes(b"no image")
    server = serve(folder, labels=[EVIL, "'; alert(1) //"])
    page.goto(server.address)
    wait(page, "document.querySelector('#start h1') !== null")
    assert EVIL in page.inner_text("body") and folder.name in page.inner_text("body")
    page.keyboard.press("Enter")
    page.keyboard.press("n")
    for number in (1, 2):
        assert EVIL in page.inner_text("body")
        page.keyboard.press("1")
        done(page, number)
    wait(page, "document.querySelector('#end h2') !== null")
    page.keyboard.press("x")
    wait(page, "document.querySelector('#written table') !== null")
    assert page.evaluate("document.title") == "annotate"
    assert page.evaluate("document.querySelectorAll('b, i, h1 img').length") == 0


def test_an_image_that_cannot_be_shown_is_named_and_skipped(page, serve, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    begin(page, serve(tmp_path))
    asked = []
    while name := page.evaluate("state.task && state.task.name"):
        asked.append(name)
        if name == "good":
            wait(page, "document.querySelector('#broken').hidden")
        else:
            wait(
                page, "document.body.innerText.includes('This image cannot be shown. broken.jpg: ')"
            )
        page.keyboard.press("s" if name == "broken" else "1")
        wait(page, f"state.turn === {len(asked)}")
    assert sorted(asked) == ["broken", "broken", "good"]  # once more, and then no more
    wait(page, "document.querySelector('#end dl') !== null")
    assert "set aside\nbroken\n" in page.inner_text("body")


def test_a_full_disk_is_said_and_the_question_stays(page, serve, folder, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    begin(page, serve(folder))
    before = candidates(page)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        page.keyboard.press("1")
        wait(page, "!document.querySelector('#alert').hidden")
    assert "not saved" in page.inner_text("body") and "No space left" in page.inner_text("body")
    assert candidates(page) == before and "0 done" in page.inner_text("body")
    page.keyboard.press("1")
    done(page, 1)
    assert page.evaluate("document.querySelector('#alert').hidden")


def test_a_server_that_has_ended_or_is_not_reached_is_said(page, serve, folder):
    server = serve(folder)
    begin(page, server)
    server.stop()
    for offline, said in ((False, "this server has ended"), (True, "does not answer")):
        page.context.set_offline(offline)
        page.keyboard.press("1")
        wait(page, f"document.querySelector('#alert').textContent.includes('{said}')")
    page.context.set_offline(False)
    assert read(folder / "annotations")["ada"] == []


def test_a_review_is_one_key_a_cell(page, serve, folder):
    (folder / "labels.completed.csv").write_text("image,water,sand\nimg0,0,1\nimg1,1,1\n")
    (folder / "labels.probabilities.csv").write_text(
        "image,water,sand\nimg0,0.45,0.9\nimg1,0.6,0.95\n"
    )
    begin(page, serve(folder, labels=(), mode="review"))
    assert "water is not in the picture" in page.inner_text("body") and "0.450" in page.inner_text(
        "body"
    )
    for number, key in enumerate("21?1", 1):
        page.keyboard.press(key)
        wait(page, f"state.turn === {number}")
    assert "1 changed" in page.inner_text("body")
    lines = read(folder / "annotations")["ada"]
    assert [line.answer for line in lines] == ["wrong", "right", "unsure", "right"]
    wait(page, "document.querySelector('#end dl') !== null")
    page.keyboard.press("x")
    wait(page, "document.querySelector('#written table') !== null")
    text = (folder / "annotations" / "labels.reviewed.csv").read_text()
    assert text == "image,water,sand\nimg0,1,1\nimg1,1,1\n"


def test_the_page_works_in_a_frame_of_this_machine(page, serve, folder):
    """As JupyterLab on localhost shows the widget."""
    server = serve(folder)

    class Frame(BaseHTTPRequestHandler):
        def do_GET(self):
            content = f'<iframe src="{server.address}" width="900" height="600"></iframe>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    outer = ThreadingHTTPServer(("127.0.0.1", 0), Frame)
    threading.Thread(target=outer.serve_forever, daemon=True).start()
    page.goto(f"http://localhost:{outer.server_port}/")
    wait(page, "window.frames.length === 1")
    frame = page.frames[1]
    wait(frame, "document.querySelector('#start h1') !== null")
    for _ in range(500):
        if frame.evaluate("document.hasFocus()"):
            break  # the first clicks may have come before it listened
        page.mouse.click(450, 500)
        page.wait_for_timeout(20)
    page.keyboard.press("Enter")
    shown(frame)
    page.keyboard.press("?")
    wait(frame, "state.turn === 1")
    outer.shutdown()
    outer.server_close()
    assert [line.answer for line in read(folder / "annotations")["ada"]] == ["unsure"]
