"""Losses of degrees: how much two label sets share decides who is contrasted with whom."""

import torch
from torch import Tensor

from maclcore.labels import Array
from maclcore.losses.kernel import softplus
from maclcore.losses.pairs import Pairs, check_batch, check_parameters, computed, pairwise
from maclcore.losses.ranks import at_least

#: numbers in a tile of counts
TILE = 1 << 22


def graded(
    z: Tensor, y: Array, *, temperature: float = 0.1, levels: str = "0 .4 .6 .8 1",
    check: bool = True,
) -> Tensor:  # fmt: skip
    """Graded SupCon: a positive is contrasted with images of a lower grade alone.

    L = mean_θ mean_i (1 / |P_iθ|) Σ_{p in P_iθ} log(1 + Σ_{a in N_iθ} exp((s_ia - s_ip) / τ)), with
    P_iθ the other images with J_ip >= θ (for θ = 0: that share a label), N_iθ the rest: never its
    equals or betters. Anchors without a positive are left out at that level. It is RINCE with one
    positive at a time over Jaccard levels (Hoffmann et al., AAAI 2022, Eq. 4 of their paper, "out"
    form), written from that formula; for images of one label, SupCon whose denominator holds no
    other positive.

    levels: the least Jaccard indices, in a text. ValueError for what is no list of numbers.
    """
    check_parameters({"temperature": temperature})
    y = check_batch(z, y, check)
    z = z if z.dtype == torch.float64 else z.float()
    pairs = Pairs.of(y, z.dtype)
    weight = _weights(pairs, levels)

    def terms(rows: slice) -> tuple:
        part = pairs.rows(rows)
        return part.own, at_least(part, levels), weight[:, rows], temperature

    return computed(z, z, terms, True, formula=graded_sum)


def graded_sum(
    s: Tensor, own: Tensor, positive: list[Tensor], weight: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Σ_θ Σ_i w_θi Σ_{p in P_iθ} log(1 + Σ_{a in N_iθ} exp(x_ia - x_ip)), with x = s / τ.

    Its divisor, the second result, is in w.
    """
    x, lowest = s / temperature, torch.finfo(s.dtype).min
    total = x.new_zeros(())
    candidates = x.scatter(1, own[:, None], lowest)
    for P, w in zip(positive, weight, strict=True):
        rest = candidates.masked_fill(P, lowest).logsumexp(dim=1, keepdim=True)
        total = total + w @ torch.where(P, softplus(rest - x), 0).sum(dim=1)
    return total, torch.zeros_like(total)


def _weights(pairs: Pairs, levels: str) -> Tensor:
    """(Θ, N) w_θi = 1 / (|Θ| n_θ |P_iθ|), n_θ anchors having a positive at that level, else 0."""
    step = max(TILE // len(pairs.y), 1)
    slices = [slice(start, start + step) for start in range(0, len(pairs.y), step)]
    counts = torch.cat([
        torch.stack([P.sum(dim=1) for P in at_least(pairs.rows(rows), levels)]) for rows in slices
    ], dim=1)  # fmt: skip
    active = (counts > 0).sum(dim=1, keepdim=True)
    return (counts > 0).to(pairs.y) / (len(counts) * active * counts).clamp(min=1)


graded.weights = None  # the denominator is another for each positive: there is no W
graded.layout = "images"


@pairwise
def gain(pairs: Pairs, *, temperature: float = 0.1, reduction: str = "active") -> tuple:
    """Contrast with the gains of nDCG: W_ip ∝ 2^|y_i ∩ y_p| - 1 (our own).

    What nDCG(sim) pays for an image of so many shared labels (Eq. 16 of the MACL paper) is the
    share of attraction that it gets.
    """
    return pairs.mean_over(pairs.shared.exp2() - 1), temperature, reduction


@pairwise
def soft_jaccard(
    pairs: Pairs, *, temperature: float = 0.2, target_temperature: float = 0.2,
    shared: float = 0.0, reduction: str = "active",
) -> tuple:  # fmt: skip
    """Soft targets from the Jaccard index: W_i = softmax_p(J_ip / τ_t) over all other images.

    X-CLR (Sobal et al., ICLR 2025, Eq. 3) with labels for the similarity. `shared` adds that many
    times |y_i ∩ y_p| / |y_i| to J (our own: it looks at how many labels are shared). Images that
    share nothing attract a little, too: e^(-1 / τ_t) as much as those of equal labels. Images
    without labels attract nobody.
    """
    if not 0 < target_temperature < float("inf"):
        raise ValueError(f"target_temperature must be positive, got {target_temperature}")
    share = pairs.shared / pairs.size[:, None].clamp(min=1)
    alike = (pairs.jaccard + shared * share - 1 - shared) / target_temperature
    labelled = (pairs.size[:, None] > 0) & (pairs.candidate_size > 0)
    return pairs.mean_over(torch.where(labelled, alike.exp(), 0)), temperature, reduction
