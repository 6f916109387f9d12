"""SupCon with two answers to "which images are positives?" when images have several labels."""

from maclcore.losses.pairs import Pairs, pairwise


@pairwise
def supcon_all(pairs: Pairs, *, temperature: float = 0.3, reduction: str = "active") -> tuple:
    """SupCon-ALL: P(i) are the images with the anchor's very label set (Khosla et al. 2020, Eq. 2).

    With one view of each image many anchors have no positive; they are left out of the mean
    (`reduction="anchors"` counts them, as 0). Images without labels are nobody's positive.
    """
    equal = (pairs.shared == pairs.candidate_size) & (pairs.shared == pairs.size[:, None])
    return pairs.mean_over((equal & (pairs.shared >= 1)).to(pairs.y)), temperature, reduction


@pairwise
def supcon_any(pairs: Pairs, *, temperature: float = 0.3, reduction: str = "active") -> tuple:
    """SupCon-ANY: P(i) are the images that share a label with the anchor.

    Khosla et al. 2020, Eq. 2. Anchors without a positive as in `supcon_all`.
    """
    return pairs.mean_over((pairs.shared >= 1).to(pairs.y)), temperature, reduction
