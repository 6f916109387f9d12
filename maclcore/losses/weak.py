"""Placeholder."""
import inspect
from dataclasses import dataclass
from typing import Any, Callable
import torch
from torch import Tensor
import torch.nn.functional as F

def an(z, o):
    return F.binary_cross_entropy_with_logits(z, o.to(z.dtype))

def full(z, y):
    return an(z, y)

def epr(z, o, *, labels_per_image):
    p = z.sigmoid()
    return -(o * F.logsigmoid(z)).mean() + ((p.sum(1).mean() - labels_per_image) / z.shape[1]) ** 2

def gc(z, o, t, *, weight, unobserved=None):
    u = 1 - o if unobserved is None else unobserved
    return an(z, o) + weight * (u * (1 - z.sigmoid() * t).clamp(min=1e-4).log()).mean()

@dataclass(frozen=True)
class WeakLoss:
    name: str
    function: Callable[..., Tensor]
    method: str = "weak"
    @property
    def defaults(self) -> dict[str, Any]:
        return {}

WEAK_LOSSES = {f.__name__: WeakLoss(f.__name__, f) for f in (full, an, epr, gc)}
