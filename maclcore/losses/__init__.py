"""The losses behind one interface, and the registry that names them.

From here: `LOSSES` (those of the paper's Tables 4 to 6, `PAPER`, and any others), `build_loss`,
`pair_weights`, and every loss as a function. A family of losses has a file; `pairs` makes a loss of
a function of labels, `kernel` computes it, `registry` names it. Losses of logits, that learn all
labels of an image from one that is known, are in `weak`, `WEAK_LOSSES`. This room imports `labels`
and `config` alone: it must not know of images, networks, training or results.

One alphabet of shapes: `N` images in a batch, `D` embedding, `L` labels; `z (N, D)` unit rows,
`y (N, L)` multi-hot. Every loss is a function `loss(z, y, ...) -> scalar`, float32 inside autocast:

* an anchor is contrasted with all other images of the batch; two views of an image are two images;
* four losses also take `prototypes (L, D)`, learned, one a label, which join the images;
* with `keys (M, D)` and `key_labels (M, L)`, from a momentum encoder, anchors are contrasted with
  those alone and nothing is left out (MoCo); in `lmsc` they join the images. They get no gradient;
* `infonce` and `softcon` want a second view of each image: keys, those of the batch first, or a
  batch [Z; K] of two views, whose image i + N/2 is image i again;
* a number among the parameters may be a scalar tensor, which gets a gradient if it requires one;
* whoever calls normalises `z`; un-normalised rows, NaN, an empty batch, shapes that disagree and
  labels other than 0/1 are a TypeError or ValueError;
* an anchor without a positive contributes 0, and `reduction` says whether it counts in the mean;
  a batch without any positive gives 0, with a gradient of 0;
* an image without labels is nobody's positive and stays in everybody's denominator, but for the
  soft part of `softcon`, which leaves it out;
* `temperature` multiplies T: 0.3 for the baselines (§4.2), 1.0 for MACL, whose formula has none,
  0.01 for OML, whose it is and which the paper may have run at 0.3 (§5.4.2), and 0.2 for the plain
  part of SoftCon, as in MoCo v2.
"""

from maclcore.losses.graded import gain, graded, soft_jaccard
from maclcore.losses.kernel import REDUCTIONS
from maclcore.losses.macl import macl, wg_macl
from maclcore.losses.mulsupcon import mulsupcon, wg_mulsupcon
from maclcore.losses.oml import oml
from maclcore.losses.overlap import lbase, simdis
from maclcore.losses.parts import Part, parts
from maclcore.losses.prototypes import l_wo_reg, lmsc, lproto, lreg
from maclcore.losses.ranks import hap, smooth_ap
from maclcore.losses.registry import (
    COLOURS,
    LOSSES,
    PAPER,
    WEAK_COLOURS,
    Loss,
    LossModule,
    build_loss,
    entry,
    four_parts,
    graded_lmsc,
    method_label,
    pair_weights,
    register,
)
from maclcore.losses.softcon import infonce, softcon
from maclcore.losses.supcon import supcon_all, supcon_any
from maclcore.losses.weak import WEAK_LOSSES, WeakLoss

__all__ = [
    "COLOURS", "LOSSES", "PAPER", "REDUCTIONS", "WEAK_COLOURS", "WEAK_LOSSES", "Loss",
    "LossModule", "Part", "WeakLoss", "build_loss", "entry", "four_parts", "gain", "graded",
    "graded_lmsc", "hap", "infonce", "l_wo_reg", "lbase", "lmsc", "lproto",
    "lreg", "macl", "method_label", "mulsupcon", "oml", "pair_weights", "parts", "register",
    "simdis", "smooth_ap", "soft_jaccard", "softcon", "supcon_all", "supcon_any", "wg_macl",
    "wg_mulsupcon",
]  # fmt: skip

# the others as well; a file may have its loss's name, which stands for the loss
globals().update({name: loss.function for name, loss in LOSSES.items()})
