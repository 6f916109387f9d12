"""One annotator at one folder: what is asked next, and what becomes of an answer."""

import math
import re
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maclcore.annotation import merge
from maclcore.annotation.answers import (
    ANSWERS,
    MODES,
    SHOWN,
    Line,
    Log,
    Task,
    candidates,
    minutes,
    read,
    schedule,
    set_aside,
    shuffled,
    standing,
    upcoming,
)
from maclcore.annotation.completed import Completed, read_completed
from maclcore.annotation.pictures import Pictures, label_names

NAME = re.compile(r"\w[\w.@+-]*( [\w.@+-]+)*")  # of an annotator, and of a file on any system


class Conflict(Exception):
    """An answer to what is not, or is no longer, the question."""


class Session:
    """What `annotator` is asked about the images of `folder`, and answers; used by many threads.

    `mode` is one of `MODES`. `labels`: those to choose from; default: those of `labels.csv`. A
    review is of the table `completed`, by default the folder's `labels.completed.csv`. Everything
    is written into the folder's `annotations/`; until `close` no other session may write there
    under this name. Raises ValueError (LogError, ArchiveError) for what does not fit together.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        annotator: str,
        mode: str = "one",
        labels: Sequence[str] = (),
        completed: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"no mode {mode!r}: it is one of {', '.join(MODES)}")
        if not NAME.fullmatch(annotator):
            raise ValueError(
                f"an annotator's name becomes a file's, which {annotator!r} cannot be: letters and "
                "digits, and . _ - + @ or a space between them (--annotator)"
            )
        if completed is not None and mode != "review":
            raise ValueError(f"completed={str(completed)!r} is for the mode 'review'")
        self.folder = Path(folder).expanduser().absolute()
        self.annotator, self.mode, self.seed = annotator, mode, seed
        self.pictures = Pictures(self.folder)
        self.completed: Completed | None = None
        if mode == "review":
            if labels:
                raise ValueError("the labels of a review are those of its table: leave them out")
            table = self.folder / "labels.completed.csv" if completed is None else Path(completed)
            self.completed = read_completed(table.expanduser(), self.pictures.names)
            self.labels, tasks = self.completed.labels, self.completed.by_doubt()
        else:
            self.labels = _checked(labels or label_names(self.folder))
            tasks = shuffled(self.pictures.names, seed)
        self.tasks = schedule(tasks, seed)
        self._known = {(task.image, task.label) for task in tasks}
        self._repeats = [task for task in self.tasks if task.repeat]
        self.index = {name: i for i, name in enumerate(self.pictures.names)}
        self.store = self.folder / "annotations"
        self.log = Log(self.store / f"{annotator}.jsonl")
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:  # an answer that is being written is kept
            self.log.close()

    def _standing(self) -> list[Line]:
        """What counts in this mode, of what there is an image for."""
        kept = (line for line in standing(self.log.lines) if line.mode == self.mode)
        return [line for line in kept if (line.image, line.label) in self._known]

    # --- Asked and answered ---------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All that the page shows of where this session stands; the task, None at the end."""
        with self._lock:
            return self._state()

    def _state(self) -> dict[str, Any]:
        kept = self._standing()
        todo = upcoming(self.tasks, kept)
        asked = {*todo}
        waiting = [x for x in self._repeats if x._replace(repeat=False) in asked]
        near = [*(line.image for line in kept[-2:]), *(task.image for task in todo[1:2])]
        return {
            "annotator": self.annotator,
            "mode": self.mode,
            "folder": self.folder.name,
            "images": len(self.pictures.names),
            "labels": self.labels,
            "seed": self.seed,
            "turn": len(self.log.lines),
            "done": sum(line.answer != "skip" for line in kept),
            "to_go": len(todo) + len(waiting),
            "can_undo": bool(kept),
            "changed": sum(line.answer == "wrong" and not line.repeat for line in kept),
            "near": [self.index[image] for image in near],
            "cut": self.log.cut,
            "task": self._asked(todo[0]) if todo else None,
        }

    def _asked(self, task: Task) -> dict[str, Any]:
        """A task as it is shown; whether it is a repeat is not said."""
        asked = {"image": self.index[task.image], "name": task.image}
        if self.completed is None:
            return {**asked, "candidates": candidates(self.labels, task, self.seed), "shown": SHOWN}
        cell = task.image, task.label
        said, probability = self.completed.cells[cell], self.completed.probability[cell]
        return {**asked, "label": task.label, "completed": said, "probability": probability}

    def answer(self, given: dict[str, Any]) -> dict[str, Any]:
        """Keep an answer to the question of `state()["turn"]`; the state after it.

        `given`: turn, answer, and of labels those chosen (`labels`), how many batches of candidates
        were shown (`batches`), how long it took (`seconds`). Conflict if another was given
        meanwhile, ValueError for what is no answer, OSError if it could not be kept: then nothing
        has changed.
        """
        with self._lock:
            if given.get("turn") != len(self.log.lines):
                raise Conflict("This was answered in another window: here is what comes next")
            kept = self._standing()
            if given.get("answer") == "undo":
                if not kept:
                    raise Conflict("there is nothing to undo")
                self.log.append(self._line("undo", **kept[-1].task._asdict()))
                return self._state()
            todo = upcoming(self.tasks, kept)
            if not todo:
                raise Conflict("all is answered")
            self.log.append(self._given(todo[0], given))
            return self._state()

    def _given(self, task: Task, given: dict[str, Any]) -> Line:
        answer, chosen = given.get("answer"), given.get("labels", [])
        if answer not in ("skip", *ANSWERS[self.mode]):
            raise ValueError(f"no answer in the mode {self.mode!r}: {answer!r}")
        seconds = given.get("seconds", 0.0)
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ValueError(f"seconds are {seconds!r}")
        more: dict[str, Any] = {"seconds": round(float(seconds), 3)}
        if self.completed is not None:
            more["completed"] = self.completed.cells[task.image, task.label]
        else:
            batches = given.get("batches")
            most = -(-len(self.labels) // SHOWN)
            if type(batches) is not int or not 1 <= batches <= most:
                raise ValueError(f"of {most} batches of candidates {batches!r} cannot be shown")
            shown = candidates(self.labels, task, self.seed)[: batches * SHOWN]
            if not isinstance(chosen, list) or not all(chosen.count(x) == 1 for x in chosen):
                raise ValueError(f"labels are {chosen!r}: a list, each once")
            if unknown := [label for label in chosen if label not in shown]:
                raise ValueError(f"labels that were not shown: {unknown!r}")
            if bool(chosen) != (answer == "labels"):
                raise ValueError(f"the answer {answer!r} with the labels {chosen!r}")
            more |= {"labels": tuple(chosen), "candidates": tuple(shown)}
        return self._line(answer, **task._asdict(), **more)

    def _line(self, answer: str, **more: Any) -> Line:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        return Line(self.annotator, self.mode, self.seed, answer, time=time, **more)

    # --- At the end -----------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """How it went: time, and agreement with oneself and with the others of this folder."""
        with self._lock:
            kept, lines = self._standing(), list(self.log.lines)
        review = self.mode == "review"
        answered = [line for line in kept if line.answer != "skip"]
        spent = minutes(line for line in lines if line.mode == self.mode)
        first = [line for line in answered if not line.repeat]
        again = [line for line in answered if line.repeat]
        others = {name: of for name, of in read(self.store).items() if name != self.annotator}
        mine = merge.last_answers(lines, review)
        return {
            "answered": len(answered),
            "unsure": sum(line.answer == "unsure" for line in first),
            "none": sum(line.answer == "none" for line in first),
            "aside": [" ".join(filter(None, task[:2])) for task in set_aside(kept)],
            "minutes": round(spent, 1),
            "an_hour": round(60 * len(answered) / spent) if spent >= 1 else None,
            "self": self._agreement(first, again),
            "others": {
                name: self._agreement(mine, merge.last_answers(of, review))
                for name, of in others.items()
            },
        }

    def _agreement(self, a: Iterable[Line], b: Iterable[Line]) -> dict[str, Any]:
        *numbers, labels = (found := merge.agreement(a, b, self.labels))
        of_all = zip(found._fields, map(_number, numbers), strict=False)
        return {**dict(of_all), "labels": {x: _number(value) for x, value in labels.items()}}

    def export(self) -> list[dict[str, Any]]:
        """Write the tables of all annotators of this folder; of each its file and its rows."""
        with self._lock:
            logs = {**read(self.store), self.annotator: list(self.log.lines)}
        logs = {
            name: [line for line in standing(lines) if line.image in self.index]
            for name, lines in sorted(logs.items())
        }
        if self.completed is not None:
            tables = merge.reviewed(logs, self.labels, self.completed.cells)
        else:  # others may have had more labels to choose from
            found = (label for lines in logs.values() for line in lines for label in line.labels)
            tables = merge.annotated(logs, [*dict.fromkeys([*self.labels, *found])])
        written = merge.export(self.store, tables)
        return [{"file": str(file), "rows": rows} for file, rows in written.items()]


def _checked(labels: Sequence[str]) -> tuple[str, ...]:
    names = tuple(label.strip() for label in labels)
    wrong = [repr(name) for name in names if not name or not name.isprintable()]
    wrong += [f"{name!r} twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if wrong:
        raise ValueError(f"labels that cannot be: {', '.join(wrong)}")
    return names


def _number(value: Any) -> Any:
    """For JSON, which has no NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value
