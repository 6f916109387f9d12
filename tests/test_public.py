"""What others rely on: the public names, their types, and what importing them costs."""

import ast
import pickle
import subprocess
import sys

import pytest

import maclcore
from maclcore import extras, paths

TREE = ast.parse((paths.PACKAGE / "__init__.py").read_text())


def test_the_lists_of_public_names_are_one():
    (block,) = [
        node.body
        for node in TREE.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    for_checkers = {
        name.name: node.module.removeprefix("maclcore.") for node in block for name in node.names
    }
    assert for_checkers == maclcore._HOME
    assert sorted(maclcore.__all__) == sorted(maclcore._HOME)


@pytest.mark.parametrize("name", maclcore.__all__)
def test_a_public_name_is_there_listed_and_pickles(name):
    value = getattr(maclcore, name)
    assert value is getattr(maclcore, name) and dir(maclcore).count(name) == 1
    if callable(value):
        assert pickle.loads(pickle.dumps(value)) is value
        assert value.__doc__


def test_star_and_an_unknown_name():
    names = {}
    exec("from maclcore import *", names)
    assert names.keys() - {"__builtins__"} == set(maclcore.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = maclcore.nothing
    with pytest.raises(ImportError, match="nothing"):
        exec("from maclcore import nothing")


# --- What the core costs -------------------------------------------------------------------------

#: without sphinx, of which scipy imports more where sys.modules names it, as None, too
BROUGHT = {module for modules in extras.EXTRAS.values() for module in modules} - {"sphinx"}
#: modules of the core, and what is not loaded once they are, one after the other
UNNEEDED = {
    "maclcore": {"torch", "numpy", "pandas", "scipy"},
    "maclcore.config": {"torch", "numpy", "pandas", "scipy"},
    "maclcore.__main__": {"torch", "numpy", "pandas", "scipy"},
    "maclcore.labels": {"pandas", "scipy"},
    "maclcore.losses": {"pandas", "scipy"},
    "maclcore.evaluation.ranking": {"pandas", "scipy"},
    "maclcore.evaluation.retrieval": {"scipy"},
    "maclcore.evaluation.reference": set(),
    "maclcore.evaluation.statistics": set(),
    "maclcore.evaluation.classification": set(),
}
USE = """
import torch
from maclcore import LOSSES, LabelStatistics, build_loss, evaluate, jaccard
from maclcore.evaluation.reference import chance, oracle
z, y = torch.eye(8), torch.eye(4, 16).repeat(2, 1).roll(1, 0)  # two views of four images
y[:, 0] = 1
stats = LabelStatistics.from_labels(y)
for name in LOSSES:
    assert build_loss(name, stats, embedding_dim=8)(z, y).isfinite()
evaluate(z, y).summary(), chance(y).summary(), oracle(y).summary(), jaccard(y)
"""


def without(modules, code):
    """A new process that runs the code where those modules are not installed."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({sorted(modules)!r}))"
    return subprocess.run(
        [sys.executable, "-c", f"{hide}\n{code}"], capture_output=True, text=True, cwd=paths.ROOT
    )


def test_the_core_imports_without_extras_and_only_what_it_needs():
    show = "print(*{name.split('.')[0] for name, module in sys.modules.items() if module})"
    done = without(BROUGHT, "\n".join(f"import {module}; {show}" for module in UNNEEDED))
    assert not done.stderr
    for line, (module, unneeded) in zip(done.stdout.splitlines(), UNNEEDED.items(), strict=True):
        assert "maclcore" in line.split() and not set(line.split()) & unneeded, module


def test_the_core_works_without_extras():
    assert (done := without(BROUGHT, USE)).returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from maclcore import train", "train"),
        ("from maclcore import load_archive", "train"),
        ("from maclcore import RetrievalNet", "train"),
        ("from maclcore import collect", "train"),
        ("from maclcore import *", "train"),
        ("import maclcore.evaluation.embedding", "train"),
        ("import maclcore.evaluation.transfer", "train"),
        ("import maclcore.experiments.sweep", "train"),
        ("import maclcore.audit.claims", "train"),
        ("import maclcore.search.query", "train"),
        ("import maclcore.annotation.answers", "train"),
        ("import maclcore.progress", "train"),
        ("from maclcore.plots import use_style", "plots"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_brings_it(code, extra):
    *_, last = without(extras.EXTRAS[extra], code).stderr.splitlines()
    assert last.startswith("ImportError: maclcore.")
    assert f"needs the extra {extra!r}: pip install 'maclcore[{extra}]' (missing: " in last


@pytest.mark.parametrize(
    ("words", "missing", "message"),
    [
        (["runs"], ["tyro"], "the command line needs the extra 'train'"),
        (["--help"], ["tyro", "tqdm"], "(missing: tqdm, tyro)"),
        (["notebooks"], ["papermill"], "pip install 'maclcore[notebooks]' (missing: papermill)"),
    ],
)
def test_on_the_command_line_a_missing_extra_is_one_line(words, missing, message):
    done = without(missing, f"from maclcore.__main__ import main; sys.exit(main({words!r}))")
    assert done.returncode == 1 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line


# --- Types ---------------------------------------------------------------------------------------

#: what is drawn, and the kernel's own functions, are nobody's to call
INNER = ("data/synthetic", "losses/pairs", "losses/kernel")


def without_types(tree):
    """Public functions and methods of a module that leave a type open."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            if not any(ast.unparse(base).endswith("autograd.Function") for base in node.bases):
                yield from (f"{node.name}.{name}" for name in without_types(node))
        if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or node.name[0] != "_"):
            a = node.args
            given = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
            given = [arg for arg in given if arg and arg.arg not in ("self", "cls")]
            if node.returns is None or any(arg.annotation is None for arg in given):
                yield node.name


@pytest.mark.parametrize(
    "file",
    [
        file
        for file in sorted(paths.PACKAGE.rglob("*.py"))
        if not str(file.relative_to(paths.PACKAGE)).startswith(INNER)
    ],
    ids=lambda file: str(file.relative_to(paths.PACKAGE)),
)
def test_public_signatures_state_their_types(file):
    assert list(without_types(ast.parse(file.read_text()))) == []


def test_types_are_shipped():
    assert (paths.PACKAGE / "py.typed").is_file()
