"""Training end to end on a small archive of the user's own, in the plain layout."""

import copy
import json
import math
import multiprocessing
import os
import signal
import time
from threading import Event
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from maclcore import paths
from maclcore.config import Config
from maclcore.data import load_archive
from maclcore.data.archives import RGB
from maclcore.data.augment import augment, draw
from maclcore.data.augment_bands import augmentation
from maclcore.data.stream import Images
from maclcore.evaluation.retrieval import METRICS
from maclcore.store import Run, collect
from maclcore.store.identity import identify
from maclcore.training import inputs, load_model, retrieval, train
from maclcore.training.inputs import Pixels
from maclcore.training.loop import Loop, learning_rate
from maclcore.training.momentum import MomentumQueue
from maclcore.training.retrieval import Retrieval, collapse


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
    left = {file.name for file in run.folder.iterdir()}
    small_files = {"config.json", "identity.json", "history.csv", "log.jsonl", "result.json"}
    small_files |= {"per_query.parquet", "run.lock"}
    assert left == small_files | {"weights.safetensors", "embeddings.safetensors", "README.md"}
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
    from maclcore.evaluation.embedding import embed

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
    _assert_equal(resumed, straight)


def _stamp(folder):
    """The names and times of the checkpoints, so that a change tells of a new one."""
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("checkpoint-?.safetensors")}


def test_a_loss_that_is_not_finite_stops_with_the_images_and_keeps_the_checkpoint(
    archive, results, monkeypatch
):
    config = small(archive, epochs=3)
    original = Loop.step

    def poisoned(self, batch):
        costs = original(self, batch)
        return {**costs, "loss": costs["loss"] * math.nan} if len(self.history) == 1 else costs

    monkeypatch.setattr(Loop, "step", poisoned)
    with pytest.raises(
        FloatingPointError, match=r"loss is nan in epoch 2, batch 1.*images img\d\d"
    ):
        train(config, progress=False)
    assert _stamp(paths.runs_root() / config.run_id) and collect().empty
    monkeypatch.setattr(Loop, "step", original)
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


OPTIONS = {
    "two views": {"loss": "mulsupcon", "views": 2},
    "queue": {"loss": "macl", "queue": 40, "momentum": 0.9},
    "queue that joins": {"loss": "lmsc", "queue": 24},
    "prototypes": {"loss": "lreg"},
    "stored features": {"frozen_views": 3, "views": 2},
    "stored features, queue": {"loss": "macl", "frozen_views": 3, "queue": 40},
    "label-aware, gradient caching": {"sampler": "label_aware", "micro_batch": 5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_resumes_to_the_same_bits(archive, results, tmp_path, monkeypatch, options):
    config = small(archive, epochs=4, backbone="squeezenet1_1", **options)  # it has dropout
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "validate", _fails_at(2, Loop.validate))
        with pytest.raises(KeyboardInterrupt):
            train(config, progress=False)
    resumed = train(config, progress=False)
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "undisturbed"))
    straight = train(config, progress=False)
    _assert_equal(resumed, straight)
    default = train(small(archive, epochs=4, backbone="squeezenet1_1"), progress=False)
    assert not np.array_equal(default.embeddings, straight.embeddings)  # the option did something


def _fails_at(epoch, original):
    def validate(self):
        if len(self.history) == epoch:
            raise KeyboardInterrupt
        return original(self)

    return validate


def _assert_equal(a, b):
    """Two runs with the same weights, metrics and history, bit for bit."""
    x, y = load_model(a).state_dict(), load_model(b).state_dict()
    assert all(torch.equal(x[name], y[name]) for name in y)
    assert a.metrics == b.metrics
    columns = [c for c in b.history if c != "seconds"]
    pd.testing.assert_frame_equal(a.history[columns], b.history[columns])


class Linear(nn.Module):
    """A network in float64 without BatchNorm, which keeps what it computed."""

    def __init__(self, *layers):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), *layers).double()
        self.hidden, self.given = [], []

    def forward(self, images):
        h = self.layers(images.double())
        self.hidden.append(h.detach())
        z = nn.functional.normalize(h, dim=1)
        self.given.append(z.detach())
        return z


def training(archive, folder, *layers, **options):
    """A loop whose network is `Linear`, and in whose every epoch `draw`'s first numbers come."""
    source, on = identify(small(archive, embedding_dim=8, **options)), torch.device("cpu")
    pixels = Pixels(Images(source.archive.images), source, on)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "network", lambda *_: (Linear(*layers).train(), pixels))
        loop = Loop(Retrieval(source, on), folder, on)
    loop.method.begin(0)
    return loop


def gradients(loop):
    return [parameter.grad.clone() for parameter in loop.parameters]


@pytest.fixture
def alone(monkeypatch):
    """Each image augmented alone: on some processors its last bit depends on the batch's size."""

    def augment_alone(images, uniform):
        pairs = zip(images.split(1), uniform.split(1), strict=True)
        return torch.cat([augment(*pair) for pair in pairs])

    rule = augmentation(RGB)._replace(augment=augment_alone)
    monkeypatch.setattr(inputs, "augmentation", lambda bands: rule)
    return augment_alone


def test_gradient_caching_gives_the_gradient_of_the_whole_batch(archive, tmp_path, alone):
    whole, cached = (training(archive, tmp_path, micro_batch=m) for m in (None, 5))
    losses = [loop.step(torch.arange(16))["loss"] for loop in (whole, cached)]
    assert [len(h) for h in whole.method.model.hidden] == [16]
    assert sorted(len(h) for h in cached.method.model.hidden) == [1, 1, 5, 5, 5, 5, 5, 5]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    for a, b in zip(gradients(cached), gradients(whole), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradient_caching_repeats_dropout_and_counts_statistics_once(archive, tmp_path):
    layers = nn.BatchNorm1d(8), nn.Dropout(0.5)
    loop = training(archive, tmp_path, *layers, micro_batch=4)
    method = loop.method
    alone = copy.deepcopy(method.model)
    index, numbers = torch.arange(12), method.varied
    loop.step(index)
    first, second = method.model.hidden[:3], method.model.hidden[3:]
    # the backward pass meets the parts in any order
    assert all(any(torch.equal(h, again) for again in second) for h in first)
    assert len(second) == 3 and not torch.equal(first[0] == 0, first[1] == 0)
    for part in index.split(4):
        alone(augment(method.inputs.images[method.rows[part]], numbers[part]))
    norm, expected = method.model.layers[2], alone.layers[2]
    assert norm.num_batches_tracked == 3 and norm.track_running_stats
    torch.testing.assert_close(norm.running_mean, expected.running_mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(norm.running_var, expected.running_var, rtol=1e-12, atol=0)


def test_the_second_view_has_numbers_of_its_own_and_leaves_the_first_alone():
    one, two = draw(5, seed=1, epoch=2), draw(5, seed=1, epoch=2, views=2)
    assert torch.equal(two[:, : one.shape[1]], one)
    assert not torch.equal(two[:, one.shape[1] :], one)


def test_two_views_are_a_batch_of_both(archive, tmp_path, alone):
    loop = training(archive, tmp_path, loss="supcon_any", views=2)
    method, index = loop.method, torch.arange(10)
    model = copy.deepcopy(method.model)
    loss = loop.step(index)["loss"]
    rows = method.rows[index]
    images, numbers = method.inputs.images[rows], method.varied[index]
    with torch.no_grad():
        z = torch.cat([model(alone(images, part)) for part in numbers.split(11, dim=1)])
        expected = method.loss(z, torch.cat([method.y[rows]] * 2))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("form", ["moco", "joins"])
def test_a_queue_is_used_when_full_and_before_the_batch_joins_it(archive, tmp_path, form):
    loss = {"moco": "mulsupcon", "joins": "lmsc"}[form]
    loop = training(archive, tmp_path, loss=loss, queue=24, momentum=0.5)
    session, seen = loop.method, []

    def spy(z, y, **keys):
        seen.append({name: value.clone() for name, value in keys.items()})
        return module(z, y, **keys)

    module, session.loss = session.loss, spy
    encoder = session.queue.encoder
    steps = [torch.arange(i, i + 10) for i in (0, 10, 20, 30)]
    for index in steps:
        loop.step(index)
    made = encoder.given  # keys of the second view, in order
    own = {"moco": made, "joins": [made[0][:0]] * 4}[form]
    queued = [made[0][:0]] * 3 + [torch.cat(made[:3])[-24:]]  # full after the third batch
    labels = [session.y[session.rows[index]] for index in steps]
    for i in range(4):
        expected = torch.cat([own[i], queued[i].to(own[i])])
        if not len(expected):
            assert seen[i] == {}
            continue
        torch.testing.assert_close(seen[i]["keys"], expected.float(), check_dtype=False)
        parts = [labels[i]] if form == "moco" else []
        parts += [torch.cat(labels[:3])[-24:]] if i == 3 else []
        assert torch.equal(seen[i]["key_labels"], torch.cat(parts))


def test_the_momentum_encoder_follows_in_its_parameters_alone():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    queue = MomentumQueue(network, 4, 2, 3)
    start = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
        network[1].running_mean.fill_(7.0)
    queue.follow(network, 0.9)
    now = queue.encoder.state_dict()
    torch.testing.assert_close(now["0.weight"], start["0.weight"] + 0.1)
    torch.testing.assert_close(now["1.running_mean"], start["1.running_mean"])
    assert not any(parameter.requires_grad for parameter in queue.encoder.parameters())


def test_a_queue_for_a_loss_without_one_is_refused(archive, results):
    with pytest.raises(ValueError, match="oml has no queue in its original form.*macl"):
        train(small(archive, loss="oml", queue=16), progress=False)


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


def test_every_seed_and_epoch_has_dropout_of_its_own(archive, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        Loop, "step", lambda *_: dict.fromkeys(("loss", "gradient_norm"), torch.zeros(()))
    )
    for seed in range(3):
        loop = training(archive, tmp_path, seed=seed)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "manual_seed", given.append)
            for epoch in range(4):
                loop.epoch(epoch, SimpleNamespace(advance=lambda n: None), Event())
    assert len(set(given)) == len(given) == 12, "(1, 0) is not (0, 1)"


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
