"""The order of the rooms: what may import what, read from the source of every module."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from maclcore import extras, paths

#: The rooms from top to bottom, and what belongs in each. A room imports from those below it alone.
ROOMS = {
    "__main__": "the dispatcher of the command line: no verb, no computation",
    "commands": "a function a verb: its options, and how its result is printed",
    "audit": "what the papers say, held against the store",
    "search": "an archive searched for what its images show",
    "annotation": "labels given by people, and the page on which they are",
    "experiments": "which runs a table or figure needs, and what computes them",
    "plots": "DataFrame in, Figure out",
    "training": "the loop, and a file for each method that it runs",
    "store": "runs on disk, what they were made from, and the one table of them",
    "evaluation": "metrics, reference rows, statistics: functions of arrays",
    "models": "networks, and the weights that they start from",
    "losses": "losses of embeddings and labels, and their registry",
    "data": "archives, images, splits, augmentation, order of batches",
}
#: the ground floor, on which files know each other, but in no circle
GROUND = {
    "labels": "checked labels and their statistics",
    "config": "what a run is, by name",
    "serving": "a page in the browser, for this machine alone",
    "progress": "what is said while something takes long",
    "paths": "where files lie, and how one is written",
    "reads": "which stored runs have been read",
    "extras": "what is not installed with the core",
    "version": "the version",
}
CORE = {"numpy", "pandas", "scipy", "torch"}

PLAN = "\n".join(f"  {name:12} {what}" for name, what in (ROOMS | GROUND).items())


class Import(NamedTuple):
    """An import of the module `target`, in that line of a file."""

    target: str
    line: int


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package in `root`, by name; a room's `__init__` has the room's."""
    found = {}
    for file in sorted(root.rglob("*.py")):
        parts = (root.name, *file.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path, known: dict[str, Path]) -> list[Import]:
    """All imports of a file, those inside functions too, as modules and not as names.

    Those for type checkers alone are left out: they are never carried out.
    """

    def visit(node: ast.AST) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(inner if inner in known else node.module, node.lineno)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in node.orelse if typing_only else ast.iter_child_nodes(node):
            yield from visit(child)

    return list(visit(ast.parse(file.read_text(encoding="utf-8"))))


def faults(root: Path) -> list[str]:
    """What is wrong with the order of rooms in the package in `root`: nothing, if it is empty."""
    known = modules(root)
    level = {room: i for i, room in enumerate(ROOMS)} | dict.fromkeys(GROUND, len(ROOMS))
    told, beside = [], {module: set() for module in known}
    for module, file in known.items():
        name = file.relative_to(root.parent)
        room = module.split(".")[1] if module != root.name else ""
        if room and room not in level:
            told.append(f"{name}: {room!r} is in no table of {Path(__file__).name}")
            continue
        for target, line in imports(file, known):
            package, *inner = target.split(".")
            if package != root.name:
                continue
            there, at = inner[0] if inner else "", f"{name}:{line} imports {target}"
            if there not in level:
                told.append(f"{at}: public names are for others; take it from the room that has it")
            elif room and level[there] < level[room]:
                told.append(
                    f"{at}: upward, for {room!r} lies below {there!r}. Move what is imported down, "
                    f"or what imports it up"
                )
            elif room and level[there] == level[room]:
                beside[module].add(target)
    try:
        TopologicalSorter(beside).prepare()
    except CycleError as error:
        told.append(f"imports in a circle: {' -> '.join(reversed(error.args[1]))}")
    return told


def test_no_import_runs_upward_and_none_in_a_circle():
    told = faults(paths.PACKAGE)
    what = "A room imports from those below it in this list alone. Where a thing belongs:"
    assert not told, "\n".join(["", *told, what, PLAN])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("losses/new.py", "from maclcore.store import Run", "upward, for 'losses' lies below 'sto"),
        (
            "data/new.py",
            "def f():\n    import maclcore.losses",
            "new.py:2 imports maclcore.losses",
        ),
        ("labels.py", "from maclcore import data", "upward, for 'labels' lies below 'data'"),
        ("data/new.py", "from maclcore import train", "public names are for others"),
        ("data/new.py", "import maclcore", "public names are for others"),
        ("paths.py", "from maclcore import labels", "labels -> maclcore.paths -> maclcore.labels"),
        ("data/b.py", "from maclcore.data import a", "data.a -> maclcore.data.b -> maclcore.data"),
        ("data/a.py", "import maclcore.data.a", "imports in a circle: maclcore.data.a -> maclcore"),
        ("models/a.py", "import maclcore.models", "circle: maclcore.models -> maclcore.models.a"),
        ("attic/a.py", "", "'attic' is in no table"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, file, text, message):
    package = tmp_path / "maclcore"
    good = {
        "__init__.py": "if TYPE_CHECKING:\n    from maclcore.store import Run",
        "labels.py": "from maclcore import paths",
        "data/__init__.py": "",
        "data/a.py": "from maclcore import labels\nfrom maclcore.data.b import x",
        "data/b.py": "x = 1",
        "losses/__init__.py": "from maclcore.data import a",
        "models/__init__.py": "from maclcore.models.a import x",
        "models/a.py": "from maclcore.labels import x",
        "paths.py": "",
        "store/__init__.py": "import maclcore.data.a, maclcore.losses",
    }
    for name, content in good.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(content)
    assert faults(package) == []
    (package / file).parent.mkdir(exist_ok=True)
    (package / file).write_text(text)
    told = "\n".join(faults(package))
    if "circle" in message or " -> " in message:
        assert "imports in a circle" in told
    assert message in told or all(part in told for part in message.split(" -> "))


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "__main__"])
def test_a_room_says_what_it_holds(room):
    text = ast.get_docstring(ast.parse((paths.PACKAGE / room / "__init__.py").read_text()))
    assert text and len(text.split()) > 5, f"maclcore/{room}/__init__.py needs a docstring"


def asked(file: Path) -> set[str]:
    """The extras that a file asks for: E in `need("E", ...)`."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    return {c.args[0].value for c in calls if isinstance(c.func, ast.Name) and c.func.id == "need"}


@pytest.mark.parametrize("module", modules(paths.PACKAGE))
def test_a_module_or_its_room_asks_for_the_extra_that_it_needs(module):
    known = modules(paths.PACKAGE)
    room = ".".join(module.split(".")[:2])
    brought = {name for extra in asked(known[module]) | asked(known[room]) for name in
               extras.EXTRAS[extra]}  # fmt: skip
    may = CORE | brought | {"maclcore"} | set(sys.stdlib_module_names)
    for target, line in imports(known[module], known):
        assert target.split(".")[0] in may, (
            f'{known[module]}:{line} imports {target}: need("EXTRA", __name__) comes first'
        )
