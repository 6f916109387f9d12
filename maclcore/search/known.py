"""What an archive knows of its images, as the columns of an index."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from maclcore.data.catalogue import Catalogue
from maclcore.search.index import FIXED
from maclcore.search.pixels import file_of

#: what results have beside the columns of an index
RESERVED = {"cosine", "_distance", "_rowid", "_rowaddr"}


class Known:
    """What is known of the images of an archive, as rows of an index.

    `contents`: what tells one content from another; `places` (N, 2): longitude, latitude, or NaN.
    """

    def __init__(
        self, catalogue: Catalogue, contents: Sequence[str], places: np.ndarray | None = None
    ) -> None:
        self.catalogue, self.contents = catalogue, list(contents)
        self.label_names = np.array(catalogue.label_names, dtype=object)
        self.columns = own_columns(catalogue.columns)
        self.places = np.full((len(catalogue), 2), np.nan) if places is None else places

    @property
    def types(self) -> dict[str, pa.DataType]:
        return {name: column.type for name, column in self.columns.items()}

    def __call__(
        self,
        rows: Sequence[int],
        schema: pa.Schema,
        thumbnails: Sequence[bytes | None] | None = None,
        z: np.ndarray | None = None,
    ) -> pa.Table:
        """Some rows, of a table with that schema; thumbnails and vectors if they are given."""
        of, take = self.catalogue, pa.array(rows, pa.int64())
        said: dict[str, Any] = {
            "name": [of.names[i] for i in rows],
            "content": [self.contents[i] for i in rows],
            "file": [file_of(of.images[i]) for i in rows],
            "labels": [self.label_names[of.labels[i]].tolist() for i in rows],
            "longitude": pa.array(self.places[rows, 0], from_pandas=True),  # NaN becomes null
            "latitude": pa.array(self.places[rows, 1], from_pandas=True),
        }
        for name in schema.names:
            if name not in FIXED:
                column = self.columns.get(name)
                said[name] = [None] * len(rows) if column is None else column.take(take)
        if thumbnails is not None and z is not None:
            said |= {"thumbnail": thumbnails, "vector": vectors(z)}
        fields = [field for field in schema if field.name in said]
        return pa.table(
            [_typed(said[field.name], field.type) for field in fields], schema=pa.schema(fields)
        )


def vectors(z: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(z, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, z.shape[1])


def own_columns(columns: Mapping[str, Sequence[Any]]) -> dict[str, pa.Array]:
    """The columns of the owner's table, each of one type; ValueError for what an index cannot have.

    A column without any value is left out.
    """
    found = {}
    for name, values in columns.items():
        if name in {*FIXED, *RESERVED} or "." in name or not name:
            raise ValueError(f"an index cannot have a column {name!r}: rename it in the table")
        try:
            column = pa.array(values, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            kinds = sorted({type(value).__name__ for value in values if value is not None})
            raise ValueError(
                f"column {name!r} holds values of several kinds ({', '.join(kinds)}): write all "
                "of them as one, or leave it out"
            ) from error
        if column.null_count < len(column):
            found[name] = column
    return found


def _typed(values: Any, of: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values if values.type == of else values.cast(of)
    return pa.array(values, type=of)
