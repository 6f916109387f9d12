"""Every metric against plain loops over the paper's formulas, and against properties."""

import itertools
import math
import warnings
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.metrics import average_precision_score, ndcg_score

from maclcore.evaluation import ranking as retrieval
from maclcore.evaluation import reference, relevance
from maclcore.evaluation import retrieval as metrics
from maclcore.evaluation.measures import average_precision
from maclcore.evaluation.ranking import PRECISIONS, UnitRows, best_keys, key_scores, rank, search
from maclcore.evaluation.reference import chance
from maclcore.evaluation.relevance import METRICS, PROTOCOLS, Overlap
from maclcore.evaluation.retrieval import evaluate, evaluate_scores

cases = settings(deadline=None, max_examples=300, derandomize=True)
few = settings(cases, max_examples=15)


# --- the slow witness: Eqs. 11-18 in loops, on Python sets and whole numbers ---------------------


def cut_at(patch, top):
    """Lists of nDCG(sim), nDCG and wAP cut at `top` for 100, so that small cases reach the cut."""
    for module in (relevance, metrics, reference):
        patch.setattr(module, "TOP", top)


def loop_ap(hit, divisor, area="rectangle"):
    total = 0
    for i in range(len(hit)):
        if hit[i]:
            after, before = sum(hit[: i + 1]) / (i + 1), sum(hit[:i]) / i if i else 1
            total += after if area == "rectangle" else (before + after) / 2
    return total / divisor


def loop_dcg(gains):
    return sum(gain / math.log2(i + 2) for i, gain in enumerate(gains))


def loop_query(
    scores,
    query,
    gallery,
    itself,
    *,
    map_cutoff=None,
    normaliser="hits",
    area="rectangle",
    ideal="gallery",
    wap_threshold=0,
    wap_weight="jaccard",
    hard=False,
):
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
        return loop_ap(hit, divisor, area) if divisor else None

    def ndcg(value):
        gains = [2.0 ** value[i] - 1 for i in order]
        best = sorted(gains[: metrics.TOP] if ideal == "list" else gains, reverse=True)
        best = loop_dcg(best[: metrics.TOP])
        return loop_dcg(gains[: metrics.TOP]) / best if best else None

    def wap():
        top = order[: metrics.TOP]
        phi = [similar(i, wap_threshold) for i in top]
        value = jaccard if wap_weight == "jaccard" else shared
        weight = [value[i] * f for i, f in zip(top, phi, strict=True)]
        terms = [sum(weight[: i + 1]) / (i + 1) for i in range(len(top)) if phi[i]]
        return sum(terms) / len(terms) if terms else None

    by_threshold = [ap(tenths, map_cutoff) for tenths in (4, 6, 8)]
    if hard:  # nan: left out
        known = any(similar(i, 8) for i in items)
        by_threshold = [value or 0 if known else math.nan for value in by_threshold]
    return [ap(0, 5000), ndcg(shared), *by_threshold, ndcg(jaccard), wap()]


def loops(scores, y_query, y_gallery, *, without_hit="zero", **readings):
    sets = [[set(np.flatnonzero(row)) for row in y] for y in (y_query, y_gallery)]
    alone = y_gallery is y_query
    rows = [
        loop_query(
            scores[q],
            sets[0][q],
            sets[1],
            q if alone else None,
            hard=without_hit == "hard",
            **readings,
        )
        for q in range(len(y_query))
    ]
    empty = math.nan if without_hit == "omit" else 0.0
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
        "area": st.sampled_from(["rectangle", "trapezoid"]),
        "ideal": st.sampled_from(["gallery", "list"]),
        "wap_threshold": st.sampled_from([0, 4, 6, 8]),
        "wap_weight": st.sampled_from(["jaccard", "shared"]),
        "without_hit": st.sampled_from(["zero", "omit", "hard"]),
    }
)


@pytest.mark.parametrize("top", [100, 3])  # 3: lists longer than the cut-off of nDCG and wAP
@cases
@given(search=searches(), reading=readings, memory=st.sampled_from([1, 3000, 2**30]))
def test_metrics_equal_loops(top, search, reading, memory):
    scores, y_query, y_gallery = search
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, top)
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
    expected = loops(scores, y_query, y_gallery)
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


# --- published protocols -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_protocol_of_oml(seed, monkeypatch):
    """Its released evaluation in loops: distances of Jaccard, positions from 0, shared counts."""
    cut_at(monkeypatch, 10)
    random = np.random.default_rng(seed)
    y, z = random.random((60, 5)) < 0.35, random.normal(size=(60, 4))
    y[~y.any(1), 0] = True
    order = random.permutation(60)
    query, base = order[:12], order[12:]
    maps, ndcg, wap = [], [], []
    for q in query:
        cosine = z[base] @ z[q] / np.linalg.norm(z[base], axis=1)
        ranked = base[np.argsort(-cosine)]
        shared = [int((y[q] & y[i]).sum()) for i in ranked]
        union = [int((y[q] | y[i]).sum()) for i in ranked]
        row = []
        for tenths in (4, 6, 8):
            ranks = [r for r in range(48) if 10 * shared[r] >= tenths * union[r]]
            ap = 0.0
            for j, r in enumerate(ranks):
                ap += ((j / r if r else 1.0) + (j + 1) / (r + 1)) / 2 / len(ranks)
            row.append(ap if ranks else None)
        if row[-1] is not None:  # a hard positive exists
            maps.append(row)
        gains = [2**n - 1 for n in shared[:10]]
        ndcg.append(loop_dcg(gains) / (loop_dcg(sorted(gains, reverse=True)) + 1e-6))
        hits = [r for r in range(10) if shared[r]]
        acg = [sum(shared[: r + 1]) / (r + 1) for r in hits]
        wap.append(sum(acg) / len(acg) if acg else 0)
    found = evaluate(z[query], y[query], z[base], y[base], **PROTOCOLS["oml"])
    by_threshold = [found.summary()[name] for name in METRICS[2:5]]
    np.testing.assert_allclose(by_threshold, np.mean(maps, axis=0), rtol=1e-12)
    assert len(maps) < 12 and found.without_hit["mAP@0.4"] == 12 - len(maps)
    assert found.summary()["nDCG(sim)@100"] == pytest.approx(np.mean(ndcg), abs=2e-6)
    assert found.summary()["wAP@100"] == pytest.approx(np.mean(wap), rel=1e-12)


def test_the_defaults_are_the_papers_protocol():
    z, y = random_search(0)[:2]
    assert evaluate(z, y, **PROTOCOLS["macl"]).summary() == evaluate(z, y).summary()


# --- ties ----------------------------------------------------------------------------------------

averages = st.fixed_dictionaries(
    {
        "map_cutoff": st.sampled_from([None, 1, 2, 3, 4]),
        "normaliser": st.sampled_from(["hits", "min"]),
        "area": st.sampled_from(["rectangle", "trapezoid"]),
        "wap_threshold": st.sampled_from([0.0, 0.4]),
        "wap_weight": st.sampled_from(["jaccard", "shared"]),
    }
)


@pytest.mark.parametrize("top", [100, 3])
@settings(cases, max_examples=60)
@given(seed=st.integers(0, 10**6), levels=st.integers(1, 4), reading=averages)
def test_average_over_ties_is_the_mean_over_their_orders(top, seed, levels, reading):
    random = np.random.default_rng(seed)
    query, gallery = random.random((1, 4)) < 0.5, random.random((5, 4)) < 0.4
    scores = random.integers(0, levels, 5)
    # every order of the gallery breaks the ties; each order of the ties comes equally often
    broken = 10.0 * scores - np.array(list(itertools.permutations(range(5))))
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, top)
        every = evaluate_scores(broken, query.repeat(120, 0), gallery, **reading)
        found = evaluate_scores(scores[None], query, gallery, ties="average", **reading)
        expected = every.per_query.mean()
        np.testing.assert_allclose(found.per_query.iloc[0], expected, rtol=1e-11, atol=1e-14)
        none = np.array(list(every.without_hit.values())) / 120
        np.testing.assert_allclose(list(found.without_hit.values()), none, rtol=1e-11, atol=1e-14)
        for rule in ("omit", "hard"):  # over the orders in which the value is defined
            every = evaluate_scores(
                broken, query.repeat(120, 0), gallery, without_hit=rule, **reading
            )
            found = evaluate_scores(
                scores[None], query, gallery, ties="average", without_hit=rule, **reading
            )
            expected = every.per_query.mean()
            np.testing.assert_allclose(found.per_query.iloc[0], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("reading", [{}, {"map_cutoff": 7}, {"normaliser": "min", "map_cutoff": 7}])
@pytest.mark.parametrize("area", ["rectangle", "trapezoid"])
def test_constant_embeddings_score_chance(reading, area):
    y, reading = np.random.default_rng(0).random((150, 5)) < 0.3, reading | {"area": area}
    found, expected = (
        evaluate(np.ones((150, 3)), y, ties="average", **reading),
        chance(y, **reading),
    )
    np.testing.assert_allclose(found.per_query, expected.per_query, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(
        list(found.without_hit.values()), list(expected.without_hit.values()), atol=1e-9
    )


@few
@given(seed=st.integers(0, 1000), memory=st.sampled_from([1, 10**5, 2**30]))
def test_averaged_ties_do_not_depend_on_the_gallerys_order(seed, memory):
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (9, 40)) / 4
    y_query, y_gallery = random.random((9, 5)) < 0.4, random.random((40, 5)) < 0.4
    found = evaluate_scores(scores, y_query, y_gallery, ties="average").per_query
    turn = random.permutation(40)
    moved = evaluate_scores(
        scores[:, turn], y_query, y_gallery[turn], ties="average", memory=memory
    )
    np.testing.assert_allclose(moved.per_query, found, rtol=1e-11, atol=1e-14)


def test_without_ties_the_average_is_the_value():
    zq, yq, zg, yg = random_search(5)
    for reading in ({}, {"map_cutoff": 4, "area": "trapezoid"}):
        averaged = evaluate(zq, yq, zg, yg, ties="average", **reading).per_query
        np.testing.assert_allclose(averaged, evaluate(zq, yq, zg, yg, **reading).per_query, 1e-11)


# --- galleries larger than the memory ------------------------------------------------------------


def duplicates(seed, images=300, dim=24, distinct=11):
    """Embeddings of few different rows, so that most cosines tie."""
    random = np.random.default_rng(seed)
    rows, y = random.integers(0, distinct, images), random.random((images, 6)) < 0.3
    return random.normal(size=(distinct, dim))[rows].astype("f4"), y


@pytest.mark.parametrize("ties", ["storage", "average"])
@pytest.mark.parametrize("block", [7, 128])
def test_results_do_not_depend_on_the_blocks(monkeypatch, block, ties):
    z, y = duplicates(0)
    expected = evaluate(z, y, ties=ties).per_query
    monkeypatch.setattr(metrics, "BLOCK", block)
    for memory in (2**17, 2**22):  # one query at a time, and several
        found = evaluate(z, y, ties=ties, memory=memory).per_query
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_cosines_of_equal_rows_are_equal_bits():
    z, _ = duplicates(1, images=500, dim=333)
    unit, whole = UnitRows(z, "z"), slice(0, 500)
    cosine = unit(whole) @ unit(whole).T
    parts = [unit(slice(i, i + 13)) @ unit(whole).T for i in range(0, 500, 13)]
    assert torch.equal(torch.cat(parts), cosine)
    assert torch.equal((unit(whole)[:, None] * unit(whole)[:40]).sum(2), cosine[:, :40])
    direct = torch.nn.functional.normalize(torch.from_numpy(z).double(), dim=1)
    assert (cosine - direct @ direct.T).abs().max() < 1e-7


@cases
@given(
    seed=st.integers(0, 10**6),
    k=st.sampled_from([1, 3, 10, 40]),
    block=st.sampled_from([1, 4, 9, 40]),
    order=st.sampled_from(["random", "rising", "falling"]),
    levels=st.sampled_from([1, 3, 1000]),
)
def test_the_best_of_blocks_are_the_best_of_all(seed, k, block, order, levels):
    scores = torch.from_numpy(
        np.random.default_rng(seed).integers(-levels, levels, (5, 40))
    ).float()
    if order != "random":  # rising: every block is better than all before it
        scores = scores.sort(dim=1, descending=order == "falling").values
    keys = best_keys(lambda items: scores[:, items], (5, 40), k, block=block)
    expected = scores.sort(dim=1, descending=True, stable=True)
    assert torch.equal(keys & 0xFFFFFFFF, expected.indices[:, :k])
    assert torch.equal(key_scores(keys), expected.values[:, :k])


class Elsewhere:
    """A tensor that says it is on a GPU, whose forms of selection then run on the CPU."""

    device = SimpleNamespace(type="cuda")

    def __init__(self, keys):
        self.keys = keys

    def __getattr__(self, name):
        return getattr(self.keys, name)

    def __setitem__(self, at, value):
        self.keys[at] = value

    def numpy(self):
        raise TypeError("can't convert cuda tensor to numpy")


@pytest.mark.parametrize("k", [1, 3, 12])
def test_a_gpu_selects_as_a_cpu_does(k):
    keys = torch.randperm(48, generator=torch.Generator().manual_seed(k)).view(4, 12) - 20
    for place in (lambda x: x, Elsewhere):
        chosen = keys.clone()
        retrieval._select(place(chosen), k)
        best = keys.sort(dim=1).values[:, :k]
        assert torch.equal(chosen[:, :k].sort(dim=1).values, best)
        assert torch.equal(chosen[:, k - 1], best[:, -1]), "the k-th stands in its place"
        assert torch.equal(retrieval._sort(place(keys.clone())), keys.sort(dim=1).values)
        mask = keys % 3 == 0
        assert torch.equal(retrieval._flat_nonzero(place(mask)), mask.flatten().nonzero()[:, 0])


# (queries, items, dim, memory, reading) -> queries at once, items in a block, lists in a chunk
SHARES = [
    ((6, 150, 8, 2**30, {}), [6], 150, 6),
    ((600, 150, 8, 2**30, {}), [256, 256, 88], 150, 256),
    # block 10^5 // 4 // (24 * 8 + 1) = 129; 50,000 // (8 * 150 + 64 * 129 + 24 * 8) = 5
    ((12, 150, 8, 10**5, {}), [5, 5, 2], 129, 3),
    # half for ranking: 50,000 // (8 * 150 + 64 * 150) = 4
    ((9, 150, 0, 10**5, {}), [4, 4, 1], 150, 3),
    ((9, 150, 0, 10**5, {"ties": "average"}), [4, 4, 1], 150, 0),
    ((2, 150, 64, 1, {}), [1, 1], 1, 1),
]


@pytest.mark.parametrize("case, at_once, block, chunk", SHARES)
def test_working_arrays_take_their_share_of_the_memory(case, at_once, block, chunk, monkeypatch):
    queries, items, dim, memory, reading = case
    seen, lists = [], []
    best, measured = metrics.best_keys, metrics._per_query

    def ranking(score, shape, k, *, block, device):
        seen.append((*shape, block))
        return best(score, shape, k, block=block, device=device)

    def measuring(tables, of, set_of, keys):
        lists.append(len(keys))
        return measured(tables, of, set_of, keys)

    monkeypatch.setattr(metrics, "best_keys", ranking)
    monkeypatch.setattr(metrics, "_per_query", measuring)
    random = np.random.default_rng(0)
    y_query, y_gallery = np.ones((queries, 2)), random.random((items, 2)) < 0.5
    if dim:
        z = random.normal(size=(queries + items, dim))
        evaluate(z[:queries], y_query, z[queries:], y_gallery, memory=memory, **reading)
    else:
        scores = random.random((queries, items))
        evaluate_scores(scores, y_query, y_gallery, memory=memory, **reading)
    assert seen == [(n, items, block) for n in at_once]
    assert max(lists) == max(1, chunk) and sum(lists) == queries


class OnDisk:
    """A gallery that shows how much of it was read at once."""

    def __init__(self, z):
        self.z, self.shape, self.most = z, z.shape, 0

    def __getitem__(self, rows):
        part = self.z[rows]
        self.most = max(self.most, len(part))
        return part


def test_a_gallery_is_read_from_disk_in_slices(tmp_path, monkeypatch):
    zq, yq, zg, yg = (x.astype("f4") for x in random_search(3, items=500))
    expected = evaluate(zq, yq, zg, yg).per_query
    np.save(tmp_path / "z.npy", zg)
    save_file({"z": torch.from_numpy(zg)}, tmp_path / "z.safetensors")
    with safe_open(tmp_path / "z.safetensors", framework="pt") as file:
        sources = [np.load(tmp_path / "z.npy", mmap_mode="r"), file.get_slice("z"), OnDisk(zg)]
        for source in sources:
            found = evaluate(zq, yq, source, yg, memory=10**4).per_query
            pd.testing.assert_frame_equal(found, expected, rtol=1e-13)
            assert search(zq, source, 3)[0].tolist() == search(zq, zg, 3)[0].tolist()
    assert sources[2].most <= 500  # `search` needs few columns; evaluate is given less memory
    source = OnDisk(zg)
    evaluate(zq, yq, source, yg, memory=10**4)
    assert source.most <= 10**4 // 4 // (24 * 8)


def test_a_bad_row_deep_in_a_gallery_is_named(monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", 10)
    zq, yq, zg, yg = random_search(3, items=50)
    zg[37], zg[38] = 0, np.nan
    with pytest.raises(ValueError, match=r"z_gallery: row 37 is all zero \(2 of the 10 rows"):
        evaluate(zq, yq, zg, yg)
    zq[19, 3] = np.inf
    source = OnDisk(zg)
    with pytest.raises(ValueError, match=r"z_query: row 19 is not finite"):
        evaluate(zq, yq, source, yg, memory=1)  # one query at a time
    assert source.most == 0, "a query's row is named before the work"


def test_a_lower_precision_says_what_it_changes():
    random = np.random.default_rng(0)
    z, y = random.normal(size=(600, 32)).astype("f4"), random.random((600, 6)) < 0.3
    exact = evaluate(z, y)
    assert exact.change is None
    sample = slice(0, 600, 3)
    for precision, largest in [("fp32", 1e-4), ("fp16", 5e-3), ("bf16", 3e-2)]:
        found = evaluate(z, y, precision=precision)
        difference = (found.per_query - exact.per_query)[sample].mean()
        assert found.change == pytest.approx(difference.to_dict(), abs=1e-12)
        assert max(map(abs, found.change.values())) < largest
    assert any(found.change.values())
    with pytest.raises(ValueError, match="precision is one of fp64, fp32, bf16, fp16, not 'half'"):
        evaluate(z, y, precision="half")


# --- peers ---------------------------------------------------------------------------------------


def without_ties(seed, queries=12, items=150):
    """Positive scores without ties, labels, shared counts (Q, G) and Jaccard indices (Q, G)."""
    random = np.random.default_rng(seed)
    scores = random.permuted(np.tile(np.arange(1, items + 1), (queries, 1)), axis=1) / items
    y_query, y_gallery = random.random((queries, 6)) < 0.4, random.random((items, 6)) < 0.4
    y_query[:, 0] |= ~y_query.any(axis=1)
    shared = (y_query[:, None] & y_gallery).sum(2)
    return scores, y_query, y_gallery, shared, shared / (y_query[:, None] | y_gallery).sum(2)


LEVELS = dict(zip(METRICS[2:5], (0.4, 0.6, 0.8), strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_agrees(seed):
    scores, y_query, y_gallery, shared, jaccard = without_ties(seed)
    found = evaluate_scores(scores, y_query, y_gallery).per_query
    for q in range(12):
        relevant = {"mAP(sim)@5000": shared[q] > 0}
        relevant |= {name: jaccard[q] >= level - 1e-9 for name, level in LEVELS.items()}
        for name, hit in relevant.items():
            if hit.any():
                assert found[name][q] == pytest.approx(average_precision_score(hit, scores[q]))
    for name, gain in (("nDCG(sim)@100", 2.0**shared - 1), ("nDCG@100", 2**jaccard - 1)):
        ndcg = [ndcg_score([g], [s], k=100) for g, s in zip(gain, scores, strict=True)]
        np.testing.assert_allclose(found[name], ndcg, rtol=1e-10)


@pytest.mark.parametrize("levels", [1, 2, 7])
def test_scikit_learn_averages_ndcg_over_ties_too(levels):
    _, y_query, y_gallery, shared, _ = without_ties(levels)
    scores = np.random.default_rng(levels).integers(0, levels, shared.shape)
    found = evaluate_scores(scores, y_query, y_gallery, ties="average").per_query
    gains = zip(2.0**shared - 1, scores, strict=True)
    expected = [ndcg_score([gain], [score], k=100) for gain, score in gains]
    np.testing.assert_allclose(found["nDCG(sim)@100"], expected, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_torchmetrics_agrees_on_positive_scores(seed):
    from torchmetrics.functional.retrieval import (
        retrieval_average_precision,
        retrieval_normalized_dcg,
    )

    scores, y_query, y_gallery, shared, jaccard = without_ties(seed)
    found = evaluate_scores(scores, y_query, y_gallery).per_query
    for q, row in enumerate(torch.from_numpy(scores)):
        hit = torch.from_numpy(shared[q] > 0)
        value = retrieval_average_precision(row, hit).item()
        assert found["mAP(sim)@5000"][q] == pytest.approx(value, rel=1e-5)
        for name, gain in (
            ("nDCG(sim)@100", 2.0 ** shared[q] - 1),
            ("nDCG@100", 2 ** jaccard[q] - 1),
        ):
            value = retrieval_normalized_dcg(row, torch.from_numpy(gain), top_k=100).item()
            assert found[name][q] == pytest.approx(value, rel=1e-5)


def test_torchmetrics_drops_what_scores_zero_or_less():
    """Its AP is 1 for this ranking, and changes when a constant is added to all scores."""
    from torchmetrics.functional.retrieval import retrieval_average_precision

    scores, relevant = torch.tensor([0.9, 0.2, -0.1, -0.3]), torch.tensor([1, 0, 1, 1])
    ours = evaluate_scores(scores[None], np.ones((1, 1)), relevant[:, None].numpy()).summary()
    assert ours["mAP(sim)@5000"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert retrieval_average_precision(scores, relevant == 1).item() == 1
    shifted = retrieval_average_precision(scores + 1, relevant == 1).item()
    assert shifted == pytest.approx(ours["mAP(sim)@5000"])


def plain_ranx():
    """ranx as plain Python: numba would compile for a minute."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        warnings.simplefilter("ignore")  # it has invalid escapes
        import ranx
    return ranx


def test_ranx_agrees():
    ranx = plain_ranx()
    scores, y_query, y_gallery, shared, jaccard = without_ties(0)
    found = evaluate_scores(scores, y_query, y_gallery).per_query
    ids, items = [f"q{q}" for q in range(12)], [f"i{i}" for i in range(150)]
    rows = [dict(zip(items, row, strict=True)) for row in scores.tolist()]
    run = ranx.Run(dict(zip(ids, rows, strict=True)))

    def judged(relevance):
        """The queries with something relevant, of which ranx must have all."""
        some = {q: dict(zip(items, row, strict=True)) for q, row in enumerate(relevance.tolist())}
        some = {q: {i: r for i, r in row.items() if r > 0} for q, row in some.items()}
        some = {q: row for q, row in some.items() if row}
        mine = ranx.Run({ids[q]: rows[q] for q in some})
        return ranx.Qrels({ids[q]: row for q, row in some.items()}), mine, list(some)

    for name, level in {"mAP(sim)@5000": 0.0, **LEVELS}.items():
        qrels, run, of = judged(((jaccard >= level - 1e-9) & (shared > 0)).astype(int))
        value = ranx.evaluate(qrels, run, "map", make_comparable=False)
        assert found[name][of].mean() == pytest.approx(value, rel=1e-9)
    qrels, run, of = judged(shared)
    value = ranx.evaluate(qrels, run, "ndcg_burges@100", make_comparable=False)
    assert found["nDCG(sim)@100"][of].mean() == pytest.approx(value, rel=1e-9)


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


thresholds = st.builds(Fraction, st.integers(1, 12), st.integers(1, 12)).filter(lambda t: t <= 1)


@settings(cases, max_examples=100)
@given(threshold=thresholds, seed=st.integers(0, 10**6))
def test_any_quotient_is_a_threshold_and_is_reached_by_itself(threshold, seed):
    """1/3, 0.55, 5/7, ...: in whole numbers, so that J equal to the threshold is a hit."""
    random = np.random.default_rng(seed)
    query, gallery = random.random((3, 12)) < 0.6, random.random((30, 12)) < 0.6
    gallery[0] = query[0] = np.arange(12) < threshold.denominator
    gallery[1] = np.arange(12) < threshold.numerator  # with query 0: J is the threshold
    shared = (query[:, None] & gallery).sum(2)
    union = (query[:, None] | gallery).sum(2)
    expected = (shared > 0) & (threshold.denominator * shared >= threshold.numerator * union)
    overlap = Overlap(query, gallery)
    hits = overlap.relevance(slice(0, 3)).at_least(float(threshold))[:, overlap.set_of]
    assert np.array_equal(hits, expected) and expected[0, 1]
    scores = random.permutation(90).reshape(3, 30)
    found = evaluate_scores(scores, query, gallery, wap_threshold=float(threshold))
    for q in range(3):
        ranked = np.argsort(-scores[q])
        hit, jaccard = expected[q, ranked], (shared / union.clip(1))[q, ranked]
        weight = jaccard * hit
        terms = [weight[: i + 1].mean() for i in range(30) if hit[i]]
        value = np.mean(terms) if terms else 0
        assert found.per_query["wAP@100"][q] == pytest.approx(value, rel=1e-12)


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


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("area", ["rectangle", "trapezoid"])
def test_relevance_of_any_type(dtype, area):
    relevant = torch.from_numpy(np.random.default_rng(0).random((9, 600)) < 0.6)
    relevant[0] = False
    found = average_precision(relevant.to(dtype), area=area)
    expected = [loop_ap(row, sum(row), area) if any(row) else math.nan for row in relevant.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    divided = average_precision(relevant.to(dtype), None, torch.full((9,), 700), area)
    np.testing.assert_allclose(divided, [loop_ap(row, 700, area) for row in relevant.tolist()])


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
    for memory in (10**6, 2**30):
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


@few
@given(seed=st.integers(0, 1000), k=st.integers(1, 9), items=st.integers(1, 6))
def test_search_gives_the_nearest_first_and_no_more_than_there_are(seed, k, items):
    zq, _, zg, _ = random_search(seed, queries=4, items=items)
    zg[items // 2] = zg[0]  # a tie
    cosine = torch.from_numpy(zq @ zg.T)
    cosine /= torch.from_numpy(np.outer(np.linalg.norm(zq, axis=1), np.linalg.norm(zg, axis=1)))
    found, values = search(zq, zg, k)
    assert found.shape == values.shape == (4, min(k, items))
    assert torch.equal(found, rank(cosine, k)) and torch.equal(found, rank(cosine)[:, :k])
    torch.testing.assert_close(values.double(), cosine.gather(1, found), rtol=0, atol=1e-7)
    assert search(zq, zg)[0].shape == (4, min(10, items)), "ten, unless told otherwise"


def test_search_is_done_where_the_queries_are(monkeypatch):
    asked, best = [], retrieval.best_keys
    monkeypatch.setattr(
        retrieval,
        "best_keys",
        lambda *a, **given: asked.append(given["device"]) or best(*a, **given),
    )
    z = torch.eye(3)
    assert search(z, z, 1)[0][:, 0].tolist() == rank(z @ z.T, 1)[:, 0].tolist() == [0, 1, 2]
    assert asked == [z.device] * 2


def test_unit_rows_read_again_are_those_of_a_fresh_reader():
    z = np.random.default_rng(0).normal(size=(20, 5))
    slices = [slice(0, 5), slice(5, 10), slice(0, 5), slice(0, 5), slice(0, 20, 3), slice(0, 20)]
    kept = {p: UnitRows(z, "z", precision=p) for p in PRECISIONS}
    for rows in slices + slices[::-1]:
        for precision, reader in kept.items():
            found = reader(rows)
            assert torch.equal(found, UnitRows(z, "z", precision=precision)(rows))
            exact = torch.nn.functional.normalize(torch.from_numpy(z[rows]), dim=1)
            step = {"fp64": 2e-8, "fp32": 1e-7, "fp16": 1e-3, "bf16": 4e-3}[precision]
            assert (found.double() - exact).abs().max() < step
            assert found.dtype == PRECISIONS[precision]
    source = OnDisk(z)
    reader, read = UnitRows(source, "z"), []
    for rows in (slice(0, 20), slice(0, 20), slice(0, 10), slice(0, 20)):
        source.most = 0
        reader(rows)
        read.append(source.most)
    assert read == [20, 0, 10, 20], "one block is kept, and read once"


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
        {"area": "circle"},
        {"wap_weight": "count"},
        {"ties": "random"},
        {"ties": "average", "ideal": "list"},
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
