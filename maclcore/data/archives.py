"""Readers: an archive as it lies on disk, checked, as images and multi-hot labels.

A named archive lies in `<root>/<name>`, in its official tree or in the plain layout, which is also
that of any folder of one's own: `images/<name>.<ext>` and `labels.csv`, whose first column is the
image's name and whose others are one 0/1 column per label. Where there is a `labels.csv`, the
plain layout is read. A reader collects all that is wrong instead of stopping at the first fault.
"""

import csv
import difflib
import hashlib
import json
import os
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from maclcore import paths
from maclcore.config import is_path
from maclcore.data import cache, synthetic
from maclcore.data.split import Split, make_split

# WHDLD's labels in the order of Table 3 of the paper, with the colours of its masks
COLOURS = {
    "building": (255, 0, 0),
    "road": (255, 255, 0),
    "pavement": (192, 192, 0),
    "vegetation": (0, 255, 0),
    "bare soil": (128, 128, 128),
    "water": (0, 0, 255),
}
# spellings of the distributed tables, and Table 3's
SINGULAR = {"buildings": "building", "cars": "car", "tanks": "tank", "trees": "tree"}
# what a cell may hold; spreadsheets and pandas write 1.0
CELLS = {"0": False, "1": True, "0.0": False, "1.0": True}
EXAMPLES = 10  # of each kind of fault that a message shows

PLAIN_TREE = "images/<name>.<ext> and labels.csv"
ABSENT = "path not found: is this the right folder, and completely unpacked?"
COLUMNS = "fault in the columns: first the image's name, then one per label"
ROWS = "faulty row: a name, then 0 or 1 for each label, at least one of them 1"
DUPLICATE = "duplicate image name, case and suffix aside: rename or remove one"


class ArchiveError(ValueError):
    """Everything that makes an archive unusable, in one message."""


class ArchiveWarning(UserWarning):
    """What is odd about an archive that can be used all the same."""


@dataclass(frozen=True, eq=False)
class Archive:
    """Images and labels of N scenes, in the order of their names.

    `images` (N, 3, S, S) uint8 is memory-mapped and read-only, `labels` (N, L) bool. `fingerprint`
    changes with any file, name or label. `title` and `footnote` are what a table must say of the
    archive.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    names: tuple[str, ...]
    fingerprint: str
    title: str
    footnote: str = ""
    contents: tuple[str, ...] = ()  #: of each image a hash of its file

    def __len__(self) -> int:
        return len(self.names)

    def split(self, seed: int, stratified: bool = False) -> Split:
        """Train, validation and test indices (`make_split`); warns of labels not trained on."""
        split = make_split(self.labels, seed, stratified=stratified)
        unseen = np.flatnonzero(~self.labels[split.train].any(axis=0))
        _warn(
            f"{self.title}, split {seed}",
            {
                "label without a training image, so it cannot be learned: take another seed or "
                "stratified=True, or drop its column": [self.label_names[j] for j in unseen]
            },
        )
        return split


def load_archive(
    name_or_folder: str | Path,
    *,
    image_size: int = 64,
    root: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Archive:
    """An archive by name, or a folder in the plain layout, decoded to `image_size` pixels.

    A name is one of `ARCHIVES` or of another folder in `root` (default: `MACL_DATA`), or else in
    the working folder; what has a separator, such as ./d, is a path.
    Options: `n`, `seed` (synthetic); `min_pixels` (dlrsd, whdld: how many pixels of a mask make a
    label present, default 1); `labels="corrected"` (ml_aid: the corrected table).

    Raises `ArchiveError` (a ValueError) that names all faults of the archive at once, TypeError
    for an option that the archive does not have. Warns once of files that are left out.
    """
    if image_size < 1:
        raise ValueError(f"image_size is {image_size}; an image has at least 1 pixel")
    name = str(name_or_folder)
    reader = READERS.get(name)
    read = _synthetic if name == "synthetic" else reader.read if reader else _read_plain
    known = read.__kwdefaults__ or {}
    if unknown := sorted(set(options) - set(known)):
        allowed = ", ".join(known) or "none"
        raise TypeError(f"{name!r} has no option {', '.join(unknown)}; it has {allowed}")
    if name == "synthetic":
        return _synthetic(image_size, **options)
    folder = locate(name, root)
    reading = _Reading(folder, reader, progress, reader.title if reader else folder.name)
    read(reading, **options)
    return _finish(reading, image_size)


def describe(archive: Archive, *, seed: int = 0, stratified: bool = False) -> str:
    """The data sheet of an archive: its size, and the images of each label in all and per part."""
    split = archive.split(seed, stratified)
    columns = {"images": archive.labels.sum(axis=0)}
    columns["share"] = [f"{share:.1%}" for share in archive.labels.mean(axis=0)]
    columns |= {part: archive.labels[index].sum(axis=0) for part, index in split._asdict().items()}
    sizes = " / ".join(f"{len(part):,}" for part in split)
    lines = [
        f"{_printable(archive.title)}: {len(archive):,} images at {archive.images.shape[-1]} px, "
        f"{len(archive.label_names)} labels, {archive.labels.sum(axis=1).mean():.2f} per image",
        f"split {seed}{', stratified' * stratified}: {sizes} (train / validation / test)",
        f"fingerprint {archive.fingerprint}\n",
        pd.DataFrame(columns, index=[_printable(name) for name in archive.label_names]).to_string(),
    ]
    return "\n".join(lines + [f"\nNote: {archive.footnote}"] * bool(archive.footnote))


def read_labels(file: str | Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (N, L) bool and their names, of a table in the form of `labels.csv`, without images.

    The first column is the image's name, each other one a label. ArchiveError for all its faults.
    """
    file = Path(file).expanduser()
    reading = _Reading(file.parent, None, False, file.name)
    _read_table(reading, file)
    if any(reading.faults.values()):
        raise ArchiveError(_message(f"{file.name} cannot be used", reading.faults))
    return np.array([row for _, row in reading.rows.values()]), reading.label_names


# --- One reader per archive ---------------------------------------------------------------------


class _Reader(NamedTuple):
    """What is known of a named archive, and how its files are read into a `_Reading`."""

    title: str
    size: int
    label_names: tuple[str, ...]
    tree: str
    read: Callable


@dataclass
class _Reading:
    """What has been found so far, faults included; images and rows are under their `_key`."""

    folder: Path
    reader: _Reader | None
    progress: bool
    title: str
    footnote: str = ""
    label_names: tuple[str, ...] = ()
    images: dict[str, Path] = field(default_factory=dict)
    rows: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)  # where, (L,) bool
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def _synthetic(image_size: int, *, n: int = 2100, seed: int = 0) -> Archive:
    files = sorted(Path(synthetic.__file__).parent.glob("*.py"))
    source = [file.read_text(encoding="utf-8") for file in files]
    # the content is the code that makes it
    key = hashlib.sha256(json.dumps([source, n, image_size, seed]).encode()).hexdigest()
    target = paths.cache_root() / f"synthetic-{image_size}px-{key[:16]}.npy"
    labels_target = target.with_suffix(".labels.npy")

    def write(temporary: Path) -> None:
        images, labels = synthetic.generate(n, image_size, seed)
        cache.cached(labels_target, lambda path: cache.save(path, labels))
        cache.save(temporary, images)

    def write_labels(temporary: Path) -> None:  # only where they alone were deleted
        cache.save(temporary, synthetic.generate(n, image_size, seed)[1])

    images = cache.cached(target, write)
    labels = np.array(cache.cached(labels_target, write_labels))
    names = tuple(f"scene{i:05d}" for i in range(n))
    contents = tuple(f"{key[:8]}-{name}" for name in names)
    return _archive(
        "synthetic", images, labels, synthetic.LABELS, names, contents, key, "Synthetic"
    )


def _read_plain(reading: _Reading) -> None:
    reading.images = _files(reading, reading.folder / "images")
    _read_table(reading, reading.folder / "labels.csv")


def _read_ucm(reading: _Reading) -> None:
    if _is_plain(reading):
        return _read_plain(reading)
    reading.images = _files(reading, _find(reading, "Images"))
    _read_table(reading, _find(reading, "LandUse_Multilabeled.txt"))


def _read_dlrsd(reading: _Reading, *, min_pixels: int | None = None) -> None:
    if _is_plain(reading, min_pixels=min_pixels):
        return _read_plain_dlrsd(reading)
    reading.images = _files(reading, _find(reading, "Images"))
    files = [*reading.folder.glob("[!~.]*"), *reading.folder.glob("*/[!~.]*")]
    sheets = [file for file in files if file.suffix.lower() == ".xlsx"]
    if min_pixels is not None or not sheets:
        values = np.arange(1, len(synthetic.LABELS) + 1)[:, None]
        _read_masks(reading, _find(reading, "Labels"), values, min_pixels)
    else:
        _read_table(reading, sheets[0])
        reading.faults["spreadsheet too many: keep one"] += map(str, sheets[1:])


def _read_plain_dlrsd(reading: _Reading) -> None:
    own, theirs = (f / "images" for f in (reading.folder, reading.folder.parent / "ucm_multilabel"))
    # DLRSD relabels the scenes of UC Merced, so beside them its table alone will do.
    reading.images = _files(reading, theirs if theirs.exists() and not own.exists() else own)
    _read_table(reading, reading.folder / "labels.csv")
    counts = dict(zip(reading.label_names, sum(y for _, y in reading.rows.values()), strict=False))
    if len(reading.rows) == 2100 and (counts.get("tree"), counts.get("water")) == (1009, 203):
        reading.title = "DLRSD*"
        reading.footnote = (
            "15 of the 17 label columns are DLRSD's own; tree and water are UC Merced's (1,009 and "
            "203 images, where Table 3 of the paper has 1,021 and 208), so at least 17 of 35,700 "
            "cells differ from the published DLRSD."
        )


def _read_ml_aid(reading: _Reading, *, labels: str = "original") -> None:
    tables = {"original": "multilabel.csv", "corrected": "multilabel_correct_final.csv"}
    if labels not in tables:
        raise ValueError(f"labels is {labels!r}; ML-AID has {' and '.join(map(repr, tables))}")
    if _is_plain(reading, labels=None if labels == "original" else labels):
        _read_plain(reading)
    else:
        reading.images = _files(reading, _find(reading, "images_tr"), _find(reading, "images_test"))
        _read_table(reading, _find(reading, tables[labels]))
    try:
        side = max(cache.open_image(next(iter(reading.images.values()))).size)
    except (StopIteration, ValueError):
        return  # no images, or a broken one: reported with the other faults
    if side < 600:
        reading.title = f"ML-AID {side} px"
        reading.footnote = f"Images of {side} px, the original's have 600: small objects are lost."


def _read_whdld(reading: _Reading, *, min_pixels: int | None = None) -> None:
    if _is_plain(reading, min_pixels=min_pixels):
        return _read_plain(reading)
    reading.images = _files(reading, _find(reading, "Images"))
    _read_masks(reading, _find(reading, "ImagesPNG"), np.array([*COLOURS.values()]), min_pixels)


_DLRSD_TREE = "DLRSD/Images/<class>/ and DLRSD/Labels/<class>/ or a spreadsheet"
_UCM_TREE = "UCMerced_LandUse/Images/<class>/ and LandUse_Multilabeled.txt"
_ML_AID_TREE = "images_tr/<Class>/, images_test/<Class>/ and multilabel.csv"
READERS = {
    "dlrsd": _Reader("DLRSD", 2100, synthetic.LABELS, _DLRSD_TREE, _read_dlrsd),
    "ucm_multilabel": _Reader("UC Merced", 2100, synthetic.LABELS, _UCM_TREE, _read_ucm),
    "ml_aid": _Reader("ML-AID", 3000, synthetic.LABELS, _ML_AID_TREE, _read_ml_aid),
    "whdld": _Reader("WHDLD", 4940, tuple(COLOURS), "Images/ and ImagesPNG/", _read_whdld),
}
ARCHIVES = ("synthetic", *READERS)


# --- What the readers share ---------------------------------------------------------------------


def locate(name: str, root: str | Path | None = None) -> Path:
    """The folder of an archive, absolute, as `load_archive` finds it; ArchiveError without one."""
    root = paths.data_root() if root is None else Path(os.path.abspath(Path(root).expanduser()))
    here = Path(os.path.abspath(Path(name).expanduser()))
    candidates = (
        [here] if is_path(name) else [root / name] if name in READERS else [root / name, here]
    )
    for folder in candidates:
        if name and folder.is_dir():
            return folder
    if name in READERS:
        raise ArchiveError(
            f"no folder {root / name}: unpack {READERS[name].title} there ({READERS[name].tree}; "
            f"or {PLAIN_TREE}), or name the folder that holds {name}/ by MACL_DATA or --data; "
            f"`python -m maclcore data prepare {name}` fetches and unpacks it"
        )
    near = difflib.get_close_matches(name, ARCHIVES, n=1)
    raise ArchiveError(
        f"no archive {name!r}{f', did you mean {near[0]!r}?' if near else ''}: it is none of "
        f"{', '.join(ARCHIVES)}, and there is no such folder, here or in {root}"
    )


def archive_name(name: str) -> str:
    """What an archive is found by from any folder: its name in the data folder, or its path."""
    folder = None if name == "synthetic" or name in READERS else locate(name)
    inside = folder is None or (not is_path(name) and folder == paths.data_root() / name)
    return name if inside else str(folder)


def _is_plain(reading: _Reading, **options: Any) -> bool:
    """Whether there is a labels.csv; ValueError if an option is given that it cannot heed."""
    plain = (reading.folder / "labels.csv").exists()
    for name, value in options.items():
        if plain and value is not None:
            raise ValueError(
                f"{name}={value!r} is for the official tree, but {reading.folder} has a "
                "labels.csv, which is read instead: drop the option or move that file"
            )
    return plain


def _find(reading: _Reading, name: str) -> Path:
    """`name` in the archive's folder or one level below; if absent, where it should be."""
    expected = reading.folder / name
    return (
        expected if expected.exists() else min(reading.folder.glob(f"*/{name}"), default=expected)
    )


def _key(name: str) -> str:
    """What makes an image's name unique: neither case, suffix, folder nor Unicode composition."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem, suffix = os.path.splitext(name)
    stem = stem if suffix.lower() in cache.SUFFIXES else name
    return unicodedata.normalize("NFC", stem).casefold()


def _files(reading: _Reading, *folders: Path) -> dict[str, Path]:
    """Images by key, in the folders and in all folders inside them."""
    found: dict[str, Path] = {}
    for folder in folders:
        before, walk = len(found), os.walk(folder, onerror=partial(_no_folder, reading))
        for file in sorted(Path(at, name) for at, _, names in walk for name in names):
            if file.name.startswith("."):
                continue
            if file.suffix.lower() not in cache.SUFFIXES:
                kind = f"file left out, its suffix is none of {' '.join(cache.SUFFIXES)}"
                reading.notes[kind].append(str(file.relative_to(folder)))
            elif (first := found.setdefault(_key(file.name), file)) is not file:
                both = (str(f.relative_to(folder.parent)) for f in (first, file))
                reading.faults[DUPLICATE].append(" = ".join(both))
        if len(found) == before and folder.is_dir():
            reading.faults["folder without an image: is it unpacked?"].append(str(folder))
    return found


def _no_folder(reading: _Reading, error: OSError) -> None:
    why = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
    reading.faults[ABSENT].append(f"{error.filename}{why}")


def _read_table(reading: _Reading, file: Path) -> None:
    """Set `label_names` and `rows` from a table of names and 0/1 cells."""
    faults = reading.faults
    if not file.exists():
        faults[ABSENT].append(str(file))
        return
    try:
        workbook = file.suffix.lower() == ".xlsx"
        lines = _spreadsheet(file) if workbook else _separated(file)
    except (ValueError, csv.Error, OSError) as error:
        faults["table that cannot be read: save it as UTF-8 text"].append(f"{file.name}: {error}")
        return
    (_, header), *lines = lines or [(1, [""])]
    labels = [_label(cell) if reading.reader else cell for cell in header[1:]]
    wanted = list(reading.reader.label_names) if reading.reader else labels
    wrong = [f"no column {label!r}" for label in wanted if label not in labels]
    wrong += [f"unknown column {label!r}" for label in labels if label not in wanted]
    wrong += [f"{labels.count(x)} columns {x!r}" for x in {*labels} if labels.count(x) > 1]
    wrong += ["a column without a name"] * ("" in labels)
    wrong += ["no label"] * (not labels) + ["no row"] * (not lines)
    faults[COLUMNS] += [f"{file.name}: {what}" for what in wrong]
    order = range(len(labels)) if wrong else [labels.index(label) for label in wanted]
    reading.label_names = tuple(labels[j] for j in order)
    for number, (name, *cells) in lines:
        where = f"{name} ({file.name}, line {number})"
        values = [CELLS.get(cell) for cell in cells]
        if len(cells) != len(labels):
            wrong = [f"{len(cells)} label cells where the header has {len(labels)}"]
        else:
            pairs = zip(labels, cells, values, strict=True)
            wrong = [f"{label} is {cell!r}" for label, cell, value in pairs if value is None]
            wrong += ["no label"] * (not any(values) and not wrong)
        wrong += ["no name"] * (not name)
        if first := reading.rows.get(_key(name)):
            faults[DUPLICATE].append(f"{where} = {first[0]}")
        faults[ROWS] += [f"{where}: {', '.join(wrong)}"] if wrong else []
        row = [True] * len(labels) if wrong else [values[j] for j in order]
        if name:
            reading.rows[_key(name)] = (where, np.array(row, dtype=bool))


def _label(cell: str) -> str:
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
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise ImportError(f"to read {file}, install openpyxl or save it as labels.csv") from None
    with open(file, "rb") as stream:  # openpyxl would leave it open
        try:
            rows = [*load_workbook(stream, read_only=True, data_only=True).active.values] or [()]
        except Exception as error:  # a broken workbook can make openpyxl raise anything
            raise ValueError(f"not a workbook ({error})") from None
    width = sum(cell is not None for cell in rows[0])  # formatted empty columns may follow
    table = [["" if c is None else str(c).strip() for c in row[:width]] for row in rows]
    return [(i + 1, cells) for i, cells in enumerate(table) if any(cells)]


def _read_masks(
    reading: _Reading, folder: Path, values: np.ndarray, min_pixels: int | None
) -> None:
    """Set `rows`: the labels whose value (L, C) at least `min_pixels` pixels of a mask have."""
    least = 1 if min_pixels is None else min_pixels
    if least < 1:
        raise ValueError(f"min_pixels is {least}; a label needs at least 1 pixel")
    reading.label_names = reading.reader.label_names
    if not (masks := _files(reading, folder)):
        return
    try:
        counts, *_ = cache.cached_rows(
            f"{reading.folder.name}-masks",
            f"pixels of each of {values.tolist()}",
            partial(_count_pixels, values=values),
            list(masks.values()),
            reading.progress,
        )
    except cache.Unreadable as error:
        reading.faults["mask that cannot be used: convert it, or copy it again"] += error.problems
        counts = np.full((len(masks), len(values)), least)
    for (key, file), present in zip(masks.items(), counts >= least, strict=True):
        reading.rows[key] = (file.name, present)
    empty = [where for where, present in reading.rows.values() if not present.any()]
    reading.faults[f"mask without a label of {least} pixels: lower min_pixels"] += empty


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


# --- From a reading to an archive ---------------------------------------------------------------


def _finish(reading: _Reading, image_size: int) -> Archive:
    """Match images and rows, decode, and then raise or warn of all that was found, once."""
    name, reader = reading.folder.name, reading.reader
    images, rows = reading.images, reading.rows
    if images and rows:
        kind = "row without an image: add the image or remove the row"
        reading.faults[kind] += [rows[key][0] for key in rows if key not in images]
        kind = "image left out, no row gives its labels: add the row or remove the image"
        reading.notes[kind] += [images[key].name for key in images if key not in rows]
        images = {key: file for key, file in images.items() if key in rows}
    keys = sorted(images, key=lambda key: images[key].stem)
    try:
        if keys:
            pixels, content, hashes = cache.cached_rows(
                f"{name}-{image_size}px",
                f"{cache.RESIZE_RULE}, S={image_size}",
                partial(cache.decode, size=image_size),
                [images[key] for key in keys],
                reading.progress,
            )
    except cache.Unreadable as error:
        kind = "image that cannot be decoded: convert it, copy it again, or remove it and its row"
        reading.faults[kind] += error.problems
    if any(reading.faults.values()):
        message = _message(f"{name} cannot be used", reading.faults)
        if ABSENT in reading.faults:
            tree = f"{reader.tree}; or {PLAIN_TREE}" if reader else PLAIN_TREE
            message += f"\nExpected in {reading.folder}: {tree}"
        raise ArchiveError(message)
    _warn(name, reading.notes)
    if reader and len(keys) != reader.size:
        part = f"{len(keys):,} of the archive's {reader.size:,} images."
        reading.footnote = f"{part} {reading.footnote}".strip()
    labels = np.array([rows[key][1] for key in keys])
    names = tuple(images[key].stem for key in keys)
    titles = reading.title, reading.footnote
    return _archive(name, pixels, labels, reading.label_names, names, hashes, content, *titles)


def _archive(
    name, images, labels, label_names, names, contents, content, title, footnote=""
) -> Archive:
    digest = hashlib.sha256(json.dumps([content, label_names, names]).encode())
    digest.update(labels.tobytes())
    fingerprint = digest.hexdigest()[:16]
    return Archive(
        name, images, labels, label_names, names, fingerprint, title, footnote, tuple(contents)
    )


def _printable(text: str) -> str:
    """Without the control characters of file and label names, which a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _message(title: str, kinds: dict[str, list[str]]) -> str:
    lines = [f"{_printable(title)}:"]
    for kind, examples in kinds.items():
        lines += [f"- {len(examples):,} x {kind}"] if examples else []
        lines += [f"    {_printable(example)}" for example in examples[:EXAMPLES]]
        if len(examples) > EXAMPLES:
            lines.append(f"    ... and {len(examples) - EXAMPLES:,} more")
    return "\n".join(lines)


def _warn(title: str, kinds: dict[str, list[str]]) -> None:
    if any(kinds.values()):
        warnings.warn(_message(title, kinds), ArchiveWarning, stacklevel=3)
