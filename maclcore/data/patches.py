"""Images of a file a band, in a folder of one's own that does not say which bands to take."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maclcore.data.bands import spelled
from maclcore.data.reading import DUPLICATE, Reading
from maclcore.data.scenes import Scene, files_of, is_plain, location, shape, squares

BAND = re.compile(r"(?:(.+)_)?(B\d{1,2}A?)", re.IGNORECASE)


def found_again(file: Path, name: str, tile: int = 0) -> Path | Scene:
    """The image of an archive that was cut into tiles of that size, of which one knows its name and
    its first file; ValueError if the file is broken, or of another name."""
    last, band = name.rsplit("/", 1)[-1], BAND.fullmatch(file.stem)
    image: Path | Scene = file
    if band and not last.startswith(file.stem):
        others = (file.with_stem(f"{file.stem[:-1]}{digit}") for digit in "32")
        image = Scene(name, (file, *others))
    height, width = shape(image)
    if not tile or max(height, width) <= tile:
        if image is file and file.stem != last:
            raise ValueError(f"{file.name} is not the image {name}, but has it as a part")
        return image
    windows = dict(squares(height, width, tile))
    return Scene(name, files_of(image), windows["_".join(last.rsplit("_", 2)[-2:])])


def together(reading: Reading, found: dict[Any, Any], key: Callable[[Path], Any]) -> None:
    """Make one image of "x_B02.tif", "x_B03.tif", "x_B04.tif", or of "x/B02.tif" and so on.

    `found`: the files of a folder by `key`. Those of 8 bits stay what they have been, an image
    each; the other bands of an image are left to a bands.toml.
    """
    groups: dict[tuple[Path, str], dict[str, Any]] = defaultdict(dict)
    for at, file in found.items():
        if file.suffix.lower() in (".tif", ".tiff") and (match := BAND.fullmatch(file.stem)):
            name = match[1] or file.parent.name
            groups[file.parent, name][spelled(match[2])] = at
    made = 0
    for (_, name), of in groups.items():
        if not {"B2", "B3", "B4"} <= of.keys():
            continue
        scene = Scene(name, tuple(found[of[band]] for band in ("B4", "B3", "B2")))
        if any(map(is_plain, scene.files)):
            continue
        for at in of.values():
            del found[at]
        if (first := found.setdefault(key(location(scene)), scene)) is not scene:
            reading.faults[DUPLICATE].append(f"{name} = {location(first)}")
        made += 1
    if made:
        reading.said.append(
            f"{made:,} image{'s' * (made != 1)} of a file a band, shown by their B4, B3 and B2; a "
            "bands.toml takes all bands: [s2_l2a], or another product (maclcore.data.declared)"
        )
