"""A training from weak labels looked at while it runs: what notebooks show, nothing is stored."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import torch

from maclcore.config import Config
from maclcore.evaluation.classification import classification_scores
from maclcore.store.identity import identify
from maclcore.training import distributed
from maclcore.training.calibration import Calibration
from maclcore.training.loop import Loop
from maclcore.training.weak import Weak

Look = Callable[[Weak], Mapping[str, float]]


def watch(config: Config, look: Look, device: str = "cpu") -> tuple[Weak, pd.DataFrame]:
    """Train `config`, of a loss of `WEAK_LOSSES`, and look at it after each epoch.

    The trained method, and a row an epoch: what the loop logs, and what `look` has said.
    """
    with distributed.processes(device) as on, tempfile.TemporaryDirectory() as folder:
        method = Weak(identify(config), on, **config.method_params)
        after_epoch = method.after_epoch
        method.after_epoch = lambda: {**after_epoch(), **look(method)}
        loop = Loop(method, Path(folder), on)
        loop.fit(progress=False)
    return method, pd.DataFrame(loop.history)


def against_truth(method: Weak) -> dict[str, float]:
    """How right a training is, by the complete labels, which it never sees: for looking alone.

    test macro mAP     of the test images
    p true, p false    mean probability of the unobserved labels of training images that are there,
                       and of those that are not; of complete labels none is left
    t true, t false    the same of the pseudo-labels, from the first epoch of calibration on
    """
    train, test = method.source.split.train, method.source.split.test
    y = torch.from_numpy(method.source.archive.labels)
    scores = classification_scores(method.logits(test).sigmoid(), y[test])
    unobserved = torch.from_numpy(~method.y_train)
    said = {"p": method.logits(train).sigmoid()}
    if isinstance(method.cost, Calibration) and method.cost.memory.seen.any():
        memory = method.cost.memory
        said["t"] = torch.where(memory.seen, memory.mean, torch.nan).cpu()
    parts = {"true": unobserved & y[train], "false": unobserved & ~y[train]}
    means = {
        f"{name} {part}": values[cells].nanmean().item()
        for name, values in said.items()
        for part, cells in parts.items()
        if cells.any()
    }
    return {"test macro mAP": scores["macro mAP"], **means}
