"""`make app`: notebook 08 as a page, in a real browser, by its controls alone."""

import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("voila")

from reader import SCRIPT, SECONDS, Complaints, search
from serving import free_port, serving

from maclcore import paths

pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]

#: icons of buttons, which Voilà's template has from there; nothing is lost without them
ICONS = "https://cdn.jsdelivr.net/npm/@fortawesome/**"


@pytest.fixture(scope="module")
def app(browser, folder):
    """The address with its token."""
    port = free_port()
    command = app_command(port, folder)
    address = f"http://127.0.0.1:{port}"
    with serving(command, f"{address}/voila/static/none", folder.parent) as log:
        (token,) = re.findall(rf"^{address}/\?token=(\w+)", log.read_text(), re.MULTILINE)
        yield address, token


def app_command(port, folder):
    """What `make app` runs, by this interpreter, with the copy of the notebook."""
    made = ["make", "--no-print-directory", "-n", "-o", "env", "app", f"PORT={port}"]
    said = subprocess.run(made, cwd=paths.ROOT, capture_output=True, text=True, check=True)
    _, *arguments = shlex.split(said.stdout.replace("\\\n", " "))
    served = [str(folder / Path(a).name) if a.endswith(".ipynb") else a for a in arguments]
    assert served != arguments
    return [sys.executable, *served]


def test_a_query_is_chosen_and_no_code_is_seen(app, browser, picture):
    address, token = app
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(1000 * SECONDS)
    page.route(ICONS, lambda route: route.fulfill(body="", content_type="text/css"))
    page.add_init_script(SCRIPT)
    complaints = Complaints(page, address)
    page.goto(f"{address}/?token={token}", wait_until="commit")
    search(page.locator("body"), picture)
    assert page.locator(".jp-CodeCell .jp-InputArea:visible").count() == 0
    page.close()
    # Voilà's own icons, which the page's policy refuses
    assert [one for one in complaints if ICONS.strip("*") not in one] == []


@pytest.mark.parametrize("path", ["08_retrieval_galleries.ipynb", "../Makefile", "%2e%2e/Makefile"])
def test_no_file_is_served(app, path):
    address, token = app
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/voila/files/{path}?token={token}")


def test_nothing_is_shown_without_the_token(app):
    address, _ = app
    with urllib.request.urlopen(address) as reply:
        assert "/login" in reply.url
