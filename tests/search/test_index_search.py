"""The search of an index: that of `evaluate` to the last bit, and what must hold of it."""

import hashlib

import numpy as np
import pytest
import torch

from maclcore.evaluation import ranking
from maclcore.search import approximate
from maclcore.search import index as searched
from maclcore.search.given import take_vectors
from maclcore.search.index import Index, error


def made(where, z, **words):
    return take_vectors(where, [f"v{i:05}" for i in range(len(z))], z, by="a test", **words)


def unit(n, dim, seed=0):
    z = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def stored(index):
    return np.array(index.table.to_arrow().sort_by("name")["vector"].to_pylist(), dtype=np.float32)


def assert_exact(index, q, k):
    """As `ranking.search` finds them: names are in the order of rows, so ties are by name."""
    order, cosine = ranking.search(q[None], stored(index), k)
    found = index.nearest(q, k)
    assert found["name"].tolist() == [f"v{i:05}" for i in order[0].tolist()]
    assert np.array_equal(found["cosine"].to_numpy(), cosine[0].numpy())
    assert found["cosine"].dtype == np.float32


@pytest.mark.parametrize(("n", "dim"), [(7, 3), (900, 8), (700, 256), (300, 4096)])
def test_an_exact_search_is_evaluates_to_the_last_bit(tmp_path, n, dim):
    index = made(tmp_path / "i", unit(n, dim))
    for seed in range(3):
        q = unit(1, dim, 50 + seed)[0]
        for k in (1, 10, n, n + 5):
            assert_exact(index, q, k)
    assert_exact(index, stored(index)[n // 2] * 7.5, 10)  # of any length


def test_equal_vectors_are_in_the_order_of_names_however_many_there_are(tmp_path, monkeypatch):
    z = unit(600, 32)
    z[100:500] = z[7]  # more than a first look takes
    index = made(tmp_path / "i", z)
    assert index.nearest(z[7], 12)["name"].tolist() == ["v00007"] + [
        f"v{i:05}" for i in range(100, 111)
    ]
    for k in (1, 12, 401, 402):
        assert_exact(index, z[7], k)
    monkeypatch.setattr(searched, "SCANNED", 50)  # where so many are compared that all are
    for k in (1, 12, 401, 402):
        assert_exact(index, z[7], k)
        assert_exact(index, unit(1, 32, 9)[0], k)


@pytest.mark.parametrize("scale", [1e-6, 1e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("dim", [64, 2048])
def test_vectors_that_float32_cannot_tell_apart_are_in_the_right_order(tmp_path, dim, scale):
    q = unit(1, dim)[0]
    z = q + scale * unit(1500, dim, 1)
    index = made(tmp_path / "i", z)
    for k in (1, 10, 100):
        assert_exact(index, q, k)
    # which is no matter of course: float32 alone finds others
    alone = np.argsort(-(stored(index) @ q), kind="stable")[:100]
    order, _ = ranking.search(q[None], stored(index), 100)
    assert alone.tolist() != order[0].tolist()


@pytest.mark.parametrize("dim", [1, 16, 256, 1024, 4096])
def test_float32_is_never_further_off_than_its_bound(tmp_path, dim):
    signs = np.sign(unit(200, dim)) / np.float32(dim**0.5)  # all terms alike: the worst of sums
    z = np.concatenate([unit(400, dim, 1), signs, np.abs(signs[:1])])
    index = made(tmp_path / "i", z)
    for q in (np.abs(signs[0]), unit(1, dim, 2)[0], z[0]):
        row = ranking.UnitRows(q[None], "q")(slice(0, 1))[0]
        exact = ranking.UnitRows(stored(index), "z")(slice(0, len(z))) @ row
        query = index.table.search(row.numpy().astype(np.float32)).distance_type("dot")
        found = query.limit(len(z)).select(["name", "_distance"]).to_arrow().sort_by("name")
        off = np.abs(1 - found["_distance"].to_numpy().astype(np.float64) - exact.numpy())
        assert off.max() <= error(dim)
    assert error(256) < 2e-5 and error(4096) < 3e-4  # small enough to be of use


def test_a_condition_and_names_to_leave_out_hold_before_the_k_best_are_taken(tmp_path):
    z, even = unit(300, 16), [i % 2 == 0 for i in range(300)]
    labels = np.array([[i % 2 == 0, i % 3 == 0] for i in range(300)])
    columns = {
        "cloud": [float(i % 10) for i in range(300)],
        "site": ["o'hara"] * 150 + [None] * 150,
    }
    index = made(tmp_path / "i", z, labels=labels, label_names=("sea", "pier"), columns=columns)
    q = unit(1, 16, 5)[0]
    whole = index.nearest(q, 300)
    assert set(index.columns) == {"cloud", "site"}
    some = index.nearest(q, 40, where="cloud < 3 AND site IS NOT NULL", exclude=["v00011", "x'y"])
    kept = whole[(whole["cloud"] < 3) & whole["site"].notna() & (whole["name"] != "v00011")]
    assert some["name"].tolist() == kept["name"].tolist()[:40] and len(some) == 40
    sea = index.nearest(q, 200, where="array_has(labels, 'sea')")
    assert sea["name"].tolist() == [n for n in whole["name"] if even[int(n[1:])]]
    assert all(isinstance(labels, list) and "sea" in labels for labels in sea["labels"])
    assert index.nearest(q, 5, where=f"site = {searched.quoted(chr(39))}").empty
    assert index.nearest(q, 5, where="false").columns.tolist() == whole.columns.tolist()


def test_rows_and_vectors_by_name_and_by_condition(tmp_path, monkeypatch):
    monkeypatch.setattr(searched, "NAMES", 7)  # names that one question lists
    z = unit(40, 8)
    index = made(tmp_path / "i", z[::-1], columns={"n": range(40)})
    assert index.rows()["name"].tolist() == [f"v{i:05}" for i in range(40)]
    assert index.rows(limit=3)["n"].tolist() == [0, 1, 2]
    assert index.rows("n >= 30", limit=2)["n"].tolist() == [30, 31]
    wanted = [f"v{i:05}" for i in (39, 3, 20, *range(10))]
    assert index.rows("n > 2", names=wanted)["n"].tolist() == [*range(3, 10), 20, 39]
    assert index.rows(names=[]).empty and index.rows(names=["nothing"]).empty
    assert np.array_equal(index.vectors(wanted), stored(index)[[39, 3, 20, *range(10)]])
    assert index.vectors([]).shape == (0, 8)
    with pytest.raises(ValueError, match="not in the index: nothing"):
        index.vectors(["v00001", "nothing"])
    with pytest.raises(KeyError):
        index.thumbnail("v00001")  # of vectors that were given there is none


def test_what_cannot_be_searched_for_is_told(tmp_path):
    index = made(tmp_path / "i", unit(30, 8))
    z = unit(1, 8)[0]
    for wrong, message in [
        (z[:5], r"shape \(8,\), not \(5,\)"),
        (z * 0, "all zero"),
        (z * np.nan, "not finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            index.nearest(wrong, 3)
    with pytest.raises(ValueError, match="k is 0"):
        index.nearest(z, 0)
    with pytest.raises(ValueError, match="not a condition on the columns.*cloud.*name"):
        index.nearest(z, 3, where="cloud < 3")
    with pytest.raises(ValueError, match="not a condition on the columns"):
        index.rows("name = ")
    with pytest.raises(ValueError, match="no approximate search: `index approximate"):
        index.nearest(z, 3, approximate=True)


def test_what_is_no_index_is_told(tmp_path):
    with pytest.raises(ValueError, match="no index .*nowhere: `index build"):
        Index(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is no index: it has no table"):
        Index(tmp_path)
    index = made(tmp_path / "i", unit(30, 8))
    about = index.about.metadata()["maclcore"].replace('"format": 1', '"format": 99')
    index.table.update_field_metadata({"path": "vector", "metadata": {"maclcore": about}})
    with pytest.raises(ValueError, match="format 99, and this program reads format 1: build it"):
        Index(tmp_path / "i")
    with pytest.raises(ValueError, match="format 99"):
        made(tmp_path / "i", unit(31, 8))


def clustered(n, dim, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((60, dim))
    return centres[generator.integers(60, size=n)] + 0.5 * generator.standard_normal((n, dim))


def test_an_approximate_search_is_asked_for_measured_and_exact_in_what_it_finds(tmp_path):
    z = clustered(4000, 32)
    index = made(tmp_path / "i", z)
    measured = approximate.make(tmp_path / "i")
    index = Index(tmp_path / "i")
    assert index.about.approximate == measured and measured.partitions == 63
    assert measured.recall_100 >= approximate.GOAL or measured.probed == 63
    # again, by queries of its own and a slow count
    shares = []
    for i in range(0, 4000, 100):
        exact, near = index.nearest(z[i], 101), index.nearest(z[i], 101, approximate=True)
        cosine = dict(zip(exact["name"], exact["cosine"], strict=True))
        assert [cosine.get(n, c) for n, c in near[["name", "cosine"]].to_numpy()] == near[
            "cosine"
        ].tolist()
        assert near["cosine"].is_monotonic_decreasing
        others = {*exact["name"]} - {f"v{i:05}"}
        shares.append(len(others & {*near["name"]}) / len(others))
    assert np.mean(shares) == pytest.approx(measured.recall_100, abs=0.04)
    assert_exact(index, z[5].astype(np.float32), 10)  # which stays what is searched by
    grown = made(tmp_path / "i", np.concatenate([z, clustered(50, 32, 1)]))
    last = np.asarray(stored(grown)[-1])
    assert grown.nearest(last, 1, approximate=True)["name"].tolist() == ["v04049"]


def test_a_small_index_has_no_approximate_search(tmp_path):
    made(tmp_path / "i", unit(30, 8))
    with pytest.raises(ValueError, match="of fewer than 1,000 there is the exact search alone"):
        approximate.make(tmp_path / "i")


def test_given_vectors_are_kept_in_step(tmp_path):
    z = unit(50, 8) * np.linspace(0.1, 9, 50)[:, None]
    names = [f"n{i}" for i in range(50)]
    index = take_vectors(tmp_path / "i", names, z, by="mine", columns={"a": [1] * 50})
    rows = torch.nn.functional.normalize(torch.from_numpy(z), dim=1).float().numpy()
    assert np.allclose(index.vectors(names), rows, atol=1e-7)
    before = index.table.version
    z[3] = -z[3]
    index = take_vectors(tmp_path / "i", names, z, by="mine", columns={"a": [1] * 49 + [2]})
    assert np.allclose(index.vectors(names)[3], -rows[3], atol=1e-7) and len(index) == 50
    assert index.rows("a = 2")["name"].tolist() == ["n49"] and index.table.version > before
    content = index.rows(names=["n3"])["content"][0]
    assert content == hashlib.sha256(index.vectors(["n3"])[0].tobytes()).hexdigest()
    with pytest.raises(ValueError, match="made by another network .*network mine, here yours"):
        take_vectors(tmp_path / "i", names, z, by="yours")
    with pytest.raises(ValueError, match="50 names, 49 of them different"):
        take_vectors(tmp_path / "i", [*names[:49], "n0"], z, by="mine")
    with pytest.raises(ValueError, match="row 4 is all zero"):
        take_vectors(tmp_path / "i", names, np.where(np.arange(50)[:, None] == 4, 0, z), by="mine")
