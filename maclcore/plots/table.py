"""A DataFrame as the table of a page: numbers that do not break, the best in bold, a caption."""

import re
from collections.abc import Sequence
from html import escape
from itertools import repeat
from typing import Any

import pandas as pd

from maclcore.losses import LOSSES, WEAK_LOSSES, method_label
from maclcore.plots.style import GREY

_NUMBER = re.compile(r"[−-]?\d[\d,]*\.?\d*|[−-]?\.\d+")
_REFERENCES = ("chance", "frozen", "oracle")
_INTERVAL = re.compile(r" (\[.*\])(.*)$")


class Table:
    """What `table` gives: shows itself as HTML, and as text where there is none."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def table(
    frame: pd.DataFrame,
    caption: str,
    *,
    digits: int | None = 1,
    best: str = "",
    signed: bool = False,
    grey: Sequence[str] = _REFERENCES,
    wrap: bool = False,
) -> Table:
    """A frame with one header line, its index as the first column, under a caption.

    Cells are numbers, of which floats get `digits` places (None: as they are) and, if `signed`, a
    plus; or text, of which an interval, `1.2 [0.3, 2.1]`, stands on a line of its own. A minus is
    a minus, NaN is empty, and no line breaks inside a cell unless `wrap`, for columns of
    sentences.

    Args:
        frame: (rows, columns), each of one level. ValueError for more.
        caption: what the numbers are, of which archive and profile; `code` may stand in it.
        best: "max" or "min" marks that of each column in bold, rows of `grey` aside, by the number
            with which a cell begins.
        grey: names of rows that are no competitors, in any case, and stand in grey.
    """
    if frame.index.nlevels > 1 or frame.columns.nlevels > 1:
        raise ValueError("a table has one level of rows and one of columns: reset_index() or pivot")
    names = [_name(name) for name in frame.index]
    outside = {name.lower() for name in grey} | {_name(name).lower() for name in grey}
    aside = [name.lower() in outside for name in names]
    texts = [
        [_text(value, digits, signed) for value in frame.iloc[:, j]] for j in range(frame.shape[1])
    ]
    leaders = [_leaders(column, aside, best) for column in texts]
    # words stand at the left, numbers at the right
    left = [
        True,
        *(not any(_NUMBER.match(text.lstrip("+")) for text in column) for column in texts),
    ]
    corner = frame.index.name or frame.columns.name or ""
    head = [corner, *(_name(name) if name in LOSSES else str(name) for name in frame.columns)]
    lines = ["<tr>" + "".join(map(_cell, head, repeat("th"), left)) + "</tr>"]
    for i, name in enumerate(names):
        cells = [_cell(name, "th", True)]
        cells += [
            _cell(column[i], "td", left[j + 1], i in leaders[j], wrap)
            for j, column in enumerate(texts)
        ]
        grey_row = f' style="color: {GREY}"' if aside[i] else ""
        lines.append(f"<tr{grey_row}>" + "".join(cells) + "</tr>")
    html = (
        f'<table class="maclcore"><caption style="text-align: left">{_words(caption)}</caption>'
        f"<thead>{lines[0]}</thead><tbody>{''.join(lines[1:])}</tbody></table>"
    )
    shown = pd.DataFrame(dict(enumerate(texts)), index=names)
    shown.columns = head[1:]
    return Table(html, f"{caption}\n{shown.rename_axis(columns=corner).to_string()}")


def _name(name: Any) -> str:
    known = name in LOSSES or name in WEAK_LOSSES or name in _REFERENCES
    return method_label(name) if known else str(name)


def _text(value: Any, digits: int | None, signed: bool) -> str:
    if not isinstance(value, str) and pd.isna(value):
        return ""
    if isinstance(value, float):
        value = format(
            value, ("+" if signed else "") + (f".{digits}f" if digits is not None else "g")
        )
    return re.sub(r"(?<![\w.])-(?=[\d.])", "−", str(value))


def _leaders(texts: Sequence[str], aside: Sequence[bool], best: str) -> set[int]:
    numbers = {}
    for i, text in enumerate(texts):
        found = _NUMBER.match(text.lstrip("+"))
        if best and found and not aside[i]:
            numbers[i] = float(found[0].replace("−", "-").replace(",", ""))
    top = {"max": max, "min": min}[best](numbers.values()) if numbers else None
    return {i for i, number in numbers.items() if number == top}


def _cell(text: str, tag: str, left: bool, bold: bool = False, wrap: bool = False) -> str:
    inner = _words(_INTERVAL.sub(r"\2\n\1", text))
    inner = re.sub(r"\n(.*)", r"<br><small>\1</small>", inner)
    if tag == "th":
        inner = inner.replace("@", "<wbr>@")  # where a long name may go on on the next line
    if not wrap and tag == "td":
        inner = inner.replace(" ", "\N{NO-BREAK SPACE}")
    inner = f"<b>{inner}</b>" if bold else inner
    return f'<{tag} style="text-align: {"left" if left else "right"}">{inner}</{tag}>'


def _words(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))
