"""The loop with a method that is none of the package's: it knows no method."""

import copy

import numpy as np
import pytest
import torch
from stopping import stopped
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from maclcore.config import Config
from maclcore.store.identity import identify
from maclcore.training.loop import Loop, Method


class Teacher(nn.Module):
    """A slow copy, and of each training image a slow mean of what it said; whether it is trusted
    is found out in training."""

    def __init__(self, network, images, labels):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("said", torch.zeros(images, labels))
        self.register_buffer("trusted", torch.tensor(False))


class Classification(Method):
    """Labels of each image, two costs in a weighted sum, a teacher that is trusted in time."""

    headline = "accuracy"

    def __init__(self, source):
        self.source = source
        torch.manual_seed(0)
        train, labels = source.split.train, source.archive.labels
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, labels.shape[1]))
        self.teacher = Teacher(self.network, len(train), labels.shape[1])
        self.modules = {"network": self.network, "teacher": self.teacher}
        self.y_train = labels[train]
        self.before = []  #: of each epoch, whether the teacher was trusted at its start

    def begin(self, epoch):
        self.gain = 1 + 0.1 * epoch
        self.before.append(bool(self.teacher.trusted))

    def images(self, index):
        return torch.from_numpy(self.source.archive.images[index] / 255.0).float()

    def step(self, batch):
        y = torch.from_numpy(self.y_train[batch]).float()
        logits = self.network(self.gain * self.images(self.source.split.train[batch]))
        with torch.no_grad():
            said = self.teacher.network(self.images(self.source.split.train[batch])).sigmoid()
            self.teacher.said[batch] = 0.9 * self.teacher.said[batch] + 0.1 * said
        labels, agreement = (
            cross_entropy(logits, y),
            cross_entropy(logits, self.teacher.said[batch]),
        )
        total = labels + 0.5 * self.teacher.trusted * agreement
        return {"loss": total, "labels": labels, "agreement": agreement}

    def after_step(self):
        with torch.no_grad():
            pairs = zip(self.teacher.parameters(), self.network.parameters(), strict=True)
            for slow, fast in pairs:
                slow.lerp_(fast, 0.1)

    def after_epoch(self):
        self.teacher.trusted |= self.teacher.said.mean() > 0.1
        return {"trusted": float(self.teacher.trusted)}

    def validate(self):
        index = self.source.split.validation
        with torch.no_grad():
            right = (self.network(self.images(index)) > 0).numpy() == self.source.archive.labels[
                index
            ]
        return {"accuracy": float(right.mean())}

    def explain(self, batch):
        return f"the largest label {batch.max()}, "


def loop(archive, folder, **changes):
    config = Config.from_profile("smoke", archive=str(archive), epochs=4, batch_size=16, **changes)
    folder.mkdir(exist_ok=True)
    return Loop(Classification(identify(config)), folder, torch.device("cpu"), "owner")


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_method_of_another_kind_trains_and_resumes_to_the_same_bits(archive, tmp_path, epochs):
    straight, first, second = (
        loop(archive, tmp_path / name, lr=0.01) for name in ("straight", "parts", "parts")
    )
    straight.fit(progress=False)
    stopped(first, epochs)
    second.fit(progress=False)
    assert len(first.method.before) == epochs and len(second.method.before) == 4 - epochs
    assert straight.method.before == first.method.before + second.method.before
    assert {False, True} == set(straight.method.before), "the switch falls into the training"
    for name, module in straight.method.modules.items():
        a, b = module.state_dict(), second.method.modules[name].state_dict()
        assert all(torch.equal(a[key], b[key]) for key in a)
    told = [{k: v for k, v in row.items() if k in KEPT} for row in straight.history]
    assert told == [{k: v for k, v in row.items() if k in KEPT} for row in second.history]
    assert [row["trusted"] for row in told] == sorted(row["trusted"] for row in told)


KEPT = ("epoch", "lr", "loss", "labels", "agreement", "gradient_norm", "trusted", "accuracy")


def test_every_cost_is_in_the_log_and_the_history(archive, tmp_path):
    trained = loop(archive, tmp_path / "run")
    trained.fit(progress=False)
    columns = (tmp_path / "run" / "history.csv").read_text().splitlines()[0].split(",")
    assert columns == [*KEPT, "seconds"]
    rows = trained.history
    weights = [0.0, *[0.5 * row["trusted"] for row in rows[:-1]]]
    expected = [r["labels"] + w * r["agreement"] for r, w in zip(rows, weights, strict=True)]
    np.testing.assert_allclose([row["loss"] for row in rows], expected, rtol=1e-5)


def test_only_what_wants_a_gradient_is_moved_and_all_is_saved(archive, tmp_path):
    trained = loop(archive, tmp_path / "run")
    assert [p.shape for p in trained.parameters] == [
        p.shape for p in trained.method.network.parameters()
    ]


def test_a_method_says_what_helps_when_a_cost_is_not_finite(archive, tmp_path):
    trained = loop(archive, tmp_path / "run")
    step = trained.method.step
    trained.method.step = lambda batch: {"loss": step(batch)["loss"] * float("nan")}
    with pytest.raises(FloatingPointError, match=r"loss is nan.*the largest label \d+, images img"):
        trained.fit(progress=False)
