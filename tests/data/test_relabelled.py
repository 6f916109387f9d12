"""The same images under other labels."""

from types import SimpleNamespace

import numpy as np
import pytest
from trees import image, load, table

from maclcore.config import EMBEDDED
from maclcore.data import ARCHIVES, ArchiveError, archive_name, load_archive
from maclcore.data.archives import is_named, locate, read_archive
from maclcore.data.readers import READERS
from maclcore.data.relabelled import (
    AMOUNTS,
    COVERS,
    FEWEST,
    RELABELLED,
    amounts,
    covers,
    reader_of,
)
from maclcore.data.synthetic import LABELS
from maclcore.data.synthetic.render import build

NAMES = ("beach00", "beach01", "river07", "tenniscourt00")


def ucm(root, names=NAMES):
    folder = root / "ucm_multilabel"
    for i, name in enumerate(names):
        image(folder / "images" / f"{name}.png", 10 * i)
    table(folder / "labels.csv", ("image", *LABELS), [(name, *([1] * 17)) for name in names])
    return root


@pytest.fixture(scope="module")
def drawn():
    """The 2,100 scenes of `synthetic` without their pixels."""
    areas = np.array([build(0, i)[3] for i in range(2100)])
    return SimpleNamespace(labels=areas > 0, label_names=LABELS, areas=lambda: areas)


def shown(labels, label_names):
    """The set of labels of each image."""
    return [{label_names[j] for j in np.flatnonzero(row)} for row in labels]


def test_a_scene_class_is_the_one_label_of_an_image(tmp_path):
    archive = load("ucm_scenes", root=ucm(tmp_path))
    assert archive.names == NAMES
    assert shown(archive.labels, archive.label_names) == [
        {"beach"}, {"beach"}, {"river"}, {"tenniscourt"},
    ]  # fmt: skip
    of = load("ucm_multilabel", root=tmp_path)
    assert np.array_equal(of.images, archive.images) and of.contents == archive.contents
    assert of.fingerprint != archive.fingerprint
    assert (archive.name, archive.title) == ("ucm_scenes", "UC Merced, scene classes")
    assert locate("ucm_scenes", tmp_path) == tmp_path / "ucm_multilabel"


def test_a_name_without_a_class_or_a_number_is_an_error(tmp_path):
    with pytest.raises(ArchiveError, match="no scene class and a number: 12, pier"):
        load("ucm_scenes", root=ucm(tmp_path, ("beach00", "pier", "12")))


def test_five_labels_say_which_kinds_of_the_seventeen_there_are(drawn):
    assert sorted(",".join(COVERS.values()).split(",")) == list(LABELS), "each in one kind"
    labels, label_names = covers(drawn)
    assert label_names == tuple(COVERS) and labels.shape == (2100, 5)
    for of, kinds in zip(shown(drawn.labels, LABELS), shown(labels, label_names), strict=True):
        assert kinds == {kind for kind, members in COVERS.items() if of & {*members.split(",")}}


def test_sixty_labels_tell_the_seventeen_apart_by_what_they_cover(drawn):
    labels, label_names = amounts(drawn)
    counts = dict(zip(label_names, labels.sum(axis=0).tolist(), strict=True))
    assert len(label_names) == 60 and min(counts.values()) >= FEWEST
    assert max(counts.values()) > 100 * min(counts.values()), "a long tail"
    assert np.array_equal(labels.sum(axis=1), drawn.labels.sum(axis=1))
    words, steps = list(AMOUNTS), list(AMOUNTS.values())
    exact = 0
    for row, area in zip(shown(labels, label_names), drawn.areas(), strict=True):
        for name, cells in zip(LABELS, area, strict=True):
            if not cells:
                assert not any(label.startswith(f"{name}, ") for label in row)
                continue
            amount = words[sum(cells / 128**2 >= step for step in steps) - 1]
            exact += f"{name}, {amount}" in row
            assert (f"{name}, {amount}" in row) == (f"{name}, {amount}" in label_names)
    # few images: the amounts that fewer than FEWEST show
    assert 0 < drawn.labels.sum() - exact < FEWEST * (17 * 5 - 60)


def test_an_amount_of_few_images_is_the_nearest_one():
    areas = np.array([[cells, 0] for cells in (100, 200, 3000, *[5000] * 5, *[16000] * 5)])
    few = SimpleNamespace(labels=areas > 0, label_names=("a", "b"), areas=lambda: areas)
    labels, label_names = amounts(few)
    assert label_names == ("a, much", "a, most"), "b is no image's"
    assert labels.sum(axis=0).tolist() == [8, 5]
    labels, label_names = amounts(SimpleNamespace(
        labels=areas[:3] > 0, label_names=("a", "b"), areas=lambda: areas[:3]
    ))  # fmt: skip
    assert label_names == ("a, trace",) and labels.all()


@pytest.mark.parametrize("name", ["synthetic_5", "synthetic_60"])
def test_an_archive_under_other_labels_is_the_same_each_time(name):
    options = {"image_size": 8, "n": 24, "seed": 1}
    first, again = (load_archive(name, **options) for _ in range(2))
    of = load_archive("synthetic", **options)
    assert np.array_equal(first.images, of.images) and first.names == of.names
    assert np.array_equal(first.labels, again.labels) and first.fingerprint == again.fingerprint
    assert len({first.fingerprint, of.fingerprint}) == 2 and first.labels.any(axis=1).all()
    assert load_archive(name, image_size=8, n=24, seed=2).fingerprint != first.fingerprint
    catalogue = read_archive(name, n=24, seed=1)
    assert (catalogue.name, catalogue.title) == (first.name, first.title)
    assert catalogue.label_names == first.label_names
    assert np.array_equal(catalogue.labels, first.labels)
    assert np.array_equal(catalogue.decode(3, 8), of.images[3])


def test_their_names_are_names_of_archives():
    assert {*RELABELLED} < {*ARCHIVES} and {"synthetic_5", "synthetic_60"} < {*EMBEDDED}
    for name in RELABELLED:
        assert is_named(name) and archive_name(name) == name
    assert reader_of("ucm_scenes") == reader_of("ucm_multilabel") == READERS["ucm_multilabel"]
    assert reader_of("synthetic_5") is reader_of("a folder") is None
