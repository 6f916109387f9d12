"""A training that is looked at is the training that is stored."""

import numpy as np
import torch

from maclcore.experiments.weak import weak_labels
from maclcore.training.watch import against_truth, watch


def config(loss, epochs=5):
    (found,) = [c for c in weak_labels("smoke", "synthetic", (0,), epochs=epochs) if c.loss == loss]
    return found


def test_looking_changes_nothing_and_sees_what_the_training_does_not():
    plain, before = watch(config("gc"), lambda method: {})
    method, history = watch(config("gc"), against_truth)
    for one, other in zip(plain.trained.parameters(), method.trained.parameters(), strict=True):
        assert torch.equal(one, other)
    same = [
        name for name in before if name not in ("seconds", "time", "images_per_second", "session")
    ]
    assert (before[same] == history[same]).all(axis=None)
    trigger = int(history["trigger"].iloc[-1])
    assert 0 < trigger < 5
    assert history["t true"].isna().sum() == trigger  # from the first epoch of calibration on
    y, train = method.source.archive.labels, method.source.split.train
    missing = y[train] & ~method.y_train
    t = method.cost.memory.mean.numpy()[missing][
        method.cost.memory.seen.numpy()[missing.nonzero()[0], 0]
    ]
    assert np.isclose(history["t true"].iloc[-1], t.mean(), atol=1e-6)
    p = method.logits(train).sigmoid().numpy()[~y[train]]
    assert np.isclose(history["p false"].iloc[-1], p.mean(), atol=1e-6)


def test_of_complete_labels_none_is_missing():
    _, history = watch(config("full", 1), against_truth)
    assert {"p false", "test macro mAP"} <= set(history) and "p true" not in history
