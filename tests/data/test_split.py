from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maclcore.data.split import PAPER_SIZES, make_split, split_sizes


def long_tailed(n, labels=17, seed=0):
    """Label tables as in the paper's archives: frequencies from a half down to a hundredth."""
    share = np.geomspace(0.5, 0.01, labels)
    y = np.random.default_rng(seed).random((n, labels)) < share
    y[~y.any(axis=1), 0] = True
    return y


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("n, sizes", [*PAPER_SIZES.items(), (1000, (700, 100, 200))])
def test_sizes_are_the_papers_where_the_archive_is(n, sizes, stratified):
    assert sum(sizes) == n
    split = make_split(long_tailed(n), 0, stratified=stratified)
    assert tuple(map(len, split)) == sizes
    assert split._fields == ("train", "validation", "test")


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(3, 60), labels=st.integers(1, 5), seed=st.integers(0, 2**32), flag=st.booleans()
)
def test_parts_are_disjoint_complete_and_never_empty(n, labels, seed, flag):
    y = np.random.default_rng(seed).random((n, labels)) < 0.4  # rows without labels included
    split = make_split(y, seed, stratified=flag)
    assert sorted(np.concatenate(split)) == list(range(n))
    assert all(len(part) for part in split)
    assert tuple(map(len, split)) == split_sizes(n)


@pytest.mark.parametrize("stratified", [False, True])
def test_the_seed_decides_and_nothing_else(stratified):
    y = long_tailed(300)
    first, again, other = (make_split(y, seed, stratified=stratified) for seed in (3, 3, 4))
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a, b) and not np.array_equal(a, c)
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    assert np.array_equal(make_split(y, 3, stratified=stratified).train, first.train)


def test_the_default_is_one_permutation_cut_in_three():
    y = long_tailed(2100)
    order = np.concatenate(make_split(y, 7))
    assert np.array_equal(order, np.random.default_rng(7).permutation(2100))
    assert np.array_equal(order, np.concatenate(make_split(~y, 7))), "labels must not matter"


@pytest.mark.parametrize("places", [(), [f"p{i % 40}" for i in range(300)]])
def test_a_share_of_the_training_part_is_in_every_larger_one(places):
    whole = make_split(long_tailed(300), 3, places=places)
    shares = [whole.sharing(share) for share in (1.0, 0.7, 0.5, 0.001)]
    sizes = [round(share * len(whole.train)) for share in (1.0, 0.7, 0.5)]
    assert [len(part.train) for part in shares] == [*sizes, 1]
    for more, fewer in pairwise(shares):
        assert {*fewer.train} < {*more.train}
    for part in shares:
        assert all(map(np.array_equal, part[1:], whole[1:])), "validation and test stay"


def test_what_has_no_label_is_trained_on_and_not_judged():
    y = long_tailed(300)
    y[::7] = False
    whole = make_split(y, 3)
    split = whole.judged(y)
    assert np.array_equal(split.train, whole.train) and (split.train % 7 == 0).any()
    for part, before in zip(split[1:], whole[1:], strict=True):
        assert part.tolist() == [i for i in before if i % 7] and len(part) < len(before)
    full = make_split(long_tailed(300), 3)
    assert all(map(np.array_equal, full.judged(long_tailed(300)), full))


def test_stratified_parts_hold_their_share_of_every_label():
    y = long_tailed(2100)
    share = np.array(split_sizes(2100)) / 2100
    wanted = share[:, None] * y.sum(axis=0)

    def excess(stratified):
        return [
            np.abs(
                [y[part].sum(axis=0) for part in make_split(y, s, stratified=stratified)] - wanted
            )
            for s in range(3)
        ]

    assert np.mean(excess(True)) < 0.25 * np.mean(excess(False))
    rare = y.sum(axis=0) < 60
    assert rare.sum() >= 4 and np.max(np.array(excess(True))[:, :, rare]) <= 2


def test_stratified_brings_a_label_of_ten_images_to_every_part_where_chance_does_not():
    y = np.zeros((200, 2), dtype=bool)
    y[:, 0], y[:10, 1] = True, True
    chance = [make_split(y, seed) for seed in range(20)]
    assert not all(y[part, 1].any() for split in chance for part in split)
    for seed in range(20):
        split = make_split(y, seed, stratified=True)
        assert [y[part, 1].sum() for part in split] == [7, 1, 2]


def test_the_rarest_label_is_dealt_first_by_hand():
    # Sizes 14/2/4. Of three images with label 1 the parts want 2.1, 0.3 and 0.6: the first goes to
    # train (1.1 left), the second too (0.1 left), the third to test, before label 0 fills the rest.
    y = np.zeros((20, 2), dtype=bool)
    y[:, 0], y[[2, 5, 11], 1] = True, True
    for seed in range(5):
        split = make_split(y, seed, stratified=True)
        assert [y[part, 1].sum() for part in split] == [2, 0, 1]


def test_sizes_are_tenths_rounded_at_every_count():
    """7 to 1 to 2, halves to the even neighbour, no part empty; the rest trains."""
    for n in [*range(3, 41), 99, 205, 2099, 2101, 2999, 3001, 4939, 4941]:
        validation, test = (max(1, round(Fraction(n * tenths, 10))) for tenths in (1, 2))
        assert split_sizes(n) == (n - validation - test, validation, test), n
    by_hand = {3: (1, 1, 1), 4: (2, 1, 1), 7: (5, 1, 1), 8: (5, 1, 2), 14: (10, 1, 3)}
    by_hand |= {15: (10, 2, 3), 25: (18, 2, 5), 35: (24, 4, 7)}
    assert {n: split_sizes(n) for n in by_hand} == by_hand
    assert PAPER_SIZES == {2100: (1475, 214, 411), 3000: (2100, 300, 600), 4940: (3444, 518, 978)}
    assert split_sizes(2100) == (1475, 214, 411)


@pytest.mark.parametrize("stratified", [False, True])
def test_no_two_seeds_share_a_split(stratified):
    y = long_tailed(31)
    splits = [tuple(np.concatenate(make_split(y, s, stratified=stratified))) for s in range(40)]
    assert len(set(splits)) == 40


def test_two_images_cannot_be_split():
    with pytest.raises(ValueError, match="2 images cannot be split in three"):
        make_split(np.ones((2, 1), dtype=bool), 0)


def test_the_splits_of_a_small_archive_as_they_ever_were():
    """A seed gives the same split on every machine, and in every version."""
    y = np.arange(20)[:, None] % [2, 3, 7] == 0
    plain, stratified = (make_split(y, 5, stratified=flag) for flag in (False, True))
    train = [9, 18, 3, 7, 1, 16, 19, 13, 11, 2, 4, 17, 10, 12]
    assert [part.tolist() for part in plain] == [train, [6, 15], [0, 5, 14, 8]]
    train = [9, 18, 3, 7, 1, 16, 19, 13, 11, 2, 4, 10, 6, 0]
    assert [part.tolist() for part in stratified] == [train, [15, 8], [17, 12, 5, 14]]
    ties = [make_split(np.ones((7, 1)), seed, stratified=True) for seed in range(6)]
    held = [(split.validation.item(), split.test.item()) for split in ties]
    assert held == [(1, 0), (3, 6), (4, 1), (4, 3), (6, 3), (5, 6)]


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 5), min_size=3, max_size=20),
    seed=st.integers(0, 99),
    flag=st.booleans(),
)
def test_images_of_one_place_stay_together(counts, seed, flag):
    names = [f"p{i:02}" for i, count in enumerate(counts) for _ in range(count)]
    draw = np.random.default_rng(seed)
    places, y = draw.permutation(names), draw.random((len(names), 3)) < 0.3
    split = make_split(y, seed, stratified=flag, places=places)
    assert sorted(np.concatenate(split)) == list(range(len(names)))
    parts = [set(places[part]) for part in split]
    assert tuple(map(len, parts)) == split_sizes(len(counts))
    assert len(set().union(*parts)) == len(counts)
    # by hand: the places, sorted by name, with the labels of all their images, split as images are
    joined = [y[places == name].any(axis=0) for name in sorted(set(names))]
    wanted = make_split(np.array(joined), seed, stratified=flag)
    assert [{f"p{i:02}" for i in part} for part in wanted] == parts


def test_a_place_an_image_is_the_split_of_images():
    y = long_tailed(40)
    names = [f"{i:02}" for i in range(40)]
    for flag in (False, True):
        parts = make_split(y, 3, stratified=flag), make_split(y, 3, stratified=flag, places=names)
        assert all(np.array_equal(a, b) for a, b in zip(*parts, strict=True))
    with pytest.raises(ValueError, match="2 places cannot be split in three"):
        make_split(y[:6], 0, places=["a", "b"] * 3)
