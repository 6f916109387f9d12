"""The ledger as HTML: a row a claim, nothing of a text taken for markup, codes explained."""

from html.parser import HTMLParser

import pandas as pd
import pytest

from maclcore.audit import page
from maclcore.audit.claims import VERDICTS, ledger
from maclcore.plots import verdict_squares
from maclcore.plots.audit import VERDICT_COLOURS


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.seen, self.words = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def rows(stored):
    return ledger(stored)


def test_a_row_a_claim_with_its_evidence_folded(rows):
    page_of = Tags(page.table(rows, "All claims")._repr_html_())
    assert page_of.seen.count("tr") == len(rows) + 1
    assert page_of.seen.count("details") == page_of.seen.count("summary") == len(rows)
    assert set(page_of.seen) <= {
        "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "b", "br",
        "span",
    }  # fmt: skip
    text = "".join(page_of.words)
    for row in rows.itertuples():
        assert row.claim in text and row.number in text
        assert all(part in text for part in row.ours.split(" | "))


def test_no_text_is_taken_for_markup(rows):
    evil = "<script>alert(1)</script>"
    row = rows.iloc[:1].assign(**dict.fromkeys(rows.columns.drop("verdict"), evil))
    html = page.table(row, evil)._repr_html_()
    assert "<script" not in html and html.count("&lt;script&gt;") >= len(page.HEAD)


def test_every_setting_with_runs_is_explained(rows):
    known = page.settings(rows)
    used = rows.loc[rows["protocol"] != "", "setting"].str.split(", ").explode()
    assert {code.split()[0] for code in used} - {"printed"} == set(known)
    for code, words in known.items():
        for one in words.split("; or "):
            assert rows["protocol"].str.contains(f" at {one} (", regex=False).any()
            assert one.count(" px, ") == 1 and ("only the head" in one) == (code == "head")


def test_a_square_a_claim_in_the_colour_of_its_verdict(rows):
    assert tuple(VERDICT_COLOURS) == VERDICTS
    fig = verdict_squares(rows)
    (ax,) = fig.axes
    drawn = {verdict: 0 for verdict in VERDICTS}
    names = {shade: verdict for verdict, shade in VERDICT_COLOURS.items()}
    for line in ax.lines:
        drawn[names[line.get_color()]] += len(line.get_xdata())
    assert drawn == rows["verdict"].value_counts().reindex(VERDICTS).to_dict()
    (legend,) = fig.legends
    assert sum(int(text.get_text().split()[0]) for text in legend.get_texts()) == len(rows)
    words = [label.get_text() for label in ax.get_yticklabels()]
    assert words == list(pd.unique(rows["topic"]))
