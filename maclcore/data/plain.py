"""The table of the plain layout, written of any archive."""

import csv
import io
from pathlib import Path

from maclcore import paths
from maclcore.data.catalogue import Catalogue
from maclcore.data.layout import Images, path_key
from maclcore.data.reading import ArchiveError, message

NAMELESS = "image whose name a row cannot tell: rename it"


def write_labels(catalogue: Catalogue, file: Path) -> None:
    """Write `image` and a column of 0 and 1 for each label, in the archive's order.

    `load_archive` reads the same archive with it. FileExistsError, and nothing is written, where
    there is a file; ArchiveError for an archive without labels, and of all names that cannot be.
    """
    if not catalogue.label_names:
        raise ArchiveError(f"{catalogue.name} has no labels to write")
    if file.exists():
        raise FileExistsError(f"{file} is there already, and is not replaced: give another name")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *catalogue.label_names])
    for name, row in zip(_names(catalogue), catalogue.labels, strict=True):
        writer.writerow([name, *map(int, row)])
    with paths.atomic_path(file) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


def _names(catalogue: Catalogue) -> list[str]:
    """Of each image what a row is to call it: its name, and its suffix where this is needed."""
    suffixes = [getattr(image, "suffix", "") for image in catalogue.images]
    files = [name + suffix for name, suffix in zip(catalogue.names, suffixes, strict=True)]
    keys = [path_key(file) for file in files]
    names = [
        name if path_key(name) == key else file
        for name, file, key in zip(catalogue.names, files, keys, strict=True)
    ]
    found = Images({"/".join(key): key for key in keys}).match(names)
    wrong = [
        ascii(name)
        for name, key, there in zip(names, keys, found, strict=True)
        if there != "/".join(key) or not _is_utf8(name)
    ]
    if wrong:
        raise ArchiveError(message(f"{catalogue.name}: no table is written", {NAMELESS: wrong}))
    return names


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False
