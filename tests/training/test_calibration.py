"""What losses of weak labels keep while they train: two slow means, detectors, pseudo-labels."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from maclcore.training.calibration import (
    DETECTORS,
    FLOOR,
    Calibration,
    early_learning_is_over,
    mixture,
    overfits,
    rises_again,
    settles,
)
from maclcore.training.momentum import follow
from maclcore.training.weak_costs import (
    Estimates,
    LargeLosses,
    Memory,
    Progress,
    SoftNegatives,
)

ONE = torch.zeros(1, 1)


def calibration(network, o=ONE, **settings):
    values = {"weight": 3.0, "trigger": "validation", "teacher_decay": 0.99, "memory_decay": 0.9}
    values |= {"mixup": 0.0, "epochs": 10, "seed": 0}
    return Calibration(o, network, **values | settings)


# --- Two slow means -------------------------------------------------------------------------------


def test_a_memory_is_the_slow_mean_from_the_first_prediction_or_from_zero():
    first, zero = Memory(ONE, 0.9), Memory(ONE, 0.9, from_zero=True)
    found = [
        [memory.update(torch.tensor([0]), torch.tensor([[q]])).item() for q in (0.2, 0.5, 0.8)]
        for memory in (first, zero)
    ]
    assert found[0] == pytest.approx([0.2, 0.23, 0.287])
    assert found[1] == pytest.approx([0.02, 0.068, 0.1412])


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(0, 2**16), st.floats(0, 0.99))
def test_a_memory_is_of_each_image_alone(data, seed, decay):
    rng, n = np.random.default_rng(seed), 6
    memory, slow = Memory(torch.zeros(n, 2), decay), {}
    for _ in range(data.draw(st.integers(1, 6))):
        batch = rng.permutation(n)[: rng.integers(1, n + 1)]
        p = rng.random((len(batch), 2)).astype(np.float32)
        t = memory.update(torch.from_numpy(batch), torch.from_numpy(p))
        for i, said in zip(batch, p.astype(float), strict=True):
            slow[i] = decay * slow[i] + (1 - decay) * said if i in slow else said
        np.testing.assert_allclose(t, [slow[i] for i in batch], atol=1e-6)
        if decay == 0:
            assert torch.equal(t, torch.from_numpy(p))
    assert sorted(slow) == memory.seen[:, 0].nonzero()[:, 0].tolist()


def weights(network):
    return nn.utils.parameters_to_vector(network.parameters()).tolist()


def put(network, values):
    nn.utils.vector_to_parameters(torch.tensor(values), network.parameters())


def test_a_teacher_follows_slowly_and_with_the_ramp_begins_at_the_student():
    network = nn.Linear(1, 1)
    put(network, [0.0, 1.0])
    fixed = copy.deepcopy(network)
    for student, expected in (
        ([1.0, 0.0], [0.01, 0.99]),
        ([2.0, -1.0], [0.0299, 0.9701]),
        ([3.0, -1.0], [0.059601, 0.950399]),
    ):
        put(network, student)
        follow(fixed, network, 0.99)
        assert weights(fixed) == pytest.approx(expected, abs=1e-6)
    put(network, [0.0, 1.0])
    ramped = calibration(network)
    ramped.begin(0)
    slow = None
    for k in range(150):
        student = [math.sin(k), k / 10]
        put(network, student)
        ramped.after_step(network)
        a = min(1 - 1 / (k + 1), 0.99)
        slow = (
            student if k == 0 else [a * s + (1 - a) * f for s, f in zip(slow, student, strict=True)]
        )
        assert weights(ramped.teacher) == pytest.approx(slow, abs=1e-4)
    assert weights(ramped.teacher) != pytest.approx(student, abs=1e-2)


def test_without_a_teacher_it_is_the_student():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    found = calibration(network, teacher_decay=0)
    found.begin(0)
    for _ in range(3):
        put(network, torch.randn(len(weights(network))).tolist())
        network(torch.randn(5, 2))
        found.after_step(network)
        for key, value in network.state_dict().items():
            assert torch.equal(found.teacher.state_dict()[key], value)


def test_a_teacher_speaks_in_evaluation_mode_with_the_students_running_statistics():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    x, o, every = torch.randn(4, 2), torch.eye(4, 3), torch.arange(4)
    found = calibration(network, o, trigger=1)
    found.begin(0)
    network(x)  # its statistics move
    put(network, torch.randn(len(weights(network))).tolist())
    found.after_step(network)
    put(network, torch.randn(len(weights(network))).tolist())
    network(x + 1)
    found.after_step(network)
    own, theirs = (copy.deepcopy(n.state_dict()) for n in (found.teacher, network))
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(own[name], theirs[name])
    assert not torch.equal(own["0.weight"], theirs["0.weight"])
    found.trigger.fill_(1)
    found.train()
    mean, spread = theirs["1.running_mean"], (theirs["1.running_var"] + network[1].eps).sqrt()
    h = x @ own["0.weight"].T + own["0.bias"]
    expected = ((h - mean) / spread * own["1.weight"] + own["1.bias"]).sigmoid()
    found(every, network, lambda net: net(x))
    torch.testing.assert_close(found.memory.mean, expected)
    assert torch.equal(found.teacher[1].running_mean, mean), "it has none of its own"


# --- Detectors ------------------------------------------------------------------------------------


def fires(rule, curve, epochs):
    """The first epoch after which calibration begins, and whether as a fallback."""
    for epoch in range(1, epochs + 1):
        found, late = early_learning_is_over(rule, torch.tensor(curve[:epoch]), epochs)
        if found:
            return epoch, late
    return None


def test_validation_fires_three_epochs_after_the_least_loss():
    curve = [5.0, 4, 3.5, 3.2, 3.1, 3.3, 3.15, 3.4] + [4.0] * 40
    assert not any(overfits(curve[:n]) for n in range(1, 8)) and overfits(curve[:8])
    assert fires("validation", curve, 30) == (8, False)
    # a new least value begins again
    assert fires("validation", [3, 2, 2.5, 2.4, 1.9, 2, 2, 2, 9], 30) == (8, False)


def test_plateau_fires_where_three_epochs_bring_less_than_a_twentieth():
    curve = [0.8 ** min(n, 6) for n in range(20)]
    assert [settles(curve[:n]) for n in range(8, 12)] == [False, False, True, True]
    assert fires("plateau", curve, 50) == (10, False)
    assert not settles([1.0, 1.0, 1.0])


def test_slope_fires_where_a_curve_rises_again_after_a_plateau():
    rise = list(np.linspace(0.1, 0.5, 8))
    curve = [*rise, *[0.5] * 10, *np.linspace(0.52, 0.9, 20)]
    epoch, late = fires("slope", curve, 100)
    assert 18 < epoch < 25 and not late
    assert fires("slope", [*rise, *[0.5] * 92], 100) == (40, True)
    falls = list(np.linspace(0.9, 0.1, 100))
    assert fires("slope", falls, 100) == (40, True)
    assert not rises_again([0.1, 0.2])


@pytest.mark.parametrize("rule", list(DETECTORS))
@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=60, max_size=60), st.integers(2, 60))
def test_no_detector_fires_before_the_floor_or_after_the_fallback(rule, curve, epochs):
    epoch, late = fires(rule, curve, epochs)
    last = max(int(0.4 * epochs), 1)
    assert min(FLOOR, last) <= epoch <= last
    assert late <= (epoch == last)


def test_an_epoch_is_taken_as_it_is():
    assert fires("1", [1.0] * 10, 10) == (1, False)
    assert fires("9", [1.0] * 10, 10) == (9, False)


# --- Mixed images ---------------------------------------------------------------------------------


@given(st.integers(1, 40), st.floats(0.1, 5), st.integers(0, 9), st.integers(0, 9))
def test_mixtures_are_pure_functions_that_lose_nothing(n, alpha, epoch, step):
    of = {"seed": 3, "epoch": epoch, "step": step}
    a, b = mixture(n, alpha, **of), mixture(n, alpha, **of)
    rows = torch.eye(n, dtype=torch.float64)
    shares = a(rows)
    assert torch.equal(shares, b(rows))
    torch.testing.assert_close(shares.sum(dim=0), torch.ones(n, dtype=torch.float64))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(n, dtype=torch.float64))
    assert (shares.diagonal() >= 0.5).all(), "each is mostly itself"
    assert len({round(x, 12) for x in shares.diagonal().tolist() if x < 1 - 1e-9}) <= 1
    v = torch.randn(n, 3, dtype=torch.float64)
    torch.testing.assert_close(a(v), shares @ v)


def test_mixtures_differ_by_seed_epoch_and_step():
    rows, of = torch.eye(16), {"seed": 0, "epoch": 0, "step": 0}
    plain = mixture(16, 1.0, **of)(rows)
    for name in of:
        assert not torch.allclose(plain, mixture(16, 1.0, **of | {name: 1})(rows))


# --- What other losses keep -----------------------------------------------------------------------


def test_soft_negatives_are_those_that_look_least_like_a_label():
    generator = np.random.default_rng(0)
    n, labels, epochs = 40, 3, 9
    o = np.eye(labels, dtype=np.float32)[generator.integers(labels, size=n)]
    cost = SoftNegatives("em_apl", torch.from_numpy(o), {}, epochs=epochs)
    soft = np.full((n, labels), np.nan)
    for epoch in range(epochs):
        z = generator.normal(size=(n, labels)).astype(np.float32)
        cost.begin(epoch)
        cost.after_epoch(torch.from_numpy(z), {})
        if epoch + 1 >= 4:
            for c in range(labels):
                free = [i for i in range(n) if not o[i, c] and np.isnan(soft[i, c])]
                count = int(0.9 * (o[:, c] == 0).sum() / (9 - 4))
                for i in sorted(free, key=lambda i: z[i, c])[:count]:
                    soft[i, c] = 1 / (1 + math.exp(-z[i, c]))
        np.testing.assert_allclose(cost.soft, soft, rtol=1e-5)
    share = (~np.isnan(soft)).sum() / (o == 0).sum()
    assert 0.8 < share <= 1
    assert torch.equal(
        cost.told(torch.tensor([5, 2]), ONE)["soft"].isnan(), cost.soft[[5, 2]].isnan()
    )


@pytest.mark.parametrize(("for_good", "counts"), [(False, [0, 3, 6, 9]), (True, [0, 3, 3, 3])])
def test_large_losses_are_counted_by_the_epoch(for_good, counts):
    z = torch.tensor([[3.0, 2, 1, 0, -1], [2.5, 1.5, 0.5, -0.5, -1.5]])
    o = torch.zeros(2, 5)
    o[:, 0] = 1
    cost = LargeLosses("ll_cp" if for_good else "ll_r", o, {}, delta=0.3, for_good=for_good)
    for epoch, count in enumerate(counts):
        cost.begin(epoch)
        assert cost.told(torch.arange(2), z)["count"] == count
    assert (len(cost.state_dict()) > 0) == for_good


def test_what_was_flipped_for_good_stays_so():
    z = torch.tensor([[3.0, 2, 1, 0, -1], [2.5, 1.5, 0.5, -0.5, -1.5]])
    o = torch.zeros(3, 5)
    o[:, 0] = 1
    cost, batch = LargeLosses("ll_cp", o, {}, delta=0.3, for_good=True), torch.tensor([2, 0])
    for epoch, added in enumerate([[], [(2, 1), (0, 1)], [(2, 1), (0, 1), (2, 2), (0, 2)]]):
        cost.begin(epoch)
        cost(batch, nn.Identity(), lambda net: net(z))
        expected = o.clone()
        expected[:, 0] = 1
        for place in added:
            expected[place] = 1
        assert torch.equal(cost.o, expected)
    assert o.sum() == 3, "the table itself stays"


def test_progress_goes_from_none_to_all():
    cost = Progress("gr", ONE, {}, epochs=5)
    found = []
    for epoch in range(5):
        cost.begin(epoch)
        found.append(cost.told(ONE, ONE)["progress"])
    assert found == [0, 0.25, 0.5, 0.75, 1]


def test_estimates_begin_as_they_should_and_move_ten_times_as_fast():
    o = torch.eye(3).repeat(40, 1)
    costs = [Estimates("role", o, {"labels_per_image": 1.0}, seed=seed) for seed in (0, 0, 1)]
    every = torch.arange(len(o))
    theta, again, other = (cost.told(every, ONE)["theta"].detach() for cost in costs)
    assert torch.equal(theta, again) and not torch.equal(theta, other)
    torch.testing.assert_close(theta.sigmoid()[o == 1], torch.full((len(o),), 0.995))
    drawn = theta[o == 0]
    assert drawn.abs().max() <= 0.405466 and drawn.abs().max() > 0.39 and abs(drawn.mean()) < 0.06
    # Adam at ten times the rate, on Θ itself
    plain = nn.Parameter(theta.clone())
    slow = torch.optim.Adam(costs[0].parameters(), lr=1e-3)
    fast = torch.optim.Adam([plain], lr=1e-2)
    for step in range(20):
        target = torch.randn(theta.shape, generator=torch.Generator().manual_seed(step))
        for optimizer, found in ((slow, costs[0].told(every, ONE)["theta"]), (fast, plain)):
            optimizer.zero_grad()
            ((found - target) ** 2).mean().backward()
            optimizer.step()
    torch.testing.assert_close(costs[0].told(every, ONE)["theta"], plain, rtol=1e-3, atol=1e-4)
    assert (plain - theta).abs().max() > 0.05
