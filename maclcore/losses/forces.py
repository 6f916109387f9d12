"""Where a loss's force goes: to pairs with equal label sets, with some labels shared, with none."""

from collections.abc import Iterable

import pandas as pd
import torch
from torch import Tensor

from maclcore.labels import LabelStatistics, jaccard
from maclcore.losses.kernel import pair_gradient
from maclcore.losses.registry import LossModule, build_loss, pair_weights

KINDS = ("equal", "some", "none")  #: what the label sets of two images share: all, some, none
#: the same, finer: by the Jaccard index, whose `EDGES` belong to the bands above them
BANDS = ("none", "below .4", ".4 to .6", ".6 to 1", "equal")
EDGES = (0.4, 0.6, 1.0)
#: cosines of equal label sets stay so far from 1, where two images could not be told apart
NEAREST = 1e-6


def pair_forces(
    batches: Iterable[Tensor],
    stats: LabelStatistics,
    alphas: Iterable[float],
    levels: Iterable[float],
    **params: float,
) -> pd.DataFrame:
    """The force of MACL on pairs of images, by α and by how far the embedding has come.

    The force on a pair is −∂L/∂s, s its cosine: above 0 it draws the two together. It is taken
    where every cosine is `level` times the Jaccard index of the label sets: 0 is an embedding of
    unrelated images, 1 the one that the metrics reward.

    Args:
        batches: label sets (N, L) bool, each a batch of its own; a batch holds some pair.
        stats: statistics of the training labels.
        params: other parameters of `macl`.

    Returns:
        A row for each α, level and kind of `KINDS`: `force`, the mean over its pairs in all
        batches (NaN if there is none), with L the sum over anchors; `share`, its net force in
        percent of all forces' absolute values; `pairs`, how many (i, p), i ≠ p, there are.
    """
    rows = []
    known = [(y, *_kinds(y)) for y in batches]
    levels = list(levels)
    for alpha in alphas:
        terms = [pair_weights("macl", y, stats, alpha=alpha, **params) for y, _, _ in known]
        for level in levels:
            net, pairs, size = torch.zeros(len(KINDS)), torch.zeros(len(KINDS)), 0.0
            for (_, J, kinds), (W, T) in zip(known, terms, strict=True):
                force = -pair_gradient(level * J, W, T)
                net += torch.stack([force[kind].sum() for kind in kinds])
                pairs += torch.stack([kind.sum() for kind in kinds])
                size += float(force.abs().sum())
            columns = {"alpha": alpha, "level": level, "kind": KINDS, "force": net / pairs}
            columns |= {"share": 100 * net / size, "pairs": pairs.long()}
            rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def _kinds(y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Jaccard index (N, N), and which pairs are of each of `KINDS`."""
    J = jaccard(y)
    other = ~torch.eye(len(y), dtype=torch.bool)
    return J, [(J == 1) & other, (J > 0) & (J < 1) & other, (J == 0) & other]


def band_forces(
    name: str,
    batches: Iterable[Tensor],
    stats: LabelStatistics,
    levels: Iterable[float],
    **params: float,
) -> pd.DataFrame:
    """The force of any loss of the registry on pairs of images, by how alike their label sets are.

    As `pair_forces`, of the loss as training has it, a mean over anchors, and for losses of ranks,
    too: see `gram_gradient`. The force on a pair is that of both its images as anchors, halved.
    A prototype stands where an image of its label alone would stand.

    Returns:
        A row for each level and band of `BANDS`, with the columns of `pair_forces` from `force` on.
    """
    batches, rows = list(batches), []
    for level in levels:
        net, pairs, size = torch.zeros(len(BANDS)), torch.zeros(len(BANDS)), 0.0
        for y in batches:
            loss = build_loss(name, stats, embedding_dim=len(y) + y.shape[1], **params)
            force = -gram_gradient(loss, y, level)
            bands = _bands(y)
            net += torch.stack([force[band].sum() for band in bands])
            pairs += torch.stack([band.sum() for band in bands])
            size += float(sum(force[band].abs().sum() for band in bands))
        columns = {"level": level, "band": BANDS, "force": net / pairs}
        columns |= {"share": 100 * net / size, "pairs": pairs.long()}
        rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def gram_gradient(loss: LossModule, y: Tensor, level: float) -> Tensor:
    """∂L/∂s of a loss of embeddings (N, N), where s_ij is `level` times the Jaccard index.

    Such embeddings Z exist, for the matrix of Jaccard indices S is positive semi-definite; rows of
    its Cholesky factor are some. As ∂L/∂Z = (G + Gᵀ) Z, a gradient G with respect to s follows from
    what any loss gives, in its symmetric form; what prototypes get, their rows of Z, is left out.
    """
    n = len(y)
    sets = torch.cat([y, torch.eye(y.shape[1], dtype=y.dtype)])
    S = min(level, 1 - NEAREST) * jaccard(sets).double()
    rows = torch.linalg.cholesky(S.fill_diagonal_(1))
    if loss.prototypes is not None:
        loss.prototypes = torch.nn.Parameter(rows[n:])
    z = rows[:n].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(z, y), z)
    return torch.linalg.solve_triangular(rows, gradient, upper=False, left=False)[:, :n] / 2


def _bands(y: Tensor) -> list[Tensor]:
    """Which pairs (N, N) are of each of `BANDS`."""
    J = jaccard(y).double()
    band = (J > 0).long() + torch.bucketize(J + 1e-6, torch.tensor(EDGES).double(), right=True)
    band.fill_diagonal_(-1)  # no image is a pair with itself
    return [band == k for k in range(len(BANDS))]
