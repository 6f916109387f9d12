"""The controls as a page through Voilà, in a real browser, which asks nobody but that page."""

import os
import shutil
import socket
import subprocess
import sys
import time

import nbformat
import pytest
from chromium import BROWSER, chromium
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Error, expect

from maclcore import paths

pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium or Chrome is installed")

CELL = """
from types import SimpleNamespace
import numpy as np, pandas as pd
from maclcore import load_archive
from maclcore.search.choosing import Chooser, Queries
archive = load_archive("synthetic", image_size=8, n=12, progress=False)
z = np.random.default_rng(0).normal(size=(12, 4)).astype("f4")
run = SimpleNamespace(embeddings=z, per_query=pd.DataFrame({"nDCG@100": np.ones(12)}))
Chooser(Queries(archive, np.arange(12), {"macl": run, "oml": run}), "scene00003", "macl", k=4)
"""


@pytest.fixture
def address(tmp_path):
    nbformat.write(new_notebook(cells=[new_code_cell(CELL)]), tmp_path / "page.ipynb")
    shutil.copy(paths.ROOT / "voila.json", tmp_path)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "voila", "page.ipynb", "--no-browser", f"--port={port}"]
    where = {**os.environ, "MACL_RESULTS": str(tmp_path / "results")}
    server = subprocess.Popen(
        command, cwd=tmp_path, env=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    yield f"http://localhost:{port}"
    server.terminate()
    server.wait()


def opened(page, address, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            return page.goto(address, timeout=60_000)
        except Error:  # it is not there yet
            assert time.monotonic() < end
            time.sleep(0.5)


def test_a_query_is_chosen_in_the_browser(address):
    with chromium() as browser:
        page = browser.new_page()
        opened(page, address)
        elsewhere = []
        page.on(
            "requestfinished",
            lambda asked: (
                asked.url.startswith(("data:", "blob:", address)) or elsewhere.append(asked.url)
            ),
        )
        page.reload()
        expect(page.locator("figure")).to_have_count(5, timeout=60_000)  # the query and four
        expect(page.get_by_text("by MACL, best first")).to_be_visible()
        page.locator("select").first.select_option(label="OML")
        expect(page.get_by_text("by OML, best first")).to_be_visible()
        page.locator("input[placeholder*='test image']").fill("scene00007")
        expect(page.locator("b").get_by_text("scene00007")).to_be_visible()
        assert elsewhere == []
