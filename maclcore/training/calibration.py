"""Gradient calibration, the second stage of AdaGC, and when it begins.

Liu, Perantoni, Bruzzone and Zhu (arXiv:2510.08269, 2025) train on assumed negatives until early
learning is over, and then let the gradient of what was not observed be corrected by pseudo-labels,
which come of two slow means: of the network's weights, and of what that said of each image. Their
paper's body and code were not to be had: all that is not in their abstract is our reading.
"""

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from maclcore.config import nearest
from maclcore.training.momentum import follow

FLOOR = 3  #: epochs before which no detector is asked: the first ones are no early learning yet
PATIENCE = 0.4  #: share of the epochs after which calibration begins whatever a detector says


class Memory(nn.Module):
    """A running mean of what was said of each training image: `mean` (n, L), t of the loss.

    What is said first of an image is its mean, unless `from_zero`, where 0 was said before all.
    """

    def __init__(
        self, images: int, labels: int, decay: float, on: torch.device, *, from_zero: bool = False
    ) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(images, labels, device=on))
        self.register_buffer("seen", torch.full((images, 1), from_zero, device=on))

    @torch.no_grad()
    def update(self, batch: Tensor, p: Tensor) -> Tensor:
        """The means (B, L) of the images at positions `batch` (B,), once p (B, L) has been said."""
        slow = self.mean[batch].lerp(p, 1 - self.decay)
        self.mean[batch] = mean = torch.where(self.seen[batch], slow, p)
        self.seen[batch] = True
        return mean


class Calibration(nn.Module):
    """The two means, what a detector has seen so far, and the epoch after which it fired.

    teacher_decay: a of the weights, θ' = a_k θ' + (1 - a_k) θ after step k (from 0), where
        a_k = min(1 - 1 / (k + 1), a), so that the teacher does not remember its random start.
    memory_decay: b of the predictions, of which the memory has none from before the trigger.
    """

    def __init__(
        self,
        network: nn.Module,
        images: int,
        labels: int,
        on: torch.device,
        *,
        epochs: int,
        trigger: str,
        teacher_decay: float,
        memory_decay: float,
    ) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.memory = Memory(images, labels, memory_decay, on)
        self.rule, self.decay = trigger, teacher_decay
        # on the CPU, where looking is free
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("trigger", torch.tensor(0))  # 0: not yet
        self.register_buffer("fallback", torch.tensor(False))
        self.register_buffer("curve", torch.full((epochs,), math.nan, dtype=torch.float64))

    @property
    def begun(self) -> bool:
        return bool(self.trigger)

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """A step is done: the teacher's weights come nearer, its running statistics are equal."""
        follow(self.teacher, network, min(1 - 1 / (int(self.steps) + 1), self.decay))
        for own, current in zip(self.teacher.buffers(), network.buffers(), strict=True):
            own.copy_(current)
        self.steps += 1

    def watch(self, epoch: int, values: dict[str, float]) -> None:
        """An epoch (from 1) is over; `values` are those that detectors look at, by their names."""
        self.curve[epoch - 1] = values.get(self.rule, math.nan)
        if self.begun:
            return
        epochs, seen = len(self.curve), self.curve[:epoch].tolist()
        if self.rule not in DETECTORS:
            fired = epoch == int(float(self.rule))
        else:
            fired = epoch >= FLOOR and DETECTORS[self.rule](seen)
            if not fired and epoch >= max(int(PATIENCE * epochs), 1):
                self.fallback.fill_(True)
        if fired or self.fallback:
            self.trigger.fill_(epoch)


def overfits(curve: Sequence[float], patience: int = 3) -> bool:
    """Whether the least of a curve is `patience` epochs old: a loss on other images rises again."""
    return len(curve) - 1 - int(np.argmin(curve)) >= patience


def settles(curve: Sequence[float], span: int = 3, least: float = 0.05) -> bool:
    """Whether a curve fell by less than that share of itself within the last `span` epochs."""
    return len(curve) > span and curve[-1 - span] - curve[-1] < least * abs(curve[-1 - span])


def rises_again(curve: Sequence[float], windows: Sequence[int] = (3, 5, 7)) -> bool:
    """Whether the slope of a curve has been least, and rises again, at each scale.

    As AIO2 does it (Liu et al., IEEE TGRS 2024) with windows of 10 to 40 epochs: the slope of the
    line through a window's last values, at least 0, was least more than the mean window ago and is
    above that now, for every window. It then goes back to an earlier state; ours does not.
    """

    def detected(window: int) -> bool:
        ends = range(window, len(curve) + 1)
        lines = [np.polyfit(np.arange(window), curve[e - window : e], 1)[0] for e in ends]
        slopes = np.maximum(lines, 0)
        if not len(slopes):
            return False
        age = len(slopes) - 1 - int(np.argmin(slopes))
        return age > np.mean(windows) and slopes[-1] > slopes.min()

    return all(map(detected, windows))


#: how to tell that early learning is over, from a value of each epoch so far; of which value, says
#: `maclcore.training.weak`
DETECTORS: dict[str, Callable[[Sequence[float]], bool]] = {
    "validation": overfits,
    "plateau": settles,
    "slope": rises_again,
}


def check_trigger(trigger: str, epochs: int) -> str:
    """The name of a detector, or an epoch in words; ValueError for neither, and one too late."""
    if trigger in DETECTORS:
        return trigger
    try:
        epoch = float(trigger)
    except ValueError:
        raise ValueError(
            f"trigger is {', '.join(DETECTORS)} or an epoch, not {trigger!r}"
            + nearest(trigger, DETECTORS)
        ) from None
    if not (epoch.is_integer() and 1 <= epoch < epochs):
        raise ValueError(
            f"trigger is an epoch from 1 to {epochs - 1}, after which one is left, not {trigger}"
        )
    return str(int(epoch))


def mixture(n: int, alpha: float, *, seed: int, epoch: int, step: int) -> Callable:
    """What mixes n rows, l v + (1 - l) v[π] with l in [0.5, 1]: a function of all arguments.

    l ~ Beta(α, α), the larger of l and 1 - l, as in ELR+ (Liu et al., NeurIPS 2020).
    """
    rng = np.random.default_rng([seed, epoch, step])
    share = rng.beta(alpha, alpha)
    share, partners = max(share, 1 - share), torch.from_numpy(rng.permutation(n))
    return lambda rows: rows * share + rows[partners] * (1 - share)


class Mixed(nn.Module):
    """A network that is given mixed rows."""

    def __init__(self, network: nn.Module, mix: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.mix = network, mix

    def forward(self, rows: Tensor) -> Tensor:
        return self.network(self.mix(rows))
