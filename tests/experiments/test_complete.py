"""Labels of a folder of one's own completed: what is written, and what is left alone."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from maclcore import load_archive, paths
from maclcore.__main__ import main
from maclcore.data import ArchiveError
from maclcore.experiments.complete import PROVENANCE, SURE, TABLE, complete

QUICK = {"image_size": 32, "weights": "none", "progress": False}
SHORT = {"epochs": 3, "frozen_views": 1, "trigger": 1}


@pytest.fixture
def folder(archive, tmp_path):
    """Sixty images, of fifty of which one label is known, and their complete labels (60, 3)."""
    shutil.copytree(archive / "images", tmp_path / "own" / "images")
    y = pd.read_csv(archive / "labels.csv", index_col="image")
    one = [(name, row[row == 1].index[i % row.sum()]) for i, (name, row) in enumerate(y.iterrows())]
    table = pd.DataFrame(one[:50], columns=["image", "label"])
    table.to_csv(tmp_path / "own" / "labels.csv", index=False)
    return tmp_path / "own"


def files(folder):
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()}


@pytest.mark.usefixtures("tiny")
def test_what_is_written_beside_the_labels(folder):
    before = files(folder)
    found = complete(folder, params=SHORT, **QUICK)
    after = files(folder)
    assert set(after) == {*before, TABLE, SURE, PROVENANCE}
    assert {name: after[name] for name in before} == before
    labels, p = (pd.read_csv(folder / name, index_col="image") for name in (TABLE, SURE))
    assert list(labels) == list(p) == ["blue", "green", "red"] and len(labels) == len(p) == 60
    known = pd.read_csv(folder / "labels.csv", index_col="image")["label"]
    assert all(labels.loc[name, label] == 1 for name, label in known.items())
    new = labels.to_numpy(bool).copy()
    for name, label in known.items():
        new[list(labels.index).index(name), list(labels).index(label)] = False
    only = labels.sum(axis=1) == 1
    assert ((p.to_numpy() > 0.5) | ~new)[~only].all()  # what is new is above one half
    assert (labels.sum(axis=1) >= 1).all()
    said = json.loads(after[PROVENANCE])
    assert said == found.provenance and said["configuration"]["completion"] == "gc"
    counts = said["counts"]
    assert counts["images"] == 60 and counts["images without a known label"] == 10
    assert counts["trained on"] == 45 and counts["held out"] == 5
    assert counts["labels per image"] == pytest.approx(labels.sum(axis=1).mean(), abs=1e-3)
    assert np.array_equal(found.labels, labels.to_numpy(bool))


@pytest.mark.usefixtures("tiny")
def test_it_is_deterministic_and_replaces_what_it_wrote_itself(folder):
    complete(folder, params=SHORT, **QUICK)
    first = files(folder)
    shutil.rmtree(paths.cache_root())
    complete(folder, params=SHORT, **QUICK)
    assert all(files(folder)[name] == first[name] for name in (TABLE, SURE))
    complete(folder, params=SHORT, seed=1, **QUICK)
    assert files(folder)[SURE] != first[SURE]
    assert json.loads(files(folder)[PROVENANCE])["configuration"]["seed"] == 1


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", [TABLE, SURE, PROVENANCE])
@pytest.mark.parametrize("written", [False, True])
def test_a_file_of_ones_own_is_never_replaced(folder, name, written):
    if written:
        complete(folder, params=SHORT, **QUICK)
    if written and name == PROVENANCE:
        pytest.skip("what says that a file was written here cannot say that it was changed")
    (folder / name).write_text("my own work\n")
    before = files(folder)
    with pytest.raises(FileExistsError, match=f"{name} is there and not as it was written"):
        complete(folder, params=SHORT, seed=1, **QUICK)
    assert files(folder) == before


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("earlier", [False, True])
def test_a_full_disk_leaves_nothing_half_written(folder, monkeypatch, step, earlier):
    if earlier:
        complete(folder, params=SHORT, **QUICK)
    before = files(folder)
    write, calls = type(folder).write_bytes, []

    def full(file, content):
        if file.parent == folder:
            calls.append(file)
            if len(calls) == step + 1:
                write(file, content[: len(content) // 2])
                raise OSError(28, "No space left on device")
        return write(file, content)

    monkeypatch.setattr(type(folder), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        complete(folder, params=SHORT, seed=1, **QUICK)
    assert files(folder) == before and len(calls) == step + 1
    monkeypatch.undo()


@pytest.mark.usefixtures("tiny")
def test_images_may_lie_in_the_folder_itself_and_the_table_elsewhere(folder, tmp_path):
    for file in (folder / "images").iterdir():
        file.rename(folder / file.name)
    (folder / "images").rmdir()
    (folder / "labels.csv").rename(tmp_path / "one.csv")
    found = complete(folder, labels=tmp_path / "one.csv", params=SHORT, **QUICK)
    assert found.labels.shape == (60, 3) and found.table == folder / TABLE


@pytest.mark.usefixtures("tiny")
def test_several_known_labels_of_an_image_stay(folder, archive):
    shutil.copy(archive / "labels.csv", folder / "labels.csv")
    found = complete(folder, params=SHORT, **QUICK)
    y = load_archive(folder, image_size=32, progress=False).labels
    assert not (y & ~found.labels).any() and y.sum() > len(y)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("table", "words", "error", "message"),
    [
        (None, {}, FileNotFoundError, "no table of known labels .*image,label"),
        ("image,label\nimg01,red\n", {}, ArchiveError, "gives 1 images .* takes 10 at least"),
        ("image,label\nimg01,red\nimg01,blue\n", {}, ArchiveError, "image in two rows"),
        ("image,label\nlake,red\n", {}, ArchiveError, "row without an image"),
        ("", {"method": "gcc"}, ValueError, "not 'gcc'; did you mean 'gc'"),
        ("", {"method": "full"}, ValueError, "completion is a loss for weak labels, not 'full'"),
        ("", {"method": "epr", "params": {}}, ValueError, "epr must know .*--labels-per-image"),
        ("", {"params": {"triger": 1}}, TypeError, "no setting 'triger'; did you mean 'trigger'"),
    ],
)
def test_what_cannot_be_completed_is_told(folder, table, words, error, message):
    if table is None:
        (folder / "labels.csv").unlink()
    elif table:
        (folder / "labels.csv").write_text(table)
    before = files(folder)
    with pytest.raises(error, match=message):
        complete(folder, **{"params": SHORT, **words}, **QUICK)
    assert files(folder) == before


@pytest.mark.filterwarnings("ignore::maclcore.data.ArchiveWarning")
@pytest.mark.usefixtures("tiny")
def test_the_command_and_the_one_that_it_names(folder, capsys):
    short = [word for pair in SHORT.items() for word in map(str, pair)]
    network = ["--image-size", "32", "--weights", "none"]
    assert main(["complete", str(folder), "--quiet", *network, "--params", *short]) == 0
    said = capsys.readouterr().out
    assert "were expected" not in said
    assert "images without a known label: 10" in said and f"written: {TABLE}, {SURE}" in said
    line = next(line for line in said.splitlines() if line.startswith("next: "))
    words = line.split("maclcore ")[1].split()
    assert words == ["train", "--archive", str(folder), "--labels", TABLE]
    more = ["--profile", "smoke", "--epochs", "1", "--weights", "none", "--quiet"]
    os.chdir("/")  # a table is found beside the labels wherever one works
    assert main([*words, *more]) == 0
    assert "smoke-own-32px-macl-s0" in capsys.readouterr().out


@pytest.mark.usefixtures("tiny")
def test_the_command_says_how_to_have_as_many_labels_as_are_expected(folder, capsys):
    short = [word for pair in SHORT.items() for word in map(str, pair)]
    words = ["complete", str(folder), "--quiet", "--image-size", "32", "--weights", "none"]
    words += ["--labels-per-image", "2.5", "--params", *short]
    assert main([*words, "weight", "1"]) == 0  # which adds next to nothing
    assert "2.5 labels per image were expected: --params choose number" in capsys.readouterr().out
    assert main([*words, "choose", "number"]) == 0
    assert "were expected" not in capsys.readouterr().out
    labels = pd.read_csv(folder / TABLE, index_col="image")
    assert 2.5 <= labels.sum(axis=1).mean() < 2.8  # and what was known is among them
