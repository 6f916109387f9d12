"""Whatever happens to a training, it can be repeated, and then ends with the same bits."""

import builtins
import errno
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
import torch
from filelock import FileLock

from maclcore import paths, progress, store
from maclcore.__main__ import main
from maclcore.config import Config
from maclcore.data import load_archive
from maclcore.store import Run
from maclcore.training import checkpoint, load_model, train
from maclcore.training.checkpoint import CheckpointWarning
from maclcore.training.loop import Loop

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def config(archive, tmp_path):
    shutil.copytree(archive, tmp_path / "stripes")
    return Config.from_profile(
        "smoke", archive=str(tmp_path / "stripes"), epochs=3, batch_size=16, embedding_dim=8
    )


@pytest.fixture
def undisturbed(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("MACL_RESULTS", str(tmp_path / "undisturbed"))
        return train(config, progress=False)


def assert_equal(a, b):
    x, y = load_model(a).state_dict(), load_model(b).state_dict()
    assert all(torch.equal(x[name], y[name]) for name in y)
    assert a.metrics == b.metrics
    pd.testing.assert_frame_equal(
        a.history.drop(columns="seconds"), b.history.drop(columns="seconds")
    )


def at(monkeypatch, method, when, action):
    """Do `action` before the call of a Loop's method for which `when(session)` holds."""
    before = getattr(Loop, method)

    def acting(self, *arguments):
        if when(self):
            action(self)
        return before(self, *arguments)

    monkeypatch.setattr(Loop, method, acting)


def interrupted(config, monkeypatch, epochs):
    """A run that stopped when so many epochs were saved; its folder."""

    def stop(session):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        at(patch, "validate", lambda session: len(session.history) == epochs, stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, progress=False)
    return paths.runs_root() / config.run_id


class Faults:
    """Makes the k-th call that writes to the results fail, as a full disk would."""

    def __init__(self, patch, root, k):
        self.calls, self.k, self.root = 0, k, str(root)
        for module, name in ((os, "replace"), (os, "fsync"), (os, "open")):
            patch.setattr(module, name, self.failing(getattr(module, name)))
        patch.setattr(store.files, "save_file", self.failing(store.files.save_file, 1))
        opening = builtins.open
        for module in (builtins, io):
            patch.setattr(module, "open", self.failing(opening, mode=True))

    def failing(self, function, place=0, mode=False):
        def call(*arguments, **words):
            name = arguments[place]
            ours = isinstance(name, int) or str(name).startswith(self.root)
            written = not mode or any(c in (arguments + ("r",))[1] for c in "wax+")
            if ours and written and not str(name).endswith(".lock"):
                self.calls += 1
                if self.calls == self.k:
                    raise OSError(errno.ENOSPC, "No space left on device", str(name))
            return function(*arguments, **words)

        return call


def test_a_fault_at_any_write_leaves_old_or_new_files_and_nothing_lost(
    config, undisturbed, tmp_path, monkeypatch
):
    load_archive(config.archive, image_size=32, progress=False)  # its cache is not the matter
    root = tmp_path / "results" / "runs"
    for k in range(1, 200):
        shutil.rmtree(root, ignore_errors=True)
        with monkeypatch.context() as patch:
            faults = Faults(patch, root, k)
            try:
                train(config, progress=False)
            except OSError as error:
                assert "No space left on device" in str(error)
        folder = root / config.run_id
        assert not [*folder.glob(".*")], f"call {k} left a temporary file"
        for file in folder.glob("*.json*"):
            lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
            assert all(json.loads(line) for line in lines)
        for file in folder.glob("checkpoint-?.safetensors"):
            checkpoint._read(file)  # raises if it is not whole
        assert_equal(train(config, progress=False), undisturbed)
        if faults.calls < k:
            break
    assert 40 < k < 199  # every one of them was met


def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(
    config, undisturbed, monkeypatch
):
    config, limits = config.but(embedding_dim=800), resource.getrlimit(resource.RLIMIT_FSIZE)
    load_archive(config.archive, image_size=32, progress=False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))  # a checkpoint has 470 kB
    try:
        with pytest.raises(OSError, match="epoch 1 of .* could not be saved .*File too large"):
            train(config, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((paths.runs_root()).iterdir())  # nothing was saved, nothing is left
    assert train(config, progress=False).finished


def test_a_folder_that_cannot_be_written_is_named(config, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", "/proc/nowhere")
    with pytest.raises(OSError, match=r"cannot write to /proc/nowhere/\w+ .*set MACL_RESULTS"):
        train(config, progress=False)


def truncate(file):
    with open(file, "rb+") as stream:
        stream.truncate(file.stat().st_size // 2)


def flip(file):
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


def flip_in_history(file):
    content = bytearray(file.read_bytes())
    content[content.index(b"gradient_norm")] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "truncated": truncate,
    "one bit": flip,
    "one bit of the history": flip_in_history,
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_said_and_the_one_before_goes_on(
    config, undisturbed, monkeypatch, damage
):
    folder = interrupted(config, monkeypatch, 2)
    epochs = {}
    for file in folder.glob("checkpoint-?.safetensors"):
        epochs[len(checkpoint._read(file)[1]["history"])] = file
    assert sorted(epochs) == [1, 2]  # two are kept
    damage(epochs[2])
    trained = []
    at(monkeypatch, "epoch", lambda session: True, lambda s: trained.append(len(s.history)))
    with pytest.warns(CheckpointWarning, match=rf"{epochs[2].name} is damaged .*without it"):
        run = train(config, progress=False)
    assert trained == [1, 2]  # from the state after epoch 1
    assert_equal(run, undisturbed)


def test_without_any_whole_checkpoint_it_starts_again(config, undisturbed, monkeypatch):
    for file in interrupted(config, monkeypatch, 2).glob("checkpoint-?.safetensors"):
        truncate(file)
    with pytest.warns(CheckpointWarning):
        assert_equal(train(config, progress=False), undisturbed)


def test_a_checkpoint_of_another_run_is_refused(config, monkeypatch):
    folder = interrupted(config, monkeypatch, 1)
    other = config.but(seed=5)
    target = folder.parent / other.run_id
    shutil.copytree(folder, target)
    with pytest.raises(ValueError, match=f"belongs to run {config.run_id}@.{{8}}; delete it"):
        train(other, progress=False)


def test_sigterm_finishes_the_step_and_exits_with_0(config, undisturbed, monkeypatch, capsys):
    steps = []
    with monkeypatch.context() as patch:
        at(
            patch,
            "step",
            lambda session: len(session.history) == 1,
            lambda session: (steps.append(1), os.kill(os.getpid(), signal.SIGTERM)),
        )
        with pytest.raises(SystemExit) as end:
            train(config, progress=False)
    assert end.value.code == 0 and len(steps) == 1  # two batches an epoch: not the second
    assert "SIGTERM in epoch 2 of 3; the state after epoch 1 is saved" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert_equal(train(config, progress=False), undisturbed)


def test_sigterm_from_outside(archive, tmp_path):
    words = ["--archive", str(archive), "--epochs", "100000", "--batch-size", "8"]
    words += ["--backbone", "shufflenet_v2_x0_5", "--embedding-dim", "8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "maclcore", "train", *words], stderr=subprocess.PIPE, text=True
    )
    try:
        while not [*(tmp_path / "results" / "runs").glob("*/checkpoint-1.safetensors")]:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and "the same command goes on from there" in err


def test_a_second_process_waits_for_the_first(config, monkeypatch):
    said = []
    monkeypatch.setattr(store.run, "say", said.append)
    folder = paths.runs_root() / config.run_id
    folder.mkdir(parents=True)
    with FileLock(folder / "run.lock"):
        second = threading.Thread(target=train, args=(config,), kwargs={"progress": False})
        second.start()
        while not said:
            assert second.is_alive()
            time.sleep(0.01)
        assert "another process is at it; waiting" in said[0]
        assert not (folder / "config.json").exists()  # it has touched nothing
    second.join()
    assert Run(folder).finished


def test_an_archive_that_vanishes_does_not_stop_the_run_but_the_next_one(
    config, undisturbed, tmp_path, monkeypatch
):
    def vanish(session):
        shutil.rmtree(config.archive)
        shutil.rmtree(tmp_path / "results" / "cache")

    with monkeypatch.context() as patch:
        at(patch, "validate", lambda session: not session.history, vanish)
        assert_equal(train(config, progress=False), undisturbed)
    with pytest.raises(ValueError, match="stripes"):
        train(config.but(seed=1), progress=False)


@pytest.mark.parametrize(
    ("which", "what"),
    [("loss", "loss is nan"), ("gradient_norm", "gradient norm is nan")],
    ids=["loss", "gradient"],
)
@pytest.mark.parametrize("loss", ["macl", "oml"])
def test_what_is_not_finite_is_said_with_all_that_helps(config, monkeypatch, which, what, loss):
    config = config.but(loss=loss)
    step = Loop.step

    def poisoned(self, *arguments):
        values = step(self, *arguments)
        if len(self.history) == 1:
            values[which] = values[which] * float("nan")
        return values

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", poisoned)
        with pytest.raises(FloatingPointError) as error:
            train(config, progress=False)
    message = str(error.value)
    assert f"{what} in epoch 2, batch 1, learning rate 0.00075" in message
    assert "images img" in message and "and 8 more" in message
    assert ("temperatures 0.2" in message) == (loss == "macl")  # oml has none
    assert train(config, progress=False).finished  # the last good checkpoint stayed


def test_the_log_has_a_line_an_epoch_and_survives_an_interruption(config, monkeypatch):
    folder = interrupted(config, monkeypatch, 2)
    lines = (folder / "log.jsonl").read_text().splitlines()
    assert len(lines) == 2
    run = train(config, progress=False)
    after = (run.folder / "log.jsonl").read_text().splitlines()
    assert after[:2] == lines and len(after) == 3
    row = json.loads(after[-1])
    assert row["epoch"] == 3 and row["steps"] == 2 and 0 <= row["clipped"] <= 1
    assert row["largest_loss"] >= row["loss"] and row["images_per_second"] > 0
    assert "clipped" not in run.history and row["loss"] == pytest.approx(run.history["loss"][2])


def test_without_a_terminal_there_is_a_line_at_fixed_intervals(config, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    train(config)
    lines = [line for line in capsys.readouterr().err.splitlines() if config.run_id in line]
    assert len(lines) == 6  # every step, since no time passes between two lines
    assert lines[0].startswith(f"{config.run_id}: 16 of 96 images, ") and " left" in lines[0]
    assert lines[-1].startswith(f"{config.run_id}: 96 of 96 images, 00:00 left")
    assert "mAP " not in lines[0] and "mAP " in lines[-1]


def test_tensorboard_has_the_rows_of_the_log_across_an_interruption(config, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = interrupted(config, monkeypatch, 1)
    assert not list(folder.glob("events.*"))
    monkeypatch.setenv("MACL_TENSORBOARD", "1")
    train(config, progress=False)
    events = EventAccumulator(str(folder)).Reload()
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()][1:]
    for name in ("loss", "mAP(sim)@5000", "images_per_second"):
        scalars = [(e.step, e.value) for e in events.Scalars(name)]
        assert scalars == [(row["epoch"], pytest.approx(row[name])) for row in rows]
    assert "time" not in events.Tags()["scalars"]


def test_tensorboard_that_is_not_installed_is_named_before_training(config, monkeypatch, capsys):
    monkeypatch.setenv("MACL_TENSORBOARD", "1")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'maclcore\[tensorboard\]'"):
        train(config, progress=False)
    assert not list(paths.runs_root().iterdir())  # and nothing is left of the attempt


def test_runs_are_listed_with_state_metrics_age_and_size(config, monkeypatch, capsys):
    assert store.runs().empty
    finished = train(config.but(seed=1), progress=False)
    folder = interrupted(config, monkeypatch, 2)
    damaged = train(config.but(seed=2), progress=False).folder
    (damaged / "result.json").write_text("{")
    table = store.runs()
    assert dict(table["state"]) == {
        finished.run_id: "finished", config.run_id: "interrupted", damaged.name: "damaged"
    }  # fmt: skip
    row = table.loc[config.run_id]
    assert (row["epoch"], row["epochs"]) == (2, 3) and 0 < row["mAP@0.4"] <= 1
    assert row["size"] > 2000 and 0 <= row["age"] < 600
    assert table.loc[finished.run_id, "nDCG@100"] == finished.metrics["nDCG@100"]
    assert main(["runs", "--unfinished"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith(config.run_id))
    assert "interrupted" in line and "2/3" in line and " s " in line
    assert "damaged" in out and finished.run_id not in out
    with FileLock(folder / "run.lock"):
        found = []
        asking = threading.Thread(target=lambda: found.append(store.runs()))
        asking.start()
        asking.join()
    assert found[0]["state"][config.run_id] == "running"


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_sessions(config, monkeypatch):
    log = interrupted(config, monkeypatch, 2) / "log.jsonl"
    rows = [{**json.loads(line), "seconds": 1000.0} for line in log.read_text().splitlines()]
    store.write_lines(log, rows)
    assert 2000 <= train(config, progress=False).result["seconds"] < 2000 + 600
