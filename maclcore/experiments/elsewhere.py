"""Does the proposed loss hold where it was not chosen? What the stored rows of `winner_stability`
say: other image sizes, half of the training images, other labels."""

import pandas as pd

from maclcore.evaluation import statistics
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments.choosing import TITLES
from maclcore.experiments.stability import NAMES
from maclcore.experiments.tables import of_experiments
from maclcore.experiments.winner import PROPOSED, RIVALS, WEIGHTS
from maclcore.experiments.winning import side
from maclcore.experiments.words import counted, interval, listed, share, title
from maclcore.losses import method_label
from maclcore.store import collect, per_query

#: what trains under a profile
WHAT = {"frozen": "Heads alone", "quick": "Whole networks"}
#: of which metrics the mean is taken, in words
GROUPS = {"five metrics of overlap": METRICS[2:], "two of any shared label": METRICS[:2]}
#: archives of other labels, in words; all of them are one panel
LABELS = {"ucm_scenes": "one label", "synthetic_5": "5 labels", "synthetic_60": "60 labels"}
OTHER = "other labels"
#: as a page lists the conditions
ORDER = ("as chosen", "32 px", "96 px", "128 px", "half the images", *LABELS.values())
LACKING = "No rows of `winner_stability` are in this store."


def conditions(profile: str) -> pd.DataFrame:
    """The stored rows of the experiment under a profile, `named`, and for what they are compared
    with those of `winner` of the same archives and seeds."""
    rows = collect()
    rows = rows[(rows["profile"] == profile) & (rows["weights"] == WEIGHTS)]
    rows = of_experiments(("winner", "winner_stability"), rows)
    return named(rows[rows["loss"].isin(NAMES)])


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `collect()` with `where`, a panel, and `condition`, in words; those of seeds that
    have a changed condition of their archive, and in each condition all losses."""
    other = rows["archive"].map(LABELS)
    words = rows["image_size"].astype(str) + " px"
    words = words.mask(rows["train_share"] < 1, "half the images")
    words = words.mask(words == "64 px", "as chosen")
    place = rows["archive"].map(TITLES).mask(other.notna(), OTHER)
    rows = rows.assign(where=place, condition=other.fillna(words))
    of = rows["archive"] + " " + rows["seed"].astype(str)
    rows = rows[of.isin(of[rows["condition"] != "as chosen"])]
    many = rows.groupby(["archive", "condition", "seed"])["loss"].transform("nunique")
    return rows[many == len(NAMES)]


def against_best(rows: pd.DataFrame, loss: str) -> pd.DataFrame:
    """The loss minus the best of its rivals in each condition, in means of `GROUPS`: rows
    (where, group, condition) with the `rival`, `difference`, its interval `low` to `high` over
    queries alone, as there are few splits of a condition, and how many `splits` it has."""
    found = {}
    place = rows["condition"].map({name: i for i, name in enumerate(ORDER)})
    rows = rows.assign(place=place).sort_values(["where", "place"], kind="stable")
    for (where, condition), part in rows.groupby(["where", "condition"], sort=False):
        values = per_query(part)
        for words, metrics in GROUPS.items():
            each = values[list(metrics)].T.groupby(level="loss").mean().T
            means = each.groupby(level=statistics.REPLICATE).mean().mean()
            rival = means[[name for name in means.index if name in RIVALS]].idxmax()
            gap = each[[loss]] - each[[rival]].to_numpy()
            queries = [(0, 0, n) for n in range(len(gap))]  # of all splits, as if of one
            gap.index = pd.MultiIndex.from_tuples(queries, names=gap.index.names)
            row = statistics.summary(gap).iloc[0]
            found[where, words, condition] = {
                "rival": rival, "difference": means[loss] - means[rival], "low": row["low"],
                "high": row["high"], "splits": part["split_seed"].nunique(),
            }  # fmt: skip
    names = ["where", "group", "condition"]
    index = pd.MultiIndex.from_tuples(list(found), names=names) if found else None
    return pd.DataFrame(list(found.values()), index)


def said(gaps: pd.DataFrame, profile: str) -> tuple[str, str]:
    """In how many conditions the loss proposed for a profile is above the best of the others, in a
    line; in which it is below, and what was trained."""
    short, told = [], []
    for group, part in gaps.groupby(level="group", sort=False):
        above, below = (part[side(part) == word] for word in ("ahead", "behind"))
        short.append(f"in the {group} in {share(len(above), len(part))}")
        told += [
            f"{group}, {title(where)}, {condition}: {interval(row)} to {method_label(row['rival'])}"
            for (where, _, condition), row in below.iterrows()
        ]
    loss = method_label(PROPOSED[profile])
    line = f"Of the conditions {loss} is above the best other loss {listed(short)}."
    lost = f"It is below it in these: {'; '.join(told)}." if told else "It is below in none."
    splits = " or ".join(counted(int(n), "split") for n in sorted(gaps["splits"].unique()))
    return line, f"{lost} {WHAT[profile]}, {splits} a condition."
