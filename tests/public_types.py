"""The public names as a type checker sees them from outside: `make lint` reads this file, and
nothing runs it. An `ignore` that is not needed is an error, so that each stands for a refusal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pandas as pd
from torch import Tensor, as_tensor, nn

import maclcore
from maclcore import (
    LOSSES,
    METRICS,
    PROFILES,
    Archive,
    Config,
    LabelStatistics,
    RetrievalNet,
    Run,
    build_loss,
    collect,
    evaluate,
    jaccard,
    load_archive,
    train,
)
from maclcore.data import Split, make_split
from maclcore.evaluation.reference import chance, oracle
from maclcore.evaluation.retrieval import Evaluation
from maclcore.experiments.sweep import sweep
from maclcore.losses import (
    WEAK_LOSSES,
    Loss,
    LossModule,
    WeakLoss,
    entry,
    lmsc,
    lreg,
    macl,
    oml,
    pair_weights,
    softcon,
    supcon_all,
)


def losses(z: Tensor, y: Tensor, prototypes: Tensor, stats: LabelStatistics) -> None:
    assert_type(macl(z, y, stats, alpha=0.5, f="min"), Tensor)
    assert_type(macl(z, y, stats, check=False), Tensor)
    assert_type(macl(z, y, stats, keys=z, key_labels=y, alpha=0.5), Tensor)
    assert_type(supcon_all(z, y, temperature=0.3), Tensor)
    assert_type(lreg(z, y, prototypes, alpha=1.0), Tensor)
    assert_type(lmsc(z, y, prototypes, keys=z, key_labels=y), Tensor)
    assert_type(oml(z, y), Tensor)
    assert_type(softcon(z, y, keys=z, key_labels=y, form="softmax"), Tensor)
    assert_type(LOSSES["macl"], Loss)
    assert_type(WEAK_LOSSES["gc"], WeakLoss)
    assert_type(entry("gc"), Loss | WeakLoss)
    assert_type(build_loss("macl", stats, alpha=0.5), LossModule)
    assert_type(pair_weights("macl", y, stats), tuple[Tensor, Tensor])
    macl(z, y)  # type: ignore[call-overload]
    macl(z, y, stats, alfa=0.5)  # type: ignore[call-overload]
    macl(z, y, stats, f=1)  # type: ignore[call-overload]
    lreg(z, y)  # type: ignore[call-overload]
    supcon_all(z, "y")  # type: ignore[call-overload]


def metrics(z: np.ndarray, y: np.ndarray) -> None:
    result = evaluate(z, y, precision="fp32")
    assert_type(result, Evaluation)
    assert_type(result.summary(), dict[str, float])
    chance(y)
    assert_type(oracle(y).summary(), dict[str, float])
    assert_type(jaccard(y), np.ndarray)
    assert_type(jaccard(as_tensor(y)), Tensor)
    assert_type(LabelStatistics.from_labels(y), LabelStatistics)
    evaluate(z, "y")  # type: ignore[arg-type]


def archives(folder: Path) -> None:
    archive = load_archive(folder, image_size=64)
    assert_type(archive, Archive)
    assert_type(archive.split(0), Split)
    assert_type(make_split(archive.labels, 0), Split)


def runs() -> None:
    config = Config(loss="macl", loss_params={"alpha": 0.5})
    assert_type(Config.from_profile("smoke", seed=1), Config)
    assert_type(train(config), Run)
    assert_type(Run.find("a"), Run)
    collect(), sweep([config])
    Config(sed=1)  # type: ignore[call-arg]
    Config(schedule="linear")  # type: ignore[arg-type]
    net: nn.Module = RetrievalNet()
    names: list[str] = [*METRICS, *PROFILES, maclcore.__version__]
    frame: pd.DataFrame = collect()
    made: Callable[..., Any] = maclcore.build_loss
    print(net, names, frame, made, maclcore.losse)  # type: ignore[attr-defined]
