"""Curves over epochs."""

import pandas as pd

from maclcore import plots
from maclcore.plots.style import GREY, colour


def test_learning_curves_are_lines_of_seeds_and_means_of_the_others():
    rows = [
        (title, loss, seed, epoch, 10 * epoch + seed, epoch / 10)
        for title in ("A", "B")
        for loss in ("mulsupcon", "macl", "lbase")
        for seed in (0, 1)
        for epoch in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=["title", "loss", "seed", "epoch", "mAP", "cosine"])
    references = pd.DataFrame({"chance": [1.0, 2.0], "frozen": [5.0, 6.0]}, index=["A", "B"])
    fig = plots.learning_curves(table, {"mAP": "mAP, %", "cosine": "cosine"}, references)
    assert [ax.get_title() for ax in fig.axes] == ["A", "B", "", ""]
    assert [ax.get_ylabel() for ax in fig.axes] == ["mAP, %", "", "cosine", ""]
    second = fig.axes[1]
    others, *seeds, chance, frozen = second.lines
    assert list(others.get_ydata()) == [10.5, 20.5]  # the mean of lbase's two seeds
    drawn = [(line.get_color(), list(line.get_ydata())) for line in seeds]
    expected = [(colour(loss), [10 + s, 20 + s]) for loss in ("macl", "mulsupcon") for s in (0, 1)]
    assert drawn == expected
    assert (chance.get_ydata()[0], frozen.get_ydata()[0]) == (2.0, 6.0)
    assert not fig.axes[0].texts  # names stand at the ends of the last column
    named = {text.get_text(): text.get_color() for text in second.texts}
    assert named["other losses"] == GREY and {"MACL", "MulSupCon", "Chance", "Frozen"} < set(named)
    assert {text.get_text() for text in fig.axes[3].texts} == {"MACL", "MulSupCon", "other losses"}


def test_learning_curves_do_without_references_and_other_losses():
    table = pd.DataFrame({"title": "A", "loss": "macl", "seed": 0, "epoch": [1, 2], "mAP": [1, 2]})
    (ax,) = plots.learning_curves(table, {"mAP": "mAP"}, pd.DataFrame(index=["A"])).axes
    assert [text.get_text() for text in ax.texts] == ["MACL"]


def test_steps_hold_a_value_until_the_next():
    table = pd.DataFrame({"a": [1, 2.0]}, index=pd.RangeIndex(2, name="epoch"))
    for steps, style in ((True, "steps-post"), (False, "default")):
        (ax,) = plots.lines(table, "rate", steps=steps).axes
        assert ax.lines[0].get_drawstyle() == style
