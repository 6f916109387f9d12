"""An index searched on a page of this machine: `Session` answers what `Server` is asked.

The page is the standard library's server and one file of HTML, and no Voilà, which would start a
kernel, and with it a copy of the network, for each visitor, and needs Jupyter where it runs. This
one shares one network, works without Jupyter and inside it (a frame on localhost), and gives what
the index holds, and of the disk nothing but that and its archive's images. Small ones come with the
results that they belong to; a larger one is asked for by its name, which is looked up in the index
and never is a path.
"""

import base64
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import SplitResult, parse_qs

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from maclcore import paths, serving
from maclcore.data.catalogue import RGB
from maclcore.data.patches import found_again
from maclcore.data.scenes import files_of, open_rgb
from maclcore.search import contact_sheet, results
from maclcore.search.embedder import GIVEN, Embedder, Made, of_made
from maclcore.search.index import TABLE, Index, one_of
from maclcore.search.pixels import THUMBNAIL
from maclcore.search.posted import JPEG, box, data_address, dropped, has_examples, query_of, whole
from maclcore.search.query import Query, condition, find
from maclcore.search.results import Answer

PAGE = Path(__file__).with_name("page.html")
LARGEST_IMAGE = 2**25  # bytes of an image that is dropped
LARGEST_QUERY = 2**20  # of a query, whose examples may be vectors
MOST = 10_000  # results that can be paged through
A_PAGE = 200  # results at once, at most
CHOICES = 40  # values of a column up to which they can be chosen from
CELLS = 128  # a side of the map: of the images in one of its cells one is drawn
EXPORTS = {"csv": "text/csv", "json": "application/json", "html": "text/html"}
LARGE = 1024  # pixels of an image that is looked at


class Moved(ValueError):
    """The page is of an index that has since been made by another network."""


class Session:
    """What the page asks of the index in `where`, however many ask at once.

    The index is opened for each question, so that what is written to it shows at the next one, and
    that it is gone is told. ValueError for what is no index, and for questions that are none.
    """

    def __init__(self, where: str | Path) -> None:
        self.where = Index(where).where
        self._looking, self._counting = threading.Lock(), threading.Lock()
        self._embedder: Embedder | None = None
        self._counted: dict[str, tuple] = {}

    def about(self) -> dict[str, Any]:
        """What the index is of: its archive, network, labels with their counts, columns, extent."""
        with self._open() as index:
            about = index.about
            labels = self._once(index, "labels", _label_counts)
            places = self._once(index, "places", _places)
            return {
                "where": self.where,
                "title": about.title or about.archive,
                "images": len(index),
                "network": repr(about.made),
                "made_by": contact_sheet.network(about.made),
                "takes_files": about.made.vector != GIVEN and about.made.bands == RGB,
                "recall": about.approximate and about.approximate.recall_10,
                "largest": LARGEST_IMAGE,
                "labels": [[name, labels.get(name, 0)] for name in about.label_names],
                "columns": self._once(index, "columns", _choices),
                "extent": _extent(places),
            }

    def find(self, given: dict[str, Any]) -> dict[str, Any]:
        """A page of results, from `offset` on at most `limit`, of how many, and how far they go."""
        offset, limit = (whole(given, key) for key in ("offset", "limit"))
        far = offset >= MOST and has_examples(given)
        if offset < 0 or far or not 1 <= limit <= A_PAGE:
            raise ValueError(f"results {offset} to {offset + limit}: look for less")
        with self._open(given) as index:
            query = query_of(index, given)
            total = self._total(index, query)
            if has_examples(given):
                found = find(index, query, offset + limit, _quick(given)).iloc[offset:]
            else:
                names = self._once(index, "names", _names, condition(index, query))
                found = index.rows(names=names.slice(offset, limit).to_pylist())
            pictures = _thumbnails(index, found["name"].tolist())
            items = [_item(row, index.columns, pictures) for row in found.to_dict("records")]
        reach = min(total, MOST) if has_examples(given) else total
        return {"total": total, "reach": reach, "offset": offset, "items": items}

    def places(self, given: dict[str, Any]) -> dict[str, Any]:
        """Where images lie in the `view`, one of each cell of a grid, as longitude, latitude."""
        west, south, east, north = box(given.get("view"))
        with self._open() as index:
            places = self._once(index, "places", _places)
        inside = (places >= (west, south)).all(1) & (places <= (east, north)).all(1)
        places = places[inside]
        step = np.maximum([east - west, north - south], 1e-9) / CELLS
        _, first = np.unique(np.floor(places / step) @ (1, 1 << 31), return_index=True)
        return {"number": len(places), "points": places[first].round(6).tolist()}

    def example(self, content: bytes) -> dict[str, str]:
        """Vector and thumbnail of the content of an image file, which is not kept."""
        with self._open() as index:
            made = index.about.made
        with self._looking, TemporaryDirectory() as folder:
            file = Path(folder) / "dropped.tif"  # whatever it is: its content says that
            file.write_bytes(content)
            try:
                shown = open_rgb(file, made.stretch)
                vector = self._network(made).file(file)
            except (ValueError, ImportError) as error:
                raise ValueError(str(error).removeprefix(f"{file.name}: ")) from error
        return {
            "vector": base64.b64encode(vector.astype("<f4").tobytes()).decode(),
            "thumbnail": data_address(_jpeg(shown, THUMBNAIL)),
        }

    def export(self, given: dict[str, Any]) -> tuple[str, bytes]:
        """Type and content of a file of what is found: `kind` is one of EXPORTS."""
        kind, k = given.get("kind"), whole(given, "k")
        if kind not in EXPORTS or not 1 <= k <= MOST:
            raise ValueError(f"no export {kind!r} of {k}: 1 to {MOST:,} as {', '.join(EXPORTS)}")
        with self._open(given) as index, TemporaryDirectory() as folder:
            query, file = query_of(index, given), Path(folder) / "found"
            self._total(index, query)  # says what is wrong with a condition
            like, unlike = (dropped(given, key) for key in ("dropped", "dropped_unlike"))
            answer = Answer(query, find(index, query, k, _quick(given)), like, unlike)
            if kind == "json":
                results.write_json(file, index, [answer])
            elif kind == "csv":
                results.write_csv(file, [answer])
            else:
                contact_sheet.write(file, index, [answer])
            return EXPORTS[kind], file.read_bytes()

    def picture(self, name: str) -> tuple[str, bytes]:
        """Type and content of an image, of its file or else its thumbnail; KeyError for none.

        Files are read only where all that the image is made of lies in the archive's folder.
        """
        with self._open() as index:
            found = index.rows(names=[name], limit=1)
            if not len(found):
                raise KeyError(name)
            file = Path(found["file"][0] or "")
            folder = (paths.data_root() / index.about.archive).resolve()  # a name, or a path
            with suppress(ValueError, KeyError, OSError, ImportError):  # gone, changed, damaged
                _is_inside([file], folder)
                image = found_again(file, name, index.about.options.get("tile", 0))
                _is_inside(files_of(image), folder)
                with self._looking:  # one at a time, for they may be large
                    return JPEG, _jpeg(open_rgb(image, index.about.made.stretch), LARGE)
            return JPEG, index.thumbnail(name)

    def _network(self, made: Made) -> Embedder:
        if self._embedder is None or self._embedder.made != made:
            try:
                self._embedder = of_made(made)
            except (LookupError, OSError, ImportError) as error:
                raise ValueError(
                    f"the network of this index cannot be had ({error}): search by its own images"
                ) from error
        return self._embedder

    @contextmanager
    def _open(self, given: dict[str, Any] | None = None) -> Iterator[Index]:
        """The index as it is now; Moved if what is given comes from one of another network."""
        index = Index(self.where)
        if given and given.get("network") not in (None, repr(index.about.made)):
            raise Moved("the index was made anew by another network: load this page again")
        try:
            yield index
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"{self.where} cannot be read: it was changed or removed just now ({error})"
            ) from error

    def _once(self, index: Index, what: str, count: Callable, *more: Any) -> Any:
        """`count(index, *more)`, once for a version of the index.

        Of what it was counted for the last is kept, so that memory does not grow with questions.
        """
        of = (_version(index), more)
        with self._counting:
            if self._counted.get(what, (None,))[0] != of:
                self._counted[what] = of, count(index, *more)
            return self._counted[what][1]

    def _total(self, index: Index, query: Query) -> int:
        examples = [*query.like, *query.unlike]
        parts = [f"NOT ({one_of('name', examples)})"] if examples else []
        try:
            parts += [f"({where})" for where in [condition(index, query)] if where]
            return index.table.count_rows(" AND ".join(parts) or None)
        except (RuntimeError, OSError, ValueError):
            find(index, query, 1)  # says what is wrong with the condition
            raise


# --- What an index has ---------------------------------------------------------------------------


def _quick(given: dict[str, Any]) -> bool:
    """Whether an approximate search is asked for, which is there for examples alone."""
    return given.get("approximate") is True


def _version(index: Index) -> tuple[int, int]:
    """Another one after each writing, also where an index was removed and another one made."""
    folder = Path(index.where) / f"{TABLE}.lance" / "_versions"  # to which each writing adds a file
    return index.table.version, folder.stat().st_mtime_ns if folder.is_dir() else 0


def _taken(index: Index, columns: list[str], where: str | None = None) -> pa.Table:
    query = index.table.search().select(columns)
    return (query.where(where) if where else query).to_arrow()


def _names(index: Index, where: str | None) -> pa.Array:
    """The names of all images that meet a condition, in their order: some 20 bytes each."""
    names = _taken(index, ["name"], where)["name"].combine_chunks()
    return names.take(pc.sort_indices(names))


def _label_counts(index: Index) -> dict[str, int]:
    counts = pc.value_counts(pc.list_flatten(_taken(index, ["labels"])["labels"]))
    return {pair["values"]: pair["counts"] for pair in counts.to_pylist()}


def _choices(index: Index) -> list[dict[str, Any]]:
    """Of each own column what it can be filtered by: a few values, or least and most."""
    found = []
    for name in index.columns:
        column = _taken(index, [name])[name]
        kind, told = column.type, dict[str, Any](name=name)
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if number or pa.types.is_string(kind) or pa.types.is_boolean(kind):
            values = pc.unique(column)
            if len(values) <= CHOICES:
                order = sorted(values.drop_null().to_pylist())
                told["values"] = [*order, *([None] if values.null_count else [])]
            elif number:
                least = pc.min_max(column).as_py()
                told["range"] = [least["min"], least["max"]]
        found.append(told)
    return found


def _places(index: Index) -> np.ndarray:
    """Longitude and latitude (n, 2) of the images that have them."""
    found = _taken(index, ["longitude", "latitude"])
    places = np.column_stack([found[c].to_numpy() for c in ("longitude", "latitude")])
    return places[np.isfinite(places.astype(np.float64)).all(1)].astype(np.float64)


def _extent(places: np.ndarray) -> list[float] | None:
    return [*places.min(0).tolist(), *places.max(0).tolist()] if len(places) else None


def _thumbnails(index: Index, names: list[str]) -> dict[str, str]:
    found = _taken(index, ["name", "thumbnail"], one_of("name", names))
    pairs = zip(found["name"].to_pylist(), found["thumbnail"].to_pylist(), strict=True)
    return {name: data_address(content) for name, content in pairs if content}


def _item(row: dict[str, Any], columns: tuple[str, ...], pictures: dict[str, str]) -> dict:
    """A result as the page has it; one whose vector was given may have no picture."""
    return {
        "name": row["name"],
        "cosine": _number(row.get("cosine")),
        "labels": [*row["labels"]],
        "longitude": _number(row["longitude"]),
        "latitude": _number(row["latitude"]),
        "columns": [[c, _text(row[c])] for c in columns if not pd.isna(row[c])],
        "thumbnail": pictures.get(row["name"]),
    }


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"  # whole numbers come as these where some are missing
    return str(value)


def _is_inside(files: Iterable[Path], folder: Path) -> None:
    """ValueError for a file that is not in the folder, or leads out of it."""
    for file in files:
        if not file.resolve().is_relative_to(folder):
            raise ValueError(f"{file} is not in {folder}")


def _jpeg(image: Image.Image, size: int) -> bytes:
    content = io.BytesIO()
    image.thumbnail((size, size))
    image.save(content, "JPEG", quality=90)
    return content.getvalue()


# --- The server ----------------------------------------------------------------------------------


class Server(serving.PageServer):
    """Serves a session until `stop`. Port 0 is any free one; OSError where the port is taken."""

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        super().__init__(Handler, port, lambda: None)


class Handler(serving.Handler):
    server: Server
    page = PAGE

    def largest(self, path: str) -> int:
        return LARGEST_IMAGE if path == "/example" else LARGEST_QUERY

    def get(self, at: SplitResult) -> None:
        if at.path == "/about":
            self.tell(self.server.session.about)
        elif at.path == "/picture":
            name = parse_qs(at.query).get("name", [""])[0]
            self.give(lambda: self.server.session.picture(name))
        else:
            self.nothing_here()

    def body(self, path: str, content: bytes) -> None:
        if path == "/example":
            return self.tell(lambda: self.server.session.example(content))
        super().body(path, content)

    def post(self, path: str, given: dict[str, Any]) -> None:
        session = self.server.session
        if path == "/find":
            self.tell(lambda: session.find(given))
        elif path == "/places":
            self.tell(lambda: session.places(given))
        elif path == "/export":
            self.give(lambda: session.export(given), {"Content-Disposition": "attachment"})
        else:
            self.nothing_here()

    def refusal(self, error: Exception) -> tuple[HTTPStatus, str] | None:
        if isinstance(error, KeyError):
            return HTTPStatus.NOT_FOUND, "there is no such image in the index"
        if isinstance(error, Moved):
            return HTTPStatus.CONFLICT, str(error)
        return super().refusal(error)
