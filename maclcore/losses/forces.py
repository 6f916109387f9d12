"""Where MACL's force goes: to pairs with equal label sets, with some labels shared, with none."""

from collections.abc import Iterable

import pandas as pd
import torch
from torch import Tensor

from maclcore.labels import LabelStatistics, jaccard
from maclcore.losses.kernel import pair_gradient
from maclcore.losses.registry import pair_weights

KINDS = ("equal", "some", "none")  #: what the label sets of two images share: all, some, none


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
