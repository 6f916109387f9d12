"""Where MACL's force goes: against slow loops, and in the corners."""

import math

import numpy as np
import pytest
import torch

from maclcore.labels import LabelStatistics
from maclcore.losses import build_loss, pair_weights
from maclcore.losses.forces import BANDS, KINDS, band_forces, gram_gradient, pair_forces
from maclcore.losses.kernel import pair_gradient

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


OTHER = ~torch.eye(len(Y), dtype=torch.bool)


def alike(y):
    y = y.numpy()
    return (y[:, None] & y).sum(2) / (y[:, None] | y).sum(2)


@pytest.mark.parametrize("name", ["macl", "mulsupcon"])
def test_the_gradient_of_embeddings_holds_that_of_their_cosines(name):
    W, T = pair_weights(name, Y, STATS)
    G = pair_gradient(0.5 * torch.tensor(alike(Y)), W, T) / Y.sum()
    found = gram_gradient(build_loss(name, STATS, embedding_dim=8), Y, 0.5)
    assert torch.allclose(found[OTHER], ((G + G.T) / 2)[OTHER], atol=1e-9)


def h_ap(s, J, scale=0.05):
    """H-AP of cosines s, in loops."""
    total, n = 0.0, len(s)
    for i in range(n):
        rest = [p for p in range(n) if p != i]
        value = 0.0
        for p in rest:
            above = {k: 1 / (1 + math.exp((s[i, p] - s[i, k]) / scale)) for k in rest if k != p}
            gain = J[i, p] + sum(min(J[i, p], J[i, k]) * x for k, x in above.items())
            value += gain / (1 + sum(above.values()))
        total += (1 - value / sum(J[i, p] for p in rest)) / n
    return total


def test_losses_of_ranks_have_a_force_on_pairs_too():
    y, step = Y[[0, 1, 2, 4]], 1e-6
    J = alike(y)
    s, slope = 0.3 * J, np.zeros_like(J)
    for i, p in np.ndindex(*J.shape):
        moved = np.zeros_like(J)
        moved[i, p] = step
        slope[i, p] = (h_ap(s + moved, J) - h_ap(s - moved, J)) / (2 * step)
    found = gram_gradient(build_loss("hap"), y, 0.3).numpy()
    other = OTHER[:4, :4].numpy()
    assert np.abs(slope[other]).max() > 0.01
    assert found[other] == pytest.approx(((slope + slope.T) / 2)[other], rel=1e-5, abs=1e-9)


def test_prototypes_alone_put_no_force_between_images():
    found = gram_gradient(build_loss("lproto", STATS, embedding_dim=8), Y, 0.7)
    assert found[OTHER].abs().max() < 1e-12
    found = gram_gradient(build_loss("lmsc", STATS, embedding_dim=8), Y, 0.7)
    assert found[OTHER].abs().max() > 1e-3


def test_bands_hold_each_pair_once_and_their_forces_are_means():
    table = band_forces("mulsupcon", [Y, Y[:2]], STATS, [0.0, 1.0])
    assert list(table["band"]) == 2 * list(BANDS)
    assert table["pairs"].groupby(table["level"]).sum().tolist() == [22, 22]
    J = alike(Y)
    first = table[table["level"] == 0].set_index("band")
    counts = [(J == 0).sum(), ((J > 0) & (J < 0.4)).sum(), ((J >= 0.4) & (J < 0.6)).sum()]
    assert first["pairs"].tolist()[:3] == counts and first.loc["equal", "pairs"] == 2 + 2
    W, T = pair_weights("mulsupcon", Y, STATS)
    G = pair_gradient(torch.zeros(5, 5), W, T).numpy() / int(Y.sum())
    assert first.loc["none", "force"] == pytest.approx(-G[J == 0].mean())
    assert first.loc["none", "share"] < 0 < first.loc["equal", "share"]
