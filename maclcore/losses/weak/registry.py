"""The losses of weak labels, by name: what each is called, computes, needs and comes from."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from maclcore.losses.weak import formulas


@dataclass(frozen=True)
class WeakLoss:
    """An entry of `WEAK_LOSSES`, which `maclcore.losses.register` enters."""

    name: str
    label: str  #: as in the tables
    colour: str  #: "#RRGGBB", one for life, that can be told from all others of `WEAK_LOSSES`
    function: Callable[..., Tensor]  #: of logits z (B, L), labels (B, L), and what it needs
    equation: str  #: LaTeX of one entry's loss: \ell_1 is -log p, \ell_0 is -log(1 - p)
    source: str  #: paper and year
    reference: str  #: released code, if any; every loss here is written from its formula
    licence: str  #: of that code
    needs: str = ""  #: what whoever trains must keep and pass on, after z and o; see `NEEDS`
    method: str = "weak"  #: which method of maclcore.training trains it

    @property
    def defaults(self) -> dict[str, Any]:
        """Every parameter that has a value of its own, read from the function's signature."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.default not in (p.empty, None)}

    @property
    def needs_labels_per_image(self) -> bool:
        """Whether the function takes the expected number of labels an image."""
        return "labels_per_image" in inspect.signature(self.function).parameters


#: what a loss may need besides logits and observed labels
NEEDS = {
    "": "nothing",
    "complete": "the complete labels, in place of the observed ones",
    "theta": "logits of label estimates, learned, a row for each training image",
    "soft": "targets of soft negatives, which are chosen at the end of an epoch",
    "count": "how many large losses of a batch are taken for those of missing labels",
    "progress": "how far the training is, 0 to 1",
    "corrected": "whether it corrects labels yet",
    "memory": "a running mean of the predictions for each training image",
    "teacher": "the same, of a teacher's predictions, from some epoch on",
}

WEAK_LOSSES: dict[str, WeakLoss] = {}

_AN = r"o \ell_1 + (1 - o) \ell_0"
_P = r"p = \sigma(z)"
_K = r"\frac{1}{L^2} \Big( \frac{1}{B} \sum_{i,c} p_{ic} - k \Big)^2"
_LARGE = r"\text{ among the } k \text{ largest } \ell_0"
_FOCAL = r"o (1 - p_m)^2 \big( -\log p_m \big) + (1 - o) "
_MARGIN = r", \quad p_m = \sigma(z - 1)"

_COLE = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021"
_ZHOU = (
    "Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single Positive Labels, "
    "ECCV 2022"
)
_KIM = "Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR 2022"
_CHEN = (
    "Chen et al., Boosting Single Positive Multi-label Classification with Generalized Robust "
    "Loss, IJCAI 2024"
)
_ZHANG = (
    "Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing Labels, "
    "arXiv:2112.07368, 2021"
)
_RIDNIK = "Ridnik, Ben-Baruch et al., Asymmetric Loss for Multi-Label Classification, ICCV 2021"
_LIU = (
    "Liu et al., Early-Learning Regularization Prevents Memorization of Noisy Labels, NeurIPS 2020"
)
_ADAGC = (
    "Liu, Perantoni, Bruzzone and Zhu, Adaptive Gradient Calibration for Single-Positive "
    "Multi-Label Learning in Remote Sensing Image Scene Classification, arXiv:2510.08269, 2025"
)

_SINGLE = ("github.com/elijahcole/single-positive-multi-label", "MIT")
_UNKNOWN = ("github.com/Correr-Zhou/SPML-AckTheUnknown", "MIT")
_LARGE_LOSS = ("github.com/snucml/LargeLossMatters", "none stated")
_GR = ("github.com/yan4xi1/GRLoss", "none stated")
_ROBUST = ("github.com/xinyu1205/robust-loss-mlml", "MIT")
_ELR = ("github.com/shengliu66/ELR", "MIT")

ENTRIES = (
    WeakLoss(
        "full", "Full labels", "#000000", formulas.full,
        r"y \ell_1 + (1 - y) \ell_0", "binary cross-entropy", "none", "none", "complete",
    ),
    WeakLoss("an", "AN", "#0000AA", formulas.an, _AN, _COLE, *_SINGLE),
    WeakLoss(
        "an_ls", "AN-LS", "#5566AA", formulas.an_ls,
        r"o' \ell_1 + (1 - o') \ell_0, \quad o' = \epsilon + (1 - 2 \epsilon) o",
        _COLE, *_SINGLE,
    ),
    WeakLoss(
        "wan", "WAN", "#8899BB", formulas.wan,
        r"o \ell_1 + \frac{1 - o}{L - 1} \ell_0", _COLE, *_SINGLE,
    ),
    WeakLoss("epr", "EPR", "#2266FF", formulas.epr, r"o \ell_1 + " + _K, _COLE, *_SINGLE),
    WeakLoss(
        "role", "ROLE", "#CCDDFF", formulas.role,
        r"\tfrac{1}{2} [l(p, \hat{y}) + l(\hat{y}, p)], \quad l(p, \hat{y}) = o \ell_1 + "
        r"\hat{y} \ell_1 + (1 - \hat{y}) \ell_0 + " + _K,
        _COLE, *_SINGLE, "theta",
    ),
    WeakLoss(
        "em", "EM", "#663333", formulas.em,
        r"o \ell_1 - (1 - o) \alpha [p \ell_1 + (1 - p) \ell_0], \quad " + _P, _ZHOU, *_UNKNOWN,
    ),
    WeakLoss(
        "em_apl", "EM+APL", "#991100", formulas.em_apl,
        r"o \ell_1 + (1 - o) \begin{cases} \beta [s \ell_1 + (1 - s) \ell_0] & \text{soft negative}"
        r" \\ -\alpha [p \ell_1 + (1 - p) \ell_0] & \text{else} \end{cases}",
        _ZHOU, *_UNKNOWN, "soft",
    ),
    WeakLoss(
        "ll_r", "LL-R", "#CCFFBB", formulas.ll_r,
        r"\begin{cases} 0 & o = 0" + _LARGE + r" \\ " + _AN + r" & \text{else} \end{cases}",
        _KIM, *_LARGE_LOSS, "count",
    ),
    WeakLoss(
        "ll_ct", "LL-Ct", "#77CCAA", formulas.ll_ct,
        r"\begin{cases} \ell_1 & o = 0" + _LARGE + r" \\ " + _AN + r" & \text{else} \end{cases}",
        _KIM, *_LARGE_LOSS, "count",
    ),
    WeakLoss(
        "ll_cp", "LL-Cp", "#002277", formulas.ll_cp,
        r"\begin{cases} \ell_1, \; o \leftarrow 1 & o = 0" + _LARGE + r" \\ " + _AN
        + r" & \text{else} \end{cases}",
        _KIM, *_LARGE_LOSS, "count",
    ),
    WeakLoss(
        "gr", "GR", "#EEFF77", formulas.gr,
        r"o \ell_1 + (1 - o) v \Big[ k \frac{1 - p^q}{q} + (1 - k) p \Big], \quad k = "
        r"\sigma(w p - 2), \; v = \exp \Big( -\frac{(p - \mu)^2}{2 s^2} \Big)",
        _CHEN, *_GR, "progress",
    ),
    WeakLoss(
        "hill", "Hill", "#997755", formulas.hill,
        _FOCAL + "(1.5 - p) p^2" + _MARGIN, _ZHANG, *_ROBUST,
    ),
    WeakLoss(
        "splc", "SPLC", "#DDAA66", formulas.splc,
        _FOCAL + r"\begin{cases} (1 - p)^2 \ell_1 & p > \theta \\ p^2 \ell_0 & \text{else} "
        r"\end{cases}" + _MARGIN,
        _ZHANG, *_ROBUST, "corrected",
    ),
    WeakLoss(
        "asl", "ASL", "#FFFF22", formulas.asl,
        r"o (1 - p)^{\gamma_+} \ell_1 - (1 - o) p_c^{\gamma_-} \log(1 - p_c), \quad "
        r"p_c = \max(p - m, 0)",
        _RIDNIK, *_ROBUST,
    ),
    WeakLoss(
        "elr", "ELR", "#554466", formulas.elr,
        _AN + r" + \lambda \log(1 - p t)", _LIU, *_ELR, "memory",
    ),
    WeakLoss(
        "gc", "AdaGC", "#D55E00", formulas.gc,
        _AN + r" + \lambda (1 - o) \log(1 - p t)", _ADAGC, "not at hand", "unknown", "teacher",
    ),
)  # fmt: skip
