"""MulSupCon: a SupCon term for each label of the anchor."""

from maclcore.losses.pairs import Pairs, pairwise


@pairwise
def mulsupcon(pairs: Pairs, *, temperature: float = 0.3, reduction: str = "pairs") -> tuple:
    """MulSupCon: L_i = - Σ_{l in y_i} 1/|P_il| Σ_{p in P_il} log p_ip (Zhang & Wu 2024).

    P_il are the other images that carry label l. A label that only the anchor carries adds 0, and
    counts in the divisor M = Σ|y_i|. `reduction="anchors"` sums each anchor's labels instead, and
    divides by N.
    """
    return pairs.mean_over_carriers(), temperature, reduction


@pairwise
def wg_mulsupcon(pairs: Pairs, *, temperature: float = 0.3) -> tuple:
    """Wg-MulSupCon: MulSupCon with each anchor weighted by 1 / |y_i| (Zhang & Wu 2024)."""
    return mulsupcon.weights(pairs, temperature=temperature, reduction="images")
