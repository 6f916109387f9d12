"""Losses that learn all labels of an image from one that is known; `WEAK_LOSSES` names them.

`entries` checks a batch of logits and labels, `formulas` has a function for each loss, `registry`
its entry.
"""

from maclcore.losses.weak.formulas import (
    an,
    an_ls,
    asl,
    elr,
    em,
    em_apl,
    epr,
    fixed_point,
    full,
    gc,
    gr,
    hill,
    large_losses,
    ll_cp,
    ll_ct,
    ll_r,
    role,
    splc,
    wan,
)
from maclcore.losses.weak.registry import NEEDS, WEAK_LOSSES, WeakLoss

__all__ = [
    "NEEDS", "WEAK_LOSSES", "WeakLoss", "an", "an_ls", "asl", "elr", "em", "em_apl", "epr",
    "fixed_point", "full", "gc", "gr", "hill", "large_losses", "ll_cp", "ll_ct", "ll_r", "role",
    "splc", "wan",
]  # fmt: skip
