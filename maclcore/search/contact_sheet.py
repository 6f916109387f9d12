"""A contact sheet: what was found, as a page that needs nothing else to be looked at.

Pictures are inlined, there is no script, and its policy lets a browser ask nobody for anything.
Names and labels are escaped.
"""

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from maclcore import paths
from maclcore.data.scenes import open_rgb
from maclcore.search.embedder import GIVEN, Made
from maclcore.search.index import Index
from maclcore.search.results import Answer, Dropped
from maclcore.version import __version__

POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none';"
#: of the page alone, and of a sheet wherever it is, such as in a notebook
PAGE = "body { margin: 0; background: #fafaf8; }"
STYLE = """
.macl-sheet {
  --ink: #23282d; --soft: #69737c; --line: #d5dadd; --card: #fff; --accent: #1f5f8b;
  --chosen: #e3eef5; --wrong: #a33025;
  max-width: 76rem; margin: 0 auto; padding: 1.5rem 1.5rem 2rem; color: var(--ink);
  background: #fafaf8; font: 15px/1.4 system-ui, "Liberation Sans", Arial, sans-serif;
}
.macl-sheet * { box-sizing: border-box; overflow-wrap: anywhere; }
.macl-sheet h1 { margin: 0; font-size: 1.5rem; font-weight: 600; }
.macl-sheet p { margin: .2rem 0 0; color: var(--soft); }
.macl-sheet section { margin-top: 1.4rem; }
.macl-sheet figure, .macl-sheet ol, .macl-sheet ul, .macl-sheet li {
  margin: 0; padding: 0; list-style: none;
}
.macl-sheet.macl-sheet ol, .macl-sheet.macl-sheet ul { padding: 0; }  /* JupyterLab's lists */
.macl-sheet .asked {
  display: flex; flex-wrap: wrap; gap: 1rem; align-items: start; padding: 1rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
}
.macl-sheet .asked figure { width: 9rem; }
.macl-sheet .asked div { flex: 1; min-width: 12rem; }
.macl-sheet h2 { margin: 0 0 .3rem; font-size: 1.05rem; font-weight: 600; }
.macl-sheet dl {
  display: grid; grid-template-columns: max-content 1fr; gap: .15rem .8rem; margin: .5rem 0 0;
}
.macl-sheet dt { color: var(--soft); }
.macl-sheet dd { margin: 0; }
.macl-sheet img {
  display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #eceeee;
  border-radius: 5px;
}
.macl-sheet .none {
  display: grid; place-items: center; aspect-ratio: 1; color: var(--soft); background: #eceeee;
  border-radius: 5px;
}
.macl-sheet .like img { outline: 3px solid var(--accent); outline-offset: 2px; }
.macl-sheet .not img { outline: 3px dashed var(--wrong); outline-offset: 2px; }
.macl-sheet .like b { color: var(--accent); }
.macl-sheet .not b { color: var(--wrong); }
.macl-sheet figcaption { padding-top: .45rem; font-size: .85rem; }
.macl-sheet .found {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(8.8rem, 1fr)); gap: .8rem;
  margin-top: 1rem;
}
.macl-sheet .found li {
  padding: .6rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
}
.macl-sheet .score {
  display: flex; justify-content: space-between; font-variant-numeric: tabular-nums;
}
.macl-sheet .score span { color: var(--soft); }
.macl-sheet meter {
  display: block; width: 100%; height: .35rem; margin: .2rem 0 .3rem; appearance: none;
  background: var(--line); border: none; border-radius: 99px; overflow: hidden;
}
.macl-sheet meter::-webkit-meter-bar { height: .35rem; background: var(--line); border: none; }
.macl-sheet meter::-webkit-meter-optimum-value { background: var(--accent); }
.macl-sheet meter::-moz-meter-bar { background: var(--accent); }
.macl-sheet .labels { display: flex; flex-wrap: wrap; gap: .25rem; margin-top: .35rem; }
.macl-sheet .labels li {
  padding: 0 .45rem; font-size: .78rem; color: var(--soft); border: 1px solid var(--line);
  border-radius: 99px; background: none;
}
.macl-sheet .labels .shared {
  color: var(--accent); background: var(--chosen); border-color: #b5d0e2;
}
.macl-sheet footer { margin-top: 1.4rem; font-size: .8rem; color: var(--soft); }
@media print { .macl-sheet li { break-inside: avoid; } }
"""


def write(file: Path, index: Index, answers: Sequence[Answer]) -> None:
    """A page of the answers, whole or not at all."""
    with paths.atomic_path(file) as temporary:
        temporary.write_text(page(index, answers), encoding="utf-8")


def page(index: Index, answers: Sequence[Answer]) -> str:
    """A whole page; the styles are known by their hash, so that no others are heeded."""
    body = fragment(index, answers)
    hashes = " ".join(f"'sha256-{_sha256(style)}'" for style in (PAGE, STYLE))
    title = escape("; ".join(answer.title for answer in answers)[:200] or "nothing")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY} style-src {hashes}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{PAGE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def fragment(index: Index, answers: Sequence[Answer]) -> str:
    """The same for a page that is there already, such as a notebook's."""
    of = index.about
    sections = "\n".join(_section(index, answer) for answer in answers)
    return f"""<style>{STYLE}</style>
<main class="macl-sheet">
<h1>Found in {escape(of.title)}</h1>
<p>{len(index):,} images, searched by example with {escape(network(of.made))}</p>
{sections}
<footer>Cosines of embeddings, best first. Index of {escape(of.archive or of.title)}; network
{escape(of.made.network)}; maclcore {__version__}.</footer>
</main>"""


def network(made: Made) -> str:
    """What made the vectors, in words."""
    if made.vector == GIVEN:
        return made.network
    of = f"{made.backbone} ({made.weights}), {made.image_size} px"
    return f"{made.run}: {of}" if made.run else f"{of}, not trained here"


def _section(index: Index, answer: Answer) -> str:
    query, found = answer.query, answer.found
    named = index.rows(names=[*query.like, *query.unlike]) if query.like or query.unlike else None
    labels = {} if named is None else dict(zip(named["name"], named["labels"], strict=True))
    shared = {*query.labels, *(label for name in query.like for label in labels[name])}
    examples = [
        *(_example("like", file.name, _picture(file, index), (), shared) for file in answer.like),
        *(_example("like", n, _thumbnail(index, n), labels[n], shared) for n in query.like),
        *(_example("not", file.name, _picture(file, index), (), ()) for file in answer.unlike),
        *(_example("not", n, _thumbnail(index, n), labels[n], ()) for n in query.unlike),
    ]
    conditions = {k: v for k, v in answer.asked.items() if k not in ("like", "not")}
    terms = "".join(f"<dt>{k}</dt><dd>{_words(v)}</dd>" for k, v in conditions.items())
    heading = f"{len(found):,} images found" if len(found) != 1 else "1 image found"
    cards = "\n".join(
        _card(rank, row, _thumbnail(index, row.name), shared)
        for rank, row in enumerate(found.itertuples(index=False), 1)
    )
    return f"""<section>
<div class="asked">
{"".join(examples)}
<div><h2>{heading}</h2>{f"<dl>{terms}</dl>" if terms else ""}</div>
</div>
<ol class="found">
{cards}
</ol>
</section>"""


def _example(
    kind: str, name: str, jpeg: bytes | None, labels: Iterable[str], shared: Iterable[str]
) -> str:
    return (
        f'<figure class="{kind}">{_image(jpeg, name)}<figcaption><b>{kind}</b> {escape(name)}'
        f"{_labels(labels, shared)}</figcaption></figure>\n"
    )


def _card(rank: int, row: Any, jpeg: bytes | None, shared: Iterable[str]) -> str:
    cosine, meter = "", ""
    if not np.isnan(row.cosine):
        cosine = f"<b>{row.cosine:.3f}</b>"
        meter = f'<meter min="0" max="1" value="{row.cosine:.3f}"></meter>'
    return (
        f'<li>{_image(jpeg, row.name)}<figure><figcaption><div class="score"><span>{rank}</span>'
        f"{cosine}</div>{meter}{escape(row.name)}{_labels(row.labels, shared)}"
        "</figcaption></figure></li>"
    )


def _image(jpeg: bytes | None, name: str) -> str:
    if jpeg is None:
        return '<div class="none">no picture</div>'
    data = base64.b64encode(jpeg).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(name)}" loading="lazy">'


def _labels(labels: Iterable[str], shared: Iterable[str]) -> str:
    items = "".join(
        f"<li{' class=shared' * (label in shared)}>{escape(label)}</li>" for label in labels
    )
    return f'<ul class="labels">{items}</ul>' if items else ""


def _thumbnail(index: Index, name: str) -> bytes | None:
    try:
        return index.thumbnail(name)
    except KeyError:  # of vectors that were given
        return None


def _picture(file: Path | Dropped, index: Index) -> bytes:
    """An image file as a JPEG of at most 256 pixels a side."""
    if isinstance(file, Dropped):
        return file.thumbnail
    image, content = open_rgb(file, index.about.made.stretch), io.BytesIO()
    image.thumbnail((256, 256))
    image.save(content, "JPEG", quality=85)
    return content.getvalue()


def _words(value: object) -> str:
    return escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
