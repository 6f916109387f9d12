"""Tables as people have them, of any form: a header and lines of cells, all of them text.

Text separated by comma, tab, semicolon or bar, in UTF-8, in UTF-16 (Excel's "Unicode text") or in
Windows-1252; a workbook (.xlsx); JSON: a list of records, a mapping from names, or COCO's images,
annotations and categories. What a column means is told in `columns`.
"""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, time
from pathlib import Path
from typing import Any, NamedTuple

SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".json")
SEPARATORS = ",\t;|"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
OLD_WORKBOOK, ZIP = b"\xd0\xcf\x11\xe0", b"PK\x03\x04"


class Table(NamedTuple):
    """Lines below a header, each with where it stands and, if it is faulty, more cells or fewer."""

    header: list[str]
    lines: list[tuple[int, list[str]]]
    said: list[str]  #: what had to be guessed
    unit: str = "line"  #: what the numbers count

    def column(self, j: int) -> list[str]:
        """The cells of a column; "" where a line is too short."""
        return [cells[j] if j < len(cells) else "" for _, cells in self.lines]


def read(file: Path) -> Table:
    """The table in a file, without blank lines, comments and empty columns.

    ValueError, csv.Error or OSError if it is none, ImportError without openpyxl.
    """
    said: list[str] = []
    suffix = file.suffix.lower()
    if suffix == ".xlsx":
        rows, sheets = workbook(file)
        said += [f"{file.name} has {len(sheets)} sheets; read: {sheets[0]!r}"] * (len(sheets) > 1)
        lines = [(i + 1, [text(cell) for cell in row]) for i, row in enumerate(rows)]
        width = max(len(cells) for _, cells in lines)
        lines = [(n, cells + [""] * (width - len(cells))) for n, cells in lines]
    elif suffix == ".json":
        lines = _records(json.loads(_decoded(file, said)))
    else:
        lines = _separated(_decoded(file, said))
    lines = [(n, cells) for n, cells in lines if any(cells)]
    while lines and lines[0][1][0].startswith("#"):
        del lines[0]
    if not lines:
        return Table([""], [], said)
    (_, header), *lines = lines
    used = [j for j, name in enumerate(header) if name or any(any(c[j : j + 1]) for _, c in lines)]
    width = used[-1] + 1
    lines = [(n, cells if any(cells[width:]) else cells[:width]) for n, cells in lines]
    # of a single column a comment and a name look alike
    lines = [(n, c) for n, c in lines if width == 1 or any(c[1:]) or not c[0].startswith("#")]
    return Table(header[:width], lines, said, "record" if suffix == ".json" else "line")


def workbook(file: Path) -> tuple[list[tuple[Any, ...]], list[str]]:
    """The rows of the sheet that a workbook shows, and the names of its sheets, that one first."""
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise ImportError(f"to read {file}, install openpyxl or save it as labels.csv") from None
    with open(file, "rb") as stream:  # openpyxl would leave it open
        try:
            book = load_workbook(stream, read_only=True, data_only=True)
            names = [name for name in book.sheetnames if name != book.active.title]
            return [*book.active.values] or [()], [book.active.title, *names]
        except Exception as error:  # a broken workbook can make openpyxl raise anything
            raise ValueError(f"not a workbook ({error})") from None


def text(cell: Any) -> str:
    """A cell of a workbook or of JSON as a CSV file would have it."""
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False)
    return "" if cell is None else str(cell).strip()


def _decoded(file: Path, said: list[str]) -> str:
    raw = file.read_bytes()
    if raw.startswith(OLD_WORKBOOK):
        raise ValueError("a workbook of the old form: save it as .xlsx")
    if raw.startswith(ZIP):
        raise ValueError("a workbook or zip archive: let its name end as it is, .xlsx or .zip")
    if raw.startswith(UTF16):
        return raw.decode("utf-16")
    if b"\0" in raw:
        raise ValueError("neither text nor a workbook")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        said.append(
            f"{file.name} is read as Windows-1252, for line {line} is no UTF-8: check its accents"
        )
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:  # of a few bytes it says nothing
        return raw.decode("latin-1")


def _separated(content: str) -> list[tuple[int, list[str]]]:
    """(line, cells); separated as a first line `sep=;` says, or by what the header has most of."""
    content = content.removeprefix("\ufeff")
    told = re.match(r'"?sep=(.)"?[ \t,;]*(\r\n|\r|\n)', content, re.IGNORECASE)
    bare = re.split(r"[\r\n]+", re.sub(r'"[^"]*"', "quoted", content[:100_000]))
    header = next((line for line in bare if line.strip() and line[:1] != "#"), "")
    separator = told[1] if told else max(SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator)
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    return rows[1:] if told else rows


def _records(content: Any) -> list[tuple[int, list[str]]]:
    """(number, cells) of records, the header first; ValueError for JSON that has none."""
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        records = _coco(content)
    elif isinstance(content, dict):
        whole = all(isinstance(of, dict) for of in content.values())
        records = [
            {"image": name, **(of if whole else {"labels": of})} for name, of in content.items()
        ]
    else:
        records = content
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        raise ValueError(
            "JSON of another form: a list of records, a mapping from names, or COCO's images, "
            "annotations and categories are read"
        )
    header = list(dict.fromkeys(key for one in records for key in one))
    rows = [[text(one.get(key)) for key in header] for one in records]
    return [(0, header), *((i + 1, row) for i, row in enumerate(rows))]


def _coco(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A record an image, with the list of its categories; ValueError for what is not COCO."""
    try:
        category = {of["id"]: str(of["name"]) for of in content.get("categories", [])}
        labels: dict[Any, dict[str, None]] = defaultdict(dict)
        for annotation in content.get("annotations", []):
            labels[annotation["image_id"]][category[annotation["category_id"]]] = None
        images = content["images"]
        if unknown := set(labels) - {image["id"] for image in images}:
            raise ValueError(f"an annotation of no image: image_id {min(unknown, key=str)!r}")
        own = [{k: v for k, v in image.items() if k not in ("id", "labels")} for image in images]
        return [
            {"file_name": of["file_name"], "labels": list(labels[image["id"]]), **of}
            for image, of in zip(images, own, strict=True)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"JSON with images, but not as COCO has them: {error!r}") from None
