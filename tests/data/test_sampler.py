"""The order of an epoch: guarantees against every batch, weights against their definition."""

from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from maclcore.data.sampler import (
    SAMPLERS,
    WINDOW,
    BatchSampler,
    _batch,
    _draws,
    _rarity,
    _with_partners,
    label_aware,
    pair_counts,
    shuffled,
)


def long_tailed(n=600, labels=12, seed=0):
    generator = np.random.default_rng(seed)
    y = generator.random((n, labels)) < 0.5 / np.arange(1, labels + 1) ** 1.5
    y[:, 0] |= ~y.any(axis=1)
    return y


def alone(y, batch):
    """Labels that one image of the batch carries, though a second one of the archive could."""
    return np.flatnonzero((y[batch].sum(axis=0) == 1) & (y.sum(axis=0) > 1))


tables = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1)
)


@settings(deadline=None, max_examples=100)
@given(tables, st.integers(1, 20), st.integers(0, 5))
def test_no_label_is_alone_and_every_batch_is_made_of_different_images(rows, batch_size, seed):
    y = np.array(rows)
    size = min(batch_size, len(y))
    batches = [b.tolist() for b in label_aware(y, batch_size, seed=seed, epoch=3)]
    assert len(batches) == len(shuffled(len(y), batch_size, seed=seed, epoch=3))
    for batch in batches:
        assert 1 <= len(batch) == len(set(batch)) <= size
        # one image needs at most a partner for each label: beyond L images there is always room
        if batch_size > y.shape[1]:
            assert not len(alone(y, batch))


def test_a_long_tail_at_the_usual_size_fills_every_batch_without_a_label_alone():
    y = long_tailed()
    plain = [len(alone(y, b)) for e in range(5) for b in shuffled(len(y), 32, seed=0, epoch=e)]
    aware = [b for e in range(5) for b in label_aware(y, 32, seed=0, epoch=e)]
    assert sum(plain) > 50  # so there is something to repair
    assert not any(len(alone(y, b)) for b in aware)
    assert {len(b) for b in aware} == {32}


def test_what_the_archive_does_not_allow():
    # image 0 has a label of its own, image 1 three labels that need three partners
    y = np.array(
        [[1, 0, 0, 0, 1], [0, 1, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
        + [[0, 0, 0, 0, 1]] * 5,
        dtype=bool,
    )
    seen = set()
    for epoch in range(30):
        for batch in label_aware(y, 3, seed=0, epoch=epoch):
            seen |= set(batch.tolist())
            carriers = y[batch].sum(axis=0)
            assert carriers[4] != 1  # enough partners: never alone, with image 0 neither
    assert seen == set(range(10))  # no image is shut out


def test_images_are_drawn_in_proportion_to_their_rarest_label():
    y = np.zeros((100, 2), dtype=bool)
    y[:90, 0] = True  # 90 images of the common label
    y[88:98, 1] = True  # 10 of the rare one, two of them with both; two images have none
    weight = _rarity(y, y.sum(axis=0))
    common, rare, none = 1 / np.log(91), 1 / np.log(11), 1 / np.log(101)
    np.testing.assert_allclose(weight, [common] * 88 + [rare] * 10 + [none] * 2)
    expected = weight / weight.sum() * 1000
    drawn = np.bincount(_draws(weight, 1000, torch.Generator().manual_seed(0)), minlength=100)
    assert drawn.sum() == 1000 and (np.abs(drawn - expected) < 1).all()  # each ⌊e⌋ or ⌈e⌉ times


def test_rare_labels_come_more_often_than_in_plain_shuffling():
    table = pair_counts(long_tailed(2000), 128, epochs=8)
    rare, common = table["", "images"].idxmin(), table["", "images"].idxmax()
    ratio = table["label_aware", "drawn"] / table["shuffle", "drawn"]
    assert ratio[rare] > 1.2 and ratio[common] < 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_epoch_is_a_pure_function_of_seed_and_epoch(name):
    y = long_tailed(100)

    def epoch(seed, epoch):
        return [b.tolist() for b in SAMPLERS[name](y, 16, seed=seed, epoch=epoch)]

    first = epoch(0, 1)
    torch.rand(3), np.random.default_rng(0).random(3)
    assert epoch(0, 1) == first
    assert epoch(0, 2) != first and epoch(1, 1) != first


@pytest.mark.parametrize("name", SAMPLERS)
def test_in_plain_pytorch(name):
    y = long_tailed(100)
    sampler = BatchSampler(y, 16, sampler=name, seed=3)
    loader = DataLoader(torch.arange(100), batch_sampler=sampler)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append([b.tolist() for b in loader])
        assert len(epochs[-1]) == len(sampler) == len(loader) == 6
    expected = SAMPLERS[name](y, 16, seed=3, epoch=1)
    assert epochs[1] == [b.tolist() for b in expected] != epochs[0]
    sampler.set_epoch(1, 4)  # resumes behind the fourth batch
    assert [b.tolist() for b in loader] == epochs[1][4:] and len(sampler) == 2


def test_pair_counts_by_hand():
    y = np.array([[1, 0], [1, 0], [1, 1], [0, 1]], dtype=bool)
    table = pair_counts(y, 4, label_names=["a", "b"], epochs=2)  # one batch holds everything
    assert table.index.tolist() == ["a", "b"] and table["", "images"].tolist() == [3, 2]
    assert table["shuffle", "pairs"].tolist() == [3, 1]
    assert table["shuffle", "drawn"].tolist() == [0.75, 0.5]
    assert not table["shuffle", "alone"].any() and not table["shuffle", "absent"].any()
    table = pair_counts(y, 1, epochs=4)  # batches of one image: every label is alone or absent
    assert (table["shuffle", "alone"] + table["shuffle", "absent"] == 1).all()
    assert table["shuffle", "alone"].tolist() == [0.75, 0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BatchSampler([[1]], 2, sampler="label-aware"), "sampler must be one of shuffle"),
        (lambda: BatchSampler([[1]], 0), "batch_size must be positive"),
        (lambda: BatchSampler(np.zeros((0, 3)), 2), "y has no rows"),
        (lambda: label_aware([[2, 0]], 2, seed=0, epoch=0), r"y\[0, 0\] is 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- seeds, epochs, partners and draws ------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_two_pairs_of_seed_and_epoch_share_an_order(name):
    """(1, 0) is not (0, 1): else a second seed would repeat the first one's epochs."""
    y = long_tailed(60)
    grid = [(seed, epoch) for seed in range(4) for epoch in range(6)]
    orders = [
        tuple(torch.cat(list(SAMPLERS[name](y, 16, seed=s, epoch=e))).tolist()) for s, e in grid
    ]
    assert len(set(orders)) == len(grid)


def test_the_order_of_a_stored_run_can_be_drawn_again():
    """The generators' seeds are part of what a run's id stands for."""
    for seed, epoch in ((0, 0), (3, 0), (0, 5), (2, 7)):
        generator = torch.Generator().manual_seed(2**32 + seed * 1_000_003 + epoch)
        expected = torch.randperm(20, generator=generator)[:18].view(3, 6)
        assert torch.equal(shuffled(20, 6, seed=seed, epoch=epoch), expected)
        y = np.zeros((20, 1), dtype=bool)  # no label: the draws alone decide
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch * 7_919 + 0x1ABE1)
        draws = _draws(np.ones(20), 20, generator)
        found = torch.cat(label_aware(y, 5, seed=seed, epoch=epoch))
        assert found.tolist() == draws


def bits(*rows):
    """Label sets as bits, from such as "AB"."""
    return [sum(1 << "ABCDEFGH".index(label) for label in row) for row in rows]


def test_partners_take_turns():
    sets, carriers = bits("A", "A", "A", "A", ""), [deque([1, 2, 0, 3])]
    found = [_with_partners([0], 4, sets, carriers) for _ in range(4)]
    assert found == [[0, 1], [0, 2], [0, 3], [0, 1]]
    assert _with_partners([0, 1], 4, sets, carriers) == [0, 1], "nobody is alone"
    assert _with_partners([4], 4, sets, carriers) == [4], "nor is one without labels"


def test_a_partner_brings_as_few_labels_alone_as_can_be(monkeypatch):
    # 0 needs A: 1 would bring B, 2 brings nothing new; 3 meets C too, which 4 has
    sets = bits("A", "AB", "A", "AC", "C", "C", "C")
    assert _with_partners([0], 5, sets, [deque([1, 2, 3])]) == [0, 2]
    carriers = [deque([1, 2, 3]), deque(), deque([5, 3, 6, 4])]
    assert _with_partners([0, 4], 5, sets, carriers)[2] == 3, "one partner for two labels"
    monkeypatch.setattr("maclcore.data.sampler.WINDOW", 2)  # among the next in turn alone
    carriers = [deque([1, 2, 3]), deque(), deque([5, 3, 6, 4])]
    assert _with_partners([0, 4], 5, sets, carriers)[2] == 2
    assert WINDOW == 32


def test_the_rarest_label_finds_its_partner_first_and_never_itself():
    sets = bits("AB", "A", "A", "B")
    carriers = [deque([0, 1, 2]), deque([0, 3])]
    assert _with_partners([0], 4, sets, carriers) == [0, 3, 1]
    # places end before partners do: one more than fit tells so
    assert len(_with_partners([0], 1, sets, [deque([1, 2]), deque([3])])) == 2


def test_draws_that_do_not_fit_come_first_in_the_next_batch():
    free = bits("", "", "", "", "")
    queue = deque([0, 0, 1, 1, 2, 3, 4])  # none twice in a batch
    assert _batch(queue, 3, free, []) == [0, 1, 2] and list(queue) == [0, 1, 3, 4]
    assert _batch(queue, 3, free, []) == [0, 1, 3] and list(queue) == [4]
    assert _batch(queue, 3, free, []) == [4] and not queue
    # 0 and 1 each need a partner, and there is one place: 1 goes back, ahead of 4
    sets = bits("A", "B", "A", "B", "")
    queue, carriers = deque([0, 1, 4]), [deque([2, 0]), deque([3, 1])]
    assert _batch(queue, 3, sets, carriers) == [0, 2, 4] and list(queue) == [1]
    assert _batch(queue, 3, sets, carriers) == [1, 3] and not queue


def test_a_draw_is_given_back_when_its_partners_partners_do_not_fit():
    # 0 and 1 leave two places for A and B; but A's partner 2 brings C, which 3 must share
    sets = bits("A", "B", "AC", "C", "B")
    carriers = [deque([2, 0]), deque([4, 1]), deque([3, 2])]
    queue = deque([0, 1])
    assert _batch(queue, 4, sets, carriers) == [0, 2, 3] and list(queue) == [1]
    # alone and still too large: as many as fit
    queue = deque([0, 1])
    assert _batch(queue, 2, sets, carriers) == [0, 2] and list(queue) == [1]
