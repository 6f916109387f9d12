"""SupCon with positives weighted by how much of their label sets two images share."""

from maclcore.losses.pairs import Pairs, pairwise


@pairwise
def lbase(pairs: Pairs, *, temperature: float = 0.3, reduction: str = "active") -> tuple:
    """L_Base: W_ip = J_ip / Σ_{k≠i} J_ik with the Jaccard index J (Audibert et al. 2024).

    Anchors that share no label with any other image are left out of the mean.
    """
    return pairs.mean_over(pairs.jaccard), temperature, reduction


@pairwise
def simdis(pairs: Pairs, *, temperature: float = 0.3, reduction: str = "active") -> tuple:
    """Sim-Dis: W_ip = K^s K^d / |P(i)|, P(i) as in SupCon-ANY (Huang et al. 2024).

    K^s = |y_i ∩ y_p| / |y_i| rewards what the pair shares, K^d = 1 / (1 + |y_p \\ y_i|) punishes
    labels that the anchor lacks, and not the reverse: W is asymmetric. The weights stand outside
    the logarithm and are not normalised. (The displayed equation was not at hand.)
    """
    similarity = pairs.shared / pairs.size[:, None].clamp(min=1)
    dissimilarity = 1 / (1 + pairs.candidate_size - pairs.shared)
    positives = pairs.mean_over((pairs.shared >= 1).to(pairs.y))
    return positives * similarity * dissimilarity, temperature, reduction
