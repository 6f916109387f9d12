"""Two processes against one: the same loss and gradient, and the same training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from maclcore.config import Config
from maclcore.labels import LabelStatistics
from maclcore.losses import build_loss
from maclcore.store import Run
from maclcore.training import distributed, train

LOSSES = ["mulsupcon", "macl", "lproto", "lreg", "lmsc", "oml"]
N, D, L = 13, 6, 4  # an odd batch: the processes' parts differ in size


class Whole(nn.Module):
    """A linear network in float64 and a loss, whose prototypes are parameters as well."""

    def __init__(self, name, y):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(5, D).double()
        self.loss = build_loss(name, LabelStatistics.from_labels(y), embedding_dim=D).double()

    def forward(self, x, y):
        z = nn.functional.normalize(self.network(x), dim=1)
        return self.loss(distributed.gather(z), distributed.gather(y))


def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, 5, generator=generator, dtype=torch.float64)
    return x, torch.rand(N, L, generator=generator) < 0.5


def loss_and_gradients(module, whole, x, y):
    loss = module(x, y)
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in whole.parameters())]


def of_each_loss():
    """What this one of two processes finds of its part of the batch."""
    x, y = data()
    part = slice(0, 7) if dist.get_rank() == 0 else slice(7, N)
    found = {}
    for name in LOSSES:
        whole = Whole(name, y)
        ours = loss_and_gradients(whole, whole, x[part], y[part])
        distributed.average_gradients(whole.parameters())
        found[name, "ours"] = [value.clone() for value in ours]
        whole = Whole(name, y)
        ddp = DistributedDataParallel(whole)
        found[name, "ddp"] = loss_and_gradients(ddp, whole, x[part], y[part])
    found["first"] = [torch.tensor(distributed.of_first(dist.get_rank() == 0))]
    found["sizes"] = [distributed.gather(x[part], [7, 6]), distributed.gather(y[part])]
    return found


# A network without BatchNorm, whose dropout, which each process draws for itself, is off.
TRAININGS = [
    {"loss": "lreg", "views": 2},
    {"loss": "macl", "queue": 20},
    {"loss": "softcon"},
    {"loss": "infonce", "views": 2},
]


def small(archive, options):
    return Config.from_profile(
        "smoke", archive=str(archive), backbone="squeezenet1_1", embedding_dim=8, epochs=2,
        batch_size=15, weight_decay=0.0, lr=1e-4, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def by_torchrun(archive, tmp_path_factory):
    """What two processes leave, which take long to start: this file, run by torchrun."""
    folder = tmp_path_factory.mktemp("two")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += [__file__, *(json.dumps(small(archive, each).to_dict()) for each in TRAININGS)]
    environment = {**os.environ, "MACL_RESULTS": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def two_processes(by_torchrun):
    return [torch.load(by_torchrun / f"found{rank}") for rank in range(2)]


@pytest.mark.parametrize("average", ["ours", "ddp"])
@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_give_the_loss_and_gradient_of_the_joined_batch(two_processes, name, average):
    x, y = data()
    whole = Whole(name, y)
    expected = loss_and_gradients(whole, whole, x, y)
    assert all(gradient.abs().max() > 1e-6 for gradient in expected)  # something to compare
    for found in two_processes:
        for value, wanted in zip(found[name, average], expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-10)


def test_gather_keeps_the_order_of_ranks(two_processes):
    for found in two_processes:
        assert found["first"][0].item() is True
        assert all(torch.equal(a, b) for a, b in zip(found["sizes"], data(), strict=True))


def test_one_process_alone_pays_nothing():
    x = torch.ones(2, 3)
    assert distributed.world() == (0, 1) and distributed.gather(x) is x
    assert distributed.of_first(False) is False
    with distributed.processes("cpu") as on:
        assert on == torch.device("cpu") and not dist.is_initialized()


@pytest.mark.parametrize("options", TRAININGS, ids=str)
def test_torchrun_trains_as_one_process_does(archive, by_torchrun, tmp_path, monkeypatch, options):
    config = small(archive, options)
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "one"))
    monkeypatch.setattr(nn.Dropout, "forward", lambda self, x: x)
    one, two = train(config, progress=False), Run(by_torchrun / "runs" / config.run_id)
    # the same batches, losses and updates, up to rounding in float32, which training amplifies:
    # of SoftCon one process that computes in parts of 7 images differs by 0.5 % in the norm
    more = 1000 if options["loss"] == "softcon" else 1
    np.testing.assert_allclose(two.history["loss"], one.history["loss"], rtol=1e-5 * min(more, 5))
    norms = (run.history["gradient_norm"] for run in (two, one))
    np.testing.assert_allclose(*norms, rtol=1e-5 * more)
    np.testing.assert_allclose(two.embeddings, one.embeddings, atol=1e-5 * more)


def test_too_many_processes_are_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    monkeypatch.setattr(distributed, "world", lambda: (0, 9))
    config = Config.from_profile("smoke", archive=str(archive), batch_size=8)
    with pytest.raises(ValueError, match="9 processes cannot share batches of 8"):
        train(config, progress=False)


if __name__ == "__main__":  # one of torchrun's processes, which make a group of their own each time
    nn.Dropout.forward = lambda self, x: x
    with distributed.processes("cpu"):
        torch.save(of_each_loss(), Path(os.environ["MACL_RESULTS"]) / f"found{dist.get_rank()}")
    for config in sys.argv[1:]:
        train(Config.from_dict(json.loads(config)), progress=False)
