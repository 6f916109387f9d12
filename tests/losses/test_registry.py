"""What the registry takes, what it refuses, and what it says instead."""

from dataclasses import replace

import numpy as np
import pytest

from maclcore import losses
from maclcore.losses import COLOURS, LOSSES, Loss, colours, mulsupcon, register
from maclcore.losses.pairs import Pairs, pairwise


@pairwise
def mine(pairs: Pairs, *, temperature: float = 0.3):
    """A loss like any other."""
    return pairs.mean_over(pairs.shared), temperature, "active"


ENTRY = Loss(
    "mine",
    "Mine",
    colours.proposal(COLOURS),
    mine,
    r"\ell",
    source="here",
    reference="none",
    licence="none",
)


@pytest.fixture
def kept():
    """What is registered in a test is forgotten after it."""
    before = dict(LOSSES), dict(COLOURS)
    yield
    for table, entries in zip((LOSSES, COLOURS), before, strict=True):
        table.clear()
        table.update(entries)


def test_a_loss_is_entered_behind_the_others_and_is_not_the_papers(kept):
    assert register(ENTRY) is ENTRY
    assert list(LOSSES)[-1] == list(COLOURS)[-1] == "mine" and LOSSES["mine"] is ENTRY
    assert not LOSSES["mine"].paper and "mine" not in losses.PAPER
    assert LOSSES["mine"].method == "retrieval"
    with pytest.raises(ValueError, match="there is a loss 'mine' already"):
        register(ENTRY)


def test_an_entry_has_the_name_of_its_function(kept):
    with pytest.raises(ValueError, match="'other' is not the name of its function, mulsupcon"):
        register(replace(ENTRY, name="other", function=mulsupcon))
    assert "other" not in LOSSES


@pytest.mark.parametrize("colour", ["", "red", "#12345", "#12345G", "0000FF", "#0000FF0"])
def test_a_colour_is_six_digits_and_one_is_proposed(kept, colour):
    with pytest.raises(ValueError, match="colour of mine must be #RRGGBB.*#[0-9A-F]{6} is free"):
        register(replace(ENTRY, colour=colour))


def test_a_colour_like_anothers_is_refused_and_the_one_proposed_is_taken(kept):
    near = "#D55E10"  # MACL's is #D55E00
    with pytest.raises(ValueError, match="told from that of macl, #D55E00") as error:
        register(replace(ENTRY, colour=near))
    proposed = str(error.value).split("; ")[1].split()[0]
    assert register(replace(ENTRY, colour=proposed)).colour == proposed


def test_colours_that_only_the_colour_blind_confuse_are_refused():
    green, red = "#8A7A00", "#B06A00"
    apart = np.linalg.norm(colours.lab([green])[0] - colours.lab([red])[0])
    assert apart > colours.APART > colours.distances(green, [red])[0]
    with pytest.raises(ValueError, match="told from that of red"):
        colours.check("green", green, {"red": red})


def test_a_loss_can_be_entered_however_many_there_are():
    taken = dict(COLOURS)
    for i in range(8):
        proposed = colours.proposal(taken)
        assert proposed not in taken.values()
        colours.check(f"more {i}", proposed, taken)
        taken[f"more {i}"] = proposed


def test_colours_stay_apart_for_colour_blind_readers():
    """Distances in CIELAB, after the simulation of Machado et al. 2009 at full severity."""
    visions = {
        "normal": np.eye(3),
        "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]],
        "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                       [-0.003882, -0.048116, 1.051998]],
    }  # fmt: skip
    srgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS.values()]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8727]]
    found = []
    for vision, matrix in visions.items():
        xyz = np.clip(linear @ np.transpose(matrix), 0, 1) @ np.transpose(to_xyz)
        x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
        apart = np.linalg.norm(lab[:, None] - lab, axis=2) + 1e9 * np.eye(len(lab))
        first = slice(0, len(losses.PAPER) + 2)  # of more, the farthest there is
        assert apart[first, first].min() > 24 and apart.min() > 18, vision
        found.append(apart)

    # the package's own distances, written apart from these, are the least of them
    names = list(COLOURS.values())
    ours = np.stack([colours.distances(colour, names) for colour in names])
    np.testing.assert_allclose(ours, np.min(found, axis=0) * (1 - np.eye(len(names))), atol=1e-6)
