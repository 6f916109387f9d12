"""An index of an archive: made, kept in step, and the same whatever happens to it meanwhile."""

import io
import resource
import shutil
import threading

import making
import numpy as np
import pytest
from filelock import FileLock
from making import content, folder_of, index_folder, names, network, picture
from PIL import Image

from maclcore.__main__ import main
from maclcore.data import load_archive
from maclcore.data.archives import read_archive
from maclcore.search import table as tables
from maclcore.search.build import LeftOut, build, remove, take
from maclcore.search.embedder import Embedder, of_made
from maclcore.search.index import Index


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    making.small(monkeypatch.setattr)
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))


@pytest.fixture
def folder(tmp_path):
    return folder_of(tmp_path / "own", names(30))


@pytest.fixture
def where(tmp_path):
    return tmp_path / "own.index"


def test_a_row_has_all_that_is_known_of_an_image(folder, where):
    done = index_folder(folder, where)
    assert (done.new, done.changed, done.updated, done.gone, done.problems) == (30, 0, 0, (), [])
    index = Index(where)
    archive = load_archive(folder, image_size=16, progress=False)
    rows = index.rows()
    assert len(index) == 30 and rows["name"].tolist() == list(archive.names)
    assert rows["content"].tolist() == list(archive.contents)
    on = [[n for n, y in zip(archive.label_names, row, strict=True) if y] for row in archive.labels]
    assert rows["labels"].tolist() == on
    assert rows["file"].tolist() == [str(folder / "images" / f"{name}.png") for name in names(30)]
    assert rows["longitude"].isna().all() and rows["latitude"].isna().all()
    # one image alone, as the network has it by the plainest way, gives the same bits
    for i in (0, 17, 29):
        z = network()(archive.images[i : i + 1])
        assert np.array_equal(index.vectors([archive.names[i]]), z)
    about = index.about
    assert about.archive == str(folder) and about.label_names == archive.label_names
    assert about.made == network().made and "S=16" in about.rule and about.versions["lancedb"]


def test_a_thumbnail_is_of_the_original_in_its_own_proportions(tmp_path, where):
    folder = folder_of(tmp_path / "own", {"a": 1, "b": 2})
    wide = np.zeros((100, 400, 3), np.uint8)
    wide[:, 200:] = (250, 20, 20)
    Image.fromarray(wide).save(folder / "images" / "a.png")
    index_folder(folder, where)
    thumbnail = Image.open(io.BytesIO(Index(where).thumbnail("a")))
    assert thumbnail.format == "JPEG" and thumbnail.size == (128, 32)
    assert np.abs(np.asarray(thumbnail)[16, 100].astype(int) - (250, 20, 20)).max() < 20
    assert Image.open(io.BytesIO(Index(where).thumbnail("b"))).size == (24, 18)  # not enlarged


def test_the_network_is_known_again_and_no_other_is_taken(folder, where, monkeypatch):
    index_folder(folder, where)
    index = Index(where)
    assert np.array_equal(
        of_made(index.about.made).file(folder / "images" / "img003.png"),
        index.vectors(["img003"])[0],
    )
    before = content(index)
    other = Embedder.of_backbone("small", "none", 12)
    catalogue = read_archive(folder, progress=False)
    with pytest.raises(ValueError, match=r"made by another network \(image_size 16, here 12\)"):
        take(catalogue, other, where)
    monkeypatch.setattr("maclcore.data.cache.RESIZE_RULE", "2: another")
    with pytest.raises(ValueError, match="read by another rule.*2: another"):
        take(catalogue, network(), where)
    monkeypatch.setattr("torch.manual_seed", lambda seed: None)  # other weights
    with pytest.raises(ValueError, match="another network than is here now .network .*, here"):
        of_made(index.about.made)
    assert content(Index(where)) == before


def test_add_embeds_only_what_is_new_or_changed(folder, where, monkeypatch):
    index_folder(folder, where)
    before = {row["name"]: row for row in content(Index(where))}
    folder_of(folder, names(40))
    picture(folder / "images" / "img004.png", 999)
    seen = []
    monkeypatch.setattr(Embedder, "__call__", counted(Embedder.__call__, seen))
    done = index_folder(folder, where)
    assert (done.new, done.changed, done.updated) == (10, 1, 0)
    assert sum(seen) - 1 == 11  # one to know the size of vectors
    after = {row["name"]: row for row in content(Index(where))}
    assert {n for n in before if before[n] != after[n]} == {"img004"}
    whole = where.with_name("whole.index")
    index_folder(folder, whole)
    assert content(Index(whole)) == content(Index(where))
    done = index_folder(folder, where)
    assert (done.new, done.changed, done.updated) == (0, 0, 0) and sum(seen) == 11 + 3 + 40


def counted(function, seen):
    def call(self, pixels):
        seen.append(len(pixels))
        return function(self, pixels)

    return call


def test_where_only_the_table_says_something_else_the_network_is_not_asked(folder, where):
    index_folder(folder, where)
    before = {row["name"]: row for row in content(Index(where))}
    catalogue = read_archive(folder, progress=False)
    labels = np.column_stack([catalogue.labels, np.arange(30) % 7 == 0])
    site = tuple("north" if i < 10 else None for i in range(30))
    seen, embedder = [], network()
    of = {"labels": labels, "label_names": (*catalogue.label_names, "buoy")}
    changed = with_changes(catalogue, **of, columns={"site": site, "year": tuple(range(30))})
    embedder.model = None  # an error if it is asked
    done = take(changed, embedder, where)
    assert (done.new, done.changed, done.updated) == (0, 0, 30) and not seen
    index = Index(where)
    assert index.about.label_names == ("sea", "pier", "buoy") and index.columns == ("site", "year")
    assert index.rows("site = 'north'")["year"].tolist() == list(range(10))
    for i, row in enumerate(content(index)):
        old = before[row["name"]]
        assert row["vector"] == old["vector"] and row["thumbnail"] == old["thumbnail"]
        assert row["labels"] == old["labels"] + ["buoy"] * (i % 7 == 0)
        assert row["site"] == site[i] and row["year"] == i
    one = with_changes(changed, columns={"site": site[:-1] + ("south",), "year": tuple(range(30))})
    assert take(one, embedder, where).updated == 1
    assert take(catalogue, embedder, where).updated == 30  # the columns are said no longer
    assert Index(where).rows()["site"].isna().all()
    with pytest.raises(ValueError, match="column 'year' held int64 when .* and holds string now"):
        take(with_changes(one, columns={"year": ("x",) * 30}), embedder, where)


def with_changes(catalogue, **changes):
    from dataclasses import replace

    return replace(catalogue, **changes)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vector": (1,) * 30}, "cannot have a column 'vector': rename it"),
        ({"a.b": (1,) * 30}, "cannot have a column 'a.b': rename it"),
        ({"mixed": (1, "x") * 15}, r"'mixed' holds values of several kinds \(int, str\)"),
    ],
)
def test_a_column_that_an_index_cannot_have_is_told(folder, where, columns, message):
    catalogue = with_changes(read_archive(folder, progress=False), columns=columns)
    with pytest.raises(ValueError, match=message):
        take(catalogue, network(), where)
    assert not where.joinpath("images.lance").exists()


def test_an_image_that_cannot_be_read_stops_no_other_and_is_tried_again(folder, where, capsys):
    images = folder / "images"
    good = (images / "img012.png").read_bytes()
    (images / "img012.png").write_bytes(good[:60])
    (images / "img020.png").write_text("no image")
    with pytest.raises(LeftOut, match="2 images could not be read") as error:
        build(read_archive(folder, progress=False), network(), where)
    assert [line.split(":")[0] for line in error.value.problems] == ["img012.png", "img020.png"]
    assert "img020.png: not an image" in str(error.value)
    assert len(Index(where)) == 28 and "img012" not in Index(where).rows()["name"].tolist()
    arguments = ["index", "build", str(folder), "--backbone", "small", "--weights", "none"]
    arguments += ["--image-size", "16", "--out", str(where)]
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert "img012.png" in told and "img020.png: not an image" in told
    (images / "img012.png").write_bytes(good)
    picture(images / "img020.png", 20)
    assert main(arguments) == 0
    assert "2 new, 0 changed" in capsys.readouterr().out
    index_folder(folder, where.with_name("whole.index"))
    assert content(Index(where)) == content(Index(where.with_name("whole.index")))


def test_an_image_that_vanishes_or_changes_between_build_and_query(folder, where):
    catalogue = read_archive(folder, progress=False)
    (folder / "images" / "img005.png").unlink()
    with pytest.raises(LeftOut, match="img005.png: .*No such file"):
        build(catalogue, network(), where)
    assert len(Index(where)) == 29
    index_folder(folder_of(folder, names(30)), where)
    (folder / "images" / "img006.png").unlink()
    picture(folder / "images" / "img007.png", 777)
    index = Index(where)
    found = index.nearest(index.vectors(["img006"])[0], 3)  # as it was
    assert found["name"][0] == "img006" and index.thumbnail("img006")
    assert found["cosine"][0] == pytest.approx(1)


def test_images_are_removed_by_name_and_where_their_files_are_gone(folder, where, capsys):
    index_folder(folder, where)
    assert main(["index", "remove", str(where), "img001", "img002"]) == 0
    assert "2 images removed (img001, img002)" in capsys.readouterr().out
    assert len(Index(where)) == 28
    with pytest.raises(ValueError, match="not in the index: img001"):
        remove(where, ["img001", "img003"])
    for name in ("img010", "img011"):
        (folder / "images" / f"{name}.png").unlink()
    lines = (folder / "labels.csv").read_text().splitlines()
    kept = [line for line in lines if line[:6] not in ("img010", "img011")]
    (folder / "labels.csv").write_text("\n".join(kept))
    done = index_folder(folder, where)
    assert done.new == 2 and done.gone == ("img010", "img011")  # the first two are back
    assert len(Index(where)) == 30  # nothing goes by itself
    moved = folder.rename(folder.with_name("away"))
    with pytest.raises(ValueError, match="no folder .*own: is its disk there"):
        remove(where, missing=True)
    moved.rename(folder)
    assert remove(where, missing=True) == ["img010", "img011"] and len(Index(where)) == 28
    assert main(["index", "remove", str(where)]) == 1


def test_a_second_folder_beside_the_first(folder, where, tmp_path):
    index_folder(folder, where)
    other = folder_of(tmp_path / "other", names(12, 25), labels=("sea", "quay"))
    with pytest.raises(ValueError, match="is of .*own, not of .*other: `index add` puts"):
        index_folder(other, where)
    index_folder(other, where, beside=True)  # five images are in both, of the same content
    index = Index(where)
    assert len(index) == 37 and index.about.label_names == ("sea", "pier", "quay")
    assert index.about.archive == str(folder)
    picture(other / "images" / "img025.png", 999)
    with pytest.raises(ValueError, match="1 images of other have names .* img025"):
        index_folder(folder_of(folder, names(30)), where, beside=True) and index_folder(
            other, where, beside=True
        )


def test_a_folder_that_has_moved_is_followed(folder, where):
    index_folder(folder, where)
    moved = folder.rename(folder.with_name("moved"))
    picture(moved / "images" / "img003.png", 333)
    done = index_folder(moved, where, beside=True)
    assert (done.new, done.changed, done.updated) == (0, 1, 29)
    assert Index(where).about.archive == str(moved)
    assert all(str(moved) in file for file in Index(where).rows()["file"])


def test_a_named_archive_that_is_drawn(where):
    catalogue = read_archive("synthetic", n=20)
    index = build(catalogue, network(), where)
    archive = load_archive("synthetic", image_size=16, n=20)
    assert np.array_equal(index.vectors(archive.names), network()(archive.images))
    assert Image.open(io.BytesIO(index.thumbnail(archive.names[0]))).size == (128, 128)
    assert index.about.archive == "synthetic" and (index.rows()["file"] == "").all()
    assert remove(where, missing=True) == []
    assert take(catalogue, network(), where).new == 0


def test_many_bands_have_a_thumbnail_of_their_colours(where):
    catalogue = read_archive("synthetic_sentinel", n=8, bands="s2")
    embedder = Embedder.of_backbone("small", "none", 16, catalogue.channels)
    index = build(catalogue, embedder, where)
    assert index.about.made.bands == catalogue.channels
    with pytest.raises(ValueError, match="is of B1, B2.*search by the name"):
        embedder.file("a.png")
    with pytest.raises(ValueError, match="read as red, green, blue, and the network takes B1"):
        take(read_archive("synthetic", n=20), embedder, where)


# --- Faults ---------------------------------------------------------------------------------------


def test_a_second_builder_is_told_and_nothing_breaks(folder, where):
    where.mkdir()
    with FileLock(where / "writing.lock"):
        told = []
        threads = [
            threading.Thread(target=lambda work=work: told.append(failure(work)))
            for work in (lambda: index_folder(folder, where), lambda: index_folder(folder, where))
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert all(isinstance(t, TimeoutError) and "written by another process" in str(t) for t in told)
    index_folder(folder, where)
    with FileLock(where / "writing.lock"):
        assert isinstance(failure(lambda: remove(where, ["img001"])), TimeoutError)
        assert len(Index(where)) == 30  # who reads need not wait


def failure(work):
    try:
        work()
    except Exception as error:
        return error


def test_a_full_disk_is_said_and_what_was_written_stays(folder, where):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, limits[1]))  # a chunk has some 10 kB
    try:
        error = failure(lambda: index_folder(folder, where))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(error, OSError) and "cannot write to" in str(error)
    assert "the same command goes on" in str(error) and len(Index(where)) == 0
    put, calls = tables.Table.put, []

    def full(self, rows, replacing):
        calls.append(len(rows))
        if len(calls) == 3:
            raise RuntimeError("lance error: LanceError(IO): No space left on device, /a/b.rs:1:1")
        put(self, rows, replacing)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables.Table, "put", full)
        error = failure(lambda: index_folder(folder, where))
        assert isinstance(error, OSError) and "No space left on device" in str(error)
        assert "/a/b.rs" not in str(error)
    assert len(Index(where)) == 16
    assert index_folder(folder, where).new == 14
    index_folder(folder, where.with_name("whole.index"))
    assert content(Index(where)) == content(Index(where.with_name("whole.index")))


@pytest.mark.parametrize("beside", [False, True], ids=["build", "add"])
def test_killed_at_ten_moments_and_repeated_it_is_as_if_undisturbed(tmp_path, beside):
    folder, start = folder_of(tmp_path / "own", names(40)), tmp_path / "start.index"
    start.mkdir()
    if beside:  # there are some, of which five have changed and the table says more of all
        index_folder(folder, start)
        folder_of(folder, names(70), labels=("sea", "pier", "buoy"))
        for i in range(5):
            picture(folder / "images" / f"img{i:03}.png", 500 + i)
    undisturbed = tmp_path / "whole.index"
    shutil.copytree(start, undisturbed)
    begun, _ = making.steps(folder, undisturbed, beside)
    want, generator, kills, sizes = content(Index(undisturbed)), np.random.default_rng(), [], set()
    for trial in range(10):  # at a moment of each tenth
        where = tmp_path / f"{trial}.index"
        shutil.copytree(start, where)
        last = 1 + (len(begun) * trial + generator.integers(len(begun))) // 10
        done, killed = making.steps(folder, where, beside, last, generator.uniform(1e-4, 0.02))
        kills += [done[-1]] if killed else []
        if where.joinpath("images.lance").is_dir():
            sizes.add(len(Index(where)))
        index_folder(folder, where, beside)
        assert content(Index(where)) == want, f"killed at step {last}, after {done[-1]}"
        assert Index(where).about == Index(undisturbed).about
    assert len(kills) >= 5 and len(sizes) >= 3, (kills, sizes, begun)


def test_many_commits_end_as_one_piece_of_which_nothing_old_is_left(folder, where, monkeypatch):
    monkeypatch.setattr(tables, "COMMITS", 3)
    index_folder(folder, where)
    table = Index(where).table
    assert table.stats()["fragment_stats"]["num_fragments"] == 1
    assert len(list((where / "images.lance" / "data").iterdir())) == 1
    assert len(Index(where)) == 30


def test_a_large_table_has_an_index_of_names_and_says_the_same(folder, where, monkeypatch):
    monkeypatch.setattr(tables, "SMALL", 20)
    index_folder(folder, where)
    folder_of(folder, names(45))
    picture(folder / "images" / "img003.png", 303)
    index_folder(folder, where)  # on top of what the index of names has
    remove(where, ["img031"])
    index_folder(folder, where)
    assert ["name"] in [index.columns for index in Index(where).table.list_indices()]
    index_folder(folder, where.with_name("whole.index"))
    assert content(Index(where)) == content(Index(where.with_name("whole.index")))
    z = Index(where).vectors(list(names(45)))
    for i in (3, 31, 44):
        found = Index(where).nearest(z[i], 45, exclude=["img004"])
        assert found["name"][0] == f"img{i:03}" and len(found) == 44


def test_a_reader_sees_what_is_written_beside_it(folder, where):
    index_folder(folder, where)
    index = Index(where)
    z = index.vectors(["img004"])[0]
    folder_of(folder, names(40))
    index_folder(folder, where)  # which removes all that the index was before
    assert len(index) == 40 and index.nearest(z, 40)["name"][0] == "img004"
