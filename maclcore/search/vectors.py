"""The rows of an index as one table that other programs read: Parquet, and GeoParquet where the
images have coordinates (https://geoparquet.org/releases/v1.1.0/)."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maclcore import paths
from maclcore.search.index import Index

CHUNK = 4096  # rows in memory, and in a row group
LEFT_OUT = ("content", "thumbnail")


def export(index: Index, file: Path) -> int:
    """Write names, labels, coordinates, the owner's columns and vectors; how many rows it has.

    Rows are in the order of the names, and written CHUNK by CHUNK. Where any image has coordinates
    there is a column of points, WKB in longitude and latitude (WGS 84), null where there are none.
    """
    table = index.table
    known = table.search().select(["name", "longitude", "latitude"]).with_row_id(True).to_arrow()
    if not len(known):
        raise ValueError(f"{index.where} has no images to write")
    known = known.take(pc.sort_indices(known["name"]))
    kept = [field for field in table.schema if field.name not in LEFT_OUT]
    metadata, fields = {"maclcore": json.dumps(asdict(index.about))}, list(kept)
    points = _points(known)
    place = _free("geometry", [field.name for field in kept])
    if points.null_count < len(points):
        metadata["geo"] = json.dumps(_geo(place, known))
        fields.insert(-1, pa.field(place, pa.binary()))
    schema = pa.schema(fields, metadata=metadata)
    with (
        paths.atomic_path(file) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for start, part in _parts(index, known, [field.name for field in kept]):
            if place in schema.names:
                part = part.append_column(place, points.slice(start, len(part)))
            writer.write_table(part.select(schema.names).cast(schema))
    return len(known)


def _parts(index: Index, known: pa.Table, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
    """Rows in the order of `known`, and where each part starts."""
    for start in range(0, len(known), CHUNK):
        ids = known["_rowid"].slice(start, CHUNK).to_pylist()
        part = index.table.take_row_ids(ids).select(columns).to_arrow()
        part = part.take(pc.sort_indices(part["name"]))  # they come as they are stored
        if part["name"].to_pylist() != known["name"].slice(start, CHUNK).to_pylist():
            raise ValueError(f"{index.where} has changed while it was read: write it once more")
        yield start, part


def _points(known: pa.Table) -> pa.Array:
    """Points of WKB: byte order, type 1, longitude, latitude."""
    longitude, latitude = _degrees(known)
    wkb = np.zeros(len(known), dtype="<u1, <u4, <f8, <f8")
    wkb["f0"], wkb["f1"], wkb["f2"], wkb["f3"] = 1, 1, longitude, latitude
    where = np.isfinite(longitude) & np.isfinite(latitude)
    content = [row.tobytes() if on else None for row, on in zip(wkb, where, strict=True)]
    return pa.array(content, pa.binary())


def _degrees(known: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    found = (known[c].to_numpy(zero_copy_only=False) for c in ("longitude", "latitude"))
    longitude, latitude = (np.asarray(values, dtype=np.float64) for values in found)
    return longitude, latitude


def _geo(place: str, known: pa.Table) -> dict:
    longitude, latitude = _degrees(known)
    bounds = [longitude, latitude]
    box = [float(np.nanmin(of)) for of in bounds] + [float(np.nanmax(of)) for of in bounds]
    column = {"encoding": "WKB", "geometry_types": ["Point"], "bbox": box}  # the CRS is the default
    return {"version": "1.1.0", "primary_column": place, "columns": {place: column}}


def _free(name: str, taken: list[str]) -> str:
    while name in taken:
        name += "_"
    return name
