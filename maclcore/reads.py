"""Which stored runs this process has read: what a figure that it draws can have been made of."""

from collections.abc import Iterable

#: ids of runs, in the order in which they were first asked for
RUNS: dict[str, None] = {}


def note(run_ids: Iterable[str]) -> None:
    RUNS.update(dict.fromkeys(run_ids))
