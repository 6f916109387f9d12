"""The rules for notebooks that a machine can keep; CONTRIBUTING.md says them in words."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from maclcore import paths

NOTEBOOKS = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
MAGIC = re.compile(r"^\s*(\w+\s*=\s*)?(!|%%?[a-z]).*$|^.*get_ipython\(.*$", re.MULTILINE)
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
MAIL = re.compile(r"\w@\w")  # what JupyterLab takes for an address, and links
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|work|tmp|Users|mnt)/")


def is_literal_assignment(node: ast.stmt) -> bool:
    try:
        ast.literal_eval(node.value)
    except (AttributeError, ValueError):
        return False
    return isinstance(node, ast.Assign)


def folded(cell) -> bool:
    """In JupyterLab and, by the tag, on the web site."""
    hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
    return hidden and "hide-input" in cell.metadata.get("tags", [])


def not_for_reading(body: list[ast.stmt]) -> bool:
    kinds = (ast.Import, ast.ImportFrom, ast.Assert)
    return any(isinstance(node, kinds) for statement in body for node in ast.walk(statement))


def ways(path: Path) -> list[str]:
    """The notebooks before and after, and the overview: what the last cell links to."""
    others = sorted(other.name for other in path.parent.glob("[0-9][0-9]_*.ipynb"))
    at = others.index(path.name) if path.name in others else 0
    return [*others[max(at - 1, 0) : at], *others[at + 1 : at + 2]]


def faults(path: Path) -> set[str]:
    """The rules that the notebook breaks, by name."""
    cells = nbformat.read(path, as_version=4).cells
    prose = [cell for cell in cells if cell.cell_type == "markdown"]
    code = [cell for cell in cells if cell.cell_type == "code"]
    bodies = [ast.parse(MAGIC.sub("", cell.source)).body for cell in code]
    outputs = [output for cell in code for output in cell.outputs]
    parameters = [
        body
        for cell, body in zip(code, bodies, strict=True)
        if "parameters" in cell.metadata.get("tags", [])
    ]
    data = [output.get("data", {}) for output in outputs]
    words = [cell.source for cell in prose] + [
        d["text/markdown"] for d in data if "text/markdown" in d
    ]
    pictures = [
        output.get("metadata", {}).get(kind, {})
        for output in outputs
        for kind in ("image/png", "image/jpeg", "image/svg+xml")
        if kind in output.get("data", {})
    ]
    tables = [d["text/html"] for d in data if "<table" in d.get("text/html", "")]
    text = path.read_text(encoding="utf-8").replace("\\n", "\n")  # the escape of JSON
    rules = {
        "name": re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name),
        "title": [cell for cell in prose if cell.source.startswith("# ")] == prose[:1] == cells[:1],
        "parameters": len(parameters) == 1 and all(map(is_literal_assignment, parameters[0])),
        "counts": [cell.execution_count for cell in code] == list(range(1, len(code) + 1)),
        "long cell": all(len(cell.source.splitlines()) <= 20 for cell in code),
        "definition": not any(isinstance(node, DEFINITIONS) for body in bodies for node in body),
        "magic": not any(MAGIC.search(cell.source) for cell in code),
        "size": path.stat().st_size < 900_000,
        "mail": not any(MAIL.search(CODE.sub("", one)) for one in words),
        "alternative text": all(picture.get("alt") for picture in pictures),
        "table": all("<caption" in table for table in tables),
        "folded": all(
            folded(cell) for cell, body in zip(code, bodies, strict=True) if not_for_reading(body)
        ),
        "ways": all(f"]({name}" in cells[-1].source for name in ways(path)),
        "machine path": not MACHINE_PATH.search(text),
        "stderr": not any(output.get("name") == "stderr" for output in outputs),
        "error": not any(output.output_type == "error" for output in outputs),
        "prose": len(prose) >= len([cell for cell in code if not folded(cell)]) and code != [],
    }
    return {rule for rule, kept in rules.items() if not kept}


def test_the_readme_lists_every_notebook():
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `notebooks/` \| (.*) \|$", readme, re.MULTILINE)
    assert re.findall(r"(?:^|· )(\d\d) ", row) == [path.name[:2] for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path):
    assert faults(path) == set()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_folder_that_is_called_as_a_known_archive_is_not_taken_for_it(path):
    assert not re.search(r"\bdata\.name\b", path.read_text(encoding="utf-8"))  # but `archive`


def test_notebooks_are_numbered_without_a_gap():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{n:02}" for n in range(len(NOTEBOOKS))]
    assert len(NOTEBOOKS) >= 9


def stderr(cell):
    cell.outputs = [new_output("stream", name="stderr", text="a warning")]


def leak(cell):
    cell.outputs = [new_output("stream", text="saved\n/home/someone/figure.png")]


def show(cell, data, **metadata):
    cell.outputs = [new_output("display_data", data=data, metadata=metadata)]


def fail(cell):
    cell.outputs = [new_output("error", ename="ValueError", evalue="no", traceback=[])]


# How to break each rule and no other, given the cells: title, parameters, prose, code.
SPOIL = {
    "name": lambda cells: None,
    "title": lambda cells: cells[2].update(source="# A second title"),
    "parameters": lambda cells: cells[1].update(source="steps = 2\ntotal = steps * 10"),
    "counts": lambda cells: cells[3].update(execution_count=7),
    "long cell": lambda cells: cells[3].update(source="1 + 1\n" * 21),
    "definition": lambda cells: cells[3].update(source="def double(x):\n    return 2 * x"),
    "magic": lambda cells: cells[3].update(source="x = 1\n%pip install something"),
    "size": lambda cells: cells[2].update(source="x" * 900_000),
    "mail": lambda cells: show(cells[3], {"text/markdown": "the best mAP@0.8, `mAP@0.4` aside"}),
    "alternative text": lambda cells: show(cells[3], {"image/png": "AA=="}),
    "table": lambda cells: show(cells[3], {"text/html": "<table><tr><td>1</td></tr></table>"}),
    "folded": lambda cells: cells[3].update(source="assert 1 + 1 == 2"),
    "ways": lambda cells: None,
    "machine path": lambda cells: leak(cells[3]),
    "stderr": lambda cells: stderr(cells[3]),
    "error": lambda cells: fail(cells[3]),
    "prose": lambda cells: cells.append(new_code_cell("2", execution_count=3)),
}


@pytest.mark.parametrize("rule", SPOIL)
def test_each_rule_catches_the_notebook_that_breaks_it(rule, tmp_path):
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# 00 · Title"),
            new_code_cell('profile = "smoke"\nseeds = (0, -1)', execution_count=1),
            new_markdown_cell("## A finding"),
            new_code_cell("# a comment\n'a' % ()\n1 + 1", execution_count=2),
        ]
    )
    notebook.cells[1].metadata["tags"] = ["parameters"]
    good, bad = tmp_path / "good" / "00_good.ipynb", tmp_path / "bad" / "00_bad.ipynb"
    if rule == "name":
        bad = bad.with_name("Untitled.ipynb")
    for file in (good, bad):
        file.parent.mkdir()
    nbformat.write(notebook, good)
    assert faults(good) == set()
    SPOIL[rule](notebook.cells)
    nbformat.write(notebook, bad)
    if rule == "ways":
        nbformat.write(new_notebook(), bad.with_name("01_next.ipynb"))
    assert faults(bad) == {rule}
