"""Is what α does a matter of its sign, or of the temperatures that it sets?

MACL gives a pair with equal label sets the temperature T(J = 1) = τ (exp(-α) + β / ln(1 + h)), and
MulSupCon gives every pair τ. If α mattered by that temperature alone, MACL's values over T(J = 1)
would lie on MulSupCon's over τ. Numbers and sentences of notebooks 06 and 07, from stored runs.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from maclcore import paths
from maclcore.data import load_archive
from maclcore.evaluation import statistics
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments.words import interval, minus, points
from maclcore.labels import LabelStatistics
from maclcore.losses import pair_weights
from maclcore.store import per_query

ALPHA, BETA, TAU, WEIGHTED = (
    f"param: {name}" for name in ("alpha", "beta", "temperature", "reweight")
)
GRADED = "nDCG@100"
PRINTED_BETA = 0.1
#: archives whose images are another's have its counts
COUNTED = {"dlrsd": "dlrsd", "ucm_multilabel": "dlrsd", "ml_aid": "ml_aid", "whdld": "whdld"}
NEAR = 1.05  # a T so little outside of the temperatures that were tried counts as the last of them


def label_counts(archive: str) -> np.ndarray:
    """Images a label (L,): Table 3's where it has the archive, else from the labels at hand. They
    enter T through a logarithm. ArchiveError if neither is there."""
    if archive in COUNTED:
        table = pd.read_csv(paths.paper_root() / "table3.csv", index_col="label")
        return table[COUNTED[archive]].dropna().astype(int).to_numpy()
    return load_archive(archive, progress=False).labels.sum(axis=0)


def over_alpha_alone(grid: pd.DataFrame) -> pd.DataFrame:
    """Of rows of `alpha_beta` those at the printed β with w = 1."""
    return grid[(grid[BETA] == PRINTED_BETA) & ~grid[WEIGHTED].astype(bool)]


def like_temperature(counts: np.ndarray, **params: float) -> float:
    """MACL's T for two images with one and the same label, by the loss itself, as the mean over the
    images of labels with these `counts` (L,)."""
    counts = counts[counts > 0]
    each = np.eye(len(counts), dtype=bool)
    stats = LabelStatistics.from_labels(each.repeat(counts, axis=0))
    _, T = pair_weights("macl", each.repeat(2, axis=0), stats, **params)
    return float(np.average(T[::2, 1::2].diagonal(), weights=counts))


def like_pairs(
    grid: pd.DataFrame, tau: pd.DataFrame, signs: pd.DataFrame, counts: np.ndarray
) -> pd.DataFrame:
    """Rows of `collect()` that answer the question, with their `series` and `T` of like pairs.

    grid: rows of `alpha_beta`, of which those at the printed β and w = 1 are MACL at τ = 1. tau:
    rows of `temperature`, of which MulSupCon's count. signs: rows of `stored_alpha_sign`, of which
    MACL at τ = 0.3 and w = 1 counts; may be empty. `loss` names series and setting.
    """
    parts = {"MACL, τ = 1": over_alpha_alone(grid), "MulSupCon": tau[tau["loss"] == "mulsupcon"]}
    if len(signs):
        kept = (signs[TAU] == 0.3) & (signs[WEIGHTED] == False) & signs[ALPHA].notna()  # noqa: E712
        parts["MACL, τ = 0.3"] = signs[kept]
    rows = pd.concat(part.assign(series=series) for series, part in parts.items())
    ours, settings = rows["series"] != "MulSupCon", [ALPHA, BETA, TAU]
    rows["T"] = rows[TAU]
    for setting, part in rows[ours].groupby(settings):
        named = dict(zip(("alpha", "beta", "temperature"), setting, strict=True))
        rows.loc[part.index, "T"] = like_temperature(counts, **named)
    varied = rows[ALPHA].where(ours, rows[TAU])
    return rows.assign(loss=rows["series"] + " @ " + varied.map("{:g}".format))


def at_equal_temperature(rows: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """MACL minus MulSupCon at the temperature of MACL's like pairs, of `like_pairs`.

    MulSupCon is taken between the two τ nearest by ratio, query by query; settings beyond its τ are
    left out. Rows (metric, loss): series, alpha, T, `difference`, `low`, `high`, as `statistics`.
    """
    values = per_query(rows)
    settings = rows.drop_duplicates("loss").set_index("loss")
    plain = settings[settings["series"] == "MulSupCon"].sort_values("T")
    tried = np.log(plain["T"].to_numpy())
    gaps = {}
    for loss, row in settings[settings["series"] != "MulSupCon"].iterrows():
        at, slack = np.log(row["T"]), np.log(NEAR)
        if not tried[0] - slack <= at <= tried[-1] + slack:
            continue
        share = np.array([np.interp(at, tried, unit) for unit in np.eye(len(tried))])
        for metric in metrics:
            other = values[metric][list(plain.index)].to_numpy() @ share
            gaps[metric, loss] = values[metric, loss] - other
    found = statistics.summary(pd.DataFrame(gaps).rename_axis(columns=["metric", "loss"]))
    found = found.rename(columns={"mean": "difference"})[["difference", "low", "high"]]
    return found.join(settings[["series", ALPHA, "T"]], on="loss")


def sign_or_temperature(rows: pd.DataFrame, gaps: pd.DataFrame, metric: str = GRADED) -> str:
    """The answer in words, of `like_pairs` and `at_equal_temperature`."""
    best = []
    for series, part in rows.groupby("series", sort=False):
        means = 100 * part.groupby("loss")[metric].mean()
        top = part[part["loss"] == means.idxmax()].iloc[0]
        name = f"τ = {top[TAU]:g}" if series == "MulSupCon" else f"α = {minus(f'{top[ALPHA]:g}')}"
        best.append(
            f"{series}: {means.max():.1f} at {name}, where like pairs have T = {top['T']:.2f}"
        )
    gaps = gaps.loc[metric]
    sharp, soft = (against_mulsupcon(gaps[part]) for part in (gaps[ALPHA] > 0, gaps[ALPHA] < 0))
    return (
        f"* Best `{metric}` of each series: {'; '.join(best)}.\n"
        f"* With like pairs at the same temperature as in MulSupCon, MACL with α > 0 is {sharp}; "
        f"with α < 0 it is {soft}.\n"
        f"{_reconciled(rows, metric)}* So {verdict(gaps)}."
    )


def _reconciled(rows: pd.DataFrame, metric: str) -> str:
    """Why the best α may be positive at τ = 1 and negative at τ = 0.3, where it is."""
    means = rows.groupby(["series", ALPHA])[metric].mean()
    best = {
        series: means[series].idxmax()
        for series in ("MACL, τ = 1", "MACL, τ = 0.3")
        if series in means
    }
    if len(best) < 2 or not best["MACL, τ = 1"] > 0 > best["MACL, τ = 0.3"]:
        return ""
    return (
        "* That a larger α is better at τ = 1, the loss as printed, and a negative one at τ = 0.3 "
        "is no contradiction: at τ = 1 like pairs are treated too softly, and α > 0 brings their "
        "temperature down; where τ has done so already, α > 0 brings it too low, and makes like "
        "pairs sharper than others.\n"
    )


def against_mulsupcon(gaps: pd.DataFrame) -> str:
    """On which side of MulSupCon settings are, and how far."""
    if gaps.empty:
        return "not to be compared, for want of a setting within MulSupCon's temperatures"
    if len(gaps) == 1:
        return f"{interval(gaps.iloc[0])} points from it in the one setting"
    below, above = (gaps["high"] < 0).sum(), (gaps["low"] > 0).sum()
    ends = f"{points(gaps['difference'].min())} to {points(gaps['difference'].max())} points"
    if below == len(gaps) or above == len(gaps):
        return f"{'below' if below else 'above'} it in all {len(gaps)} settings, {ends}"
    return f"below it in {below or 'none'} and above in {above or 'none'} of {len(gaps)}, {ends}"


def verdict(gaps: pd.DataFrame) -> str:
    """What differences at equal temperature say, of one metric."""
    sharp, soft = (gaps[gaps[ALPHA] > 0], gaps[gaps[ALPHA] < 0])
    if (gaps["low"] <= 0).all() and (gaps["high"] >= 0).all():
        return "nothing but the temperature of like pairs can be told to matter"
    if len(soft) and sharp["difference"].max() < soft["difference"].min():
        return "it is not the temperature alone: at equal temperature the better sign is minus"
    if len(soft) and sharp["difference"].min() > soft["difference"].max():
        return "it is not the temperature alone: at equal temperature the better sign is plus"
    return "it is not the temperature of like pairs alone"
