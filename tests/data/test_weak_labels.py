"""Which labels training sees, and what is wrong with a table of them."""

import warnings
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import NAMES, fails, image, load, plain, table

from maclcore import paths
from maclcore.config import Config
from maclcore.data import ArchiveError, ArchiveWarning, Split, load_archive, synthetic
from maclcore.data.archives import split_rows
from maclcore.data.weak import (
    check_single,
    dominant_labels,
    known_labels,
    random_labels,
    table_file,
)
from maclcore.store.identity import identify

SPLIT = Split(np.array([0, 2, 3]), np.array([1]), np.array([4, 5]))


@st.composite
def tables(draw):
    """Labels (N, L) with at least one a row, and a name for each row."""
    n, width = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    cells = st.lists(st.booleans(), min_size=width, max_size=width).filter(any)
    y = np.array(draw(st.lists(cells, min_size=n, max_size=n)))
    names = st.lists(st.text(min_size=1, max_size=5), min_size=n, max_size=n, unique=True)
    return y, draw(names)


# --- At random, and dominant ----------------------------------------------------------------------


@given(tables(), st.integers(0, 9), st.randoms())
@settings(deadline=None)
def test_a_random_label_is_one_of_the_images_and_depends_on_seed_and_name_alone(made, seed, order):
    y, names = made
    observed = random_labels(y, names, seed)
    assert (observed.sum(axis=1) == 1).all() and not (observed & ~y).any()
    rows = list(range(len(y)))
    order.shuffle(rows)
    rows = rows[: max(1, len(rows) // 2)]
    again = random_labels(y[rows], [names[i] for i in rows], seed)
    assert np.array_equal(again, observed[rows])
    for row, labels, name in zip(observed, y, names, strict=True):  # the rule, written once more
        true = [j for j in range(len(labels)) if labels[j]]
        k = np.random.default_rng([seed, crc32(name.encode())]).integers(0, len(true))
        assert row.tolist() == [j == true[k] for j in range(len(labels))]


def test_each_true_label_is_as_likely_and_another_seed_draws_others():
    y = np.tile([1, 0, 1, 1], (3000, 1)).astype(bool)
    names = [f"image{i}" for i in range(3000)]
    shares = [random_labels(y, names, seed).mean(axis=0) for seed in (0, 1)]
    np.testing.assert_allclose(shares, [[1 / 3, 0, 1 / 3, 1 / 3]] * 2, atol=0.03)
    differ = random_labels(y, names, 0) != random_labels(y, names, 1)
    assert 0.6 < differ.any(axis=1).mean() < 0.73  # two draws of three agree in a third


@given(tables(), st.data())
def test_the_dominant_label_is_the_first_of_the_largest_that_an_image_has(made, data):
    y, names = made
    cells = st.lists(st.integers(0, 3), min_size=y.size, max_size=y.size)
    areas = np.array(data.draw(cells)).reshape(y.shape)
    found = dominant_labels(y, names, areas)
    for row, labels, area in zip(found, y, areas, strict=True):
        best = max((a for a, has in zip(area, labels, strict=True) if has))
        first = next(j for j in range(len(area)) if labels[j] and area[j] == best)
        assert row.tolist() == [j == first for j in range(len(area))]


@pytest.mark.parametrize("rule", ["random", "dominant"])
def test_an_image_without_a_label_is_an_error_that_names_it(rule):
    y, names = np.array([[1, 0], [0, 0]], dtype=bool), ["a", "b"]
    with pytest.raises(ArchiveError, match="1 x image without a label(.|\n)*    b"):
        random_labels(y, names, 0) if rule == "random" else dominant_labels(y, names, y * 1)


def test_the_drawn_archives_know_their_areas():
    archive = load_archive("synthetic", image_size=32, n=42, progress=False)
    maps = [synthetic.render.build(0, i)[3] for i in range(42)]
    assert np.array_equal(archive.areas(), maps)
    assert np.array_equal(archive.areas() > 0, archive.labels)
    drawn = load_archive("synthetic_sentinel", image_size=32, n=20, progress=False)
    has = drawn.labels.any(axis=1)
    assert np.array_equal(drawn.areas()[has] >= synthetic.render.MIN_VISIBLE, drawn.labels[has])


def test_masks_tell_areas_and_other_archives_have_none(tmp_path):
    from test_readers import official_dlrsd, workbook

    folder = official_dlrsd(tmp_path)  # image i has 12 - i pixels of label i, and i of label 16
    areas = load("dlrsd", root=tmp_path).areas()
    wanted = np.diag([12, 11, 10, 9, 8, 7]) @ np.eye(6, 17, dtype=int)
    wanted[:, 16] = range(6)
    assert np.array_equal(areas, wanted)
    rows = [(name, *[0] * 15, 1, 1) for name in NAMES]
    workbook(folder / "labels.xlsx", [("image", *synthetic.LABELS), *rows])
    archive = load("dlrsd", root=tmp_path)  # whose labels are the spreadsheet's, areas the masks'
    assert np.array_equal(archive.areas(), wanted)
    known = dominant_labels(archive.labels, list(NAMES), archive.areas())
    assert known[:, 16].tolist() == [False] + [True] * 5  # of no pixels at all the first
    (folder / "Labels" / "river" / "river01.png").unlink()
    with pytest.raises(ArchiveError, match="1 x image without a mask(.|\n)*river01"):
        load("dlrsd", root=tmp_path).areas()
    with pytest.raises(ArchiveError, match="own has no masks.*DLRSD and WHDLD"):
        known_labels(load(plain(tmp_path / "own")), SPLIT, "dominant")


# --- Who sees them --------------------------------------------------------------------------------


def test_training_and_validation_see_weak_labels_and_the_test_part_all(archive):
    for validation in ("weak", "complete"):
        config = Config(
            archive=str(archive), labels="random", validation_labels=validation,
            weights="none", image_size=32,
        )  # fmt: skip
        source = identify(config)
        y, (train, valid, test) = source.archive.labels, source.split
        assert (source.known[train].sum(axis=1) == 1).all() and not (source.known & ~y).any()
        assert np.array_equal(source.known[test], y[test]) and y[test].sum() > len(test)
        assert np.array_equal(source.known[valid], y[valid]) == (validation == "complete")
    complete = identify(config.but(labels="complete", validation_labels="weak"))
    assert complete.known is complete.archive.labels and "labels" not in complete.identity


def test_a_label_that_is_never_the_known_one_is_warned_of_once(tmp_path):
    folder = plain(tmp_path / "own", rows=[(name, 1, 1) for name in NAMES])
    table(tmp_path / "one.csv", ("image", "label"), [(name, "sea") for name in NAMES])
    with pytest.warns(ArchiveWarning, match="1 x label that is no training.*\n    pier") as said:
        known = known_labels(load(folder), SPLIT, str(tmp_path / "one.csv"))
    assert len(said) == 1 and known.tolist() == [[True, False]] * 4 + [[True, True]] * 2


# --- A table --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["list", "plain", "semicolons", "spelled"])
def test_both_forms_of_a_table_in_any_order(tmp_path, form):
    archive = load(plain(tmp_path / "own", rows=[(name, 1, 1) for name in NAMES]))
    wanted = np.eye(2, dtype=bool)[[0, 1, 0, 1, 0, 1]]
    rows = [(name, ("sea", "pier")[i % 2]) for i, name in enumerate(NAMES[:4])]
    header, separator = ("image", "label"), ";" if form == "semicolons" else ","
    if form == "plain":  # columns in another order than the archive's
        header, rows = ("image", "pier", "sea"), [(n, x == "pier", x == "sea") for n, x in rows]
        rows = [(name, int(a), int(b)) for name, a, b in rows]
    if form == "spelled":
        header, rows = ("Image", "Label"), [(f"{n.upper()}.PNG", x.title()) for n, x in rows]
    table(tmp_path / "one.csv", header, rows[::-1], separator)
    known = known_labels(archive, SPLIT, str(tmp_path / "one.csv"))
    assert np.array_equal(known[:4], wanted[:4]) and known[4:].all()


def test_a_plain_table_may_know_several_labels_of_an_image(tmp_path):
    archive = load(plain(tmp_path / "own"))
    table(tmp_path / "more.csv", ("image", "sea", "pier"), [(name, 1, 1) for name in NAMES])
    with pytest.warns(ArchiveWarning, match="2 x known label that the archive does not give"):
        known = known_labels(archive, SPLIT, str(tmp_path / "more.csv"))
    assert known[:4].all() and np.array_equal(known[4:], archive.labels[4:])


FAULTS = {
    "two rows": (["airplane00,pier"], "1 x image in two rows.*\n.*line 6.*line 2.*: pier, sea"),
    "two labels": (["river00,sea,pier"], "river00 .*line 6.*3 cells where the header has 2"),
    "unknown label": (["river00,peer"], "line 6.*unknown label 'peer'; did you mean 'pier'"),
    "unknown image": (["lake00,sea"], r"row of no image of the archive.*\n.*lake00 .*line 6"),
    "no name": ([",sea"], "line 6.*no name"),
}


def one_label(file, more=(), less=()):
    rows = [f"{name},sea" for name in NAMES[:4] if name not in less]
    file.write_text("\n".join(["image,label", *rows, *more]) + "\n")
    return str(file)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_table_is_named_with_file_line_and_value(tmp_path, fault):
    lines, message = FAULTS[fault]
    file = one_label(tmp_path / "one.csv", lines)
    with pytest.raises(ArchiveError, match=message) as error:
        known_labels(load(plain(tmp_path / "own")), SPLIT, file)
    assert "one.csv cannot be used" in str(error.value)


def test_all_faults_of_a_table_are_told_at_once(tmp_path):
    lines = [line for lines, _ in FAULTS.values() for line in lines]
    file = one_label(tmp_path / "one.csv", [*lines, "beach00,"], less=["beach00"])
    with pytest.raises(ArchiveError) as error:
        known_labels(load(plain(tmp_path / "own")), SPLIT, file)
    for word in ("two rows", "3 cells", "'peer'", "lake00", "no name", "  beach00"):
        assert word in str(error.value)


def test_an_image_that_a_table_lacks(tmp_path):
    archive = load(plain(tmp_path / "own"))
    with pytest.raises(ArchiveError, match="trained on: add its row\n    beach00"):
        known_labels(archive, SPLIT, one_label(tmp_path / "a.csv", less=["beach00"]))
    file = one_label(tmp_path / "b.csv", less=["airplane01"])
    with pytest.raises(ArchiveError, match="validated on.*validation_labels.*\n    airplane01"):
        known_labels(archive, SPLIT, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ArchiveWarning)  # pier is known of none
        known = known_labels(archive, SPLIT, file, validation="complete")
    assert np.array_equal(known[1], archive.labels[1])
    table(tmp_path / "c.csv", ("image", "sea", "pier"), [(name, 0, 0) for name in NAMES])
    with pytest.raises(ArchiveError, match="3 x image without a known label"):
        known_labels(archive, SPLIT, str(tmp_path / "c.csv"))
    table(tmp_path / "d.csv", ("image", "sea", "peer"), [(name, 1, 0) for name in NAMES])
    with pytest.raises(ArchiveError, match="unknown column 'peer'"):
        known_labels(archive, SPLIT, str(tmp_path / "d.csv"))


def test_a_table_is_found_in_the_archives_folder_or_where_one_works(tmp_path, monkeypatch):
    folder = plain(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no table of labels .*own/one.csv and .*one.csv"):
        table_file("one.csv", str(folder))
    here = one_label(tmp_path / "one.csv")
    assert table_file("one.csv", str(folder)) == here == table_file("one.csv", "synthetic")
    inside = one_label(folder / "one.csv")
    assert table_file("one.csv", str(folder)) == inside
    assert table_file("./one.csv", str(folder)) == here


def test_a_folder_may_have_a_list_of_one_label_an_image(tmp_path):
    folder = plain(tmp_path / "own")
    one_label(folder / "labels.csv", [f"{name},pier" for name in NAMES[4:]])
    archive = load(folder)
    assert archive.label_names == ("pier", "sea")
    assert archive.labels.tolist() == [[False, True]] * 4 + [[True, False]] * 2
    one_label(folder / "labels.csv", ["river00,", "river01,pier"])
    assert "river00 (labels.csv, line 6): no label" in fails(folder)
    one_label(folder / "labels.csv", ["river00,pier", "river00,sea"])
    with pytest.raises(ArchiveError, match="1 x image in two rows"):
        check_single(folder / "labels.csv")  # as known labels; of an archive they are all it has
    (folder / "images/river01.png").unlink()
    assert load(folder).labels.tolist() == [[False, True]] * 4 + [[True, True]]
    table(folder / "labels.csv", ("image", "label"), [(name, 1) for name in NAMES[:5]])
    assert load(folder).label_names == ("label",)  # 0 and 1 are what they are


# --- The official split ---------------------------------------------------------------------------


def official_names(numbers=range(1, 101)):
    return [f"airport_{i}" for i in numbers] + [f"park_{i + 100}" for i in numbers]


def test_the_official_split_of_ml_aid_is_told_by_names():
    names = official_names()
    labels = np.ones((200, 2), dtype=bool)
    split = split_rows("ml_aid", names, labels, 0, official=True)
    test = {f"airport_{i}" for i in range(81, 101)} | {f"park_{i}" for i in range(181, 201)}
    assert {names[i] for i in split.test} == test
    assert [len(part) for part in split] == [140, 20, 40]
    assert sorted(np.concatenate(split)) == list(range(200))
    again, other = (split_rows("ml_aid", names, labels, s, official=True) for s in (0, 1))
    assert np.array_equal(again.validation, split.validation)
    assert set(other.validation) != set(split.validation) and set(other.test) == set(split.test)
    even = np.tile(np.eye(2, dtype=bool), (100, 1))
    parts = split_rows("ml_aid", names, even, 0, official=True, stratified=True)
    assert even[parts.validation].sum(axis=0).tolist() == [10, 10]
    some = split_rows("ml_aid", official_names(range(71, 91)), labels[:40], 0, official=True)
    assert len(some.test) == 20  # of an incomplete copy the same images


@pytest.mark.parametrize(
    ("archive", "name", "message"),
    [
        ("dlrsd", "airport_81", r"dlrsd has no official split .*\(ml_aid has\)"),
        ("own", "airport_81", "own has no official split .*split='random'"),
        ("ml_aid", "airport81", "names as airport_81, .* not 'airport81'"),
        ("ml_aid", "81", "not '81'"),
    ],
)
def test_without_an_official_split(archive, name, message):
    with pytest.raises(ValueError, match=message):
        split_rows(archive, [name] * 9, np.ones((9, 1)), 0, official=True)


def test_a_configuration_may_ask_for_the_official_split(tmp_path, monkeypatch):
    folder = tmp_path / "ml_aid"
    names = official_names(range(71, 91))
    for name in names:
        image(folder / "images" / f"{name}.png")
    rows = [(name, *np.ones(17, dtype=int)) for name in names]
    table(folder / "labels.csv", ("image", *synthetic.LABELS), rows)
    monkeypatch.setenv("MACL_DATA", str(tmp_path))
    config = Config(archive="ml_aid", split="official", weights="none", image_size=32)
    source = identify(config)
    assert {int(source.archive.names[i].split("_")[1]) % 100 for i in source.split.test} == {
        *range(81, 91)
    }
    assert source.identity["split"] != identify(config.but(split="random")).identity["split"]


def test_the_official_split_of_the_real_archive():
    folder = paths.data_root() / "ml_aid"
    if not (folder / "splits").is_dir():
        pytest.skip(f"the published lists are not in {folder}")
    lists = {
        part: set(pd.read_csv(folder / "splits" / f"{part}.csv", sep="\t").iloc[:, 0])
        for part in ("train", "val", "test")
    }
    table = pd.read_csv(folder / "labels.csv", index_col=0)
    split = split_rows("ml_aid", list(table.index), table.to_numpy(bool), 0, official=True)
    assert [len(part) for part in split] == [2100, 300, 600]
    assert set(table.index[split.test]) == lists["test"]
    rest = set(table.index[split.train]) | set(table.index[split.validation])
    assert rest == lists["train"] | lists["val"]
