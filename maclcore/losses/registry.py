"""The registry: what each loss is called, computes, comes from and is drawn in.

Tables, legends, experiments and the command line read it; a loss that is not the paper's stands
after the paper's, and is otherwise like them.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maclcore.config import nearest
from maclcore.labels import Array, LabelStatistics, as_labels
from maclcore.losses import colours
from maclcore.losses.graded import gain, graded, soft_jaccard
from maclcore.losses.macl import macl, wg_macl
from maclcore.losses.mulsupcon import mulsupcon, wg_mulsupcon
from maclcore.losses.oml import oml
from maclcore.losses.overlap import lbase, simdis
from maclcore.losses.pairs import Pairs
from maclcore.losses.parts import Part, parts
from maclcore.losses.prototypes import l_wo_reg, lmsc, lproto, lreg
from maclcore.losses.ranks import hap, smooth_ap
from maclcore.losses.softcon import infonce, softcon
from maclcore.losses.supcon import supcon_all, supcon_any
from maclcore.losses.weak.registry import ENTRIES, WEAK_LOSSES, WeakLoss


@dataclass(frozen=True)
class Loss:
    """An entry of the registry: what a loss is called, computes and comes from."""

    name: str
    label: str  #: as in the tables
    colour: str  #: "#RRGGBB", one for life, that can be told from all others (`register`)
    function: Callable[..., Tensor]
    equation: str  #: LaTeX of the loss L_i of one anchor, before the mean over anchors
    source: str  #: paper and year
    reference: str  #: released code, if any; every loss here is written from its formula
    licence: str  #: of that code
    paper: bool = False  #: one of the thirteen of the MACL paper's Tables 4 to 6
    two_views: bool = False  #: in its original form a batch holds two views of each image
    queue: str | None = None  #: what a queue does, as in its original form or, of MACL, in
    #: that of MulSupCon: "moco", "joins" or None
    method: str = "retrieval"  #: which method of maclcore.training trains it

    @property
    def defaults(self) -> dict[str, Any]:
        """Every parameter with its default, read from the function's signature."""
        parameters = inspect.signature(self.function).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name not in ("check", "keys", "key_labels")
        }

    @property
    def needs_prototypes(self) -> bool:
        """Whether the function takes learned prototypes, one for each label."""
        return "prototypes" in inspect.signature(self.function).parameters

    @property
    def needs_stats(self) -> bool:
        """Whether the function takes the statistics of the training labels."""
        return "stats" in inspect.signature(self.function).parameters


LOSSES: dict[str, Loss] = {}
#: the colour of each of them
COLOURS: dict[str, str] = {}
#: the same of `WEAK_LOSSES`; a figure shows one of the two kinds
WEAK_COLOURS: dict[str, str] = {}

Entry = TypeVar("Entry", Loss, WeakLoss)


def register(loss: Entry) -> Entry:
    """Enter a loss in `LOSSES`, or in `WEAK_LOSSES`, behind those that are there.

    ValueError for a name that is taken, one that differs from the function's, and a colour that
    cannot be told from that of another loss of its kind, with one that can.
    """
    weak = isinstance(loss, WeakLoss)
    table, drawn = (WEAK_LOSSES, WEAK_COLOURS) if weak else (LOSSES, COLOURS)
    if loss.name in LOSSES or loss.name in WEAK_LOSSES:
        raise ValueError(f"there is a loss {loss.name!r} already")
    if loss.name != loss.function.__name__:
        raise ValueError(f"{loss.name!r} is not the name of its function, {loss.function.__name__}")
    colours.check(loss.name, loss.colour, drawn)
    table[loss.name], drawn[loss.name] = loss, loss.colour
    return loss


_LOG_P = r"\log \frac{\exp(s_{ip} / \tau)}{\sum_{a \in A(i)} \exp(s_{ia} / \tau)}"
_LOG_P_T = _LOG_P.replace(r"s_{ip} / \tau", "s_{ip} / T_{ip}").replace(r"\tau", "T_{ia}")
_SUPCON = r"-\frac{1}{|P(i)|} \sum_{p \in P(i)} "
_BY_LABEL = r"\sum_{l \in \mathbf{y}_i} \frac{1}{|P_{il}|} \sum_{p \in P_{il}} "
# over images X and prototypes together, each with its label set
_JOINT = (
    r"-\sum_{p \in X} \frac{1}{|\mathbf{y}_i|} \sum_{l \in \mathbf{y}_i \cap \mathbf{y}_p} "
    r"\frac{r_{ip}}{\sum_{k \in X,\, l \in \mathbf{y}_k} r_{ik}} "
)
_GRADES = (
    r"\frac{1}{|\Theta|} \sum_{\theta \in \Theta} \frac{1}{|P_{i\theta}|} \sum_{p \in P_{i\theta}} "
)
_RANK = r"1 + \sum_{k \neq i, p} \sigma_\theta(s_{ik} - s_{ip})"
_PARTS = r" + \lambda \sum_k (|z_{ik}|^2 - 1/K)^2"
_FOUR = (
    r"L^\text{Graded}(\hat z_{i1}) + L^\text{H-AP}(\hat z_{i2}) + L^\text{LProto}(\hat z_{i3}) "
    r"+ L^\text{OML}(\hat z_{i4})" + _PARTS
)
_INFONCE = _LOG_P.replace(r"\log", r"-\log").replace("s_{ip}", "s_{i,t(i)}")
_WG = r"-\frac{1}{|\mathbf{y}_i|} "

_KHOSLA = "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020"
_AUDIBERT = (
    "Audibert et al., Exploring Contrastive Learning for Long-Tailed Multi-label Text "
    "Classification, ECML PKDD 2024"
)
_COMPARED = (
    "Audibert et al., Multi-Label Contrastive Learning: A Comprehensive Study, arXiv:2412.00101, "
    "2024"
)
_ZHANG = "Zhang and Wu, Multi-Label Supervised Contrastive Learning, AAAI 2024"
_HUANG = (
    "Huang et al., Similarity-Dissimilarity Loss for Multi-label Supervised Contrastive Learning, "
    "arXiv:2410.13439, 2024"
)
_IMBRIACO = "Imbriaco et al., Toward Multilabel Image Retrieval for Remote Sensing, IEEE TGRS 2022"
_WANG = (
    "Wang, Albrecht and Zhu, Multi-Label Guided Soft Contrastive Learning for Efficient Earth "
    "Observation Pretraining, IEEE TGRS 2024"
)
_HE = (
    "He et al., Momentum Contrast for Unsupervised Visual Representation Learning, CVPR 2020; van "
    "den Oord et al., Representation Learning with Contrastive Predictive Coding, arXiv:1807.03748,"
    " 2018"
)
_MACL = (
    "Amir and Aptoula, MACL: Multi-Label Adaptive Contrastive Learning Loss for Remote Sensing "
    "Image Retrieval, arXiv:2512.16294v1, 2025"
)

_OURS = "our own"
_HOFFMANN = (
    "RINCE over Jaccard levels, one positive at a time, after Hoffmann et al., Ranking Info Noise "
    "Contrastive Estimation, AAAI 2022"
)
_SOBAL = "X-CLR with the Jaccard index, after Sobal et al., X-Sample Contrastive Loss, ICLR 2025"
_RAMZI = (
    "H-AP with the Jaccard index, after Ramzi et al., Hierarchical Average Precision Training for "
    "Pertinent Image Retrieval, ECCV 2022"
)
_BROWN = "Smooth-AP over Jaccard levels, after Brown et al., Smooth-AP, ECCV 2020"

_SUPCONTRAST = ("github.com/HobbitLong/SupContrast", "BSD-2-Clause")
_COMPREHENSIVE = (
    "github.com/audibert-alexandre-fra/Multi-label-contrastive-comprehensive",
    "Apache-2.0 (its README: MIT)",
)
_MULSUPCON = ("github.com/williamzhangsjtu/MulSupCon", "none stated")
_OML = ("github.com/RImbriaco/OML", "MIT")
_NO_CODE = ("none released", "none")
_MOCO = ("github.com/facebookresearch/moco", "CC-BY-NC-4.0 (its README)")

graded_lmsc = parts(
    "graded_lmsc",
    Part(graded, 0.5, {"temperature": 0.2}),
    Part(lmsc, 0.5, {"temperature": 0.1}),
)
four_parts = parts(
    "four_parts",
    Part(graded, 0.25, {"temperature": 0.3}),
    Part(hap, 0.25),
    Part(lproto, 0.25),
    Part(oml, 0.25),
)
balanced_parts = parts(
    "balanced_parts",
    Part(graded, 0.0, {"temperature": 0.3}),
    Part(hap, 0.5),
    Part(lproto, 0.125),
    Part(oml, 0.375),
)

for _entry in (
    Loss(
        "supcon_all", "SupCon-ALL", "#4215B2", supcon_all,
        _SUPCON + _LOG_P + r", \quad P(i) = \{p \neq i : \mathbf{y}_p = \mathbf{y}_i\}",
        _KHOSLA, *_SUPCONTRAST, paper=True, two_views=True, queue="moco",
    ),
    Loss(
        "supcon_any", "SupCon-ANY", "#9ABAFF", supcon_any,
        _SUPCON + _LOG_P
        + r", \quad P(i) = \{p \neq i : \mathbf{y}_p \cap \mathbf{y}_i \neq \emptyset\}",
        _KHOSLA, *_SUPCONTRAST, paper=True, two_views=True, queue="moco",
    ),
    Loss(
        "lbase", "LBase", "#5EAAAE", lbase,
        r"-\sum_{p \in A(i)} \frac{J_{ip}}{\sum_{k \in A(i)} J_{ik}} " + _LOG_P,
        _AUDIBERT, *_COMPREHENSIVE, paper=True,
    ),
    Loss(
        "lproto", "LProto", "#DFD372", lproto,
        r"-\frac{1}{|\mathbf{y}_i|} \sum_{l \in \mathbf{y}_i} \log \frac{\exp(z_i \cdot c_l / "
        r"\tau)}{\sum_{k=1}^{L} \exp(z_i \cdot c_k / \tau)}",
        _COMPARED, *_COMPREHENSIVE, paper=True,
    ),
    Loss(
        "lmsc", "LMSC", "#C37D58", lmsc,
        r"-\frac{1}{|\mathbf{y}_i|} \Big[ \sum_{p \in A(i)} \sum_{l \in \mathbf{y}_i \cap "
        r"\mathbf{y}_p} \frac{\alpha}{|\mathbf{y}_i \cup \mathbf{y}_p| n_{il}} \log q_{ip} + "
        r"\sum_{l \in \mathbf{y}_i} \frac{1}{n_{il}} \log q_{il} \Big], \quad q_{ix} = \frac{"
        r"\exp(s_{ix} / \tau)}{\beta \sum_{k \in A(i)} \exp(s_{ik} / \tau) + "
        r"\sum_{l=1}^{L} \exp(z_i \cdot c_l / \tau)}",
        _AUDIBERT, *_COMPREHENSIVE, paper=True, queue="joins",
    ),
    Loss(
        "oml", "OML", "#7766CD", oml,
        r"1 - \frac{1}{L} \sum_{l=1}^{L} \frac{1}{N |Q_l|} \sum_{q, j \in Q_l} \frac{1 + "
        r"\sum_{k \in Q_l \setminus j} \sigma_\theta(s_{qk} - s_{qj})}{1 + \sum_{k \neq j} "
        r"\sigma_\theta(s_{qk} - s_{qj})}",
        _IMBRIACO, *_OML, paper=True,
    ),
    Loss(
        "mulsupcon", "MulSupCon", "#29406B", mulsupcon,
        "-" + _BY_LABEL + _LOG_P, _ZHANG, *_MULSUPCON, paper=True, queue="moco",
    ),
    Loss(
        "wg_mulsupcon", "Wg-MulSupCon", "#5EE2AE", wg_mulsupcon,
        _WG + _BY_LABEL + _LOG_P, _ZHANG, *_MULSUPCON, paper=True, queue="moco",
    ),
    Loss(
        "simdis", "Sim-Dis", "#524100", simdis,
        _SUPCON + r"\frac{|\mathbf{y}_i \cap \mathbf{y}_p|}{|\mathbf{y}_i|} "
        r"\frac{1}{1 + |\mathbf{y}_p \setminus \mathbf{y}_i|} " + _LOG_P,
        _HUANG, *_NO_CODE, paper=True, queue="moco",
    ),
    Loss(
        "lreg", "LReg", "#59232B", lreg,
        _JOINT + _LOG_P + r" - \sum_{p \in P(i)} [\sigma_{ip} - w_{ip}]_+ \frac{s_{ip}}{\tau}",
        _COMPARED, *_COMPREHENSIVE, paper=True,
    ),
    Loss(
        "l_wo_reg", "L-W/O-Reg", "#C2476D", l_wo_reg,
        _JOINT + _LOG_P, _COMPARED, *_COMPREHENSIVE, paper=True,
    ),
    Loss(
        "macl", "MACL", "#D55E00", macl,
        "-" + _BY_LABEL + "w_{ip} " + _LOG_P_T, _MACL, *_NO_CODE, paper=True, queue="moco",
    ),
    Loss(
        "wg_macl", "Wg-MACL", "#FFBE00", wg_macl,
        _WG + _BY_LABEL + "w_{ip} " + _LOG_P_T, _MACL, *_NO_CODE, paper=True, queue="moco",
    ),
    Loss(
        "softcon", "SoftCon", "#0000FF", softcon,
        _INFONCE + r" + \frac{\lambda}{|A(i)|} \sum_{j \in A(i)} \Big[ \log(1 + \exp(s_{ij} / "
        r"\tau_s)) - S_{ij} \frac{s_{ij}}{\tau_s} \Big], \quad S_{ij} = \frac{|\mathbf{y}_i "
        r"\cap \mathbf{y}_j|}{\sqrt{|\mathbf{y}_i| |\mathbf{y}_j|}}",
        _WANG, "no pretraining code released", "none",
        two_views=True, queue="moco", method="softcon",
    ),
    Loss(
        "infonce", "InfoNCE", "#220066", infonce, _INFONCE, _HE, *_MOCO,
        two_views=True, queue="moco", method="softcon",
    ),
    Loss(
        "graded", "Graded", "#000022", graded,
        _GRADES + r"\log \Big( 1 + \sum_{a : J_{ia} < \theta} \exp \frac{s_{ia} - s_{ip}}{\tau} "
        r"\Big), \quad P_{i\theta} = \{p \neq i : J_{ip} \geq \theta\}",
        _HOFFMANN, "github.com/boschresearch/rince", "AGPL-3.0",
    ),
    Loss(
        "gain", "Gain", "#8855FF", gain,
        r"-\sum_{p \in A(i)} \frac{2^{|\mathbf{y}_i \cap \mathbf{y}_p|} - 1}{\sum_{k \in A(i)} "
        r"(2^{|\mathbf{y}_i \cap \mathbf{y}_k|} - 1)} " + _LOG_P,
        _OURS, *_NO_CODE,
    ),
    Loss(
        "soft_jaccard", "Soft Jaccard", "#6677AA", soft_jaccard,
        r"-\sum_{p \in A(i)} \frac{\exp(J_{ip} / \tau_t)}{\sum_{k \in A(i)} \exp(J_{ik} / \tau_t)} "
        + _LOG_P, _SOBAL, *_NO_CODE,
    ),
    Loss(
        "hap", "H-AP", "#CCDDFF", hap,
        r"1 - \frac{1}{\sum_p J_{ip}} \sum_p \frac{J_{ip} + \sum_{k \neq i, p} "
        r"\min(J_{ip}, J_{ik}) \, \sigma_\theta(s_{ik} - s_{ip})}{" + _RANK + "}",
        _RAMZI, "github.com/elias-ramzi/HAPPIER", "MIT",
    ),
    Loss(
        "smooth_ap", "Smooth-AP", "#FFFF66", smooth_ap,
        "1 - " + _GRADES + r"\frac{1 + \sum_{k \in P_{i\theta} \setminus p} "
        r"\sigma_\theta(s_{ik} - s_{ip})}{" + _RANK + "}",
        _BROWN, "github.com/Andrew-Brown1/Smooth_AP", "MIT",
    ),
    Loss(
        "graded_lmsc", "Graded ‖ LMSC", "#000000", graded_lmsc,
        r"L^\text{Graded}(\hat z_{i1}) + L^\text{LMSC}(\hat z_{i2})" + _PARTS, _OURS, *_NO_CODE,
    ),
    Loss(
        "four_parts", "Four parts", "#88FFAA", four_parts,
        _FOUR, _OURS, *_NO_CODE,
    ),
    Loss(
        "balanced_parts", "Balanced parts", "#443399", balanced_parts,
        _FOUR, _OURS, *_NO_CODE,
    ),
    *ENTRIES,
):  # fmt: skip
    register(_entry)

#: the thirteen of the paper's Tables 4 to 6, in its order
PAPER = tuple(name for name, loss in LOSSES.items() if loss.paper)


def entry(name: str) -> Loss | WeakLoss:
    """The entry of that name in `LOSSES` or `WEAK_LOSSES`; ValueError, naming the nearest, for
    none."""
    known = LOSSES | WEAK_LOSSES
    if name not in known:
        raise ValueError(f"unknown loss {name!r}{nearest(name, known)}")
    return known[name]


def method_label(method: str) -> str:
    """A loss or a reference row, as tables and legends call it; another name with a capital."""
    known = LOSSES | WEAK_LOSSES
    return known[method].label if method in known else method[:1].upper() + method[1:]


class LossModule(nn.Module):
    """A loss of the registry with its parameters: `loss(z, y) -> scalar`.

    Trainable are the parameters given as `nn.Parameter`, under their own names, and `prototypes
    (L, D)`, Xavier-uniform at first, where a loss has them.
    Values of `z` and `y` are checked at every call on a CPU and at the first on a GPU, where each
    check would wait for the device.
    """

    def __init__(
        self, loss: Loss, stats: LabelStatistics | None, embedding_dim: int, params: dict[str, Any]
    ) -> None:
        super().__init__()
        learned = {name: p for name, p in params.items() if isinstance(p, nn.Parameter)}
        self.loss, self.called, self.learned = loss, False, tuple(learned)
        self.params = {name: value for name, value in params.items() if name not in learned}
        for name, parameter in learned.items():
            self.register_parameter(name, parameter)
        self.stats = stats if loss.needs_stats else None
        self.prototypes = None
        if loss.needs_prototypes:
            prototypes = torch.empty(len(stats.label_names), embedding_dim)
            self.prototypes = nn.Parameter(nn.init.xavier_uniform_(prototypes))
        lengths = getattr(loss.function, "lengths", None)
        found = None if lengths is None else lengths(embedding_dim, **self.params)
        self.register_buffer("lengths", found, persistent=False)

    def settled(self, z: Tensor) -> Tensor:
        """Embeddings (N, D) by which one retrieves, of trained ones: z, or of a loss in parts of
        unequal shares (`parts`) z times its `lengths`, as unit rows."""
        return z if self.lengths is None else F.normalize(z * self.lengths.to(z), dim=1)

    def forward(self, z: Tensor, y: Array, **keys: Tensor) -> Tensor:
        """The loss of a batch; `keys` and `key_labels` from a momentum encoder, if there is one."""
        on_gpu = isinstance(z, Tensor) and z.device.type != "cpu"
        check = not torch.compiler.is_compiling() and not (self.called and on_gpu)
        self.called = True
        given = [part for part in (self.stats, self.prototypes) if part is not None]
        params = self.params | {name: getattr(self, name) for name in self.learned}
        return self.loss.function(z, y, *given, check=check, **keys, **params)

    def extra_repr(self) -> str:
        fixed = (f"{name}={value!r}" for name, value in self.params.items())
        return ", ".join([self.loss.name, *fixed, *(f"{name}: learned" for name in self.learned)])


def build_loss(
    name: str,
    stats: LabelStatistics | None = None,
    *,
    embedding_dim: int | None = None,
    **params: Any,
) -> LossModule:
    """The loss of that name as a module; `params` override its defaults.

    params: an `nn.Parameter` for one of them is a parameter of the module.
    stats: statistics of the training labels, for losses that count them or have prototypes.
    embedding_dim: D, for losses with prototypes.
    ValueError for an unknown name, TypeError for an unknown parameter, both naming the nearest one,
    and for stats or embedding_dim that lack; ValueError for a parameter's value that cannot work,
    TypeError for a tensor that is no scalar, or whose gradient cannot be had at its value.
    """
    loss = _resolve(name, stats, params)
    if loss.needs_prototypes and not (isinstance(stats, LabelStatistics) and embedding_dim):
        raise TypeError(f"{name} has prototypes: it needs stats and embedding_dim=D")
    module = LossModule(loss, stats, embedding_dim or 1, loss.defaults | params)
    # two views of a few label sets, so that a bad value fails here and not in mid-training
    y = torch.ones(1, 1) if stats is None else torch.from_numpy(stats.sets[:64])
    y = y.repeat(2, 1)
    z = torch.zeros(len(y), embedding_dim or 1)
    z[:, 0] = 1
    module(z, y)
    module.called = False
    return module


def pair_weights(
    name: str, y: Array, stats: LabelStatistics | None = None, **params: Any
) -> tuple[Tensor, Tensor]:
    """The label side of a loss: W and T (A, C), anchors in rows, for labels `y` (N, L).

    Anchors and candidates are the N images, followed by the L prototypes where a loss has them
    among its anchors or candidates (`arrange` in `pairs`); for `lproto` the candidates are the
    prototypes alone. W is 0 where an anchor meets itself, and stands before the mean over anchors;
    T is not used there. Raises as `build_loss` does, and ValueError for `oml`, which has neither.
    """
    loss = _resolve(name, stats, params)
    if loss.function.weights is None:
        raise ValueError(f"{name} is no function of two label sets: it has no W and no T")
    y = as_labels(y)
    y = y if isinstance(y, Tensor) else torch.tensor(y)
    pairs = Pairs.of(y, torch.get_default_dtype(), loss.function.layout)
    W, T, *_ = loss.function.weights(pairs, *([stats] if loss.needs_stats else []), **params)
    if pairs.own is not None:
        W = W.scatter(1, pairs.own[:, None], 0)
    return W, torch.as_tensor(T, dtype=W.dtype, device=W.device).expand_as(W)


def _resolve(name: str, stats: LabelStatistics | None, params: dict) -> Loss:
    """The entry of that name, after checking what is given with it."""
    loss = entry(name)
    if isinstance(loss, WeakLoss):
        raise ValueError(
            f"{name} is no loss of embeddings: call WEAK_LOSSES[{name!r}].function(logits, labels)"
        )
    for key in params.keys() - loss.defaults.keys():
        raise TypeError(f"{name} has no parameter {key!r}{nearest(key, loss.defaults)}")
    if loss.needs_stats and not isinstance(stats, LabelStatistics):
        raise TypeError(f"{name} needs the LabelStatistics of the training labels, got {stats!r}")
    return loss
