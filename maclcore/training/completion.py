"""Labels completed: a classifier that is trained on the known ones says which others there are.

A stage before the training: any loss, its statistics and prototypes then see the completed table.
Only training images are completed, validation images keep what is known of them, and what is
measured is measured on the archive's labels. The classifier is a `Weak` training of its own, on
stored features (ours: of 4 views of each image where `frozen_views` is 0, so that it takes seconds;
all of the network trains after that all the same).
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maclcore import paths
from maclcore.config import Config, Param, nearest
from maclcore.data.cache import cached, save
from maclcore.losses import WEAK_LOSSES
from maclcore.store.files import digest
from maclcore.store.identity import Source
from maclcore.training import distributed
from maclcore.training.loop import Loop
from maclcore.training.weak import Weak, known_count

RULE = 1  # part of the cache's key: a change of what is computed here must change it
#: what the classifier has of the configuration that asks for it; all else are its own settings
SHARED = (
    "archive", "image_size", "bands", "split", "split_seed", "train_share", "labels",
    "validation_labels", "backbone", "weights", "first_layer", "precision", "seed",
)  # fmt: skip
#: and what of its training may be set; defaults (ours) as for heads on stored features
TRAINING: Mapping[str, int | float] = {
    "epochs": 100, "batch_size": 128, "lr": 1e-3, "weight_decay": 5e-4, "frozen_views": 4,
}  # fmt: skip
#: which probabilities become labels: those above one half, or the N k highest of N images
CHOICES = ("threshold", "number")
HOW = (
    "completion_params={'labels_per_image': ...}, as --labels-per-image of `complete`, or "
    "validation_labels='complete', to count"
)
#: losses whose probabilities are those of being named, and so far below one half
NAMED = ("an", "an_ls")


def classifier(config: Config) -> Config:
    """The training that completes the labels for `config`.

    `completion_params` may be settings of its method, parameters of its loss, any of `TRAINING`,
    and `choose`, of `CHOICES`: `number` takes the N k highest probabilities of N training images,
    k as `labels_per_image` of `Weak` (default: of `an` and `an_ls`, where k is known, else
    `threshold`). ValueError for a loss that is none of weak labels.
    """
    loss = WEAK_LOSSES.get(config.completion)
    if loss is None or loss.needs == "complete":
        known = [name for name, one in WEAK_LOSSES.items() if one.needs != "complete"]
        raise ValueError(
            f"completion is a loss for weak labels, not {config.completion!r}"
            f"{nearest(config.completion, known)}"
        )
    given = {name: v for name, v in config.completion_params.items() if name != "choose"}
    training = dict(TRAINING) | ({"frozen_views": config.frozen_views or TRAINING["frozen_views"]})
    training |= {name: _whole(given.pop(name)) for name in TRAINING if name in given}
    if not training["frozen_views"]:
        raise ValueError("the classifier of a completion sees stored features: frozen_views >= 1")
    params = {name: given.pop(name) for name in loss.defaults if name in given}
    _check_settings(config.completion, given)
    return Config(
        **{name: getattr(config, name) for name in SHARED},
        **training,
        loss=config.completion,
        loss_params=params,
        method_params=given,
        schedule="cosine",
    )


def predicted(source: Source, on: torch.device, progress: bool = False) -> np.ndarray:
    """(N, L) float32, the classifier's probabilities of the labels of all images.

    Trained once for its configuration and the content of `source`, by one process while others
    wait, and kept in the cache; an interrupted training goes on. Errors as of `classifier` and
    `Weak`, and ValueError where several processes share a training and it is not cached yet.
    """
    config = classifier(source.config)
    if WEAK_LOSSES[config.loss].needs_labels_per_image and not labels_per_image(source):
        raise ValueError(
            f"{config.loss} must know how many labels an image has on average: give {HOW}"
        )
    key = digest([RULE, config.run_id, dict(source.identity)])
    target = paths.cache_root() / f"completion-{key}.npy"

    def write(temporary: Path) -> None:
        if distributed.world()[1] > 1:
            raise ValueError(
                f"labels are completed by one process: start {source.config.run_id} without "
                "torchrun first, until it trains; what it has completed is kept"
            )
        folder = target.with_suffix("")
        method = Weak(replace(source, config=config), on, progress, **config.method_params)
        paths.make_folder(folder)
        Loop(method, folder, on, key).fit(progress)
        save(temporary, method.logits(np.arange(len(source.archive))).sigmoid().numpy())
        shutil.rmtree(folder)

    return np.array(cached(target, write))


def completed(source: Source, on: torch.device, progress: bool = False) -> np.ndarray:
    """(n, L) float32, those of the n training images, in the order of the training split."""
    return predicted(source, on, progress)[source.split.train]


def complete(
    source: Source, on: torch.device, progress: bool = False
) -> tuple[Source, dict[str, Any]]:
    """`source` with completed labels of the training images, and how good they are (`quality`)."""
    train, weak = source.split.train, source.known.copy()
    if source.config.loss in WEAK_LOSSES:
        raise ValueError(
            f"{source.config.loss} learns from weak labels itself: set completion='none'"
        )
    p, observed = completed(source, on, progress), source.known[train]
    weak[train] = chosen(p, observed, source)
    return replace(source, weak=weak), quality(weak[train], observed, source.archive.labels[train])


def chosen(p: np.ndarray, observed: np.ndarray, source: Source) -> np.ndarray:
    """(n, L) bool: the labels of images with probabilities `p` (n, L), and all `observed` ones."""
    config = source.config
    k = labels_per_image(source)
    default = "number" if config.completion in NAMED and k else "threshold"
    choose = config.completion_params.get("choose", default)
    if choose not in CHOICES:
        raise ValueError(f"choose must be one of {', '.join(CHOICES)}, got {choose!r}")
    if choose == "threshold":
        return (p > 0.5) | observed
    if not k:
        raise ValueError(
            f"to choose a number of labels, say how many an image has on average: {HOW}"
        )
    best = np.argsort(-p, axis=None, kind="stable")[: round(len(p) * k)]
    return np.isin(np.arange(p.size), best).reshape(p.shape) | observed


def labels_per_image(source: Source) -> float:
    """k, how many labels an image is expected to have; 0 where it is not known."""
    given = source.config.completion_params.get("labels_per_image", 0)
    return float(given) or known_count(source)


def quality(labels: np.ndarray, observed: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Completed `labels` (n, L) against the `truth` (n, L), where it says more than was `observed`.

    labels per image, known labels per image   before and after
    precision, recall, F1                      of the new ones, in cells that were not observed;
                                               0 where there is none; without truth not at all
    """
    found = {
        "labels per image": float(labels.sum(axis=1).mean()),
        "known labels per image": float(observed.sum(axis=1).mean()),
    }
    new, missing = labels & ~observed, truth & ~observed
    if not missing.any():
        return found
    right = int((new & missing).sum())
    found["precision"] = right / max(int(new.sum()), 1)
    found["recall"] = right / int(missing.sum())
    found["F1"] = 2 * right / int(new.sum() + missing.sum())
    return found


def _check_settings(loss: str, given: Mapping[str, Param]) -> None:
    """TypeError, naming the nearest one, for a setting that there is not."""
    settings = Weak.__init__.__kwdefaults__ or {}
    names = [*settings, *TRAINING, "choose", *WEAK_LOSSES[loss].defaults]
    for name in given.keys() - settings.keys():
        raise TypeError(f"a completion by {loss} has no setting {name!r}{nearest(name, names)}")


def _whole(value: Param) -> Param:
    """A number of a mapping, which are all floats, as a field of Config has it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
