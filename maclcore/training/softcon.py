"""SoftCon (Wang, Albrecht and Zhu, TGRS 2024): Siamese pretraining with soft multi-label targets.

A trainable branch embeds one view of each image, a slow copy of it another, and the loss wants the
matrix of their cosines to be the identity and, softly, the matrix of the label sets' similarities
(`softcon`; its plain part alone: `infonce`). The authors have released no pretraining code: what
their abstract and captions do not say is our reading, and stands at the setting.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from maclcore.config import Config
from maclcore.losses import infonce
from maclcore.store.identity import Source
from maclcore.training.momentum import MomentumQueue
from maclcore.training.retrieval import Retrieval


class SoftCon(Retrieval):
    """`source.config.loss` between two branches, of which the second follows the first.

    With `views=2` there is no second branch: both views pass the trainable one. With a `queue` the
    slow copy's last keys, and their labels, are candidates beside the batch's.
    Where an archive has several images of a ground, its seasons, the second view is of any of those
    in the training split, drawn anew in each epoch, with labels of its own.

    momentum, momentum_end: m of the slow copy, θ_key = m θ_key + (1 - m) θ after each step, from
        the first to the second along half a cosine (our reading: as in MoCo v3, which the authors'
        group uses; equal numbers: constant).
    mask_ratio: the share of the tokens that the trainable branch drops and does not see, for a
        vision transformer of timm; the slow copy sees all (the paper's ratio is not known to us).
    symmetric: each view is anchor in turn, and the loss is the mean of both (our default: not; the
        paper draws one matrix, and it takes twice the time).
    seasons: whether a second view may be of another image of the same ground.
    """

    def __init__(
        self,
        source: Source,
        on: torch.device,
        progress: bool = False,
        *,
        momentum: float = 0.99,
        momentum_end: float = 1.0,
        mask_ratio: float = 0.0,
        symmetric: bool = False,
        seasons: bool = True,
    ) -> None:
        config, archive = source.config, source.archive
        for name, m in (("momentum", momentum), ("momentum_end", momentum_end)):
            if not 0 <= m <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {m}")
        if symmetric and (config.queue or config.views == 2):
            raise ValueError("symmetric is for a batch's own keys: without a queue, and views=1")
        if config.momentum != Config.momentum:
            raise ValueError("the momentum of a Siamese training is a setting: method_params")
        if mask_ratio and config.frozen_views:
            raise ValueError("mask_ratio drops tokens of images, and frozen_views has none")
        super().__init__(source, on, progress)
        if config.views == 1 and self.queue is None:
            self.queue = self.modules["queue"] = MomentumQueue(
                self.trained, 0, config.embedding_dim, archive.labels.shape[1]
            )
        self.views, self.symmetric = 2, symmetric
        self.momentum = momentum, momentum_end
        if mask_ratio:  # the slow copy has been made, and keeps its tokens
            self.model.drop_tokens(mask_ratio)
        grounds = [archive.grounds[i] for i in source.split.train] if archive.grounds else []
        self.grounds = np.array(grounds) if seasons and grounds else None

    def begin(self, epoch: int) -> None:
        super().begin(epoch)
        self.done = float(epoch)  # epochs, of which `part` is a step's share
        if self.grounds is not None:
            self.second = seasons(self.grounds, self.source.config.seed, epoch)

    def ahead(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        self.part = 1 / len(batches)
        return super().ahead(batches)

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """The loss; of it the plain part, `contrast`; and `soft_gradient`, how strongly the soft
        part pulls beside it: ‖λ ∂L_soft/∂z‖ / ‖∂L_con/∂z‖."""
        seen = [self.seen(batch, swapped) for swapped in (False, True)[: 1 + self.symmetric]]
        loss = torch.stack([self.loss(z, y, **keys) for z, y, keys in seen]).mean()
        z, y, keys = seen[0]
        z = z.detach().requires_grad_()
        plain = infonce(z, y, temperature=self.loss.params["temperature"], check=False, **keys)
        (pull,) = torch.autograd.grad(plain, z)
        (both,) = torch.autograd.grad(self.loss(z, y, **keys), z)
        return {
            "loss": loss,
            "contrast": plain,
            "soft_gradient": (both - pull).norm() / pull.norm(),
        }

    def after_step(self) -> None:
        self.done += self.part
        if self.queue is not None:
            t = self.done / self.source.config.epochs
            self.queue.follow(self.trained, momentum(*self.momentum, t))


def momentum(first: float, last: float, t: float) -> float:
    """m at t in [0, 1] of the training: `first` at 0, `last` at 1, half a cosine in between."""
    return last - (last - first) * (1 + math.cos(math.pi * t)) / 2


def seasons(grounds: np.ndarray, seed: int, epoch: int) -> Tensor:
    """For each image (n,) another, or the same, of its ground, each with equal chance.

    A pure function of (seed, epoch) and the grounds (n,).
    """
    _, ground, count = np.unique(grounds, return_inverse=True, return_counts=True)
    by_ground = np.argsort(ground, kind="stable")
    start = np.cumsum(count) - count
    u = np.random.default_rng([seed, epoch]).random(len(grounds))
    return torch.from_numpy(by_ground[start[ground] + (u * count[ground]).astype(int)])
