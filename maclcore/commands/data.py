"""`data` and `data prepare`: an archive checked, decoded and described."""

from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional


def data(
    archive: Positional[str] = "synthetic",
    *,
    image_size: int = 64,
    bands: str = "",
    tile: int = 0,
    stretch: str = "",
    official: bool = False,
    data: Path | None = None,
) -> None:
    """Check an archive, decode it into the cache and print its data sheet.

    `data prepare ARCHIVE` first downloads it, or unpacks what you have downloaded; see its --help.
    Example: python -m maclcore data dlrsd --data ~/archives

    Args:
        archive: synthetic, synthetic_sentinel, {archives}, or a folder with images/ and labels.csv.
        image_size: side of the decoded images in pixels.
        bands: of images of many bands those to take, such as B4,B3,B2, s2 or s1; default: all.
        tile: cut the images of a folder of your own that are larger into squares of so many pixels.
        stretch: the values that become black and white, as 0,3000, of images of a folder of your
            own of more than 8 bits; default: percentiles of their pixels.
        official: show the official split, where the names of the images tell it, not a random one.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    from maclcore.data import describe, load_archive

    own = {"tile": tile, "stretch": stretch}
    options: dict[str, Any] = {name: value for name, value in own.items() if value}
    found = load_archive(archive, image_size=image_size, root=data, bands=bands, **options)
    print(describe(found, official=official))


def prepare(
    archive: Positional[str],
    *,
    given: Annotated[tuple[Path, ...], tyro.conf.arg(name="from")] = (),
    image_size: int = 64,
    data: Path | None = None,
) -> None:
    """Download or unpack an archive, check it, decode it into the cache, print its data sheet.

    Example: python -m maclcore data prepare ucm_multilabel
    Example: python -m maclcore data prepare ml_aid --from ~/Downloads/aid_multilabel.zip

    Args:
        archive: {archives}.
        given: what you have downloaded: zip and tar.gz files, tables, or a folder of them or of
            what was in them; default: download it, going on where an earlier attempt stopped.
        image_size: side of the decoded images in pixels.
        data: the folder to put it in, under its name; default: MACL_DATA.
    """
    from maclcore.data.prepare import data_sheet
    from maclcore.data.prepare import prepare as run_preparation

    print(data_sheet(run_preparation(archive, given, image_size=image_size, root=data), data))


#: help that names the archives
NAMING = {verb: verb.__doc__ or "" for verb in (data, prepare)}


def name_archives() -> None:
    """Let the help of these verbs name the archives that there are readers for."""
    from maclcore.data.readers import READERS

    for verb, text in NAMING.items():
        verb.__doc__ = text.format(archives=", ".join(READERS))
