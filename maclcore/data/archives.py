"""An archive as it lies on disk, found, checked, and told: images and multi-hot labels.

A named archive lies in `<root>/<name>`, in its official tree (`readers`) or in the plain layout:
`images/<name>.<ext>` and `labels.csv`, whose first column is the image's name and whose others are
one 0/1 column per label. Where there is a `labels.csv`, the plain layout is read. A folder of one's
own may be so, or hold its images in any folders (`layout`), with a table of any form (`columns`) or
none. Of images of many bands red, green and blue are shown (`scenes`); all bands need a
`bands.toml` (`declared`).
"""

import difflib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from maclcore import paths
from maclcore.config import EMBEDDED, is_path
from maclcore.data import bands as stacked
from maclcore.data import cache, rows, synthetic, synthetic_sentinel
from maclcore.data.catalogue import RGB, Catalogue, Matched, refuse
from maclcore.data.declared import read_folder
from maclcore.data.layout import Images
from maclcore.data.readers import READERS, official_test
from maclcore.data.reading import PLAIN_TREE, ArchiveError, Reading, message, warn
from maclcore.data.relabelled import RELABELLED, relabel
from maclcore.data.sentinel import SENTINEL
from maclcore.data.split import Split, make_split, official_split, parts_of, told_split
from maclcore.data.stretch import Stretch

READERS.update(SENTINEL)
#: the names that the package brings; a reader added to `READERS` later is found by its name, too
ARCHIVES = tuple(dict.fromkeys((*EMBEDDED, *READERS, *RELABELLED)))


@dataclass(frozen=True, eq=False)
class Archive:
    """Images and labels of N scenes, in the order of their names.

    `images` (N, C, S, S) uint8 is memory-mapped and read-only, `labels` (N, L) bool. `fingerprint`
    changes with any file, name or label. `title` and `footnote` are what a table must say of the
    archive. A row of labels without any is an image of which none is known.
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
    bands: tuple[str, ...] = RGB  #: what the C channels are
    places: tuple[str, ...] = ()  #: of each image, where some belong together in a split
    grounds: tuple[str, ...] = ()  #: what each shows, where some show the same, in other seasons
    stretch: Stretch | None = None  #: of images of more than 8 bits which values they show
    #: (N, L) how many pixels of a mask each label has, where there are masks; counted when asked
    areas: Callable[[], np.ndarray] | None = None
    parts: tuple[str, ...] = ()  #: of each image train, validation or test, where its table tells
    said: tuple[str, ...] = ()  #: in a line each, how a folder of one's own was understood

    def __len__(self) -> int:
        return len(self.names)

    def split(
        self, seed: int, stratified: bool = False, official: bool = False, share: float = 1.0
    ) -> Split:
        """Train, validation and test indices (`make_split`); warns of labels not trained on.

        `official`: the test part is the archive's own (`readers.official_test`, which may raise),
        or the parts are those that its table tells. `share`: how much of the training part is
        trained on (`Split.sharing`). ArchiveError for an archive without labels.
        """
        split = split_rows(
            self.name, self.names, self.labels, seed,
            stratified=stratified, official=official, places=self.places, parts=self.parts,
            share=share,
        )  # fmt: skip
        unseen = np.flatnonzero(~self.labels[split.train].any(axis=0))
        warn(
            f"{self.title}, split {seed}",
            {
                "label without a training image, so it cannot be learned: take another seed or "
                "stratified=True, or drop its column": [self.label_names[j] for j in unseen]
            },
        )
        return split


def split_rows(
    archive: str,
    names: Sequence[str],
    labels: np.ndarray,
    seed: int,
    *,
    stratified: bool = False,
    official: bool = False,
    places: Sequence[str] = (),
    parts: Sequence[str] = (),
    share: float = 1.0,
) -> Split:
    """`Archive.split` of an archive of which there are names, labels, places and parts alone."""
    if not labels.shape[1]:
        raise ArchiveError(
            f"{archive} has no labels to train on or to measure by: add a table with an image's "
            "name and its labels in each row, sort its images into a folder for each class, or "
            "label them: python -m maclcore annotate FOLDER"
        )
    if official and len(parts):
        split = told_split(parts, labels, seed, stratified=stratified)
    elif official:
        split = official_split(official_test(archive, names), labels, seed, stratified=stratified)
    else:
        split = make_split(labels, seed, stratified=stratified, places=places)
    return split.judged(labels).sharing(share)


def load_archive(
    name_or_folder: str | Path,
    *,
    image_size: int = 64,
    root: str | Path | None = None,
    progress: bool = True,
    bands: str = "",
    **options: Any,
) -> Archive:
    """An archive by name, or a folder of one's own, decoded to `image_size` pixels.

    A name is one of `ARCHIVES` or of another folder in `root` (default: `MACL_DATA`), or else in
    the working folder; what has a separator, such as ./d, is a path.
    `bands`: of images of many bands those to take, in this order: names with commas ("B4,B3,B2"), a
    sensor's ("s2", "s1"), or a product's ("s2_l1c": its 13, filled as declared); "": all there are.
    Options are those of its reader: `n`, `seed` (of the two that are drawn); `min_pixels` (dlrsd,
    whdld: how many pixels of a mask make a label present, default 1); `labels="corrected"`
    (ml_aid: that table) or `"43"` (bigearthnet); `level`, `offset` (ssl4eo_s12:
    `maclcore.data.sentinel`); of a folder of one's own those of `declared.read_folder`:
    `unlabelled`, `table`, `label_columns` and `labels_column` (images without a label, and what of
    which table are labels), `tile` and `stretch` (tiles of so many pixels, and what is black and
    white in images of more than 8 bits).

    Raises `ArchiveError` (a ValueError) that names all faults of the archive at once, TypeError
    for an option that the archive does not have, ValueError for bands that it does not have. Warns
    once of files that are left out.
    """
    if image_size < 1:
        raise ValueError(f"image_size is {image_size}; an image has at least 1 pixel")
    name = str(name_or_folder)
    if of := RELABELLED.get(name):
        shown = {"image_size": image_size, "root": root, "progress": progress, "bands": bands}
        return relabel(name, load_archive(of.of, **shown, **options))
    if draw := _allowed(name, options):
        return draw(image_size, bands, **options)
    return _finish(_matched(name, root, progress, bands, options), image_size)


def read_archive(
    name_or_folder: str | Path,
    *,
    root: str | Path | None = None,
    progress: bool = True,
    bands: str = "",
    **options: Any,
) -> Catalogue:
    """What `load_archive` finds, matched and checked but not decoded; arguments as there."""
    name = str(name_or_folder)
    if of := RELABELLED.get(name):
        shown = {"root": root, "progress": progress, "bands": bands}
        return relabel(name, read_archive(of.of, **shown, **options))
    if draw := _allowed(name, options):
        drawn = lru_cache(1)(partial(draw, bands=bands, **options))
        of = drawn(64)
        whole = (name, of.title, None, of.names, of.names, of.labels, of.label_names)
        return Catalogue(*whole, places=of.places, areas=of.areas, drawn=drawn)
    return _matched(name, root, progress, bands, options).catalogue()


def _allowed(name: str, options: dict[str, Any]) -> Callable[..., Archive] | None:
    """What draws an archive of that name, if it is drawn; TypeError for an option it has not."""
    draw = {"synthetic": _synthetic, "synthetic_sentinel": _synthetic_sentinel}.get(name)
    known = (draw or _read(name)).__kwdefaults__ or {}
    if unknown := sorted(set(options) - set(known)):
        allowed = ", ".join(known) or "none"
        raise TypeError(f"{name!r} has no option {', '.join(unknown)}; it has {allowed}")
    return draw


def _read(name: str) -> Callable[..., None]:
    return READERS[name].read if name in READERS else read_folder


def _matched(
    name: str, root: str | Path | None, progress: bool, bands: str, options: dict[str, Any]
) -> Matched:
    reader = READERS.get(name)
    reading = Reading(locate(name, root), progress=progress, asked=bands)
    if reader:
        reading.title, reading.wanted, reading.size = reader.title, reader.label_names, reader.size
    _read(name)(reading, **options)
    return Matched(reading, reader.tree if reader else "")


def at_hand(*names: str) -> str:
    """The first of these archives whose images can be read here; those that are drawn always can.

    ArchiveError, which says what each lacks, if there is none.
    """
    lacks = []
    for name in names:
        try:
            if name not in EMBEDDED:
                read_archive(name, progress=False)
            return name
        except ArchiveError as error:
            lacks.append(f"{name}: {error}")
    raise ArchiveError("none of these archives is at hand:\n" + "\n".join(lacks))


def read_labels(file: str | Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (N, L) bool and their names, of a table in any form (`columns`), without images.

    Its first column, but one that counts, is the image's name. ArchiveError for all its faults.
    """
    file = Path(file).expanduser()
    reading = Reading(file.parent)
    rows.read(reading, file, Images({}))
    if any(reading.faults.values()):
        raise ArchiveError(message(f"{file.name} cannot be used", reading.faults))
    return np.array([row for _, row in reading.rows.values()]), reading.label_names


# --- By name or path ----------------------------------------------------------------------------


def locate(name: str, root: str | Path | None = None) -> Path:
    """The folder of an archive, absolute, as `load_archive` finds it; ArchiveError without one."""
    name = RELABELLED[name].of if name in RELABELLED else name
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
    known = tuple(dict.fromkeys((*EMBEDDED, *READERS, *RELABELLED)))
    near = difflib.get_close_matches(name, known, n=1)
    raise ArchiveError(
        f"no archive {name!r}{f', did you mean {near[0]!r}?' if near else ''}: it is none of "
        f"{', '.join(known)}, and there is no such folder, here or in {root}"
    )


def is_named(name: str) -> bool:
    """Whether a name is an archive's, and so no folder's of one's own."""
    return name in (*EMBEDDED, *READERS, *RELABELLED)


def archive_name(name: str) -> str:
    """What an archive is found by from any folder: its name in the data folder, or its path."""
    folder = None if is_named(name) else locate(name)
    inside = folder is None or (not is_path(name) and folder == paths.data_root() / name)
    return name if inside else str(folder)


# --- Into memory --------------------------------------------------------------------------------


def _synthetic(image_size: int, bands: str, *, n: int = 2100, seed: int = 0) -> Archive:
    refuse(bands, "synthetic")
    draw = partial(synthetic.generate, n, image_size, seed)
    images, labels, key = _drawn("synthetic", [synthetic], [n, image_size, seed], draw)
    names = tuple(f"scene{i:05d}" for i in range(n))
    contents = tuple(f"{key[:8]}-{name}" for name in names)
    return _archive(
        *("synthetic", images, labels, synthetic.LABELS, names, contents, key, "Synthetic"),
        areas=partial(_drawn_areas, key, n, lambda i: synthetic.render.build(seed, i)[3]),
    )


def _synthetic_sentinel(image_size: int, bands: str, *, n: int = 600, seed: int = 0) -> Archive:
    products = stacked.PRODUCTS["s2_l1c"], stacked.PRODUCTS["s1"]
    taken = stacked.taken(bands, products, set(synthetic_sentinel.BANDS))
    chosen = tuple(band.name for band in taken)
    draw = partial(synthetic_sentinel.generate, n, image_size, seed, chosen)
    rule = [n, image_size, seed, taken, stacked.RULE]
    packages = [synthetic, synthetic_sentinel]
    images, labels, key = _drawn("synthetic_sentinel", packages, rule, draw)
    names, places = synthetic_sentinel.names(n)
    contents = tuple(f"{key[:8]}-{name}" for name in names)
    return _archive(
        *("synthetic_sentinel", images, labels, synthetic_sentinel.LABELS, names, contents, key),
        "Synthetic Sentinel",
        bands=chosen,
        places=places,
        grounds=places,
        areas=partial(_drawn_areas, key, n, lambda i: _cover(seed, i)),
    )


def _cover(seed: int, index: int) -> np.ndarray:
    """(9,) cells of each label in an image of `synthetic_sentinel`."""
    render = synthetic_sentinel.render
    _, _, cells, surfaces, _ = render.lay(seed, index)
    classes = render.CLASS[surfaces][cells].ravel()
    return np.bincount(classes, minlength=len(synthetic_sentinel.LABELS) + 1)[:-1]


def _drawn_areas(key: str, n: int, area: Callable[[int], np.ndarray]) -> np.ndarray:
    """(n, L) of the images that `key` stands for, from the cache."""

    def write(temporary: Path) -> None:
        cache.save(temporary, np.array([area(i) for i in range(n)]))

    return np.array(cache.cached(paths.cache_root() / f"areas-{key[:16]}.npy", write))


def _drawn(
    name: str, packages: list[ModuleType], rule: list, draw: Callable[[], tuple]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Images and labels that `draw` makes, from the cache, and what they are known by: `rule`,
    whose second is the images' size, and the content of the packages that draw them."""
    folders = [Path(str(package.__file__)).parent for package in packages]
    code = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    source = [file.read_text(encoding="utf-8") for file in code]  # the content is what makes it
    key = hashlib.sha256(json.dumps([source, *rule]).encode()).hexdigest()
    target = paths.cache_root() / f"{name}-{rule[1]}px-{key[:16]}.npy"
    labels_target = target.with_suffix(".labels.npy")

    def write(temporary: Path) -> None:
        images, labels = draw()
        cache.cached(labels_target, lambda path: cache.save(path, labels))
        cache.save(temporary, images)

    def write_labels(temporary: Path) -> None:  # only where they alone were deleted
        cache.save(temporary, draw()[1])

    images = cache.cached(target, write)
    return images, np.array(cache.cached(labels_target, write_labels)), key


def _finish(matched: Matched, image_size: int) -> Archive:
    """Decode, and then raise or warn of all that was found, once."""
    decoded = matched.decoded(image_size)
    of = matched.catalogue()
    assert decoded is not None  # else it is among the faults
    pixels, content, hashes = decoded
    whole = (of.name, pixels, of.labels, of.label_names, of.names, hashes, content, of.title)
    # tiles of a scene lie at one place, and show each a ground of its own
    windows = [getattr(image, "window", None) or "" for image in of.images]
    return _archive(
        *(*whole, of.footnote),
        bands=of.channels,
        places=of.places,
        grounds=tuple(f"{p} {w}" for p, w in zip(of.places, windows, strict=bool(of.places))),
        areas=of.areas,
        stretch=of.stretch,
        parts=parts_of(of.columns),
        said=of.said,
    )


def _archive(
    name,
    images,
    labels,
    label_names,
    names,
    contents,
    content,
    title,
    footnote="",
    bands=RGB,
    places=(),
    grounds=(),
    areas=None,
    stretch=None,
    parts=(),
    said=(),
) -> Archive:
    digest = hashlib.sha256(json.dumps([content, label_names, names]).encode())
    digest.update(labels.tobytes())
    digest.update(json.dumps(places).encode() if places else b"")
    fingerprint = digest.hexdigest()[:16]
    of = fingerprint, title, footnote, tuple(contents), bands, places
    of += (grounds if len(set(grounds)) < len(grounds) else (), stretch, areas, parts, said)
    return Archive(name, images, labels, label_names, names, *of)
