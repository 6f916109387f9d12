"""A table of a page says what the frame says, and nothing of it can break, run or mislead."""

from io import StringIO

import numpy as np
import pandas as pd
import pytest

from maclcore import plots

FRAME = pd.DataFrame(
    {
        "mAP@0.4": [30.24, 79.71, -61.0, np.nan],
        "difference": ["-18.9 [-21.5, -15.7]", "+1.5 [0.1, 2]°", "3.1 [1, 2]", "0.0 [-1, 1]"],
        "a & b": ["<b>", "best-known", "x", "y"],
    },
    index=pd.Index(["chance", "macl", "mulsupcon", "a loss of mine"], name="loss"),
)


def read(table):
    return pd.read_html(StringIO(table._repr_html_()), index_col=0)[0]


def test_what_is_read_from_the_page_is_what_the_frame_says():
    table = plots.table(FRAME, "of `quick`, DLRSD*")
    html, shown = table._repr_html_(), read(table)
    assert list(shown.columns) == list(FRAME.columns) and shown.index.name == "loss"
    assert list(shown.index) == ["Chance", "MACL", "MulSupCon", "a loss of mine"]
    assert shown["mAP@0.4"].astype(str).tolist()[:2] == ["30.2", "79.7"]
    assert "−61.0" in html and "-61.0" not in html and "best-known" in html.replace("\xa0", " ")
    assert "&lt;b&gt;" in html and "a &amp; b" in html
    assert ">of <code>quick</code>, DLRSD*</caption>" in html
    assert "nan" not in html.lower()
    assert "79.7" in repr(table) and repr(table).startswith("of `quick`")


def test_an_interval_has_a_line_and_no_number_breaks():
    html = plots.table(FRAME, "")._repr_html_()
    assert "−18.9<br><small>[−21.5,\xa0−15.7]</small>" in html
    assert "+1.5°<br><small>[0.1,\xa02]</small>" in html
    assert " " not in "".join(html.split("<td")[1:]).split(">", 1)[1].split("</td>")[0]
    wrapped = plots.table(pd.DataFrame({"said": ["a long sentence"]}), "", wrap=True)
    assert "a long sentence" in wrapped._repr_html_()


@pytest.mark.parametrize(
    ("best", "expected"), [("max", ["79.7", "3.1"]), ("min", ["−61.0", "0.0"])]
)
def test_the_best_of_a_column_is_bold_but_no_reference_row(best, expected):
    html = plots.table(FRAME, "", best=best)._repr_html_()
    bold = [part.split("<")[0] for part in html.split("<b>")[1:]]
    assert sorted(bold) == sorted(expected)
    assert "<b>" not in plots.table(FRAME, "")._repr_html_()
    assert plots.table(FRAME, "", best=best, grey=["MulSupCon"])._repr_html_().count("#7f7f7f") == 1


def test_equal_bests_are_all_bold_and_signs_are_shown():
    frame = pd.DataFrame({"x": [1.04, 1.0, -2.0]})
    assert plots.table(frame, "", best="max", signed=True)._repr_html_().count("<b>+1.0</b>") == 2


def test_levels_are_for_the_caller():
    with pytest.raises(ValueError, match="one level of rows and one of columns"):
        plots.table(FRAME.set_index("a & b", append=True), "")
