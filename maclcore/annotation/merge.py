"""What several annotators say, in one: how far they agree, and the tables that come of it.

The rules. A cell (image, label) is what most annotators say of it, and among equals what was said
first. The one label of an image is that which most annotators gave first, and among equals the
earliest. An annotator's last answer about an image counts, repeats do not. Who gave labels in the
mode "one" says nothing about the others; in the mode "all", and by "none", they are said to be
absent. "unsure" says nothing.
"""

import csv
import hashlib
import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from maclcore import paths
from maclcore.annotation.answers import Line, standing

SINGLE, ANNOTATED, REVIEWED = "single_positive.csv", "labels.annotated.csv", "labels.reviewed.csv"
DIFFER, DIFFER_IN_REVIEW = "disagreements.csv", "disagreements.reviewed.csv"

Cell = tuple[str, str]  # an image and a label
Tables = dict[str, list[list[Any]]]


class Agreement(NamedTuple):
    """How far two ways of answering agree, over what both have decided.

    `number`: images, in a review cells; `same`: the share of them with the same answer. κ is that
    of Cohen, NaN where chance alone would agree always: `one` of the labels given first, `cells` of
    all cells (image, label), `labels` of each label's.
    """

    number: int
    same: float
    one: float
    cells: float
    labels: dict[str, float]


def kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Cohen's κ of two lists of categories: (p_o - p_e) / (1 - p_e), Cohen 1960.

    p_o is the share of equal pairs, p_e that by chance, with each list's frequencies. NaN if p_e is
    1, or if there are no pairs.
    """
    n = len(a)
    same = sum(x == y for x, y in zip(a, b, strict=True))
    counts, others = Counter(a), Counter(b)
    by_chance = sum(counts[category] * others[category] for category in counts)  # n² p_e
    return (n * same - by_chance) / (n * n - by_chance) if by_chance < n * n else math.nan


def agreement(a: Iterable[Line], b: Iterable[Line], labels: Sequence[str]) -> Agreement:
    """How far the decided answers of two sets of lines agree, one line for each image or cell."""
    first, second = ({(x.image, x.label): x for x in lines if decided(x)} for lines in (a, b))
    both = sorted(first.keys() & second.keys())
    pairs = [(first[key], second[key]) for key in both]
    cells: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for x, y in pairs:
        for label in [x.label] if x.label else labels:
            cells[label].append((present(x, label), present(y, label)))
    of_label = {label: cells[label] for label in labels}
    return Agreement(
        number=len(pairs),
        same=sum(_content(x) == _content(y) for x, y in pairs) / len(pairs) if pairs else math.nan,
        one=_kappa((one(x), one(y)) for x, y in pairs if not x.label),
        cells=_kappa(pair for label in labels for pair in of_label[label]),
        labels={label: _kappa(pairs) for label, pairs in of_label.items()},
    )


def _kappa(pairs: Iterable[tuple[Hashable, Hashable]]) -> float:
    pairs = list(pairs)
    return kappa([a for a, _ in pairs], [b for _, b in pairs])


# --- What a line says ---------------------------------------------------------------------------


def decided(line: Line) -> bool:
    return line.answer not in ("skip", "unsure", "undo")


def present(line: Line, label: str) -> bool:
    """Whether a decided line has the label, or in a review: takes its cell's to be there."""
    if line.label:
        return line.completed is (line.answer == "right")
    return label in line.labels


def one(line: Line) -> str:
    """The label that was given first, "" if none was."""
    return line.labels[0] if line.labels else ""


def _content(line: Line) -> object:
    return present(line, line.label) if line.label else set(line.labels)


def _said(line: Line, labels: Sequence[str]) -> dict[str, bool]:
    """Of which labels a decided line says that they are there, or are not."""
    silent = line.mode == "one" and line.answer == "labels"
    return {x: x in line.labels for x in labels if x in line.labels or not silent}


# --- Tables -------------------------------------------------------------------------------------


def last_answers(lines: Iterable[Line], review: bool) -> list[Line]:
    """One annotator's last standing answers, repeats aside, about images or about cells."""
    kept = standing(lines)
    mine = [x for x in kept if (x.mode == "review") is review and not x.repeat]
    return list({(x.image, x.label): x for x in mine if x.answer != "skip"}.values())


def annotated(logs: Mapping[str, Iterable[Line]], labels: Sequence[str]) -> Tables:
    """The tables of the images that have a label, header first: one label, all labels, and where
    the annotators differ."""
    single: dict[str, dict[str, Any]] = defaultdict(dict)
    cells: dict[Cell, dict[str, Any]] = defaultdict(dict)
    for name, line in _decisions(logs, review=False):
        single[line.image][name] = one(line)
        for label, there in _said(line, labels).items():
            cells[line.image, label][name] = there
    taken = {image: _majority(said) for image, said in single.items()}
    rows = {
        image: [int(_majority(cells.get((image, label), {"": False}))) for label in labels]
        for image in sorted(single)
    }
    return {
        SINGLE: [["image", "label"], *([image, taken[image]] for image in rows if taken[image])],
        ANNOTATED: [["image", *labels], *([x, *row] for x, row in rows.items() if any(row))],
        DIFFER: _disagreements(
            {(image, "the one label"): said for image, said in single.items()} | cells, list(logs)
        ),
    }


def reviewed(
    logs: Mapping[str, Iterable[Line]], labels: Sequence[str], completed: Mapping[Cell, bool]
) -> Tables:
    """The completed table with the cells that were found wrong turned, and the disagreements."""
    cells: dict[Cell, dict[str, bool]] = defaultdict(dict)
    for name, line in _decisions(logs, review=True):
        if (line.image, line.label) in completed:
            cells[line.image, line.label][name] = present(line, line.label)
    corrected = {**completed, **{cell: _majority(said) for cell, said in cells.items()}}
    rows = {
        image: [int(corrected[image, label]) for label in labels]
        for image in sorted({image for image, _ in completed})
    }
    return {
        REVIEWED: [["image", *labels], *([x, *row] for x, row in rows.items() if any(row))],
        DIFFER_IN_REVIEW: _disagreements(cells, list(logs)),
    }


def _decisions(logs: Mapping[str, Iterable[Line]], review: bool) -> list[tuple[str, Line]]:
    """Everyone's last decided answers with their names, in the order of time."""
    named = ((name, x) for name, lines in logs.items() for x in last_answers(lines, review))
    return sorted(((n, x) for n, x in named if decided(x)), key=lambda of: (of[1].time, of[0]))


def _majority(said: Mapping[str, Any]) -> Any:
    """What most say; among equals what was said first, as `said` is in the order of time."""
    return Counter(said.values()).most_common(1)[0][0]  # equal counts stay in their order


def _disagreements(
    questions: Mapping[Cell, Mapping[str, Any]], annotators: Sequence[str]
) -> list[list[Any]]:
    def shown(value: Any) -> Any:
        return int(value) if isinstance(value, bool) else value or "none"

    rows = [
        [*question, shown(_majority(said))]
        + [shown(said[name]) if name in said else "" for name in annotators]
        for question, said in sorted(questions.items())
        if len(set(said.values())) > 1
    ]
    return [["image", "question", "taken", *annotators], *rows]


# --- Files --------------------------------------------------------------------------------------


def export(folder: Path, tables: Tables) -> dict[Path, int]:
    """Write each table as a CSV file of that name in `folder`, whole or not at all; their rows.

    A file that is there is only replaced if it is what an export wrote (`.exports.json` knows);
    ValueError, and nothing is written, if one is not.
    """
    known = folder / ".exports.json"
    with FileLock(folder / ".exports.lock"):
        ours: dict[str, list[str]] = json.loads(known.read_text()) if known.exists() else {}
        contents = {name: _csv(rows) for name, rows in tables.items()}
        there = {name: _hash((folder / name).read_bytes()) for name in tables
                 if (folder / name).exists()}  # fmt: skip
        for name, digest in there.items():
            if digest not in ours.get(name, ()):
                raise ValueError(
                    f"{folder / name} is no export, or was changed since: move or rename it"
                )
        # Both hashes first: whenever this is killed, the file is known.
        for name, content in contents.items():
            ours[name] = [*([there[name]] if name in there else []), _hash(content)]
        with paths.atomic_path(known) as temporary:
            temporary.write_text(json.dumps(ours, indent=1))
        for name, content in contents.items():
            with paths.atomic_path(folder / name) as temporary:
                temporary.write_bytes(content)
    return {folder / name: len(rows) - 1 for name, rows in tables.items()}


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
