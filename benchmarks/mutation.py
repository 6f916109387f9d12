"""Which wrong programs do the tests let pass? Mutants of the core, drawn with a seed.

    python benchmarks/mutation.py --number 150 --seed 0
    python benchmarks/mutation.py --number 20 --modules labels momentum

A mutant is the core with one small fault: another comparison, a constant off by one, a statement
or an argument less. Each is written into a copy of the repository, where the tests of its module
run until one fails, those that reach the changed line first. A test that takes longer than
LIMIT counts as failed. The verdicts are appended to a file as they come, so that the same command
goes on where it was stopped; a survivor is tried again once a test has changed.

    score = caught / (tried - equivalent)

Equivalent mutants, which no test can tell from the original, are in `equivalent_mutants.txt`, each
with a reason. Not mutated: docstrings, annotations, the wording of messages, `__repr__`, and
`strict=` of `zip`, which guards against nobody but ourselves.

Why not mutmut or cosmic-ray: neither draws a sample with a seed, nor knows the faults of this field
(another dim, gradients that are no longer cut, a memo's key without a part), for which cosmic-ray
would need operators of our own. mutmut replaces functions by trampolines, whose signatures and
sources `pairwise` could no longer read; cosmic-ray starts a process for each mutant, whose imports
take longer than most of its tests. Here one process imports the libraries, and forks.
"""

import argparse
import ast
import copy
import hashlib
import importlib
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # threads do not survive a fork
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # nbval's imports take longer than most tests

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
STORE = ROOT / ".pytest_cache" / "mutation"
LIMIT = 60  # seconds for a test
MEMORY = 8 << 30  # bytes for a mutant
#: what the package and its tests import, here once for all mutants
LIBRARIES = ("torch._dynamo", "torchvision.transforms.v2", "torchmetrics", "sklearn.metrics")

LOSSES = [f"losses/{file.stem}" for file in sorted((ROOT / "tests" / "losses").glob("test_*.py"))]
WEAK = ["losses/test_weak_losses", "losses/test_weak_registry"]
#: module -> its tests
CORE = {
    "losses/kernel": LOSSES,
    "losses/macl": LOSSES,
    "losses/mulsupcon": LOSSES,
    "losses/oml": LOSSES,
    "losses/overlap": LOSSES,
    "losses/pairs": LOSSES,
    "losses/prototypes": LOSSES,
    "losses/registry": LOSSES,
    "losses/softcon": LOSSES,
    "losses/supcon": LOSSES,
    "losses/weak/entries": WEAK,
    "losses/weak/formulas": WEAK,
    "losses/weak/registry": WEAK,
    "labels": ["test_labels", *LOSSES],
    "evaluation/measures": ["evaluation/test_retrieval", "evaluation/test_reference"],
    "evaluation/relevance": ["evaluation/test_retrieval", "evaluation/test_reference"],
    "evaluation/retrieval": ["evaluation/test_retrieval", "evaluation/test_reference"],
    "evaluation/ties": ["evaluation/test_retrieval", "evaluation/test_reference"],
    "evaluation/ranking": ["evaluation/test_retrieval"],
    "evaluation/embedding": ["models/test_network", "data/test_stream"],
    "evaluation/reference": ["evaluation/test_reference", "evaluation/test_retrieval"],
    "evaluation/statistics": ["evaluation/test_statistics"],
    "audit/breakdown": ["audit/test_breakdown"],
    "data/split": ["data/test_split"],
    "data/sampler": ["data/test_sampler"],
    "data/augment": ["data/test_augment"],
    "training/momentum": ["training/test_momentum"],
    "training/gradcache": ["training/test_momentum"],
    "training/checkpoint": ["training/test_checkpoint"],
    "training/inputs": ["training/test_inputs"],
    "training/loop": ["training/test_loop", "training/test_train"],
    "training/retrieval": ["training/test_train"],
}

# --- faults --------------------------------------------------------------------------------------

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_PAIRS = "min max, amin amax, argmin argmax, fmin fmax, minimum maximum, floor ceil, any all, "
_PAIRS += "sum mean, zeros ones, zeros_like ones_like, exp log, log1p log, exp2 exp"
NAMES = {a: b for pair in _PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}
CUTS = {"detach", "clone", "copy"}  # of a gradient, of memory
MODES = {"no_grad", "inference_mode", "enable_grad", "once_differentiable"}
WORDS = {"warn", "say"}  # they take messages
UNSEEN = {"__repr__", "extra_repr"}


class Mutant(NamedTuple):
    module: str
    where: str  #: the function, by its qualified name
    old: str  #: the changed lines
    new: str
    lines: tuple[int, int]  #: the first and the last of them
    source: str  #: the whole module

    @property
    def key(self) -> str:
        """Stable text: no line numbers."""
        return f"{self.module} | {self.where} | {self.old} => {self.new}"


def mutants(module: str) -> list[Mutant]:
    """All mutants of a module of the core, no two of the same key."""
    source = (ROOT / "maclcore" / f"{module}.py").read_bytes()
    lines = source.splitlines(keepends=True)
    found = {}
    for node, where, new in _faults(ast.parse(source), ""):
        first, last = node.lineno, node.end_lineno
        before = b"".join(lines[: first - 1]) + lines[first - 1][: node.col_offset]
        after = lines[last - 1][node.end_col_offset :] + b"".join(lines[last:])
        mutated = (before + new.encode() + after).decode()
        above, below = (len(b"".join(part).decode()) for part in (lines[: first - 1], lines[last:]))
        texts = (source.decode(), mutated)
        old, new = (" ".join(text[above : len(text) - below].split()) for text in texts)
        mutant = Mutant(module, where, old, new, (first, last), mutated)
        found.setdefault(mutant.key, mutant)
    return list(found.values())


def _faults(node: ast.AST, where: str) -> Iterator[tuple[ast.AST, str, str]]:
    """(node, qualified name of its function, what stands there instead) in a tree."""
    bound: set[str] = set()
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        where = f"{where}.{node.name}".lstrip(".")
        if isinstance(node, ast.FunctionDef):
            bound = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
    for child, name in _children(node):
        if isinstance(child, ast.stmt):
            yield from ((child, where, new) for new in _statement(child, bound))
            if isinstance(child, ast.Assign):
                bound |= {t.id for t in child.targets if isinstance(t, ast.Name)}
        elif isinstance(child, ast.expr):
            texts = _expression(child)
            if name == "decorator_list":
                texts = ["lambda f: f"] if _name(child) in MODES else []
            elif name == "context_expr":
                texts = ["__import__('contextlib').nullcontext()"] if _name(child) in MODES else []
            elif isinstance(child, ast.Tuple | ast.List) and _is_key(node, child):
                parts = child.elts
                texts = [_with(child, elts=parts[:i] + parts[i + 1 :]) for i in range(len(parts))]
            elif name in ("test", "ifs"):
                texts = [*texts, f"not {ast.unparse(child)}"]
            yield from ((child, where, f"({new})") for new in texts)
        yield from _faults(child, where)


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Children that do something, and in which field they are."""
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.keyword(arg="strict"):
            return
        case ast.FunctionDef(name=name) if name in UNSEEN:
            return
        case ast.Call() if _name(node) in WORDS:
            return
        case ast.BinOp() if _is_text(node):
            return
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            children = value if isinstance(value, list) else [value]
            yield from ((child, name) for child in children if isinstance(child, ast.AST))


def _name(node: ast.AST) -> str:
    """The last part of a dotted name, called or not."""
    node = node.func if isinstance(node, ast.Call) else node
    return getattr(node, "attr", getattr(node, "id", ""))


def _with(node: ast.AST, **fields) -> str:
    """Source of a node with other fields."""
    node = copy.copy(node)
    for name, value in fields.items():
        setattr(node, name, value)
    return ast.unparse(ast.fix_missing_locations(node))


def _is_key(parent: ast.AST, node: ast.AST) -> bool:
    """Whether a tuple or list is what something is remembered by, or names errors."""
    targets = getattr(parent, "targets", [getattr(parent, "target", None)])
    named = any(word in _name(target) for target in targets for word in ("key", "rule"))
    return isinstance(parent, ast.ExceptHandler) or named


def _statement(node: ast.stmt, bound: set[str]) -> Iterator[str]:
    match node:
        case ast.Expr(ast.Call() as call) if _name(call.func) not in WORDS:
            yield "pass"
        case ast.Raise() | ast.Continue():
            yield "pass"
        case ast.AugAssign():
            yield "pass"
            if type(node.op) in ARITHMETIC:
                yield _with(node, op=ARITHMETIC[type(node.op)]())
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "pass"
        case ast.Assign(targets=[ast.Name(name)]) if name in bound:
            yield "pass"


def _expression(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for other in COMPARISONS[type(op)]:
                    yield _with(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
        case ast.BinOp(op=op) if type(op) in ARITHMETIC and not _is_text(node):
            yield _with(node, op=ARITHMETIC[type(op)]())
            if isinstance(op, ast.Add | ast.Sub | ast.Mult | ast.Div):
                yield ast.unparse(node.left)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield _with(node, op=other)
        case ast.UnaryOp():
            yield ast.unparse(node.operand)
        case ast.IfExp():
            yield _with(node, body=node.orelse, orelse=node.body)
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(value)):
            yield from (str(value + 1), str(value - 1))
        case ast.Constant(value=float(value)):
            yield str(2 * value if value else 1.0)
        case ast.Call():
            yield from _call(node)


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        or (isinstance(side, ast.BinOp) and _is_text(side))
        for side in sides
    )


def _call(node: ast.Call) -> Iterator[str]:
    name, function, arguments = _name(node), node.func, node.args
    if name in WORDS:
        return
    if name in NAMES:
        field = "attr" if isinstance(function, ast.Attribute) else "id"
        renamed = copy.copy(function)
        setattr(renamed, field, NAMES[name])
        yield _with(node, func=renamed)
    if name in CUTS and isinstance(function, ast.Attribute) and not arguments:
        yield ast.unparse(function.value)
    plain = not any(isinstance(argument, ast.Starred) for argument in arguments[:2])
    if len(arguments) > 1 and plain and ast.dump(arguments[0]) != ast.dump(arguments[1]):
        yield _with(node, args=[arguments[1], arguments[0], *arguments[2:]])
    for i, keyword in enumerate(node.keywords):
        if keyword.arg not in (None, "strict"):
            yield _with(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])


def draw(modules: list[str], number: int, seed: int) -> list[Mutant]:
    """So many mutants, from a module in proportion to the square root of their number in it, so
    that small ones have their share. The first of a longer draw are those of a shorter one."""
    places = []
    for module in modules:
        found = mutants(module)
        random.Random(f"{seed} {module}").shuffle(found)
        places += [((i + 0.5) / math.sqrt(len(found)), mutant) for i, mutant in enumerate(found)]
    return [mutant for _, mutant in sorted(places, key=lambda place: place[0])[:number]]


# --- tests ---------------------------------------------------------------------------------------


class Reach:
    """A pytest plugin: how long each test takes, and which lines of the package it runs."""

    def __init__(self, package: Path):
        self.package, self.tests = f"{package}/", {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        lines: dict[str, set[int]] = {}

        def local(frame, event, _):
            if event == "line":
                lines[frame.f_code.co_filename].add(frame.f_lineno)
            return local

        def trace(frame, event, _):
            name = frame.f_code.co_filename
            if name.startswith(self.package):
                lines.setdefault(name, set())
                return local
            return None

        start = time.perf_counter()
        sys.settrace(trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            reached = {
                name.removeprefix(self.package).removesuffix(".py"): sorted(numbers)
                for name, numbers in lines.items()
            }
            self.tests[item.nodeid] = {"seconds": time.perf_counter() - start, "lines": reached}


class Order:
    """A pytest plugin: tests that reach the mutant first, or are not known yet, quick ones before
    slow ones."""

    def __init__(self, tests: dict, mutant: Mutant):
        self.tests, self.module = tests, mutant.module
        self.changed = set(range(mutant.lines[0], mutant.lines[1] + 1))

    def pytest_collection_modifyitems(self, items):
        def place(item):
            if item.nodeid not in self.tests:
                return False, 0.0
            known = self.tests[item.nodeid]
            reached = self.changed & set(known["lines"].get(self.module, ()))
            return not reached, known["seconds"]

        items.sort(key=place)


@contextmanager
def workplace() -> Iterator[Path]:
    """A copy of the repository, in which a mutant's forks import the package."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / ROOT.name
        ignored = shutil.ignore_patterns(".*", "cache", "executed", "__pycache__", "build")
        shutil.copytree(ROOT, place, ignore=ignored)
        yield place


def forked(place: Path, files: list[str], plugin=None, answer: Path | None = None) -> bool:
    """Whether the test files pass in a process of their own; what `Reach` saw goes to `answer`.
    Without a plugin they are only imported, which compiles them for those that follow."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            os.environ["PYTHONPATH"] = str(place)
            sys.path.insert(0, str(place))
            os.chdir(place)
            silence = os.open(place / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            # what the original left compiled is used; a mutant leaves nothing
            sys.dont_write_bytecode = isinstance(plugin, Order)
            paths = [f"tests/{name}.py" for name in files]
            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
            options += [f"--timeout={LIMIT}"]
            options += ["--collect-only"] if plugin is None else []
            code = int(pytest.main([*options, *paths], plugins=[plugin] if plugin else []))
            if answer is not None and not code:
                answer.write_text(json.dumps(plugin.tests))
        finally:
            sys.stdout.flush()
            os._exit(code)
    deadline = time.monotonic() + 20 * LIMIT
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def digest(*patterns: str) -> str:
    """Of the text of files of the repository."""
    value = hashlib.sha256()
    for file in sorted(file for pattern in patterns for file in ROOT.glob(pattern)):
        value.update(file.read_bytes())
    return value.hexdigest()[:16]


def reach(place: Path, files: list[str]) -> dict:
    """What `Reach` says of the original's tests. It decides their order alone, so that what was
    measured once will do for a while; without the files in STORE it is measured anew."""
    known = {}
    for name in files:
        kept = STORE / f"reach-{name}.json"
        if not kept.exists() and not forked(place, [name], Reach(place / "maclcore"), kept):
            output = (place / "output.txt").read_text()[-2000:]
            raise SystemExit(f"tests/{name}.py fails without any mutant:\n{output}")
        known |= json.loads(kept.read_text())
    return known


def survives(place: Path, mutant: Mutant, tests: dict) -> bool:
    file = place / "maclcore" / f"{mutant.module}.py"
    original = file.rename(file.with_suffix(".original"))
    file.write_text(mutant.source)
    try:
        return forked(place, CORE[mutant.module], Order(tests, mutant))
    finally:
        original.rename(file)  # with its time, by which what is compiled is known


def equivalent() -> set[str]:
    """Keys from the file, in which a line that starts with # gives the reason of those below."""
    lines = EQUIVALENT.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--number", type=int, default=100, help="of mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", nargs="+", default=list(CORE), choices=CORE, metavar="MODULE")
    given = parser.parse_args()
    STORE.mkdir(parents=True, exist_ok=True)
    drawn, same = draw(given.modules, given.number, given.seed), equivalent()
    verdicts, file = {}, STORE / "verdicts.jsonl"
    for line in file.read_text().splitlines() if file.exists() else []:
        row = json.loads(line)
        verdicts[row["key"]] = row
    hypothesis.settings.register_profile(
        "mutation", database=None, derandomize=True, phases=[hypothesis.Phase.generate]
    )
    hypothesis.settings.load_profile("mutation")
    for library in LIBRARIES:
        importlib.import_module(library)
    marks = {module: digest(*(f"tests/{t}.py" for t in CORE[module])) for module in CORE}

    def known(mutant: Mutant) -> bool:
        row = verdicts.get(mutant.key)
        return row is not None and (row["caught"] or row["tests"] == marks[mutant.module])

    left = [mutant for mutant in drawn if mutant.key not in same and not known(mutant)]
    with workplace() as place:
        files = sorted({name for mutant in left for name in CORE[mutant.module]})
        forked(place, files)
        tests = reach(place, files)
        for i, mutant in enumerate(left):
            start = time.monotonic()
            caught = not survives(place, mutant, tests)
            row = {"key": mutant.key, "caught": caught, "tests": marks[mutant.module]}
            verdicts[mutant.key] = row
            with file.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            seconds, word = time.monotonic() - start, "caught" if caught else "SURVIVED"
            print(f"{i + 1}/{len(left)} {seconds:5.1f} s {word:8} {mutant.key[:150]}", flush=True)
    survivors = [m for m in drawn if m.key not in same and not verdicts[m.key]["caught"]]
    for mutant in survivors:
        print(f"\nmaclcore/{mutant.module}.py:{mutant.lines[0]} {mutant.where}")
        print(f"- {mutant.old}\n+ {mutant.new}")
    tried, none = len(drawn), sum(mutant.key in same for mutant in drawn)
    caught = tried - none - len(survivors)
    print(f"\n{tried} tried, {none} equivalent, {caught} caught: {caught / (tried - none):.1%}")


if __name__ == "__main__":
    main()
