"""A query whose values are done in the head."""

import numpy as np
import pytest

from maclcore.evaluation.worked import worked


def test_a_query_is_worked_out():
    y = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 0]], bool)  # J = 1, 0, 1/2
    found = worked(np.array([1, 1, 0, 0, 0], bool), y)
    assert found.jaccard.tolist() == [1, 0, 0.5]
    assert found.seen.loc["mAP@0.4"].tolist() == [1, 0, 1]
    assert found.seen.loc["mAP@0.8"].tolist() == [1, 0, 0]
    assert found.seen.loc["nDCG(sim)@100"].tolist() == [3, 0, 3]  # 2^I - 1
    assert found.seen.loc["nDCG@100"].tolist() == pytest.approx([1, 0, 2**0.5 - 1])
    assert found.seen.loc["wAP@100"].tolist() == [1, 0, 0.5]
    assert found.values["mAP@0.4"] == found.values["mAP(sim)@5000"] == pytest.approx(5 / 6)
    assert found.values["mAP@0.8"] == 1
    assert found.values["wAP@100"] == pytest.approx((1 + 1.5 / 3) / 2)
    gain, late = 2**0.5 - 1, np.log2([3, 4])
    expected = (1 + gain / late[1]) / (1 + gain / late[0])
    assert found.values["nDCG@100"] == pytest.approx(expected)
