"""The embedded archive: pure in (seed, index), true labels, Table 3's frequencies."""

import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maclcore.data.synthetic import LABELS, SCENES, example, generate, render, scene_names
from maclcore.data.synthetic.drawing import MATERIALS
from maclcore.data.synthetic.scenes import FREQUENCIES

# DLRSD's row of Table 3 of the paper, of 2,100 images, in the order of LABELS.
TABLE_3 = (100, 754, 713, 897, 116, 105, 100, 103, 977, 102, 1331, 291, 101, 103, 100, 1021, 208)


@pytest.fixture(scope="module")
def archive():
    return generate(2100, image_size=32)


def column(labels, name):
    return labels[:, LABELS.index(name)]


def test_shapes_and_names(archive):
    images, labels = archive
    assert images.shape == (2100, 3, 32, 32) and images.dtype == np.uint8
    assert labels.shape == (2100, 17) and labels.dtype == bool
    assert list(LABELS) == sorted(LABELS) and len(set(LABELS)) == 17
    assert images.std(axis=(1, 2, 3)).min() > 3, "no image is blank"
    assert len({image.tobytes() for image in images}) == 2100, "no two images are equal"


# ------------------------------------------------------------------------------- purity


def test_an_image_depends_on_seed_and_index_alone(archive):
    few = generate(10, image_size=32)
    threaded = generate(23, image_size=32, workers=4)
    for some in (few, threaded):
        for part, whole in zip(some, archive, strict=True):
            np.testing.assert_array_equal(part, whole[: len(part)])
    for index in (2099, 1000, 7):  # any order
        image, labels = example(index, 32)
        np.testing.assert_array_equal(image, archive[0][index])
        np.testing.assert_array_equal(labels, archive[1][index])
    other = generate(10, image_size=32, seed=1)[0]
    assert (other != few[0]).any(axis=(1, 2, 3)).all()


def test_the_same_bits_in_another_process(archive):
    code = "import zlib; from maclcore.data.synthetic import generate as g; x, y = g(42, 32)\n"
    code += "print(zlib.crc32(x.tobytes()), zlib.crc32(y.tobytes()))"
    expected = f"{zlib.crc32(archive[0][:42].tobytes())} {zlib.crc32(archive[1][:42].tobytes())}"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == expected


@settings(max_examples=15, deadline=None)
@given(index=st.integers(0, 10**6), size=st.integers(8, 150), seed=st.integers(0, 2**32))
def test_labels_do_not_depend_on_the_size(index, size, seed):
    image, labels = example(index, size, seed)
    assert image.shape == (3, size, size)
    np.testing.assert_array_equal(labels, example(index, 16, seed)[1])
    assert labels.any()


def test_the_same_scene_at_another_size():
    large, small = generate(21, 128)[0], generate(21, 32)[0].astype(float)
    reduced = large.reshape(21, 3, 32, 4, 32, 4).mean(axis=(3, 5))
    distance = abs(reduced[:, None] - small).mean(axis=(2, 3, 4))
    assert (distance.argmin(axis=1) == np.arange(21)).all()
    # Sensor noise, and outlines half a cell wide, which weigh more where there are many of them.
    assert np.median(distance.diagonal()) < 5 and distance.diagonal().max() < 13


# ---------------------------------------------------------------------------- statistics


def test_label_frequencies_are_those_of_table_3(archive):
    points = 100 * archive[1].mean(axis=0) - np.array(TABLE_3) / 21
    assert abs(points).max() < 3, dict(zip(LABELS, points.round(1), strict=True))


def test_cardinality_and_label_sets_are_plausible(archive):
    labels = archive[1]
    assert labels.any(axis=1).all()
    assert 3.2 < labels.sum(axis=1).mean() < 3.6
    assert 100 < len(np.unique(labels, axis=0)) < 400


@pytest.mark.parametrize(
    ("label", "implied"),
    [("ship", "dock"), ("ship", "water"), ("airplane", "pavement"), ("sea", "sand")],
)
def test_cooccurrence_is_plausible(archive, label, implied):
    carriers = column(archive[1], label)
    assert column(archive[1], implied)[carriers].mean() > 0.97


def test_scene_names(archive):
    names = np.array(scene_names(2100))
    assert set(names) == set(SCENES) and (np.unique(names, return_counts=True)[1] == 100).all()
    assert column(archive[1], "tree")[names == "forest"].all()
    assert column(archive[1], "airplane")[names == "airport"].mean() > 0.97
    assert not column(archive[1], "ship")[names != "harbour"].any()
    assert scene_names(10) == list(names[:10])


def test_the_table_of_scenes_speaks_of_labels():
    words = FREQUENCIES
    named = {
        name for kind in SCENES.values() for w in words for name in getattr(kind, w).split(",")
    }
    assert named - {""} == set(LABELS)
    materials = {m.label or name for name, m in MATERIALS.items()}
    assert materials - {"shadow"} == set(LABELS)


# -------------------------------------------------------------------------- true labels


def inside(polygon, points):
    """Even-odd rule, one edge after another: the slow way to fill a polygon."""
    odd = np.zeros(points.shape, dtype=bool)
    for a, b in zip(polygon, np.roll(polygon, -1), strict=True):
        crosses = (a.imag > points.imag) != (b.imag > points.imag)
        rise = b.imag - a.imag if b.imag != a.imag else 1.0
        odd ^= crosses & (points.real < a.real + (points.imag - a.imag) * (b.real - a.real) / rise)
    return odd


@pytest.mark.parametrize("name", SCENES)
def test_labels_are_what_the_slow_painter_leaves_visible(name):
    """Each part over the ones below, cell by cell; then the labels of what is left."""
    _, parts, fast, area = render.build(3, list(SCENES).index(name))
    axis = (np.arange(render.REFERENCE) + 0.5) / render.REFERENCE
    points = axis + 1j * axis[:, None]
    slow = np.full(points.shape, len(LABELS))
    for polygon, material, *_ in parts:
        slow[inside(polygon, points)] = render.LABEL_OF[material]
    fast = np.array([len(LABELS)] + [render.LABEL_OF[part[1]] for part in parts])[fast]
    # The fast painter draws outlines too: within a cell of a border the two may differ.
    windows = np.lib.stride_tricks.sliding_window_view(slow, (3, 3))
    within = windows.min(axis=(2, 3)) == windows.max(axis=(2, 3))
    assert (fast[1:-1, 1:-1] == slow[1:-1, 1:-1])[within].mean() > 0.99
    cells = np.bincount(slow.ravel(), minlength=len(LABELS) + 1)[:-1]
    assert ((area > 0) == (cells >= render.MIN_VISIBLE / 2)).all()


@pytest.mark.parametrize("name", SCENES)
def test_a_label_is_set_if_and_only_if_it_changes_the_picture(name):
    """Erase a label's parts and paint again, with the same noise: its pixels must be others."""
    for index in range(list(SCENES).index(name), 63, len(SCENES)):
        parts = render.build(0, index)[1]
        image, labels = example(index, 64)
        drawn = {render.LABEL_OF[material] for _, material, *_ in parts}
        for label in range(len(LABELS)):
            rest = [part for part in parts if render.LABEL_OF[part[1]] != label]
            cells = render.part_map(rest, render.REFERENCE)
            erased = render.paint(render.build(0, index)[0], rest, cells, 64)
            change = abs(image.astype(int) - erased).max(axis=0) if label in drawn else np.zeros(1)
            assert ((change > 8).sum() >= 5) == labels[label], (index, LABELS[label])


def test_remnants_are_not_drawn(monkeypatch):
    """With a threshold high enough to be met often: below it, no part of a label stays."""
    before = [render.build(0, index)[3] for index in range(63)]
    monkeypatch.setattr(render, "MIN_VISIBLE", 250)
    removed = 0
    for index in range(63):
        _, parts, _, area = render.build(0, index)
        drawn = {render.LABEL_OF[material] for _, material, *_ in parts} - {len(LABELS)}
        assert drawn >= set(np.flatnonzero(area)) and ((area == 0) | (area >= 250)).all()
        faint = (before[index] > 0) & (area == 0)
        assert not drawn & set(np.flatnonzero(faint))
        removed += faint.sum()
    assert removed > 10


# ---------------------------------------------------------------------- an instrument


def test_images_tell_something_about_labels_but_not_all(archive):
    """Nearest neighbours by crude colour statistics: better than chance, far from perfect."""
    images, labels = archive[0][:630].astype(float), archive[1][:630]
    edges = abs(np.diff(images, axis=3)).mean(axis=(2, 3))
    features = np.concatenate([images.mean(axis=(2, 3)), images.std(axis=(2, 3)), edges], axis=1)
    features /= features.std(axis=0)
    distance = ((features[:, None] - features) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    shared = labels.astype(int) @ labels.T
    jaccard = shared / (labels.sum(axis=1)[:, None] + labels.sum(axis=1) - shared)
    nearest = jaccard[np.arange(630), distance.argmin(axis=1)].mean()
    chance = jaccard[~np.eye(630, dtype=bool)].mean()
    assert chance + 0.05 < nearest < 0.7


@pytest.mark.parametrize(
    "bad", [{"n": 0}, {"n": -3}, {"image_size": 4}, {"seed": -1}], ids=lambda bad: str(bad)
)
def test_bad_arguments_are_named(bad):
    (name, value), *_ = bad.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        generate(**bad)


def test_a_seed_and_an_index_do_not_stand_for_one_another():
    """(21, 0) is not (0, 21), though both are of the same type of scene."""
    (first, _), (second, _) = example(0, 16, seed=21), example(21, 16, seed=0)
    assert not np.array_equal(first, second)
