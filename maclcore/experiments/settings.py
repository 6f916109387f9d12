"""What single settings of a loss are worth, in numbers and in sentences: notebooks 06 and 07.

As in `standing`, sentences are computed from the rows that they speak of, and turn with them.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from maclcore.evaluation import statistics
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments.paper import ABLATIONS, EXPERIMENTS
from maclcore.experiments.sweep import stored
from maclcore.experiments.temperatures import (
    ALPHA,
    BETA,
    GRADED,
    TAU,
    WEIGHTED,
    against_mulsupcon,
    at_equal_temperature,
    label_counts,
    like_pairs,
    over_alpha_alone,
)
from maclcore.experiments.winner import ARCHIVES, WEIGHTS
from maclcore.experiments.words import interval, listed, minus, points, title
from maclcore.losses import method_label
from maclcore.store import per_query

PARTS = {False: "T alone (w = 1)", True: "w and T"}
#: (α, β) that the paper chooses, and where its surface with T alone is highest (§4.2, §5.4.1)
CHOSEN, HIGHEST = (1.5, 0.1), (1.5, 1.0)
STRICT = "mAP@0.8"
SEEDS = (0, 1, 2)  #: of the ablations that are stored, heads alone
#: the column of `across` that has no best value
AT_EQUAL = "MACL, α > 0, minus MulSupCon"


def heads(archives: Sequence[str] = ARCHIVES) -> dict[str, list[pd.DataFrame]]:
    """The stored rows of `alpha_beta`, `temperature` and `learning_rate`, heads alone, by the
    archive's title."""
    found = {}
    for archive in archives:
        of = (EXPERIMENTS[name]("frozen", archive, SEEDS, weights=WEIGHTS) for name in ABLATIONS)
        rows = [stored(configs) for configs in of]
        found[rows[0]["archive: title"].iloc[0]] = rows
    return found


def one_at_a_time(
    grid: pd.DataFrame, tau: pd.DataFrame, rates: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Rows of MACL by the one setting that varies: α at the printed β with w = 1, τ, where
    MulSupCon is there, too, and the learning rate."""
    both = tau[tau["loss"].isin(["macl", "mulsupcon"])]
    return {ALPHA: over_alpha_alone(grid), TAU: both, "lr": rates[rates["loss"] == "macl"]}


def across(found: Mapping[str, Sequence[pd.DataFrame]], metric: str = GRADED) -> pd.DataFrame:
    """Where a metric is best over each setting, and how MACL stands to MulSupCon where like pairs
    have one temperature, in words: a row an archive of `found`, which has the rows of `heads`."""
    rows = {}
    for name, (grid, tau, rates) in found.items():
        pairs = like_pairs(grid, tau, tau[:0], label_counts(grid["archive"].iloc[0]))
        gaps = at_equal_temperature(pairs, [metric]).loc[metric]
        varied = one_at_a_time(grid, tau, rates)
        macl = varied[TAU]["loss"] == "macl"
        rows[name] = {
            "α": _best(varied[ALPHA], ALPHA, metric),
            AT_EQUAL: against_mulsupcon(gaps[gaps[ALPHA] > 0]),
            "τ of MACL": _best(varied[TAU][macl], TAU, metric),
            "τ of MulSupCon": _best(varied[TAU][~macl], TAU, metric),
            "learning rate": _best(varied["lr"], "lr", metric),
        }
    return pd.DataFrame(rows).T


def mulsupcon(tau: pd.DataFrame) -> pd.DataFrame:
    """Of rows of `temperature` MulSupCon at the τ of §4.2."""
    return tau[(tau["loss"] == "mulsupcon") & (tau[TAU] == 0.3)]


def _best(runs: pd.DataFrame, x: str, metric: str) -> str:
    """At which value of `x` a metric is best, and what it is there: "0.5: 84.7"."""
    means = 100 * runs.groupby(x)[metric].mean()
    return minus(f"{means.idxmax():g}: {means.max():.1f}")


def same_everywhere(table: pd.DataFrame) -> str:
    """In which of the columns of `across` all archives have the same best value."""
    best = table.map(lambda cell: cell.split(":")[0])
    told = [
        f"{name} {values.iloc[0]} on all"
        if values.nunique() == 1
        else f"{name} {listed(f'{v} on {title(at)}' for at, v in values.items())}"
        for name, values in best.items()
        if name != AT_EQUAL
    ]
    return f"Best are {'; '.join(told)}."


def grids(runs: pd.DataFrame, metric: str, how: str = "mean") -> dict[str, pd.DataFrame]:
    """Rows of `alpha_beta` as grids α × β in percent, over seeds, without weights and with."""
    return {
        PARTS[bool(weighted)]: 100
        * part.pivot_table(index=ALPHA, columns=BETA, values=metric, aggfunc=how)
        for weighted, part in runs.groupby(WEIGHTED)
    }


def setting(alpha: float, beta: float) -> str:
    return minus(f"(α, β) = ({alpha:g}, {beta:g})")


def peak(runs: pd.DataFrame, metric: str, reference: pd.DataFrame) -> str:
    """Where a metric is highest over α × β, next to the paper's settings and MulSupCon's rows."""
    plain = grids(runs, metric)[PARTS[False]]
    alpha, beta = plain.stack().idxmax()
    top, base = plain.loc[alpha, beta], 100 * reference[metric].mean()
    paper = [
        f"{plain.loc[at]:.1f} at {said}, {minus(f'({at[0]:g}, {at[1]:g})')}"
        for at, said in ((CHOSEN, "the paper's choice"), (HIGHEST, "the paper's best"))
        if at[0] in plain.index and at[1] in plain.columns
    ]
    told = listed([f"{top:.1f} at its best, {setting(alpha, beta)}", *paper])
    every = pd.concat([grid.stack() for grid in grids(runs, metric).values()])
    ahead = (every > base).sum()
    return (
        f"`{metric}` with T alone is {told}; "
        f"{ahead or 'none'} of the {len(every)} settings {'is' if ahead <= 1 else 'are'} above "
        f"MulSupCon's {base:.1f} at τ = {reference[TAU].iloc[0]:g}."
    )


def marks(grids: dict[str, pd.DataFrame]) -> dict[str, dict[str, tuple[float, float]]]:
    """Of each grid the paper's best point, its choice and our best, where the grid has them."""
    return {
        name: {
            said: at
            for said, at in (
                ("the paper's best", HIGHEST),
                ("the paper's choice", CHOSEN),
                ("our best", grid.stack().idxmax()),
            )
            if at in grid.stack().index
        }
        for name, grid in grids.items()
    }


def peaks_in_short(grids: dict[str, pd.DataFrame], metric: str, word: str = "with") -> str:
    """Where each grid is highest; `word` stands before its name."""
    told = listed(
        f"at {setting(*grid.stack().idxmax())} {word} {title(name)} ({grid.max().max():.1f} %)"
        for name, grid in grids.items()
    )
    return f"`{metric}` is highest {told}."


def points_of(runs: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Means over seeds, a row a setting: `alpha`, `beta`, `reweight` and the metrics."""
    means = runs.groupby([ALPHA, BETA, WEIGHTED])[list(metrics)].mean().reset_index()
    return means.rename(columns=lambda column: column.removeprefix("param: "))


def paper_points(runs: pd.DataFrame, metrics: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Metrics in percent at the paper's settings with T alone, by what they are."""
    means = points_of(runs, metrics)
    means = means[~means["reweight"].astype(bool)].set_index(["alpha", "beta"])
    named = {"the paper's best (1.5, 1)": HIGHEST, "the paper's choice (1.5, 0.1)": CHOSEN}
    return {
        name: tuple(100 * means.loc[at, list(metrics)].astype(float))
        for name, at in named.items()
        if at in means.index
    }


def weights_cost(runs: pd.DataFrame, metrics: Sequence[str]) -> str:
    """What rarity weights change, the mean over α × β."""
    means = runs.groupby(WEIGHTED)[list(metrics)].mean()
    change = means.loc[True] - means.loc[False]
    told = listed(f"{points(change[metric])} points of `{metric}`" for metric in metrics)
    return f"Rarity weights w change the mean over the grid by {told}."


def agreement(runs: pd.DataFrame, x: str, y: str) -> str:
    """Whether two metrics want the same setting, of rows of `alpha_beta`."""
    means = runs.groupby([ALPHA, BETA, WEIGHTED])[[x, y]].mean()
    rank = means.corr(method="spearman").loc[x, y]
    best = [means[metric].groupby(level=ALPHA).mean().idxmax() for metric in (x, y)]
    alphas = "the same α" if best[0] == best[1] else "different values of α"
    return (
        f"`{x}` and `{y}` want {alphas}, {minus(f'{best[0]:g}')} and {minus(f'{best[1]:g}')} by "
        f"the mean over β and w: over {len(means)} settings their rank correlation is "
        f"{minus(f'{rank + 0:.2f}')}."
    )


def printed_alpha(runs: pd.DataFrame, metric: str = GRADED) -> str:
    """The best α and the paper's by the mean over β, with weights, of rows of `alpha_beta`."""
    means = 100 * runs[runs[WEIGHTED].astype(bool)].groupby(ALPHA)[metric].mean()
    return (
        f"By the mean over β, `{metric}` is highest at α = {minus(f'{means.idxmax():g}')} "
        f"({means.max():.1f}); at the paper's 1.5 it is {means[1.5]:.1f}."
    )


def best_temperatures(runs: pd.DataFrame, metric: str = GRADED) -> str:
    """At which τ of those tried each loss is best, of rows of `temperature`."""
    means = 100 * runs.pivot_table(index=TAU, columns="loss", values=metric)
    best = means.idxmax()
    told = [
        f"τ = {tau:g}: {listed(method_label(name) for name in names)}"
        for tau, names in best.groupby(best).groups.items()
    ]
    macl = f"MACL reaches {means['macl'].max():.1f} in `{metric}` at its best τ, {best['macl']:g}"
    other = f"MulSupCon {means['mulsupcon'].max():.1f} at {best['mulsupcon']:g}"
    return f"{macl}, {other}. The losses by their best τ: {'; '.join(told)}."


def beta_effect(runs: pd.DataFrame, metric: str = GRADED) -> str:
    """What β does at the lowest α and at the highest, with weights, of rows of `alpha_beta`."""
    grid = grids(runs, metric)[PARTS[True]]
    low, high = grid.columns[0], grid.columns[-1]
    told = [
        f"{points((row[high] - row[low]) / 100)} points at α = {minus(f'{row.name:g}')}"
        for row in (grid.iloc[0], grid.iloc[-1])
    ]
    return f"From β = {low:g} to {high:g} `{metric}` changes by {listed(told)}."


def learning_rates(runs: pd.DataFrame, metric: str = GRADED) -> str:
    """A metric of MACL at each learning rate, of rows of `learning_rate`."""
    means = 100 * runs[runs["loss"] == "macl"].groupby("lr")[metric].mean()
    told = listed(f"{value:.1f} at {rate:g}" for rate, value in means.items())
    return f"MACL is best in `{metric}` at a learning rate of {means.idxmax():g}: {told}."


def pretraining_gaps(rows: pd.DataFrame) -> pd.DataFrame:
    """What pretrained weights add, rows (metric, loss) of `difference`, `low`, `high`, of one
    archive's rows of `pretraining` that have both."""
    random = rows["weights"] == "none"
    gap = per_query(rows[~random]) - per_query(rows[random])
    found = statistics.summary(gap.dropna(axis=1)).rename(columns={"mean": "difference"})
    order = [loss for loss in ("mulsupcon", "macl", "wg_macl") if loss in found.index.levels[1]]
    return found.loc[[(metric, loss) for metric in METRICS for loss in order]]


def pretraining(gaps: pd.DataFrame, metric: str = GRADED) -> str:
    """What pretraining adds to each loss, of `pretraining_gaps`."""
    told = listed(
        f"{method_label(loss)} {interval(row)}" for loss, row in gaps.loc[metric].iterrows()
    )
    return f"Pretrained weights add in `{metric}`, in points: {told}."


def minus_each_temperature(variant: pd.DataFrame, tau: pd.DataFrame) -> pd.DataFrame:
    """Rows of `collect()` of one variant minus MulSupCon's at each τ, rows (metric, loss) of
    `difference`, `low`, `high`, with `row` and `column` of `plots.heat_strip`."""
    plain = tau[tau["loss"] == "mulsupcon"].sort_values(TAU)
    plain = plain.assign(loss="τ = " + plain[TAU].map("{:g}".format))
    name = variant["loss"].iloc[0]
    found = statistics.compare(per_query(pd.concat([plain, variant])), name)
    turned = pd.DataFrame(
        {"difference": -found["difference"], "low": -found["high"], "high": -found["low"]}
    )
    turned = turned.loc[[(m, loss) for m in METRICS for loss in plain["loss"].unique()]]
    level = turned.index.get_level_values
    return turned.assign(row=level("metric"), column=level("loss"))


def against_temperatures(gaps: pd.DataFrame, metrics: Sequence[str] = METRICS) -> str:
    """In which metrics a variant is above MulSupCon at every τ, at some, at none.

    gaps: rows (metric, ...) of `difference`, `low`, `high`, a row a τ.
    """
    above = (gaps["low"] > 0).groupby(level="metric").sum()[list(metrics)]
    below = (gaps["high"] < 0).groupby(level="metric").sum()[list(metrics)]
    many = len(gaps.loc[metrics[0]])
    every = [f"`{metric}`" for metric in metrics if above[metric] == many]
    behind = [f"`{metric}`" for metric in metrics if below[metric]]
    first = f"at all {many} values of τ in {listed(every)}" if every else "at all τ in no metric"
    last = f"below at some τ in {listed(behind)}" if behind else "below at none"
    return f"Its interval lies above MulSupCon {first}, and {last}."


def sign_at_full_length(gaps: dict[tuple[str, str], pd.DataFrame], variant: str) -> str:
    """A variant of MACL minus MulSupCon where it was trained in full.

    gaps: by (archive's title, profile) rows (metric, loss) of `statistics.compare`.
    """
    told = []
    for (name, profile), table in gaps.items():
        if variant not in table.index.unique("loss"):
            continue
        mine = table.xs(variant, level="loss")
        above, below = (mine["low"] > 0).sum(), (mine["high"] < 0).sum()
        told.append(
            f"* {title(name)}, `{profile}`: above in {above} and below in {below} of {len(mine)} "
            f"metrics, `{STRICT}` {interval(mine.loc[STRICT])}, `{GRADED}` "
            f"{interval(mine.loc[GRADED])}"
        )
    return "\n".join([f"{variant}, minus MulSupCon, in points:\n", *told])


def over_alpha(gaps: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Of `statistics.compare` of rows of `stored_alpha_sign` the variants at τ = 0.3, with their
    `alpha` and, in words, their `weights`."""
    named = runs.drop_duplicates("loss").set_index("loss")
    named = named[(named[TAU] == 0.3) & named[ALPHA].notna()]
    words = named[WEIGHTED].astype(bool).map(PARTS)
    named = pd.DataFrame({"alpha": named[ALPHA], "weights": words})
    return gaps[gaps.index.isin(named.index, level="loss")].join(named, on="loss")


def sign_in_short(curve: pd.DataFrame, metric: str = GRADED) -> str:
    """Of `over_alpha`, where MACL with w = 1 is best and what the paper's α costs."""
    plain = curve.loc[metric]
    plain = plain[plain["weights"] == PARTS[False]].set_index("alpha").sort_index()
    best = plain["difference"].idxmax()
    at_best, at_printed = (points(plain.loc[alpha, "difference"]) for alpha in (best, 1.5))
    return (
        f"At τ = 0.3 MACL is best at α = {minus(f'{best:g}')}, {at_best} points of `{metric}` from "
        f"MulSupCon, and {at_printed} at the paper's 1.5."
    )
