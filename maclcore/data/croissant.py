"""The data sheet of an archive for machines: Croissant 1.0, and the table that it describes.

`croissant.json` says what the archive is, where from, under which licence and whom to cite, and
what the columns of `records.csv` are: an image's name, its part of the split, a label each. Images
are not in it, since most may not be passed on.
"""

import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from maclcore import paths
from maclcore.config import EMBEDDED
from maclcore.data.archives import Archive
from maclcore.data.readers import Reader
from maclcore.data.relabelled import reader_of

SHEET, RECORDS = "croissant.json", "records.csv"
#: the vocabulary, word for word as readers of the format expect it
TERMS = """citeAs column equivalentProperty extract field fileProperty fileObject fileSet format
includes isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace
samplingRate separator source subField transform"""
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in TERMS.split()},
}


def write(archive: Archive, folder: Path, *, seed: int = 0, official: bool = False) -> Path:
    """Write both files into `folder`, in place of former ones; the sheet's.

    seed, official: of the split, as `describe` has it; of an archive without labels there is none.
    """
    table = _records(archive, seed, official).encode()
    sheet = _sheet(archive, hashlib.sha256(table).hexdigest(), seed, official)
    text = json.dumps(sheet, indent=1, ensure_ascii=False) + "\n"
    for name, content in ((RECORDS, table), (SHEET, text.encode())):
        with paths.atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return folder / SHEET


def _records(archive: Archive, seed: int, official: bool) -> str:
    """`image`, `split` and a column of 0 and 1 for each label."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _, _ in _columns(archive)])
    parts = np.full(len(archive), "", dtype=object)
    if archive.label_names:
        for part, rows in archive.split(seed, official=official)._asdict().items():
            parts[rows] = part
    for name, part, labels in zip(archive.names, parts, archive.labels, strict=True):
        writer.writerow([name, *([part] if archive.label_names else []), *map(int, labels)])
    return text.getvalue()


def _columns(archive: Archive) -> list[tuple[str, str, str]]:
    """Name, type and description of each column; a label that is called as another column is told
    from it."""
    columns = [("image", "sc:Text", "the image's name")]
    if archive.label_names:
        columns.append(("split", "sc:Text", "train, validation or test; none: left out"))
    taken = {name for name, _, _ in columns}
    for label in archive.label_names:
        name = f"label {label}" if label in taken else label
        columns.append((name, "sc:Integer", f"1 where the image shows {label}, else 0"))
    return columns


def _key(i: int, name: str, archive: Archive) -> str:
    """A column's name without white space, which an id may not have; a label's with its number."""
    first = len(_columns(archive)) - len(archive.label_names)
    return name if i < first else f"label_{i - first}_{re.sub(r'[^A-Za-z0-9]', '_', name)}"


def _sheet(archive: Archive, digest: str, seed: int, official: bool) -> dict[str, Any]:
    size = f"{len(archive):,} images, {len(archive.label_names)} labels"
    split = f"official split {seed}" if official else f"random split {seed}"
    sheet = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": archive.name,
        "description": f"{archive.title}: {size}; {split}. {archive.footnote}".strip(),
        "version": "1.0.0",
        "identifier": archive.fingerprint,
        **_told(archive, reader_of(archive.name)),
    }
    file = {
        "@type": "cr:FileObject",
        "@id": RECORDS,
        "name": RECORDS,
        "contentUrl": RECORDS,
        "encodingFormat": "text/csv",
        "sha256": digest,
    }
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"images/{_key(i, name, archive)}",
            "name": name,
            "description": what,
            "dataType": kind,
            "source": {"fileObject": {"@id": RECORDS}, "extract": {"column": name}},
        }
        for i, (name, kind, what) in enumerate(_columns(archive))
    ]
    images = {"@type": "cr:RecordSet", "@id": "images", "name": "images"}
    images |= {"key": {"@id": "images/image"}, "field": fields}
    return {**sheet, "distribution": [file], "recordSet": [images]}


def _told(archive: Archive, reader: Reader | None) -> dict[str, str]:
    """What is known of its origin: of a named archive its page, licence and authors."""
    if archive.name in EMBEDDED:
        return {"license": "https://spdx.org/licenses/MIT", "citeAs": "maclcore, which draws it"}
    if reader is None:
        return {}
    told = {"url": reader.page.split(",")[0], "license": reader.licence, "citeAs": reader.cite}
    if year := re.search(r"\b(19|20)\d\d\b", reader.cite):
        told["datePublished"] = year[0]
    return {name: value for name, value in told.items() if value}
