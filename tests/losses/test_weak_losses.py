"""The losses of weak labels: values worked out apart, slow loops, and what each must not do.

Not built are BoostLU, which wants maps of features, and JoCoR, which wants two networks.
"""

from math import log, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from weak_references import GIVEN, KNOWN, T, Z, batch, differences, gradient, large, loss_of, slow

from maclcore.losses import WEAK_LOSSES
from maclcore.losses.weak import elr, fixed_point, gc, large_losses
from maclcore.losses.weak.formulas import calibration

EVERY = pytest.mark.parametrize("name", WEAK_LOSSES)
seeds = st.integers(0, 2**32)


def digits(value):
    """As printed, to six of them."""
    return pytest.approx(value, abs=5.1e-7)


def printed(found, rows):
    torch.testing.assert_close(found, torch.tensor(rows).double(), rtol=0, atol=5.1e-7)


# --- Values worked out apart ---------------------------------------------------------------------

P_GRADIENT = [
    [-0.119203, 0.268941, 0.622459, 0.047426],
    [0.377541, -0.182426, 0.500000, 0.119203],
    [0.549834, 0.401312, 0.231475, -0.047426],
]
CALIBRATION = [
    [0, -0.113815, -0.572207, -0.002374],
    [-0.120206, 0, -0.356675, -0.011992],
    [-0.321469, -0.223964, -0.047401, 0],
]
CALIBRATION_GRADIENT = [
    [0, -0.088125, -0.291527, -0.002264],
    [-0.079506, 0, -0.214286, -0.010626],
    [-0.170682, -0.150286, -0.037306, 0],
]
GRADIENT = [
    [-0.119203, 0.004567, -0.252123, 0.040633],
    [0.139022, -0.182426, -0.142857, 0.087325],
    [0.037789, -0.049546, 0.119557, -0.047426],
]
ASSUMED = [
    [0.126928, 0.313262, 0.974077, 0.048587],
    [0.474077, 0.201413, 0.693147, 0.126928],
    [0.798139, 0.513015, 0.263282, 0.048587],
]


def test_each_entry_and_its_gradient():
    for i in range(3):
        for c in range(4):
            one = Z[i : i + 1, c : c + 1], KNOWN[i : i + 1, c : c + 1]
            assert loss_of("an", *one).item() == digits(ASSUMED[i][c])
    printed((1 - KNOWN) * calibration(Z, T), CALIBRATION)
    assume = 12 * gradient(lambda z: loss_of("an", z), Z)
    printed(assume, P_GRADIENT)
    whole = 12 * gradient(lambda z: gc(z, KNOWN, T, weight=3), Z)
    printed(whole, GRADIENT)
    printed((whole - assume) / 3, CALIBRATION_GRADIENT)


@pytest.mark.parametrize(
    "name, params, value",
    [
        ("an", {}, 0.381787),
        ("full", {}, 0.381787),
        ("an_ls", {"smoothing": 0}, 0.381772),
        ("an_ls", {}, 0.497600),
        ("wan", {}, 0.148196),
        ("epr", {}, 0.031778),
        ("role", {}, 0.545475),
        ("em", {}, -0.010757),
        ("em", {"entropy_weight": 0.2}, -0.052923),
        ("em_apl", {}, 0.002635),
        ("ll_r", {}, 0.234102),
        ("ll_ct", {}, 0.323454),
        ("ll_cp", {}, 0.323454),
        ("gr", {"progress": 0}, 0.372448),
        ("gr", {"progress": 1}, 0.283979),
        ("hill", {}, 1.486130),
        ("splc", {"corrected": False}, 1.072898),
        ("splc", {"corrected": True}, 0.763060),
        ("asl", {}, 0.547887),
        ("elr", {}, -1.307855),
        ("gc", {}, -0.060739),
        ("gc", {"weight": 0}, 0.381787),
    ],
)
def test_values(name, params, value):
    assert loss_of(name, **params).item() == digits(value)


def test_parts_of_values():
    assert ((1 - KNOWN) * calibration(Z, T)).mean().item() == digits(-0.147509)
    k_is_met = torch.sigmoid(Z).sum(dim=1).mean().item()
    without = loss_of("epr", labels_per_image=k_is_met)
    assert (loss_of("epr") - without).item() == digits(0.000370)
    assert large_losses(Z, KNOWN, 2).nonzero().tolist() == [[0, 2], [2, 0]]


def test_mixed_images():
    o, t, u = (0.7 * v + 0.3 * v[[1, 2, 0]] for v in (KNOWN.double(), T, 1 - KNOWN.double()))
    printed(o[0], [0.7, 0.3, 0, 0])
    printed(t[0], [0.72, 0.52, 0.67, 0.065])
    printed(u[0], [0.3, 0.7, 1, 1])
    assert loss_of("an", o=o).item() == digits(0.614287)
    assert (u * calibration(Z, t)).mean().item() == digits(-0.213299)
    assert gc(Z, o, t, weight=3, unobserved=u).item() == digits(-0.025610)
    assert gc(Z, o, t, weight=3).item() == digits(-0.025610), "1 - o is u mixed"


@pytest.mark.parametrize(
    "weight, expected",
    [
        (3, {0.2: 0, 0.4: 0.25, 0.5: 0.5, 0.75: 0.833333, 0.9: 0.944444, 1: 1}),
        (5, {0: 0, 0.2: 0, 0.4: 0.625, 0.5: 0.75, 0.75: 0.916667, 0.9: 0.972222, 1: 1}),
        (2, {0.5: 0, 0.75: 0.666667, 0.9: 0.888889}),
    ],
)
def test_fixed_points(weight, expected):
    found = fixed_point(torch.tensor(list(expected), dtype=torch.float64), weight)
    printed(found, list(expected.values()))
    for t, value in expected.items():
        assert fixed_point(t, weight).item() == pytest.approx(value, abs=1e-6)


def test_below_one_there_is_no_threshold():
    with pytest.raises(ValueError, match="weight must be above 1, got 1: else every p falls"):
        fixed_point(0.5, 1)


# --- Every loss, in loops ------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("images, labels", [(4, 5), (1, 3), (3, 1)])
def test_every_loss_and_its_gradient_are_the_formula_in_loops(name, images, labels):
    if (name, labels) == ("wan", 1):
        labels = 2  # 1 / (L - 1)
    for seed in range(3):
        z, o, params = batch(name, seed, images, labels)
        function = WEAK_LOSSES[name].function
        assert function(z, o, **params).item() == pytest.approx(slow(name, z, o, **params))
        found = gradient(lambda z: function(z, o, **params), z)  # noqa: B023
        expected = torch.tensor(differences(name, z, o, **params), dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_label_estimates_learn_as_well():
    z, o, params = batch("role", 0)
    theta = params.pop("theta")
    found = gradient(lambda theta: loss_of("role", z, o, theta=theta, **params), theta)
    expected = differences("role", z, o, of="theta", theta=theta, **params)
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "name, params",
    [
        ("asl", {"gamma_pos": 1, "gamma_neg": 2, "clip": 0}),
        ("asl", {"gamma_pos": 0.5, "gamma_neg": 0.5, "clip": 0.2}),
        ("gr", {"progress": 0}),
        ("gr", {"progress": 1}),
        ("splc", {"corrected": False}),
        ("splc", {"threshold": 0.3}),
        ("ll_r", {"count": 0}),
        ("ll_ct", {"count": 100}),
        ("em_apl", {"soft": torch.full((4, 5), nan)}),
        ("gc", {"unobserved": torch.linspace(0, 1, 20).view(4, 5).double()}),
    ],
)
def test_other_parameters(name, params):
    z, o, given = batch(name, 1)
    params = given | params
    assert loss_of(name, z, o, **params).item() == pytest.approx(slow(name, z, o, **params))
    found = gradient(lambda z: loss_of(name, z, o, **params), z)
    expected = torch.tensor(differences(name, z, o, **params), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [n for n in WEAK_LOSSES if n not in ("role", "gr")])
def test_gradcheck(name):
    """But of `role` and `gr`, which hold a part of the formula constant."""
    z, o, params = batch(name, 2)
    function = WEAK_LOSSES[name].function
    assert torch.autograd.gradcheck(lambda z: function(z, o, **params), z.requires_grad_())


@given(seeds, st.integers(0, 25), st.booleans())
def test_large_losses(seed, count, ties):
    z, o, _ = batch("an", seed)
    z = z.round() if ties else z
    found = large_losses(z, o, count)
    assert set(map(tuple, found.nonzero().tolist())) == large(z.tolist(), o.tolist(), count)
    larger = large_losses(z, o, count, strict=True)
    free = int((o == 0).sum())
    if count > free:
        assert torch.equal(found, o == 0) and torch.equal(larger, found)
    else:
        assert larger.sum() < max(count, 1) and not (larger & ~found).any()
        assert int(found.sum()) >= count
        if count:
            last = z[found].min()
            assert torch.equal(larger, (o == 0) & (z > last))


# --- What calibration does -----------------------------------------------------------------------


@given(seeds, st.floats(0, 10))
def test_without_pseudo_labels_or_weight_it_is_assume_negative(seed, weight):
    z, o, given = batch("gc", seed)
    expected = gradient(lambda z: loss_of("an", z, o), z)
    for params in ({"t": torch.zeros_like(z), "weight": weight}, {"t": given["t"], "weight": 0}):
        assert gc(z, o, **params).item() == loss_of("an", z, o).item()
        assert torch.equal(gradient(lambda z: gc(z, o, **params), z), expected)  # noqa: B023


@given(seeds)
def test_at_one_and_one_a_false_zero_is_cancelled_and_no_more(seed):
    z, o, _ = batch("gc", seed)
    z = z.clamp(-9, 9)  # 1 - p >= 1e-4
    found = gradient(lambda z: gc(z, o, torch.ones_like(z), weight=1), z)
    assert found[o == 0].abs().max() < 1e-15
    torch.testing.assert_close(found, o * (z.sigmoid() - 1) / z.numel())


@given(seeds, st.floats(0, 10))
def test_the_gradient_is_that_of_the_paper_and_leaves_observed_entries_alone(seed, weight):
    z, o, given = batch("gc", seed)
    p, t, u = z.sigmoid(), given["t"], (1 - o).double()
    found = z.numel() * gradient(lambda z: gc(z, o, t, weight=weight), z)
    expected = p - o - weight * u * t * p * (1 - p) / (1 - p * t)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found[o == 1], p[o == 1] - 1)


@given(st.floats(1.1, 10), st.floats(0.01, 0.999))
def test_the_gradient_changes_its_sign_at_the_fixed_point(weight, t):
    where = fixed_point(t, weight).item()
    none = torch.zeros(1, 1)
    for p in (where - 1e-4, where + 1e-4):
        if not 0 < p < 1:
            continue
        z = torch.tensor([[p]], dtype=torch.float64).logit()
        slope = gradient(lambda z: gc(z, none, torch.full_like(z, t), weight=weight), z).item()
        assert (slope < 0) == (p < where)


@given(seeds)
def test_images_mixed_with_nothing_are_as_they_are(seed):
    z, o, given = batch("gc", seed)
    t, other = given["t"], torch.randperm(len(z))
    mixed = [1.0 * v + 0.0 * v[other] for v in (o.double(), t, 1 - o.double())]
    assert gc(z, mixed[0], mixed[1], weight=5, unobserved=mixed[2]) == gc(z, o, t, weight=5)


def test_rounding_of_mixed_labels_is_no_error():
    above = torch.full((2, 2), 1 + 5e-7)
    assert gc(torch.zeros(2, 2), above, above, weight=5).isfinite()


def test_the_loss_has_a_lower_bound_where_the_gradient_is_that_of_assume_negative():
    z, o, one = torch.tensor([[9.1, 9.3, 100.0]]).double(), torch.zeros(1, 3), torch.ones(1, 3)
    found = 3 * gradient(lambda z: gc(z, o, one, weight=5), z)
    torch.testing.assert_close(found, z.sigmoid() * torch.tensor([[-4.0, 1, 1]]).double())
    assert calibration(z, one)[0, 1:].tolist() == [log(1e-4)] * 2


def test_digits_are_kept_where_p_and_t_are_nearly_one():
    z, t = torch.tensor([[8.5, 8.5]]), torch.tensor([[1, 1 - 1e-6]])
    expected = (1 - z.double().sigmoid() * t.double()).log()
    torch.testing.assert_close(calibration(z, t).double(), expected, rtol=1e-6, atol=0)


# --- What holds of all ---------------------------------------------------------------------------


@EVERY
@given(seed=seeds)
def test_the_order_of_images_and_of_labels_does_not_matter(name, seed):
    z, o, params = batch(name, seed)
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.randperm(4, generator=rng), torch.randperm(5, generator=rng)
    mixed = {k: v[rows][:, columns] if v is not None and torch.is_tensor(v) else v
             for k, v in params.items()}  # fmt: skip
    found = loss_of(name, z[rows][:, columns], o[rows][:, columns], **mixed)
    torch.testing.assert_close(found, loss_of(name, z, o, **params))


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_logits_have_a_finite_loss_and_gradient(name, dtype):
    z = torch.tensor([[100, 100, -100, -100], [100, -100, 0, 100]], dtype=dtype)
    o = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1]])
    extremes = torch.tensor([[0, 1, 0, 1], [1, 0, 0, 1]], dtype=dtype)
    tensors = {"theta": -z, "soft": extremes, "t": extremes}
    given = {k: tensors.get(k, value) for k, value in GIVEN.get(name, {}).items()}
    choices = [{}] if name != "asl" else [{}, {"gamma_pos": 0.5, "gamma_neg": 0.5}, {"clip": 0}]
    for params in choices:
        loss = WEAK_LOSSES[name].function(z.requires_grad_(), o, **given, **params)
        assert loss.isfinite() and loss.dtype == dtype
        assert torch.autograd.grad(loss, z)[0].isfinite().all()


@EVERY
def test_inside_autocast_losses_are_computed_in_float32(name):
    z, o, params = batch(name, 3)
    plain = loss_of(name, z.bfloat16().float(), o, **params)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss_of(name, z.bfloat16(), o.bool(), **params)
        assert loss_of(name, z, o, **params).dtype == torch.float64
    assert found.dtype == torch.float32
    assert found.item() == plain.item()


@pytest.mark.parametrize("name", ["gc", "elr"])
def test_compiled_it_is_the_same(name):
    z, o, params = batch(name, 4)
    compiled = torch.compile(WEAK_LOSSES[name].function, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(z, o, **params), loss_of(name, z, o, **params))
    torch.testing.assert_close(
        gradient(lambda z: compiled(z, o, **params), z),
        gradient(lambda z: loss_of(name, z, o, **params), z),
    )


def test_pseudo_labels_get_no_gradient():
    t = T.clone().requires_grad_()
    for loss in (gc(Z, KNOWN, t, weight=3), elr(Z, KNOWN, t)):
        assert not loss.requires_grad
