"""What annotators were asked and what they answered: the file of lines, and what it comes to.

Each answer is one line of JSON, appended and on the disk before the next question is shown. Nothing
is ever rewritten: to undo is a line, too. All that is random, the order of images, of candidates,
and what is asked twice, is a pure function of the seed and the image's name (`chance`), so that the
lines alone say where an annotator stopped.
"""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from maclcore import paths

#: one: a label an image; all: all of its labels; review: the cells of a completed table
MODES = ("one", "all", "review")
#: what may be answered in each mode; beside it there are "skip" and "undo"
ANSWERS = {
    "one": ("labels", "none", "unsure"),
    "all": ("labels", "none", "unsure"),
    "review": ("right", "wrong", "unsure"),
}
SHOWN = 4  # candidates at a time
TWICE, BETWEEN = 0.05, 20  # share of what is asked twice, and how much else is asked in between
PAUSE = 120.0  # seconds that an answer takes at most; what is longer is taken for a pause


class LogError(ValueError):
    """A file of answers that cannot be used, with the remedy."""


class Task(NamedTuple):
    """What is asked: the labels of an image, or in a review whether one `label`'s cell is right."""

    image: str
    label: str = ""
    repeat: bool = False


@dataclass(frozen=True)
class Line:
    """An answer, with all that it was given under."""

    annotator: str
    mode: str
    seed: int
    answer: str
    image: str = ""
    label: str = ""  #: in a review: whose cell
    labels: tuple[str, ...] = ()  #: in the order in which they were chosen
    candidates: tuple[str, ...] = ()  #: those that were shown, in their order, `SHOWN` at a time
    completed: bool | None = None  #: in a review: what the table says
    repeat: bool = False
    seconds: float = 0.0  #: for which the question was on the screen
    time: str = ""  #: of the answer, UTC, as in ISO 8601

    @property
    def task(self) -> Task:
        return Task(self.image, self.label, self.repeat)


# --- The file -----------------------------------------------------------------------------------


class Log:
    """The lines of one annotator, and their file, which is held until `close`.

    LogError if another process, or another log in this one, holds it. `cut`: whether a last line
    was found cut off, as by a kill in mid-write; it is ignored, and the next line takes its place.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(file.with_name(f".{file.name}.lock"), thread_local=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise LogError(
                f"{file.stem} is already annotating here: {file} is held by another server. End "
                "that one, or give another name (--annotator)"
            ) from None
        try:
            if not file.exists():
                with paths.atomic_path(file) as temporary:
                    temporary.touch()
            content = file.read_bytes()
            self.lines, self._end = parse(content, file)
            self.cut = self._end < len(content)
        except BaseException:
            self.close()
            raise

    def append(self, line: Line) -> None:
        """Write `line`, and have it on the disk; on an OSError the file and `lines` are as before.

        OSError too if something else has written to the file.
        """
        data = (json.dumps(asdict(line), ensure_ascii=False, allow_nan=False) + "\n").encode()
        if not self._lock.is_locked:
            raise OSError(f"{self.file} is closed: this server has ended")
        with open(self.file, "r+b", buffering=0) as file:
            file.seek(self._end)
            if os.fstat(file.fileno()).st_size < self._end or b"\n" in file.read():
                raise OSError(f"{self.file} was changed by another program: start again")
            file.truncate(self._end)  # what was cut off
            file.seek(self._end)
            try:
                rest = memoryview(data)
                while rest:  # a disk that is nearly full takes a part
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(self._end)
                raise
        self._end += len(data)
        self.lines.append(line)

    def close(self) -> None:
        self._lock.release()


def parse(content: bytes, file: Path) -> tuple[list[Line], int]:
    """The lines in a file's content, and how many bytes they are; what follows was cut off.

    A line counts from its end on: without it nobody was told that it was kept. LogError names a
    line that is none.
    """
    end = content.rfind(b"\n") + 1
    lines = []
    for number, text in enumerate(content[:end].split(b"\n")[:-1], 1):
        try:
            lines.append(_line(json.loads(text)))
        except (ValueError, TypeError) as error:
            raise LogError(
                f"{file}, line {number} is no answer ({error}): correct or remove the line"
            ) from error
    return lines, end


def _line(content: Any) -> Line:
    if not isinstance(content, dict):
        raise ValueError("not an object")
    lists = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
    line = Line(**{**content, **lists})
    for field in fields(line):
        if not _fits(value := getattr(line, field.name), field.type):
            raise ValueError(f"{field.name} is {value!r}")
    if line.answer not in ("skip", "undo", *ANSWERS.get(line.mode, ())):
        raise ValueError(f"mode {line.mode!r}, answer {line.answer!r}")
    return line


def _fits(value: object, kind: Any) -> bool:
    if kind == tuple[str, ...]:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    return isinstance(value, (int, float) if kind is float else kind)


def read(folder: Path) -> dict[str, list[Line]]:
    """The lines of every annotator of a folder of logs, by name; what is cut off is left out."""
    files = sorted(folder.glob("*.jsonl"))
    return {file.stem: parse(file.read_bytes(), file)[0] for file in files}


# --- What the lines come to ---------------------------------------------------------------------


def standing(lines: Iterable[Line]) -> list[Line]:
    """The lines that have not been undone; an undo takes back the last one of its mode and task."""
    kept: list[Line] = []
    for line in lines:
        if line.answer != "undo":
            kept.append(line)
            continue
        same = (i for i, x in enumerate(kept) if (x.mode, x.task) == (line.mode, line.task))
        if last := [*same]:
            del kept[last[-1]]
    return kept


def chance(*key: object) -> float:
    """A number in [0, 1], uniform over keys, and always the same for the same one."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def candidates(labels: Iterable[str], task: Task, seed: int) -> list[str]:
    """The labels in the random order in which they are shown for an image; anew for a repeat."""
    return sorted(labels, key=lambda label: chance(seed, task.image, label, task.repeat))


def shuffled(images: Iterable[str], seed: int) -> list[Task]:
    """Images in random order, so that those annotated when one stops are a sample of them all."""
    return [Task(image) for image in sorted(images, key=lambda image: chance(seed, image))]


def schedule(tasks: Sequence[Task], seed: int) -> list[Task]:
    """The tasks, some of them once more: `BETWEEN` later, or at the end."""
    placed = [(float(i), task) for i, task in enumerate(tasks)]
    for i, task in enumerate(tasks):
        if chance(seed, task.image, task.label, "twice") < TWICE:
            placed.append((i + BETWEEN + 0.5, task._replace(repeat=True)))
    return [task for _, task in sorted(placed)]


def upcoming(tasks: Sequence[Task], lines: Iterable[Line]) -> list[Task]:
    """Which tasks are to be asked, the next one first, given the standing lines about them.

    What was skipped comes again behind all others, and is left for good if it is skipped again.
    Nothing is repeated whose first time was not answered.
    """
    lines = list(lines)
    done = {line.task for line in lines if line.answer != "skip"}
    skipped = Counter(line.task for line in lines if line.answer == "skip")

    def asked(task: Task) -> bool:
        return task not in done and not (task.repeat and task._replace(repeat=False) not in done)

    fresh = [task for task in tasks if task not in skipped and asked(task)]
    return fresh + [task for task, times in skipped.items() if times == 1 and asked(task)]


def set_aside(lines: Iterable[Line]) -> list[Task]:
    """What was skipped and not answered since, in the order in which it was first skipped."""
    lines = list(lines)
    done = {line.task for line in lines if line.answer != "skip"}
    return list(dict.fromkeys(line.task for line in lines if line.task not in done))


def minutes(lines: Iterable[Line]) -> float:
    """The time spent on all lines, the undone ones too; of each `PAUSE` seconds at most."""
    return math.fsum(min(line.seconds, PAUSE) for line in lines) / 60
