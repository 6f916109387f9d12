"""Training on a GPU: the same bits twice, stopped or not, from its own memory or the host's."""

import pytest
import torch
from stopping import stopped

from maclcore.config import Config
from maclcore.data.stream import Images
from maclcore.experiments.sweep import sweep
from maclcore.losses import entry
from maclcore.store.identity import identify
from maclcore.training import load_model, train
from maclcore.training.inputs import Pixels
from maclcore.training.loop import Loop
from maclcore.training.run import METHODS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
GPU = torch.device("cuda")

WAYS = {
    "macl": {},
    "prototypes": {"loss": "lproto"},
    "two views": {"views": 2},
    "queue": {"loss": "mulsupcon", "queue": 32},
    "in parts": {"micro_batch": 8},
    "slow copy": {"loss": "softcon"},
    "bands": {"archive": "synthetic_sentinel", "loss": "softcon", "epochs": 2},
    "head alone": {"frozen_views": 2},
    "calibration": {"loss": "gc", "labels": "random", "method_params": {"trigger": 1}},
    "estimates": {
        "loss": "role",
        "labels": "random",
        "method_params": {"labels_per_image": 2},
        "frozen_views": 2,
    },
}


def config_of(folder, **changes):
    return Config.from_profile(
        "smoke", **{"archive": str(folder), "loss": "macl", "batch_size": 16, **changes}
    )


def state_of(loop):
    modules = loop.method.modules.items()
    return {f"{m}.{k}": v.cpu() for m, module in modules for k, v in module.state_dict().items()}


def loop_of(config, folder):
    folder.mkdir(parents=True, exist_ok=True)
    method = METHODS[entry(config.loss).method](identify(config), GPU, **config.method_params)
    return Loop(method, folder, GPU, "owner")


def equal(a, b):
    exact = {"rtol": 0, "atol": 0, "equal_nan": True}  # an epoch to come has no value yet
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], **exact) for k in a)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    return tmp_path


@pytest.mark.parametrize("way", WAYS)
def test_a_training_gives_the_same_bits_again_and_when_it_was_stopped(way, archive, store):
    config = config_of(archive, **WAYS[way])
    whole = loop_of(config, store / "whole")
    whole.fit(progress=False)
    halted = loop_of(config, store / "halted")
    stopped(halted, 1)
    resumed = loop_of(config, store / "halted")
    resumed.fit(progress=False)
    assert len(resumed.history) == config.epochs
    assert equal(state_of(whole), state_of(resumed))
    assert all(row["loss"] == row["loss"] for row in whole.history)


def test_images_are_kept_there_or_streamed_with_the_same_bits(archive, store):
    config = config_of(archive)
    kept, streamed = loop_of(config, store / "a"), loop_of(config, store / "b")
    assert kept.method.inputs.images.resident
    source = streamed.method.source
    images = Images(source.archive.images, GPU)
    assert not images.resident
    streamed.method.inputs = Pixels(images, source, GPU)
    for loop in (kept, streamed):
        loop.fit(progress=False)
    assert equal(state_of(kept), state_of(streamed))


def test_a_run_is_stored_with_the_device_and_loads_on_the_cpu(archive, store):
    run = train(config_of(archive), progress=False)
    said = run.result["environment"]
    assert said["device"] == torch.cuda.get_device_name() and said["computed in"] == "bf16"
    model = load_model(run)
    assert all(value.device.type == "cpu" for value in model.state_dict().values())


def test_the_cpu_trains_alike(archive, store, monkeypatch):
    config = config_of(archive, precision="fp32", epochs=1)
    there = train(config, progress=False)
    monkeypatch.setenv("MACL_RESULTS", str(store / "here"))
    here = train(config, progress=False, device="cpu")
    assert here.history["loss"].item() == pytest.approx(there.history["loss"].item(), rel=1e-2)
    assert (here.embeddings * there.embeddings).sum(axis=1).min() > 0.9


def test_a_sweep_takes_a_gpu_for_each_worker(archive, store):
    gpus = torch.cuda.device_count()
    configs = [config_of(archive, seed=seed, epochs=1) for seed in range(gpus + 1)]
    with pytest.raises(ValueError, match=f"at most {gpus}"):
        sweep(configs, workers=gpus + 1, progress=False)
    assert len(sweep(configs, workers=1, progress=False)) == len(configs)
