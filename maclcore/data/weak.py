"""Which labels training sees: all that an image has, or those that a weaker table names.

Where images have several labels and the table names one of them, each known label is right and
each other one is not known: single-positive multi-label learning. What is observed is o (N, L):
one 1 a row under `random` and `dominant`, at least one in a table.

random     one of the image's labels, each with equal chance, from (seed, image's name) alone (Cole
           et al., CVPR 2021, draw it once, too, and keep it for the whole training)
dominant   the one that covers most of the image, by its mask (AdaGC, arXiv:2510.08269); the first
           of equal ones
a table    `image,label`, one row an image; or the form of `labels.csv`, which may name several
"""

from collections import defaultdict
from pathlib import Path
from zlib import crc32

import numpy as np

from maclcore.config import EMBEDDED, LABELS, is_path
from maclcore.data.archives import Archive, locate
from maclcore.data.layout import key_of
from maclcore.data.reading import TWICE, ArchiveError, Reading, message, warn
from maclcore.data.split import Split

MISSING = "image without a known label that is to be {}: {}"
TRAINED = MISSING.format("trained on", "add its row")
VALIDATED = MISSING.format(
    "validated on", "add its row, or let validation_labels be complete, the archive's"
)


def known_labels(
    archive: Archive,
    split: Split,
    labels: str,
    *,
    seed: int = 0,
    validation: str = "weak",
) -> np.ndarray:
    """(N, L) bool: what training and validation may see of the images' labels.

    `labels`: complete | random | dominant | a CSV file. Rows of the training split have it, and of
    the validation split unless `validation` is "complete"; all others are the archive's.
    ArchiveError for all faults of a table at once, for a training image without a label, and for
    `dominant` without masks. Warns of labels that no training image shows, and of how many of a
    table's the archive does not give that image.
    """
    if labels == "complete":
        return archive.labels
    parts = split[:2] if validation == "weak" else split[:1]
    rows = np.sort(np.concatenate(parts))
    known, notes = archive.labels.copy(), defaultdict(list)
    if labels in LABELS:
        names = [archive.names[i] for i in rows]
        y = archive.labels[rows]
        if labels == "random":
            known[rows] = random_labels(y, names, seed)
        else:
            known[rows] = dominant_labels(y, names, _areas(archive)[rows])
    else:
        known[rows] = _table(archive, split, Path(labels), validation == "weak")[rows]
        more = np.argwhere(known & ~archive.labels)
        kind = "known label that the archive does not give that image; it is taken as known"
        notes[kind] += [f"{archive.names[i]}: {archive.label_names[j]}" for i, j in more]
    never = archive.labels[split.train].any(axis=0) & ~known[split.train].any(axis=0)
    kind = "label that is no training image's known one, so it cannot be learned"
    notes[kind] += [archive.label_names[j] for j in np.flatnonzero(never)]
    warn(f"{archive.title}, labels {Path(labels).name}", notes)
    return known


def random_labels(y: np.ndarray, names: list[str], seed: int) -> np.ndarray:
    """One of each row's labels, (N, L) -> (N, L) bool, from (seed, name) alone.

    ArchiveError, naming it, for an image without a label.
    """
    _check_labelled(y, names, "random")
    observed = np.zeros_like(y)
    for row, labels, name in zip(observed, y, names, strict=True):
        true = np.flatnonzero(labels)
        k = np.random.default_rng([seed, crc32(name.encode())]).integers(len(true))
        row[true[k]] = True
    return observed


def dominant_labels(y: np.ndarray, names: list[str], areas: np.ndarray) -> np.ndarray:
    """Of each row's labels the one with the largest area, (N, L), (N, L) -> (N, L) bool.

    Of equal ones the first; what is not among an image's labels does not count. ArchiveError,
    naming it, for an image without a label.
    """
    _check_labelled(y, names, "dominant")
    largest = np.where(y, areas, -1).argmax(axis=1)
    return np.arange(y.shape[1]) == largest[:, None]


def _check_labelled(y: np.ndarray, names: list[str], rule: str) -> None:
    none = [name for name, labels in zip(names, y, strict=True) if not labels.any()]
    if none:
        kind = "image without a label: give it one in labels.csv, or name known labels in a table"
        raise ArchiveError(message(f"labels {rule!r} choose one of an image's", {kind: none}))


def _areas(archive: Archive) -> np.ndarray:
    if archive.areas is None:
        raise ArchiveError(
            f"{archive.title} has no masks, so which label covers most of an image is not known: "
            "labels 'dominant' are for the official DLRSD and WHDLD, for folders with a [map] in "
            "bands.toml, and for the archives that are drawn; take 'random', or a table"
        )
    return archive.areas()


# --- A table of known labels --------------------------------------------------------------------


def table_file(labels: str, archive: str) -> str:
    """The table that `labels` names: a path, or a name in the archive's folder or the working
    folder, in this order; what finds it from any folder. FileNotFoundError if there is none."""
    here = Path(labels).expanduser().absolute()
    inside = None if archive in EMBEDDED or is_path(labels) else locate(archive) / labels
    for file in (inside, here):
        if file is not None and file.is_file():
            return str(file)
    places = " and ".join(str(file) for file in (inside, here) if file is not None)
    raise FileNotFoundError(f"no table of labels {places}")


def check_single(file: Path) -> None:
    """ArchiveError for a table `image,label` that has an image in two rows: which is known?"""
    reading = Reading(file.parent)
    reading.read_table(file, unlabelled=True)
    if twice := reading.faults[TWICE]:
        raise ArchiveError(message(f"{file} cannot be used", {TWICE: twice}))


def _table(archive: Archive, split: Split, file: Path, validated: bool) -> np.ndarray:
    """(N, L) bool: what a table names of the archive's images, all of its faults told at once."""
    own = key_of(archive.names)
    reading = Reading(file.parent, wanted=archive.label_names, key=own)
    reading.read_table(file, unlabelled=True)
    rows, faults = reading.rows, reading.faults
    keys = [own(name) for name in archive.names]
    known_keys = {"", *keys}  # a row without a name is told as such
    kind = "row of no image of the archive: correct its name, or remove it"
    faults[kind] += [where for key, (where, _) in rows.items() if key not in known_keys]
    labelled = np.array([key in rows and rows[key][1].any() for key in keys])
    for kind, part in [(TRAINED, split.train), (VALIDATED, split.validation)][: 1 + validated]:
        faults[kind] += [archive.names[i] for i in np.sort(part) if not labelled[i]]
    if any(faults.values()):
        raise ArchiveError(message(f"{file} cannot be used", faults))
    known = np.zeros(archive.labels.shape, dtype=bool)
    known[labelled] = [rows[key][1] for key, has in zip(keys, labelled, strict=True) if has]
    return known
