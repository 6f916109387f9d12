"""Gradient calibration, the second stage of AdaGC, and when it begins.

Liu, Perantoni, Bruzzone and Zhu (arXiv:2510.08269, 2025) train on assumed negatives until early
learning is over, and then let the gradient of what was not observed be corrected by pseudo-labels,
which come of two slow means: of the network's weights, and of what that said of each image. Their
paper's body and code were not to be had: all that is not in their abstract is our reading.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from maclcore.config import nearest
from maclcore.training.momentum import follow
from maclcore.training.weak_costs import Cost, Memory, See

Mix = Callable[[Tensor], Tensor]

FLOOR = 3  #: epochs before which no detector is asked: the first ones are no early learning yet
FALLBACK = 0.4  #: share of the epochs after which calibration begins whatever a detector says


class Calibration(Cost):
    """`an` until a trigger, then `gc` with what two slow means say of the images.

    weight: λ.
    trigger: a name of `DETECTORS`, or an epoch.
    teacher_decay: a of the weights, θ' = a_k θ' + (1 - a_k) θ after step k (from 0), where
        a_k = min(1 - 1 / (k + 1), a), so that the teacher does not remember its random start.
    memory_decay: b of the predictions, of which the memory has none from before the trigger.
    mixup: α of `mixture`; 0: images stay apart. The teacher sees them apart always.
    """

    def __init__(
        self,
        o: Tensor,
        network: nn.Module,
        *,
        weight: float,
        trigger: str | float,
        teacher_decay: float,
        memory_decay: float,
        mixup: float,
        epochs: int,
        seed: int,
    ) -> None:
        if not 0 <= teacher_decay < 1:
            raise ValueError(f"teacher_decay must be in [0, 1), got {teacher_decay}")
        for name, value in (("weight", weight), ("mixup", mixup)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        super().__init__("gc", o, {"weight": weight})
        self.assumed = Cost("an", o, {})
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.memory = Memory(o, memory_decay)
        self.rule, self.decay = check_trigger(str(trigger), epochs), teacher_decay
        self.mixup, self.seed = mixup, seed
        # on the CPU, where looking is free
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("trigger", torch.tensor(0))  # after which epoch it fired; 0: not yet
        self.register_buffer("fallback", torch.tensor(False))
        self.register_buffer("curve", torch.full((epochs,), math.nan, dtype=torch.float64))

    def begin(self, epoch: int) -> None:
        super().begin(epoch)
        self.step = 0

    def forward(self, batch: Tensor, network: nn.Module, see: See) -> Tensor:
        if not self.trigger:
            return self.assumed(batch, network, see)
        with torch.no_grad():
            t = self.memory.update(batch, see(self.teacher.eval()).sigmoid())
        o, mix = self.o[batch], unmixed
        if self.mixup:
            of = {"seed": self.seed, "epoch": self.epoch, "step": self.step}
            mix = mixture(len(batch), self.mixup, **of)
        z = see(Mixed(network, mix))
        return self.loss(z, mix(o), mix(t), unobserved=mix(1 - o))

    @torch.no_grad()
    def after_step(self, network: nn.Module) -> None:
        """The teacher's weights come nearer, its running statistics are the network's."""
        follow(self.teacher, network, min(1 - 1 / (int(self.steps) + 1), self.decay))
        for own, current in zip(self.teacher.buffers(), network.buffers(), strict=True):
            own.copy_(current)
        self.steps += 1
        self.step += 1

    def after_epoch(self, z: Tensor, watched: Mapping[str, float]) -> dict[str, float]:
        epoch = self.epoch + 1
        self.curve[self.epoch] = watched.get(self.rule, math.nan)
        if not self.trigger:
            fired, last = early_learning_is_over(self.rule, self.curve[:epoch], len(self.curve))
            self.fallback.fill_(last)
            self.trigger.fill_(epoch if fired else 0)
        t = self.memory.mean[self.memory.seen[:, 0]]
        return {
            "trigger": float(self.trigger),
            "fallback": float(self.fallback),
            "mean_t": t.mean().item() if len(t) else 0.0,
        }


def early_learning_is_over(rule: str, curve: Tensor, epochs: int) -> tuple[bool, bool]:
    """Whether calibration begins, after len(curve) of the epochs, and whether for want of a sign.

    rule: a detector, of whose value `curve` has each epoch's, or an epoch.
    """
    epoch = len(curve)
    if rule not in DETECTORS:
        return epoch == int(rule), False
    if epoch >= FLOOR and DETECTORS[rule](curve.tolist()):
        return True, False
    late = epoch >= max(int(FALLBACK * epochs), 1)
    return late, late


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
        near = nearest(trigger, DETECTORS)
        raise ValueError(f"trigger is a detector or an epoch, not {trigger!r}{near}") from None
    if not (epoch.is_integer() and 1 <= epoch < epochs):
        raise ValueError(
            f"trigger is an epoch from 1 to {epochs - 1}, after which one is left, not {trigger}"
        )
    return str(int(epoch))


def unmixed(rows: Tensor) -> Tensor:
    return rows


def mixture(n: int, alpha: float, *, seed: int, epoch: int, step: int) -> Mix:
    """What mixes n rows, l v + (1 - l) v[π] with l in [0.5, 1]: a function of all arguments.

    l ~ Beta(α, α), the larger of l and 1 - l, as in ELR+ (Liu et al., NeurIPS 2020).
    """
    rng = np.random.default_rng([seed, epoch, step])
    share = rng.beta(alpha, alpha)
    share, partners = max(share, 1 - share), torch.from_numpy(rng.permutation(n))
    return lambda rows: rows * share + rows[partners] * (1 - share)


class Mixed(nn.Module):
    """A network that is given mixed rows."""

    def __init__(self, network: nn.Module, mix: Mix) -> None:
        super().__init__()
        self.network, self.mix = network, mix

    def forward(self, rows: Tensor) -> Tensor:
        return self.network(self.mix(rows))
