"""A completed table, as it is to be reviewed: each cell, and how likely it is."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from maclcore.annotation.answers import Task
from maclcore.data.reading import ArchiveError, Reading, image_key, message

PROBABILITIES = "labels.probabilities.csv"
UNKNOWN = "row without an image in the folder: remove the row, or add the image"
NUMBERS = "faulty row: a name, then a probability from 0 to 1 for each label of the completed table"


class Completed(NamedTuple):
    """The cells (image, label) of a completed table, and of each its probability."""

    labels: tuple[str, ...]
    cells: dict[tuple[str, str], bool]
    probability: dict[tuple[str, str], float]

    def by_doubt(self) -> list[Task]:
        """The cells, the most doubtful first: by |p - 0.5|, then by image and label."""
        doubt = {cell: abs(p - 0.5) for cell, p in self.probability.items()}
        return [Task(*cell) for cell in sorted(self.cells, key=lambda cell: (doubt[cell], cell))]


def read_completed(file: Path, names: Iterable[str]) -> Completed:
    """A table in the plain layout, and `labels.probabilities.csv` beside it, of the images `names`.

    ArchiveError names all rows that do not fit.
    """
    reading = Reading(file.parent)
    known = {image_key(name): name for name in names}
    reading.read_table(file, unlabelled=True)
    faults, labels = reading.faults, reading.label_names
    faults[UNKNOWN] += [where for key, (where, _) in reading.rows.items() if key not in known]
    cells = {
        (known[key], label): bool(there)
        for key, (_, row) in reading.rows.items()
        if key in known
        for label, there in zip(labels, row, strict=True)
    }
    probability: dict[tuple[str, str], float] = {}
    beside = file.with_name(PROBABILITIES)
    if any(faults.values()):
        raise ArchiveError(message(f"{file} cannot be reviewed", faults))
    try:
        rows = [*csv.reader(beside.read_text(encoding="utf-8-sig").splitlines())]
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{beside} cannot be read, which says how likely {file.name} is: "
                           f"{error}") from error  # fmt: skip
    header = [cell.strip() for cell in (rows or [[]])[0][1:]]
    if sorted(header) != sorted(labels):
        raise ArchiveError(f"{beside}: its labels are {header}, those of {file.name} {[*labels]}")
    for number, (name, *values) in enumerate(filter(None, rows[1:]), 2):
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            numbers = []
        if len(numbers) != len(header) or not all(0 <= p <= 1 for p in numbers):
            faults[NUMBERS].append(f"{name} ({beside.name}, line {number})")
        elif image := known.get(image_key(name)):
            probability |= {(image, x): p for x, p in zip(header, numbers, strict=True)}
    lacking = {image for image, _ in cells.keys() - probability.keys()}
    faults[f"image without a row in {beside.name}: add it"] += sorted(lacking)
    if any(faults.values()):
        raise ArchiveError(message(f"{file} cannot be reviewed", faults))
    return Completed(labels, cells, probability)
