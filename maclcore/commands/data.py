"""`data` and `data prepare`: an archive checked, decoded and described."""

import csv
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
    table: str = "",
    label_columns: str = "",
    labels_column: str = "",
    write_labels: Path | None = None,
    write_croissant: Path | None = None,
    data: Path | None = None,
) -> None:
    """Check an archive, decode it into the cache and print its data sheet.

    Of a folder of images, in folders or not, with a table (CSV, Excel, JSON) or without one, it
    first says how it was understood. `data prepare ARCHIVE` first downloads an archive, or unpacks
    what you have downloaded; see its --help.
    Example: python -m maclcore data dlrsd --data ~/archives
    Example: python -m maclcore data ./my_city
    Example: python -m maclcore data ./my_city --table 2024.xlsx --labels-column seen
    Example: python -m maclcore data ./my_city --write-labels ./my_city/labels.csv

    Args:
        archive: synthetic, synthetic_sentinel, {archives}, or a folder with images; or images of
            these under other labels: ucm_scenes, synthetic_5, synthetic_60.
        image_size: side of the decoded images in pixels.
        bands: of images of many bands those to take, such as B4,B3,B2, s2 or s1; default: all.
        tile: cut the images of a folder of your own that are larger into squares of so many pixels.
        stretch: the values that become black and white, as 0,3000, of images of a folder of your
            own of more than 8 bits; default: percentiles of their pixels.
        official: show the official split, where the images' names, or the column `split` of a
            table, tell it, not a random one.
        table: of a folder of images its table; default: labels.csv, or the only one there.
        label_columns: of this table the columns that are labels, such as water,trees.
        labels_column: of this table the column that names an image's labels.
        write_labels: a file that is not there yet, for names and labels in the plain layout, a
            column of 0 and 1 for each label.
        write_croissant: a folder for croissant.json and records.csv, the data sheet for machines.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    from maclcore.data import ArchiveError, croissant, describe, load_archive
    from maclcore.data.archives import read_archive
    from maclcore.data.plain import write_labels as write
    from maclcore.data.reading import printable

    columns = next(csv.reader([label_columns]), [])
    given: dict[str, Any] = {
        "table": table,
        "label_columns": columns,
        "labels_column": labels_column,
    }
    given |= {"tile": tile, "stretch": stretch}
    options = {name: value for name, value in given.items() if value}
    try:
        found = load_archive(archive, image_size=image_size, root=data, bands=bands, **options)
    except ArchiveError as error:
        print(*map(printable, error.said), sep="\n", end="\n" * bool(error.said))
        raise
    print(*map(printable, found.said), sep="\n", end="\n\n" * bool(found.said))
    print(describe(found, official=official))
    if write_labels is not None:
        write(read_archive(archive, root=data, bands=bands, **options), write_labels.expanduser())
        left = " (other columns are left out)" if any("kept" in x for x in found.said) else ""
        print(f"\nwritten: {write_labels}{left}")
    if write_croissant is not None:
        file = croissant.write(found, write_croissant.expanduser(), official=official)
        print(f"\nwritten: {file}")


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
