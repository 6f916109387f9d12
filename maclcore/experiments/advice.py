"""What notebook 13 says of the proposed loss, in sentences that are computed from its `Standing`.

With rows that say something else they say so: nothing here knows who has won.
"""

from collections.abc import Sequence

import pandas as pd

from maclcore.evaluation import statistics
from maclcore.experiments.choosing import parts_of
from maclcore.experiments.standing import GRADED, mean_ranks
from maclcore.experiments.winner import TRIALS
from maclcore.experiments.winning import (
    Standing,
    against_best,
    dominance,
    seconds,
    side,
    split_columns,
    validated,
)
from maclcore.experiments.words import (
    counted,
    interval,
    listed,
    ordinal,
    points,
    probability,
    share,
    title,
)
from maclcore.losses import method_label

PROTOCOLS = {"quick": "the whole network trained", "frozen": "the head alone trained"}
#: settings of each loss among which it was chosen, in words
TRIED = counted(max(map(len, TRIALS.values())), "setting").split()[0]


def protocol(found: Standing) -> str:
    """ "whole network, five splits"."""
    seeds = found.runs.groupby("archive")["seed"].nunique()
    splits = listed(counted(n, "split") for n in sorted(seeds.unique()))
    size = listed(f"{n} px" for n in found.runs["image_size"].unique())
    epochs = listed(counted(n, "epoch") for n in found.runs["epochs"].unique())
    return f"{PROTOCOLS[found.profile]}, {size}, {epochs}, {splits}"


def provenance(found: Standing) -> str:
    """Which archives and how trained, as captions have it."""
    return f"{listed(map(title, found.titles))}; {protocol(found)}" if found else ""


def nothing(profile: str) -> str:
    """What is said of a profile without stored rows."""
    return (
        f"No seed of `winner` is stored whole at the profile `{profile}` "
        f"({PROTOCOLS[profile]}): `python -m maclcore sweep winner --profile {profile}` has them."
    )


def answer(found: Standing) -> str:
    """The first thing to know: who is first, and how the proposed loss stands to the best of all
    others, column by column."""
    ranks, best = found.ranks, against_best(found)
    next_one, *others = (name for name in ranks.index if name in found.rivals)
    counts = side(best).value_counts()
    ahead = share(counts.get("ahead", 0), len(best))
    return (
        f"* Proposed is **{method_label(found.loss)}** "
        f"({_option(found.loss)}). It is **{_place(found)} of {len(ranks)}** by mean rank over "
        f"{found.columns} columns, {ranks[found.loss]:.1f}{_before(found)}; the first of the "
        f"{1 + len(others)} losses of the papers is {method_label(next_one)}, "
        f"{ranks[next_one]:.1f} ({provenance(found)}). {_over_seven(found, next_one)}\n"
        f"* **Against the best of them in each column**, another one each time and a bar that "
        f"none of them meets, the 95 % interval of the difference lies above zero in {ahead} "
        f"columns, holds it in {counts.get('level', 0)} and lies below in "
        f"{counts.get('behind', 0)}.\n"
        f"* {where_not(found)}\n{candidates(found)}"
    )


def candidates(found: Standing) -> str:
    """How each candidate stands to the best rival of each column."""
    told = []
    for loss, part in found.kin.groupby(level="loss", sort=False):
        ahead, behind = ((side(part) == word).sum() for word in ("ahead", "behind"))
        rank = found.ranks[loss]
        told.append(f"{method_label(str(loss))} {ahead} and {behind} (mean rank {rank:.1f})")
    return (
        f"* **The candidates side by side**: above the best loss of the papers in each column, and "
        f"below it, of {found.columns}: {listed(told)}. By mean rank those within "
        f"{found.critical:.1f} cannot be told apart."
    )


def since_when(found: Standing) -> str:
    """Which loss the validation parts of these runs would have named, without any test."""
    scores = validated(found)
    mean = scores.mean(axis=1).sort_values(ascending=False)
    first, second = (f"{method_label(str(name))} {mean[name]:.1f}" for name in mean.index[:2])
    firsts = (scores.idxmax() == found.loss).sum()
    place = mean.index.get_loc(found.loss)
    named = (
        f"the validation parts of these runs name it, too: {first}, before {second}"
        if place == 0
        else f"on the validation parts of these runs it is {ordinal(place + 1)}: {first} is first"
    )
    return (
        f"* **Without any test** {named}, in means of the seven metrics; it is first on "
        f"{share(firsts, scores.shape[1])} archives."
    )


def _over_seven(found: Standing, rival: str) -> str:
    mine = found.gaps.xs(rival, level="loss")
    mean = mine["difference"].groupby(level="archive", sort=False).mean()
    graded = mine.xs(GRADED, level="metric")
    told = listed(
        f"{points(mean[name])} on {title(name)} (`{GRADED}` {interval(row)})"
        for name, row in graded.iterrows()
    )
    return (
        f"Its differences from {method_label(rival)}, in points of the mean of the seven metrics: "
        f"{told}."
    )


def best_in_short(found: Standing) -> str:
    """Figure's words: how the proposed loss stands to the best rival of each column."""
    best = against_best(found)
    ahead, behind = ((side(best) == word).sum() for word in ("ahead", "behind"))
    return (
        f"{method_label(found.loss)} is above the best loss of the papers in "
        f"{share(ahead, len(best))} columns, and below it in {share(behind, len(best))}."
    )


def also(found: Standing) -> str:
    """The same of another protocol, in a line."""
    best, ranks = against_best(found), found.ranks
    ahead, behind = ((side(best) == word).sum() for word in ("ahead", "behind"))
    what, size = protocol(found).split(", ", 1)
    return (
        f"* With **{what}** ({size}) **{method_label(found.loss)}** is {_place(found)} of "
        f"{len(ranks)} by mean rank, {ranks[found.loss]:.1f}{_before(found)}; above the best rival "
        f"of the column in {ahead} of {len(best)} and below in {behind}{_lost(best)}."
    )


def in_short(found: Standing) -> str:
    """The advice in two sentences, for pages that lead here."""
    if not found:
        return nothing(found.profile)
    best = against_best(found)
    ahead, behind = ((side(best) == word).sum() for word in ("ahead", "behind"))
    return (
        f"**{method_label(found.loss)}** ({_option(found.loss)}) is {_place(found)} of "
        f"{len(found.ranks)} losses by mean rank{_before(found)}, each at the best of {TRIED} "
        f"settings, chosen on other splits ({provenance(found)}). Against the best loss of the "
        f"papers *in each column* it gains in {ahead} of {len(best)}, beyond the 95 % interval, "
        f"and loses in {behind}{_lost(best)}."
    )


def _before(found: Standing) -> str:
    """Who is before it."""
    ranks = found.ranks.iloc[: found.ranks.index.get_loc(found.loss)]
    names = [f"{method_label(str(name))} ({rank:.1f})" for name, rank in ranks.items()]
    return f", behind {listed(names)}" if names else ""


def _option(loss: str) -> str:
    """How the command line calls it, and what it is made of."""
    parts = " ‖ ".join(map(method_label, parts_of(loss)))
    told = f": {parts}" if parts not in ("", method_label(loss)) else ""
    return f"`--loss {loss}`{told}"


def _place(found: Standing) -> str:
    place = found.ranks.index.get_loc(found.loss)
    return ordinal(place + 1) if place else "first"


def _lost(best: pd.DataFrame) -> str:
    """Where a loss is behind the best rival, in brackets."""
    lost = best[side(best) == "behind"]
    names = [
        f"`{metric}` on {title(name)}, to {method_label(rival)}"
        for (name, metric), rival in lost["rival"].items()
    ]
    return f" ({listed(names)})" if names else ""


def where_not(found: Standing) -> str:
    """In which columns the proposed loss is behind some rival, and by how much."""
    best = against_best(found)
    behind = best[side(best) == "behind"]
    if behind.empty:
        return f"There is no column in which {method_label(found.loss)} is behind any rival."
    told = "; ".join(
        f"{title(name)}: "
        + listed(
            f"`{row.name[1]}` {interval(row)} to {method_label(row['rival'])}"
            for _, row in part.iterrows()
        )
        for name, part in behind.groupby(level="archive", sort=False)
    )
    return f"**Where it does not hold**, in points from the best loss of the papers: {told}."


def dominates(found: Standing) -> str:
    """How many rivals the proposed loss is behind in no column of an archive, and who is left."""
    counts = dominance(found)
    counts = counts[counts.index.isin(found.rivals, level="loss")]
    told = []
    for name, part in counts.groupby(level="archive", sort=False):
        left = part[part["behind"] > 0].droplevel("archive")
        names = [f"{method_label(loss)} ({n})" for loss, n in left["behind"].items()]
        but = f" (not {listed(names)})" if names else ""
        told.append(f"{share(len(part) - len(left), len(part))} on {title(name)}{but}")
    return (
        f"**Rival by rival**: those that {method_label(found.loss)} is behind in no column "
        f"(beyond the 95 % interval): {'; '.join(told)}."
    )


def tests(found: Standing) -> str:
    """What permutation tests say, corrected for all pairs of losses in a column."""
    gaps = found.gaps[found.gaps.index.isin(found.rivals, level="loss")]
    apart = gaps[gaps["holm"] < 0.05]
    ahead, behind = (apart["difference"] > 0).sum(), (apart["difference"] < 0).sum()
    many = len(found.ranks)
    return (
        f"Of {len(gaps)} comparisons with a rival in a column, {ahead} are won and {behind} lost "
        f"with p < 0.05 in the paired permutation test, corrected (Holm) for all "
        f"{many * (many - 1) // 2} pairs of losses in the column; {len(gaps) - ahead - behind} are "
        f"open."
    )


def split_by_split(found: Standing) -> str:
    """Mean ranks where each split counts by itself, and what they tell apart."""
    table = split_columns(found)
    ranks = mean_ranks(table)
    within = statistics.critical_difference(len(ranks), table.shape[1])
    near = [loss for loss in _near(ranks, found.loss, within) if loss in found.rivals]
    rival = ranks[found.rivals].idxmin()
    told = listed(map(method_label, near)) or "none"
    return (
        f"**Split by split**: over the {table.shape[1]} columns of single splits its mean rank is "
        f"{ranks[found.loss]:.1f}, that of {method_label(rival)}, the first of the papers', "
        f"{ranks[rival]:.1f}; losses of the papers within the critical difference, {within:.1f}: "
        f"{told}. Splits of an archive share images, so this bound is lenient; that of Figure "
        "13.2, where they count once, is strict."
    )


def untouched(found: Standing) -> str:
    """The same of splits that the sketch had not seen."""
    if not found:
        return f"Of later splits no runs are stored at the profile `{found.profile}`."
    best = against_best(found)
    ahead, behind = ((side(best) == word).sum() for word in ("ahead", "behind"))
    first, last = found.runs["seed"].min(), found.runs["seed"].max()
    return (
        f"On splits {first} to {last} alone ({protocol(found)}) it is {_place(found)} of "
        f"{len(found.ranks)} by mean rank, above the best rival of the column in {ahead} of "
        f"{len(best)} and below in {behind}{_lost(best)}."
    )


def by_rank(found: Standing) -> str:
    """Which losses a critical difference does not tell from the proposed one."""
    ranks = found.ranks
    told = listed(map(method_label, _near(ranks, found.loss, found.critical))) or "none"
    return (
        f"By mean rank over {found.columns} columns, {ranks[found.loss]:.1f}, "
        f"{method_label(found.loss)} cannot be told from: {told}."
    )


def _near(ranks: pd.Series, loss: str, difference: float) -> list[str]:
    """The losses whose mean rank is within a difference of that of `loss`, in order of it."""
    gaps = (ranks.drop(loss) - ranks[loss]).abs()
    return list(gaps[gaps < difference].index)


def order_at_all(found: Standing) -> str:
    """Friedman's test over all losses and columns."""
    p = statistics.friedman(found.means.loc[found.ranks.index])
    return f"Friedman's test of no order at all: p {probability(p)}"


def cost(found: Standing, names: Sequence[str] = ("lproto", "oml")) -> str:
    """What a training with the proposed loss costs beside one with MulSupCon."""
    if not found:
        return nothing(found.profile)
    table = seconds(found)
    mine = table.drop(columns="times").loc[found.loss]
    low, high = mine.min(), mine.max()
    others = listed(f"{method_label(name)} {table.loc[name, 'times']:.1f}" for name in names)
    return (
        f"A training takes {low:.0f} to {high:.0f} s (median of the stored runs, "
        f"{PROTOCOLS[found.profile]}), {table.loc[found.loss, 'times']:.1f} times as long as with "
        f"MulSupCon; {others} times. The machine had other work, so these are no benchmark; "
        "embedding and search cost the same whatever the loss was."
    )
