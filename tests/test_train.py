"""Training end to end on a small archive of the user's own, in the plain layout."""

import json
import math
import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maclcore import paths
from maclcore.config import Config
from maclcore.metrics import METRICS
from maclcore.store import Run, collect
from maclcore.train import collapse, learning_rate, load_model, train

NAMES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Sixty images whose labels are the colours of their stripes."""
    folder = tmp_path_factory.mktemp("colours")
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for i in range(60):
        on = generator.random(3) < 0.5
        on[generator.integers(3)] = True
        pixels = generator.integers(0, 60, (32, 32, 3))
        for label in np.flatnonzero(on):
            start = generator.integers(0, 26)
            pixels[start : start + 6, :, label] = generator.integers(180, 256)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"img{i:02}.png")
        rows.append([f"img{i:02}", *on.astype(int)])
    pd.DataFrame(rows, columns=["image", *NAMES]).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def small(archive, **changes):
    values = {"epochs": 3, "batch_size": 16, "embedding_dim": 8, "backbone": "shufflenet_v2_x0_5"}
    return Config.from_profile("smoke", archive=str(archive), **{**values, **changes})


def test_a_run_is_stored_found_and_not_repeated(archive, results):
    config = small(archive, loss="mulsupcon")
    run = train(config, progress=False)
    assert run.folder == results / "runs" / config.run_id and run.config == config
    assert list(run.metrics) == list(METRICS)
    assert all(0 <= value <= 1 for value in run.metrics.values())
    assert list(run.history["epoch"]) == [1, 2, 3]
    assert np.isfinite(run.history.to_numpy()).all()
    assert (
        not list(run.folder.glob("*.tmp")) and not (run.folder / "checkpoint.safetensors").exists()
    )
    # means of the stored per-query values are the stored metrics
    mean = run.per_query.mean()
    assert {k: pytest.approx(v, abs=1e-6) for k, v in run.metrics.items()} == mean.to_dict()
    before = (run.folder / "result.json").stat().st_mtime_ns
    assert train(config, progress=False).metrics == run.metrics
    assert (run.folder / "result.json").stat().st_mtime_ns == before
    row = collect().loc[config.run_id]
    assert row["loss"] == "mulsupcon" and row["mAP@0.4"] == run.metrics["mAP@0.4"]
    for column in ("seed", "profile", "torch", "git", "archive: fingerprint", "protocol"):
        assert column in row.index


def test_a_stored_network_gives_the_stored_embeddings(archive, results):
    from maclcore.data import load_archive
    from maclcore.retrieval import embed

    run = train(small(archive), progress=False)
    data = load_archive(str(archive), image_size=32, progress=False)
    index = data.split(0).test
    z, _ = embed(load_model(run), data.images, index)
    torch.testing.assert_close(z, torch.from_numpy(run.embeddings))
    assert list(run.per_query.index) == [data.names[i] for i in index]


def test_reference_rows_are_runs_and_frame_the_rest(archive, results):
    runs = {
        m: train(small(archive, loss=m), progress=False) for m in ("chance", "frozen", "oracle")
    }
    for metric in METRICS:
        assert runs["chance"].metrics[metric] < runs["oracle"].metrics[metric]
        assert runs["frozen"].metrics[metric] <= runs["oracle"].metrics[metric]
    assert len(collect()) == 3 and runs["chance"].history.empty


def test_same_seed_same_bits_other_seed_other_bits(archive, tmp_path, monkeypatch):
    weights = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        monkeypatch.setenv("MACL_RESULTS", str(tmp_path / folder))
        run = train(small(archive, epochs=2, seed=seed), progress=False)
        weights.append(load_model(run).state_dict())
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert any(not torch.equal(weights[0][k], weights[2][k]) for k in weights[0])


def _train_slowly(config, results):
    os.environ["MACL_RESULTS"] = str(results)
    train(config, progress=False)


def test_a_killed_run_resumes_to_the_same_bits(archive, results, tmp_path, monkeypatch):
    config = small(archive, epochs=6, loss="wg_macl")
    folder = results / "runs" / config.run_id
    killed = 0
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        process = context.Process(target=_train_slowly, args=(config, results))
        process.start()
        seen = _stamp(folder)
        while process.is_alive() and _stamp(folder) == seen:
            time.sleep(0.02)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
    assert killed == 2 and not Run(folder).finished
    resumed = train(config, progress=False)
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "undisturbed"))
    straight = train(config, progress=False)
    a, b = load_model(resumed).state_dict(), load_model(straight).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert resumed.metrics == straight.metrics
    columns = [c for c in straight.history if c != "seconds"]
    pd.testing.assert_frame_equal(resumed.history[columns], straight.history[columns])


def _stamp(folder):
    file = folder / "checkpoint.safetensors"
    return file.stat().st_mtime_ns if file.exists() else 0


def test_a_loss_that_is_not_finite_stops_with_the_images_and_keeps_the_checkpoint(
    archive, results, monkeypatch
):
    config = small(archive, epochs=3)
    from maclcore.train import _Training

    original = _Training.step

    def poisoned(self, index, uniform):
        loss, norm = original(self, index, uniform)
        return (loss * math.nan if len(self.history) == 1 else loss), norm

    monkeypatch.setattr(_Training, "step", poisoned)
    with pytest.raises(
        FloatingPointError, match=r"loss is nan in epoch 2, batch 1.*images img\d\d"
    ):
        train(config, progress=False)
    assert _stamp(paths.runs_root() / config.run_id) and collect().empty
    monkeypatch.setattr(_Training, "step", original)
    assert train(config, progress=False).finished


def test_a_damaged_result_is_named(archive, results):
    run = train(small(archive, loss="oracle"), progress=False)
    (run.folder / "result.json").write_text('{"config": ')
    with pytest.raises(ValueError, match=r"result.json is damaged"):
        collect()


def test_an_unknown_run_or_loss_is_named(archive, results):
    run = train(small(archive, loss="oracle"), progress=False)
    with pytest.raises(ValueError, match=f"did you mean '{run.run_id}'"):
        Run.find(run.run_id[:-1])
    with pytest.raises(ValueError, match="did you mean 'mulsupcon'"):
        train(small(archive, loss="mulsupcn"), progress=False)


@pytest.mark.parametrize(
    ("schedule", "peaks"),
    [
        ("restart", {0: 1.0, 15: 0.8, 30: 0.64, 90: 0.8**6}),
        ("step", {0: 1.0, 14: 1.0, 15: 0.8, 44: 0.64, 99: 0.8**6}),
        ("cosine", {0: 1.0, 50: 0.5}),
    ],
)
def test_schedules(schedule, peaks):
    config = Config(schedule=schedule)
    for epoch, factor in peaks.items():
        assert learning_rate(config, epoch) == pytest.approx(1e-3 * factor)


def test_schedules_have_the_mean_rates_that_they_should():
    rates = {
        s: np.mean([learning_rate(Config(schedule=s), e) for e in range(100)])
        for s in ("restart", "step", "cosine")
    }
    assert rates == {
        "restart": pytest.approx(0.33e-3, abs=0.02e-3),
        "step": pytest.approx(0.58e-3, abs=0.01e-3),
        "cosine": pytest.approx(0.505e-3, abs=0.001e-3),
    }


def test_collapse_at_hand_made_geometries():
    same = torch.nn.functional.normalize(torch.ones(10, 4), dim=1)
    assert collapse(same) == {
        "mean_cosine": pytest.approx(1.0),
        "effective_rank": pytest.approx(1.0, abs=1e-3),
    }
    axes = torch.eye(4)
    assert collapse(axes) == {
        "mean_cosine": pytest.approx(0.0),
        "effective_rank": pytest.approx(4.0),
    }
    json.dumps(collapse(axes), allow_nan=False)
