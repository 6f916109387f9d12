"""The properties that every loss must have, in corners too, and state between calls."""

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from references import (
    KINDS,
    ORDER,
    PROTOTYPED,
    STATS,
    Y,
    Z,
    loss_of,
    module_of,
    numeric,
    random_batch,
    with_gradients,
)

from maclcore.labels import LabelStatistics
from maclcore.losses import build_loss, pair_weights, supcon_any
from maclcore.losses import pairs as kernel


@pytest.mark.parametrize("name", ORDER)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_order_of_images_and_of_labels_and_rotation_do_not_matter(name, seed):
    z, y = random_batch(seed, 9, 5, rate=0.4)
    _, training = random_batch(seed + 1, 20, 5, rate=0.4)
    module = module_of(name, LabelStatistics.from_labels(training), 4)
    value = module(z, y)
    rng = torch.Generator().manual_seed(seed)
    images, labels = torch.randperm(9, generator=rng), torch.randperm(5, generator=rng)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=rng))
    stats = LabelStatistics.from_labels(training[:, labels])
    other = build_loss(name, stats, embedding_dim=4)
    if other.prototypes is not None:
        other.prototypes = torch.nn.Parameter((module.prototypes @ rotation)[labels])
    again = other((z @ rotation)[images], y[images][:, labels])
    torch.testing.assert_close(again, value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tau", [0.1, 1.0])
@pytest.mark.parametrize("suffix, reduction", [("", "pairs"), ("", "anchors"), ("wg_", None)])
def test_macl_without_its_mechanisms_is_mulsupcon(tau, suffix, reduction):
    z, y = random_batch(0, 30, 6, rate=0.3)
    stats = LabelStatistics.from_labels(y)
    chosen = {"reduction": reduction} if reduction else {}
    plain = loss_of(
        f"{suffix}macl", z, y, stats, alpha=0, beta=0, reweight=False, temperature=tau, **chosen
    )
    expected = loss_of(f"{suffix}mulsupcon", z, y, temperature=tau, **chosen)
    torch.testing.assert_close(plain, expected, rtol=1e-12, atol=0)


def test_one_label_an_image_makes_one_loss_of_all():
    """Up to the mean: over all anchors, as in MulSupCon, or over those with a positive."""
    z, _ = random_batch(0, 12, 4)
    y = torch.eye(4, dtype=torch.bool)[torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 1, 3])]
    expected = loss_of("mulsupcon", z, y)
    for name in ("supcon_any", "supcon_all", "simdis"):
        torch.testing.assert_close(loss_of(name, z, y, reduction="anchors"), expected)
        torch.testing.assert_close(loss_of(name, z, y), expected * 12 / 11)  # label 3 is alone
    torch.testing.assert_close(loss_of("wg_mulsupcon", z, y), expected)
    torch.testing.assert_close(loss_of("lbase", z, y), expected * 12 / 11)


def test_supcon_is_that_of_another_library():
    """On single labels; an image alone with its label is left out of the mean there, too."""
    from pytorch_metric_learning.losses import SupConLoss

    z, _ = random_batch(1, 40, 4, dim=8)
    label = torch.randint(0, 6, (40,), generator=torch.Generator().manual_seed(0))
    label[0] = 6
    expected = SupConLoss(temperature=0.3)(z, label)
    for name in ("supcon_all", "supcon_any", "lbase"):
        found = loss_of(name, z, F.one_hot(label))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize(
    "rows",
    [
        ["100"],  # one image
        ["000"],  # one image without labels
        ["100", "010", "001"],  # no positive anywhere
        ["000", "000", "000"],
        ["110", "110", "000"],  # an image without labels beside others
        ["110", "100", "001"],  # singleton labels, an anchor without positives
        ["111", "111", "111"],  # all equal
    ],
)
def test_corners_are_finite(name, rows):
    y = torch.tensor([[int(c) for c in row] for row in rows])
    x = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    stats = LabelStatistics.from_labels(np.eye(3))
    learned = {k: torch.nn.Parameter(v.detach().float()) for k, v in numeric(name).items()}
    loss = build_loss(name, stats, embedding_dim=4, **learned)
    value = loss(F.normalize(x), y)
    value.backward()
    assert value.isfinite() and x.grad.isfinite().all() and value.ndim == 0
    assert all(p.grad.isfinite().all() for p in loss.parameters() if p.grad is not None)
    if (y.sum(dim=0) <= 1).all() and name not in PROTOTYPED:
        assert value == 0 and (x.grad == 0).all(), "no positive: 0, with a gradient"


@pytest.mark.parametrize("name", ORDER)
def test_sharp_temperatures_do_not_overflow(name):
    z = F.normalize(Z.float()).requires_grad_()
    value = build_loss(name, STATS, embedding_dim=3, temperature=1e-3)(z, Y)
    value.backward()
    assert value.isfinite() and z.grad.isfinite().all()


def test_an_image_without_labels_is_a_negative_of_the_others():
    z, y = random_batch(1, 6, 3, rate=0.6)
    more = torch.cat([y, torch.zeros(2, 3, dtype=torch.bool)])
    W, _ = pair_weights("supcon_all", more)
    assert (W[6:] == 0).all() and (W[:, 6:] == 0).all()
    assert supcon_any(torch.cat([z, z[:2]]), more) > supcon_any(z, y), "a longer denominator"


@pytest.mark.parametrize("name", ORDER)
def test_autocast_computes_in_float32(name):
    z, y = random_batch(2, 20, 5, rate=0.4)
    z, stats = z.float(), LabelStatistics.from_labels(y)
    plain = loss_of(name, z, y, stats)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss_of(name, z, y, stats)
        halves = loss_of(name, z.bfloat16(), y, stats)
    assert plain.dtype == mixed.dtype == halves.dtype == torch.float32 and torch.equal(plain, mixed)
    torch.testing.assert_close(
        halves, loss_of(name, z.bfloat16().float(), y, stats), rtol=0, atol=0
    )
    assert loss_of(name, z.double(), y, stats).dtype == torch.float64


@pytest.mark.parametrize("convert", [torch.Tensor.bool, torch.Tensor.float, torch.Tensor.numpy])
def test_labels_of_any_type(convert):
    assert torch.equal(loss_of("macl", y=convert(Y)), loss_of("macl"))


@pytest.mark.parametrize("labels", [4, 30])  # supports from a table, and counted
@pytest.mark.parametrize("name", ORDER)
def test_a_loss_called_again_is_a_fresh_one(name, labels, monkeypatch):
    """Other batches, sizes, types and statistics in between leave no trace."""
    _, training = random_batch(1, 40, labels, rate=0.3)
    stats = LabelStatistics.from_labels(training)
    used = module_of(name, stats, 4)
    batches = [random_batch(seed, n, labels, rate=0.3) for seed, n in ((2, 9), (3, 5), (4, 9))]
    batches += [(z.float(), y) for z, y in batches] + [(batches[0][0], training[:9])]
    for z, y in batches + batches[::-1]:
        for dense in (256, 0):
            monkeypatch.setattr(kernel, "DENSE", dense)
            fresh = module_of(name, LabelStatistics.from_labels(training), 4)
            value = used(z, y)
            assert torch.equal(value, fresh(z, y)) and value.dtype == z.dtype
    other = LabelStatistics.from_labels(training[:20])  # two statistics do not meet
    assert torch.equal(module_of(name, other, 4)(z, y), module_of(name, other, 4)(z, y))


def test_oml_of_perfect_clusters():
    """Six images, three labels, two images each: as released, the optimum is 1 - 2/6."""
    y = torch.eye(3)[[0, 0, 1, 1, 2, 2]]
    z = torch.eye(3, dtype=torch.float64)[[0, 0, 1, 1, 2, 2]]
    assert loss_of("oml", z, y, norm="per_label").item() == pytest.approx(0, abs=1e-9)
    assert loss_of("oml", z, y).item() == pytest.approx(1 - 2 / 6)
    assert loss_of("oml", z, torch.eye(6)[:, :3]) == 0, "a label of one image orders nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_oml_in_chunks(kind, monkeypatch):
    z, y = random_batch(3, 20, 5, rate=0.4)
    expected = with_gradients("oml", z, y, STATS, kind=kind)
    monkeypatch.setattr(
        importlib.import_module("maclcore.losses.ranks"), "CHUNK", 3 * 20**2
    )  # three queries at a time
    found = with_gradients("oml", z, y, STATS, kind=kind)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert (found["value"] != loss_of("oml", z, y)) and ("temperature" in found) == (
        kind == "learned"
    )
