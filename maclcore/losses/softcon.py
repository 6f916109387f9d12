"""InfoNCE, and SoftCon: InfoNCE beside similarities that should be those of the labels.

Both want two views of an image. The other view of an anchor is its twin: key i of anchor i, where
keys of a momentum encoder are given, which may go on with a queue; else image i + N/2 mod N of a
batch that holds first one view of its images and then the other.
"""

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from maclcore.labels import Array
from maclcore.losses.kernel import Targets, Terms, TiledAgreement, agreement
from maclcore.losses.pairs import (
    Pairs,
    check_batch,
    check_keys,
    check_parameters,
    choose,
    complete,
    computed,
    is_learned,
)

#: numbers in a tile of counts
TILE = 1 << 20


def infonce(
    z: Tensor,
    y: Array,
    *,
    temperature: float = 0.2,
    keys: Tensor | None = None,
    key_labels: Array | None = None,
    check: bool = True,
) -> Tensor:
    """InfoNCE: each anchor should find its twin t(i) among all candidates.

    L = (1/N) Σ_i [ log Σ_j exp(s_ij / τ) - s_i,t(i) / τ ] (van den Oord et al. 2018, Eq. 4; He et
    al. 2020, Eq. 1), z (N, D), y (N, L). Labels say which images a batch of two views has, and else
    nothing. ValueError where there is no second view: without keys, an odd batch or one whose
    halves differ in their labels; with keys (M, D), fewer of them than anchors.
    """
    check_parameters({"temperature": temperature})
    return instances(*views(z, y, keys, key_labels, check), temperature)


infonce.weights = None  # a twin is one image: no function of two label sets
infonce.layout = "images"


def softcon(
    z: Tensor,
    y: Array,
    *,
    temperature: float = 0.2,
    soft_temperature: float = 1.0,
    soft_weight: float = 0.1,
    similarity: str = "cosine",
    form: str = "sigmoid",
    average: str = "pairs",
    keys: Tensor | None = None,
    key_labels: Array | None = None,
    check: bool = True,
) -> Tensor:
    """SoftCon: L = L_con + soft_weight L_soft (Wang et al. 2024), z (N, D), y (N, L).

    L_con is `infonce`, which says what keys and batch must be; L_soft draws s_ij to the similarity
    S_ij of the label sets, 0 to 1. Images without labels, which are images of which nothing is
    known, are left out of L_soft, as anchors and as candidates; without a pair it is 0.

    The paper's formulas and values were not at hand, nor has it pretraining code: all of this is a
    reading of its abstract and figures and of what others made of it. What it leaves open:

    similarity: S is the "cosine" of the label vectors, |y_i ∩ y_j| / √(|y_i| |y_j|), their
        "jaccard" index, or "minmax", |y_i ∩ y_j| brought to 0 ... 1 over all pairs of the batch.
    form: "sigmoid" is the cross-entropy of σ(s_ij / τ_s) with S_ij, pair by pair, τ_s the
        soft_temperature; at τ_s = 1, σ is in 0.27 ... 0.73. "softmax" is that of
        softmax_j(s_ij / τ_s) with S_ij / Σ_j S_ij, a mean over anchors that resemble a candidate:
        with keys and the Jaccard index, all images labelled, it is `lbase`.
    average: of the sigmoid form the mean over "pairs", which at soft_weight 0.1 hardly acts beside
        L_con, or over anchors of the sum over "candidates", so many times as much. In the softmax
        form an anchor's weights add up to 1 already: it takes "pairs" alone.
    """
    temperatures = {"temperature": temperature, "soft_temperature": soft_temperature}
    check_parameters({**temperatures, "soft_weight": soft_weight})
    if not 0 <= soft_weight < math.inf:
        raise ValueError(f"soft_weight must not be negative, got {soft_weight}")
    choose("similarity", similarity, ("cosine", "jaccard", "minmax"))
    choose("form", form, ("sigmoid", "softmax"))
    averages = ("pairs", "candidates") if form == "sigmoid" else ("pairs",)
    choose(f"average of the {form} form", average, averages)
    z, c, pairs = views(z, y, keys, key_labels, check)
    soft = distributions if form == "softmax" else similarities
    L_soft = soft(z, c, pairs, soft_temperature, similarity_of(pairs, similarity))
    if average == "candidates":
        L_soft = L_soft * ((pairs.candidate_size > 0).sum() - int(pairs.own is not None))
    return instances(z, c, pairs, temperature) + soft_weight * L_soft


softcon.weights = None
softcon.layout = "images"


def instances(z: Tensor, c: Tensor, pairs: Pairs, T: float) -> Tensor:
    """The mean over anchors of - log softmax_j(s_ij / T) at the twin."""

    def weights(part: Pairs) -> Terms:
        W = part.y.new_zeros(len(part.y), len(c)).scatter_(1, part.twin[:, None], 1)
        return Terms(W, T, "anchors")

    return computed(z, c, functools.partial(complete, weights, pairs), is_learned(T))


def similarities(z: Tensor, c: Tensor, pairs: Pairs, T: float, S: Callable) -> Tensor:
    """The mean over labelled pairs of the cross-entropy of σ(s_ij / T) with S_ij."""
    m = (pairs.candidate_size > 0).to(z)

    def targets(rows: slice) -> Targets:
        part = pairs.rows(rows)
        return Targets(S(part), T, part.own, (part.size > 0).to(z), m)

    form = {"formula": agreement, "tiled": TiledAgreement}
    return computed(z, c, targets, is_learned(T), **form)


def distributions(z: Tensor, c: Tensor, pairs: Pairs, T: float, S: Callable) -> Tensor:
    """The mean over anchors of the cross-entropy of softmax_j(s_ij / T) with S_ij / Σ_j S_ij."""

    def weights(part: Pairs) -> Terms:
        return Terms(part.mean_over(S(part)), T, "active", labelled(part).to(part.y))

    return computed(z, c, functools.partial(complete, weights, pairs), is_learned(T))


def labelled(pairs: Pairs) -> Tensor:
    """Whether both of a pair have labels, (A, C) bool, and are two images."""
    both = (pairs.size > 0)[:, None] & (pairs.candidate_size > 0)
    return both if pairs.own is None else both.scatter(1, pairs.own[:, None], False)


def similarity_of(pairs: Pairs, name: str) -> Callable[[Pairs], Tensor]:
    """S of some of the pairs, (A, C) in [0, 1] and 0 where one has no labels, by its name."""
    if name != "minmax":
        return operator.attrgetter(name)
    least, most = extremes(pairs)
    scale = (most - least).clamp(min=1)  # counts of labels differ by 1 at least
    return lambda part: torch.where(labelled(part), (part.shared - least) / scale, 0)


def extremes(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """The least and the most labels that two labelled images share, some anchors at a time."""
    tile = max(TILE // len(pairs.candidates), 1)
    least, most = pairs.y.new_tensor(math.inf), pairs.y.new_zeros(())
    for start in range(0, len(pairs.y), tile):
        part = pairs.rows(slice(start, start + tile))
        counted = labelled(part)
        least = least.minimum(part.shared.where(counted, math.inf).min())
        most = most.maximum(part.shared.where(counted, 0).max())
    return least, most


def views(
    z: Tensor, y: Array, keys: Tensor | None, key_labels: Array | None, check: bool
) -> tuple[Tensor, Tensor, Pairs]:
    """Anchors, candidates and their labels, with twins; ValueError where there are none."""
    y = check_batch(z, y, check)
    z = z if z.dtype == torch.float64 else z.float()
    keys, key_labels = check_keys(z, y, keys, key_labels, check)
    n, twin = len(z), torch.arange(len(z), device=z.device)
    if keys is None:
        remedy = "pass keys, or a batch of two views: all images, then all of them again"
        if n % 2:
            raise ValueError(f"there is no second view in a batch of {n} rows: {remedy}")
        if check and not torch.equal(y[: n // 2], y[n // 2 :]):
            raise ValueError(f"there is no second view, for labels of the halves differ: {remedy}")
        twin = (twin + n // 2) % n
    elif len(keys) < n:
        raise ValueError(f"{n} anchors have {len(keys)} keys: those of the batch must come first")
    pairs = replace(Pairs.of(y, z.dtype, key_labels=key_labels), twin=twin)
    return z, z if keys is None else keys, pairs
