"""What a loss takes and refuses, and what the registry says of it."""

import dataclasses
import inspect
from math import exp

import pytest
import torch
from references import ORDER, PROTOTYPED, PROTOTYPES, QUEUED, STATS, Y, Z, loss_of, module_of

from maclcore import losses
from maclcore.losses import LOSSES, build_loss, macl, mulsupcon, pair_weights


def test_values_are_checked_at_every_call_on_a_cpu_and_at_the_first_on_a_gpu():
    checks = []

    def spy(z, y, *, check, **params):
        checks.append(check)

    module = build_loss("mulsupcon")
    assert not module.called, "to build a loss is not to call it"
    module.loss = dataclasses.replace(LOSSES["mulsupcon"], function=spy)
    for device, expected in (("meta", [True, False, False]), ("cpu", [True] * 3)):
        module.called = False
        for _ in range(3):
            module(torch.empty(1, 1, device=device), None)
        assert checks == expected
        checks.clear()


@pytest.mark.parametrize("name", ORDER)
def test_bad_batches_are_named(name):
    loss = build_loss(name, STATS, embedding_dim=3)
    bad = Z.clone()
    bad[1, 2] = float("nan")
    for z, y, error, words in [
        (Z.numpy(), Y, TypeError, "floating tensor, got ndarray"),
        (Z.tolist(), Y, TypeError, "floating tensor, got list"),
        (Z.long(), Y, TypeError, "floating tensor, got torch.int64"),
        (Z[0], Y, ValueError, "z must be"),
        (Z[:0], Y[:0], ValueError, "N >= 1 images"),
        (Z[:5], Y, ValueError, "z has 5 rows, y has 6"),
        (Z, Y[:, 0], ValueError, "multi-hot"),
        (Z, Y * 2, ValueError, r"y\[0, 0\] is 2"),
        (Z, Y.to(torch.complex64), TypeError, "bool or 0/1"),
        (bad, Y, ValueError, "holds NaN"),
        (Z * 1.1, Y, ValueError, "unit rows.*off by up to 0.21"),
    ]:
        for _ in range(2):  # the first call of a module checks more than later ones, on a GPU
            with pytest.raises(error, match=words):
                loss(z, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_are_unit_rows_within_what_rounding_does(dtype):
    """Squared lengths off by less than 0.02, either way; more is no rounding."""
    for square, fits in ((0.97, False), (0.985, True), (1, True), (1.015, True), (1.03, False)):
        z = Z.clone()
        z[3] *= square**0.5
        if fits:
            assert mulsupcon(z.to(dtype), Y).isfinite()
        else:
            with pytest.raises(ValueError, match="off by up to 0.0"):
                mulsupcon(z.to(dtype), Y)


def test_trusted_values_are_not_looked_at():
    with pytest.raises(ValueError, match="unit rows"):
        mulsupcon(2 * Z, Y)
    assert mulsupcon(2 * Z, Y, check=False).isfinite()


def test_bad_parameters_are_named_when_the_loss_is_built():
    for name, params, error, words in [
        ("macle", {}, ValueError, "unknown loss 'macle'; did you mean 'macl'"),
        ("macl", {"alhpa": 1}, TypeError, "no parameter 'alhpa'; did you mean 'alpha'"),
        ("wg_macl", {"reduction": "pairs"}, TypeError, "no parameter 'reduction'"),
        ("macl", {"f": "suport"}, ValueError, "f must be one of support, min"),
        ("macl", {"h": "max"}, ValueError, "h must be one of mean, min, sum"),
        ("macl", {"scope": "none"}, ValueError, "scope must be one of all"),
        ("mulsupcon", {"reduction": "mean"}, ValueError, "reduction must be one of active"),
        ("lbase", {"temperature": 0}, ValueError, "temperature must be positive, got 0"),
        ("lbase", {"temperature": float("nan")}, ValueError, "temperature must be positive"),
        ("lmsc", {"beta": 2.0}, ValueError, "beta must be in"),
        ("oml", {"temperature": -1.0}, ValueError, "temperature must be positive"),
        ("oml", {"norm": "label"}, ValueError, "norm must be one of released, per_label"),
        ("macl", {"beta": -2}, ValueError, "alpha=1.5, beta=-2: raise beta"),
        ("macl", {"alpha": 1e4, "beta": 0}, ValueError, "positive and finite.*alpha=10000"),
        ("macl", {"alpha": -1e4}, ValueError, "positive and finite"),
    ]:
        with pytest.raises(error, match=words):
            build_loss(name, STATS, embedding_dim=3, **params)
    with pytest.raises(TypeError, match="lreg has prototypes: it needs stats and embedding_dim"):
        build_loss("lreg", STATS)
    with pytest.raises(ValueError, match=r"prototypes must be \(L, D\) = \(4, 3\)"):
        losses.lproto(Z, Y, PROTOTYPES[:3])
    with pytest.raises(ValueError, match="a row is zero or NaN"):
        losses.lmsc(Z, Y, PROTOTYPES * 0)
    with pytest.raises(ValueError, match="oml is no function of two label sets"):
        pair_weights("oml", Y)
    with pytest.raises(TypeError, match="macl needs the LabelStatistics"):
        build_loss("macl")
    with pytest.raises(ValueError, match="y has 3 labels, stats has 4"):
        macl(Z, Y[:, :3], STATS)


@pytest.mark.parametrize(
    "temperature", [0.0, -0.0, -1.0, -1e-30, *map(float, ("inf -inf nan".split()))]
)
@pytest.mark.parametrize("name", ORDER)
def test_a_temperature_is_positive_and_finite(name, temperature):
    words = f"temperature must be positive.*{temperature}"
    with pytest.raises(ValueError, match=words):
        build_loss(name, STATS, embedding_dim=3, temperature=temperature)
    given = (STATS,) if LOSSES[name].needs_stats else ()
    given = (PROTOTYPES,) if name in PROTOTYPED else given
    with pytest.raises(ValueError, match=words):
        LOSSES[name].function(Z, Y, *given, temperature=temperature)
    if name != "oml":
        with pytest.raises(ValueError, match=words):
            pair_weights(name, Y, STATS, temperature=temperature)
    least = loss_of(name, temperature=1e-3)
    assert least.isfinite() and loss_of(name, temperature=1e6).isfinite()


def test_either_sign_of_alpha_and_beta_is_allowed():
    assert loss_of("macl", alpha=-0.5).isfinite()
    assert loss_of("macl", beta=-0.1).isfinite()
    T = pair_weights("macl", Y, STATS, alpha=-0.5, beta=0)[1]
    assert T[4, 5] == pytest.approx(exp(0.5)), "α < 0 softens what overlaps"


def test_the_ends_of_a_range_belong_to_it():
    for name, params in [
        ("lmsc", {"beta": 0}),
        ("lmsc", {"beta": 1}),
        ("lmsc", {"alpha": 0}),
        ("macl", {"beta": 0}),
        ("macl", {"alpha": 0, "beta": 0}),
    ]:
        assert loss_of(name, **params).isfinite()
    for beta, alpha in ((1.001, 1), (-0.001, 1), (0.5, -0.001)):
        with pytest.raises(ValueError, match=rf"got {beta} and {alpha}"):
            loss_of("lmsc", beta=beta, alpha=alpha)


def test_registry():
    assert list(losses.PAPER) == list(LOSSES)[: len(ORDER)] == ORDER
    assert [name for name in ORDER if LOSSES[name].two_views] == ["supcon_all", "supcon_any"]
    assert {name: LOSSES[name].queue for name in QUEUED} == dict.fromkeys(
        "supcon_all supcon_any mulsupcon wg_mulsupcon simdis macl wg_macl".split(), "moco"
    ) | {"lmsc": "joins"}
    assert LOSSES["macl"].defaults == {
        "alpha": 1.5, "beta": 0.1, "temperature": 1.0, "f": "support", "h": "mean",
        "reweight": True, "scope": "all", "reduction": "pairs",
    }  # fmt: skip
    for name in ORDER:
        loss = LOSSES[name]
        assert loss.name == loss.function.__name__ == name
        assert loss.paper and loss.method == "retrieval"
        assert loss.defaults["temperature"] == {"macl": 1.0, "wg_macl": 1.0, "oml": 0.01}.get(
            name, 0.3
        )
        assert list(inspect.signature(loss.function).parameters)[:2] == ["z", "y"]
        assert loss.equation.count("{") == loss.equation.count("}") and loss.function.__doc__
        module = module_of(name)
        assert len(list(module.parameters())) == (name in PROTOTYPED) and name in repr(module)
        given = (STATS,) if loss.needs_stats else ()
        given = (PROTOTYPES,) if name in PROTOTYPED else given
        assert torch.equal(module(Z, Y), loss.function(Z, Y, *given))
        assert getattr(losses, name) is loss.function


def test_methods_are_called_as_in_the_tables():
    assert [losses.method_label(name) for name in ORDER] == [LOSSES[name].label for name in ORDER]
    assert losses.method_label("wg_macl") == "Wg-MACL"
    for name, label in (("chance", "Chance"), ("mACL", "MACL"), ("o", "O"), ("", "")):
        assert losses.method_label(name) == label
