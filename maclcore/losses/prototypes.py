"""Losses with learned prototypes, one for each label (Audibert et al., 2024).

`prototypes (L, D)` of any length become unit rows; they are parameters of the optimiser, with the
head's learning rate and weight decay.
"""

import torch
from torch import Tensor

from maclcore.losses.pairs import Pairs, Terms, is_learned, pairwise


@pairwise(layout="prototypes")
def lproto(pairs: Pairs, *, temperature: float = 0.3) -> tuple:
    """LProto: every image is attracted by the prototypes of its labels and repelled by the others.

    W_il = y_il / |y_i|; there are no terms between images. Images without labels add 0. (The MACL
    paper cites Gupta et al., CVPR 2023, whose code is not public; this is the loss of that name in
    the released code of Audibert et al.)
    """
    return pairs.mean_over(pairs.y), temperature, "anchors"


@pairwise(layout="extended")
def lmsc(pairs: Pairs, *, temperature: float = 0.3, alpha: float = 1.0, beta: float = 0.1) -> tuple:
    """LMSC (ABALONE): images and prototypes attract; images count β in the denominator.

    Of each label of the anchor the attraction is 1, shared out between its prototype and the
    images that carry it: with norm_il = 1 + α Σ_{j≠i} y_jl / |y_i ∪ y_j|,
    W_ij = α Σ_l y_il y_jl / (|y_i ∪ y_j| norm_il) for an image, y_il / norm_il for a prototype.
    `keys`, as a queue of its paper would hold them, are further images. β in [0, 1], α >= 0.
    """
    if not (0 <= beta <= 1 and alpha >= 0):
        raise ValueError(f"beta must be in [0, 1] and alpha >= 0, got {beta} and {alpha}")
    if is_learned(beta) and beta == 0:
        raise TypeError("a beta that is learned must be above 0, where its gradient is lost")
    labels = pairs.y.shape[1]
    is_image = torch.ones_like(pairs.candidate_size)
    is_image[-labels:] = 0
    share = is_image / pairs.union  # 1 / |y_i ∪ y_j|
    if pairs.own is not None:
        own = pairs.own[:, None]
        others = (share * pairs.count).scatter_add(1, own, -share.gather(1, own))
    norm = 1 + alpha * others @ pairs.candidates
    W = ((pairs.y / norm) @ pairs.candidates.T) * torch.where(is_image > 0, alpha * share, 1)
    W = W / pairs.size[:, None].clamp(min=1)
    return Terms(W, temperature, "anchors", 1 - (1 - beta) * is_image)


@pairwise(layout="joint")
def l_wo_reg(pairs: Pairs, *, temperature: float = 0.3, alpha: float = 0.0) -> tuple:
    """L-W/O-Reg: images and prototypes together, every one of them an anchor.

    W_ij = 1/|y_i| Σ_{l in y_i ∩ y_j} r_ij / Σ_{k≠i, l in y_k} r_ik with r_ij = (|y_i ∩ y_j| /
    |y_j|)^α for α >= 0 (0^0 = 1), and r_ij = 1 where y_j is a subset of y_i, else 0, for α < 0.
    A prototype has its one label. Anchors without a positive are left out of the mean.
    """
    return Terms(label_means(pairs, alpha), temperature, "active")


@pairwise(layout="joint")
def lreg(pairs: Pairs, *, temperature: float = 0.3, alpha: float = 0.0) -> tuple:
    """LReg: L-W/O-Reg whose positives are never repelled.

    ∂L_i/∂(s_ij / T) is min(p_ij - W_ij, 0) for a positive, p_ij for a negative. Its value is no
    measure of what it descends, and may be negative: it is no ground for stopping early.
    """
    return Terms(label_means(pairs, alpha), temperature, "active", attract_only=True)


def label_means(pairs: Pairs, alpha: float) -> Tensor:
    """W (A, C) of L-W/O-Reg: the mean over an anchor's labels of r, scaled to 1 for each label."""
    if alpha < 0 and is_learned(alpha):
        raise TypeError(f"alpha below 0 counts subsets, without a gradient: got {alpha.item():g}")
    share = pairs.shared / pairs.candidate_size.clamp(min=1)
    r = share**alpha if alpha >= 0 else (share == 1).to(share)
    carriers = (r * pairs.count) @ pairs.candidates
    if pairs.own is not None:
        carriers = carriers - r.gather(1, pairs.own[:, None]) * pairs.y
    # without a carrier not 1 / 0, whose gradient with respect to α would be NaN
    each = pairs.y * torch.where(carriers > 0, 1 / carriers.where(carriers > 0, 1), 0)
    return r * (each @ pairs.candidates.T) / pairs.size[:, None].clamp(min=1)
