"""The picture of the finding puts each loss where its score lies between chance and oracle."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from maclcore import plots

SCORES = {"chance": 20.0, "frozen": 40.0, "macl": 30.0, "mulsupcon": 60.0, "oml": 80.0}
MEANS = pd.concat({name: pd.DataFrame({"mAP": SCORES | {"oracle": 100.0}}) for name in ("A", "B")})


@pytest.fixture
def axes():
    published = {"A": pd.DataFrame({"mAP": {"macl": 20.8, "oml": 24.0}})}
    fig = plots.finding(MEANS, published, {"mAP": "a title"})
    yield fig.axes[0]
    plt.close(fig)


def points(ax, marker):
    lines = [line for line in ax.get_lines() if line.get_marker() == marker]
    return sorted((round(float(x), 6), float(y)) for line in lines
                  for x, y in zip(*line.get_data(), strict=True))  # fmt: skip


def test_scores_lie_on_the_way_from_chance_to_oracle(axes):
    way = [12.5, 50.0, 75.0]  # (score - 20) / 80
    assert [x for x, y in points(axes, "o") if y == 0] == way
    assert len(points(axes, "o")) == 2 * len(way)
    assert [x for x, _ in points(axes, "x")] == [1.0, 5.0]  # and of one archive alone


def test_archives_have_rows_and_marked_losses_names(axes):
    rows = [text.get_text() for text in axes.get_yticklabels()]
    assert rows == ["A\nour runs", "as published", "B\nour runs"]
    texts = [text.get_text() for text in axes.texts]
    assert {"MACL", "MulSupCon"} <= set(texts) and "OML" not in texts
    frozen = [line for line in axes.get_lines() if np.allclose(line.get_xdata(), 25.0)]
    assert len(frozen) == 2


def test_a_missing_reference_row_is_named():
    with pytest.raises(KeyError, match="oracle"):
        plots.finding(MEANS.drop("oracle", level=1), {}, {"mAP": ""})
