"""What cells of tables say: yes and no, names of labels, numbers."""

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

#: what a cell of yes and no may hold; a column keeps to one of these pairs, and blank is no
PAIRS = (("0", "1"), ("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"), (None, "x"))
_MEANING = {word: (pair, i == 1) for pair in PAIRS for i, word in enumerate(pair) if word}
_ZERO_ONE = re.compile(r"([01])([.,]0*)?")
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?\d*\.?\d+([eE][+-]?\d+)?")
SEPARATORS = ";|,"  # of labels in a cell; the first that occurs


def yes_no(cells: Sequence[str]) -> tuple[list[bool | None], float]:
    """What each cell of a column says, None where it is neither; the share of those that are not
    blank and could be (-1, an unknown in some tables, could)."""
    found = [_yes_no(cell) for cell in cells]
    filled = [pair for cell, (pair, _) in zip(cells, found, strict=True) if cell]
    pairs = Counter(pair for pair in filled if pair)
    pair, number = max(pairs.items(), key=lambda of: of[1], default=(None, 0))
    values = [
        False if not cell else yes if own == pair else None
        for cell, (own, yes) in zip(cells, found, strict=True)
    ]
    return values, number / len(filled) if filled else 0.0


def _yes_no(cell: str) -> tuple[tuple | None, bool | None]:
    if cell == "-1":
        return PAIRS[0], None
    number = _ZERO_ONE.fullmatch(cell)
    return _MEANING.get(number[1] if number else cell.casefold(), (None, None))


def separator_of(cells: Iterable[str]) -> str:
    """What separates labels in these cells; "" if nothing does."""
    text = {cell for cell in cells if not cell.startswith("[")}
    return next((one for one in SEPARATORS if any(one in cell for cell in text)), "")


def labels_in(cell: str, separator: str) -> list[str]:
    """The labels that a cell names: a list of JSON or Python, or separated; ValueError if none."""
    if not cell.startswith("["):
        parts = cell.split(separator) if separator else [cell]
        return [part.strip() for part in parts if part.strip()]
    for read in (json.loads, ast.literal_eval):
        try:
            labels = read(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if all(isinstance(label, str | int) for label in labels):
            return [str(label).strip() for label in labels if str(label).strip()]
    raise ValueError(repr(cell))


def typed(cells: Sequence[str]) -> list[int | float | str | None]:
    """The values of a column: numbers where all of its cells are, else text; None where blank."""
    filled = [cell for cell in cells if cell]
    if not filled:
        return [None] * len(cells)
    kind = str
    if all(map(_WHOLE.fullmatch, filled)):
        kind = int
    elif all(_NUMBER.fullmatch(cell) and not re.match(r"[+-]?0\d", cell) for cell in filled):
        kind = float
    return [kind(cell) if cell else None for cell in cells]


def degrees(cell: str, limit: float) -> float:
    """A number with decimal point or comma, NaN where blank; ValueError beyond the limit."""
    cell = cell.replace(",", ".")
    if not cell:
        return math.nan
    if not _NUMBER.fullmatch(cell) or abs(float(cell)) > limit:
        raise ValueError(f"{cell} is no coordinate")
    return float(cell)
