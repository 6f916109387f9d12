"""A number belongs to its data: whatever happens to files, a result is of the content at hand."""

import csv
import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image
from safetensors.torch import load_file, save_file

from maclcore import paths, store
from maclcore.__main__ import main
from maclcore.config import Config
from maclcore.data import ArchiveError, archives, load_archive
from maclcore.data.cache import content_hashes
from maclcore.evaluation.embedding import embed
from maclcore.experiments.recompute import agreement, recompute, weights_difference
from maclcore.experiments.sweep import identities, lacking, stored, sweep
from maclcore.models.network import RetrievalNet
from maclcore.store import Run, collect, identity, packed
from maclcore.store.pack import pack, unpack
from maclcore.training import load_model, train
from maclcore.training.loop import Loop


def draw(folder, n=24, seed=0, labels=("a", "b", "c")):
    """An archive of random images, whose labels are stripes in them."""
    generator = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    y = generator.random((n, len(labels))) < 0.4
    y[~y.any(axis=1), 0] = True
    for i, row in enumerate(y):
        pixels = generator.integers(0, 60, (16, 16, 3)).astype(np.uint8)
        for label in np.flatnonzero(row):
            pixels[4 * label : 4 * label + 4, :, label % 3] += 160
        Image.fromarray(pixels).save(folder / "images" / f"im{i:03}.png")
    write(folder, [["image", *labels], *([f"im{i:03}", *map(int, row)] for i, row in enumerate(y))])
    return folder


def table(folder):
    with open(folder / "labels.csv", newline="") as file:
        return list(csv.reader(file))


def write(folder, rows):
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


def small(folder, **changes):
    values = {"epochs": 2, "batch_size": 8, "embedding_dim": 4, "image_size": 16, **changes}
    return Config.from_profile("smoke", archive=str(folder), loss="mulsupcon").but(**values)


@pytest.fixture
def folder(tmp_path, tiny):
    return draw(tmp_path / "city")


def silent(config):
    return train(config, progress=False)


# --- A run of other content is another run --------------------------------------------------------


def flip_label(folder):
    rows = table(folder)
    rows[5][1:] = ["1", "1", "1"] if rows[5][1:] != ["1", "1", "1"] else ["1", "0", "0"]
    write(folder, rows)


def change_image(folder):
    Image.new("RGB", (16, 16), (9, 8, 7)).save(folder / "images" / "im003.png")


def add_image(folder):
    Image.new("RGB", (16, 16), (1, 2, 3)).save(folder / "images" / "im900.png")
    write(folder, [*table(folder), ["im900", "1", "0", "1"]])


def remove_image(folder):
    write(folder, [row for row in table(folder) if row[0] != "im004"])
    (folder / "images" / "im004.png").unlink()


def rename_image(folder):
    (folder / "images" / "im002.png").rename(folder / "images" / "im999.png")
    write(folder, [["im999", *row[1:]] if row[0] == "im002" else row for row in table(folder)])


def rename_label(folder):
    header, *rows = table(folder)
    write(folder, [["image", "x", *header[2:]], *rows])


def reorder_labels(folder):
    write(folder, [[name, *reversed(cells)] for name, *cells in table(folder)])


CHANGES = {
    flip_label: "labels? changed",
    change_image: "1 image changed",
    add_image: "1 image more, another split",
    remove_image: "1 image fewer, another split",
    rename_image: "1 image more, 1 image fewer, another split",
    rename_label: "other labels",
    reorder_labels: "labels in another order",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_other_content_is_another_run_and_what_differs_is_said(folder, change, capsys):
    first = silent(small(folder))
    before = {f.name: f.read_bytes() for f in first.folder.iterdir()}
    change(folder)
    second = silent(small(folder))
    said = capsys.readouterr().err
    assert f"{first.run_id} is stored, but from other content: " in said
    assert pd.Series([said]).str.contains(CHANGES[change]).all(), said
    assert second.computed and second.run_id.startswith(f"{first.run_id}@")
    assert {f.name: f.read_bytes() for f in first.folder.iterdir()} == before
    assert second.identity != first.identity == Run.find(first.run_id).identity
    rows = collect()
    assert list(rows.index) == [first.run_id, second.run_id]
    assert rows["archive: fingerprint"].nunique() == 2
    again = silent(small(folder))
    assert again == second and not again.computed


def test_the_same_content_is_the_same_run_wherever_it_lies_and_however_it_is_typed(
    folder, tmp_path, monkeypatch
):
    first = silent(small(folder))
    monkeypatch.chdir(tmp_path)
    for typed in (
        "city",
        "./city",
        "city/",
        str(folder),
        f"{folder}/",
        "../" + tmp_path.name + "/city",
    ):
        config = small(typed)
        assert config.run_id == first.run_id
        run = silent(config)
        assert run == first and not run.computed, typed
    monkeypatch.setenv("MACL_DATA", str(tmp_path))
    monkeypatch.chdir("/")
    assert silent(small("city")) == first
    shutil.copytree(folder, tmp_path / "elsewhere" / "city")
    assert silent(small(tmp_path / "elsewhere" / "city")) == first
    other = silent(small(draw(tmp_path / "project" / "city", seed=99)))
    assert other.computed and other != first and other.metrics != first.metrics


def test_a_run_of_a_relative_path_is_found_from_another_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = silent(small("city"))
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert run.config.archive == str(folder)
    assert main(["evaluate", run.run_id]) == 0


def test_the_named_data_folder_wins_over_the_working_folder(tmp_path, monkeypatch, capsys):
    root, here = draw(tmp_path / "root" / "city"), draw(tmp_path / "here" / "city", n=30, seed=5)
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(here.parent)
    assert main(["data", "city", "--data", "../root"]) == 0
    assert "city: 24 images" in capsys.readouterr().out
    assert main(["data", "./city", "--data", "../root"]) == 0
    assert "city: 30 images" in capsys.readouterr().out
    assert len(load_archive("city", image_size=8)) == 30  # none of that name in the data folder
    monkeypatch.setenv("MACL_DATA", str(root.parent))
    assert len(load_archive("city", image_size=8)) == 24


def test_an_archive_that_is_not_at_hand_is_an_error_and_a_stored_run_can_be_looked_at(
    folder, capsys
):
    run = silent(small(folder))
    shutil.rmtree(folder)
    with pytest.raises(ArchiveError) as error:
        silent(small(folder))
    for words in ("no archive", "stored on", f"archive {run.identity['archive']}", run.run_id):
        assert words in str(error.value)
    assert stored([small(folder)])["mAP@0.4"].item() == run.metrics["mAP@0.4"]
    assert list(store.runs().index) == [run.run_id] and len(collect()) == 1


def test_a_stored_run_is_said_to_be_stored(folder, capsys):
    words = ["--archive", str(folder), "--epochs", "1", "--batch-size", "8", "--quiet"]
    assert main(["train", *words]) == 0
    first, err = capsys.readouterr()
    assert "not computed now" not in err
    run = Run.find(first.split()[-1])
    day = run.result["time"][:10]
    for loud in (words, words[:-1]):
        assert main(["train", *loud]) == 0
        again, err = capsys.readouterr()
        assert again == first
        assert err.count(f"stored on {day}, archive {run.identity['archive']}; not computed") == 1


def test_initial_weights_belong_to_a_run_by_content_and_not_by_name(folder, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("MACL_DATA", str(tmp_path))
    file = tmp_path / "weights" / "mine.safetensors"
    save_file({"a": torch.zeros(3)}, file)
    first = silent(small(folder, weights="mine"))
    for typed in (str(file), str(file.with_suffix("")), "mine.safetensors"):
        assert silent(small(folder, weights=typed)) == first
    save_file({"a": torch.ones(3)}, file)
    second = silent(small(folder, weights="mine"))
    assert second.computed and second != first
    source = identity.identify(small(folder, weights="mine"))
    assert identity.differences(first, source) == [
        f"other weights ({first.identity['weights']}, here {second.identity['weights']})"
    ]
    # what trains nothing starts from nothing
    chance = silent(small(folder, weights="mine", loss="chance"))
    save_file({"a": torch.zeros(3) + 2}, file)
    assert silent(small(folder, weights="mine", loss="chance")) == chance


def test_another_split_is_another_run(folder, monkeypatch, capsys):
    first, make = silent(small(folder)), archives.make_split
    for other in (
        lambda y, seed, **how: make(y, seed)._replace(train=make(y, seed).train[::-1].copy()),
        lambda y, seed, **how: make(y, seed)._replace(test=make(y, seed).train[:5]),
    ):
        monkeypatch.setattr(archives, "make_split", other)
        run = silent(small(folder))
        assert run.computed and run != first
        assert "from other content: another split. This is" in capsys.readouterr().err


# --- Killed, and resumed over something else ------------------------------------------------------


def killed_after(config, epochs, monkeypatch, work=silent):
    """Do `work`, which trains, and stop it when so many epochs are saved."""
    validate = Loop.validate

    def stopping(self):
        if len(self.history) == epochs:
            raise KeyboardInterrupt
        return validate(self)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "validate", stopping)
        with pytest.raises(KeyboardInterrupt):
            work(config)


def undisturbed(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("MACL_RESULTS", str(tmp_path / "undisturbed"))
        return silent(config)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_killed_run_is_not_taken_up_with_other_content(folder, change, tmp_path, monkeypatch):
    config = small(folder, epochs=4)
    straight = undisturbed(config, tmp_path, monkeypatch)
    shutil.copytree(folder, tmp_path / "before")
    killed_after(config, 2, monkeypatch)
    change(folder)
    other = silent(config)
    assert "@" in other.run_id
    with monkeypatch.context() as patch:
        patch.setenv("MACL_RESULTS", str(tmp_path / "pristine"))
        assert silent(config).metrics == other.metrics
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "before", folder)
    trained = []
    epoch = Loop.epoch
    monkeypatch.setattr(
        Loop, "epoch", lambda self, *a: trained.append(len(self.history)) or epoch(self, *a)
    )
    resumed = silent(config)
    assert trained == [2, 3] and resumed.run_id == config.run_id
    assert resumed.metrics == straight.metrics
    assert weights_difference(resumed, straight) == 0


def test_a_checkpoint_that_does_not_say_its_content_is_left_alone(folder, monkeypatch, capsys):
    config = small(folder, epochs=4)
    killed_after(config, 2, monkeypatch)
    begun = paths.runs_root() / config.run_id
    (begun / "identity.json").unlink()  # as earlier versions left it
    run = silent(config)
    assert "@" in run.run_id and "does not say what it was made from" in capsys.readouterr().err
    assert any(begun.glob("checkpoint-?.safetensors"))


def test_a_run_in_parts_keeps_what_computed_each(folder, monkeypatch):
    config = small(folder, epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr(store.provenance, "git_revision", lambda: "abc")
        killed_after(config, 1, monkeypatch)
    run = silent(config)
    assert [(s["epoch"], s["git"]) for s in run.result["sessions"]] == [(1, "abc"), (2, "")]
    assert "sessions" not in silent(config.but(seed=1)).result


def test_two_processes_of_other_content_do_not_share_a_folder(folder, tmp_path, monkeypatch):
    config, source = small(folder), identity.identify(small(folder))
    flip_label(folder)
    other = identity.identify(config)
    with identity.claim(source) as mine:
        store.write_json(mine.folder / store.IDENTITY, source.identity)
        with identity.claim(other) as theirs:
            assert mine.run_id == config.run_id and theirs.run_id == f"{config.run_id}@{other.key}"


# --- All that reads an archive or weights for a run -----------------------------------------------


@pytest.mark.parametrize("verb", ["evaluate", "search", "runs recompute"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_nothing_is_evaluated_searched_or_recomputed_with_other_content(
    folder, change, verb, capsys
):
    run = silent(small(folder))
    words = [*verb.split(), run.run_id]
    words += [str(folder / "images" / "im003.png")] * (verb == "search")
    assert main(words) == 0
    capsys.readouterr()
    change(folder)
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out == "" and f"{run.run_id} was made from other content" in err
    assert pd.Series([err]).str.contains(CHANGES[change]).all()


def test_an_image_that_was_trained_on_is_in_no_test_split(folder, tmp_path, capsys):
    run = silent(small(folder))
    other = draw(tmp_path / "other", seed=3)
    trained = load_archive(folder, image_size=16).split(0).train
    assert main(["evaluate", run.run_id, "--archive", str(other)]) == 0
    in_test = load_archive(other, image_size=16).split(0).test[0]
    target = other / "images" / f"im{in_test:03}.png"
    shutil.copy(folder / "images" / f"im{trained[0]:03}.png", target)
    for known in (True, False):
        if not known:  # not remembered: the archive at hand tells
            shutil.rmtree(paths.results_root() / "archives")
        assert main(["evaluate", run.run_id, "--archive", str(other)]) == 1
        assert "was trained on 1 of the 5 images that would measure it" in capsys.readouterr().err
    assert main(["evaluate", run.run_id, "--archive", str(other), "--split", "all"]) == 0
    assert main(["evaluate", run.run_id, "--archive", str(other), "--split", "validation"]) == 0
    shutil.rmtree(folder)
    capsys.readouterr()
    assert main(["evaluate", run.run_id, "--archive", str(other)]) == 1
    assert (
        f"trained on is not known here, and some may be among these: bring its archive, {folder}"
        in (capsys.readouterr().err)
    )


def test_a_share_of_the_training_part_is_another_run_of_the_same_test(folder, capsys):
    whole, half = small(folder), small(folder).but(train_share=0.5)
    sources = [identity.identify(config) for config in (whole, half)]
    train = [source.split.train for source in sources]
    assert len(train[1]) == round(len(train[0]) / 2) and {*train[1]} < {*train[0]}
    runs = [silent(config) for config in (whole, half)]
    assert runs[0].run_id != runs[1].run_id
    assert runs[0].per_query.index.equals(runs[1].per_query.index)
    rows = collect().loc[[run.run_id for run in runs]]
    assert list(rows["train_share"]) == [1.0, 0.5]
    sizes = [int(split.split("/")[0]) for split in rows["archive: split"]]
    assert sizes == [len(part) for part in train]
    everything = np.arange(len(sources[0].archive))
    unseen = identity.unseen(runs[1], sources[1].archive, everything)
    assert sorted(everything[~unseen]) == sorted(train[1])
    assert main(["evaluate", runs[1].run_id, "--split", "train"]) == 0
    assert f"train: {len(train[1])} queries" in capsys.readouterr().out


def test_what_was_trained_on_is_known_by_places_too(folder):
    archive = load_archive(folder, image_size=16)
    places = tuple(f"p{i % 7}" for i in range(len(archive)))
    joined = dataclasses.replace(archive, places=places, fingerprint="of seven places")
    for of in (archive, joined):
        source = identity.identify(small(folder), archive=of)
        run = Run(paths.runs_root() / f"run of {of.fingerprint}")
        identity.begin(run, source)
        identity.remember(of)
        everything = np.arange(len(archive))
        new = identity.unseen(run, archive, everything)
        assert sorted(everything[~new]) == sorted(source.split.train)
    trained = {places[i] for i in source.split.train}
    assert len(trained) == 5 and {places[i] for i in everything[new]} == {*places} - trained
    table = identity.recall(joined.fingerprint)
    assert list(table)[:2] == [identity.CONTENT, identity.PLACE]
    moved = dataclasses.replace(joined, places=places[::-1], fingerprint="moved")
    told = identity.differences(run, identity.identify(small(folder), archive=moved))
    assert told == ["other places", "another split"]
    assert identity.identify(small(folder), archive=joined).split.test.tolist() == (
        source.split.test.tolist()
    )


def test_an_archive_that_was_moved_is_evaluated_where_it_is(folder, tmp_path, capsys):
    run = silent(small(folder))
    assert main(["evaluate", run.run_id]) == 0
    expected = capsys.readouterr().out
    folder.rename(tmp_path / "moved")
    assert main(["evaluate", run.run_id]) == 1
    assert "no archive" in capsys.readouterr().err
    assert main(["evaluate", run.run_id, "--archive", str(tmp_path / "moved")]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == expected.splitlines()[1:]


def test_weights_of_another_run_are_refused(folder):
    a, b = silent(small(folder)), silent(small(folder, split_seed=1))
    shutil.copy(a.folder / "weights.safetensors", b.folder / "weights.safetensors")
    with pytest.raises(ValueError, match="is of another run, or of other content"):
        load_model(b)
    load_model(a)


def test_a_head_is_joined_to_the_weights_it_was_trained_on_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    options = {"backbone": "shufflenet_v2_x0_5", "image_size": 32}
    file, folder = tmp_path / "start.safetensors", draw(tmp_path / "city")
    start = RetrievalNet(options["backbone"], "none").backbone.state_dict()
    save_file(start, file)
    run = silent(small(folder, weights=str(file), frozen_views=2, **options))
    load_model(run)
    save_file({**start, "conv1.0.weight": start["conv1.0.weight"] + 1}, file)
    with pytest.raises(ValueError, match="started from other weights"):
        load_model(run)


def test_what_is_not_finished_or_without_weights_says_how_to_get_them(folder, monkeypatch):
    config = small(folder, epochs=3)
    killed_after(config, 1, monkeypatch)
    with pytest.raises(ValueError, match="is not finished: `train` with its configuration goes on"):
        load_model(Run.find(config.run_id))
    run = silent(config)
    (run.folder / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=f"runs recompute {run.run_id}"):
        load_model(run)


# --- Sweeps and tables ----------------------------------------------------------------------------


def test_a_sweep_computes_for_the_content_at_hand_and_a_table_shows_it(folder):
    configs = [small(folder, loss=loss) for loss in ("chance", "oracle", "mulsupcon")]
    before, first = table(folder), sweep(configs, progress=False)
    assert lacking(configs) == [] and (stored(configs).index == first.index).all()
    flip_label(folder)
    assert (stored(configs).index == first.index).all()  # one content is stored: look at it
    assert [c.loss for c in lacking(configs)] == ["chance", "oracle", "mulsupcon"]
    second = sweep(configs, progress=False)
    assert not set(first.index) & set(second.index)
    assert (stored(configs).index == second.index).all()
    write(folder, before)
    assert (stored(configs).index == first.index).all() and len(collect()) == 6
    assert sweep(configs, progress=False).equals(collect().loc[first.index])


def test_a_worker_with_another_copy_of_the_archive_is_an_error(folder):
    expected = dict(identity.identify(small(folder)).identity)
    flip_label(folder)
    with pytest.raises(ValueError, match="not the same here as where this run was started"):
        train(small(folder), progress=False, expected=expected)
    assert not list(paths.runs_root().glob("*"))


def test_runs_of_versions_that_kept_the_fingerprint_alone_stay_valid(folder, tmp_path, monkeypatch):
    """Without identity, date and hashes of weights, and under the ids that they had."""
    monkeypatch.setenv("MACL_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    save_file({"a": torch.zeros(3)}, tmp_path / "weights" / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    typed = (str(folder), "./city", "city")
    for config in (
        *(small(path, seed=3 + i) for i, path in enumerate(typed)),
        small(folder), small(folder, weights="mine"), small(folder, loss="oracle"),
    ):  # fmt: skip
        run = silent(config)
        result = json.loads((run.folder / "result.json").read_text())
        del result["identity"], result["time"]
        former = run.folder.with_name((config.former_ids or [config.run_id])[0])
        run.folder.rename(former)
        store.write_json(former / "result.json", result)
        (former / "identity.json").unlink()
        if config.weights == "mine":  # by name alone it is not known
            assert silent(config).run_id == config.run_id
            shutil.rmtree(paths.runs_root() / config.run_id)
            known = content_hashes([tmp_path / "weights" / "mine.safetensors"])[0][:16]
            store.write_json(paths.results_root() / "weights.json", {"mine": known})
        found = silent(config)
        assert found.folder == former and not found.computed
        assert f": stored, archive {found.identity['archive']}; not computed" in found.provenance
    flip_label(folder)
    assert silent(small(folder)).computed


# --- Computing again ------------------------------------------------------------------------------


def test_recomputing_computes_beside_the_stored_run_and_compares(folder, capsys):
    run = silent(small(folder))
    before = {f.name: f.read_bytes() for f in run.folder.iterdir()}
    stored_run, again = recompute(run.run_id, progress=False)
    assert stored_run == run and again.folder.parent.name == run.run_id
    assert {f.name: f.read_bytes() for f in run.folder.iterdir()} == before
    assert again.metrics == run.metrics and weights_difference(run, again) == 0
    compared = agreement(run, again)
    assert (compared[["difference", "low", "high"]] == 0).all(axis=None)
    assert len(collect()) == 1  # of no table
    assert main(["runs", "recompute", run.run_id, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "7 of 7 differences" in out and "equal bit for bit" in out
    assert len(list((paths.results_root() / "recomputed" / run.run_id).iterdir())) == 2


def test_agreement_is_the_paired_difference_over_queries(folder):
    a, b = silent(small(folder)), silent(small(folder, seed=1))
    compared = agreement(a, b)
    for metric, row in compared.iterrows():
        gap = (b.per_query[metric] - a.per_query[metric]).astype(float)
        assert row["difference"] == pytest.approx(gap.mean(), abs=1e-7)
        assert row["low"] <= row["difference"] <= row["high"]
    assert weights_difference(a, b) > 0
    x, y = (load_file(run.folder / "weights.safetensors") for run in (a, b))
    assert weights_difference(a, b) == pytest.approx(
        max(float((x[name] - y[name]).abs().max()) for name in x)
    )


def test_a_killed_recomputation_is_taken_up_and_a_failed_one_leaves_nothing(folder, monkeypatch):
    config = small(folder, epochs=4)
    run = silent(config)
    root = paths.results_root() / "recomputed"
    for saved, left in ((0, 0), (2, 1)):
        killed_after(run.run_id, saved, monkeypatch, lambda id: recompute(id, progress=False))
        assert len(list(root.glob("*/*"))) == left
    _, again = recompute(run.run_id, progress=False)
    assert len(list(root.glob("*/*"))) == 1 and again.metrics == run.metrics


# --- Whatever is done, in whatever order ----------------------------------------------------------


class Life(RuleBasedStateMachine):
    """Train, edit, kill, resume, move, pack: no result ever carries another content's number.

    The witness is a store of its own for each content, in which nothing but that has happened.
    """

    numbers = itertools.count()
    alone: dict[tuple, dict] = {}

    @initialize()
    def begin(self):
        self.patch = pytest.MonkeyPatch()
        self.base = Life.root / str(next(Life.numbers))
        self.folder = draw(self.base / "one" / "city", n=20)
        self.patch.setenv("MACL_RESULTS", str(self.base / "results"))
        self.edits, self.trained = 0, {}

    def teardown(self):
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.base)

    def content(self):
        files = sorted((self.folder / "images").iterdir())
        images = tuple((f.name, f.read_bytes()) for f in files)
        return images, tuple(map(tuple, table(self.folder)))

    def config(self, seed):
        return small(self.folder, seed=seed, epochs=3)

    def truth(self, config):
        key = self.content(), config.seed
        if key not in Life.alone:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MACL_RESULTS", str(self.base / f"alone{len(Life.alone)}"))
                Life.alone[key] = silent(config).metrics
        return Life.alone[key]

    @rule(seed=st.integers(0, 1))
    def train(self, seed):
        config = self.config(seed)
        run = silent(config)
        assert run.metrics == self.truth(config)
        known = self.trained.setdefault((self.content(), seed), run.run_id)
        assert known == run.run_id
        assert run.computed == (run.run_id not in self.before)

    @rule(seed=st.integers(0, 1), epochs=st.integers(0, 2))
    def kill(self, seed, epochs):
        config = self.config(seed)
        if (self.content(), seed) not in self.trained:
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                validate = Loop.validate

                def stopping(session):
                    if len(session.history) >= epochs:
                        raise KeyboardInterrupt
                    return validate(session)

                patch.setattr(Loop, "validate", stopping)
                silent(config)

    @rule(row=st.integers(1, 20), column=st.integers(1, 3))
    def edit_label(self, row, column):
        rows = table(self.folder)
        cells = rows[min(row, len(rows) - 1)]
        cells[column] = "10"[int(cells[column])]
        if "1" in cells[1:]:
            write(self.folder, rows)

    @rule(which=st.integers(0, 19), grey=st.integers(0, 2))
    def edit_image(self, which, grey):
        files = sorted((self.folder / "images").iterdir())
        Image.new("RGB", (16, 16), (99 * grey,) * 3).save(files[min(which, len(files) - 1)])

    @rule()
    def add_image(self):
        name = f"im{len(table(self.folder)) - 1:03}"
        Image.new("RGB", (16, 16), (50, 60, 70)).save(self.folder / "images" / f"{name}.png")
        write(self.folder, [*table(self.folder), [name, "1", "0", "1"]])

    @precondition(lambda self: len(table(self.folder)) > 17)
    @rule()
    def remove_last_image(self):
        *rows, (name, *_) = table(self.folder)
        write(self.folder, rows)
        (self.folder / "images" / f"{name}.png").unlink()

    @rule()
    def move(self):
        target = self.base / f"moved{next(Life.numbers)}" / "city"
        target.parent.mkdir()
        self.folder = self.folder.rename(target)

    @rule()
    def forget_the_cache(self):
        shutil.rmtree(paths.cache_root(), ignore_errors=True)

    @rule(which=st.integers(0, 5), name=st.sampled_from("ab"))
    def pack(self, which, name):
        for run_id in [*self.before][which : which + 2]:
            pack(name, [run_id])

    @rule(which=st.integers(0, 5))
    def unpack(self, which):
        for run_id in [*self.before][which : which + 1]:
            if packed.held(Run.find(run_id).folder):
                unpack([run_id])

    @rule(seed=st.integers(0, 1))
    def evaluate(self, seed):
        """Every stored run, of whatever content, against what is at hand."""
        source = identity.identify(self.config(seed))
        for run_id in self.before:
            run = Run.find(run_id)
            if run.config.seed != seed:
                continue
            if identity.differences(run, source):
                with pytest.raises(ValueError, match="other content"):
                    identity.check(run, source)
                assert self.trained.get((self.content(), seed)) != run_id
            else:
                z, _ = embed(load_model(run), source.archive.images, source.split.test)
                torch.testing.assert_close(z, torch.from_numpy(run.embeddings))
                assert run.metrics == self.truth(self.config(seed))

    @invariant()
    def every_stored_run_keeps_its_number_and_its_name(self):
        if not hasattr(self, "patch"):
            return
        rows = collect()
        self.before = set(rows.index)
        for (content, seed), run_id in self.trained.items():
            assert rows.loc[run_id, "mAP@0.4"] == Life.alone[content, seed]["mAP@0.4"]
        assert len(self.before) == len(self.trained)
        assert not [*paths.runs_root().glob("*/.*")]


@pytest.mark.usefixtures("tiny")
def test_no_result_ever_carries_another_contents_number(tmp_path):
    Life.root, Life.alone = tmp_path, {}
    how = {"max_examples": 12, "stateful_step_count": 12, "deadline": None, "derandomize": True}
    quiet = {"suppress_health_check": list(HealthCheck), "database": None}
    quiet["phases"] = [Phase.generate]  # a sequence that fails is short enough to read
    run_state_machine_as_test(Life, settings=settings(**how, **quiet))


# --- The check costs next to nothing --------------------------------------------------------------


def test_files_that_have_not_changed_are_not_read_again(folder, monkeypatch):
    for file in (folder / "images").iterdir():
        os.utime(file, (1, 1))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10**10)  # they are settled by now
    silent(small(folder))
    reads = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or read_bytes(self))
    assert not silent(small(folder)).computed
    assert [file for file in reads if file.suffix == ".png"] == []


def test_the_first_and_only_process_to_know_is_enough(folder):
    """In another process, with nothing in memory, the stored run is found as well."""
    run = silent(small(folder))
    code = (
        "import sys; from maclcore.config import Config; from maclcore.store import identity\n"
        "source = identity.identify(Config.from_dict(eval(sys.argv[1])))\n"
        "print(identity.place(source).run_id)"
    )
    words = [sys.executable, "-c", code, str(run.config.to_dict())]
    assert subprocess.check_output(words, text=True).strip() == run.run_id


# --- The runs of record ---------------------------------------------------------------------------


# of labels that a draw never shows
@pytest.mark.filterwarnings("ignore::maclcore.data.reading.ArchiveWarning")
@pytest.mark.parametrize("name", ["dlrsd", "ucm_multilabel", "ml_aid"])
def test_every_stored_run_is_still_that_of_its_archive(name):
    """Of the small images; those of the others are of the same archives, decoded larger."""
    if not ((paths.data_root() / name).is_dir() and (paths.data_root() / "weights").is_dir()):
        pytest.skip(f"{name} and the weights are not in {paths.data_root()}")
    runs = [Run.find(run_id) for run_id in collect().index if run_id.startswith(f"quick-{name}-")]
    assert len(runs) >= 48
    sources, problems = identities([run.config for run in runs])
    assert not problems
    found = [identity.place(sources[run.config]) for run in runs]
    assert found == runs and all(run.finished for run in found)
