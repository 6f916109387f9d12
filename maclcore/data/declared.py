"""A folder of one's own whose images have many bands: what its `bands.toml` may say.

The least is the name of a product, whose bands, order, μ and σ are then known: `[s2_l2a]`, with
`images/<name>.tif` (stacked) or `images/<name>/<name>_<band>.tif`, and `labels.csv` or another
table, where a row of zeros is an image of which no label is known. More:

    tile = 32                    # cut each image into squares of so many pixels of its finest band
    place = '^(\\d+)_'            # what of an image's name says which place it shows

    [s2_l1c]                     # or s2_l2a, s1, or a name of your own
    images = "S2L1C"             # its folder; default: images
    bands = ["B2", "B3", "B4"]   # of stacked files, in their order; default: all of the product's
    offset = {scene_7 = -1000}   # by image, or one number: -1000 undoes processing baseline 04.00
    fill = {B10 = 0}             # what a band is to hold where it lacks
    scale = 10000                # what values are multiplied by first, for reflectances

    [s1]
    images = "S1"
    units = "power"              # or amplitude; default: decibels

    [planet]                     # what has no known μ and σ states its own
    bands = ["blue", "green", "red", "nir"]
    mean = [900, 1100, 1000, 2800]
    std = [300, 350, 450, 900]

    [map]                        # labels from land cover instead of labels.csv
    folder = "maps"              # <name>.tif for each image
    classes = {1 = "water", 2 = "trees"}
    threshold = 0.01             # share of pixels from which on a class is a label; default: any
    ignore = [0, 8]              # no data and clouds; default: 0

Tiles are named `<image>_<row>_<column>`, and those of one image are one place.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from maclcore.data import cache, rows
from maclcore.data.bands import (
    PRODUCTS,
    UNITS,
    Product,
    Source,
    Stack,
    Window,
    contents,
    grid,
    read,
    spelled,
)
from maclcore.data.layout import Images, class_folders, find_images, find_table
from maclcore.data.maps import class_pixels, present
from maclcore.data.own import prepared, spread
from maclcore.data.reading import ABSENT, Reading, image_key
from maclcore.data.stacks import Found, find_bands, first_order

FAULT = "fault in bands.toml (maclcore.data.declared says what it may hold)"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    """A whole number, or one as TOML has it for a key."""
    return (type(value) is int) or (isinstance(value, str) and value.lstrip("-").isdigit())


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _pattern(value: Any) -> bool:
    try:
        return _text(value) and bool(re.compile(value))
    except re.error:
        return False


def _list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(of, value))


def _table(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(of, value.values()))


#: what may stand where, and what it must be
TOP = {"tile": lambda value: type(value) is int and value > 0, "place": _pattern}
PRODUCT = {
    "images": _text,
    "bands": _list(_text),
    "mean": _list(_number),
    "std": lambda value: _list(_number)(value) and all(number > 0 for number in value),
    "offset": lambda value: _number(value) or _table(_number)(value),
    "fill": _table(_number),
    "scale": _number,
    "units": lambda value: value in UNITS,
}
MAP = {
    "folder": _text,
    "classes": lambda value: bool(value) and _table(_text)(value) and all(map(_whole, value)),
    "threshold": lambda value: _number(value) and 0 <= value < 1,
    "ignore": _list(_whole),
}


def read_folder(
    reading: Reading,
    *,
    unlabelled: bool = False,
    missing: bool = False,
    table: str | Path = "",
    label_columns: Sequence[str] = (),
    labels_column: str = "",
    tile: int = 0,
    stretch: Any = None,
) -> None:
    """A folder of one's own: as its `bands.toml` declares, or its images and a table, if any.

    Where the images lie and which table is theirs, `layout` tells, and what that says, `columns`;
    without labels in a table, the folders of the images are them, if they can be.
    `unlabelled`: an image without a row, or without a label, is one of which no label is known.
    `missing`: a row whose image is not there is left out, and told; a fault where most are so.
    `table`: one of one's own, in the folder or the working folder. `label_columns`: of a table the
    columns of 0 and 1 that are labels; `labels_column`: the one that names them.
    `tile`: cut images larger than that into squares of so many pixels. `stretch`: of images of more
    than 8 bits the values that become black and white, as `Stretch.of` takes them; default: found
    in their pixels. A bands.toml says both itself.
    """
    read = partial(
        rows.read, unlabelled=unlabelled, label_columns=label_columns, labels_column=labels_column
    )
    if (file := reading.folder / "bands.toml").is_file():
        if tile or stretch is not None:
            raise ValueError("tile and stretch are of a folder without bands.toml, which says them")
        _read_bands(reading, file, table, read)
    else:
        images = prepared(reading, find_images(reading), tile, stretch)
        if found := find_table(reading, images, table):
            read(reading, found, images)
        elif not reading.images:
            reading.faults[ABSENT].append(str(reading.folder / "labels.csv"))
        spread(reading)
        if not reading.label_names and not any(reading.faults.values()):
            class_folders(reading)
    if unlabelled or not reading.label_names:
        none = np.zeros(len(reading.label_names), dtype=bool)
        for key, image in reading.images.items():
            reading.rows.setdefault(key, (str(image), none))
    gone = [key for key in reading.rows if key not in reading.images]
    if missing and 2 * len(gone) <= len(reading.rows):
        kind = "row left out, its image is not there"
        reading.notes[kind] += [reading.rows.pop(key)[0] for key in gone]


def _read_bands(reading: Reading, file: Path, table: str | Path, read: Callable) -> None:
    try:
        declared = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        reading.faults[FAULT].append(str(error))
        return
    reading.faults[FAULT] += faults(declared)
    if not reading.faults[FAULT]:
        _read(reading, declared, table, read)


def faults(declared: dict[str, Any]) -> list[str]:
    """All that is wrong with what a `bands.toml` says; [] if nothing is."""
    tables = {name: of for name, of in declared.items() if isinstance(of, dict)}
    top = {name: value for name, value in declared.items() if name not in tables}
    wrong = list(_unfit("", top, TOP))
    if "map" in tables:
        of = tables.pop("map")
        wrong += _unfit("[map] ", of, MAP)
        wrong += [f"[map] states no {key}" for key in ("folder", "classes") if key not in of]
    wrong += [] if tables else ["no product, such as [s2_l2a]"]
    owner: dict[str, str] = {}
    for name, of in tables.items():
        unfit = list(_unfit(f"[{name}] ", of, PRODUCT))
        wrong += unfit or _incomplete(name, of)
        if not unfit:
            bands = _product(name, of).bands
            wrong += [f"{b} is in [{owner[b]}] and in [{name}]" for b in bands if b in owner]
            owner |= dict.fromkeys(bands, name)
    return wrong


def _unfit(where: str, found: dict[str, Any], known: dict[str, Callable]) -> Iterator[str]:
    for key, value in found.items():
        if key not in known:
            yield f"{where}{key} is not known; there may be {', '.join(known)}"
        elif not known[key](value):
            yield f"{where}{key} cannot be {value!r}"


def _incomplete(name: str, of: dict[str, Any]) -> list[str]:
    """What a product lacks, or has too much, where each of its values is sound."""
    product, wrong = _product(name, of), []
    if name not in PRODUCTS:
        missing = [key for key in ("bands", "mean", "std") if key not in of]
        known = f"[{name}] is none of {', '.join(PRODUCTS)}, so it must state its"
        wrong += [f"{known} {', '.join(missing)}"] if missing else []
    if ("mean" in of) != ("std" in of):
        wrong.append(f"[{name}] mean and std go together")
    for key in ("mean", "std"):
        if key in of and len(of[key]) != len(product.bands):
            wrong.append(f"[{name}] {len(of[key])} numbers of {key}, {len(product.bands)} bands")
    named = [*product.bands, *product.fill]
    unknown = [band for band in dict.fromkeys(named) if band not in product.statistics]
    wrong += [f"[{name}] no mean and std of {band}" for band in unknown if "mean" not in of]
    wrong += [f"[{name}] fills {b}, which is none of its bands" for b in unknown if "mean" in of]
    twice = {band for band in product.bands if product.bands.count(band) > 1}
    return wrong + [f"[{name}] has {band} twice" for band in sorted(twice)]


def _read(
    reading: Reading, declared: dict[str, Any], table: str | Path, read: Callable[..., None]
) -> None:
    images: Found = {}
    for name, of in declared.items():
        if not isinstance(of, dict) or name == "map":
            continue
        folder = reading.folder / of.get("images", "images")
        product = _product(name, of, first_order(reading, folder))
        reading.products.append(product)
        offset = of.get("offset", 0.0)
        by_image = {image_key(image): image for image in offset} if _table(_number)(offset) else {}
        offset = {key: offset[image] for key, image in by_image.items()} if by_image else offset
        found = find_bands(reading, product, folder, offset)
        for key, (image, sources) in found.items():
            images.setdefault(key, (image, {}))[1].update(sources)
        unknown = [image for key, image in by_image.items() if key not in found]
        reading.faults[FAULT] += [f"[{name}] offset of no image: {image}" for image in unknown]
    for key, (name, sources) in images.items():
        stack = Stack(name, sources)
        place = _place(reading, name, declared.get("place"))
        if "tile" not in declared:
            reading.images[key] = stack
            reading.places |= {key: place} if "place" in declared else {}
            continue
        for tile in _tiles(reading, stack, declared["tile"]):
            reading.images[image_key(tile.name)] = tile
            reading.places[image_key(tile.name)] = place
    if "map" not in declared:
        images = Images({key: (key,) for key in reading.images})
        if found := find_table(reading, images, table):
            read(reading, found, images, unlabelled=True)
        return
    labels = reading.folder / (table or "labels.csv")
    if labels.exists():
        reading.faults[FAULT].append(f"[map] and {labels.name}: labels come from one of them")
    _read_maps(reading, declared["map"])


def _product(name: str, of: dict[str, Any], described: tuple[str, ...] = ()) -> Product:
    """What `bands.toml` declares; `described` is the order that files without `bands` tell."""
    product = PRODUCTS.get(name, Product(name, (), {}))
    statistics = dict(product.statistics)
    spell = {spelled(band): band for band in statistics}
    bands = [spell.get(spelled(band), band) for band in of.get("bands", product.bands)]
    if "bands" not in of and described and statistics.keys() >= {*described}:
        bands = list(described)
    numbers = zip(of.get("mean", ()), of.get("std", ()), strict=False)
    statistics |= dict(zip(bands, numbers, strict=False))
    fill = {spell.get(spelled(band), band): value for band, value in of.get("fill", {}).items()}
    return replace(
        product,
        bands=tuple(bands),
        statistics=statistics,
        fill={**product.fill, **fill},
        units=of.get("units", product.units),
        scale=float(of.get("scale", 1)),
    )


def _place(reading: Reading, name: str, pattern: str | None) -> str:
    if pattern is None:
        return name
    match = re.search(pattern, name)
    if match is None:
        reading.faults[f"image whose name has no place {pattern!r}"].append(name)
        return name
    return match[1] if match.groups() else match[0]


def _tiles(reading: Reading, scene: Stack, side: int) -> Iterator[Stack]:
    try:
        height, width = grid(scene)
    except ValueError as error:
        reading.faults["image that cannot be cut into tiles: copy it again"].append(
            f"{scene.name}: {error}"
        )
        return
    rows, columns = height // side, width // side
    if not rows * columns:
        reading.faults["image smaller than a tile"].append(f"{scene.name}: {width} x {height}")
    if height % side or width % side:
        reading.notes[f"image whose last pixels make no tile of {side}"].append(scene.name)
    for row in range(rows):
        for column in range(columns):
            at = f"{row:0{len(str(rows - 1))}}_{column:0{len(str(columns - 1))}}"
            window = Window(row * side, column * side, side, height, width)
            yield Stack(f"{scene.name}_{at}", scene.sources, window)


# --- Labels from maps ---------------------------------------------------------------------------


def _read_maps(reading: Reading, of: dict[str, Any]) -> None:
    """Set `label_names` and `rows` from a folder of land-cover maps, a GeoTIFF for each image."""
    classes = {int(number): str(label) for number, label in of["classes"].items()}
    ignore = [int(number) for number in of.get("ignore", (0,))]
    reading.label_names = tuple(dict.fromkeys(classes.values()))
    files = reading.files(reading.folder / of["folder"])
    maps, scene = {}, {}
    for key, image in reading.images.items():
        if not isinstance(image, Stack):
            continue
        own = image.name.rsplit("_", 2)[0] if image.window else image.name
        scene[key] = image_key(own)
        if scene[key] in files:
            source = Source(files[scene[key]], order=("map",))
            maps[key] = Stack(image.name, {"map": source}, image.window)
    absent = sorted({own for own in scene.values() if own not in files})
    reading.faults[f"image without a map in {of['folder']}: add it"] += absent
    unused = [file.name for key, file in files.items() if key not in scene.values()]
    reading.notes["map left out, it is of no image"] += unused
    if not maps:
        return
    try:
        counts, *_ = cache.cached_rows(
            f"{reading.folder.name}-maps",
            f"pixels of each of {sorted(classes.items())} without {ignore}",
            partial(_count, classes=classes, ignore=ignore),
            list(maps.values()),
            reading.progress,
            contents(list(maps.values())),
        )
    except cache.Unreadable as error:
        reading.faults["map that cannot be used: correct it, or copy it again"] += error.problems
        counts = np.ones((len(maps), len(reading.label_names) + 1), dtype=np.int64)
    areas = dict(zip(maps, counts[:, :-1], strict=True))
    reading.areas = lambda: areas
    for key, labels in zip(maps, present(counts, of.get("threshold", 0.0)), strict=True):
        reading.rows[key] = (f"{maps[key].name} ({of['folder']})", labels)


def _count(stack: Stack, classes: dict[int, str], ignore: list[int]) -> np.ndarray:
    source = stack.sources["map"]
    try:
        (land_cover,) = read(source.file, [source], stack.window)
        return class_pixels(land_cover, classes, ignore)
    except ValueError as error:
        raise ValueError(f"{source.file.name}: {error}") from error
