"""Notebooks as the site shows them: with the outputs that they have, pictures with their
alternative text, and what needs a running kernel left out or as it stood."""

import json
from base64 import b64decode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from links import linked, linked_html

PLOTLY, WIDGET = "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"
PICTURES = {"image/png": "png", "image/jpeg": "jpg"}
#: a plotly figure, for those who want to turn it: `static/turn.js` draws it
TURN = """<details class="turn"><summary>The same, to turn by hand</summary><div id="{id}"></div>
<script type="application/json">{figure}</script></details>"""


def staged(file: Path, pictures: Path) -> nbformat.NotebookNode:
    """A notebook with links between pages; its pictures are written to the folder `pictures`."""
    notebook = nbformat.read(file, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = linked(cell.source, "notebooks")
        elif cell.cell_type == "code":
            shown = [shown_output(output, pictures) for output in cell.outputs]
            cell.outputs = [output for output in shown if output is not None]
            tags = cell.metadata.setdefault("tags", [])
            if cell.metadata.get("jupyter", {}).get("source_hidden") and "hide-input" not in tags:
                tags.append("hide-input")
    return notebook


def shown_output(output: Any, pictures: Path) -> Any:
    """An output as the site shows it; None for one that says nothing without a kernel."""
    if "data" not in output:
        return output
    data = output.data
    live = data.pop(WIDGET, None) or PLOTLY in data
    figure = data.pop(PLOTLY, None)
    for kind, ending in PICTURES.items():
        if kind in data:
            told = output.get("metadata", {}).get(kind, {})
            data["text/html"] = picture(b64decode(data.pop(kind)), ending, told, pictures)
    if figure is not None:
        data["text/html"] = data.get("text/html", "") + turned(figure)
    elif live and not data.keys() - {"text/plain"}:
        return None
    if "text/html" in data:
        data["text/html"] = linked_html(data["text/html"])
    if "text/markdown" in data:
        data["text/markdown"] = linked(data["text/markdown"], "notebooks")
    return output


def picture(content: bytes, ending: str, told: Any, pictures: Path) -> str:
    """<img> of a file in `pictures`, named by its content."""
    name = f"{sha256(content).hexdigest()[:16]}.{ending}"
    (pictures / name).write_bytes(content)
    width = f' width="{told["width"]}"' if "width" in told else ""
    return f'<img src="../pictures/{name}" alt="{escape(told.get("alt", ""))}"{width}>'


def turned(figure: Any) -> str:
    text = json.dumps(figure).replace("</", "<\\/")
    return TURN.format(id="turn-" + sha256(text.encode()).hexdigest()[:8], figure=text)
