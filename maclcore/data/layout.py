"""A folder of one's own: its images, wherever they lie in it, their names, and its table.

Images lie in `images/`, or else anywhere in the folder, in folders of any depth; linked folders are
followed, each once. An image's name is its file's, without suffix; where that recurs in several
folders, all names are paths, "beach/000". Which image a row means, `Images.which` tells.
"""

import csv
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from maclcore.data import cache, tables
from maclcore.data.patches import together
from maclcore.data.reading import ABSENT, DUPLICATE, Reading, image_key
from maclcore.data.scenes import Scene, location
from maclcore.data.split import PARTS

TWO_FOLDERS = (
    "duplicate image name in several folders: let the row say which, as beach/000, or rename one"
)
OTHERS = ("__MACOSX", "@eaDir")  # folders that systems add
BESIDE = (*tables.SUFFIXES, ".md", ".toml", ".yaml", ".yml", ".pdf", ".html")
#: tables that this program writes beside those it reads
WRITTEN = ("labels.probabilities.csv",)


class Several(ValueError):
    """A name that is of several images, which have these keys."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__(", ".join(keys))
        self.keys = keys


class Images:
    """The images of a folder by key, and how rows find theirs.

    `paths`: of each key the folders and the name by which a row may call it, `path_key`.
    """

    def __init__(self, paths: Mapping[str, tuple[str, ...]]) -> None:
        self.paths = paths
        self.named = defaultdict(list)
        for key, path in paths.items():
            self.named[path[-1]].append(key)
        self.unique = all(len(keys) == 1 for keys in self.named.values())

    def which(self, name: str) -> str | None:
        """The key of the image that a row names, None of none; Several if they are."""
        path = path_key(name)
        keys = self.named.get(path[-1], [])
        if self.unique:  # then folders do not matter
            return keys[0] if keys else None
        if len(path) == 1 and len(keys) > 1:
            raise Several(keys)
        longer = [key for key in keys if _ends(self.paths[key], path)]
        shorter = [key for key in keys if _ends(path, self.paths[key])]
        if shorter:  # a path from further up, of which an image's own is the end
            return max(shorter, key=lambda key: len(self.paths[key]))
        if len(longer) > 1:
            raise Several(longer)
        return longer[0] if longer else None

    def match(self, names: Sequence[str]) -> list[str | None | Several]:
        """`which` of many rows; of rows that name one image by several folders, those are of none
        that are not its own."""
        found: list[str | None | Several] = []
        for name in names:
            try:
                found.append(self.which(name) if name else None)
            except Several as error:
                found.append(error)
        paths = [path_key(name) for name in names]
        rows = defaultdict(list)
        for i, key in enumerate(found):
            if isinstance(key, str):
                rows[key].append(i)
        for key, members in rows.items():
            own = [i for i in members if _fit(self.paths[key], paths[i])]
            if 0 < len(own) < len(members):
                for i in set(members) - set(own):
                    found[i] = None
        return found


def path_key(name: str) -> tuple[str, ...]:
    """A name's folders and its `image_key`, by the same rules."""
    *folders, last = name.replace("\\", "/").split("/")
    folders = [part for part in map(str.strip, folders) if part not in ("", ".")]
    normal = [unicodedata.normalize("NFC", folder).casefold() for folder in folders]
    return (*normal, image_key(last).strip())


def key_of(names: Sequence[str]) -> Callable[[str], str]:
    """What tells the images of an archive apart: their names without folders, or else with them."""
    short = {image_key(name) for name in names}
    return image_key if len(short) == len(names) else lambda name: "/".join(path_key(name))


def _ends(path: tuple[str, ...], end: tuple[str, ...]) -> bool:
    return path[-len(end) :] == end


def _fit(own: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return _ends(own, path) or _ends(path, own)


# --- Files --------------------------------------------------------------------------------------


def find_images(reading: Reading) -> Images:
    """Set the reading's `images`, and their `names` where they are paths."""
    root = reading.folder / "images"
    loose = not root.is_dir()
    root = reading.folder if loose else root
    found: dict[tuple[str, ...], Path | Scene] = {}
    for file in walk(reading, root):
        own = file.relative_to(root)
        if file.suffix.lower() not in cache.SUFFIXES:
            if not (loose and file.suffix.lower() in BESIDE):
                kind = f"file left out, its suffix is none of {' '.join(cache.SUFFIXES)}"
                reading.notes[kind].append(str(own))
        elif (first := found.setdefault(path_key(own.as_posix()), file)) is not file:
            both = (str(f.relative_to(reading.folder)) for f in (first, file))
            reading.faults[DUPLICATE].append(" = ".join(both))
    if not found and loose:
        reading.faults[ABSENT].append(str(reading.folder / "images"))
    elif not found:
        reading.faults["folder without an image: is it unpacked?"].append(str(root))
    together(reading, found, lambda file: path_key(file.relative_to(root).as_posix()))
    located = {path: location(image) for path, image in found.items()}
    base = common_folder(list(located.values()), root)
    depth = len(base.relative_to(root).parts)
    paths = {path[depth:]: image for path, image in found.items()}
    recurring = [stem for stem, n in Counter(path[-1] for path in paths).items() if n > 1]
    if not recurring:
        reading.images = {path[-1]: image for path, image in paths.items()}
        return Images({path[-1]: path for path in paths})
    reading.images = {"/".join(path): image for path, image in paths.items()}
    for key, image in reading.images.items():
        reading.names[key] = location(image).relative_to(base).with_suffix("").as_posix()
    one = min(reading.names[key] for key, path in zip(reading.images, paths, strict=True)
              if path[-1] == recurring[0])  # fmt: skip
    reading.said.append(
        f"names of images are paths, such as {one!r}, for {len(recurring):,} file names recur in "
        "several folders"
    )
    return Images({"/".join(path): path for path in paths})


def walk(reading: Reading, root: Path) -> Iterator[Path]:
    """All files in the folder and in those inside it, linked ones too, sorted; no hidden ones."""
    files, inside, seen = [], os.path.realpath(root), set()
    for at, folders, names in os.walk(root, followlinks=True, onerror=reading.no_folder):
        files += [Path(at, name) for name in names if not name.startswith(".")]
        into = []
        for name in sorted(folders):
            folder = os.path.join(at, name)
            real = os.path.realpath(folder)
            if name.startswith(".") or name in OTHERS:
                continue
            linked = os.path.islink(folder) and Path(real).is_relative_to(inside)
            if linked or real in seen:
                kind = "folder left out, it is a link to one that is read as well"
                reading.notes[kind].append(os.path.relpath(folder, reading.folder))
                continue
            seen.add(real)
            into.append(name)
        folders[:] = into
    return iter(sorted(files))


def common_folder(files: Sequence[Path], root: Path) -> Path:
    """The innermost folder that holds all of the files."""
    return Path(os.path.commonpath([file.parent for file in files])) if files else root


def class_folders(reading: Reading) -> bool:
    """Set labels from the folders in which images lie, if these tell; whether they do.

    They do if each image lies in one folder, and these in one. Folders for train, validation and
    test above them, or instead of them, are a column `split`.
    """
    files = {key: location(image) for key, image in reading.images.items()}
    base = common_folder(list(files.values()), reading.folder)
    folders = {key: list(file.relative_to(base).parts[:-1]) for key, file in files.items()}
    if all(of and of[0].casefold() in PARTS for of in folders.values()):
        of_image = {key: of.pop(0) for key, of in folders.items()}
        reading.columns["split"] = of_image
        reading.said.append(f"a split of its own, by folders: {_some(of_image.values())}")
    depths = {len(of) for of in folders.values()}
    if depths == {1}:
        labels = sorted({label for (label,) in folders.values()})
        reading.label_names = tuple(labels)
        for key, (label,) in folders.items():
            row = np.array([label == other for other in labels])
            reading.rows[key] = (str(files[key].relative_to(reading.folder)), row)
        reading.said.append(f"{len(labels)} labels, the folders of the images: {_some(labels)}")
        return True
    if max(depths, default=0):
        reading.said.append(
            "folders are not taken for labels, for images lie at several depths, or deeper than one"
        )
    return False


def _some(names: Iterable[str], most: int = 8) -> str:
    names = sorted(set(names))
    return ", ".join(names[:most]) + f" and {len(names) - most:,} more" * (len(names) > most)


# --- The table ----------------------------------------------------------------------------------


def find_table(reading: Reading, images: Images, given: str | Path = "") -> Path | None:
    """The table of a folder: its labels.csv, or else the only one there that names its images.

    Or the one that is `given`, in the folder or the working folder. None if there is none. A fault
    if there are several; a note of tables that name no image.
    """
    own = reading.folder / (given or "labels.csv")
    if given:
        here = Path(given).expanduser().absolute()
        return here if here.is_file() and not own.is_file() else own
    if own.exists():
        return own
    there = [f for f in sorted(reading.folder.iterdir()) if f.suffix.lower() in tables.SUFFIXES]
    there = [f for f in there if f.is_file() and not f.name.startswith((".", "~$"))]
    naming = [f for f in there if f.name not in WRITTEN and _names_some(f, images)]
    if len(naming) > 1:
        kind = "table too many: say which has the labels, as --table FILE, or call it labels.csv"
        reading.faults[kind] += [file.name for file in naming]
        return None
    if naming:
        return naming[0]
    expected = [f for f in there if f.stem.casefold() in ("labels", "annotations")]
    if len(expected) == 1:
        return expected[0]  # whatever is wrong with it is told
    kind = "table left out, it names none of the images"
    reading.notes[kind] += [f.name for f in there if f.suffix.lower() not in (".txt", ".json")]
    return None


def _names_some(file: Path, images: Images) -> bool:
    try:
        table = tables.read(file)
    except (ValueError, OSError, csv.Error):
        return False
    cells = (cell for _, line in table.lines for cell in line if cell)
    return any(found is not None for found in images.match(list(islice(cells, 10_000))))
