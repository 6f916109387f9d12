"""Notebooks as a reader has them: opened in JupyterLab, in a real browser, with the file browser
beside them; read to the end, run, and played with."""

import nbformat
import pytest

pytest.importorskip("jupyterlab")
pytest.importorskip("playwright")

from lab import Lab, jupyterlab
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from reader import changed, search

from maclcore import paths

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(900)]

NOTEBOOKS = sorted(file.name for file in (paths.ROOT / "notebooks").glob("*.ipynb"))
BAD = "bad.ipynb"


@pytest.fixture(scope="module")
def lab(browser, folder):
    nbformat.write(bad(), folder / BAD)
    with jupyterlab(folder, folder.parent) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        yield Lab(page, address)
        page.close()


def bad():
    """A notebook with each fault that is looked for."""
    wide = '<table><tr><td style="white-space: nowrap">' + "wide " * 200 + "</td></tr></table>"
    shown = [
        {"text/html": wide},
        {"text/html": "<details><summary>more</summary>" + wide + "</details>"},
        {"text/markdown": "the best mAP@0.8"},
        {"image/png": "AA=="},
        {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "VBox(children=())"},
    ]
    outputs = [new_output("display_data", data=data) for data in shown]
    outputs += [new_output("stream", name="stderr", text="careful\n")]
    cells = [new_markdown_cell("# Bad"), new_code_cell("1", outputs=outputs)]
    return new_notebook(cells=cells)


def test_what_is_looked_for_is_found(lab):
    with lab.opened(BAD):
        found = lab.faults()
    assert sorted(fault.split(":")[0] for fault in found) == [
        *["controls as text", "cut off", "cut off"],
        *["error or warning", "image broken", "mail"],
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_seen_whole(lab, name):
    with lab.opened(name):
        found = lab.faults()
    assert not found, "\n".join(found)


COUNTS = """() => jupyterapp.shell.currentWidget.content.widgets
    .filter((cell) => cell.model.type === "code").map((cell) => cell.model.executionCount)"""


def test_a_notebook_runs_to_its_end(lab, folder):
    name = "07_map_surfaces.ipynb"
    source = nbformat.read(folder / name, as_version=4)
    with lab.opened(name, kernel=True):
        lab.run()
        counts = lab.page.evaluate(COUNTS)  # a folded cell shows none
        found = lab.faults()
    assert not found, "\n".join(found)
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(code) + 1))


def cell(file, words):
    """The number of the first cell of code that has them."""
    cells = enumerate(nbformat.read(file, as_version=4).cells)
    return next(n for n, cell in cells if cell.cell_type == "code" and words in cell.source)


def test_a_slider_moves_the_picture(lab, folder):
    name = "03_losses.ipynb"
    with lab.opened(name, kernel=True) as notebook:
        lab.run(until=cell(folder / name, "show_sliders("))
        slider = notebook.get_by_role("slider").first
        changed(slider, lambda: slider.press("ArrowLeft"))
        found = lab.faults()
    assert not found, "\n".join(found)


def test_a_query_is_chosen(lab, folder, picture):
    name = "08_retrieval_galleries.ipynb"
    with lab.opened(name, kernel=True) as notebook:
        lab.run(until=cell(folder / name, "Chooser("))
        search(notebook, picture)
        found = lab.faults()
    assert not found, "\n".join(found)
