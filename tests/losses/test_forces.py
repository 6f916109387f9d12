"""Where MACL's force goes: against slow loops, and in the corners."""

import math

import numpy as np
import pytest
import torch

from maclcore.labels import LabelStatistics
from maclcore.losses.forces import KINDS, pair_forces

Y = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1]]).bool()
STATS = LabelStatistics.from_labels(Y, ["a", "b", "c"])


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def loss(s: np.ndarray, y: np.ndarray, alpha: float) -> float:
    """Eq. 4 as printed, summed over anchors, in loops."""
    n, total = len(y), 0.0
    J = [[(y[i] & y[p]).sum() / (y[i] | y[p]).sum() for p in range(n)] for i in range(n)]
    for i in range(n):
        h = np.mean([Y[:, k].sum() for k in np.flatnonzero(y[i])])
        T = [math.exp(-alpha * J[i][p]) + 0.1 / math.log(1 + h) for p in range(n)]
        log_sum = math.log(sum(math.exp(s[i, a] / T[a]) for a in range(n) if a != i))
        for k in np.flatnonzero(y[i]):
            carriers = [p for p in range(n) if p != i and y[p, k]]
            for p in carriers:
                f = (Y[:, y[i] & y[p]]).all(dim=1).sum().item()
                w = 1 / (math.log(1 + f) + 1e-8)
                total -= w / len(carriers) * (s[i, p] / T[p] - log_sum)
    return total


def test_the_force_is_minus_the_derivative_of_the_printed_loss():
    y = Y.numpy()
    J = (y[:, None] & y).sum(2) / (y[:, None] | y).sum(2)
    table = pair_forces([Y], STATS, [1.5], [0.5]).set_index("kind")
    force, step = np.zeros_like(J), 1e-5
    for i, p in zip(*np.nonzero(~np.eye(len(y), dtype=bool)), strict=True):
        moved = np.zeros_like(J)
        moved[i, p] = step
        both = loss(0.5 * J + moved, y, 1.5), loss(0.5 * J - moved, y, 1.5)
        force[i, p] = (both[1] - both[0]) / (2 * step)
    other = ~np.eye(len(y), dtype=bool)
    masks = [(J == 1) & other, (J > 0) & (J < 1), J == 0]
    for kind, mask in zip(KINDS, masks, strict=True):
        assert table.loc[kind, "pairs"] == mask.sum()
        assert table.loc[kind, "force"] == pytest.approx(force[mask].mean(), rel=1e-6)
        share = 100 * force[mask].sum() / np.abs(force).sum()
        assert table.loc[kind, "share"] == pytest.approx(share, rel=1e-6)


def test_several_batches_are_means_over_all_of_their_pairs():
    one, other = Y[:3], Y[2:]
    parts = [pair_forces([y], STATS, [0.5], [1.0]).set_index("kind") for y in (one, other)]
    both = pair_forces([one, other], STATS, [0.5], [1.0]).set_index("kind")
    for kind in KINDS:
        counts = np.array([part.loc[kind, "pairs"] for part in parts])
        sums = [part.loc[kind, "force"] * n for part, n in zip(parts, counts, strict=True) if n]
        assert both.loc[kind, "pairs"] == counts.sum()
        assert both.loc[kind, "force"] == pytest.approx(sum(sums) / counts.sum())


def test_a_kind_without_pairs_has_no_mean():
    table = pair_forces([Y[[0, 3]]], STATS, [1.5], [0.0]).set_index("kind")
    assert table["pairs"].to_dict() == {"equal": 0, "some": 0, "none": 2}
    assert math.isnan(table.loc["equal", "force"])
