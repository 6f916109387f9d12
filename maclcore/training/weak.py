"""Training from weak labels: all labels of an image, from a table that names few of them, or one.

A network with a classifier on it, and a loss of `WEAK_LOSSES` with what it keeps while it trains
(`weak_costs`, `calibration`). Where the network is frozen, its stored features are standardised,
and those of clean images are among the views (`Features.with_clean`).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maclcore.config import Config, nearest
from maclcore.evaluation.classification import classification_scores
from maclcore.evaluation.retrieval import evaluate
from maclcore.losses.weak import WEAK_LOSSES, an
from maclcore.models.network import LabelHead
from maclcore.progress import say
from maclcore.store.identity import Source
from maclcore.training import distributed
from maclcore.training.calibration import Calibration
from maclcore.training.finetune import Classification, labelled
from maclcore.training.inputs import Features
from maclcore.training.loop import Outcome
from maclcore.training.retrieval import network
from maclcore.training.weak_costs import (
    Correction,
    Cost,
    Ensemble,
    Estimates,
    LargeLosses,
    Progress,
    SoftNegatives,
)

WEIGHT = 5.0  #: λ of calibration where it is not known how many labels an image has
DELTA = {"ll_r": 0.002, "ll_ct": 0.002, "ll_cp": 0.001}
#: what a loss must need (`maclcore.losses.weak.NEEDS`) for a setting to say something
MEANT_FOR = {
    **dict.fromkeys(("weight", "trigger", "teacher_decay", "mixup"), ("teacher",)),
    "memory_decay": ("teacher", "memory"),
    "delta": ("count",),
}


class Weak(Classification):
    """`source.config.loss`, of `WEAK_LOSSES`, on a classifier's logits and the known labels.

    labels_per_image: k, how many labels an image is expected to have; 0: as the validation images
        have, where theirs are complete, else not known. `epr` and `role` need it.
    weight: λ of `gc`; 0: 1 + k, or 5 where k is not known (our reading). A label that is not
        observed is pulled up where its probability exceeds 1 / (λ - 1).
    trigger: when `gc` stops to be `an` and begins to calibrate: after the epoch of that number, or
        when a detector fires (`calibration.DETECTORS`): "validation", `an` on validation images was
        least three epochs ago; "plateau", on training images it falls by less than 5 % in three
        epochs; "slope", the share of training images whose first label is known rises faster again.
    teacher_decay, memory_decay: of the two slow means of `gc` (`Calibration`), the second of `elr`,
        too; 0: the network itself, and what was said last.
    mixup: α of Beta(α, α), from which `gc`, once it calibrates, draws how batches are mixed; 0: not
        at all.
    delta: Δ of `ll_r`, `ll_ct` and `ll_cp`; 0: 0.002, 0.002 and 0.001.
    """

    def __init__(
        self,
        source: Source,
        on: torch.device,
        progress: bool = False,
        *,
        labels_per_image: float = 0.0,
        weight: float = 0.0,
        trigger: str = "validation",
        teacher_decay: float = 0.99,
        memory_decay: float = 0.9,
        mixup: float = 0.0,
        delta: float = 0.0,
    ) -> None:
        config, k = source.config, labels_per_image or known_count(source)
        check(source, k)
        self.source, self.on, self.k = labelled(source), on, k
        train = self.source.split.train
        self.rows, self.y_train = torch.from_numpy(train), source.known[train]
        self.model, self.inputs = network(self.source, on, progress)
        torch.manual_seed(config.seed)
        width = next(self.model.head.parameters()).shape[1]  # of its first layer's weights
        head = LabelHead(width, self.y_train.shape[1])
        if isinstance(self.inputs, Features):
            self.inputs = self.inputs.with_clean(train)
            head.mean, head.spread = self.inputs.moments()
        self.model.head = head.to(on)
        self.trained = self.inputs.trained(self.model)
        self.cost = cost_of(
            config,
            torch.from_numpy(self.y_train).float().to(on),
            self.trained,
            labels_per_image=k,
            weight=weight or (1 + k if k else WEIGHT),
            trigger=trigger,
            teacher_decay=teacher_decay,
            memory_decay=memory_decay,
            mixup=mixup,
            delta=delta or DELTA.get(config.loss, 0.0),
        )
        self.modules = {"model": self.trained, "loss": self.cost}
        self.warned = False

    def begin(self, epoch: int) -> None:
        super().begin(epoch)
        self.epoch = epoch
        self.cost.begin(epoch)

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        see = partial(self.inputs.through, index=self.rows[batch], varied=self.varied[batch])
        return {"loss": self.cost(batch, self.trained, see)}

    def after_step(self) -> None:
        self.cost.after_step(self.trained)

    def after_epoch(self) -> dict[str, float]:
        """Of clean images: how many labels are predicted on average, and `an` on validation."""
        split, y = self.source.split, torch.from_numpy(self.source.known).float()
        given = split.validation[self.source.known[split.validation].any(axis=1)]
        z, z_given = self.logits(split.train), self.logits(given)
        watched = {
            "validation": an(z_given, y[given]).item(),
            "plateau": an(z, y[split.train]).item(),
            "slope": y[split.train].gather(1, z.argmax(dim=1, keepdim=True)).mean().item(),
        }
        predicted = (z > 0).sum(dim=1).float().mean().item()
        row = self.cost.after_epoch(z, watched)
        self.tell(predicted, row)
        return {"predicted_labels": predicted, "validation_an": watched["validation"], **row}

    def tell(self, predicted: float, row: Mapping[str, float]) -> None:
        """Say what ought not to be, once."""
        name, epoch = f"{self.source.config.run_id}: ", self.epoch + 1
        if row.get("fallback") and row["trigger"] == epoch:
            say(
                f"{name}no detector has fired; calibration begins all the same, after epoch {epoch}"
            )
        most = 2 * self.k or self.y_train.shape[1] / 2
        if predicted > most and not self.warned:
            self.warned = True
            say(
                f"{name}collapse: after epoch {epoch} an image is given {predicted:.1f} labels on "
                f"average, more than {most:.1f}; mistrust p > 0.5, and of gc lower the weight, or "
                "let it begin later"
            )

    def logits(self, index: np.ndarray) -> Tensor:
        """(Q, L) of images as they are."""
        return self.inputs.embed(self.model, index)[0]

    def validate(self) -> dict[str, float]:
        index = self.source.split.validation
        return classification_scores(self.logits(index).sigmoid(), self.source.known[index])

    def outcome(self) -> Outcome:
        """Probabilities of all images' labels, and how well the network's features retrieve."""
        archive, test = self.source.archive, self.source.split.test
        z, h = self.inputs.embed(self.model, np.arange(len(archive)))
        p, h = z.sigmoid(), h[test]
        state, trained = self.model.state_dict(), "head." * bool(self.source.config.frozen_views)
        kept = {name: value for name, value in state.items() if name.startswith(trained)}
        tensors = {"weights": kept, "embeddings": {"z": h}, "predictions": {"predicted": p}}
        found = evaluate(h, archive.labels[test])
        return Outcome(found, tensors=tensors, predicted=p[test].numpy())


def known_count(source: Source) -> float:
    """How many labels a validation image has, on average; 0 where not all of them are known."""
    config, known = source.config, source.known[source.split.validation]
    if config.labels != "complete" and config.validation_labels != "complete":
        return 0.0
    return float(known[known.any(axis=1)].sum(axis=1).mean())


def check(source: Source, labels_per_image: float) -> None:
    """TypeError for what the loss does not take, ValueError for what it lacks."""
    config = source.config
    entry = WEAK_LOSSES[config.loss]
    for name in config.method_params.keys() & MEANT_FOR.keys():
        if entry.needs not in MEANT_FOR[name]:
            losses = [n for n, loss in WEAK_LOSSES.items() if loss.needs in MEANT_FOR[name]]
            raise TypeError(f"{name} is a setting of {', '.join(losses)}; {config.loss} has no use")
    for name in config.loss_params.keys() - entry.defaults.keys():
        has = nearest(name, entry.defaults) if entry.defaults else "; it has none"
        raise TypeError(f"{config.loss} has no parameter {name!r}{has}")
    if entry.needs == "complete" and source.weak is not None:
        raise ValueError(
            f"{config.loss} is the ceiling, of complete labels, and labels is {config.labels!r}: "
            "set labels='complete', or loss='an'"
        )
    if not 0 <= labels_per_image <= source.known.shape[1]:
        most = source.known.shape[1]
        raise ValueError(f"labels_per_image must be from 0 to {most}, got {labels_per_image:g}")
    if entry.needs_labels_per_image and not labels_per_image:
        raise ValueError(
            f"{config.loss} must know how many labels an image has on average: give "
            "method_params={'labels_per_image': ...}, or validation_labels='complete', to count"
        )
    if config.micro_batch is not None and config.method_params.get("mixup"):
        raise ValueError("mixup mixes a whole batch: set micro_batch=None, or mixup=0")
    if distributed.world()[1] > 1:
        raise ValueError(f"{config.loss} is trained by one process: start it without torchrun")


def cost_of(
    config: Config,
    o: Tensor,
    network: nn.Module,
    *,
    labels_per_image: float,
    memory_decay: float,
    delta: float,
    **calibration: Any,
) -> Cost:
    """The loss of a configuration, with what it keeps."""
    entry, epochs, seed = WEAK_LOSSES[config.loss], config.epochs, config.seed
    params = {**entry.defaults, **config.loss_params}
    if entry.needs_labels_per_image:
        params["labels_per_image"] = labels_per_image
    loss = config.loss, o, params
    match entry.needs:
        case "theta":
            return Estimates(*loss, seed=seed)
        case "soft":
            return SoftNegatives(*loss, epochs=epochs)
        case "count":
            return LargeLosses(*loss, delta=delta, for_good=config.loss == "ll_cp")
        case "progress":
            return Progress(*loss, epochs=epochs)
        case "corrected":
            return Correction(*loss)
        case "memory":
            return Ensemble(*loss, memory_decay=memory_decay)
        case "teacher":
            of = {"memory_decay": memory_decay, "epochs": epochs, "seed": seed, **calibration}
            return Calibration(o, network, **of)
    return Cost(*loss)
