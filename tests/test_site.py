"""The web site: built into a folder of its own (a minute), then read page by page."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from chromium import BROWSER, chromium
from filelock import FileLock
from rocrate.rocrate import ROCrate

import maclcore
from maclcore import paths

pytestmark = pytest.mark.timeout(600)

#: what a browser fetches by itself to show a page
FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
#: <link>s that say something and load nothing
SAYS = {"canonical", "next", "prev", "search", "index", "author"}


class Page(HTMLParser):
    """Ids of a page, targets of its links, what it loads, and its pictures without words."""

    def __init__(self, file: Path):
        super().__init__()
        self.file, self.ids, self.links = file, set(), []
        self.loads, self.wordless, self.rows = [], [], 0
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        self.ids.update(of[key] for key in ("id", "name") if of.get(key))
        self.rows += tag == "tr"
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        if tag == "img" and not of.get("alt", "").strip():
            self.wordless.append(of.get("src", "")[:80])
        loads = of.get(FETCHED.get(tag, ""))
        if loads and not (tag == "link" and of.get("rel") in SAYS):
            self.loads.append(loads)


@pytest.fixture(scope="module")
def built(tmp_path_factory, worker_id):
    """The folder and what was said; built once, whichever processes the tests are spread over."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    folder, said = base / "site", base / "site.json"
    with FileLock(base / "site.lock"):
        if not said.exists():
            command = [sys.executable, str(paths.ROOT / "docs" / "build.py"), str(folder)]
            done = subprocess.run(command, capture_output=True, text=True)
            said.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return folder, json.loads(said.read_text())


@pytest.fixture(scope="module")
def site(built):
    return built[0]


@pytest.fixture(scope="module")
def pages(site):
    files = [file for file in site.rglob("*.html") if "_static" not in file.parts]
    return {file.relative_to(site).as_posix(): Page(file) for file in files}


def test_it_is_built_without_a_warning(built):
    folder, (status, printed, complaints) = built
    assert (status, printed, complaints) == (0, f"{folder / 'index.html'}\n", "")


def test_every_link_leads_to_a_page_and_a_place_in_it(pages, site):
    broken = []
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.file.parent / unquote(parts.path)).resolve() if parts.path else page.file
            to = pages.get(target.relative_to(site).as_posix())
            there = target.exists() and (
                to is None or not parts.fragment or unquote(parts.fragment) in to.ids
            )
            if not there:
                broken.append(f"{name}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(pages, site):
    loads = {f"{name}: {one}" for name, page in pages.items() for one in page.loads}
    assert not [one for one in loads if re.search(r": (https?:)?//", one)]
    absent = [
        f"{name}: {one}"
        for name, page in pages.items()
        for one in page.loads
        if not one.startswith("data:")
        and not (page.file.parent / unquote(urlsplit(one).path)).exists()
    ]
    assert absent == []
    styles = "".join(file.read_text() for file in site.rglob("*.css"))
    assert not re.search(r"""(url\(|@import)\s*["']?(https?:)?//""", styles)


def test_every_picture_has_words(pages):
    assert {name: page.wordless for name, page in pages.items() if page.wordless} == {}


def test_no_address_of_a_mailbox(pages):
    assert not [n for n, page in pages.items() if any(a.startswith("mailto:") for a in page.links)]


def test_every_notebook_is_there_with_its_outputs_and_the_way_on(pages, site):
    names = [file.stem for file in sorted((paths.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
    assert len(names) >= 13
    for before, name in zip([None, *names], names, strict=False):
        page = pages[f"notebooks/{name}.html"]
        text = page.file.read_text(encoding="utf-8")
        assert "cell_output" in text and "application/vnd.jupyter.widget" not in text
        assert before is None or f"{before}.html" in page.links


def test_the_ledger_has_every_claim(pages):
    claims = pd.read_csv(paths.ROOT / "results" / "claims.csv")
    page = pages["ledger.html"]
    assert page.rows == len(claims) + 1  # the head
    assert set(claims["id"]) <= page.ids


def test_every_figure_of_record_is_shown(pages):
    files = {file.name for file in (paths.ROOT / "figures").glob("*.png")}
    assert {Path(link).name for link in pages["figures.html"].loads} >= files


def test_the_crate_leads_from_each_figure_to_the_runs_and_archives(site):
    crate = ROCrate(site)
    assert crate.name == "maclcore" and "MIT" in str(crate.license)
    files = {entity.id: entity for entity in crate.data_entities}
    assert all((site / name).is_file() for name in files)
    packs = [name for name in files if name.startswith("results/packed/")]
    assert len(packs) == len(list((paths.ROOT / "results" / "packed").glob("*.parquet")))
    assert all(files[name]["isBasedOn"].type == "Dataset" for name in packs)
    figures = [name for name in files if name.startswith("figures/")]
    assert len(figures) == len(list((paths.ROOT / "figures").glob("*.png")))
    for name in figures:
        notebook, *read = files[name]["isBasedOn"]
        assert notebook.id.startswith(f"notebooks/{Path(name).name[:2]}_")
        assert {one.id for one in read} <= set(packs)


def test_the_api_has_every_public_name(pages):
    assert {f"maclcore.{name}" for name in maclcore.__all__} <= pages["api/index.html"].ids


@pytest.mark.skipif(not BROWSER, reason="no chromium")
def test_in_a_browser_without_a_network(site):
    """The ledger sorts, by the keyboard too, and nothing is asked of another host."""
    asked, failed = [], []
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.goto((site / "ledger.html").as_uri())
        head = page.locator("table.ledger th:nth-child(3)")
        for key, order in (("Enter", "ascending"), ("Space", "descending")):
            head.locator("button").press(key)
            assert head.get_attribute("aria-sort") == order
            cells = page.locator("table.ledger td:nth-child(3)").all()
            ranks = [int(cell.get_attribute("data-order")) for cell in cells]
            assert ranks == sorted(ranks, reverse=order == "descending") and len(set(ranks)) > 3
        folds = [file for file in site.glob("notebooks/*.html") if 'class="turn"' in read(file)]
        for file in folds:
            page.goto(file.as_uri())
            page.locator("details.turn summary").first.click()
            page.locator("details.turn svg.main-svg").first.wait_for()
    assert folds and failed == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def read(file):
    return file.read_text(encoding="utf-8")
