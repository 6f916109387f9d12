"""Losses on a GPU are what they are on the CPU: values, gradients, and memory of the tiled form."""

import pytest
import torch
import torch.nn.functional as F
from references import STATS, module_of

from maclcore.evaluation.retrieval import evaluate
from maclcore.losses import LOSSES, build_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def batch(n, dim=16, dtype=torch.float64):
    generator = torch.Generator().manual_seed(n)
    z = F.normalize(torch.randn(n, dim, generator=generator, dtype=dtype))
    y = torch.rand(n, 4, generator=generator) < 0.4
    y[:: n // 4, 0] = True
    y[n // 2 :] = y[: n // 2]  # for losses of two views: the second half shows the first
    return z, y


def differentiated(name, z, y, device):
    module = module_of(name, STATS, z.shape[1]).to(device)
    z = z.detach().to(device).requires_grad_()
    value = module(z, y.to(device))
    value.backward()
    return value.detach().cpu(), z.grad.cpu()


@pytest.mark.parametrize("n", [12, 600])  # the dense form, and the tiled one
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_cpu(name, n):
    z, y = batch(n)
    value, gradient = differentiated(name, z, y, "cpu")
    there = differentiated(name, z, y, "cuda")
    assert torch.allclose(there[0], value, rtol=1e-9)
    assert torch.allclose(there[1], gradient, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("name", LOSSES)
def test_under_autocast_they_stay_near_float64(name):
    z, y = batch(600)
    value, gradient = differentiated(name, z, y, "cpu")
    with torch.autocast("cuda", torch.bfloat16):
        found, moved = differentiated(name, z.float(), y, "cuda")
    assert found.dtype == torch.float32
    assert abs(found / value - 1) < 1e-3
    assert F.cosine_similarity(moved.double().flatten(), gradient.flatten(), dim=0) > 0.999


@pytest.mark.parametrize("name", ["mulsupcon", "macl", "supcon_any", "softcon", "infonce"])
def test_memory_of_a_large_batch_is_far_below_its_square(name):
    n = 16_384
    z, y = batch(n, dim=128, dtype=torch.float32)
    loss = build_loss(name, STATS).cuda()
    z, y = z.cuda().requires_grad_(), y.cuda()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss(z, y).backward()
    assert torch.cuda.max_memory_allocated() - before < 0.5 * n * n * 4


def test_metrics_of_embeddings_there_are_those_of_the_cpu():
    z, y = batch(60)
    assert evaluate(z.cuda(), y.cuda()).summary() == pytest.approx(evaluate(z, y).summary())
