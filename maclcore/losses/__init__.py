"""The losses of the paper's Tables 4 to 6 behind one interface, and the registry that names them.

One alphabet of shapes: `N` images in a batch, `D` embedding, `L` labels; `z (N, D)` unit rows,
`y (N, L)` multi-hot. Every loss is a function `loss(z, y, ...) -> scalar`, float32 inside autocast:

* one view of each image; an anchor is contrasted with all other images of the batch;
* whoever calls normalises `z`; un-normalised rows, NaN, an empty batch, shapes that disagree and
  labels other than 0/1 are a TypeError or ValueError;
* an anchor without a positive contributes 0, and `reduction` says whether it counts in the mean;
  a batch without any positive gives 0, with a gradient of 0;
* an image without labels is nobody's positive and stays in everybody's denominator;
* `temperature` multiplies T: 0.3 for the baselines (§4.2), 1.0 for MACL, whose formula has none.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from maclcore.config import nearest
from maclcore.labels import Array, LabelStatistics, as_labels
from maclcore.losses.macl import macl, wg_macl
from maclcore.losses.mulsupcon import mulsupcon, wg_mulsupcon
from maclcore.losses.overlap import lbase, simdis
from maclcore.losses.pairs import REDUCTIONS, Pairs
from maclcore.losses.supcon import supcon_all, supcon_any

__all__ = [
    "COLOURS", "LOSSES", "REDUCTIONS", "Loss", "PairLoss", "build_loss", "lbase", "macl",
    "method_label", "mulsupcon", "pair_weights", "simdis", "supcon_all", "supcon_any", "wg_macl",
    "wg_mulsupcon",
]  # fmt: skip

#: One colour for life, in the paper's order: any two at least 24 apart in CIELAB, for normal,
#: deuteranopic and protanopic vision alike.
COLOURS = {
    "supcon_all": "#4215B2",
    "supcon_any": "#9ABAFF",
    "lbase": "#5EAAAE",
    "lproto": "#DFD372",
    "lmsc": "#C37D58",
    "oml": "#7766CD",
    "mulsupcon": "#29406B",
    "wg_mulsupcon": "#5EE2AE",
    "simdis": "#524100",
    "lreg": "#59232B",
    "l_wo_reg": "#C2476D",
    "macl": "#D55E00",
    "wg_macl": "#FFBE00",
}


@dataclass(frozen=True)
class Loss:
    """An entry of the registry: what a loss is called, computes and comes from."""

    name: str
    label: str  #: as in the tables
    function: Callable[..., Tensor]
    equation: str  #: LaTeX of the loss L_i of one anchor, before the mean over anchors
    source: str  #: paper and year
    reference: str  #: released code, if any; every loss here is written from its formula
    licence: str  #: of that code

    @property
    def colour(self) -> str:
        return COLOURS[self.name]

    @property
    def defaults(self) -> dict[str, Any]:
        """Every parameter with its default, read from the function's signature."""
        parameters = inspect.signature(self.function.weights).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    @property
    def needs_stats(self) -> bool:
        """Whether the function takes the statistics of the training labels."""
        return "stats" in inspect.signature(self.function).parameters


_LOG_P = r"\log \frac{\exp(s_{ip} / \tau)}{\sum_{a \in A(i)} \exp(s_{ia} / \tau)}"
_LOG_P_T = _LOG_P.replace(r"s_{ip} / \tau", "s_{ip} / T_{ip}").replace(r"\tau", "T_{ia}")
_SUPCON = r"-\frac{1}{|P(i)|} \sum_{p \in P(i)} "
_BY_LABEL = r"\sum_{l \in \mathbf{y}_i} \frac{1}{|P_{il}|} \sum_{p \in P_{il}} "
_WG = r"-\frac{1}{|\mathbf{y}_i|} "

_KHOSLA = "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020"
_AUDIBERT = (
    "Audibert et al., Exploring Contrastive Learning for Long-Tailed Multi-label Text "
    "Classification, ECML PKDD 2024"
)
_ZHANG = "Zhang and Wu, Multi-Label Supervised Contrastive Learning, AAAI 2024"
_HUANG = (
    "Huang et al., Similarity-Dissimilarity Loss for Multi-label SupCon, arXiv:2410.13439, 2024"
)
_MACL = "MACL: Multi-Label Adaptive Contrastive Learning Loss for RS Image Retrieval, 2025"

_SUPCONTRAST = ("github.com/HobbitLong/SupContrast", "BSD-2-Clause")
_COMPREHENSIVE = (
    "github.com/audibert-alexandre-fra/Multi-label-contrastive-comprehensive",
    "Apache-2.0 (its README: MIT)",
)
_MULSUPCON = ("github.com/williamzhangsjtu/MulSupCon", "none stated")
_NO_CODE = ("none released", "none")

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss(
            "supcon_all", "SupCon-ALL", supcon_all,
            _SUPCON + _LOG_P + r", \quad P(i) = \{p \neq i : \mathbf{y}_p = \mathbf{y}_i\}",
            _KHOSLA, *_SUPCONTRAST,
        ),
        Loss(
            "supcon_any", "SupCon-ANY", supcon_any,
            _SUPCON + _LOG_P
            + r", \quad P(i) = \{p \neq i : \mathbf{y}_p \cap \mathbf{y}_i \neq \emptyset\}",
            _KHOSLA, *_SUPCONTRAST,
        ),
        Loss(
            "lbase", "LBase", lbase,
            r"-\sum_{p \in A(i)} \frac{J_{ip}}{\sum_{k \in A(i)} J_{ik}} " + _LOG_P,
            _AUDIBERT, *_COMPREHENSIVE,
        ),
        Loss("mulsupcon", "MulSupCon", mulsupcon, "-" + _BY_LABEL + _LOG_P, _ZHANG, *_MULSUPCON),
        Loss(
            "wg_mulsupcon", "Wg-MulSupCon", wg_mulsupcon,
            _WG + _BY_LABEL + _LOG_P, _ZHANG, *_MULSUPCON,
        ),
        Loss(
            "simdis", "Sim-Dis", simdis,
            _SUPCON + r"\frac{|\mathbf{y}_i \cap \mathbf{y}_p|}{|\mathbf{y}_i|} "
            r"\frac{1}{1 + |\mathbf{y}_p \setminus \mathbf{y}_i|} " + _LOG_P,
            _HUANG, *_NO_CODE,
        ),
        Loss("macl", "MACL", macl, "-" + _BY_LABEL + "w_{ip} " + _LOG_P_T, _MACL, *_NO_CODE),
        Loss(
            "wg_macl", "Wg-MACL", wg_macl,
            _WG + _BY_LABEL + "w_{ip} " + _LOG_P_T, _MACL, *_NO_CODE,
        ),
    )
}  # fmt: skip


#: losses of the published tables that are not built yet
_PUBLISHED = {
    "lproto": "LProto",
    "lmsc": "LMSC",
    "oml": "OML",
    "lreg": "LReg",
    "l_wo_reg": "L-W/O-Reg",
}


def method_label(method: str) -> str:
    """A loss, published or built, or a reference row, as tables and legends call it."""
    label = LOSSES[method].label if method in LOSSES else _PUBLISHED.get(method)
    return label or method.capitalize()


class PairLoss(nn.Module):
    """A loss of the registry with its parameters fixed: `loss(z, y) -> scalar`, nothing to learn.

    Values of `z` and `y` are checked at every call on a CPU and at the first on a GPU, where each
    check would wait for the device.
    """

    def __init__(self, loss: Loss, given: tuple, params: dict[str, Any]) -> None:
        super().__init__()
        self.loss, self.given, self.params, self.called = loss, given, params, False

    def forward(self, z: Tensor, y: Array) -> Tensor:
        check = not self.called or z.device.type == "cpu"
        self.called = True
        return self.loss.function(z, y, *self.given, check=check, **self.params)

    def extra_repr(self) -> str:
        return ", ".join([self.loss.name, *(f"{k}={v!r}" for k, v in self.params.items())])


def build_loss(name: str, stats: LabelStatistics | None = None, **params: Any) -> PairLoss:
    """The loss of that name as a module; `params` override its defaults.

    ValueError for an unknown name, TypeError for an unknown parameter, both naming the nearest one;
    ValueError for a parameter's value that cannot work.
    """
    loss, given = _resolve(name, stats, params)
    # the weights of a few label sets, so that a bad value fails here and not in mid-training
    pair_weights(name, [[True]] if stats is None else stats.sets[:64], stats, **params)
    return PairLoss(loss, given, loss.defaults | params)


def pair_weights(
    name: str, y: Array, stats: LabelStatistics | None = None, **params: Any
) -> tuple[Tensor, Tensor]:
    """The label side of a loss: W and T, (N, N) each, for labels `y` (N, L), anchors in rows.

    W is 0 on the diagonal and stands before the mean over anchors; T is not used on the diagonal.
    Raises as `build_loss` does.
    """
    loss, given = _resolve(name, stats, params)
    y = as_labels(y)
    y = y if isinstance(y, Tensor) else torch.tensor(y)
    pairs = Pairs.of(y, torch.get_default_dtype())
    W, T, _ = loss.function.weights(pairs, *given, **params)
    return W, torch.as_tensor(T, dtype=W.dtype, device=W.device).expand_as(W)


def _resolve(name: str, stats: LabelStatistics | None, params: dict) -> tuple[Loss, tuple]:
    """The entry of that name, and what its function takes between (z, y) and `params`."""
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}{nearest(name, LOSSES)}")
    loss = LOSSES[name]
    for key in params.keys() - loss.defaults.keys():
        raise TypeError(f"{name} has no parameter {key!r}{nearest(key, loss.defaults)}")
    if loss.needs_stats and not isinstance(stats, LabelStatistics):
        raise TypeError(f"{name} needs the LabelStatistics of the training labels, got {stats!r}")
    return loss, (stats,) if loss.needs_stats else ()
