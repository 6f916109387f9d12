"""Claims about formulas and about the labels that they meet."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from maclcore.audit.claims.rules import (
    CONTRADICTED,
    FORMULA,
    LABELS,
    NOT_REPRODUCED,
    PRINTED,
    REPRODUCED,
    UNDECIDED,
    Finding,
    claim,
    from_runs,
    spoken,
)
from maclcore.audit.evidence import ARCHIVES, Evidence
from maclcore.audit.leads import lead
from maclcore.labels import LabelStatistics
from maclcore.losses import method_label, pair_weights


def small_batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, LabelStatistics]:
    """Unit rows z (24, 8), labels (24, 6), some 2.4 an image, and statistics of 960 images."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(24, 6, generator=generator) < 0.4
    y[~y.any(dim=1), 0] = True
    z = torch.randn(24, 8, generator=generator, dtype=torch.float64)
    return F.normalize(z), y, LabelStatistics.from_labels(y.repeat(40, 1))


@claim("gradient", "Eqs. 7–10")
def gradient(e: Evidence) -> Finding:
    """The gradient of MACL with respect to the anchor is that of Eq. 7."""
    printed, corrected = [], []
    for seed in range(10):
        z, y, stats = small_batch(seed)
        W, T = (m.double() for m in pair_weights("macl", y, stats))
        for i in range(len(z)):
            anchor = z[i].clone().requires_grad_()  # the other images are constants, as in Eq. 7
            others = torch.arange(len(z)) != i
            x = (z @ anchor / T[i])[others]
            (W[i, others] @ (x.logsumexp(0) - x)).backward()
            attraction = -(W[i] / T[i])[others] @ z[others]
            repulsion = (x.softmax(0) / T[i, others]).detach() @ z[others]
            for errors, factor in (printed, y[i].sum()), (corrected, W[i].sum()):
                error = attraction + factor * repulsion - anchor.grad
                errors.append((error.norm() / anchor.grad.norm()).item())
    worst = max(corrected)
    ours = f"relative error of Eq. 7: median {np.median(printed):.1f}, largest {max(printed):.0f}"
    why = (
        "Against automatic differentiation over 240 random anchors. The repulsion has the factor "
        "Σ_l (1/|P_l|) Σ_p w_ip and not |y|, which is right for w = 1 only; corrected, the largest "
        f"error is {'below 1e-6' if worst < 1e-6 else f'{worst:.1g}'}."
    )
    verdict = REPRODUCED if max(printed) < 1e-6 else NOT_REPRODUCED
    number = f"{np.median(printed):.1f} relative error"
    paper = "factor |y| before the repulsion"
    return Finding(verdict, paper, ours, why, number=number, setting=FORMULA)


@claim("special-cases", "§3")
def special_cases(e: Evidence) -> Finding:
    """With w = 1 and T = τ, SupCon, MulSupCon and LBase are special cases of MACL."""
    _, several, _ = small_batch(0)
    one = F.one_hot(several.int().argmax(dim=1), several.shape[1]).bool()
    fixed = {"alpha": 0.0, "beta": 0.0, "reweight": False, "temperature": 0.3}
    residual = {}
    for name, y in (("mulsupcon", several), ("supcon_all", one), ("lbase", several)):
        ours, _ = pair_weights("macl", y, LabelStatistics.from_labels(y), **fixed)
        W, _ = pair_weights(name, y)
        scale = (W * ours).sum() / ours.square().sum()
        residual[name] = ((W - scale * ours).norm() / W.norm()).item()
    text = "MulSupCon {mulsupcon:.2f}, SupCon {supcon_all:.2f}, LBase {lbase:.2f}"
    why = (
        "Relative distance of the pair weights of each from MACL's with w = 1 and T = τ, after the "
        "best rescaling; SupCon's for images of one label, where it is defined. Nothing in Eq. 1 "
        "gives LBase's."
    )
    verdict = REPRODUCED if max(residual.values()) < 1e-5 else NOT_REPRODUCED
    ours, number = text.format(**residual), f"{max(residual.values()):.2f} apart at most"
    return Finding(verdict, "SupCon, MulSupCon, LBase", ours, why, number=number, setting=FORMULA)


@claim("equal-treatment", "§3, Case 1")
def equal_treatment(e: Evidence) -> Finding:
    """Conventional losses treat a partial and a full overlap of labels equally."""
    # {building, road, tree}, {building}, {building, road, tree} and an image of something else
    y = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]])
    ratio = {}
    for name in ("supcon_any", "mulsupcon", "wg_mulsupcon"):
        W, _ = pair_weights(name, y)
        ratio[name] = (W[0, 2] / W[0, 1]).item()
    equal = [method_label(name) for name, value in ratio.items() if abs(value - 1) < 1e-6]
    ours = ", ".join(f"{method_label(name)} {value:.1f}" for name, value in ratio.items())
    why = (
        "Weight of the pair with the same three labels over that of the pair that shares one, in a "
        f"batch of the example and one other image: equal in {', '.join(equal)} only. SupCon-ALL "
        "has the first pair alone as a positive; LBase and Sim-Dis are excepted in §2."
    )
    verdict = REPRODUCED if len(equal) == len(ratio) else NOT_REPRODUCED
    number = f"{len(equal)} of {len(ratio)} do"
    return Finding(
        verdict, "treated equally", f"ratio: {ours}", why, number=number, setting=FORMULA
    )


def of_labels(e: Evidence, quantity: str) -> dict[str, float]:
    return e.labels["mean"].xs(quantity, level="quantity").to_dict()


@claim("no-collapse", "§3, after Eq. 10")
def collapse(e: Evidence) -> Finding:
    """The repulsion "prevents collapse"."""
    run = lead(e.runs, "dlrsd", "macl", ["mulsupcon"], "mean_cosine")
    if run.status == "missing":
        return Finding(UNDECIDED, "no figure", "", "No such runs are stored.")
    trained = e.runs.loc[list(run.runs)].groupby("method")["mean_cosine"].agg(["mean", "size"])
    after = ", ".join(
        f"{method_label(m)} {mean:.2f} (n = {n:.0f})" for m, mean, n in trained.itertuples()
    )
    net = of_labels(e, "net gradient, % of its size")
    apart, together = of_labels(e, "loss, all cosines 0"), of_labels(e, "loss, all cosines 1")
    change = ", ".join(f"{ARCHIVES[a]} {apart[a]:.3f} → {together[a]:.3f}" for a in net)
    why = (
        "Runs at the paper's learning rate do not collapse; the loss would allow it. On batches of "
        f"128 real label sets it is lower where all embeddings are the same ({change}), and at "
        f"cosine 0 its gradient draws all pairs together (sum over size: {spoken(net, '.0f')} %; "
        "of SupCon and MulSupCon: 0)."
    )
    mean = trained.loc["macl", "mean"]
    return Finding(
        REPRODUCED if mean < 0.99 else NOT_REPRODUCED, "no figure",
        f"mean cosine after training: {after}", why, run.runs,
        number=f"{mean:.2f} mean cosine", setting=run.code, protocol=run.protocol,
    )  # fmt: skip


@claim("rare-pairs", "Eq. 1")
def rare_pairs(e: Evidence) -> Finding:
    """Rare co-occurrences get larger weights than common ones."""
    weight = of_labels(e, "w, rarest / commonest")
    count = of_labels(e, "count, commonest / rarest")
    ratio = e.splits.loc["whdld", "train"] / e.splits.loc["whdld", "images"]
    train = ratio * e.counts["whdld"].dropna()
    weight["whdld"] = np.log(1 + train.max()) / np.log(1 + train.min())
    count["whdld"] = train.max() / train.min()
    why = (
        "From training labels of real splits, those with ten images or more; WHDLD's from Table 3. "
        f"Their counts differ by factors of {spoken(count, '.1f')}, of which the logarithm leaves "
        "little."
    )
    verdict = REPRODUCED if min(weight.values()) > 1 else NOT_REPRODUCED
    ours, number = spoken(weight, ".2f"), f"{min(weight.values()):.2f} times w"
    ours = f"w, rarest / commonest: {ours}"
    return Finding(verdict, "no figure", ours, why, number=number, setting=LABELS)


@claim("rare-influence", "§5.3")
def rare_influence(e: Evidence) -> Finding:
    """The weights let rare classes exert greater influence during optimisation."""
    before = of_labels(e, "attraction of rare labels, equal pairs")
    after = of_labels(e, "attraction of rare labels, w")
    with_t = of_labels(e, "attraction of rare labels, w / T")
    ours = "; ".join(
        f"{ARCHIVES[a]} {before[a]:.1f} → {after[a]:.1f} %, with T {with_t[a]:.1f} %"
        for a in before
    )
    why = (
        "Share of the attraction over a training split that falls to the rarest third of the "
        "labels, from w = 1 (MulSupCon) to MACL's w, and to w/T. More influence in the loss is not "
        "better retrieval: that is the claim rare-classes."
    )
    verdict = REPRODUCED if all(after[a] > before[a] for a in before) else NOT_REPRODUCED
    least = min(before, key=lambda a: after[a] - before[a])
    number = f"{before[least]:.1f} → {after[least]:.1f} %"
    return Finding(verdict, "no figure", f"attraction: {ours}", why, number=number, setting=LABELS)


@claim("beta-amplifies", "§4.2")
def beta_amplifies(e: Evidence) -> Finding:
    """β = 0.1 serves "to amplify the effect of rare labels"."""
    ratio = of_labels(e, "T, rarest / commonest")
    loss = {a: 100 * (1 / value - 1) for a, value in ratio.items()}
    ours = f"pull 1/T of the rarest label against the commonest: {spoken(loss, '+.1f')} %"
    why = (
        'Term 2 raises T for anchors with rare labels, as §3 says ("to stabilize optimization"), '
        "so their identical pairs (J = 1) are pulled less, not more, and by a few percent. Labels "
        "with ten training images or more."
    )
    verdict = REPRODUCED if min(loss.values()) > 0 else NOT_REPRODUCED
    number = f"{min(loss.values()):+.1f} % pull"
    return Finding(verdict, "β = 0.1", ours, why, number=number, setting=LABELS)


@claim("overlap-pulls", "§3, after Eq. 10")
def overlap_pulls(e: Evidence) -> Finding:
    """Samples that share more of the labels exert a stronger pull."""
    rho = of_labels(e, "rank correlation of J and pull")
    why = (
        "Rank correlation, over all positive pairs of a training split, of the Jaccard index with "
        "the coefficient Σ w/(T |P|) of §3; 0.8 or more counts."
    )
    verdict = REPRODUCED if min(rho.values()) >= 0.8 else NOT_REPRODUCED
    number = f"ρ = {min(rho.values()):.2f}"
    ours = f"ρ: {spoken(rho, '.2f')}"
    return Finding(verdict, "no figure", ours, why, number=number, setting=LABELS)


@claim("cost", "§3, §4.2")
def cost(e: Evidence) -> Finding:
    """Training costs are comparable to MulSupCon's."""
    one = lead(e.runs, "dlrsd", "macl", ["mulsupcon"], "log seconds")
    one = replace(one, metric="% seconds of a run")
    found, verdict = from_runs('"comparable"', [[one]]), UNDECIDED
    if one.status != "missing":
        inside = one.table[["low", "high"]].abs().max(axis=None) <= 25
        verdict = REPRODUCED if inside else NOT_REPRODUCED
    why = "Comparable is an interval, here over seeds alone, within ± 25 %."
    return found._replace(verdict=verdict, why=why)


@claim("splits", "§4.1, Table 2")
def splits(e: Evidence) -> Finding:
    """All archives are split at a fixed ratio of 70/10/20."""
    table = e.splits
    ratio = pd.Series({"train": 0.7, "validation": 0.1, "test": 0.2})
    off = (table[ratio.index] - np.outer(table["images"], ratio)).abs().max(axis=1)
    paper = "; ".join(
        f"{ARCHIVES[a]} {r.train}/{r.validation}/{r.test}" for a, r in table.iterrows()
    )
    why = "One percent of the images may be off."
    ours = f"largest distance from the ratio, in images: {spoken(off, '.0f')}"
    verdict = REPRODUCED if (off <= 0.01 * table["images"]).all() else CONTRADICTED
    number = f"{off.max():.0f} images off"
    return Finding(verdict, paper, ours, why, number=number, setting=PRINTED)
