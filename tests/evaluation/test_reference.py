"""Chance against all orders of small galleries, and on the real tables; the oracle's ceiling."""

import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maclcore import paths
from maclcore.__main__ import main
from maclcore.evaluation import reference, relevance
from maclcore.evaluation import retrieval as metrics
from maclcore.evaluation.reference import chance, chance_bound, oracle
from maclcore.evaluation.retrieval import METRICS, evaluate_scores

#: scores (720, 6): every order of six items
ORDERS = np.array(list(itertools.permutations(range(6))), dtype="f4")


def cut_at(patch, top):
    """Lists of nDCG(sim), nDCG and wAP cut at `top` for 100, so that small cases reach the cut."""
    for module in (relevance, metrics, reference):
        patch.setattr(module, "TOP", top)


def random_labels(seed, images, labels=5, density=0.35):
    return np.random.default_rng(seed).random((images, labels)) < density


readings = st.fixed_dictionaries(
    {
        "map_cutoff": st.sampled_from([None, 1, 2, 4, 50]),
        "normaliser": st.sampled_from(["hits", "min"]),
        "area": st.sampled_from(["rectangle", "trapezoid"]),
        "wap_threshold": st.sampled_from([0.0, 0.4, 0.8]),
        "wap_weight": st.sampled_from(["jaccard", "shared"]),
        "without_hit": st.sampled_from(["zero", "hard"]),
    }
)


@pytest.mark.parametrize("top", [100, 1, 3])
@settings(deadline=None, max_examples=40, derandomize=True)
@given(seed=st.integers(0, 10**6), reading=readings)
def test_chance_is_the_mean_over_all_orders(top, seed, reading):
    query, gallery = random_labels(seed, 1, 4, 0.5), random_labels(seed + 1, 6, 4, 0.4)
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, top)
        every = evaluate_scores(ORDERS, query.repeat(720, 0), gallery, **reading)
        result = chance(query, gallery, **reading)
    expected = every.per_query.mean()
    np.testing.assert_allclose(result.per_query.iloc[0], expected, rtol=1e-10)
    np.testing.assert_allclose(list(result.summary().values()), expected, rtol=1e-10)
    none = np.array(list(every.without_hit.values())) / 720
    np.testing.assert_allclose(list(result.without_hit.values()), none, rtol=1e-10, atol=1e-12)
    assert set(result.standard_error.values()) == {0.0}


@pytest.mark.parametrize("without_hit", ["zero", "omit"])
@pytest.mark.parametrize("ideal", ["gallery", "list"])
@pytest.mark.parametrize("cutoff", [None, 2])
def test_drawn_chance_is_within_its_error(monkeypatch, without_hit, ideal, cutoff):
    cut_at(monkeypatch, 2)
    reading = {"without_hit": without_hit, "ideal": ideal, "map_cutoff": cutoff}
    query, gallery = np.array([[1, 1, 0, 0]]), np.eye(4)[[0, 1, 2, 2, 3, 3]]
    gallery[0, :2] = 1  # J = 1, 1/2 and four times 0
    every = evaluate_scores(ORDERS, query.repeat(720, 0), gallery, **reading)
    result = chance(query.repeat(1440, 0), gallery, tolerance=2e-3, **reading)
    drawn = {"nDCG(sim)@100", "nDCG@100"} if ideal == "list" else set()
    if without_hit == "omit":
        drawn |= {"wAP@100", *(METRICS[2:5] if cutoff else ())}
    for name, value in every.summary().items():
        error = result.standard_error[name]
        assert (error > 0) == (name in drawn)
        assert error <= 2e-3
        assert abs(result.summary()[name] - value) <= 4 * error + 1e-12
        assert result.without_hit[name] == pytest.approx(every.without_hit[name] * 2)


def test_what_is_drawn_fits_the_memory_it_is_given(monkeypatch):
    """Blocks of a gallery have as many scores as items, wherever they begin."""
    cut_at(monkeypatch, 3)
    monkeypatch.setattr(metrics, "BLOCK", 7)
    query, gallery = random_labels(4, 40, 4, 0.5), random_labels(5, 30, 4, 0.4)
    whole, parts = (
        chance(query, gallery, ideal="list", tolerance=1.0, memory=memory)
        for memory in (2**30, 10**4)
    )
    for name, value in whole.summary().items():
        error = whole.standard_error[name] + parts.standard_error[name]
        assert abs(parts.summary()[name] - value) <= 4 * error + 1e-12


@pytest.mark.parametrize("items, exact", [(5, True), (6, True), (7, False)])
def test_nothing_is_drawn_where_the_list_is_not_cut(items, exact, monkeypatch):
    """A list of no more than TOP items has the whole gallery in it, and the ideal of both."""
    cut_at(monkeypatch, 6)
    query, gallery = random_labels(1, 3, 4, 0.6), random_labels(2, items, 4, 0.5)
    found = chance(query, gallery, ideal="list", tolerance=0.02)
    assert (set(found.standard_error.values()) == {0.0}) == exact
    if exact:
        expected = chance(query, gallery).per_query
        np.testing.assert_allclose(found.per_query, expected, rtol=1e-12)


def test_rankings_are_drawn_until_the_error_is_what_was_asked_for(monkeypatch):
    cut_at(monkeypatch, 8)
    name, query, gallery = "nDCG@100", random_labels(0, 500), random_labels(1, 10)
    errors = {}
    for tolerance in (1.0, 1e-3, None):
        given = {} if tolerance is None else {"tolerance": tolerance}
        errors[tolerance] = chance(query, gallery, ideal="list", **given).standard_error
    assert errors[1e-3][name] <= 1e-3 < errors[1.0][name], "sixteen are drawn, and more on demand"
    assert 0 < max(errors[None].values()) <= 5e-4, "unless told otherwise"


def test_a_seed_decides_what_is_drawn_and_nothing_else():
    y = random_labels(0, 130)
    first, again, other = (chance(y, seed=s, ideal="list", tolerance=1.0) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first.per_query, again.per_query)
    assert first.summary() == again.summary()
    assert chance(y, ideal="list", tolerance=1.0).summary() == first.summary(), "0 if not given"
    same = (first.per_query == other.per_query).all()
    assert [name for name in METRICS if not same[name]] == ["nDCG(sim)@100", "nDCG@100"]


def test_chance_leaves_one_out():
    y = random_labels(3, 7)
    result = chance(y).per_query
    for query in range(7):
        others = np.delete(y, query, 0)
        alone = chance(y[query : query + 1], others).per_query
        np.testing.assert_allclose(result.iloc[query], alone.iloc[0], rtol=1e-12)


def test_a_query_without_labels_and_a_gallery_of_one():
    y = np.array([[0, 0], [1, 0]])
    assert set(chance(y).summary().values()) == {0.0}
    assert set(chance(y).without_hit.values()) == {2.0}
    assert all(np.isnan(v) for v in chance(y, without_hit="omit").summary().values())
    assert set(chance(y[1:], y[1:]).summary().values()) == {1.0}


#: mean of five random test splits of the paper's size, in the order of METRICS
PRINTED = {
    "dlrsd": (411, [0.669, 0.351, 0.307, 0.136, 0.055, 0.377, 0.265]),
    "ml_aid": (600, [0.862, 0.475, 0.611, 0.387, 0.156, 0.522, 0.463]),
}


@pytest.mark.parametrize("name", PRINTED)
def test_chance_on_the_real_label_tables(name):
    table = Path(os.environ.get("MACL_DATA", "")) / name / "labels.csv"
    if "MACL_DATA" not in os.environ or not table.exists():
        pytest.skip(f"MACL_DATA has no {name}/labels.csv")
    y, (size, printed) = pd.read_csv(table).iloc[:, 1:].to_numpy(bool), PRINTED[name]
    splits = [np.random.default_rng(seed).permutation(len(y))[:size] for seed in range(5)]
    found = pd.DataFrame([chance(y[split]).summary() for split in splits])
    # another five splits: their mean is uncertain by spread / sqrt(5), and so is the printed one
    uncertainty = 3 * found.std() * np.sqrt(2 / 5) + 0.0005
    assert ((found.mean() - printed).abs() < uncertainty).all()
    assert ((found.mean() - printed).abs() < 0.01).all()


@st.composite
def tables_without_empty_rows(draw):
    y = np.array(draw(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=3)))
    y[~y.any(axis=1), draw(st.integers(0, 3))] = True
    return y


@settings(deadline=None, max_examples=150, derandomize=True)
@given(y=tables_without_empty_rows())
def test_chance_is_at_least_what_counts_allow(y):
    bound = chance_bound(y.sum(0), len(y))
    assert bound <= chance(y).summary()["mAP(sim)@5000"] + 1e-12
    one_label = np.eye(4, dtype=bool)[y.argmax(1)]  # disjoint labels: nothing is left open
    exact = chance(one_label).summary()["mAP(sim)@5000"]
    assert chance_bound(one_label.sum(0), len(y)) == pytest.approx(exact)


def test_the_bound_for_a_split_is_below_the_mean_over_splits():
    y = np.repeat(np.eye(3, dtype=bool), [3, 2, 2], axis=0)
    splits = [chance(y[list(s)]).summary() for s in itertools.combinations(range(7), 4)]
    mean = np.mean([split["mAP(sim)@5000"] for split in splits])
    assert chance_bound(y.sum(0), 7, split=4) == pytest.approx(mean)  # disjoint labels again
    for counts, images, split in [([3, 1], 5, None), ([9], 7, None), ([5, 5], 7, 1), ([5], 5, 6)]:
        with pytest.raises(ValueError, match="images"):
            chance_bound(counts, images, split)


def test_chance_on_whdld_is_at_least_what_its_published_counts_allow():
    counts = pd.read_csv(paths.ROOT / "results" / "paper" / "table3.csv")["whdld"].dropna()
    vegetation = counts.max() / 4940
    for split in (None, 978):
        bound = chance_bound(counts, 4940, split)
        assert vegetation**2 < bound  # two images share vegetation alone with this probability
        assert bound == pytest.approx(0.919, abs=0.001)


@pytest.mark.parametrize("seed", range(3))
def test_oracle_is_a_ceiling(seed):
    y = random_labels(seed, 40)
    shared = (y[:, None] & y).sum(2)
    jaccard = shared / (y[:, None] | y).sum(2).clip(1)
    best = {"jaccard": oracle(y), "shared": oracle(y, by="shared")}
    for by, scores in (("jaccard", jaccard), ("shared", shared)):
        pd.testing.assert_frame_equal(best[by].per_query, evaluate_scores(scores, y).per_query)
    random = evaluate_scores(np.random.default_rng(seed).random((40, 40)), y).per_query
    for name in METRICS[:-1]:
        by = "shared" if "(sim)" in name else "jaccard"
        assert (best[by].per_query[name] >= random[name] - 1e-12).all()
    assert oracle(y[:9], y[9:]).per_query.shape == (9, 7)
    with pytest.raises(ValueError, match="by is jaccard or shared"):
        oracle(y, by="count")


@pytest.mark.parametrize("by", ["jaccard", "shared"])
@pytest.mark.parametrize("reading", [{}, {"map_cutoff": 5}, {"normaliser": "min", "map_cutoff": 5}])
def test_an_averaged_oracle_ranks_label_sets_as_it_would_images(by, reading):
    y = random_labels(1, 150, labels=4)
    shared = (y[:, None] & y).sum(2)
    scores = shared if by == "shared" else shared / (y[:, None] | y).sum(2).clip(1)
    expected = evaluate_scores(scores, y, ties="average", **reading)
    for memory in (1, 2**30):
        found = oracle(y, by=by, ties="average", memory=memory, **reading)
        np.testing.assert_allclose(found.per_query, expected.per_query, rtol=1e-10, atol=1e-14)
    found = oracle(y[:20], y[20:], by=by, ties="average", **reading).per_query
    expected = evaluate_scores(scores[:20, 20:], y[:20], y[20:], ties="average", **reading)
    np.testing.assert_allclose(found, expected.per_query, rtol=1e-10, atol=1e-14)


def test_floor_and_ceiling_of_a_label_table(tmp_path, capsys):
    y = random_labels(2, 40)
    y[~y.any(1), 0] = True
    frame = pd.DataFrame(y.astype(int), columns=list("abcde"))
    frame.insert(0, "image", [f"i{n}" for n in range(40)])
    frame.to_csv(tmp_path / "my.csv", index=False)
    assert main(["evaluate", "--labels-only", str(tmp_path / "my.csv")]) == 0
    out = capsys.readouterr().out
    assert "my.csv: 40 images, 5 labels" in out
    rows = {line.rsplit(maxsplit=7)[0]: line.split()[-7:] for line in out.splitlines()[2:5]}
    for name, expected in {
        "chance": chance(y),
        "oracle, jaccard": oracle(y, ties="average"),
        "oracle, shared": oracle(y, by="shared", ties="average"),
    }.items():
        assert rows[name] == [f"{100 * v:.2f}" for v in expected.summary().values()]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--labels-only", "nowhere.csv"], "path not found"),
        (["--labels-only", "bad.csv"], "b is '2'"),
        ([], "either a run's id or --labels-only"),
        (["some-run", "--labels-only", "bad.csv"], "either a run's id or --labels-only"),
        (["--labels-only", "bad.csv", "--split", "all"], "no --split"),
        (["--labels-only", "bad.csv", "--archive", "dlrsd"], "no --archive"),
    ],
)
def test_what_is_wrong_with_a_label_table_is_said(tmp_path, monkeypatch, words, message, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("image,a,b\nx,1,2\ny,1,0\n")
    assert main(["evaluate", *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and "Traceback" not in err


def test_wap_has_no_ceiling(monkeypatch):
    cut_at(monkeypatch, 2)
    query, gallery = np.array([[1, 1, 0]]), np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert oracle(query, gallery).summary()["wAP@100"] == (1 + (1 + 1 / 2) / 2) / 2
    assert evaluate_scores([[3.0, 1.0, 2.0]], query, gallery).summary()["wAP@100"] == 1
