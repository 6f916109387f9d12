"""What all readers share: finding images, reading tables and masks, collecting what is wrong."""

import csv
import os
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maclcore.config import nearest
from maclcore.data import cache, tables

if TYPE_CHECKING:
    from maclcore.data.bands import Product, Stack
    from maclcore.data.scenes import Scene
    from maclcore.data.stretch import Stretch

# spellings of the distributed tables, and Table 3's
SINGULAR = {"buildings": "building", "cars": "car", "tanks": "tank", "trees": "tree"}
# what a cell may hold; spreadsheets and pandas write 1.0
CELLS = {"0": False, "1": True, "0.0": False, "1.0": True}
EXAMPLES = 10  # of each kind of fault that a message shows

PLAIN_TREE = "images/<name>.<ext> and labels.csv"
ABSENT = "path not found: is this the right folder, and completely unpacked?"
COLUMNS = "fault in the columns: first the image's name, then one per label"
ROWS = "faulty row: a name, then 0 or 1 for each label"
NO_LABEL = "row without a label: give it one, or remove the row"
SETS = "faulty line: a name and at least one label, none that the archive lacks"
ONE = "faulty row: a name and one label, none that the archive lacks"
TWICE = "image in two rows: keep one, or give every label a 0/1 column, where it may have several"
DUPLICATE = "duplicate image name, case and suffix aside: rename or remove one"


class ArchiveError(ValueError):
    """Everything that makes an archive unusable, in one message; `said`: how it was understood."""

    def __init__(self, text: str, said: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.said = tuple(said)


class ArchiveWarning(UserWarning):
    """What is odd about an archive that can be used all the same."""


def image_key(name: str) -> str:
    """What makes an image's name unique: neither case, suffix, folder nor Unicode composition."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem, suffix = os.path.splitext(name)
    stem = stem if suffix.lower() in cache.SUFFIXES else name
    return unicodedata.normalize("NFC", stem).casefold()


@dataclass
class Reading:
    """What has been found so far in `folder`, faults included; a reader fills it in.

    What becomes the archive are `images` and `rows`, each under its `image_key`, and `label_names`.
    `faults` and `notes` hold, for each kind, with its remedy, one line an example.
    Of images of many bands, which are `Stack`s, a reader says what their files hold (`products`).
    `places`, under the same keys, where several images show one, and `areas`, where masks tell.
    """

    folder: Path
    progress: bool = False
    asked: str = ""  # of many bands those to take, as in `load_archive`
    title: str = ""  # what a table must say of the archive; default: its folder's name
    footnote: str = ""
    wanted: tuple[str, ...] = ()  # the labels that a table must have, in this order; (): any
    label_names: tuple[str, ...] = ()
    key: Callable[[str], str] = image_key  # what makes a row's name unique
    size: int | None = None  # images of the whole archive; None: not checked
    images: "dict[str, Path | Stack | Scene]" = field(default_factory=dict)
    rows: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)  # where, (L,) bool
    names: dict[str, str] = field(default_factory=dict)  # of images that have not their file's
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)  # what else a table says
    coordinates: dict[str, tuple[float, float]] = field(default_factory=dict)  # east, north
    said: list[str] = field(default_factory=list)  # in a line each, how the folder was understood
    products: "list[Product]" = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    areas: Callable[[], dict[str, np.ndarray]] | None = None  # (L,) pixels of each label
    tiles: dict[str, str] = field(default_factory=dict)  # of each tile's key its image's
    stretch: "Stretch | None" = None  # of images of more than 8 bits
    said: list[str] = field(default_factory=list)  # how the folder was understood
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.title = self.title or self.folder.name

    def is_plain(self, **options: Any) -> bool:
        """Whether there is a labels.csv; ValueError if an option is given that it cannot heed."""
        plain = (self.folder / "labels.csv").exists()
        for name, value in options.items():
            if plain and value is not None:
                raise ValueError(
                    f"{name}={value!r} is for the official tree, but {self.folder} has a "
                    "labels.csv, which is read instead: drop the option or move that file"
                )
        return plain

    def read_plain(self) -> None:
        """The plain layout, which is that of any folder of one's own, too."""
        self.images = self.files(self.folder / "images")
        self.read_table(self.folder / "labels.csv")

    def find(self, name: str) -> Path:
        """`name` in the archive's folder or one level below; if absent, where it should be."""
        expected = self.folder / name
        return (
            expected if expected.exists() else min(self.folder.glob(f"*/{name}"), default=expected)
        )

    def files(self, *folders: Path) -> dict[str, Path]:
        """Images by key, in the folders and in all folders inside them."""
        found: dict[str, Path] = {}
        for folder in folders:
            before = len(found)
            for file in self.walk(folder):
                if file.suffix.lower() not in cache.SUFFIXES:
                    kind = f"file left out, its suffix is none of {' '.join(cache.SUFFIXES)}"
                    self.notes[kind].append(str(file.relative_to(folder)))
                elif (first := found.setdefault(image_key(file.name), file)) is not file:
                    both = (str(f.relative_to(folder.parent)) for f in (first, file))
                    self.faults[DUPLICATE].append(" = ".join(both))
            if len(found) == before and folder.is_dir():
                self.faults["folder without an image: is it unpacked?"].append(str(folder))
        return found

    def walk(self, folder: Path) -> Iterator[Path]:
        """All files in the folder and in all folders inside it, sorted, but hidden ones."""
        walk = os.walk(folder, onerror=self.no_folder)
        files = sorted(Path(at, name) for at, _, names in walk for name in names)
        return (file for file in files if not file.name.startswith("."))

    def no_folder(self, error: OSError) -> None:
        why = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
        self.faults[ABSENT].append(f"{error.filename}{why}")

    def read_table(self, file: Path, unlabelled: bool = False) -> None:
        """Set `label_names` and `rows` from a table of names and 0/1 cells, or `image,label`.

        `unlabelled`: a row without a label is no fault, but an image of which none is known.
        """
        faults = self.faults
        if not file.exists():
            faults[ABSENT].append(str(file))
            return
        try:
            workbook = file.suffix.lower() == ".xlsx"
            lines = _spreadsheet(file) if workbook else _separated(file)
        except (ValueError, csv.Error, OSError) as error:
            faults["table that cannot be read: save it as UTF-8 text"].append(
                f"{file.name}: {error}"
            )
            return
        (_, header), *lines = lines or [(1, [""])]
        own = {_spelling(label): label for label in self.wanted}  # whose names the archive has
        if [label.casefold() for label in header[1:]] == ["label"] and not _is_binary(lines):
            return self._read_list(file.name, lines, own, unlabelled)
        labels = [own.get(_spelling(x), _spelling(x)) if own else x for x in header[1:]]
        wanted = list(self.wanted) or labels
        wrong = [f"no column {label!r}" for label in wanted if label not in labels]
        wrong += [f"unknown column {label!r}" for label in labels if label not in wanted]
        wrong += [f"{labels.count(x)} columns {x!r}" for x in {*labels} if labels.count(x) > 1]
        wrong += ["a column without a name"] * ("" in labels)
        wrong += ["no label"] * (not labels) + ["no row"] * (not lines)
        faults[COLUMNS] += [f"{file.name}: {what}" for what in wrong]
        order = range(len(labels)) if wrong else [labels.index(label) for label in wanted]
        self.label_names = tuple(labels[j] for j in order)
        for number, (name, *cells) in lines:
            where = f"{name} ({file.name}, line {number})"
            values = [CELLS.get(cell) for cell in cells]
            if len(cells) != len(labels):
                wrong = [f"{len(cells)} label cells where the header has {len(labels)}"]
            else:
                pairs = zip(labels, cells, values, strict=True)
                wrong = [f"{label} is {cell!r}" for label, cell, value in pairs if value is None]
                if not any(values) and not wrong and not unlabelled:
                    faults[NO_LABEL].append(f"{where}: no label")
            wrong += ["no name"] * (not name)
            if first := self.rows.get(self.key(name)):
                faults[DUPLICATE].append(f"{where} = {first[0]}")
            faults[ROWS] += [f"{where}: {', '.join(wrong)}"] if wrong else []
            row = [True] * len(labels) if wrong else [values[j] for j in order]
            if name:
                self.rows[self.key(name)] = (where, np.array(row, dtype=bool))

    def _read_list(
        self, file: str, lines: list[tuple[int, list[str]]], own: dict[str, str], unlabelled: bool
    ) -> None:
        """Set `label_names` and `rows` from lines of a name and its one label.

        Without `own` labels, by their spelling, they are all that occur, in alphabetical order.
        """
        found: dict[str, tuple[str, str, bool]] = {}
        for number, cells in lines:
            name, label = (*cells, "")[:2]
            where = f"{name} ({file}, line {number})"
            wrong = ["no name"] * (not name) + ["no label"] * (not label and not unlabelled)
            wrong += [f"{len(cells)} cells where the header has 2"] * (len(cells) > 2)
            if own and label and _spelling(label) not in own:
                wrong.append(f"unknown label {label!r}{nearest(label, self.wanted)}")
            self.faults[ONE] += [f"{where}: {', '.join(wrong)}"] if wrong else []
            label = own.get(_spelling(label), label)
            if first := found.get(self.key(name)):
                self.faults[TWICE].append(f"{where} = {first[0]}: {label}, {first[1]}")
            found[self.key(name)] = where, label
        self.label_names = self.wanted or tuple(
            sorted({label for _, label in found.values()} - {""})
        )
        for key, (where, label) in found.items():
            self.rows[key] = (where, np.array([label == x for x in self.label_names], dtype=bool))

    def read_sets(self, lines: Iterable[tuple[str, str, Iterable[str]]]) -> None:
        """Set `label_names` and `rows` from lines (where it stands, image's name, its labels).

        Without `wanted` labels they are all that occur, in alphabetical order.
        """
        sets: dict[str, tuple[str, set[str]]] = {}
        for place, name, labels in lines:
            where, labels = f"{name} ({place})", set(labels)
            wrong = ["no name"] * (not name) + ["no label"] * (not labels)
            wrong += [f"unknown label {x!r}" for x in sorted(labels - {*(self.wanted or labels)})]
            self.faults[SETS] += [f"{where}: {', '.join(wrong)}"] if wrong else []
            if first := sets.get(image_key(name)):
                self.faults[DUPLICATE].append(f"{where} = {first[0]}")
            if name:
                sets[image_key(name)] = (where, labels)
        found = set().union(*(labels for _, labels in sets.values()))
        self.label_names = self.wanted or tuple(sorted(found))
        for key, (where, labels) in sets.items():
            self.rows[key] = (where, np.array([x in labels for x in self.label_names], dtype=bool))

    def read_masks(
        self, folder: Path, colours: Mapping[str, tuple[int, ...]], min_pixels: int | None = None
    ) -> None:
        """Set `label_names` and `rows`: the labels whose colour `min_pixels` pixels of a mask have.

        `colours`: of each label the one value, or three, of its pixels; a mask has no others.
        """
        least = 1 if min_pixels is None else min_pixels
        if least < 1:
            raise ValueError(f"min_pixels is {least}; a label needs at least 1 pixel")
        self.label_names, values = tuple(colours), np.array([*colours.values()])
        if not (masks := self.files(folder)):
            return
        try:
            counts = self._count(masks, values)
        except cache.Unreadable as error:
            self.faults["mask that cannot be used: convert it, or copy it again"] += error.problems
            counts = np.full((len(masks), len(values)), least)
        areas = dict(zip(masks, counts, strict=True))
        self.areas = lambda: areas
        for (name, file), present in zip(masks.items(), counts >= least, strict=True):
            self.rows[name] = (file.name, present)
        empty = [where for where, present in self.rows.values() if not present.any()]
        self.faults[f"mask without a label of {least} pixels: lower min_pixels"] += empty

    def mask_areas(
        self, folder: Path, colours: Mapping[str, tuple[int, ...]]
    ) -> dict[str, np.ndarray]:
        """By image the pixels (L,) of each label's colour in its mask; ArchiveError for faults."""
        masks = self.files(folder)
        try:
            counts = self._count(masks, np.array([*colours.values()]))
        except cache.Unreadable as error:
            kind = "mask that cannot be used: convert it, or copy it again"
            raise ArchiveError(message(str(folder), {kind: error.problems})) from None
        return dict(zip(masks, counts, strict=True))

    def _count(self, masks: Mapping[str, Path], values: np.ndarray) -> np.ndarray:
        """(N, L): how many pixels of each mask have each of `values` (L, C)."""
        counts, *_ = cache.cached_rows(
            f"{self.folder.name}-masks",
            f"pixels of each of {values.tolist()}",
            partial(_count_pixels, values=values),
            list(masks.values()),
            self.progress,
        )
        return counts


def _is_binary(lines: list[tuple[int, list[str]]]) -> bool:
    """Whether every row's cells, if it has any, are 0 or 1."""
    return all(cell in CELLS for _, (_, *cells) in lines for cell in cells)


def _spelling(cell: str) -> str:
    name = " ".join(cell.lower().replace("-", " ").replace("_", " ").split())
    return SINGULAR.get(name, name)


def _separated(file: Path) -> list[tuple[int, list[str]]]:
    """(line, cells) of the rows that are not blank; separated by what the header has most of."""
    with open(file, encoding="utf-8-sig", newline="") as text:
        delimiter = max(",\t;", key=text.readline().count)
        text.seek(0)
        reader = csv.reader(text, delimiter=delimiter)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    return [(line, cells) for line, cells in rows if any(cells)]


def _spreadsheet(file: Path) -> list[tuple[int, list[str]]]:
    rows, _ = tables.workbook(file)
    width = sum(cell is not None for cell in rows[0])  # formatted empty columns may follow
    table = [["" if c is None else str(c).strip() for c in row[:width]] for row in rows]
    return [(i + 1, cells) for i, cells in enumerate(table) if any(cells)]


def _count_pixels(file: Path, values: np.ndarray) -> np.ndarray:
    """How many pixels of a mask have each of `values` (L, C), as (L,) int32."""
    channels = values.shape[1]
    image = cache.open_image(file)
    if channels == 1 and image.mode not in ("L", "P"):
        what = f"a mask of one 8-bit channel is expected, this one is {image.mode}"
        raise ValueError(f"{file.name}: {what}")
    pixels = np.asarray(image if channels == 1 else image.convert("RGB"))
    base = 256 ** np.arange(channels)  # a colour as one number
    codes, wanted = pixels.reshape(image.height, image.width, channels) @ base, values @ base
    unknown = np.argwhere(~np.isin(codes, wanted))
    if len(unknown):
        row, column = unknown[0]
        raise ValueError(
            f"{file.name}: pixels of no known label: {len(unknown)}, the first in row {row}, "
            f"column {column} "
            f"with {pixels[row, column].tolist()}, which is none of {values.squeeze().tolist()}"
        )
    return np.array([(codes == code).sum() for code in wanted], dtype=np.int32)


def printable(text: str) -> str:
    """Without the control characters of file and label names, which a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def message(title: str, kinds: dict[str, list[str]]) -> str:
    lines = [f"{printable(title)}:"]
    for kind, examples in kinds.items():
        lines += [f"- {len(examples):,} x {kind}"] if examples else []
        lines += [f"    {printable(example)}" for example in examples[:EXAMPLES]]
        if len(examples) > EXAMPLES:
            lines.append(f"    ... and {len(examples) - EXAMPLES:,} more")
    return "\n".join(lines)


def warn(title: str, kinds: dict[str, list[str]]) -> None:
    if any(kinds.values()):
        warnings.warn(message(title, kinds), ArchiveWarning, stacklevel=3)
