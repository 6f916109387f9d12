"""The ledger as a page has it: a line a claim, the rest of it folded."""

import re
from collections.abc import Iterable
from html import escape

import pandas as pd

from maclcore.plots import Table
from maclcore.plots.audit import VERDICT_COLOURS

HEAD = ("claim", "place", "verdict", "number", "setting")
#: what is folded, and how it is called
FOLDED = {"paper": "Paper", "ours": "Ours", "why": "Why", "id": "Row of claims.csv"}


def table(ledger: pd.DataFrame, caption: str) -> Table:
    """Rows of `claims.ledger` as HTML that needs no script; every text is escaped.

    A click on a claim unfolds its numbers in print and in ours, and why the verdict is that.
    """
    rows = [_row(row) for row in ledger.to_dict("records")]
    head = "".join(f"<th{_LEFT}>{name}</th>" for name in HEAD)
    html = (
        f'<table class="maclcore"><caption style="text-align: left">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    shown = ledger.set_index("id")[["verdict", "number", "setting"]]
    return Table(html, f"{caption}\n{shown.to_string()}")


def settings(ledger: pd.DataFrame) -> dict[str, str]:
    """What the short codes of runs mean: "quick" and "head", the settings of their rows in words,
    "64 px, 25 epochs, …"; which archives they have is told by letters behind them."""
    known: dict[str, dict[str, None]] = {}
    for protocol in ledger["protocol"]:
        for words, profile in re.findall(r" at (\d+ px.*?) \((\w+)\)(?=,|$)", protocol):
            code = "head" if profile == "frozen" else profile
            known.setdefault(code, {})[words] = None
    return {code: "; or ".join(words) for code, words in sorted(known.items())}


_LEFT = ' style="text-align: left"'


def _row(row: dict[str, str]) -> str:
    verdict = row["verdict"]
    square = f'<span style="color: {VERDICT_COLOURS[verdict]}">■</span>'
    cells = [
        f"<details><summary>{_text(row['claim'])}</summary>{_folded(row)}</details>",
        _text(row["place"]),
        f"{square}&nbsp;{_whole([verdict.split(' by ')[0]])}",
        _text(row["number"]) or "–",
        _whole(row["setting"].split(",")) if row["setting"] else "–",
    ]
    return "<tr>" + "".join(f"<td{_LEFT}>{cell}</td>" for cell in cells) + "</tr>"


def _folded(row: dict[str, str]) -> str:
    lines = [f"<b>{name}:</b> {_text(row[key])}" for key, name in FOLDED.items() if row[key]]
    return "<br>".join(lines)


def _whole(parts: Iterable[str]) -> str:
    """Parts that do not break, on a line each where there is no room."""
    return ", ".join(escape(part.strip()).replace(" ", "&nbsp;") for part in parts)


def _text(words: str) -> str:
    return escape(words).replace(" | ", "<br>")
