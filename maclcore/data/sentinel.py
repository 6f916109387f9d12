"""Named archives of Sentinel-1 and Sentinel-2: BigEarthNet and SSL4EO-S12.

Their official trees, read where they lie; what their files hold is a `Product`. An image that both
sensors saw is one stack, named as Sentinel-2 names it. Official splits are not used: an archive is
split as every other one, so numbers are not those of papers that use them.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from maclcore.data.bands import PRODUCTS, Product, Source, Stack, opened, spelled
from maclcore.data.declared import read_folder
from maclcore.data.readers import Reader
from maclcore.data.reading import ABSENT, Reading, image_key
from maclcore.data.stacks import Found, find_bands

UNREADABLE = "file that cannot be read: copy it again"

# --- BigEarthNet ---------------------------------------------------------------------------------

#: BigEarthNet-19: each label, and the CORINE classes (level 3) that it joins; eleven have none
NINETEEN = {
    "Urban fabric": ("Continuous urban fabric", "Discontinuous urban fabric"),
    "Industrial or commercial units": ("Industrial or commercial units",),
    "Arable land": ("Non-irrigated arable land", "Permanently irrigated land", "Rice fields"),
    "Permanent crops": (
        "Vineyards",
        "Fruit trees and berry plantations",
        "Olive groves",
        "Annual crops associated with permanent crops",
    ),
    "Pastures": ("Pastures",),
    "Complex cultivation patterns": ("Complex cultivation patterns",),
    "Land principally occupied by agriculture, with significant areas of natural vegetation": (
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
    ),
    "Agro-forestry areas": ("Agro-forestry areas",),
    "Broad-leaved forest": ("Broad-leaved forest",),
    "Coniferous forest": ("Coniferous forest",),
    "Mixed forest": ("Mixed forest",),
    "Natural grassland and sparsely vegetated areas": (
        "Natural grassland",
        "Sparsely vegetated areas",
    ),
    "Moors, heathland and sclerophyllous vegetation": (
        "Moors and heathland",
        "Sclerophyllous vegetation",
    ),
    "Transitional woodland, shrub": ("Transitional woodland/shrub",),
    "Beaches, dunes, sands": ("Beaches, dunes, sands",),
    "Inland wetlands": ("Inland marshes", "Peatbogs"),
    "Coastal wetlands": ("Salt marshes", "Salines"),
    "Inland waters": ("Water courses", "Water bodies"),
    "Marine waters": ("Coastal lagoons", "Estuaries", "Sea and ocean"),
}
LEFT_OUT = (
    "Airports",
    "Bare rock",
    "Burnt areas",
    "Construction sites",
    "Dump sites",
    "Green urban areas",
    "Intertidal flats",
    "Mineral extraction sites",
    "Port areas",
    "Road and rail networks and associated land",
    "Sport and leisure facilities",
)
FORTY_THREE = tuple(sorted([*LEFT_OUT, *(old for of in NINETEEN.values() for old in of)]))
#: images of the whole archive, of version 1 and 2
SIZES = 590_326, 480_038


def _bigearthnet(reading: Reading, *, labels: str = "19") -> None:
    """`labels`: "19", or "43", the CORINE classes that occur, which only version 1 has."""
    if reading.is_plain(labels=None if labels == "19" else labels):
        return read_folder(reading)
    if labels not in ("19", "43"):
        raise ValueError(f"labels is {labels!r}; BigEarthNet has '19' and '43'")
    table = reading.find("metadata.parquet")
    if table.exists() and labels == "43":
        raise ValueError(f"labels='43', but {table} has the 19 of version 2 alone")
    reading.products = [PRODUCTS["s2_l2a"], PRODUCTS["s1"]]
    s2, s1 = (find_bands(reading, p, reading.folder, stacked=False) for p in reading.products)
    if not (s2 or s1):
        reading.faults[ABSENT].append(f"{reading.folder}: folders with a .tif for each band")
        return
    reading.size = SIZES[table.exists()]
    if table.exists():
        _version_2(reading, table, s2, s1)
    else:
        _version_1(reading, s2, s1, labels)


def _version_1(reading: Reading, s2: Found, s1: Found, labels: str) -> None:
    """A folder a patch, whose labels and partner its own JSON has."""
    joined = {old: new for new, of in NINETEEN.items() for old in of}
    sets: dict[str, tuple[str, set[str]]] = {}
    partners: dict[str, str] = {}
    for key, (name, sources) in {**s1, **s2}.items():
        file = next(iter(sources.values())).file.with_name(f"{name}_labels_metadata.json")
        known = _json(reading, file)
        if not isinstance(known, dict) or not isinstance(known.get("labels"), list):
            reading.faults[UNREADABLE] += [f"{file.name}: no list of labels"] * (known is not None)
            known = {"labels": []}
        own = {str(label) for label in known["labels"]}
        unknown = sorted(own - {*FORTY_THREE})
        kind = "unknown label: it is none of CORINE's 43"
        reading.faults[kind] += [f"{file.name}: {label}" for label in unknown]
        sets[key] = file.name, own
        partner = str(known.get("corresponding_s2_patch", name))
        partners[key] = partner if image_key(partner) in s2 else name
    _join(reading, s2, s1, partners)
    found = set().union(*(own for _, own in sets.values()))
    reading.label_names = tuple(NINETEEN if labels == "19" else sorted(found))
    for key, image in list(reading.images.items()):
        where, own = sets[key]
        own = {joined.get(label, "") for label in own} if labels == "19" else own
        row = np.array([label in own for label in reading.label_names])
        if row.any() or any(reading.faults.values()):
            reading.rows[key] = (where, row)
        else:
            reading.notes["image left out, it has none of the 19 labels"].append(image.name)
            del reading.images[key]


def _version_2(reading: Reading, table: Path, s2: Found, s1: Found) -> None:
    """A folder a patch in a folder a scene; one table has all labels and partners."""
    import pandas as pd  # here, because it takes seconds

    try:
        rows = pd.read_parquet(table, columns=["patch_id", "labels", "s1_name"])
    except (ValueError, OSError, KeyError) as error:
        reading.faults[UNREADABLE].append(f"{table.name}: {error}")
        return
    radar = map(image_key, rows["s1_name"])
    _join(reading, s2, s1, dict(zip(radar, rows["patch_id"], strict=True)))
    reading.label_names = tuple(NINETEEN)
    column = {label: j for j, label in enumerate(NINETEEN)}
    for name, own in zip(rows["patch_id"], rows["labels"], strict=True):
        if (key := image_key(name)) not in reading.images:
            continue  # of a part of the archive, which the footnote tells
        unknown = sorted({*own} - {*column})
        kind = "unknown label: it is none of BigEarthNet's 19"
        reading.faults[kind] += [f"{name} ({table.name}): {label}" for label in unknown]
        row = np.zeros(len(column), dtype=bool)
        row[[column[label] for label in own if label in column]] = True
        reading.rows[key] = (f"{name} ({table.name})", row)


def _join(reading: Reading, s2: Found, s1: Found, partners: dict[str, str]) -> None:
    """Set `images`: of Sentinel-2, and of Sentinel-1 under the names of their partners."""
    images = {key: (name, dict(sources)) for key, (name, sources) in s2.items()}
    for key, (name, sources) in s1.items():
        name = partners.get(key, name)
        images.setdefault(image_key(name), (name, {}))[1].update(sources)
    reading.images |= {key: Stack(name, sources) for key, (name, sources) in images.items()}


def _json(reading: Reading, file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        reading.faults[ABSENT].append(str(file))
    except (ValueError, OSError) as error:
        reading.faults[UNREADABLE].append(f"{file.name}: {error}")
    return None


# --- SSL4EO-S12 ----------------------------------------------------------------------------------

#: the classes of Dynamic World, whose numbers SSL4EO-S12-ML has
DYNAMIC_WORLD = (
    *("water", "trees", "grass", "flooded vegetation", "crops", "shrub and scrub"),
    *("built", "bare", "snow and ice"),
)
TABLE = "ssl4eo_multilabel.json"
#: of each level its product, its folder, and its folder in version 1.1
LEVELS = {"l1c": ("s2_l1c", "s2c", "S2L1C"), "l2a": ("s2_l2a", "s2a", "S2L2A")}
#: what the zarr files of version 1.1 have been given more, so that all are of one processing
BASELINE = -1000.0


def _ssl4eo_s12(reading: Reading, *, level: str = "l1c", offset: float | None = None) -> None:
    """`level`: which of Sentinel-2's products; `offset`: added to its numbers, by default -1000 to
    those of version 1.1, whose zarr files have 1,000 too many, and nothing to others."""
    if reading.is_plain(level=None if level == "l1c" else level, offset=offset):
        return read_folder(reading)
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}; SSL4EO-S12 has 'l1c' and 'l2a'")
    name, folder, zarrs = LEVELS[level]
    optical, radar = reading.products = [PRODUCTS[name], PRODUCTS["s1"]]
    table = _json(reading, reading.find(TABLE))
    seasons: dict[str, str] = {}  # of each image, the id that the table knows
    there = [reading.find(of) for of in (folder, "s1")]
    if any(of.is_dir() for of in there):
        shift = 0.0 if offset is None else offset
        for of, product, more in ((there[0], optical, shift), (there[1], radar, 0.0)):
            _folders(reading, of, product, more, seasons)
    else:
        shift = BASELINE if offset is None else offset
        for kind, product, more in ((zarrs, optical, shift), ("S1GRD", radar, 0.0)):
            for file in sorted(reading.folder.rglob(f"{kind}/*.zarr.zip")):
                _zarr(reading, file, product, more, seasons)
    if not reading.images:
        reading.faults[ABSENT].append(str(reading.folder / folder))
    if table is not None:
        _multi_label(reading, table, seasons)


def _folders(
    reading: Reading, folder: Path, product: Product, offset: float, seasons: dict[str, str]
) -> None:
    """`<folder>/<place>/<season>/<band>.tif`; the seasons of both sensors by order of time."""
    for place in sorted(path for path in folder.glob("*") if path.is_dir()):
        found = find_bands(reading, product, place, offset, stacked=False)
        for i, (season, sources) in enumerate(sorted(found.values(), key=_time)):
            _add(reading, f"{place.name}_{i}", place.name, sources)
            if product.sensor == "s2":
                seasons[image_key(f"{place.name}_{i}")] = season


def _time(found: tuple[str, dict[str, Source]]) -> tuple[str, str]:
    """When a season was seen, by its name: of both sensors the first date in it."""
    return next(iter(re.findall(r"\d{8}T\d{6}", found[0])), ""), found[0]


def _zarr(
    reading: Reading, file: Path, product: Product, offset: float, seasons: dict[str, str]
) -> None:
    """Version 1.1: some places a file, their seasons and bands in one array."""
    try:
        with opened(file) as data:
            names = [str(name) for name in data["sample"][:]]
            ids = np.asarray(data["file_id"][:]).reshape(len(names), -1)
            bands = [spelled(str(band)) for band in data["band"][:]]
            shape = data["bands"].shape
    except (ValueError, KeyError) as error:
        reading.faults[UNREADABLE].append(f"{file.name}: {error}")
        return
    if shape[:3] != (*ids.shape, len(bands)) or {*bands} != {*product.bands}:
        what = f"{file.name}: {shape} for {len(names)} places and {', '.join(bands)}"
        reading.faults[UNREADABLE].append(what)
        return
    for sample, name in enumerate(names):
        for time, season in enumerate(ids[sample]):
            sources = {
                band: Source(file, (sample, time, i), tuple(bands), offset)
                for i, band in enumerate(bands)
            }
            _add(reading, f"{name}_{time}", name, sources)
            if product.sensor == "s2":
                seasons[image_key(f"{name}_{time}")] = str(season)


def _add(reading: Reading, name: str, place: str, sources: dict[str, Source]) -> None:
    key = image_key(name)
    before = image.sources if isinstance(image := reading.images.get(key), Stack) else {}
    if twice := before.keys() & sources.keys():
        reading.faults["image that is there twice"].append(f"{name}: {', '.join(sorted(twice))}")
    reading.images[key] = Stack(name, {**before, **sources})
    reading.places[key] = place


def _multi_label(reading: Reading, table: Any, seasons: dict[str, str]) -> None:
    """SSL4EO-S12-ML: {place: {season: [class numbers]}}; [] or no entry is no label known."""
    reading.label_names = DYNAMIC_WORLD
    known = [str(i) for i in range(len(DYNAMIC_WORLD))]
    times = Counter(reading.places.values())
    for key, image in reading.images.items():
        place = reading.places[key]
        entry = table.get(place) if isinstance(table, dict) else None
        entry = entry if isinstance(entry, dict) else {}
        season = seasons.get(key, "")
        if not season and len(entry) == times[place]:  # radar alone: by order of time, as folders
            season = sorted(entry)[int(key.rpartition("_")[2])]
        numbers = entry.get(season, [])
        found = {str(number) for number in (numbers if isinstance(numbers, list) else [numbers])}
        kind = "unknown class: Dynamic World has 0 to 8"
        wrong = sorted(found.difference(known))
        reading.faults[kind] += [f"{place}, {season} ({TABLE}): {number}" for number in wrong]
        row = np.array([number in found for number in known])
        reading.rows[key] = (f"{image.name} ({TABLE})", row)


SENTINEL = {
    "bigearthnet": Reader(
        title="BigEarthNet",
        tree="<patch>/<patch>_B02.tif and _labels_metadata.json, or version 2: metadata.parquet "
        "and BigEarthNet-S2/<scene>/<patch>/",
        read=_bigearthnet,
        page="https://bigearth.net",
        sensor="Sentinel-2 L2A, 12 bands of 10 to 60 m, and Sentinel-1, VV and VH in dB",
        licence="Community Data License Agreement, permissive, 1.0",
        cite="Sumbul et al., IGARSS 2019, and IEEE GRSM 9(3), 2021; Clasen et al. 2024 (version 2)",
    ),
    "ssl4eo_s12": Reader(
        title="SSL4EO-S12",
        tree=f"s2c/<place>/<season>/B1.tif (s2a, s1), or version 1.1: train/S2L1C/*.zarr.zip; and "
        f"{TABLE}",
        read=_ssl4eo_s12,
        page="https://github.com/zhu-xlab/SSL4EO-S12, https://github.com/zhu-xlab/softcon",
        label_names=DYNAMIC_WORLD,
        sensor="Sentinel-2 L1C (13 bands) or L2A (12), and Sentinel-1 GRD in dB, 10 m",
        licence="CC-BY-4.0",
        cite="Wang et al., IEEE GRSM 11(3), 2023; Wang, Albrecht & Zhu, IEEE TGRS 2024 (labels)",
    ),
}
