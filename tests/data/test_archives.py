"""Archives by name and path, their content and their cache."""

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from trees import NAMES, fails, image, load, plain, table

from maclcore import paths
from maclcore.data import (
    ArchiveError,
    ArchiveWarning,
    at_hand,
    cache,
    describe,
    load_archive,
    synthetic,
)
from maclcore.data.readers import READERS


def test_the_fingerprint_is_the_content(tmp_path):
    def fingerprint():
        return load(tmp_path / "mine").fingerprint

    plain(tmp_path / "mine")
    first = fingerprint()
    os.utime(tmp_path / "mine/images/river00.png")
    assert fingerprint() == first
    seen = {first}
    table(tmp_path / "mine/labels.csv", ("image", "sea", "pier"), [(n, 1, 1) for n in NAMES])
    seen.add(fingerprint())
    table(tmp_path / "mine/labels.csv", ("image", "sea", "quay"), [(n, 1, 1) for n in NAMES])
    seen.add(fingerprint())
    image(tmp_path / "mine/images/river00.png", 77)
    seen.add(fingerprint())
    assert load(tmp_path / "mine").images[4, 0, 0, 0] == 77
    (tmp_path / "mine/images/river00.png").rename(tmp_path / "mine/images/river02.png")
    table(
        tmp_path / "mine/labels.csv",
        ("image", "sea", "quay"),
        [(n.replace("river00", "river02"), 1, 1) for n in NAMES],
    )
    seen.add(fingerprint())
    assert len(seen) == 5
    assert load_archive(tmp_path / "mine", image_size=5).fingerprint not in seen


def test_the_second_load_decodes_nothing(tmp_path, monkeypatch):
    first = load(plain(tmp_path))
    monkeypatch.setattr(cache, "decode", lambda *_: pytest.fail("decoded again"))
    assert np.array_equal(load(tmp_path).images, first.images)


def test_synthetic_is_cached_by_its_parameters(monkeypatch):
    archive = load_archive("synthetic", image_size=8, n=5, seed=1)
    images, labels = synthetic.generate(5, 8, 1)
    assert np.array_equal(archive.images, images) and np.array_equal(archive.labels, labels)
    assert archive.label_names == synthetic.LABELS and len(archive.names) == len(archive) == 5
    other = load_archive("synthetic", image_size=8, n=5, seed=2)
    assert other.fingerprint != archive.fingerprint
    calls = []
    monkeypatch.setattr(synthetic, "generate", lambda *a: calls.append(a) or (images, labels))
    again = load_archive("synthetic", image_size=8, n=5, seed=1)
    assert not calls and again.fingerprint == archive.fingerprint
    for file in paths.cache_root().glob("*.labels.npy"):
        file.unlink()
    assert (
        np.array_equal(load_archive("synthetic", image_size=8, n=5, seed=1).labels, labels)
        and len(calls) == 1
    )


def test_the_synthetic_archive_is_another_when_any_of_its_code_is(tmp_path, monkeypatch):
    code = Path(synthetic.__file__).parent
    names = sorted(file.name for file in code.glob("*.py"))
    assert len(names) > 1
    seen = {load_archive("synthetic", image_size=8, n=2).fingerprint}
    monkeypatch.setattr(synthetic, "__file__", str(tmp_path / "code" / "__init__.py"))
    shutil.copytree(code, tmp_path / "code")
    assert load_archive("synthetic", image_size=8, n=2).fingerprint in seen  # wherever it lies
    for name in names:
        with open(tmp_path / "code" / name, "a") as file:
            file.write("# and more\n")
        seen.add(load_archive("synthetic", image_size=8, n=2).fingerprint)
    assert len(seen) == 1 + len(names)


def test_an_archive_describes_itself(tmp_path):
    rows = [(n, 1, i % 2) for i, n in enumerate(NAMES)]
    text = describe(
        load(plain(tmp_path / "mine", ("image", "sea", "x\x1b[31m"), rows)), stratified=True
    )
    assert text.startswith(
        "mine: 6 images at 4 px, 2 labels, 1.50 per image\nsplit 0, stratified: 4"
    )
    assert "\x1b" not in text and "x\\x1b[31m" in text
    (sea,) = (line.split() for line in text.splitlines() if line.startswith("sea"))
    assert sea == ["sea", "6", "100.0%", "4", "1", "1"]


def test_a_label_without_a_training_image_is_one_warning(tmp_path):
    names = [f"{i:02d}" for i in range(30)]
    for i, name in enumerate(names):
        image(tmp_path / "images" / f"{name}.png", i)
    rows = [(n, 1, int(i == 0), int(i == 1)) for i, n in enumerate(names)]
    table(tmp_path / "labels.csv", ("image", "common", "rare", "rarer"), rows)
    archive = load(tmp_path)
    missing = 0
    for seed in range(10):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train = archive.split(seed).train
        absent = [n for n, i in (("rare", 0), ("rarer", 1)) if i not in train]
        assert len(caught) == bool(absent)
        if absent:
            missing += 1
            message = str(caught[0].message)
            assert caught[0].category is ArchiveWarning and caught[0].filename == __file__
            assert f"split {seed}:\n- {len(absent)} x label without a training image" in message
            assert message.splitlines()[2:] == [f"    {name}" for name in absent]
            assert "stratified=True" in message
    assert missing


def test_empty_and_wrong_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    message = fails(tmp_path / "empty")
    assert message.count(str(tmp_path / "empty")) == 3  # images, labels.csv, what is expected
    assert "2 x path not found: is this the right folder, and completely unpacked?" in message
    assert message.endswith("images/<name>.<ext> and labels.csv")
    table(tmp_path / "hollow/labels.csv", ("image", "a"), [("x", 1)])
    (tmp_path / "hollow/images").mkdir()
    assert "1 x folder without an image: is it unpacked?" in fails(tmp_path / "hollow")


@pytest.mark.parametrize("name", READERS)
def test_an_archive_that_is_absent_or_empty_says_what_is_expected(tmp_path, name):
    tree = READERS[name].tree
    message = fails(name, root=tmp_path)
    assert f"no folder {tmp_path / name}: unpack" in message
    assert tree in message and "MACL_DATA or --data" in message
    (tmp_path / name).mkdir()
    message = fails(name, root=tmp_path)
    assert "path not found" in message and tree in message.splitlines()[-1]


@pytest.mark.parametrize("name, near", [("dlsrd", "'dlrsd'"), ("ml-aid", "'ml_aid'"), ("", None)])
def test_an_unknown_name_gets_the_nearest_one(tmp_path, name, near):
    message = fails(name, root=tmp_path)
    assert (
        f"no archive {name!r}" in message and "synthetic_sentinel, dlrsd, ucm_multilabel" in message
    )
    assert near is None or f"did you mean {near}?" in message


def test_unknown_options_and_sizes(tmp_path):
    with pytest.raises(TypeError, match="'synthetic' has no option min_pixels; it has n, seed"):
        load("synthetic", min_pixels=3)
    with pytest.raises(TypeError, match="has no option seed; it has unlabelled, missing, table"):
        load(plain(tmp_path), seed=3)
    with pytest.raises(ValueError, match="image_size is 0"):
        load_archive(tmp_path, image_size=0)


def test_at_hand_is_the_first_archive_with_images(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_DATA", str(tmp_path))
    table(tmp_path / "told" / "labels.csv", ("image", "sea"), [(name, 1) for name in NAMES])
    assert at_hand("told", "ml_aid", "synthetic", "mine") == "synthetic"
    plain(tmp_path / "mine")
    assert at_hand("told", "mine", "synthetic") == "mine"
    with pytest.raises(ArchiveError, match=r"(?s)none .* at hand:\ntold: .*\nml_aid: no folder"):
        at_hand("told", "ml_aid")
