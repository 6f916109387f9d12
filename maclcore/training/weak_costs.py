"""The losses of weak labels in training: what each is told beside logits and known labels, and what
is kept for that, in parameters and buffers.

What a loss needs is its entry's to say (`maclcore.losses.weak.NEEDS`); the teacher of gradient
calibration is `maclcore.training.calibration`'s.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from maclcore.losses.weak import WEAK_LOSSES, large_losses

#: the logits (B, L) that a network gives for a batch, in the views of the epoch
See = Callable[[nn.Module], Tensor]

UNDECIDED, CERTAIN = 0.6, 0.995  # of ROLE's estimates, at first
SOFT_SHARE = 0.9  # of a label's unobserved entries, which become soft negatives in time


class Cost(nn.Module):
    """A loss of `WEAK_LOSSES` that is told nothing else.

    o: (n, L) float, what is known of the training images' labels.
    """

    def __init__(self, name: str, o: Tensor, params: Mapping[str, Any]) -> None:
        super().__init__()
        # of the network's own logits, whose faults the loop has better words for
        self.loss = partial(WEAK_LOSSES[name].function, check=False, **params)
        self.register_buffer("o", o, persistent=False)

    def begin(self, epoch: int) -> None:
        """An epoch (from 0) begins."""
        self.epoch = epoch

    def forward(self, batch: Tensor, network: nn.Module, see: See) -> Tensor:
        """The loss of training images, by their positions `batch` (B,)."""
        z = see(network)
        return self.loss(z, self.o[batch], **self.told(batch, z.detach()))

    def told(self, batch: Tensor, z: Tensor) -> dict[str, Any]:
        return {}

    def after_step(self, network: nn.Module) -> None:
        """The network has moved."""

    def after_epoch(self, z: Tensor, watched: Mapping[str, float]) -> dict[str, float]:
        """The epoch is over; what to log of it.

        z: (n, L) logits of the training images as they are. `watched`: what tells how far learning
        is (`calibration.DETECTORS`).
        """
        return {}


class Progress(Cost):
    """How far the training is: 0 in the first epoch, 1 in the last."""

    def __init__(self, *args: Any, epochs: int) -> None:
        super().__init__(*args)
        self.last = max(epochs - 1, 1)

    def told(self, batch: Tensor, z: Tensor) -> dict[str, Any]:
        return {"progress": self.epoch / self.last}


class Correction(Cost):
    """Whether labels are corrected: after the first epoch."""

    def told(self, batch: Tensor, z: Tensor) -> dict[str, Any]:
        return {"corrected": self.epoch > 0}


class Estimates(Cost):
    """ROLE's logits Θ (n, L) of label estimates, learned ten times as fast as the network.

    Θ = 10 φ, for Adam moves φ by the same whatever its scale (but for its ε, and weight decay is a
    hundredth; theirs has none).
    """

    FACTOR = 10

    def __init__(self, *args: Any, seed: int) -> None:
        super().__init__(*args)
        generator = torch.Generator().manual_seed(seed)
        drawn = 2 * torch.rand(self.o.shape, generator=generator).to(self.o.device) - 1
        theta = torch.where(self.o == 1, logit(CERTAIN), logit(UNDECIDED) * drawn)
        self.phi = nn.Parameter(theta / self.FACTOR)

    def told(self, batch: Tensor, z: Tensor) -> dict[str, Any]:
        return {"theta": self.FACTOR * self.phi[batch]}


class SoftNegatives(Cost):
    """EM + APL's pseudo-labels `soft` (n, L), NaN where there is none.

    At the end of each epoch from W on, of each label's still unlabelled images those that look
    least like it become soft negatives, for good, with their p as target: of all its unobserved
    ones 90 % in equal parts. W is half of the epochs (theirs: 3 to 5 of 10, by archive).
    """

    def __init__(self, *args: Any, epochs: int) -> None:
        super().__init__(*args)
        self.first, self.epochs = epochs // 2, epochs
        self.register_buffer("soft", torch.full_like(self.o, math.nan))

    def told(self, batch: Tensor, z: Tensor) -> dict[str, Any]:
        return {"soft": self.soft[batch]}

    def after_epoch(self, z: Tensor, watched: Mapping[str, float]) -> dict[str, float]:
        if self.epoch + 1 >= self.first:
            unobserved = self.o == 0
            share = SOFT_SHARE / max(self.epochs - self.first, 1)
            counts = (share * unobserved.sum(dim=0)).long()
            z = z.to(self.o.device)
            free = torch.where(unobserved & self.soft.isnan(), z, math.inf)
            rank = free.argsort(dim=0, stable=True).argsort(dim=0)
            chosen = (rank < counts) & free.isfinite()
            self.soft.copy_(torch.where(chosen, z.sigmoid(), self.soft))
        return {"soft_negatives": (~self.soft.isnan()).sum(dim=1).float().mean().item()}


class LargeLosses(Cost):
    """How many of the batch's largest losses are taken for those of missing labels.

    Of B·L the share Δ a epoch since the first one; or, `for_good`, always the share Δ from the
    second epoch on, and those labels are known from then on.
    """

    def __init__(self, *args: Any, delta: float, for_good: bool) -> None:
        super().__init__(*args)
        if not 0 <= delta <= 1:
            raise ValueError(f"delta must be in [0, 1], got {delta}")
        self.delta, self.for_good = delta, for_good
        if for_good:
            self.register_buffer("o", self.o.clone())  # a checkpoint has it

    def told(self, batch: Tensor, z: Tensor) -> dict[str, Any]:
        epochs = min(self.epoch, 1) if self.for_good else self.epoch
        return {"count": math.ceil(z.numel() * epochs * self.delta)}

    def forward(self, batch: Tensor, network: nn.Module, see: See) -> Tensor:
        z, o = see(network), self.o[batch]
        told = self.told(batch, z)
        if self.for_good:
            found = large_losses(z.detach(), o, told["count"], strict=True)
            self.o[batch] = o.masked_fill(found, 1)
        return self.loss(z, o, **told)


class Memory(nn.Module):
    """A running mean of what was said of each training image: `mean` (n, L).

    What is said first of an image is its mean, unless `from_zero`, where 0 was said before all.
    """

    def __init__(self, o: Tensor, decay: float, *, from_zero: bool = False) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"memory_decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.register_buffer("mean", torch.zeros_like(o))
        self.register_buffer("seen", torch.full_like(o[:, :1], from_zero, dtype=torch.bool))

    @torch.no_grad()
    def update(self, batch: Tensor, p: Tensor) -> Tensor:
        """The means (B, L) of the images at positions `batch` (B,), once p (B, L) has been said."""
        slow = self.mean[batch].lerp(p, 1 - self.decay)
        self.mean[batch] = mean = torch.where(self.seen[batch], slow, p)
        self.seen[batch] = True
        return mean


class Ensemble(Cost):
    """ELR's t: of each image a running mean of the network's own predictions, from 0."""

    def __init__(self, *args: Any, memory_decay: float) -> None:
        super().__init__(*args)
        self.memory = Memory(self.o, memory_decay, from_zero=True)

    def told(self, batch: Tensor, z: Tensor) -> dict[str, Any]:
        return {"t": self.memory.update(batch, z.sigmoid())}


def logit(p: float) -> float:
    return math.log(p / (1 - p))
