"""Claims on parts and settings: α, β, τ, the weights, the learning rate, pretraining."""

from functools import partial

from maclcore.audit.claims.rules import (
    CONTRADICTED,
    MACL,
    NDCG,
    NDCG_SIM,
    NOT_TESTABLE,
    PRINTED,
    SIM,
    UNDECIDED,
    Finding,
    claim,
    from_runs,
)
from maclcore.audit.evidence import ARCHIVES, Evidence, method
from maclcore.audit.leads import difference, lead, leads
from maclcore.experiments.paper import AXES, SIGNS
from maclcore.losses import method_label


def quoted(e: Evidence, place: str, **where: str) -> float:
    """A value that the text states: "§5.4.4" with method="macl", setting="lr = 0.1"."""
    rows = e.quoted[e.quoted["place"] == place]
    for column, value in where.items():
        rows = rows[rows[column].str.contains(value, regex=False)]
    return rows["value"].item()


@claim("both-needed", "§5.4.1, §6")
def both_needed(e: Evidence) -> Finding:
    """Without the weights or without the temperatures retrieval is noticeably worse."""
    alone, both = quoted(e, "Fig. 9a", setting="best"), quoted(e, "Fig. 9b", setting="best")
    readings = []
    for given in ({}, {"temperature": 0.3}):
        without = method("macl", reweight=False, **given)
        readings.append(leads(e.runs, "dlrsd", method("macl", **given), [without], [SIM, NDCG]))
    found = from_runs(f"best mAP: T alone {alone:.1f}, w and T near {both:.1f}", readings)
    without_alpha = quoted(e, "Fig. 9d", setting="best")
    why = (
        f"Without w the best value is {alone - both:+.1f} points from the best with both, without "
        f"α {without_alpha - both:+.1f}. Ours, with w against w = 1: {found.why}"
    )
    if alone < both:
        return found._replace(why=why)
    number = f"{alone - both:+.1f} points without w"
    return found._replace(verdict=CONTRADICTED, why=why, number=number, setting=PRINTED)


@claim("ablation-level", "implied by Fig. 9 and Table 4")
def ablation_level(e: Evidence) -> Finding:
    """The ablation of α and β is that of the DLRSD experiment of Table 4."""
    best, table = e.quoted[e.quoted["metric"] == "mAP"]["value"].max(), e.tables["dlrsd"]
    printed = table.loc["macl", SIM]
    bare = e.pretraining.loc[("dlrsd", "macl", "No"), SIM]
    why = (
        f"The highest value over α and β is {best:.1f}; Table 4 has {printed:.2f} for MACL, and "
        f"Table 7 {bare:.2f} without pretraining. The setting of the ablation is not given."
    )
    paper = f"Fig. 9: at most {best:.1f}; Table 4: {printed:.2f}"
    verdict = CONTRADICTED if best < printed - 0.5 else UNDECIDED
    number = f"{best - printed:+.1f} points"
    return Finding(verdict, paper, "", why, number=number, setting=PRINTED)


@claim("hyperparameters", "§4.2, Fig. 9")
def chosen(e: Evidence) -> Finding:
    """α = 1.5 and β = 0.1 were selected by "validation performance and stability"."""
    best = e.quoted[e.quoted["setting"].str.contains("best: ", regex=False)]
    paper = "; ".join(f"{place}: {setting}" for place, setting in best[["place", "setting"]].values)
    why = (
        "Where the text locates a best β it is 1.0, ten times the value chosen, and Fig. 9c puts "
        "the best α near 0.5; stability has no figure, and the split of Fig. 9 is not named."
    )
    paper = f"{paper}; chosen: 1.5, 0.1"
    return Finding(NOT_TESTABLE, paper, "", why, number="β 0.1, best at 1.0", setting=PRINTED)


@claim("best-alpha", "Fig. 9a")
def best_alpha(e: Evidence) -> Finding:
    """Without the weights α = 1.5 is the best α."""
    value = quoted(e, "Fig. 9a", setting="best")
    # at the β of the figure's best value, and at the τ of §4.2
    settings = (({"beta": 1.0}, AXES["paper"]["alpha"]), ({"temperature": 0.3}, SIGNS))
    readings = []
    for setting, alphas in settings:
        at = partial(method, "macl", reweight=False, **setting)
        rivals = [at(alpha=alpha) for alpha in alphas if alpha != 1.5]
        readings.append(leads(e.runs, "dlrsd", at(), rivals, [SIM]))
    return from_runs(f"Fig. 9a: best at α = 1.5, β = 1.0 ({value:.1f})", readings)


@claim("partial-overlap", "§5.3")
def partial_overlap(e: Evidence) -> Finding:
    """Temperatures by overlap (α > 0) improve the ranking of partial similarity."""
    flat = (method("macl", alpha=0.0), method("macl", alpha=0.0, temperature=0.3))
    pairs = zip(MACL, flat, strict=True)
    readings = [leads(e.runs, "dlrsd", a, [b], [NDCG_SIM, NDCG]) for a, b in pairs]
    return from_runs("no figure", readings)


@claim("temperature-rises", "§5.4.2, Fig. 10")
def temperature_rises(e: Evidence) -> Finding:
    """mAP rises with τ from 0.1 to 0.3."""
    rivals = [method("mulsupcon", temperature=t) for t in (0.1, 0.2)]
    both = leads(e.runs, "dlrsd", "mulsupcon", rivals, [SIM])
    rivals = [method("macl", temperature=t) for t in (0.1, 0.2)]
    both += leads(e.runs, "dlrsd", MACL[1], rivals, [SIM])
    return from_runs("Fig. 10, all archives: best at 0.3, the largest tried", [both])


@claim("learning-rate-wg", "§5.4.4", archive="dlrsd", loss="wg_macl")
@claim("learning-rate-macl", "§5.4.4", archive="ml_aid", loss="macl")
def learning_rate(e: Evidence, archive: str, loss: str) -> Finding:
    """On {archive} a learning rate of 0.001 is the best for {loss}."""
    low, high = (
        quoted(e, "§5.4.4", archive=archive, setting=f"lr = {v}") for v in ("0.1", "0.001")
    )
    rivals = [method(loss, lr=v) for v in (0.1, 0.01)]
    readings = [leads(e.runs, archive, loss, rivals, [SIM])]
    return from_runs(f"{SIM}: {low:.2f} at 0.1, {high:.2f} at 0.001", readings)


@claim("pretraining", "§5.4.3, Table 7")
def pretraining_helps(e: Evidence) -> Finding:
    """Pretrained weights "consistently improve" all archives and both losses."""
    gain = e.pretraining.xs("Yes", level=2) - e.pretraining.xs("No", level=2)
    paper = f"{SIM}: " + ", ".join(
        f"{method_label(m)} {ARCHIVES[a]} {v:+.2f}" for (a, m), v in gain[SIM].items()
    )
    lost = gain.stack()
    lost = lost[lost < 0]
    if lost.empty:
        return Finding(UNDECIDED, paper, "", "No printed value falls with pretraining.")
    worst = lost.idxmin()
    why = (
        f"It raises {gain.size - len(lost)} of {gain.size} printed values and lowers {len(lost)} "
        f"(by {-lost.max():.2f} to {-lost.min():.2f}), most of all {worst[2]} of "
        f"{method_label(worst[1])} on {ARCHIVES[worst[0]]}."
    )
    number = f"{len(lost)} of {gain.size} fall"
    return Finding(CONTRADICTED, paper, "", why, number=number, setting=PRINTED)


@claim("pretraining-gap", "§5.4.3, Table 7")
def pretraining_gap(e: Evidence) -> Finding:
    """Wg-MACL gains more from pretraining than MACL."""
    gain = e.pretraining.xs("Yes", level=2)[SIM] - e.pretraining.xs("No", level=2)[SIM]
    gain = gain.unstack()
    paper = "; ".join(
        f"{ARCHIVES[a]} {r.wg_macl:+.2f} to {r.macl:+.2f}" for a, r in gain.iterrows()
    )
    gains = [
        difference(
            *(lead(e.runs, a, m, [method(m, weights="none")], SIM) for m in ("wg_macl", "macl"))
        )
        for a in ARCHIVES
    ]
    if (gain["wg_macl"] <= gain["macl"]).any():
        return Finding(CONTRADICTED, paper, "", "Not on every archive.")
    return from_runs(paper, [gains])
