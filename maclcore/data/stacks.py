"""What readers of many bands share: finding each image's bands, and taking those asked for."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from maclcore.data.bands import Band, Product, Source, Stack, described, spelled, taken
from maclcore.data.reading import DUPLICATE, Reading, image_key

#: of each image its name, and where its bands lie
Found = dict[str, tuple[str, dict[str, Source]]]


def find_bands(
    reading: Reading,
    product: Product,
    folder: Path,
    offset: float | Mapping[str, float] = 0.0,
    stacked: bool = True,
) -> Found:
    """The images in a folder, and in all folders inside it, by `image_key`.

    A GeoTIFF named as a band ("B2.tif", "city_B02.tif") holds this one, of the image that its
    folder, or the rest of its name, names; any other holds all of the product's if images may be
    `stacked`, and is none of this product's else. `offset`: one, or by `image_key`, 0 elsewhere.
    """
    found: Found = {}
    names = {spelled(band): band for band in product.bands}
    for file in reading.walk(folder):
        if file.suffix.lower() not in (".tif", ".tiff"):
            if stacked and file.suffix.lower() not in (".json", ".xml"):
                reading.notes["file left out, it is no GeoTIFF (.tif)"].append(file.name)
            continue
        first, _, last = file.stem.rpartition("_")
        name, band = (first or file.parent.name, names.get(spelled(last)))
        if band is None and not stacked:
            continue
        name = file.stem if band is None else name
        bands = product.bands if band is None else (band,)
        key = image_key(name)
        own = offset.get(key, 0.0) if isinstance(offset, Mapping) else offset
        _, sources = found.setdefault(key, (name, {}))
        for i, b in enumerate(bands):
            source = Source(file, (i + 1,), bands, float(own))
            if (before := sources.setdefault(b, source)) is not source:
                both = (str(f.relative_to(folder)) for f in (before.file, file))
                reading.faults[DUPLICATE].append(f"{b}: {' = '.join(both)}")
    if stacked and not found and folder.is_dir():
        reading.faults["folder without an image: is it unpacked?"].append(str(folder))
    return found


def first_order(reading: Reading, folder: Path) -> tuple[str, ...]:
    """The bands of the first GeoTIFF in the folder, if it names them itself; else ()."""
    for file in reading.walk(folder):
        if file.suffix.lower() in (".tif", ".tiff"):
            try:
                return described(file)
            except ValueError:  # told when it is decoded
                return ()
    return ()


def take(reading: Reading) -> tuple[Band, ...]:
    """The bands that `reading.asked` asks for; images that have none of them leave.

    The footnote says what is filled, and what is added to how many images.
    """
    stacks = {key: image for key, image in reading.images.items() if isinstance(image, Stack)}
    there = {band for stack in stacks.values() for band in stack.sources}
    bands = taken(reading.asked, reading.products, there)
    filled, shifted = defaultdict(list), defaultdict(list)
    for key, stack in stacks.items():
        sources = [stack.sources[band.name] for band in bands if band.name in stack.sources]
        if not sources:
            kind = f"image left out, it has none of the bands {', '.join(b.name for b in bands)}"
            reading.notes[kind].append(stack.name)
            del reading.images[key]
            reading.rows.pop(key, None)
            continue
        for band in bands:
            if band.name not in stack.sources and band.fill is not None:
                filled[f"{band.name} with {band.fill:g}"].append(stack.name)
        for offset in {source.offset for source in sources} - {0.0}:
            shifted[offset].append(stack.name)
    of = len(reading.images)
    said = [f"{what} in {_part(names, of)}" for what, names in filled.items()]
    told = [f"Filled, for it lacks: {', '.join(said)}."] if said else []
    told += [f"{offset:+,g} added in {_part(names, of)}." for offset, names in shifted.items()]
    reading.footnote = " ".join([reading.footnote, *told]).strip()
    for what, names in filled.items():
        if len(names) < of:
            reading.notes[f"image that lacks a band, filled: {what}"] += names
    for name in _absent(reading, there):
        reading.notes["band that no image has"].append(name)
    return bands


def _absent(reading: Reading, there: set[str]) -> Iterator[str]:
    """Bands that the files of a sensor should hold, and no image does, though all are asked for."""
    for product in reading.products:
        if not reading.asked and there.intersection(product.bands):
            yield from (band for band in product.bands if band not in there)


def _part(names: list[str], of: int) -> str:
    return f"all {of:,} images" if len(names) == of else f"{len(names):,} of {of:,} images"
