"""What was found, told in words, as JSON and as CSV; and what a person said of it, read again."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maclcore import paths
from maclcore.data.reading import printable
from maclcore.search.embedder import Embedder, of_made
from maclcore.search.index import Index
from maclcore.search.query import Query, find
from maclcore.version import __version__

TICK = "tick"  # the column of a CSV in which a person says what is good or bad
GOOD, BAD = "good", "bad"


@dataclass(frozen=True)
class Dropped:
    """An image file that was searched by and not kept; `thumbnail`: a JPEG."""

    name: str
    thumbnail: bytes

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Answer:
    """A query, of which image files it has vectors, and what was found: a row an image, best first.

    `found` has the columns of `query.find`.
    """

    query: Query
    found: pd.DataFrame
    like: tuple[Path | Dropped, ...] = ()
    unlike: tuple[Path | Dropped, ...] = ()

    @property
    def asked(self) -> dict[str, Any]:
        """The query in names: what is not asked for is not there."""
        of = self.query
        said = {
            "like": [*map(str, self.like), *of.like],
            "not": [*map(str, self.unlike), *of.unlike],
            "labels": list(of.labels),
            "without": list(of.not_labels),
            "where": of.where,
            "box": None if of.box is None else list(of.box),
        }
        return {what: value for what, value in said.items() if value}

    @property
    def title(self) -> str:
        """The query in a line; that of one image file is its path."""
        words = {what: _words(value) for what, value in self.asked.items()}
        alone = [*words] == ["like"]
        return words["like"] if alone else "; ".join(f"{a} {b}" for a, b in words.items())


def search(
    index: Index,
    query: Query,
    k: int,
    *,
    like: Sequence[Path] = (),
    unlike: Sequence[Path] = (),
    each: bool = False,
    approximate: bool = False,
    embedder: Embedder | None = None,
) -> tuple[list[Answer], list[str]]:
    """The answer to a query whose examples are image files, too; `each`: one for each of `like`.

    `embedder`: the index's own, if it is at hand. A file that cannot be read is told in the second
    list, and stops no other; other errors as of `query.find`.
    """
    vectors, problems = _vectors(index, embedder, [*like, *unlike])
    good, bad = ([f for f in dict.fromkeys(files) if f in vectors] for files in (like, unlike))
    lists = [[file] for file in good] if each else [good]
    if like and not (good or query.like):
        lists = []  # none of the examples is left
    answers = []
    for files in lists:
        own = replace(
            query,
            vectors=np.array([vectors[file] for file in files]),
            unlike_vectors=np.array([vectors[file] for file in bad]),
        )
        found = find(index, own, k, approximate)
        answers.append(Answer(own, found, tuple(files), tuple(bad)))
    return answers, problems


def _vectors(
    index: Index, embedder: Embedder | None, files: Sequence[Path]
) -> tuple[dict[Path, np.ndarray], list[str]]:
    vectors: dict[Path, np.ndarray] = {}
    problems: dict[str, None] = {}
    if not files:
        return vectors, []
    embedder = embedder or of_made(index.about.made)
    for file in dict.fromkeys(files):
        try:
            vectors[file] = embedder.file(file)
        except (ValueError, OSError) as error:
            problems[str(error)] = None  # once, where it is the same of all
    return vectors, list(problems)


def text(answer: Answer) -> str:
    """A line for each image: its cosine, its name, its labels."""
    names = [printable(name) for name in answer.found["name"]]
    width = min(40, max(map(len, names), default=0))
    lines = [printable(answer.title)]
    for name, row in zip(names, answer.found.itertuples(), strict=True):
        cosine = "     " if np.isnan(row.cosine) else f"{row.cosine:.3f}"
        labels = printable(", ".join(row.labels))
        lines.append(f"  {cosine}  {name:{width}}  {labels}".rstrip())
    return "\n".join(lines if names else [*lines, "  nothing"])


def write_json(file: Path, index: Index, answers: Sequence[Answer]) -> None:
    """The answers, and all that they depend on."""
    content = {
        "maclcore": __version__,
        "index": {"where": index.where, "images": len(index), **asdict(index.about)},
        "answers": [
            {
                "query": answer.asked,
                "found": [
                    {name: _plain(value) for name, value in row.items()}
                    for row in answer.found.to_dict("records")
                ],
            }
            for answer in answers
        ],
    }
    with paths.atomic_path(file) as temporary:
        said = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(said + "\n", encoding="utf-8")


def write_csv(file: Path, answers: Sequence[Answer]) -> None:
    """A line for each image found, with an empty column TICK for a person to say what is good."""
    parts = [_rows(answer) for answer in answers]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=["rank", TICK, "name"])
    with paths.atomic_path(file) as temporary:
        table.to_csv(temporary, index=False, encoding="utf-8")


def _rows(answer: Answer) -> pd.DataFrame:
    found = answer.found
    ours = {
        "rank": range(1, len(found) + 1),
        TICK: "",
        "name": found["name"],
        "cosine": found["cosine"],
        "labels": found["labels"].map(";".join),
        "longitude": found["longitude"],
        "latitude": found["latitude"],
    }
    last = {"file": found["file"], "query": answer.title}
    own = [c for c in found if c not in (*ours, *last, "content")]
    return pd.DataFrame({**ours, **found[own], **last})


def read_ticks(files: Iterable[Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the images that a person ticked as good and as bad, in one round a file.

    A file is a CSV with the columns name and tick, as `write_csv` writes it. Rounds add up, and of
    two that differ the later holds. ValueError for another tick, or two of an image in one round.
    """
    said: dict[str, str] = {}
    for file in files:
        said |= _round(file)
    return tuple(n for n in said if said[n] == GOOD), tuple(n for n in said if said[n] == BAD)


def _round(file: Path) -> dict[str, str]:
    said: dict[str, str] = {}
    with open(file, encoding="utf-8-sig", newline="") as stream:
        delimiter = max(",\t;", key=stream.readline().count)  # a spreadsheet may have changed it
        stream.seek(0)
        table = csv.DictReader(stream, delimiter=delimiter)
        if lack := [c for c in ("name", TICK) if c not in (table.fieldnames or ())]:
            raise ValueError(
                f"{file} has no column {' and no '.join(lack)}: `search --csv` has both"
            )
        for row in table:
            name, tick = row["name"], (row[TICK] or "").strip().casefold()
            where = f"{file}, line {table.line_num}: {name}"
            if tick not in (GOOD, BAD, ""):
                raise ValueError(f"{where}: a tick is {GOOD} or {BAD} or nothing, not {tick!r}")
            if tick and said.setdefault(name, tick) != tick:
                raise ValueError(f"{where} is ticked both {GOOD} and {BAD}: keep one")
    return said


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(value: Any) -> Any:
    """A cell as JSON has it: null where nothing is known."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(one) for one in value]
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value if isinstance(value, (str, bool, int, float)) else str(value)
