"""What a training says of itself while it runs, and how it is asked to stop."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maclcore.extras import need

need("train", __name__)

from tqdm.auto import tqdm

EVERY = 60.0  # seconds between lines where there is no terminal for a bar


def say(line: str) -> None:
    """One line to stderr, beside any progress bar."""
    tqdm.write(line, file=sys.stderr)


def countdown(seconds: float | None) -> Callable[[], float]:
    """Says at any time how many of `seconds` are left, at least 0; of None, infinitely many."""
    end = math.inf if seconds is None else time.monotonic() + seconds
    return lambda: max(end - time.monotonic(), 0.0)


class Progress:
    """Units done, a second and to go: a bar on a terminal or in a notebook, elsewhere lines.

    `done` of `total` were done before. Says nothing unless `wanted`.
    """

    def __init__(self, label: str, unit: str, done: int, total: int, wanted: bool) -> None:
        self.bar = tqdm(
            desc=label,
            initial=done,
            total=total,
            unit=f" {unit}",
            unit_scale=True,
            smoothing=0,  # by the mean so far
            disable=None if wanted else True,  # None: off where there is no terminal
        )
        self.lines = wanted and self.bar.disable
        self.label, self.unit, self.last = label, unit, ""
        self.before, self.done, self.total, self.start = done, done, total, time.monotonic()
        self.due = self.start + EVERY

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def note(self, text: str) -> None:
        """What is known since the last epoch."""
        self.last = f", {text}"
        self.bar.set_postfix_str(text)

    def advance(self, number: int = 1) -> None:
        self.done += number
        self.bar.update(number)
        now = time.monotonic()
        if self.lines and now >= self.due:
            self.due = now + EVERY
            left = (self.total - self.done) * (now - self.start) / (self.done - self.before)
            done = f"{self.done:,} of {self.total:,} {self.unit}"
            say(f"{self.label}: {done}, {tqdm.format_interval(left)} left{self.last}")


@contextmanager
def tensorboard(folder: Path, done: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What writes the numbers of an epoch's row for TensorBoard, if MACL_TENSORBOARD is set.

    Events go into `folder`; those of epochs after `done`, left by a killed process, do not count.
    ImportError if tensorboard is wanted and not installed.
    """
    if not os.environ.get("MACL_TENSORBOARD"):
        yield lambda row: None
        return
    need("tensorboard", "what MACL_TENSORBOARD or --tensorboard asks for")
    from torch.utils.tensorboard import SummaryWriter

    def write(row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name != "epoch" and isinstance(value, int | float):
                writer.add_scalar(name, value, row["epoch"])
        writer.flush()

    with SummaryWriter(str(folder), purge_step=done + 1) as writer:
        yield write


@contextmanager
def sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, instead of ending the process.

    Only a program's main thread can listen; elsewhere SIGTERM does what it always does.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
