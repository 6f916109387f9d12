"""Vectors of images, whatever has made them, and the rows of a table of labels that are theirs."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from maclcore.data import rows
from maclcore.data.layout import Images, path_key
from maclcore.data.reading import DUPLICATE, ArchiveError, Reading, message

SUFFIXES = (".parquet", ".csv", ".npz")
NAMED = ("vector", "vectors", "embedding", "embeddings")  # of several columns of lists the one


@dataclass(frozen=True, eq=False)
class Vectors:
    """A row an image, in the order of the file: names (N,), z (N, D) of any length but zero.

    `said`: in words, which columns were taken.
    """

    file: Path
    names: tuple[str, ...]
    z: np.ndarray
    said: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def images(self) -> Images:
        """How a row of another table finds its vector: by the image's name, in any folder or in
        its own; the key of a vector is its place."""
        return Images({str(i): path_key(name) for i, name in enumerate(self.names)})

    def labels(self, table: Path) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
        """Labels (N, L) bool from a table, their names, and in lines how it was understood.

        ArchiveError for the table's own faults, and for a vector of which it has no row.
        """
        reading = Reading(table.parent)
        reading.images = {str(i): table.parent / name for i, name in enumerate(self.names)}
        rows.read(reading, table, self.images)
        found = [reading.rows.get(str(i)) for i in range(len(self))]
        if not any(reading.faults.values()):
            kind = "table without labels: 0 or 1 in a column each, or a column that names them"
            reading.faults[kind] += [] if reading.label_names else [table.name]
            kind = f"vector without a row in {table.name}: add the row, or remove the vector"
            lack = (name for name, row in zip(self.names, found, strict=True) if row is None)
            reading.faults[kind] += lack
        if any(reading.faults.values()):
            raise ArchiveError(message(f"{self.file.name} and {table.name}", reading.faults))
        y = np.array([row for _, row in filter(None, found)])
        unused = len(reading.rows) - len(y)
        said = [f"{unused:,} rows of {table.name} have no vector"] if unused else []
        return y, reading.label_names, [*reading.said, *said]


class Sets(NamedTuple):
    """Vectors and labels of queries and of a gallery, None where it is the queries themselves."""

    z_query: np.ndarray
    y_query: np.ndarray
    z_gallery: np.ndarray | None
    y_gallery: np.ndarray | None


def query_and_gallery(
    file: Path, table: Path, query: Path | None = None, gallery: tuple[Path, Path] | None = None
) -> tuple[Sets, list[str]]:
    """What is to be evaluated, and in a line each how it was understood.

    `query`: a file of the names that are queries, one a line; the others are the gallery, unless
    vectors and labels of one are given. ArchiveError for names without a vector, another set of
    labels or another length of vectors, and for queries that the gallery has, too.
    """
    vectors = read_vectors(file)
    y, label_names, how = vectors.labels(table)
    said = [_understood(vectors), *how]
    z_gallery = y_gallery = None
    chosen = np.ones(len(y), dtype=bool)
    if query is not None:
        chosen = _chosen(vectors, query)
        z_gallery, y_gallery = vectors.z[~chosen], y[~chosen]
    if gallery is not None:
        others, their_table = read_vectors(gallery[0]), gallery[1]
        y_gallery, their_names, how = others.labels(their_table)
        said += [_understood(others), *how]
        if {*their_names} != {*label_names}:
            differ = ", ".join(sorted({*their_names} ^ {*label_names}))
            raise ArchiveError(f"{table} and {their_table} have not the same labels: {differ}")
        if others.z.shape[1] != vectors.z.shape[1]:
            raise ArchiveError(
                f"{file} has vectors of {vectors.z.shape[1]} values, {gallery[0]} of "
                f"{others.z.shape[1]}: they are not of one network"
            )
        queries = [name for name, on in zip(vectors.names, chosen, strict=True) if on]
        if both := [n for n, key in zip(queries, others.images.match(queries), strict=True) if key]:
            kind = "query that is in the gallery, too, and would find itself: remove it from there"
            raise ArchiveError(message(str(gallery[0]), {kind: both}))
        z_gallery = others.z
        y_gallery = y_gallery[:, [their_names.index(name) for name in label_names]]
    searched = "each against the others" if y_gallery is None else f"in {len(y_gallery):,} images"
    said.append(f"{chosen.sum():,} queries, {searched}, {len(label_names)} labels")
    return Sets(vectors.z[chosen], y[chosen], z_gallery, y_gallery), said


def _understood(vectors: Vectors) -> str:
    return f"{vectors.file.name}: {len(vectors):,} {vectors.said}"


def _chosen(vectors: Vectors, file: Path) -> np.ndarray:
    """(N,) bool, which vectors are those of the names in a file."""
    lines = file.expanduser().read_text(encoding="utf-8-sig").splitlines()
    wanted = [line.strip() for line in lines if line.strip()]
    found = vectors.images.match(wanted)
    if lack := [n for n, key in zip(wanted, found, strict=True) if not isinstance(key, str)]:
        kind = f"name without a vector, or of several, in {vectors.file.name}: correct it"
        raise ArchiveError(message(file.name, {kind: lack}))
    chosen = np.zeros(len(vectors), dtype=bool)
    chosen[[int(key) for key in found if isinstance(key, str)]] = True
    if chosen.all() or not chosen.any():
        raise ArchiveError(f"{file}: some images are queries, and some others are not")
    return chosen


def read_vectors(file: str | Path) -> Vectors:
    """Names and vectors from a Parquet, CSV or npz file; ArchiveError of all that is wrong with it.

    Parquet: a column of text with the images' names, `name` or else the first one, and a column of
    lists of floats, or a column of numbers for each of D. CSV: names in the first column, then D of
    numbers. Of columns of numbers those are taken that are numbered, such as e0 to e511, if any
    are. npz: an array of text (N,), and one of floats (N, D).
    """
    file = Path(file).expanduser()
    if file.suffix.lower() not in SUFFIXES:
        raise ArchiveError(f"{file}: vectors are read from {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise ArchiveError(f"no file {file}")
    try:
        names, z, said = READ[file.suffix.lower()](file)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ArchiveError(f"{file} cannot be read: {error}") from error
    faults: dict[str, list[str]] = defaultdict(list)
    where = [f"row {i} ({name})" for i, name in enumerate(names, 1)]
    first: dict[str, str] = {}
    for name, place in zip(names, where, strict=True):
        if not name:
            faults["row without a name"].append(place)
        elif (earlier := first.setdefault("/".join(path_key(name)), place)) != place:
            faults[DUPLICATE].append(f"{place} = {earlier}")
    length = np.linalg.norm(z.astype(np.float64), axis=1)
    for kind, wrong in (
        ("vector that has values that are not finite", ~np.isfinite(length)),
        ("vector that is all zero, and has no direction", length == 0),
    ):
        faults[f"{kind}: compute it again, or remove the row"] += [
            where[i] for i in np.flatnonzero(wrong)
        ]
    if not len(z):
        faults["file without a row"].append(file.name)
    if any(faults.values()):
        raise ArchiveError(message(f"{file.name} cannot be used", faults))
    return Vectors(file, tuple(names), z, said)


def _parquet(file: Path) -> tuple[list[str], np.ndarray, str]:
    schema = pq.read_schema(file)
    text = [
        f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)
    ]
    if not text:
        raise ArchiveError(f"{file}: no column of text that names the images")
    name = "name" if "name" in text else text[0]
    lists = [field.name for field in schema if _is_list(field.type)]
    lists = [column for column in lists if column.casefold() in NAMED] or lists
    if len(lists) > 1:
        raise ArchiveError(f"{file}: which column has the vectors, {', '.join(lists)}? Keep one")
    columns = lists or _numbered(file, schema, name)
    table = pq.read_table(file, columns=[name, *columns])
    z = _rows(file, table[columns[0]]) if lists else _stacked(table.select(columns))
    return _names(table[name]), z, _said(name, columns, z)


def _csv(file: Path) -> tuple[list[str], np.ndarray, str]:
    with open(file, encoding="utf-8-sig") as text:
        header = text.readline().rstrip("\r\n")
    delimiter = max(",\t;", key=header.count)
    name = header.split(delimiter)[0].strip('"')
    table = pyarrow.csv.read_csv(
        file,
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
        convert_options=pyarrow.csv.ConvertOptions(column_types={name: pa.string()}),
    )
    columns = _numbered(file, table.schema, name)
    z = _stacked(table.select(columns))
    return _names(table[name]), z, _said(name, columns, z)


def _npz(file: Path) -> tuple[list[str], np.ndarray, str]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
    except ValueError as error:  # such as an array of Python objects
        raise ArchiveError(f"{file} cannot be read: {error}") from error
    text = [key for key, a in found.items() if a.ndim == 1 and a.dtype.kind == "U"]
    floats = [key for key, a in found.items() if a.ndim == 2 and a.dtype.kind == "f"]
    if not (len(text) == len(floats) == 1 and len(found[text[0]]) == len(found[floats[0]])):
        raise ArchiveError(f"{file}: one array of text (N,) and one of floats (N, D) are needed")
    return found[text[0]].tolist(), found[floats[0]], _said(text[0], floats, found[floats[0]])


READ = {".parquet": _parquet, ".csv": _csv, ".npz": _npz}


def _is_list(kind: pa.DataType) -> bool:
    of = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in of) and pa.types.is_floating(kind.value_type)


def _numbered(file: Path, schema: pa.Schema, name: str) -> list[str]:
    """The columns of numbers that are a vector: of those that end in a number the largest set."""
    stems = {f.name: re.sub(r"\d+$", "", f.name) for f in schema if f.name != name}
    numbers = [f.name for f in schema if f.name in stems and _is_number(f.type)]
    counted = [c for c in numbers if stems[c] != c]
    if counted:
        stem = Counter(stems[c] for c in counted).most_common(1)[0][0]
        own = [c for c in stems if c != stems[c] and stems[c] == stem]
    else:
        own = [c for c in stems]
    if wrong := [c for c in own if c not in numbers]:
        raise ArchiveError(f"{file}: in {', '.join(wrong[:10])} not every cell is a number")
    if not own:
        raise ArchiveError(f"{file}: no column of lists of floats, and none of numbers")
    return own


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)


def _names(column: pa.ChunkedArray) -> list[str]:
    return [name or "" for name in column.to_pylist()]


def _rows(file: Path, column: pa.ChunkedArray) -> np.ndarray:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    usual = int(np.bincount(lengths).argmax()) if len(lengths) else 0
    if len(wrong := np.flatnonzero(lengths != usual)):
        some = ", ".join(f"row {i + 1} has {lengths[i]}" for i in wrong[:10])
        raise ArchiveError(f"{file}: vectors have {usual} values; {some}")
    if not usual:
        raise ArchiveError(f"{file}: its vectors have no values")
    return pc.list_flatten(column).to_numpy().reshape(-1, usual)


def _stacked(table: pa.Table) -> np.ndarray:
    columns = [pc.cast(column, pa.float64()).to_numpy() for column in table.columns]
    return np.stack(columns, axis=1)


def _said(name: str, columns: list[str], z: Any) -> str:
    of = columns[0] if len(columns) == 1 else f"{columns[0]} to {columns[-1]}"
    return f"vectors of {z.shape[1]:,} values in {of}, names in {name or 'the first column'}"
