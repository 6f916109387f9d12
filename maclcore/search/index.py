"""An index: one table of LanceDB, in a folder or on object storage, with a row an image.

A row has the image's name and content, what is known of it, a thumbnail, and its vector. What made
the vectors, and of which archive, is in the table's own metadata, so that a copy of the table is
the whole index. `build` fills it; here it is read and searched.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from filelock import FileLock, Timeout
from lancedb.query import ColumnOrdering

from maclcore.evaluation.ranking import GRID, UnitRows
from maclcore.search.embedder import Made

FORMAT = 1  # of the table; another number is another layout
TABLE = "images"
KEY = "maclcore"  # of the metadata of the column of vectors, which says all of `About`
NAMES = 1000  # names that one condition of SQL lists
SCANNED = 4096  # rows in memory where a scan is needed, and candidates up to which it is not
#: what a row always has; the columns of the owner's table come between latitude and thumbnail
FIXED = ("name", "content", "file", "labels", "longitude", "latitude", "thumbnail", "vector")


@dataclass(frozen=True)
class Approximate:
    """An approximate search, and how many of the best 10 and 100 it finds, by a sample."""

    partitions: int
    probed: int  #: partitions that a query looks into
    recall_10: float
    recall_100: float
    queries: int  #: vectors of the index, each searched for in both ways


@dataclass(frozen=True)
class About:
    """What an index is of and from; `made` and `rule` decide which vectors may stand in it."""

    made: Made
    archive: str  #: a name, or the absolute path of a folder; "" of vectors that were given
    title: str
    label_names: tuple[str, ...]
    rule: str = ""  #: how files become the pixels that the network sees
    options: dict[str, Any] = field(default_factory=dict)  #: how the archive was read
    versions: dict[str, str] = field(default_factory=dict)
    approximate: Approximate | None = None
    format: int = FORMAT

    def metadata(self) -> dict[str, str]:
        return {KEY: json.dumps(asdict(self))}

    @classmethod
    def of(cls, table: Any) -> "About":
        """What a table says of itself; ValueError if it is none of ours, or of another format."""
        columns = table.schema.names
        told = table.schema.field("vector").metadata if "vector" in columns else None
        about = json.loads((told or {}).get(KEY.encode(), b"{}"))
        if about.get("format") != FORMAT:
            which = f"an index of format {about['format']}" if about else "no index of this program"
            raise ValueError(f"{which}, and this program reads format {FORMAT}: build it anew")
        near, about["made"] = about["approximate"], Made.of(about["made"])
        about["label_names"] = tuple(about["label_names"])
        about["approximate"] = near and Approximate(**near)
        return cls(**about)


def schema(about: About, columns: Mapping[str, pa.DataType]) -> pa.Schema:
    vector = pa.field("vector", pa.list_(pa.float32(), about.made.dim), metadata=about.metadata())
    fields: list[Any] = [
        ("name", pa.string()),
        ("content", pa.string()),
        ("file", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("longitude", pa.float64()),
        ("latitude", pa.float64()),
        *columns.items(),
        ("thumbnail", pa.binary()),
        vector,
    ]
    return pa.schema(fields)


def connect(where: str | Path) -> Any:
    """The data base in a folder or at an address; tables in it are seen as they are now."""
    return lancedb.connect(str(where), read_consistency_interval=timedelta(0))


class Index:
    """An index that is there already; ValueError for what is none, or of another format."""

    def __init__(self, where: str | Path) -> None:
        self.where = str(where)
        if "://" not in self.where and not Path(self.where).is_dir():
            raise ValueError(f"no index {self.where}: `index build FOLDER --out {self.where}`")
        try:
            self.table = connect(self.where).open_table(TABLE)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(f"{self.where} is no index: it has no table {TABLE!r}") from error
        try:
            self.about = About.of(self.table)
        except ValueError as error:
            raise ValueError(f"{self.where} is {error}") from error

    def __len__(self) -> int:
        return self.table.count_rows()

    @property
    def columns(self) -> tuple[str, ...]:
        """What the owner's table says beside labels."""
        return tuple(name for name in self.table.schema.names if name not in FIXED)

    def rows(
        self, where: str | None = None, names: Sequence[str] | None = None, limit: int | None = None
    ) -> pd.DataFrame:
        """What is known of images, without vectors and thumbnails, in the order of their names.

        `where`: a condition of SQL on the columns; ValueError for what is none. `limit`: the first
        so many.
        """
        shown = self._shown()
        if names is None:
            query = self._where(self.table.search().select(shown), where)
            query = query.order_by([ColumnOrdering(column_name="name")])
            return _frame((query if limit is None else query.limit(limit)).to_arrow())
        conditions = (_both(where, one_of("name", some)) for some in parts(list(names)))
        found = [
            self._where(self.table.search().select(shown), condition).to_arrow()
            for condition in conditions
        ]
        whole = pa.concat_tables(found).sort_by("name") if found else self._none(shown)
        return _frame(whole.slice(0, limit))

    def vectors(self, names: Sequence[str]) -> np.ndarray:
        """(n, D) float32, in the order of `names`; ValueError for one that is not indexed."""
        of: dict[str, np.ndarray] = {}
        for some in parts(list(dict.fromkeys(names))):
            query = self.table.search().select(["name", "vector"]).where(one_of("name", some))
            found = query.to_arrow()
            of |= zip(found["name"].to_pylist(), matrix(found["vector"]), strict=True)
        if unknown := [name for name in names if name not in of]:
            raise ValueError(f"not in the index: {', '.join(unknown[:10])}")
        rows = [of[name] for name in names]
        return np.stack(rows) if rows else np.empty((0, self.about.made.dim), dtype=np.float32)

    def thumbnail(self, name: str) -> bytes:
        """A JPEG of at most 128 pixels a side; KeyError for an image without any."""
        found = self.table.search().select(["thumbnail"]).where(one_of("name", [name])).to_arrow()
        content = found["thumbnail"][0].as_py() if len(found) else None
        if content is None:
            raise KeyError(name)
        return content

    def nearest(
        self,
        z: np.ndarray,
        k: int,
        where: str | None = None,
        exclude: Sequence[str] = (),
        approximate: bool = False,
    ) -> pd.DataFrame:
        """The k rows of the largest cosine with z (D,), best first, equal ones by name.

        As `rows`, with a column `cosine`, which is `evaluation.ranking.search`'s to the last bit.
        `where`: a condition of SQL on the columns. `exclude`: names that are not to be found.
        `approximate`: look only into the parts of the index that are nearest to z; rows may be
        missed, but the order and cosines of those found are exact. ValueError for a vector that
        cannot be compared, a condition that is none, and if there is no approximate search.
        """
        if k < 1:
            raise ValueError(f"k is {k}: a search has at least 1 result")
        probed = None
        if approximate:
            if self.about.approximate is None:
                raise ValueError(
                    f"{self.where} has no approximate search: `index approximate {self.where}` "
                    "makes one"
                )
            probed = self.about.approximate.probed
        condition = _both(where, f"NOT ({one_of('name', exclude)})" if len(exclude) else None)
        found, cosine = self._best(z, k, condition, probed)
        best = _frame(found.drop_columns(["vector"]))
        best.insert(1, "cosine", cosine)
        return best

    def candidates(self, z: np.ndarray, k: int, probed: int | None = None) -> list[str]:
        """The names that `nearest` finds, looking into so many parts; None: into all, exactly."""
        return self._best(z, k, None, probed)[0]["name"].to_pylist()

    def _best(
        self, z: np.ndarray, k: int, condition: str | None, probed: int | None
    ) -> tuple[pa.Table, np.ndarray]:
        unit = self._unit(z)
        if probed is None:
            found = self._scanned(unit, k, condition)
        else:
            found = self._probed(unit, k, condition, probed)
        order, cosine = _order(found, unit, k)
        return found.take(order), cosine

    def _unit(self, z: np.ndarray) -> torch.Tensor:
        """(D,) float64, as `ranking.search` compares it."""
        z = np.asarray(z)
        if z.shape != (self.about.made.dim,):
            raise ValueError(f"a vector here has shape ({self.about.made.dim},), not {z.shape}")
        return UnitRows(z[None], "z")(slice(0, 1))[0]

    def _scanned(self, unit: torch.Tensor, k: int, condition: str | None) -> pa.Table:
        """Rows among which the k best are: LanceDB's float32 picks them, and is doubted."""
        want, doubt = k + 32, error(len(unit))
        while want <= max(SCANNED, k + 32):
            query = self.table.search(unit.numpy().astype(np.float32)).bypass_vector_index()
            found = self._found(query, want, condition)
            if len(found) < want:
                break
            beyond = 1 - pc.max(found["_distance"]).as_py()  # no other has more, by float32
            _, cosine = _order(found, unit, k)
            if cosine[-1] > beyond + doubt:
                break
            want *= 4  # others may be as good as the k-th
        else:
            return self._streamed(unit, k, condition)
        return found.drop_columns(["_distance"])

    def _streamed(self, unit: torch.Tensor, k: int, condition: str | None) -> pa.Table:
        """The k best rows, from a comparison of all: where very many are as good as the k-th."""
        query = self._where(self.table.search().select(["name", "vector"]), condition)
        best = None
        for batch in query.to_batches(SCANNED):
            part = pa.Table.from_batches([batch])
            part = part if best is None else pa.concat_tables([best, part])
            best = part.take(_order(part, unit, k)[0])
        names = [] if best is None else best["name"].to_pylist()
        conditions = [one_of("name", some) for some in parts(names)] or ["false"]
        shown = [*self._shown(), "vector"]
        queries = (self.table.search().select(shown).where(some) for some in conditions)
        return pa.concat_tables([query.to_arrow() for query in queries])

    def _probed(self, unit: torch.Tensor, k: int, condition: str | None, probed: int) -> pa.Table:
        """Rows of the parts that are nearest; twice k, since they are kept in 8 bits there."""
        query = self.table.search(unit.numpy().astype(np.float32))
        query = query.minimum_nprobes(probed).maximum_nprobes(0)  # more, if a condition leaves few
        return self._found(query, 2 * k + 32, condition).drop_columns(["_distance"])

    def _found(self, query: Any, want: int, condition: str | None) -> pa.Table:
        shown = [*self._shown(), "vector", "_distance"]
        query = query.distance_type("dot").limit(want).select(shown)
        return self._where(query, condition).to_arrow()

    def _where(self, query: Any, condition: str | None) -> Any:
        if condition is None:
            return query
        query = query.where(condition)
        try:
            query.explain_plan()
        except (ValueError, RuntimeError) as error:
            reason = str(error).split("(sql parser")[0].split(", /")[0].strip()
            raise ValueError(f"not a condition on the columns of the index: {reason}") from error
        return query

    def _shown(self) -> list[str]:
        return [name for name in self.table.schema.names if name not in ("thumbnail", "vector")]

    def _none(self, shown: list[str]) -> pa.Table:
        return self.table.search().select(shown).where("false").to_arrow()


def error(dim: int) -> float:
    """How far a float32 product of unit rows (D,), in any order, may lie from their cosine.

    Each of D products and D - 1 sums errs by at most 2^-24 of what it yields, which together is at
    most D 2^-24 of the product of their lengths (Higham, Accuracy and Stability, 2002, §3.1). 16
    more of these: what was rounded to float32 before and after, and lengths that are not quite 1.
    Rounding the coordinates of both rows to GRID adds √D of it.
    """
    return (dim + 16) * 2.0**-24 + dim**0.5 * GRID


def _order(found: pa.Table, unit: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Which k rows are the best, equal ones by name, and their cosines, float32."""
    if not len(found):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    rows = UnitRows(matrix(found["vector"]), "vectors of the index")
    cosine = (rows(slice(0, len(rows))) @ unit).float().numpy()
    order = np.lexsort((np.array(found["name"].to_pylist(), dtype=object), -cosine))[:k]
    return order, cosine[order]


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """(n, D) of a column of vectors."""
    flat = column.combine_chunks()
    flat = flat if isinstance(flat, pa.Array) else pa.concat_arrays(flat.chunks)
    return flat.flatten().to_numpy().reshape(len(column), column.type.list_size)


def _frame(found: pa.Table) -> pd.DataFrame:
    """As pandas has it, but lists as lists."""
    frame = found.to_pandas()
    frame["labels"] = pd.Series(found["labels"].to_pylist(), index=frame.index, dtype=object)
    return frame


# --- Conditions ---------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """The condition that a column has one of these texts; never, if there are none."""
    listed = ", ".join(map(quoted, values))
    return f"{column} IN ({listed})" if listed else "false"


def _both(*conditions: str | None) -> str | None:
    return " AND ".join(f"({condition})" for condition in conditions if condition) or None


def parts(names: list[str]) -> Iterator[list[str]]:
    """NAMES at a time."""
    return (names[start : start + NAMES] for start in range(0, len(names), NAMES))


# --- Writing ------------------------------------------------------------------------------------


@contextmanager
def alone(where: str | Path) -> Iterator[None]:
    """Hold an index in a folder against other writers; TimeoutError if there is one.

    On object storage nothing is held: there the one who writes sees to it that no other does.
    """
    if "://" in str(where):
        yield
        return
    Path(where).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(where) / "writing.lock", timeout=0):
            yield
    except Timeout as error:
        raise TimeoutError(f"{where} is being written by another process: wait for it") from error
