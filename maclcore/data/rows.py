"""One's own table, of any form, into what a `Reading` holds: labels, and what else it tells."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maclcore.data import tables
from maclcore.data.cells import SEPARATORS, degrees, labels_in, separator_of, typed, yes_no
from maclcore.data.columns import LATITUDE, LONGITUDE, Meaning, meaning, named
from maclcore.data.layout import TWO_FOLDERS, Images, Several, path_key
from maclcore.data.reading import ABSENT, DUPLICATE, NO_LABEL, ROWS, Reading
from maclcore.data.scenes import location
from maclcore.data.split import parts_of
from maclcore.data.tables import Table

UNREADABLE = "table that cannot be read: save it as UTF-8 text"
RAGGED = (
    "faulty row: a name, and a cell for each other column; in quotes what has a separator in it"
)
NO_LIST = 'cell that begins with [ and is no list of labels, such as ["sea", "pier"]: correct it'
OPEN = "label of several lines: is a quote missing? Then close it"
ALIKE = "labels that differ in case, spaces, - or _ alone: if they are one, spell them as one"
NO_PLACE = "coordinate that is none, from -180 to 180 degrees east and -90 to 90 north: correct it"


def read(
    reading: Reading,
    file: Path,
    images: Images,
    *,
    unlabelled: bool = False,
    label_columns: Sequence[str] = (),
    labels_column: str = "",
) -> None:
    """Set `label_names`, `rows`, `columns` and `coordinates` from a table, as `columns` reads it.

    `unlabelled`: a row without a label is no fault, but an image of which none is known.
    """
    if not file.exists():
        reading.faults[ABSENT].append(str(file))
        return
    try:
        table = tables.read(file)
    except (ValueError, csv.Error, OSError) as error:
        reading.faults[UNREADABLE].append(f"{file.name}: {error}")
        return
    of = meaning(reading, file.name, table, images, label_columns, labels_column)
    if of is None:
        return
    rows = Rows(reading, file.name, table, images, of)
    how = rows.lists(unlabelled) if of.listed is not None else rows.columns(unlabelled)
    names = f"names in column {table.header[of.name]!r}" if table.header[of.name] else "names first"
    what = f"read {len(table.lines):,} rows of {file.name}: {names}, {how}"
    reading.said = [what, *table.said, *reading.said]
    rows.keep()


class Rows:
    """The lines of a table, each of an image."""

    def __init__(
        self, reading: Reading, file: str, table: Table, images: Images, of: Meaning
    ) -> None:
        self.reading, self.file, self.table, self.of = reading, file, table, of
        self.names = table.column(of.name)
        self.found = images.match(self.names)
        self.of_image: dict[str, list[int]] = defaultdict(list)  # which lines, by key

    def __iter__(self) -> Iterator[tuple[int, str, str, bool]]:
        """Of each line its number, its image's key, where it stands, and whether it is whole."""
        faults, width = self.reading.faults, len(self.table.header)
        for i, (_, cells) in enumerate(self.table.lines):
            name, key = self.names[i], self.found[i]
            where = self.where(i)
            if isinstance(key, Several):
                files = [self.reading.images[one] for one in key.keys]
                own = (str(location(file).relative_to(self.reading.folder)) for file in files)
                faults[TWO_FOLDERS].append(f"{where}: {' or '.join(own)}")
                continue
            alone = self.of.listed is None and not self.of.others
            kind, what = (ROWS, "label cells") if alone else (RAGGED, "cells beside the name")
            wrong = [f"{len(cells) - 1} {what} where the header has {width - 1}"]
            wrong = wrong * (len(cells) != width) + ["no name"] * (not name)
            faults[kind] += [f"{where}: {', '.join(wrong)}"] if wrong else []
            key = key if isinstance(key, str) else "/".join(path_key(name))
            if name:
                self.of_image[key].append(i)
                yield i, key, where, not wrong

    def where(self, i: int) -> str:
        return f"{self.names[i]} ({self.file}, {self.table.unit} {self.table.lines[i][0]})"

    def columns(self, unlabelled: bool) -> str:
        """Set what a column a label says; how that was read."""
        reading, labels = self.reading, self.of.labels
        cells = [self.table.column(j) for j in labels]
        values = [yes_no(column)[0] for column in cells]
        reading.label_names = tuple(self.table.header[j] for j in labels)
        for i, key, where, whole in self:
            row = [column[i] if whole else True for column in values]
            wrong = [
                f"{label} is {column[i]!r}"
                for label, column, yes in zip(reading.label_names, cells, row, strict=True)
                if yes is None
            ]
            reading.faults[ROWS] += [f"{where}: {', '.join(wrong)}"] if wrong else []
            if labels and not any(row) and not wrong and not unlabelled:
                reading.faults[NO_LABEL].append(f"{where}: no label")
            if first := reading.rows.get(key):
                reading.faults[DUPLICATE].append(f"{where} = {first[0]}")
            reading.rows[key] = (where, np.array(row, dtype=bool))
        if not labels:
            return "no labels"
        blank = sum(cell == "" for column in cells for cell in column)
        no = f"; {blank:,} blank cells are no" if blank else ""
        return f"{_count(labels)} in a column each{no}"

    def lists(self, unlabelled: bool) -> str:
        """Set what a column that names labels says; how that was read."""
        assert self.of.listed is not None
        reading, cells = self.reading, self.table.column(self.of.listed)
        separator = separator_of(cells) if self.of.several else ""
        sets: dict[str, tuple[str, tuple[str, ...], set[str]]] = {}
        for i, key, where, whole in self:
            labels, path = [], path_key(self.names[i])
            try:
                labels = labels_in(cells[i], separator)
                if whole and not labels and not unlabelled:
                    reading.faults[NO_LABEL].append(f"{where}: no label")
            except ValueError as error:
                reading.faults[NO_LIST].append(f"{where}: {error}")
            first, of, own = sets.setdefault(key, (where, path, set()))
            if of != path:
                reading.faults[DUPLICATE].append(f"{where} = {first}")
            own.update(labels)
        found = reading.label_names = tuple(sorted({x for *_, own in sets.values() for x in own}))
        for key, (where, _, own) in sets.items():
            reading.rows[key] = (where, np.array([x in own for x in found], dtype=bool))
        self._doubts(found, separator)
        column = self.table.header[self.of.listed]
        lists = any(cell.startswith("[") for cell in cells)
        how = "as lists" if lists else f"separated by {separator!r}" if separator else "one a row"
        return f"{_count(found)} in column {column!r}, {how}"

    def _doubts(self, found: Sequence[str], separator: str) -> None:
        """What may make several labels of one, or one of several."""
        alike = defaultdict(list)
        for label in found:
            alike[" ".join(re.split(r"[\s_-]+", label)).casefold()].append(label)
        self.reading.faults[OPEN] += [label for label in found if len(label.splitlines()) > 1]
        self.reading.notes[ALIKE] += [" = ".join(of) for of in alike.values() if len(of) > 1]
        for other in SEPARATORS.replace(separator, "") if separator else "":
            parts = {label: labels_in(label, other) for label in found if other in label}
            kind = f"labels separated by {separator!r}, but these by {other!r}: take one"
            self.reading.faults[kind] += [x for x, of in parts.items() if {*of} <= {*found}]
        if not separator and self.of.listed is not None and not self.of.several:
            joined = [label for label in found if ";" in label or "|" in label]
            column = self.table.header[self.of.listed]
            kind = f"label with ; or |: are these several? Then call the column {column}s, or say "
            self.reading.notes[f"{kind}--labels-column {column}"] += joined

    # --- What else there is ---------------------------------------------------------------------

    def keep(self) -> None:
        """Set `columns`, of each image what its rows say where they agree, and `coordinates`."""
        reading, header = self.reading, self.table.header
        kept, differ = [], []
        for j in self.of.others:
            column = self.table.column(j)
            cells = {key: {column[i] for i in rows} for key, rows in self.of_image.items()}
            if any(len(of) > 1 for of in cells.values()):
                differ.append(j)
                continue
            values = typed([of.pop() for of in cells.values()])
            reading.columns[header[j]] = dict(zip(cells, values, strict=True))
            kept.append(j)
        if differ:
            what = f"columns left out, for the rows of an image differ: {named(header, differ)}"
            reading.said.append(what)
        if kept:
            reading.said.append(f"kept beside the labels: {named(header, kept)}")
        self._coordinates({header[j].casefold(): j for j in reversed(kept)})
        columns = {x: list(of.values()) for x, of in reading.columns.items()}
        if told := parts_of(columns):
            reading.said.append(f"a split of its own: {', '.join(sorted({*told}))}")

    def _coordinates(self, kept: dict[str, int]) -> None:
        east, north = ([kept[x] for x in names if x in kept][:1] for names in (LONGITUDE, LATITUDE))
        if not east or not north:
            return
        pair = (*east, *north)
        called = [self.table.header[j] for j in pair]
        columns = [self.table.column(j) for j in pair]
        bad, places = [], {}
        for key, (i, *_) in self.of_image.items():
            place = []
            for name, column, limit in zip(called, columns, (180, 90), strict=True):
                try:
                    place.append(degrees(column[i], limit))
                except ValueError:
                    bad.append(f"{self.where(i)}: {name} is {column[i]!r}")
            places[key] = (np.nan, np.nan) if np.isnan(place).any() else tuple(place)
        if bad and {name.casefold() for name in called} & {"x", "y"}:
            self.reading.said.append(f"{called[0]!r} and {called[1]!r} are no degrees")
            return
        self.reading.faults[NO_PLACE] += bad
        self.reading.coordinates = {} if bad else places
        self.reading.said.append(f"coordinates: {called[0]!r} east, {called[1]!r} north")


def _count(labels: Sequence) -> str:
    return f"{len(labels):,} label{'s' * (len(labels) != 1)}"
