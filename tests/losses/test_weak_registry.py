"""What the losses of weak labels refuse, and what the registry says of them."""

import inspect
from dataclasses import replace
from math import inf, nan

import pytest
from weak_references import KNOWN, SOFT, T, Z, loss_of

from maclcore.losses import (
    COLOURS,
    LOSSES,
    PAPER,
    WEAK_COLOURS,
    WEAK_LOSSES,
    WeakLoss,
    build_loss,
    colours,
    entry,
    method_label,
    pair_weights,
    register,
)
from maclcore.losses.weak import NEEDS
from maclcore.plots import style

EVERY = pytest.mark.parametrize("name", WEAK_LOSSES)


@EVERY
def test_bad_batches_are_named(name):
    bad, half = Z.clone(), KNOWN.double()
    bad[1, 2], half[2, 1] = nan, 1.5
    labels = "y" if name == "full" else "o"
    for z, o, error, words in [
        (Z.tolist(), KNOWN, TypeError, "z must be a floating tensor of logits, got list"),
        (KNOWN, KNOWN, TypeError, "z must be a floating tensor of logits, got torch.int64"),
        (Z, KNOWN.numpy(), TypeError, f"{labels} must be a tensor, got ndarray"),
        (Z[0], KNOWN[0], ValueError, r"z must be \(B, L\) with B, L >= 1, got shape \(4,\)"),
        (Z[:0], KNOWN[:0], ValueError, r"z must be \(B, L\) with B, L >= 1, got shape \(0, 4\)"),
        (Z, KNOWN[:2], ValueError, rf"{labels} has shape \(2, 4\), z has \(3, 4\)"),
        (bad, KNOWN, ValueError, "z is nan in row 1, column 2: logits are finite"),
        (Z / 0, KNOWN, ValueError, "z is inf in row 0, column 0"),
        (Z, half, ValueError, f"{labels} is 1.5 in row 2, column 1"),
    ]:
        with pytest.raises(error, match=words):
            loss_of(name, z, o)


def test_labels_are_fractions_only_where_they_may_be_mixed():
    for name in WEAK_LOSSES:
        if name in ("an", "gc"):
            assert loss_of(name, o=T).isfinite()
        else:
            with pytest.raises(ValueError, match="is 0.9 in row 0, column 0: labels are 0 or 1"):
                loss_of(name, o=T)
            assert loss_of(name, o=T, check=False).isfinite(), "values were looked at"


@pytest.mark.parametrize(
    "name, params, words",
    [
        ("epr", {"labels_per_image": 0}, "labels_per_image must be finite and positive, got 0"),
        ("role", {"labels_per_image": -1}, "labels_per_image must be finite and positive, got -1"),
        ("epr", {"labels_per_image": nan}, "labels_per_image must be .* got nan"),
        ("gc", {"weight": -1}, "weight must be finite and not negative, got -1"),
        ("elr", {"weight": inf}, "weight must be finite and not negative, got inf"),
        ("an_ls", {"smoothing": 1.1}, r"smoothing must be in \[0, 1\], got 1.1"),
        ("gr", {"progress": 1.1}, r"progress must be in \[0, 1\], got 1.1"),
        ("ll_r", {"count": -1}, "count must be finite and not negative, got -1"),
        ("gc", {"t": 2 * T}, r"t is 1.8 in row 0, column 0: it lies in \[0, 1\]"),
        ("elr", {"t": SOFT}, "t is nan in row 0, column 0"),
        ("em_apl", {"soft": -SOFT}, r"soft is -0.05 in row 0, column 3: it lies in \[0, 1\]"),
        ("gc", {"unobserved": -T}, "unobserved is -0.9 in row 0, column 0"),
        ("role", {"theta": T[:2]}, r"theta has shape \(2, 4\), z has \(3, 4\)"),
    ],
)
def test_bad_parameters_are_named(name, params, words):
    with pytest.raises(ValueError, match=words):
        loss_of(name, **params)


def test_other_targets_are_tensors():
    with pytest.raises(TypeError, match="t must be a number or a tensor, got ndarray"):
        loss_of("gc", t=T.numpy())


# --- The registry --------------------------------------------------------------------------------

NAMES = "full an an_ls wan epr role em em_apl ll_r ll_ct ll_cp gr hill splc asl elr gc".split()
DEFAULTS = {
    "an_ls": {"smoothing": 0.1},
    "em": {"entropy_weight": 0.1},
    "em_apl": {"entropy_weight": 0.1, "soft_weight": 0.2},
    "splc": {"threshold": 0.6},
    "asl": {"gamma_pos": 0, "gamma_neg": 4, "clip": 0.05},
    "elr": {"weight": 3.0},
}


def test_entries_stand_apart_from_the_other_losses():
    assert list(WEAK_LOSSES) == list(WEAK_COLOURS) == NAMES
    assert not WEAK_LOSSES.keys() & LOSSES.keys() and not set(PAPER) & WEAK_LOSSES.keys()
    labels = [loss.label for loss in (*LOSSES.values(), *WEAK_LOSSES.values())]
    assert len(set(labels)) == len(labels)


@EVERY
def test_an_entry_says_what_its_function_takes(name):
    loss = WEAK_LOSSES[name]
    assert loss.name == name == loss.function.__name__ and loss.method == "weak"
    takes = list(inspect.signature(loss.function).parameters)
    passed = {"": [], "complete": [], "memory": ["t"], "teacher": ["t"]}
    for parameter in passed.get(loss.needs, [loss.needs]):
        assert parameter in takes
    assert takes[:2] == ["z", "y" if loss.needs == "complete" else "o"]
    assert loss.needs_labels_per_image == (name in ("epr", "role")) and loss.needs in NEEDS
    assert loss.source and loss.reference and loss.licence
    assert loss.equation and loss.equation.count("{") == loss.equation.count("}")
    assert loss.defaults == DEFAULTS.get(name, {})


def test_both_kinds_are_found_by_name():
    assert entry("gc") is WEAK_LOSSES["gc"] and entry("macl") is LOSSES["macl"]
    with pytest.raises(ValueError, match="unknown loss 'em_alp'; did you mean 'em_apl'"):
        entry("em_alp")
    with pytest.raises(ValueError, match="unknown loss 'mcl'; did you mean 'macl'"):
        entry("mcl")
    assert method_label("em_apl") == "EM+APL" and method_label("chance") == "Chance"
    assert style.label("gc") == "AdaGC" and style.colour("gc") == WEAK_COLOURS["gc"]
    assert style.colour("macl") == COLOURS["macl"]


@EVERY
def test_colours_of_a_kind_can_be_told_apart(name):
    others = [colour for other, colour in WEAK_COLOURS.items() if other != name]
    assert colours.distances(WEAK_COLOURS[name], others).min() >= colours.APART


def test_a_name_and_a_colour_are_taken_once():
    def mine(z, o):
        return z.sum()

    for weak, other in (("an", "macl"), ("an", "gc")):
        with pytest.raises(ValueError, match=f"there is a loss '{other}' already"):
            register(replace(WEAK_LOSSES[weak], name=other))
    with pytest.raises(ValueError, match="there is a loss 'gc' already"):
        register(replace(LOSSES["macl"], name="gc"))
    near = replace(WEAK_LOSSES["an"], name="mine", function=mine, colour="#D55E10")
    with pytest.raises(ValueError, match="told from that of gc, #D55E00"):
        register(near)


def test_a_loss_of_ones_own_is_entered_among_its_kind():
    def mine(z, o):
        return z.sum()

    before = dict(LOSSES)
    loss = WeakLoss(
        "mine", "Mine", colours.proposal(WEAK_COLOURS), mine, "z", "here", "none", "none"
    )
    try:
        assert register(loss) is loss is entry("mine") and list(WEAK_LOSSES)[-1] == "mine"
        assert WEAK_COLOURS["mine"] == loss.colour and LOSSES == before
    finally:
        del WEAK_LOSSES["mine"], WEAK_COLOURS["mine"]


def test_none_is_built_as_a_loss_of_embeddings():
    for refuse in (lambda: build_loss("gc"), lambda: pair_weights("gc", KNOWN)):
        with pytest.raises(ValueError, match=r"gc is no loss of embeddings: call WEAK_LOSSES"):
            refuse()
