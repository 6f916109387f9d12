"""A query finds what its examples, labels and conditions ask for, and nothing else."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from small import LABELS, NAMES, Net, folder, index_of

from maclcore.data.archives import read_archive
from maclcore.evaluation.ranking import search as ranked
from maclcore.search.build import build
from maclcore.search.embedder import Embedder
from maclcore.search.query import Query, find, rocchio


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    where = tmp_path_factory.mktemp("index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maclcore.search.embedder.RetrievalNet", Net)
        patch.setenv("MACL_RESULTS", str(where / "results"))
        archive = folder(where / "archive")
        years = tuple(2000 + i % 5 for i in range(40))
        yield index_of(archive, where / "index", year=years)


def slow_rocchio(like, unlike, dim):
    """By the words of the docstring, a number at a time."""

    def mean(rows):
        total = [sum(float(row[d]) for row in rows) / len(rows) for d in range(dim)]
        length = sum(x * x for x in total) ** 0.5
        return [x / length for x in total]

    towards = mean(like) if len(like) else [0.0] * dim
    away = mean(unlike) if len(unlike) else [0.0] * dim
    q = [t - 0.5 * a for t, a in zip(towards, away, strict=True)]
    length = sum(x * x for x in q) ** 0.5
    return np.array([x / length for x in q])


@pytest.mark.parametrize("likes, unlikes", [(1, 0), (3, 0), (1, 1), (4, 3), (0, 2)])
def test_rocchio_against_a_loop(likes, unlikes):
    generator = np.random.default_rng(likes * 10 + unlikes)
    z = generator.normal(size=(likes + unlikes, 7)).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    q = rocchio(z[:likes], z[likes:])
    expected = slow_rocchio(z[:likes], z[likes:], 7)
    np.testing.assert_allclose(q / np.linalg.norm(q), expected, atol=1e-7)


def test_a_counter_example_turns_the_query_away_from_itself():
    like, unlike = np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32)[1:2]
    np.testing.assert_allclose(rocchio(like, unlike), [1, -0.5, 0])
    assert (rocchio(like, like[:0]) == like[0]).all()


def test_examples_that_cancel_out_are_an_error():
    both = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    with pytest.raises(ValueError, match="cancel out"):
        rocchio(both, both[:0])
    with pytest.raises(ValueError, match="cancel out"):
        rocchio(both[:1], both)


def test_one_example_is_ranked_as_evaluate_ranks_it(index):
    rows = index.rows()
    z = index.vectors(list(rows["name"]))
    order, cosine = ranked(z, z, len(z))
    for i, name in enumerate(rows["name"]):
        found = find(index, Query(like=(name,)), len(z))
        others = [j for j in order[i].tolist() if j != i]
        assert list(found["name"]) == [rows["name"][j] for j in others]
        expected = [c for j, c in zip(order[i].tolist(), cosine[i].tolist(), strict=True) if j != i]
        assert found["cosine"].tolist() == expected
        by_vector = find(index, Query(vectors=z[i : i + 1]), 5)
        assert by_vector["name"].tolist() == [rows["name"][j] for j in order[i].tolist()[:5]]


def test_several_examples_are_one_query_of_which_none_is_found(index):
    like, unlike = (NAMES[0], "img01"), (NAMES[1],)
    rows = index.rows()
    z = dict(zip(rows["name"], index.vectors(list(rows["name"])), strict=True))
    q = slow_rocchio([z[n] for n in like], [z[n] for n in unlike], z[like[0]].size)
    cosines = {n: float(z[n] @ q) for n in z if n not in (*like, *unlike)}
    best = sorted(cosines, key=lambda n: -cosines[n])[:10]
    found = find(index, Query(like=like, unlike=unlike), 10)
    np.testing.assert_allclose(found["cosine"], [cosines[n] for n in best], atol=1e-6)
    assert set(found["name"]) == set(best)
    by_vectors = Query(like=like[:1], vectors=z[like[1]][None], unlike_vectors=z[unlike[0]][None])
    again = find(index, by_vectors, 40)
    assert set(again["name"]) == {*z} - {like[0]}
    other = again[~again["name"].isin([like[1], unlike[0]])]
    assert other["name"].tolist()[:10] == found["name"].tolist()


def test_labels_with_quotes_and_commas_are_asked_for_as_they_are(index):
    rows = index.rows()
    for label in LABELS:
        for wanted in (True, False):
            query = Query(labels=(label,)) if wanted else Query(not_labels=(label,))
            found = find(index, query, 100)
            expected = [n for n, on in zip(rows["name"], rows["labels"], strict=True)
                        if (label in on) == wanted]  # fmt: skip
            assert found["name"].tolist() == expected and found["cosine"].isna().all()
            near = find(index, Query(like=(NAMES[0],), labels=query.labels,
                                     not_labels=query.not_labels), 100)  # fmt: skip
            assert set(near["name"]) == set(expected) - {NAMES[0]}
    both = find(index, Query(labels=LABELS[:2], not_labels=(LABELS[2],)), 100)
    assert {*both["name"]} == {
        n for n, on in zip(rows["name"], rows["labels"], strict=True)
        if {*LABELS[:2]} <= {*on} and LABELS[2] not in on
    }  # fmt: skip


def test_conditions_hold_together(index):
    years = dict(zip(index.rows()["name"], index.rows()["year"], strict=True))
    found = find(index, Query(where="year = 2001 OR year = 2002", labels=(LABELS[0],)), 100)
    assert {*found["year"]} == {2001, 2002}  # the OR does not reach the labels
    assert all(LABELS[0] in labels for labels in found["labels"])
    one = find(index, Query(where="name = 'it''s'"), 5)
    assert one["name"].tolist() == ["it's"] and one["year"][0] == years["it's"]


def test_a_box_and_one_that_crosses_180_degrees(index):
    places = {"img01": (179.5, 10.0), "img02": (-179.5, 11.0), "img03": (0.0, 10.5)}
    for name, (longitude, latitude) in places.items():
        at = {"longitude": longitude, "latitude": latitude}
        index.table.update(where=f"name = '{name}'", values=at)

    def inside(*box):
        return find(index, Query(box=box), 100)["name"].tolist()

    assert inside(-1, 10, 1, 11) == ["img03"]
    assert inside(179, 10, -179, 11) == ["img01", "img02"]
    assert inside(-180, -90, 180, 90) == ["img01", "img02", "img03"]
    assert inside(-180, 10.9, 180, 90) == ["img02"]
    assert inside(0, 10.5, 0, 10.5) == ["img03"]


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"like": ("nobody",)}, "not in the index: nobody"),
        ({"labels": ("o clock",)}, 'no label .o clock.; did you mean "o\'clock"'),
        ({"not_labels": ("zzz",)}, "no label 'zzz'; it has"),
        ({"where": "nocolumn = 1"}, "nocolumn"),
        ({"like": ("img01",), "where": "year ="}, "condition"),
    ],
)
def test_what_the_index_does_not_have_is_said(index, asked, message):
    with pytest.raises(ValueError, match=message):
        find(index, Query(**asked), 3)


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"box": (0, 10, 1, 5)}, "no box"),
        ({"box": (0, 10, 190, 11)}, "no box"),
        ({"box": (0, float("nan"), 1, 11)}, "no box"),
        ({"like": ("a", "b"), "unlike": ("b",)}, "both an example and a counter-example: b"),
    ],
)
def test_a_query_that_is_none_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        Query(**asked)


@pytest.mark.parametrize("k", [0, -1])
def test_a_search_has_at_least_one_result(index, k):
    with pytest.raises(ValueError, match=f"k is {k}"):
        find(index, Query(), k)


def test_without_an_example_rows_come_by_name(index):
    assert find(index, Query(), 7)["name"].tolist() == sorted(index.rows()["name"])[:7]


REAL = Path(os.environ.get("MACL_DATA", "")).absolute() / "ucm_multilabel"


@pytest.mark.skipif(
    "MACL_DATA" not in os.environ or not REAL.is_dir(), reason="MACL_DATA has no ucm_multilabel"
)
def test_a_real_archive_is_ranked_as_evaluate_ranks_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    torch.manual_seed(0)
    embedder = Embedder.of_backbone("resnet18", "none", 32)
    index = build(read_archive(str(REAL), progress=False), embedder, tmp_path / "index")
    names = list(index.rows()["name"])
    z = index.vectors(names)
    assert len(names) == 2100
    some = np.random.default_rng(0).choice(len(names), 50, replace=False)
    order, cosine = ranked(z[some], z, 21)
    for i, row, values in zip(some, order.tolist(), cosine.tolist(), strict=True):
        pairs = [(names[j], c) for j, c in zip(row, values, strict=True) if j != i][:20]
        found = find(index, Query(like=(names[i],)), 20)
        assert [*zip(found["name"], found["cosine"].tolist(), strict=True)] == pairs
