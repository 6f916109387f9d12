"""A query chosen on a page: a test image by its name, or an image of one's own, and what is found.

`Queries` answers, `sheet` writes the answer as HTML, and `Chooser` has the controls, which need a
kernel: a notebook in JupyterLab, or the same notebook as a page (`voila NOTEBOOK`). Names and
labels are escaped. Whoever sees the page may name any image file of this machine, so it is for
localhost alone.
"""

import base64
import difflib
import os
from collections.abc import Mapping
from html import escape
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from maclcore.config import PUBLIC_DOMAIN
from maclcore.data.archives import Archive
from maclcore.data.scenes import open_rgb
from maclcore.evaluation.ranking import search
from maclcore.extras import need
from maclcore.labels import jaccard
from maclcore.losses import method_label
from maclcore.plots.galleries import frame
from maclcore.search.embedder import Embedder
from maclcore.search.pixels import thumbnail
from maclcore.store import Run

#: what starts the kernels of those who show controls sets one of these for them
FRONTENDS = (
    "JPY_SESSION_NAME",
    "VOILA_REQUEST_URL",
    "VSCODE_PID",
    "VSCODE_CWD",
    "COLAB_RELEASE_TAG",
)


class Found(NamedTuple):
    """What a query has found among the test images, best first."""

    rows: np.ndarray  #: (K,) places in `Queries.names`
    cosine: np.ndarray  #: (K,)
    jaccard: np.ndarray | None  #: (K,) with the query's labels; None where it has none
    query: int | None  #: its place, of a test image
    picture: bytes  #: a JPEG of the query
    name: str


class Queries:
    """The test images of an archive, searched by their stored embeddings under several methods.

    archive: decoded at the size at which it is to be looked at. test (Q,): its test images, in the
    order of the embeddings. runs: by method; that of `frozen` has features and no head. ValueError
    for a run that has not as many embeddings.
    """

    def __init__(self, archive: Archive, test: np.ndarray, runs: Mapping[str, Run]) -> None:
        self.archive, self.test, self.runs = archive, np.asarray(test), dict(runs)
        self.names = tuple(archive.names[i] for i in self.test)
        self.labels = archive.labels[self.test]
        self.z = {method: run.embeddings for method, run in runs.items()}
        for method, z in self.z.items():
            if len(z) != len(self.test):
                raise ValueError(f"{method} has {len(z)} embeddings of {len(self.test)} images")
        self._embedders: dict[str, Embedder] = {}

    def by_name(self, name: str, method: str, k: int = 12) -> Found:
        """The k nearest other test images of one; ValueError, naming near ones, for none."""
        if name not in self.names:
            near = ", ".join(difflib.get_close_matches(name, self.names, n=3, cutoff=0.3))
            raise ValueError(f"no test image {name!r}" + (f"; near it: {near}" if near else ""))
        row = self.names.index(name)
        rows, cosine = self._nearest(self.z[method][row], method, k + 1)
        other = rows != row
        rows, cosine = rows[other][:k], cosine[other][:k]
        alike = jaccard(self.labels[[row]], self.labels[rows])[0]
        return Found(rows, cosine, alike, row, self.picture(row), name)

    def by_file(self, file: Path, method: str, k: int = 12) -> Found:
        """The k nearest test images of an image file; ValueError for one that cannot be read."""
        embedder = self._embedders.setdefault(method, _embedder(method, self.runs[method]))
        picture = thumbnail(open_rgb(file, None))
        rows, cosine = self._nearest(embedder.file(file), method, k)
        return Found(rows, cosine, None, None, picture, file.name)

    def picture(self, row: int) -> bytes:
        """A test image as a JPEG."""
        pixels = np.moveaxis(self.archive.images[self.test[row]][:3], 0, -1)
        content = BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(content, "JPEG", quality=88)
        return content.getvalue()

    def labels_of(self, row: int) -> list[str]:
        pairs = zip(self.archive.label_names, self.labels[row], strict=True)
        return [name for name, on in pairs if on]

    def _nearest(self, z: np.ndarray, method: str, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows, cosine = search(np.asarray(z)[None], self.z[method], k)
        return rows[0].numpy(), cosine[0].numpy()


def _embedder(method: str, run: Run) -> Embedder:
    if method != "frozen":
        return Embedder.of_run(run)
    config = run.config
    return Embedder.of_backbone(config.backbone, config.weights, config.image_size)


# --- As HTML ------------------------------------------------------------------------------------

_GRID = "display: grid; grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); gap: 12px"
_TEXT = "font: 13px/1.35 system-ui, sans-serif; overflow-wrap: anywhere"


def sheet(queries: Queries, found: Found, method: str) -> str:
    """A query and what was found for it; the frames are `plots.frame`'s colours of J."""
    own = [] if found.query is None else queries.labels_of(found.query)
    head = f"<b>{escape(found.name)}</b>: " + (escape(", ".join(own)) or "an image of your own")
    said = f"The first {len(found.rows)} of {len(queries.names):,} test images"
    said += f" by {escape(method_label(method))}, best first"
    if found.jaccard is not None and found.query is not None:
        score = queries.runs[method].per_query["nDCG@100"].iloc[found.query]
        said += f". Mean Jaccard index J {found.jaccard.mean():.2f}, nDCG@100 {100 * score:.1f} %"
    cards = [
        _card(
            queries.picture(row),
            queries.names[row],
            _labels(queries.labels_of(row), own),
            f"{rank} · " + (f"cos {found.cosine[rank - 1]:.2f}" if j is None else f"J = {j:.2f}"),
            "#999999" if j is None else frame(j),
        )
        for rank, (row, j) in enumerate(zip(found.rows, _each(found), strict=True), 1)
    ]
    query = _card(found.picture, found.name, _labels(own, own), "query", "black")
    credit = escape(PUBLIC_DOMAIN.get(queries.archive.name, ""))
    return (
        f'<div style="{_TEXT}"><p>{head}.<br>{said}.</p><div style="{_GRID}">{query}'
        f"{''.join(cards)}</div><p><i>{credit}</i></p></div>"
    )


def problem(text: str) -> str:
    return f'<p style="{_TEXT}" role="alert">{escape(text)}</p>'


def _each(found: Found) -> Any:
    return [None] * len(found.rows) if found.jaccard is None else found.jaccard


def _card(jpeg: bytes, name: str, labels: str, title: str, edge: str) -> str:
    data = base64.b64encode(jpeg).decode()
    return (
        f'<figure style="margin: 0"><div>{escape(title)}</div>'
        f'<img src="data:image/jpeg;base64,{data}" alt="{escape(name)}" style="width: 100%; '
        f'aspect-ratio: 1; object-fit: contain; border: 3px solid {edge}; box-sizing: border-box">'
        f"<figcaption>{labels}</figcaption></figure>"
    )


def _labels(has: list[str], own: list[str]) -> str:
    """Those that the query has, too, in bold."""
    words = [f"<b>{escape(name)}</b>" if name in own else escape(name) for name in has]
    return ", ".join(words)


# --- With controls ------------------------------------------------------------------------------


def live() -> bool:
    """Whether somebody is there who could use controls: else a notebook is run by a program."""
    return any(os.environ.get(name) for name in FRONTENDS)


class Chooser:
    """Controls for a method and a query, and what is found below them, as the value of a cell.

    Where a notebook is run by a program, a line says so in their place; `box` has them always.
    """

    def __init__(self, queries: Queries, query: str, method: str, k: int = 12) -> None:
        need("notebooks", "Chooser")
        import ipywidgets as widgets

        self.queries, self.k = queries, k
        self.method = widgets.Dropdown(
            options=[(method_label(name), name) for name in queries.runs],
            value=method,
            description="loss",
        )
        self.query = widgets.Combobox(
            value=query,
            options=list(queries.names),
            description="query",
            placeholder="a test image, or the path of a file",
            layout={"width": "340px"},
        )
        self.file = widgets.FileUpload(
            accept="image/*", description="your own image", layout={"width": "auto"}
        )
        self.shown = widgets.HTML()
        row = widgets.HBox([self.method, self.query, self.file], layout={"flex_flow": "row wrap"})
        self.box = widgets.VBox([row, self.shown])
        self._uploaded: tuple[str, bytes] | None = None
        self.method.observe(lambda _: self._show(), "value")
        self.query.observe(lambda _: self._named(), "value")
        self.file.observe(lambda _: self._dropped(), "value")
        self._show()

    def _named(self) -> None:
        if self.query.value:
            self._uploaded = None
            self._show()

    def _dropped(self) -> None:
        if self.file.value:
            (one,) = self.file.value
            self._uploaded = (str(one["name"]), bytes(one["content"]))
            self.query.value = ""
            self._show()

    def _show(self) -> None:
        if self._uploaded is not None or self.query.value not in self.queries.names:
            self.shown.value = problem("Looking …")  # a network takes its time
        try:
            self.shown.value = sheet(self.queries, self._found(), self.method.value)
        except (ValueError, OSError) as error:
            self.shown.value = problem(str(error))

    def _found(self) -> Found:
        method, text = self.method.value, self.query.value.strip()
        if self._uploaded is not None:
            return self._of_content(*self._uploaded)
        if text not in self.queries.names and Path(text).expanduser().is_file():
            return self.queries.by_file(Path(text).expanduser(), method, self.k)
        return self.queries.by_name(text, method, self.k)

    def _of_content(self, name: str, content: bytes) -> Found:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "dropped.tif"  # whatever it is: its content says that
            file.write_bytes(content)
            try:
                found = self.queries.by_file(file, self.method.value, self.k)
            except ValueError as error:
                raise ValueError(f"{name}: {str(error).removeprefix('dropped.tif: ')}") from error
        return found._replace(name=name)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        if live():
            return self.box._repr_mimebundle_()
        said = (
            "Here are controls, in JupyterLab and in Voilà: a loss, a query, an image of one's own."
        )
        return {"text/markdown": f"*{said}*", "text/plain": said}
