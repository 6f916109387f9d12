"""The page as a person has it, in a real browser: what is looked for, seen, marked and exported."""

import csv
import json
import re
import shutil

import browsing
import pytest
from browsing import EVIL, N, content, labels, longitude, name
from chromium import BROWSER, chromium, wait
from playwright.sync_api import expect

from maclcore.search import browse
from maclcore.search.embedder import GIVEN
from maclcore.search.index import Index
from maclcore.search.query import Query, find
from maclcore.search.results import read_ticks

pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium or Chrome is installed")

ALL = sorted(map(name, range(N)))


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def opened(browser):
    """Opens the page of a server; no script may fail, and nothing be asked of anybody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    wrong, asked = [], set()

    def open_page(server, shown=60):
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: asked.add(request.url.partition(":")[0]))
        page.on("request", lambda request: foreign(request.url, server.address))
        page.goto(server.address)
        expect(cards(page)).to_have_count(shown)
        page.wrong = wrong
        return page

    def foreign(url, address):
        if not url.startswith((address, "data:", "blob:" + address)):
            wrong.append(f"asked elsewhere: {url}")

    yield open_page
    context.close()
    assert wrong == [] and asked


def cards(page):
    return page.locator("#grid li")


def names(page):
    return page.locator("#grid img").evaluate_all("all => all.map(x => x.alt)")


def card(page, of):
    return cards(page).filter(has=page.get_by_alt_text(of, exact=True))


def settled(page):
    """Wait for the answer of the last question."""
    wait(page, "!document.querySelector('main').hasAttribute('aria-busy')")


def drop(page, *files):
    """As from a file manager, onto the middle of the page."""
    files = [[file, list(bytes_)] for file, bytes_ in files]
    transfer = page.evaluate_handle(
        """files => {
          const transfer = new DataTransfer();
          for (const [name, bytes] of files) {
            transfer.items.add(new File([new Uint8Array(bytes)], name));
          }
          return transfer;
        }""",
        files,
    )
    for kind in ("dragover", "drop"):
        page.dispatch_event("main", kind, {"dataTransfer": transfer})


def found(server, k=60, **asked):
    return find(Index(server.session.where), Query(**asked), k)["name"].tolist()


# --- Looking -------------------------------------------------------------------------------------


def test_the_first_view_is_of_all_images_page_by_page(opened, served):
    page = opened(served)
    assert names(page) == ALL[:60]
    expect(page.locator("#said")).to_have_text(f"{N} images")
    expect(page.get_by_label("previous page")).to_be_disabled()
    for start in (60, 120):
        page.get_by_label("next page").click()
        expect(page.locator("#span")).to_have_text(f"{start + 1}–{min(start + 60, N)}")
        assert names(page) == ALL[start : start + 60]
    expect(page.get_by_label("next page")).to_be_disabled()
    page.go_back()
    expect(page.locator("#span")).to_have_text("61–120")
    assert names(page) == ALL[60:120]


def test_an_image_that_is_dropped_or_chosen_is_searched_by(opened, served, tmp_path):
    page = opened(served)
    drop(page, ("mine.png", content(30)))
    expect(page.locator("#examples li")).to_have_count(1)
    expect(page.locator("#said")).to_contain_text("the most like mine.png first")
    assert names(page)[0] == "img030" and {*names(page)[1:3]} == {"img029", "img031"}
    expect(page.locator(".cosine").first).to_have_text("1.000")
    (tmp_path / "other.png").write_bytes(content(90))
    page.locator("#file").set_input_files(tmp_path / "other.png")
    expect(page.locator("#said")).to_contain_text("the most like other.png first")
    assert names(page)[0] == "img090"
    drop(page, ("a.png", content(20)), ("b.png", content(24)))  # both together
    expect(page.locator("#said")).to_contain_text("2 examples")
    assert {*names(page)[:5]} == {f"img0{i}" for i in range(20, 25)}


def test_what_is_no_image_or_too_large_is_said_by_name(opened, served):
    page = opened(served)
    before = names(page)
    drop(page, ("letter.txt", b"Dear"))
    expect(page.locator("#alert")).to_contain_text("letter.txt: not an image")
    assert names(page) == before
    page.wrong.clear()  # a browser notes the status 400 in its console
    page.evaluate("about.largest = 100")
    drop(page, ("large.png", b"x" * 101))
    expect(page.locator("#alert")).to_contain_text("large.png: more than")
    page.evaluate("about.largest = 2 ** 25")
    drop(page, ("<b>x</b>.txt", b"Dear"), ("good.png", content(30)))  # one of two
    expect(page.locator("#alert")).to_contain_text("<b>x</b>.txt: not an image")
    expect(page.locator("#said")).to_contain_text("the most like good.png first")
    page.get_by_label("close", exact=True).click()
    expect(page.locator("#alert")).to_be_hidden()
    page.wrong.clear()


def test_an_image_that_is_clicked_is_searched_by(opened, served):
    page = opened(served)
    card(page, "img020").locator(".look").click()
    expect(page.locator("#said")).to_contain_text("the most like img020 first")
    assert names(page) == found(served, like=("img020",))
    page.go_back()
    expect(page.locator("#said")).to_have_text(f"{N} images")
    assert names(page) == ALL[:60]


def test_labels_are_wanted_or_not(opened, served):
    page = opened(served)
    page.locator("[data-label=warm] .want").click()
    expect(page.locator("#said")).to_have_text("40 images · warm")
    assert names(page) == sorted(name(i) for i in range(40))
    page.locator("[data-label='<b>bold</b>'] .not").click()
    expect(page.locator("#said")).to_have_text("32 images · warm, not <b>bold</b>")
    card(page, "img021").locator(".look").click()
    expect(page.locator("#said")).to_contain_text("img021")
    both = {"labels": ("warm",), "not_labels": ("<b>bold</b>",)}
    assert names(page) == found(served, like=("img021",), **both)
    page.locator("[data-label=warm] .not").click()  # the other way round
    page.locator("[data-label='<b>bold</b>'] .not").click()
    expect(page.locator("#said")).to_contain_text("110 images, the most like img021")
    expect(page.locator("[data-label=warm] .want")).to_have_attribute("aria-pressed", "false")


def test_columns_and_conditions_are_filtered_by(opened, served):
    page = opened(served)
    page.get_by_label("season").select_option("it's summer")
    expect(page.locator("#said")).to_have_text("75 images · season = it's summer")
    page.get_by_label("cloud cover, at most").fill("0.2")
    page.get_by_label("cloud cover, at most").press("Enter")
    expect(page.locator("#said")).to_contain_text("15 images")
    assert names(page) == sorted(name(i) for i in range(1, 31, 2))
    page.get_by_label("A condition").fill("name > 'img020'")
    page.get_by_label("A condition").press("Enter")
    expect(page.locator("#said")).to_contain_text("5 images")
    page.get_by_label("A condition").fill("name ~~~ 3")
    page.get_by_label("A condition").press("Enter")
    expect(page.locator("#alert")).to_be_visible()
    page.wrong.clear()
    page.get_by_label("A condition").fill("name = 'nobody'")
    page.get_by_label("A condition").press("Enter")
    expect(page.locator("#none")).to_be_visible()
    page.locator("#loosen").click()
    expect(page.locator("#said")).to_have_text(f"{N} images")
    expect(page.get_by_label("season")).to_have_value("")


# --- Marking -------------------------------------------------------------------------------------


def test_what_is_marked_good_and_bad_changes_what_is_found(opened, served):
    page = opened(served)
    card(page, "img020").locator(".look").click()
    expect(page.locator("#said")).to_contain_text("img020")
    before = names(page)
    card(page, before[3]).locator(".good").click()
    card(page, before[5]).locator(".bad").click()
    assert names(page) == before  # until one looks again
    page.get_by_role("button", name="Look again: 2 good, 1 bad").click()
    expect(page.locator("#said")).to_contain_text("the most like 3 examples first")
    after = names(page)
    assert after == found(served, like=("img020", before[3]), unlike=(before[5],)) != before
    expect(page.locator("#look")).to_be_hidden()
    page.get_by_label(f"remove {before[5]}").click()
    page.get_by_label(f"good, turn over: {before[3]}").click()
    page.locator("#look").click()
    settled(page)
    assert names(page) == found(served, like=("img020",), unlike=(before[3],))
    page.locator("#clear").click()
    expect(page.locator("#said")).to_have_text(f"{N} images")


def test_all_of_it_works_by_keyboard_alone(opened, served):
    page = opened(served)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "look":
            break
    focused = "document.activeElement.querySelector('img')?.alt"
    assert page.evaluate(focused) == ALL[0]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == ALL[2]
    page.keyboard.press("g")
    assert page.evaluate(focused) == ALL[2]  # the focus stays
    page.keyboard.press("ArrowDown")
    columns = page.evaluate("getComputedStyle(grid).gridTemplateColumns.split(' ').length")
    assert page.evaluate(focused) == ALL[2 + columns]
    page.keyboard.press("b")
    page.keyboard.press("r")
    expect(page.locator("#said")).to_contain_text("2 examples")
    assert names(page) == found(served, like=(ALL[2],), unlike=(ALL[2 + columns],))
    cards(page).nth(4).locator(".look").focus()
    page.keyboard.press("v")
    shown = names(page)
    expect(page.locator("dialog h2")).to_have_text(shown[4])
    page.keyboard.press("ArrowLeft")
    expect(page.locator("dialog h2")).to_have_text(shown[3])
    assert wait(page, "document.querySelector('dialog img').naturalWidth") == 24
    page.keyboard.press("g")
    page.keyboard.press("Escape")
    wait(page, f"{focused} === {json.dumps(shown[3])}")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text(f"the most like {shown[3]} first")


def test_large_an_image_is_shown_with_all_that_is_known(opened, served):
    page = opened(served)
    card(page, "img011").locator(".view").click()
    text = page.locator("dialog").inner_text()
    for known in ("img011", *labels(11), "it's summer", f"{11 / N:.12g}", "0.78°W", "49.00001°N"):
        assert known in text, text
    page.locator("dialog .bad").click()
    page.locator("dialog").get_by_text("close").click()
    expect(card(page, "img011")).to_have_class(re.compile("bad-one"))


# --- The map -------------------------------------------------------------------------------------


def test_results_lie_on_a_map_and_a_box_is_looked_into(opened, served):
    page = opened(served)
    placed = [i for i in range(N) if name(i) in ALL[:60] and i != 9]
    expect(page.locator("#map circle")).to_have_count(len(placed))
    expect(page.locator("#here")).to_contain_text(f"{N - 1} images in view")
    at = {
        circle.text_content(): float(circle.get_attribute("cx"))
        for circle in page.locator("#map circle").all()
    }
    order = sorted(placed, key=lambda i: at[name(i)])
    assert order == sorted(placed, key=longitude)
    area = page.locator("#map svg").bounding_box()
    left, right = (area["x"] + at[f"img0{i}"] for i in (20, 40))
    page.mouse.move(left - 0.4, area["y"] + 2)
    page.mouse.down()
    page.mouse.move(right + 0.4, area["y"] + area["height"] - 2, steps=3)
    page.mouse.up()
    expect(page.locator("#said")).to_have_text("21 images · in the box")
    assert names(page) == [name(i) for i in range(20, 41)]
    west, east = (float(page.locator(f"#{end}").input_value()) for end in ("west", "east"))
    assert west == pytest.approx(longitude(20), abs=0.02)
    assert east == pytest.approx(longitude(40), abs=0.02)
    expect(page.locator("#map circle")).to_have_count(21)
    page.locator("#east").fill(str(longitude(30) + 0.001))
    page.get_by_role("button", name="Only here").click()
    expect(page.locator("#said")).to_have_text("11 images · in the box")
    page.locator("#map circle").last.click(force=True)  # the best is drawn last, on top
    assert page.evaluate("document.activeElement.querySelector('img').alt") == "img020"
    page.get_by_role("button", name="Everywhere").click()
    expect(page.locator("#said")).to_have_text(f"{N} images")


def test_without_coordinates_there_is_no_map(opened, own, colours):
    Index(colours / "index").table.update(values={"longitude": None, "latitude": None})
    page = opened(own)
    expect(page.locator("#map")).to_be_hidden()


def test_an_index_of_vectors_that_were_given_has_no_pictures_and_takes_no_files(
    opened, own, colours
):
    browsing.made(colours / "images", colours / "index", thumbnails=False, vector=GIVEN)
    page = opened(own)
    expect(page.locator("#drop")).to_be_hidden()
    drop(page, ("mine.png", content(30)))
    expect(page.locator("#alert")).to_contain_text("takes no image files")
    expect(cards(page).first).to_contain_text("no picture")
    cards(page).nth(20).locator(".look").click()
    expect(page.locator("#said")).to_contain_text(f"the most like {ALL[20]} first")
    first = page.locator("#grid p:not(.labels)").all_text_contents()
    assert first == found(own, like=(ALL[20],))
    cards(page).first.locator(".view").click()
    expect(page.locator("dialog h2")).to_have_text(first[0])


def test_where_there_is_a_quick_search_it_can_be_asked_for(opened, own, monkeypatch):
    asked, whole = [], browse.find

    def noted(index, query, k, approximate=False):
        asked.append(approximate)
        return whole(index, query, k)

    monkeypatch.setattr(browse, "find", noted)
    told = own.session.about()
    monkeypatch.setattr(own.session, "about", lambda: {**told, "recall": 0.987})
    page = opened(own)
    cards(page).nth(20).locator(".look").click()
    expect(page.locator("#said")).to_contain_text(f"the most like {ALL[20]} first")
    page.get_by_label("finds 99 % of the best ten").check()
    settled(page)
    assert asked == [False, True]


# --- Export --------------------------------------------------------------------------------------


def test_what_is_found_and_marked_is_exported(opened, served, tmp_path):
    page = opened(served)
    drop(page, ("mine.png", content(30)))
    expect(page.locator("#said")).to_contain_text("the most like mine.png")
    shown = names(page)
    card(page, shown[0]).locator(".good").click()  # not looked for yet, so not of the question
    card(page, shown[1]).locator(".bad").click()

    def export(button):
        page.locator("#export summary").click()
        page.locator("#first").fill("25")
        with page.expect_download() as download:
            page.locator(button).click()
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        return file

    with open(export("[data-kind=csv]"), encoding="utf-8", newline="") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == shown[:25]
    (answer,) = json.loads(export("[data-kind=json]").read_text(encoding="utf-8"))["answers"]
    assert [row["name"] for row in answer["found"]] == shown[:25]
    assert answer["query"] == {"like": ["mine.png"]}
    sheet = export("[data-kind=html]")
    page.goto(sheet.as_uri())
    assert page.locator("ol li img").count() == 25 and "mine.png" in page.inner_text("main")
    page.wrong.clear()  # it is from the disk, and not from the server


def test_marks_are_exported_as_ticks_which_search_reads(opened, served, tmp_path):
    page = opened(served)
    for of, what in (("img003", "good"), (EVIL, "bad")):
        card(page, of).locator(f".{what}").click()
    page.locator("#export summary").click()
    with page.expect_download() as download:
        page.locator("#ticks").click()
    download.value.save_as(tmp_path / "ticks.csv")
    assert read_ticks([tmp_path / "ticks.csv"]) == (("img003",), (EVIL,))


# --- What goes wrong -----------------------------------------------------------------------------


def test_names_and_labels_are_text_wherever_they_are_shown(opened, served):
    page = opened(served)
    card(page, EVIL).locator(".good").click()
    card(page, EVIL).locator(".view").click()
    expect(page.locator("dialog h2")).to_have_text(EVIL)
    page.keyboard.press("Escape")
    card(page, EVIL).locator(".look").click()
    expect(page.locator("#said")).to_contain_text(EVIL)
    page.locator("[data-label='<b>bold</b>'] .want").click()
    expect(page.locator("#said")).to_contain_text("<b>bold</b>")
    drop(page, (EVIL, content(3)))
    settled(page)
    assert EVIL in page.locator("#examples").inner_text()
    assert page.title() == "Colours · browse"
    assert page.locator("b, img[src=x], [onerror]").count() == 0


def test_an_index_or_a_server_that_is_gone_is_said(opened, own, colours):
    page = opened(own)
    before = names(page)
    shutil.rmtree(colours / "index")
    page.locator("[data-label=warm] .want").click()
    expect(page.locator("#alert")).to_contain_text(f"no index {colours / 'index'}")
    assert names(page) == before
    browsing.made(colours / "images", colours / "index", n=30)
    page.locator("[data-label=warm] .want").click()  # it is there again
    expect(page.locator("#said")).to_have_text("30 images")
    expect(page.locator("#alert")).to_be_hidden()
    browsing.made(colours / "images", colours / "index", network="0" * 16)
    page.locator("[data-label=warm] .want").click()
    expect(page.locator("#alert")).to_contain_text("load this page again")
    page.context.set_offline(True)
    page.locator("[data-label=warm] .want").click()
    expect(page.locator("#alert")).to_contain_text("The server does not answer: start it again")
    page.context.set_offline(False)
    page.wrong.clear()


@pytest.mark.parametrize("width", [848, 1280])
def test_nothing_is_cut_off_sideways(opened, served, width):
    page = opened(served)
    page.set_viewport_size({"width": width, "height": 700})
    card(page, "img020").locator(".bad").click()
    for of in ("document.documentElement", "document.querySelector('main')"):
        assert page.evaluate(f"{of}.scrollWidth <= {of}.clientWidth")
    assert page.evaluate("document.querySelector('aside').scrollWidth") <= 0.35 * width
