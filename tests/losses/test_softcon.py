"""SoftCon and InfoNCE: values worked out apart, what a pair is asked for, and what is refused."""

from math import exp, inf, log, log1p, sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from references import random_batch, soft_of

from maclcore.labels import LabelStatistics
from maclcore.losses import LOSSES, build_loss, infonce, lbase, pair_weights, softcon
from maclcore.losses import pairs as kernel
from maclcore.losses.pairs import Pairs

unit = F.normalize
Z = unit(torch.tensor([[1, 2, 2], [2, 1, -2], [2, -2, 1], [-1, 2, 2]]).double())
K = unit(torch.tensor([[2, 2, 1], [1, 0, -1], [1, -2, 2], [0, 3, 4]]).double())
Y = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1], [0, 0, 0, 1]])
SEASONS = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 1], [1, 0, 0, 1]])
QUEUE = unit(torch.tensor([[0, 0, 1], [1, 1, 0]]).double())
NONE = torch.zeros(4, dtype=torch.int64)
EMPTIED = torch.stack([*Y[:3], NONE])
SINGLE = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]])
#: the batch as it stands, behind it a queue of an image with labels and one without, other seasons,
#: an image without labels, one label an image
CASES = {
    "batch": (Z, Y, {"keys": K, "key_labels": Y}),
    "queue": (
        Z, Y, {
            "keys": torch.cat([K, QUEUE]),
            "key_labels": torch.cat([Y, torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0]])]),
        },
    ),
    "two views": (torch.cat([Z, K]), torch.cat([Y, Y]), {}),
    "seasons": (Z, Y, {"keys": K, "key_labels": SEASONS}),
    "emptied": (Z, EMPTIED, {"keys": K, "key_labels": EMPTIED}),
    "single": (Z, SINGLE, {"keys": K, "key_labels": SINGLE}),
    "swapped": (K, Y, {"keys": Z, "key_labels": Y}),
}  # fmt: skip


def digits(value):
    """As printed, to six of them."""
    return pytest.approx(value, abs=5.1e-7)


# --- Values worked out apart ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "temperature, rows, mean",
    [
        (0.1, [0.940029, 0.006829, 0.001910, 0.007531], 0.239075),
        (0.2, [0.821070, 0.081971, 0.062654, 0.088417], 0.263528),
        (1.0, [1.040156, 0.759120, 0.849982, 0.769687], 0.854736),
    ],
)
def test_plain_part_of_the_batch(temperature, rows, mean):
    z, y, keys = CASES["batch"]
    assert infonce(z, y, temperature=temperature, **keys).item() == digits(mean)
    for i, value in enumerate(rows):  # an anchor alone: its own key comes first
        order = [i, *(j for j in range(4) if j != i)]
        one = infonce(
            Z[i : i + 1], Y[i : i + 1], temperature=temperature, keys=K[order], key_labels=Y[order]
        )
        assert one.item() == digits(value)


@pytest.mark.parametrize(
    "params, value",
    [
        ({}, 0.633146),
        ({"soft_temperature": 0.1}, 1.528383),
        ({"similarity": "jaccard"}, 0.631725),
        ({"similarity": "jaccard", "soft_temperature": 0.1}, 1.514180),
        ({"similarity": "minmax"}, 0.708704),
        ({"similarity": "minmax", "soft_temperature": 0.1}, 2.283970),
        ({"average": "candidates"}, 2.532582),
        ({"form": "softmax", "soft_temperature": 0.1}, 4.642332),
        ({"form": "softmax"}, 1.295062),
        ({"form": "softmax", "similarity": "jaccard", "soft_temperature": 0.1}, 3.553133),
    ],
)
def test_soft_part_of_the_batch(params, value):
    z, y, keys = CASES["batch"]
    assert soft_of(z, y, **params, **keys).item() == digits(value)


@pytest.mark.parametrize(
    "params, rows",
    [
        ({}, [0.753576, 0.565943, 0.619161, 0.593903]),
        ({"soft_temperature": 0.1}, [2.886157, 1.023786, 0.857807, 1.345782]),
        (
            {"form": "softmax", "soft_temperature": 0.1},
            [5.550655, 4.280519, 4.907692, 3.830463],
        ),
    ],
)
def test_soft_part_of_each_anchor(params, rows):
    for i, value in enumerate(rows):
        order = [i, *(j for j in range(4) if j != i)]
        keys = {"keys": K[order], "key_labels": Y[order]}
        assert soft_of(Z[i : i + 1], Y[i : i + 1], **params, **keys).item() == digits(value)


def test_the_sum():
    z, y, keys = CASES["batch"]
    assert softcon(z, y, temperature=0.1, **keys).item() == digits(0.302389)
    assert softcon(z, y, **keys).item() == digits(0.326843)
    assert softcon(z, y, average="candidates", **keys).item() == digits(0.516786)


@pytest.mark.parametrize(
    "case, temperature, con, soft, L",
    [
        ("queue", 0.1, 0.304567, 0.648646, 0.369431),
        ("queue", 0.2, 0.472186, 0.648646, 0.537051),
        ("two views", 0.1, 0.265495, 0.675020, 0.332997),
        ("two views", 0.2, 0.389437, 0.675020, 0.456939),
        ("seasons", 0.2, 0.263528, 0.637474, 0.327276),
        ("emptied", 0.2, 0.263528, 0.582641, None),
        ("single", 0.2, 0.263528, 0.633423, None),
        ("swapped", 0.1, None, None, 0.242842),
        ("swapped", 0.2, None, None, 0.305574),
    ],
)
def test_cases(case, temperature, con, soft, L):
    z, y, keys = CASES[case]
    if con is not None:
        assert infonce(z, y, temperature=temperature, **keys).item() == digits(con)
        assert soft_of(z, y, temperature=temperature, **keys).item() == digits(soft)
    if L is not None:
        assert softcon(z, y, temperature=temperature, **keys).item() == digits(L)


def test_both_directions():
    for temperature, value in ((0.1, 0.272615), (0.2, 0.316208)):
        (a, y, one), (b, _, other) = CASES["batch"], CASES["swapped"]
        both = [softcon(z, y, temperature=temperature, **k) for z, k in ((a, one), (b, other))]
        assert sum(both).item() / 2 == digits(value)


def test_labels_of_zero_similarity_are_not_labels_that_are_unknown():
    """With a label of their own, images differ from all others; without any they say nothing."""
    z, y, keys = CASES["queue"]
    more = F.pad(y, (0, 1)), F.pad(keys["key_labels"], (0, 1))
    more[1][5, 4] = 1
    counted = soft_of(z, more[0], keys=keys["keys"], key_labels=more[1])
    assert counted.item() == digits(0.695828)
    apart = F.pad(EMPTIED, (0, 2))
    apart[3, 4] = 1
    others = apart.clone()
    others[3] = torch.eye(6)[5]
    counted = soft_of(Z, apart, keys=K, key_labels=others)
    assert counted.item() == digits(0.682658)


def gradient_of(s, loss=softcon, **params):
    """∂L/∂s of the batch: with unit vectors for keys z is s itself."""
    s = s.clone().requires_grad_()
    given = {"keys": torch.eye(4).double(), "key_labels": Y, "check": False}
    return torch.autograd.grad(loss(s, Y, **given, **params), s)[0]


@pytest.mark.parametrize("dense", [256, 0])
def test_gradients_of_the_batch(dense, monkeypatch):
    monkeypatch.setattr(kernel, "DENSE", dense)
    s = Z @ K.T
    soft = gradient_of(s, soft_weight=1.0) - gradient_of(s, infonce)
    expected = [
        [-0.018209, -0.003666, 0.007469, 0.044859],
        [0.006832, -0.017521, -0.001098, 0.026089],
        [0.007469, 0.009400, -0.018209, -0.006915],
        [0.038082, 0.020640, -0.006569, -0.017641],
    ]
    assert soft.numpy() == digits(np.array(expected))
    expected = [
        [-1.525280, -0.000354, 0.001156, 1.527523],
        [0.017689, -0.018768, -0.000107, 0.002616],
        [0.001792, 0.004574, -0.006591, -0.000601],
        [0.022491, 0.002064, -0.000585, -0.020520],
    ]
    assert gradient_of(s, temperature=0.1).numpy() == digits(np.array(expected))
    plain = gradient_of(s, infonce)
    assert plain.sum(dim=1).abs().max() < 1e-15, "a shift of all similarities is nothing to it"
    assert soft.sum(dim=1).abs().min() > 1e-3, "and much to the soft part"
    for temperature, rows in (
        (0.1, [[-1.016718, -0.101110, 0.714613], [-0.001514, 0.013434, 0.021188],
               [0.002232, 0.005228, -0.007511], [0.016259, 0.003072, -0.010768]]),
        (0.2, [[-0.462766, -0.061141, 0.325932], [-0.006472, 0.066056, 0.107120],
               [0.022953, 0.072175, -0.070801], [0.072252, 0.000530, -0.049670]]),
    ):  # fmt: skip
        z = Z.clone().requires_grad_()
        softcon(z, Y, temperature=temperature, keys=K, key_labels=Y).backward()
        assert z.grad.numpy() == digits(np.array(rows))


def test_gradient_with_the_queue(monkeypatch):
    """The unlabelled key has a label of its own here, and so similarity 0 to all."""
    z, y, keys = CASES["queue"]
    labels = F.pad(keys["key_labels"], (0, 1))
    labels[5, 4] = 1
    expected = [
        [-0.432444, -0.128868, 0.282272], [-0.003179, 0.248388, 0.278065],
        [0.004852, 0.131834, -0.050733], [0.077591, -0.137796, -0.013591],
    ]  # fmt: skip
    for dense in (256, 0):
        monkeypatch.setattr(kernel, "DENSE", dense)
        z = Z.clone().requires_grad_()
        softcon(z, F.pad(y, (0, 1)), keys=keys["keys"], key_labels=labels).backward()
        assert z.grad.numpy() == digits(np.array(expected))


def test_similarities_of_the_batch_and_of_published_label_sets():
    pairs = Pairs.of(Y, torch.float64)
    cosine = [[1, 0.5, 0.408248, 0], [0.5, 1, 0.408248, 0], [0.408248, 0.408248, 1, 0.57735],
              [0, 0, 0.57735, 1]]  # fmt: skip
    assert pairs.cosine.numpy() == digits(np.array(cosine))
    seasons = [[1, 0, 0.408248, 0.5], [0.5, 0.707107, 0.408248, 0.5],
               [0.408248, 0.57735, 1, 0.408248], [0, 0, 0.57735, 0.707107]]  # fmt: skip
    other = Pairs.of(Y, torch.float64, key_labels=SEASONS)
    assert other.cosine.numpy() == digits(np.array(seasons))

    # of six images in the README of the paper's repository: A, B, C, D = C, E and F
    sets = [{0, 1, 2, 4, 5, 6, 8}, {1, 2, 4, 5, 6, 8}, {4, 5, 7}, {4, 5, 7}, {0, 1, 4, 5, 6, 7},
            {1, 4, 5, 7}]  # fmt: skip
    y = torch.tensor([[int(k in row) for k in range(9)] for row in sets])
    pairs = Pairs.of(y, torch.float64)
    published = {  # (cosine, Jaccard)
        "AB": (0.925820, 0.857143), "AC": (0.436436, 0.25), "AE": (0.771517, 0.625),
        "AF": (0.566947, 0.375), "BC": (0.471405, 0.285714), "BE": (0.666667, 0.5),
        "BF": (0.612372, 0.428571), "CE": (0.707107, 0.5), "CF": (0.866025, 0.75),
        "EF": (0.816497, 0.666667), "CD": (1, 1),
    }  # fmt: skip
    for (a, b), (cosine, jaccard) in published.items():
        i, j = "ABCDEF".index(a), "ABCDEF".index(b)
        assert pairs.cosine[i, j].item() == digits(cosine)
        assert pairs.jaccard[i, j].item() == digits(jaccard)
    upper = torch.ones(6, 6).triu(1) > 0
    assert pairs.cosine[upper].mean().item() == digits(0.688118)
    assert pairs.jaccard[upper].mean().item() == digits(0.534921)


# --- What a pair is asked for ---------------------------------------------------------------------


@pytest.mark.parametrize("soft_temperature", [1.0, 0.5, 0.2, 0.1])
def test_what_a_pair_is_asked_for_and_what_it_costs_at_least(soft_temperature):
    """With |s| <= 1 the sigmoid does not reach every target: s* = clip(τ_s log(S / (1 - S)))."""
    grid = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    z = torch.stack([grid, (1 - grid**2).sqrt()], dim=1)
    key = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for both, first, second in ((0, 1, 1), (1, 1, 16), (1, 1, 4), (1, 1, 2), (3, 3, 4), (2, 2, 2)):
        y, labels = torch.zeros(2, 1, 20)
        y[0, :first] = 1
        labels[0, first - both : first - both + second] = 1
        S = both / sqrt(first * second)
        costs = torch.stack(
            [
                softcon(
                    row[None], y, keys=key, key_labels=labels, soft_weight=1.0,
                    soft_temperature=soft_temperature,
                )
                for row in z[::20]
            ]
        )  # fmt: skip
        asked = inf if S == 1 else -inf if S == 0 else soft_temperature * log(S / (1 - S))
        best = min(max(asked, -1), 1)
        assert grid[::20][costs.argmin()].item() == pytest.approx(best, abs=0.011)
        x = best / soft_temperature
        floor = log(1 + exp(x)) - S * x
        assert floor - 1e-12 <= costs.min() <= floor + 1e-2
        if S in (0, 1):
            printed = {1.0: 0.313262, 0.5: 0.126928, 0.2: 0.006715, 0.1: 0.000045}
            assert costs.min().item() == digits(printed[soft_temperature])


def test_no_embedding_comes_below_the_floor_of_its_labels():
    S = Pairs.of(Y, torch.float64).cosine
    logit = (S / (1 - S)).log().clamp(-40, 40)
    keys = {"keys": torch.eye(4).double(), "key_labels": Y, "check": False}
    for s, printed in ((logit, 0.340839), (logit.clamp(-1, 1), 0.497470)):
        floor = softcon(s, Y, soft_weight=1.0, **keys) - infonce(s, Y, **keys)
        assert floor.item() == digits(printed), "the entropy of S, and what unit rows can reach"
    for seed in range(20):
        z, _ = random_batch(seed, 8, 1, dim=3)
        assert soft_of(z[:4], Y, keys=z[4:], key_labels=Y) > floor


@pytest.mark.parametrize("x", [5, 15, 25])
def test_a_sharp_pair_is_exact_in_double_precision(x):
    one = {"keys": K[:1], "key_labels": Y[3:], "soft_weight": 1.0, "soft_temperature": 1 / x}
    found = softcon(K[:1], Y[:1], **one).item()  # no label shared, and the very same row
    assert found - x == pytest.approx(log1p(exp(-x)), abs=1e-12)


def test_one_image():
    one = {"keys": K[:1], "key_labels": Y[:1]}
    x = (Z[0] @ K[0]).item()
    assert infonce(Z[:1], Y[:1], **one) == 0
    assert soft_of(Z[:1], Y[:1], **one).item() == pytest.approx(log(1 + exp(x)) - x)
    views = torch.stack([Z[0], K[0]])
    assert infonce(views, Y[[0, 0]]) == 0
    assert soft_of(views, Y[[0, 0]]).item() == pytest.approx(log(1 + exp(x)) - x)


# --- What it takes -------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [softcon, infonce])
def test_without_a_second_view_there_is_no_loss(loss):
    z, y, keys = CASES["batch"]
    with pytest.raises(ValueError, match="no second view in a batch of 3 rows: pass keys"):
        loss(z[:3], y[:3])
    with pytest.raises(ValueError, match="no second view, for labels of the halves differ: pass"):
        loss(z, y)
    loss(z, y, check=False)  # trusted
    with pytest.raises(ValueError, match="no second view in a batch of 3 rows"):
        loss(z[:3], y[:3], check=False)
    with pytest.raises(ValueError, match="4 anchors have 3 keys: those of the batch must come"):
        loss(z, y, keys=K[:3], key_labels=Y[:3])
    assert loss(z[:3], y[:3], **keys).isfinite(), "more keys are a queue"
    for name, other in (("keys", K[:, :2]), ("key_labels", Y[:, :2])):
        with pytest.raises(ValueError, match=f"{name} has 2 columns, anchors have [34]"):
            given = keys | {name: unit(other.double()) if name == "keys" else other}
            loss(z, y, **given)
        with pytest.raises(ValueError, match=f"{name} has 2 columns"):
            lbase(z, y, **given)
    with pytest.raises(TypeError, match="key_labels is compared"):
        loss(z, y, keys=K, key_labels=Y.double().requires_grad_())
    with pytest.raises(ValueError, match="keys must hold unit rows"):
        loss(z, y, keys=2 * K, key_labels=Y)


@pytest.mark.parametrize(
    "params, error, words",
    [
        ({"similarity": "dice"}, ValueError, "similarity must be one of cosine, jaccard, minmax"),
        ({"form": "tanh"}, ValueError, "form must be one of sigmoid, softmax; got 'tanh'"),
        ({"average": "sum"}, ValueError, "average of the sigmoid form must be one of pairs, cand"),
        (
            {"form": "softmax", "average": "candidates"},
            ValueError,
            "average of the softmax form must be one of pairs; got 'candidates'",
        ),
        ({"soft_temperature": 0}, ValueError, "soft_temperature must be positive, got 0"),
        ({"soft_temperature": float("nan")}, ValueError, "soft_temperature must be positive"),
        ({"temperature": -1}, ValueError, "temperature must be positive, got -1"),
        ({"soft_weight": -0.1}, ValueError, "soft_weight must not be negative, got -0.1"),
        ({"soft_weight": inf}, ValueError, "soft_weight must not be negative.*got inf"),
        ({"soft_weight": torch.ones(2)}, TypeError, r"soft_weight must be a number or a scalar"),
        ({"softweight": 1}, TypeError, "no parameter 'softweight'; did you mean 'soft_weight'"),
    ],
)
def test_a_bad_parameter_is_named_when_the_loss_is_built(params, error, words):
    with pytest.raises(error, match=words):
        build_loss("softcon", **params)
    with pytest.raises(error, match=words):
        build_loss("softcon", LabelStatistics.from_labels(Y), **params)
    for name in ("softcon", "infonce"):
        with pytest.raises(ValueError, match=f"{name} is no function of two label sets"):
            pair_weights(name, Y)


def test_the_registry_has_both():
    assert [*LOSSES][13:15] == ["softcon", "infonce"]
    for name in ("softcon", "infonce"):
        loss = LOSSES[name]
        assert (loss.paper, loss.two_views, loss.queue, loss.method) == (
            False, True, "moco", "softcon",
        )  # fmt: skip
        assert loss.equation.count("{") == loss.equation.count("}") and loss.function.__doc__
        assert not loss.needs_stats and not loss.needs_prototypes
    assert LOSSES["infonce"].defaults == {"temperature": 0.2}
    assert LOSSES["softcon"].defaults == {
        "temperature": 0.2, "soft_temperature": 1.0, "soft_weight": 0.1, "similarity": "cosine",
        "form": "sigmoid", "average": "pairs",
    }  # fmt: skip


def test_learned_parameters_are_those_of_the_module():
    names = ("temperature", "soft_temperature", "soft_weight")
    learned = {name: torch.nn.Parameter(torch.tensor(0.5)) for name in names}
    module = build_loss("softcon", similarity="jaccard", **learned)
    assert dict(module.named_parameters()) == learned and "similarity='jaccard'" in repr(module)
    z, y, keys = CASES["batch"]
    before = module(z, y, **keys)
    before.backward()
    torch.optim.SGD(module.parameters(), 0.01).step()
    assert module(z, y, **keys) < before
