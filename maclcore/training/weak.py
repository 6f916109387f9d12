"""Weak labels: training to tell all labels of an image from a table that names few, or one.

A network with a classifier on it, the losses of `WEAK_LOSSES`, and what each of them keeps while it
trains. Where the network is frozen, its stored features are standardised, and those of clean images
are among the views (`Features.with_clean`).
"""

import inspect
import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maclcore.config import nearest
from maclcore.evaluation.classification import classification_scores
from maclcore.evaluation.retrieval import evaluate
from maclcore.losses.weak import WEAK_LOSSES
from maclcore.models.network import LabelHead
from maclcore.progress import say
from maclcore.store.identity import Source
from maclcore.training import distributed
from maclcore.training.calibration import Calibration, Memory, Mixed, check_trigger, mixture
from maclcore.training.finetune import Classification, labelled
from maclcore.training.inputs import Features
from maclcore.training.loop import Outcome
from maclcore.training.retrieval import network

WEIGHT = 5.0  #: λ of calibration where the number of labels an image is not known (our reading)


class Weak(Classification):
    """`source.config.loss`, of `WEAK_LOSSES`, on the logits of a batch and what is known of it.

    labels_per_image: k, how many labels an image is expected to have; 0: as the validation images
        have, if their labels are complete, else not known. `epr` and `role` need it.
    weight: λ of `gc`; 0: 1 + k, or 5 where k is not known. An unobserved label is pulled up where
        its probability exceeds 1 / (λ - 1).
    trigger: when `gc` begins to calibrate, until which it is `an`: at the end of an epoch, by its
        number, or when a detector says so: "validation", the loss `an` on validation images was
        least three epochs ago; "plateau", on training images it falls by less than 5 % in three
        epochs; "slope", how often the highest logit is an observed label rises again after it did
        not (`calibration.rises_again`).
    teacher_decay, memory_decay: of the two slow means of `gc` (`Calibration`), the second of `elr`,
        too; 0: without it.
    mixup: α of l ~ Beta(α, α), by which `gc` mixes a batch once it calibrates; 0: it does not.
    delta: Δ of `ll_r`, `ll_ct` and `ll_cp`; 0: 0.002, and 0.001 for `ll_cp`.
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
    ) -> None:
        config = source.config
        if distributed.world()[1] > 1:
            raise ValueError(f"{config.loss} is trained by one process: start it without torchrun")
        known = getattr(source, "known", source.archive.labels)
        self.source, self.on, self.known = labelled(source, known), on, known
        train = self.source.split.train
        self.rows, self.y_train = torch.from_numpy(train), known[train]
        self.o = torch.from_numpy(self.y_train).float().to(on)
        self.k = labels_per_image or self.counted()
        self.weight = weight or (1 + self.k if self.k else WEIGHT)
        self.mixup = mixup
        self.model, self.inputs = network(self.source, on, progress)
        head = LabelHead(self.model.head[0].in_features, known.shape[1])
        if isinstance(self.inputs, Features):
            self.inputs = self.inputs.with_clean(train)
            head.mean, head.spread = self.inputs.moments()
        self.model.head = head.to(on)
        self.trained = self.inputs.trained(self.model)
        self.loss = WEAK_LOSSES[config.loss].function
        self.calibration = Calibration(
            self.trained, *self.y_train.shape, on,
            epochs=config.epochs, trigger=check_trigger(str(trigger), config.epochs),
            teacher_decay=teacher_decay, memory_decay=memory_decay,
        )
        self.modules = {"model": self.trained, "calibration": self.calibration}

    def counted(self) -> float:
        return 0.0

    def begin(self, epoch: int) -> None:
        super().begin(epoch)
        self.epoch, self.number = epoch, 0

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        index, varied, o = self.rows[batch], self.varied[batch], self.o[batch]
        through = self.inputs.through
        if self.source.config.loss == "gc" and self.calibration.begun:
            with torch.no_grad():
                p = through(self.calibration.teacher.eval(), index, varied).sigmoid()
            t = self.calibration.memory.update(batch, p)
            z = through(self.trained, index, varied)
            return {"loss": self.loss(z, o, t, weight=self.weight)}
        loss = WEAK_LOSSES["an"].function if self.source.config.loss == "gc" else self.loss
        z = through(self.trained, index, varied)
        return {"loss": loss(z, o)}

    def after_step(self) -> None:
        self.number += 1
        self.calibration.follow(self.trained)

    def after_epoch(self) -> dict[str, float]:
        z = self.logits(self.source.split.train)
        v = self.logits(self.source.split.validation)
        o = torch.from_numpy(self.known[self.source.split.validation]).float()
        an = WEAK_LOSSES["an"].function
        values = {"validation": an(v, o).item()}
        self.calibration.watch(self.epoch + 1, values)
        return {"trigger": float(self.calibration.trigger)}

    def logits(self, index: np.ndarray) -> Tensor:
        return self.inputs.embed(self.model, index)[0]

    def validate(self) -> dict[str, float]:
        index = self.source.split.validation
        return classification_scores(self.logits(index).sigmoid(), self.known[index])

    def outcome(self) -> Outcome:
        """Probabilities of all images' labels, and how well the network's features retrieve."""
        archive, test = self.source.archive, self.source.split.test
        z, h = self.inputs.embed(self.model, np.arange(len(archive)))
        p, h = z.sigmoid(), h[test]
        state, trained = self.model.state_dict(), "head." if self.source.config.frozen_views else ""
        kept = {name: value for name, value in state.items() if name.startswith(trained)}
        tensors = {"weights": kept, "embeddings": {"z": h}, "predictions": {"predicted": p}}
        return Outcome(
            evaluate(h, archive.labels[test]), tensors=tensors, predicted=p[test].numpy()
        )
