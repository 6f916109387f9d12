"""An index: one table of LanceDB, in a folder or on object storage, with a row an image.

A row has the image's name and content, what is known of it, a thumbnail, and its vector. What made
the vectors, and of which archive, is in the table's own metadata, so that a copy of the table is
the whole index.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout
from PIL import Image

from maclcore.data.catalogue import Catalogue
from maclcore.evaluation.ranking import GRID
from maclcore.search.embedder import Embedder, Made

FORMAT = 1  # of the table; another number is another layout
TABLE = "images"
CHUNK = 512  # images that are written at once: what a killed build loses at most
THUMBNAIL = 128  # pixels of its longer side
KEY = b"maclcore"  # of the metadata
#: what a row always has; the columns of the owner's table come between labels and thumbnail
FIXED = ("name", "content", "file", "labels", "longitude", "latitude", "thumbnail", "vector")


@dataclass(frozen=True)
class About:
    """What an index is of and from; `made` decides which vectors may be compared with it."""

    made: Made
    archive: str  #: a name, or the absolute path of a folder
    title: str
    label_names: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)  #: how the archive was read
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


def schema(about: About, columns: dict[str, pa.DataType]) -> pa.Schema:
    fields = [
        ("name", pa.string()),
        ("content", pa.string()),
        ("file", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("longitude", pa.float64()),
        ("latitude", pa.float64()),
        *columns.items(),
        ("thumbnail", pa.binary()),
        ("vector", pa.list_(pa.float32(), about.made.dim)),
    ]
    return pa.schema(fields, metadata={KEY: json.dumps(asdict(about)).encode()})


class Index:
    """An index that is there already; ValueError for what is none, or of another format."""

    def __init__(self, where: str | Path) -> None:
        self.where = str(where)
        if "://" not in self.where and not Path(self.where).is_dir():
            raise ValueError(f"no index {self.where}: `index build FOLDER --out {self.where}`")
        try:
            self.table = lancedb.connect(self.where).open_table(TABLE)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(f"{self.where} is no index: it has no table {TABLE!r}") from error
        told = (self.table.schema.metadata or {}).get(KEY)
        about = json.loads(told) if told else {}
        if about.get("format") != FORMAT:
            raise ValueError(
                f"{self.where} is an index of format {about.get('format')}, and this program reads "
                f"{FORMAT}: build it anew"
            )
        about["made"]["bands"] = tuple(about["made"]["bands"])
        about["label_names"] = tuple(about["label_names"])
        self.about = About(**{**about, "made": Made(**about["made"])})

    def __len__(self) -> int:
        return self.table.count_rows()

    @property
    def columns(self) -> tuple[str, ...]:
        """What the owner's table says beside labels."""
        return tuple(name for name in self.table.schema.names if name not in FIXED)

    def rows(
        self, where: str | None = None, names: Sequence[str] | None = None, limit: int | None = None
    ) -> pd.DataFrame:
        """What is known of images, without vectors and thumbnails, in the order of their names."""
        shown = [c for c in self.table.schema.names if c not in ("thumbnail", "vector")]
        query = self.table.search().select(shown)
        wheres = [w for w in (where, None if names is None else one_of("name", names)) if w]
        if wheres:
            query = query.where(" AND ".join(f"({w})" for w in wheres))
        if limit is not None:
            query = query.limit(limit)
        found = query.to_pandas().sort_values("name", ignore_index=True)
        return found

    def vectors(self, names: Sequence[str]) -> np.ndarray:
        """(n, D) float32, in the order of `names`; ValueError for one that is not indexed."""
        query = self.table.search().select(["name", "vector"]).where(one_of("name", names))
        found = query.to_arrow()
        of = dict(zip(found["name"].to_pylist(), found["vector"].to_pylist(), strict=True))
        if unknown := [name for name in names if name not in of]:
            raise ValueError(f"not in the index: {', '.join(unknown[:10])}")
        return np.array([of[name] for name in names], dtype=np.float32)

    def thumbnail(self, name: str) -> bytes:
        """A JPEG of at most THUMBNAIL pixels a side; KeyError for an image that is not indexed."""
        found = self.table.search().select(["thumbnail"]).where(one_of("name", [name])).to_arrow()
        if not len(found):
            raise KeyError(name)
        return found["thumbnail"][0].as_py()

    def nearest(
        self, z: np.ndarray, k: int, where: str | None = None, exclude: Sequence[str] = ()
    ) -> pd.DataFrame:
        """The k rows of the largest cosine with z (D,), best first, equal ones by name.

        As `rows`, with a column `cosine`, which is `evaluation.ranking.search`'s to the last bit.
        `where`: a condition of SQL on the columns. `exclude`: names that are not to be found.
        """
        not_these = f"NOT ({one_of('name', exclude)})" if len(exclude) else None
        condition = " AND ".join(f"({w})" for w in (where, not_these) if w) or None
        unit = _on_grid(np.asarray(z, dtype=np.float64)[None])[0]
        want = k
        while True:  # the table's float32 picks the candidates, float64 orders them
            found = self._candidates(unit.astype(np.float32), want + 32, condition)
            cosine = (_on_grid(_matrix(found["vector"])) @ unit).astype(np.float32)
            order = np.lexsort((np.array(found["name"].to_pylist(), dtype=object), -cosine))
            whole = len(found) < want + 32
            if whole or cosine[order[k - 1]] - cosine.min() > 1e-5:
                break
            want *= 4  # as many are as good as the k-th: take all of them
        best = found.drop_columns(["vector", "_distance"]).take(order[:k]).to_pandas()
        best.insert(1, "cosine", cosine[order[:k]])
        return best

    def _candidates(self, z: np.ndarray, n: int, where: str | None) -> pa.Table:
        shown = [c for c in self.table.schema.names if c != "thumbnail"]
        query = self.table.search(z).distance_type("dot").limit(n).select([*shown, "_distance"])
        return (query.where(where) if where else query).to_arrow()


def _on_grid(z: np.ndarray) -> np.ndarray:
    """Unit rows as `ranking.UnitRows` has them, so that cosines are the same."""
    z = z.astype(np.float64)
    return np.round(z / (np.linalg.norm(z, axis=1, keepdims=True) * GRID)) * GRID


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    flat = column.combine_chunks()
    return flat.flatten().to_numpy().reshape(len(column), column.type.list_size)


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} IN ({', '.join(map(quoted, values))})" if values else "false"


# --- Building -----------------------------------------------------------------------------------


def build(catalogue: Catalogue, embedder: Embedder, where: str | Path) -> Index:
    """Embed the images that are not in the index yet, or have another content now."""
    embedder.check(catalogue)
    about = About(
        embedder.made,
        str(catalogue.folder or catalogue.name),
        catalogue.title,
        catalogue.label_names,
    )
    columns = {name: pa.array(values).type for name, values in catalogue.columns.items()}
    with alone(where):
        db = lancedb.connect(str(where))
        table = db.create_table(TABLE, schema=schema(about, columns), exist_ok=True)
        contents = catalogue.contents()
        known = table.search().select(["name", "content"]).to_pandas()
        there = dict(zip(known["name"], known["content"], strict=True))
        todo = [i for i, name in enumerate(catalogue.names) if there.get(name) != contents[i]]
        for start in range(0, len(todo), CHUNK):
            rows = todo[start : start + CHUNK]
            pixels = np.stack([catalogue.decode(i, embedder.made.image_size) for i in rows])
            z = embedder(pixels)
            data = [
                {
                    "name": catalogue.names[i],
                    "content": contents[i],
                    "file": str(catalogue.images[i]),
                    "labels": [
                        n
                        for n, on in zip(catalogue.label_names, catalogue.labels[i], strict=True)
                        if on
                    ],
                    "longitude": None,
                    "latitude": None,
                    **{name: values[i] for name, values in catalogue.columns.items()},
                    "thumbnail": thumbnail(pixels[j]),
                    "vector": z[j],
                }
                for j, i in enumerate(rows)
            ]
            table.merge_insert(
                "name"
            ).when_matched_update_all().when_not_matched_insert_all().execute(
                pa.Table.from_pylist(data, schema=table.schema)
            )
    return Index(where)


def thumbnail(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[:3].transpose(1, 2, 0))).save(
        content, "JPEG", quality=85
    )
    return content.getvalue()


@contextmanager
def alone(where: str | Path) -> Iterator[None]:
    """Hold an index in a folder against other writers; TimeoutError if there is one."""
    if "://" in str(where):
        yield
        return
    Path(where).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(where) / "writing.lock", timeout=0):
            yield
    except Timeout as error:
        raise TimeoutError(f"{where} is being written by another process: wait for it") from error
