"""One browser, and one copy of the notebooks, for all tests of a file."""

import shutil

import nbformat
import pytest

pytest.importorskip("playwright")

from chromium import BROWSER, chromium
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from PIL import Image

from maclcore import paths


@pytest.fixture(scope="module")
def browser():
    if not BROWSER:
        pytest.skip("no chromium or Chrome is installed")
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def folder(tmp_path_factory, archive):
    """A copy of the notebooks. Servers have what they write beside it, the runs they train, too.

    That with a query of one's own is of an archive of one's own, which trains in seconds.
    """
    ignored = shutil.ignore_patterns(".ipynb_checkpoints")
    copy = tmp_path_factory.mktemp("reader") / "notebooks"
    shutil.copytree(paths.ROOT / "notebooks", copy, ignore=ignored)
    file = copy / "08_retrieval_galleries.ipynb"
    own = {"archive": str(archive), "profile": "smoke"}
    nbformat.write(parameterize_notebook(load_notebook_node(str(file)), own), file)
    return copy


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    """An image of a reader's own."""
    file = tmp_path_factory.mktemp("own") / "my own picture.png"
    Image.linear_gradient("L").convert("RGB").save(file)
    return file
