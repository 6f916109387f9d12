"""Gradients against finite differences, and what they say of the losses."""

import pytest
import torch
import torch.nn.functional as F
from references import (
    CHOSEN,
    ORDER,
    PROTOTYPED,
    PROTOTYPES,
    STATS,
    STEP,
    Y,
    Z,
    loss_of,
    module_of,
    numeric,
)

from maclcore import losses
from maclcore.losses import LOSSES
from maclcore.losses import pairs as kernel
from maclcore.losses.kernel import contrast
from maclcore.losses.pairs import Pairs


# the gradient of LReg is not that of its value: it has a test of its own
@pytest.mark.parametrize("kind", ["numbers", "learned"])
@pytest.mark.parametrize("name", [name for name in ORDER if name != "lreg"])
def test_gradient_by_finite_differences(name, kind, monkeypatch):
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.cat([Y, torch.zeros(1, 4, dtype=Y.dtype)])
    module = module_of(name, **numeric(name, kind))
    parameters = dict(module.named_parameters())

    def loss(x, *values):
        given = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(module, given, (F.normalize(x), y))

    inputs = [
        x.requires_grad_(),
        *(p.detach().clone().requires_grad_() for p in parameters.values()),
    ]
    for dense in (256, 0):  # through autograd, and the kernel's own or its checkpoints
        monkeypatch.setattr(kernel, "DENSE", dense)
        assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("dense", [256, 0])
def test_gradient_of_parameters_of_lreg_holds_p_fixed(dense, monkeypatch):
    """By finite differences of the formula with the p of the middle."""
    monkeypatch.setattr(kernel, "DENSE", dense)
    both = torch.cat([Z, F.normalize(PROTOTYPES)])
    pairs = Pairs.of(Y.bool(), torch.float64, "joint")
    others = ~torch.eye(len(both), dtype=torch.bool)

    def log_p_and_x(temperature):
        x = both @ both.T / temperature
        return x.masked_fill(~others, -torch.inf).log_softmax(dim=1).where(others, 0), x

    p = log_p_and_x(CHOSEN["temperature"])[0].exp()

    def value(temperature, alpha):
        W = LOSSES["l_wo_reg"].function.weights(pairs, alpha=alpha).W * others
        log_p, x = log_p_and_x(temperature)
        L = -(W * log_p).sum(dim=1) - (torch.where(W > 0, (p - W).clamp(min=0), 0) * x).sum(dim=1)
        return L.sum() / (W.sum(dim=1) > 0).sum()

    params = numeric("lreg")
    loss_of("lreg", **params).backward()
    for name, parameter in params.items():
        up, down = (value(**numeric("lreg", "numbers") | {name: CHOSEN[name] + h}) for h in STEP)
        torch.testing.assert_close(parameter.grad, (up - down) / 2e-6, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dense", [256, 0])
def test_lreg_never_repels_a_positive(dense, monkeypatch):
    """Of a similarity, N times: min(p - W, 0) for a positive, p for a negative; p - W without."""
    monkeypatch.setattr(kernel, "DENSE", dense)
    pairs = Pairs.of(Y.bool(), torch.float64, "joint")
    terms = LOSSES["lreg"].function.weights(pairs)
    both = torch.cat([Z, F.normalize(PROTOTYPES)])
    s = (both @ both.T).requires_grad_()
    contrast(s, terms, pairs.own).sum().backward()
    W = terms.W.clone().fill_diagonal_(0)
    x = (s.detach() / 0.3).fill_diagonal_(-torch.inf)
    p = x.softmax(dim=1)
    active = (W.sum(dim=1) > 0)[:, None]
    expected = torch.where(W > 0, (p - W).clamp(max=0), p) * active / 0.3
    torch.testing.assert_close(s.grad, expected)
    assert ((p - W)[W > 0] > 0).any(), "else there is nothing to see"
    # and the gradient of the embeddings follows from it
    z = Z.clone().requires_grad_()
    loss_of("lreg", z).backward()
    G = expected / active.sum()
    torch.testing.assert_close(z.grad, ((G + G.T) @ both)[: len(Z)])


def gradient_of_similarities(name, s, **params):
    """dL/ds, (A, C), of the six images (and prototypes) at given similarities."""
    pairs = Pairs.of(Y.bool(), torch.float64, LOSSES[name].function.layout)
    given = (STATS,) if LOSSES[name].needs_stats else ()
    terms = LOSSES[name].function.weights(pairs, *given, **params)
    a, b = losses.REDUCTIONS[terms.reduction](pairs.total(terms.W), pairs.size)
    s = s.clone().requires_grad_()
    (a @ contrast(s, terms, pairs.own) / b.sum()).backward()
    return s.grad


@pytest.mark.parametrize("name", [n for n in ORDER if n not in ("oml", *PROTOTYPED)])
def test_a_common_shift_of_similarities_matters_to_macl_alone(name):
    grad = gradient_of_similarities(name, Z @ Z.T)
    assert (grad.diagonal() == 0).all(), "an anchor is not its own contrast"
    rows = grad.sum(dim=1).abs()
    assert rows.max() > 1e-2 if "macl" in name else rows.max() < 1e-15


@pytest.mark.parametrize("name", ["macl", "wg_macl"])
def test_macl_pulls_everything_together_and_a_negative_alpha_apart(name):
    """From orthogonal images: positives have the smallest T, so attraction outweighs repulsion."""
    orthogonal = torch.zeros(6, 6, dtype=torch.float64)
    assert gradient_of_similarities(name, orthogonal).sum() < -0.02
    assert gradient_of_similarities(name, orthogonal, alpha=-1.5).sum() > 0.02


def test_corrected_gradient_of_the_paper():
    """Eq. 7 repels by Σ_l (1/|P_il|) Σ_p w_ip, the sum of W; the paper prints |y_i| there."""
    pairs = Pairs.of(Y.bool(), torch.float64)
    terms = LOSSES["macl"].function.weights(pairs, STATS)
    W, T = terms.W.clone().fill_diagonal_(0), terms.T
    for i in range(6):
        z = Z[i].clone().requires_grad_()  # the other images are constants, as in the paper
        row = terms._replace(W=terms.W[i : i + 1], T=T[i : i + 1])
        contrast((Z @ z)[None], row, pairs.own[i : i + 1]).sum().backward()
        e = torch.exp(Z @ Z[i] / T[i]) * (torch.arange(6) != i)
        attraction, repulsion = -(W[i] / T[i]) @ Z, (e / e.sum() / T[i]) @ Z
        torch.testing.assert_close(z.grad, attraction + W[i].sum() * repulsion, rtol=1e-9, atol=0)
        printed = attraction + Y[i].sum() * repulsion
        assert (printed - z.grad).norm() > 0.5 * z.grad.norm()
