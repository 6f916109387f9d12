"""Every metric against plain loops over the paper's formulas, and against properties."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from maclcore import metrics
from maclcore.metrics import METRICS, Overlap, evaluate, evaluate_scores
from maclcore.retrieval import rank

cases = settings(deadline=None, max_examples=100, derandomize=True)
few = settings(cases, max_examples=15)


# --- the slow witness: Eqs. 11-18 in loops, on Python sets and whole numbers ---------------------


def loop_ap(hit, divisor):
    return sum(sum(hit[: i + 1]) / (i + 1) for i in range(len(hit)) if hit[i]) / divisor


def loop_dcg(gains):
    return sum(gain / math.log2(i + 2) for i, gain in enumerate(gains))


def loop_query(scores, query, gallery, itself, *, map_cutoff, normaliser, ideal, wap_threshold):
    """The seven values of one query, None for 0/0. Thresholds are in tenths."""
    items = [i for i in range(len(gallery)) if i != itself]
    order = sorted(items, key=lambda i: (-scores[i], i))
    shared = {i: len(query & gallery[i]) for i in items}
    union = {i: len(query | gallery[i]) for i in items}
    jaccard = {i: shared[i] / union[i] if union[i] else 0.0 for i in items}

    def similar(i, tenths):
        return shared[i] > 0 and 10 * shared[i] >= tenths * union[i]

    def ap(tenths, cut):
        hit = [similar(i, tenths) for i in order[:cut]]
        available = sum(similar(i, tenths) for i in items)
        divisor = sum(hit) if normaliser == "hits" else min(available, len(hit))
        return loop_ap(hit, divisor) if divisor else None

    def ndcg(value):
        gains = [2.0 ** value[i] - 1 for i in order]
        best = sorted(gains[: metrics.TOP] if ideal == "list" else gains, reverse=True)
        best = loop_dcg(best[: metrics.TOP])
        return loop_dcg(gains[: metrics.TOP]) / best if best else None

    def wap():
        top = order[: metrics.TOP]
        phi = [similar(i, wap_threshold) for i in top]
        weight = [jaccard[i] * f for i, f in zip(top, phi, strict=True)]
        terms = [sum(weight[: i + 1]) / (i + 1) for i in range(len(top)) if phi[i]]
        return sum(terms) / len(terms) if terms else None

    by_threshold = [ap(tenths, map_cutoff) for tenths in (4, 6, 8)]
    return [ap(0, 5000), ndcg(shared), *by_threshold, ndcg(jaccard), wap()]


def loops(scores, y_query, y_gallery, *, without_hit="zero", **readings):
    sets = [[set(np.flatnonzero(row)) for row in y] for y in (y_query, y_gallery)]
    alone = y_gallery is y_query
    rows = [
        loop_query(scores[q], sets[0][q], sets[1], q if alone else None, **readings)
        for q in range(len(y_query))
    ]
    empty = 0.0 if without_hit == "zero" else math.nan
    return np.array([[empty if v is None else v for v in row] for row in rows], dtype=float)


@st.composite
def searches(draw):
    """Scores of few distinct values (ties), labels with duplicates and empty rows."""
    labels = draw(st.integers(1, 7))
    queries, items = draw(st.integers(2, 7)), draw(st.integers(1, 14))
    alone = draw(st.booleans())
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.1, 0.4, 0.8]))
    y_query = random.random((queries, labels)) < density
    y_gallery = y_query if alone else random.random((items, labels)) < density
    levels = draw(st.sampled_from([2, 5, 1000]))
    scores = random.integers(-levels, levels, (queries, len(y_gallery))) / levels
    return scores.astype("f4"), y_query, None if alone else y_gallery


readings = st.fixed_dictionaries(
    {
        "map_cutoff": st.sampled_from([None, 1, 3, 6, 50]),
        "normaliser": st.sampled_from(["hits", "min"]),
        "ideal": st.sampled_from(["gallery", "list"]),
        "wap_threshold": st.sampled_from([0, 4, 6, 8]),
        "without_hit": st.sampled_from(["zero", "omit"]),
    }
)


@pytest.mark.parametrize("top", [100, 3])  # 3: lists longer than the cut-off of nDCG and wAP
@cases
@given(search=searches(), reading=readings, memory=st.sampled_from([1, 3000, 2**30]))
def test_metrics_equal_loops(top, search, reading, memory):
    scores, y_query, y_gallery = search
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "TOP", top)
        expected = loops(scores, y_query, y_query if y_gallery is None else y_gallery, **reading)
        options = reading | {"wap_threshold": reading["wap_threshold"] / 10}
        result = evaluate_scores(scores, y_query, y_gallery, memory=memory, **options)
    assert tuple(result.per_query.columns) == METRICS
    np.testing.assert_allclose(result.per_query, expected, rtol=1e-12, atol=1e-15)
    means = pd.DataFrame(expected).mean()
    np.testing.assert_allclose(list(result.summary().values()), means, rtol=1e-12, atol=1e-15)
    if reading["without_hit"] == "omit":
        assert list(result.without_hit.values()) == np.isnan(expected).sum(0).tolist()


@pytest.mark.parametrize("seed", range(2))
def test_metrics_equal_loops_beyond_the_cutoffs(seed):
    random = np.random.default_rng(seed)
    y_query, y_gallery = random.random((6, 6)) < 0.4, random.random((150, 6)) < 0.3
    scores = random.integers(0, 40, (6, 150)).astype("f4")
    reading = {"map_cutoff": None, "normaliser": "hits", "ideal": "gallery"}
    expected = loops(scores, y_query, y_gallery, wap_threshold=0, **reading)
    result = evaluate_scores(scores, y_query, y_gallery).per_query  # the defaults
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def random_search(seed, queries=20, items=30, labels=6, dim=8):
    random = np.random.default_rng(seed)
    z = [random.normal(size=(n, dim)) for n in (queries, items)]
    y = [random.random((n, labels)) < 0.3 for n in (queries, items)]
    return z[0], y[0], z[1], y[1]


@pytest.mark.parametrize("seed", range(3))
def test_evaluate_ranks_by_cosine(seed):
    zq, yq, zg, yg = random_search(seed)
    cosine = np.array([[q @ g / math.sqrt(q @ q * (g @ g)) for g in zg] for q in zq])
    pd.testing.assert_frame_equal(
        evaluate(zq, yq, zg, yg).per_query, evaluate_scores(cosine, yq, yg).per_query
    )
    cosine = np.array([[q @ g / math.sqrt(q @ q * (g @ g)) for g in zg] for q in zg])
    pd.testing.assert_frame_equal(evaluate(zg, yg).per_query, evaluate_scores(cosine, yg).per_query)


def test_evaluate_takes_arrays_tensors_and_any_dtype():
    z, y = random_search(0)[:2]
    z = np.round(z * 4).astype("f4") + 0.5  # exact in every dtype below
    expected = evaluate(z, y)
    for zz, yy in [
        (torch.tensor(z), torch.tensor(y)),
        (torch.tensor(z).half().requires_grad_(), torch.tensor(y).long()),
        (torch.tensor(z).bfloat16(), y.astype("u1")),
        (z.astype("f8"), y.astype(float).tolist()),
    ]:
        pd.testing.assert_frame_equal(evaluate(zz, yy).per_query, expected.per_query)
    z.setflags(write=False)
    y.setflags(write=False)
    assert evaluate(z, y).summary() == expected.summary()  # a read-only memory map


# --- thresholds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shared, union", [(2, 5), (3, 5), (4, 5), (4, 10), (6, 10), (8, 10)])
def test_jaccard_on_the_boundary_is_relevant(shared, union):
    query = np.arange(12)[None] < union
    gallery = np.stack([np.arange(12) < shared, np.arange(12) < shared - 1])
    table = Overlap(query, gallery).relevance(slice(0, 1))
    hits = [table.at_least(theta)[0, torch.tensor([1, 0])].tolist() for theta in (0.4, 0.6, 0.8)]
    reached = round(10 * shared / union)
    # `sets` is sorted: the smaller set comes first
    for tenths, (on, below) in zip((4, 6, 8), hits, strict=True):
        assert on == (tenths <= reached) and below == (10 * (shared - 1) >= tenths * union)


def test_two_images_without_labels_are_not_similar():
    nothing = np.zeros((3, 4), dtype=bool)
    result = evaluate_scores(np.eye(3), nothing)
    assert set(result.summary().values()) == {0.0}
    assert set(result.without_hit.values()) == {3}
    assert all(
        math.isnan(v)
        for v in evaluate_scores(np.eye(3), nothing, without_hit="omit").summary().values()
    )


# --- rankings with a known value -----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_perfect_and_reversed_rankings(seed):
    y = np.random.default_rng(seed).random((40, 5)) < 0.4
    y[:, 0] |= ~y.any(1)
    shared = (y[:, None] & y).sum(2)
    jaccard = shared / (y[:, None] | y).sum(2)
    best, worst = evaluate_scores(jaccard, y), evaluate_scores(-jaccard, y)
    hit = best.per_query > 0
    assert (~hit).sum().to_dict() == best.without_hit
    for name in METRICS[:1] + METRICS[2:6]:
        np.testing.assert_allclose(best.per_query[name][hit[name]], 1, rtol=1e-12)
        assert (worst.per_query[name] <= best.per_query[name] + 1e-12).all()
    np.testing.assert_allclose(evaluate_scores(shared, y).per_query["nDCG(sim)@100"], 1, rtol=1e-12)
    # R hits behind n - R others: the r-th has precision r / (n - R + r)
    for q, name in ((q, n) for q in range(40) for n in ("mAP@0.4", "mAP@0.6", "mAP@0.8")):
        relevant = sum(
            10 * shared[q, i] >= round(10 * float(name[4:])) * (y[q] | y[i]).sum()
            for i in range(40)
            if i != q
        )
        value = sum(r / (39 - relevant + r) for r in range(1, relevant + 1)) / max(relevant, 1)
        assert worst.per_query[name][q] == pytest.approx(value)


def test_values_done_by_hand():
    y = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 0]])  # J with the first: 2/3, 0, 1/2
    row = evaluate_scores([[3.0, 1, 2]], y[:1], y[1:]).per_query.iloc[0]  # order: 2/3, 1/2, 0
    assert row.tolist() == pytest.approx([1, 1, 1, 1, 0, 1, (2 / 3 + (2 / 3 + 1 / 2) / 2) / 2])
    row = evaluate_scores([[1.0, 2, 3]], y[:1], y[1:]).per_query.iloc[0]  # order: 1/2, 0, 2/3
    assert row["mAP(sim)@5000"] == pytest.approx((1 + 2 / 3) / 2)
    assert row["mAP@0.6"] == pytest.approx(1 / 3)
    assert row["nDCG(sim)@100"] == pytest.approx((1 + 3 / 2) / (3 + 1 / math.log2(3)))
    assert row["wAP@100"] == pytest.approx((1 / 2 + (1 / 2 + 2 / 3) / 3) / 2)


def test_one_hit_on_top_is_worth_one_or_one_over_the_missed():
    y = np.ones((5, 1))
    hits = evaluate_scores(np.eye(5), y, map_cutoff=2).summary()
    least = evaluate_scores(np.eye(5), y, map_cutoff=2, normaliser="min").summary()
    assert hits["mAP@0.8"] == least["mAP@0.8"] == 1
    y, scores = np.array([[1], [1], [1], [0]]), np.array([[0.0, 3, 1, 2]])
    both = [
        evaluate_scores(scores[:, 1:], y[:1], y[1:], map_cutoff=2, normaliser=n).summary()
        for n in ("hits", "min")
    ]
    assert [v["mAP@0.8"] for v in both] == [1, 0.5]


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learns(seed):
    random = np.random.default_rng(seed)
    scores, y = random.permutation(60)[None] * 1.0, random.random((61, 1)) < 0.3
    y[0] = True
    value = evaluate_scores(scores, y[:1], y[1:]).summary()["mAP(sim)@5000"]
    assert value == pytest.approx(average_precision_score(y[1:, 0], scores[0]))


# --- what must not matter, and what does ---------------------------------------------------------


@few
@given(seed=st.integers(0, 1000))
def test_rotation_row_length_and_gallery_order_do_not_matter(seed):
    zq, yq, zg, yg = random_search(seed)
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.normal(size=(8, 8)))[0]
    shuffled, length = random.permutation(len(zg)), random.uniform(0.1, 9, (len(zg), 1))
    moved = evaluate(zq @ turn, yq, (zg * length @ turn)[shuffled], yg[shuffled])
    np.testing.assert_allclose(moved.per_query, evaluate(zq, yq, zg, yg).per_query, rtol=1e-12)


@few
@given(seed=st.integers(0, 1000))
def test_only_the_order_of_scores_matters(seed):
    random = np.random.default_rng(seed)
    scores, y = random.permutation(400).reshape(20, 20) - 200.0, random.random((20, 4)) < 0.4
    expected = evaluate_scores(scores, y).per_query
    for moved in (scores - 1e4, np.exp(scores / 50), np.cbrt(scores)):
        pd.testing.assert_frame_equal(evaluate_scores(moved, y).per_query, expected)


@pytest.mark.parametrize("dim, images", [(1, 5), (64, 131), (512, 300)])
def test_constant_embeddings_keep_the_order_of_the_gallery(dim, images):
    random = np.random.default_rng(dim)
    z, y = np.repeat(random.normal(size=(1, dim)), images, 0), random.random((images, 5)) < 0.4
    in_order = -np.broadcast_to(np.arange(images), (images, images)).astype("f4")
    expected = evaluate_scores(in_order, y).per_query
    for memory in (1, 10**6, 2**30):
        result = evaluate(z, y, memory=memory).per_query
        np.testing.assert_allclose(result, expected, rtol=1e-12)


# --- rank ----------------------------------------------------------------------------------------


@cases
@given(
    scores=st.lists(
        st.lists(
            st.sampled_from([-2.5, -1e-30, -0.0, 0.0, 1e-30, 0.3, 7e30]), min_size=24, max_size=24
        ),
        min_size=1,
        max_size=4,
    ),
    k=st.sampled_from([None, 1, 2, 10, 24, 30]),
    leave_one_out=st.booleans(),
)
def test_rank_is_a_stable_sort(scores, k, leave_one_out):
    exclude = list(range(len(scores))) if leave_one_out else [None] * len(scores)
    expected = [
        sorted((i for i in range(24) if i != out), key=lambda i, row=row: (-row[i], i))[:k]
        for row, out in zip(scores, exclude, strict=True)
    ]
    given_exclude = torch.tensor(exclude) if leave_one_out else None
    assert rank(torch.tensor(scores), k, given_exclude).tolist() == expected


# --- bad input -----------------------------------------------------------------------------------

Z, Y = np.eye(3, 4) + 0.1, np.eye(3, 2, dtype=int)


def spoiled(array, where, value):
    array = array.astype(float)
    array[where] = value
    return array


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((spoiled(Z, (1, 2), np.nan), Y), r"z_query: row 1 is not finite"),
        ((spoiled(Z, (2, 0), np.inf), Y), r"z_query: row 2 is not finite"),
        ((Z, Y, spoiled(Z, 1, 0), Y), r"z_gallery: row 1 is all zero"),
        ((Z[0], Y), r"z_query must be \(N, D\)"),
        ((Z, Y[:2]), r"labels of \(2, 2\).*for \(3, 3\)"),
        ((Z, Y, Z[:, :2], Y), r"4 columns, z_gallery 2"),
        ((Z, Y, Z, Y[:, :1]), r"y_query has 2 labels, not 1"),
        ((Z, Y, Z), r"go together"),
        ((Z, Y, Z[:0], Y[:0]), r"nothing to search: 3 queries, 0 items"),
        ((Z[:1], Y[:1]), r"nothing to search: 1 queries, 0 items"),
        ((Z[:0], Y[:0], Z, Y), r"nothing to search: 0 queries"),
        ((Z, spoiled(Y, (1, 0), 2)), r"y_query\[1, 0\] is 2"),
        ((Z, spoiled(Y, (2, 1), np.nan)), r"y_query\[2, 1\] is nan"),
        ((Z, Y, Z, spoiled(Y, (0, 1), 0.5)), r"y_gallery\[0, 1\] is 0.5"),
        ((Z, Y[:, 0]), r"y_query must be"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*arguments)


@pytest.mark.parametrize(
    "reading",
    [
        {"normaliser": "all"},
        {"ideal": "best"},
        {"without_hit": "skip"},
        {"map_cutoff": 0},
        {"wap_threshold": 40},
    ],
)
def test_a_reading_that_does_not_exist_is_an_error(reading):
    with pytest.raises(ValueError, match=next(iter(reading))):
        evaluate(Z, Y, **reading)


def test_scores_must_be_finite_and_fit():
    with pytest.raises(ValueError, match="finite"):
        evaluate_scores(spoiled(np.eye(3), (0, 1), np.nan), Y)
    with pytest.raises(ValueError, match=r"labels of \(3, 3\).*for \(3, 2\)"):
        evaluate_scores(np.eye(3)[:, :2], Y)
    with pytest.raises(TypeError, match="cutoff"):
        evaluate(Z, Y, cutoff=3)
