"""How the proposed loss was chosen and why it wins, from tables that come with the store.

winner_choice.csv  a run of `winner_choice` on a validation part: loss, setting, split_seed,
                   archive, the metrics (`winner.measure`)
front.csv          a training by `WALKED`, searched with its parts at other shares: the
                   shares by the losses' names, archive, split_seed, the metrics (`audit.parts`)
parts.csv          a loss alone, in all parts, in a sum: variant, searched by, archive,
                   split_seed, the metrics (`audit.parts`)
levers.csv         a run with something else changed, such as the batch, on a validation part:
                   lever, loss, archive, split_seed, the metrics (`benchmarks/levers.py`)
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from maclcore import paths
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments.winner import CHOICE, CHOSEN, PROPOSED, TRIALS
from maclcore.experiments.words import counted, listed, minus, points, share, title
from maclcore.losses import LOSSES, method_label

FILES = ("winner_choice", "front", "parts", "levers")
#: parameters as tables call them
SYMBOLS = {"temperature": "τ", "alpha": "α", "soft_weight": "λ"}
#: what a front lies between: any shared label, or the right set of labels
LOOSE, STRICT = "nDCG(sim)@100", "mAP@0.6"
#: the loss whose shares walk it, with heads alone
WALKED = PROPOSED["frozen"]
#: the loss that `parts.csv` takes apart: of those in parts the one that has the fewest
HALVES = "graded_lmsc"
MEAN = "mean of seven"
#: of the archives of the runs, which the tables have by their names
TITLES = {"dlrsd": "DLRSD*", "ucm_multilabel": "UC Merced", "ml_aid": "ML-AID 150 px"}
#: variants of `parts.csv` that are no loss of the registry
VARIANTS = {
    "sum": "their sum, undivided",
    "apart": "layers of their own, joined",
    "apart_wide": "layers and widths of their own, joined",
}


def read(name: str) -> pd.DataFrame:
    """A table of `FILES` from the store or else the repository, with `MEAN`; no rows if neither
    has it."""
    if (file := paths.table(f"{name}.csv")) is None:
        return pd.DataFrame()
    table = pd.read_csv(file)
    return table.assign(**{MEAN: table[list(METRICS)].mean(axis=1)})


def lacking(name: str) -> str:
    return f"The table `{name}.csv` is not in this store."


def named(archive: str) -> str:
    """An archive's title, in markdown."""
    return title(TITLES.get(archive, archive))


def setting(loss: str, params: Mapping[str, Any]) -> str:
    """What tells a setting from the others of its loss in `TRIALS`: "τ = 0.1"."""
    defaults = LOSSES[loss].defaults
    varied = [
        k for k in defaults if len({str(trial.get(k, defaults[k])) for trial in TRIALS[loss]}) > 1
    ]
    words = []
    for key in varied:
        value = params.get(key, defaults[key])
        text = minus(f"{value:.3g}") if isinstance(value, float) else str(value)
        part, _, parameter = key.rpartition("_")
        if key == "reweight":
            words.append("with w" if value else "w = 1")
        elif key in LOSSES:  # the share of a part
            words.append(f"{method_label(key)} {text}")
        elif part in LOSSES:
            words.append(f"{method_label(part)} {SYMBOLS.get(parameter, parameter)} = {text}")
        else:
            words.append(f"{SYMBOLS.get(key, key)} = {text}")
    return ", ".join(words)


def parts_of(loss: str) -> list[str]:
    """The losses of a loss in parts; none of any other."""
    return [key for key in LOSSES[loss].defaults if key in LOSSES]


def recipe(loss: str) -> pd.DataFrame:
    """A row a part of a loss in parts at its chosen setting: its `share` of the embedding, its
    temperature `τ`, and what it is `from`."""
    params = {**LOSSES[loss].defaults, **CHOSEN[loss]}
    whole = sum(params[part] for part in parts_of(loss))
    rows = {
        part: {
            "share": f"{params[part] / whole:.2f}",
            "τ": f"{params[f'{part}_temperature']:g}",
            "from": LOSSES[part].source,
        }
        for part in parts_of(loss)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("part")


def settings(choice: pd.DataFrame) -> pd.DataFrame:
    """A row a setting of `winner_choice`, losses in order: `loss`, `setting`, `first`, the mean of
    the seven metrics in percent over archives on the first split alone, which all settings have,
    `all` over all splits, NaN for what was not tried on all, and whether it is `chosen`."""
    table = choice.assign(
        setting=[
            setting(loss, json.loads(params))
            for loss, params in zip(choice["loss"], choice["setting"], strict=True)
        ],
        **{MEAN: 100 * choice[MEAN]},
    )
    first = table[table["split_seed"] == table["split_seed"].min()]
    key = ["loss", "setting"]
    found = first.groupby(key, sort=False)[MEAN].mean().rename("first").to_frame()
    splits = table.groupby(key)["split_seed"].nunique()
    full = table.groupby(key)[MEAN].mean()
    found["all"] = full.where(splits == table["split_seed"].nunique())
    chosen = {(loss, setting(loss, params)) for loss, params in CHOSEN.items()}
    found["chosen"] = [one in chosen for one in found.index]
    place = {name: i for i, name in enumerate(TRIALS)}
    found = found.reset_index()
    return found.sort_values("loss", key=lambda names: names.map(place), kind="stable")


def settings_table(choice: pd.DataFrame) -> pd.DataFrame:
    """`settings` as a page shows them."""
    found = settings(choice)
    many = choice["split_seed"].nunique()
    shown = found.rename(columns={"first": "one split", "all": counted(many, "split")})
    shown["chosen"] = found["chosen"].map({True: "✓", False: ""})
    names = found["loss"].map(method_label).where(~found["loss"].duplicated(), "")
    return shown.drop(columns="loss").set_index(names.rename("loss"))


def validation_scores(choice: pd.DataFrame) -> pd.Series:
    """Mean of the seven metrics of each loss at its chosen setting, the best first."""
    found = settings(choice)
    best = found[found["chosen"]].set_index("loss")
    return best["all"].fillna(best["first"]).sort_values(ascending=False)


def how_chosen(choice: pd.DataFrame) -> str:
    """How far apart the settings of a loss are, and which loss was first before any test."""
    found = settings(choice)
    spread = found.groupby("loss")["first"].agg(lambda values: values.max() - values.min())
    best = validation_scores(choice)
    place = best.index.get_loc(WALKED) + 1
    where = listed(named(archive) for archive in choice["archive"].unique())
    ahead = listed(f"{method_label(name)} {best[name]:.1f}" for name in best.index[:3])
    own = [{**LOSSES[loss].defaults, **CHOSEN[loss]} != LOSSES[loss].defaults for loss in CHOSEN]
    ends = [method_label(loss) for loss in at_an_end()] or ["no loss"]
    return (
        f"Within a loss the best of its settings is {spread.median():.1f} points above the worst "
        f"(median; mean of the seven metrics, {where}), {spread.max():.1f} at most; "
        f"{share(sum(own), len(own))} losses are not best as they are by default. On these "
        f"validation parts the first three were {ahead}; {method_label(WALKED)} was number "
        f"{place} of {len(best)}. The best temperature "
        f"is at an end of those tried with {listed(ends)}."
    )


def at_an_end() -> list[str]:
    """Losses whose best temperature is the least or the highest that was tried."""
    found = []
    for loss, trials in TRIALS.items():
        if all(set(trial) == {"temperature"} for trial in trials):
            tried = [trial["temperature"] for trial in trials]
            if CHOSEN[loss]["temperature"] in (min(tried), max(tried)):
                found.append(loss)
    return found


def front_curve(front: pd.DataFrame) -> pd.DataFrame:
    """Of the shares that are searched with those that no others beat in both `LOOSE` and `STRICT`:
    rows (archive, shares), means over splits in percent, from the loosest to the strictest."""
    named = front.rename(columns={part: method_label(part) for part in parts_of(WALKED)})
    names = [method_label(part) for part in parts_of(WALKED)]
    shares = [
        ", ".join(f"{name} {share:g}" for name, share in row.items() if share > 0)
        for row in named[names].to_dict("records")
    ]
    key = ["archive", "shares"]
    means = 100 * front.assign(shares=shares).groupby(key, sort=False)[[LOOSE, STRICT]].mean()
    means = means.sort_values(["archive", LOOSE, STRICT], ascending=[True, False, False])
    best = means.groupby(level="archive")[STRICT].cummax()
    before = best.groupby(level="archive").shift(fill_value=0.0)
    return means[means[STRICT] > before]


def front_own(front: pd.DataFrame) -> pd.DataFrame:
    """The shares with which it was trained: a row an archive, means over splits in percent; none
    where they were not searched with."""
    params = {**LOSSES[WALKED].defaults, **CHOSEN[WALKED]}
    own = pd.Series({part: params[part] for part in parts_of(WALKED)}, dtype=float)
    same = (front[own.index] - own / own.sum()).abs().max(axis=1) < 1e-6
    return 100 * front[same].groupby("archive", sort=False)[[LOOSE, STRICT]].mean()


def front_dots(front: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Every other loss on the splits of the front, of rows of `collect()`: rows (archive, loss),
    means in percent; none where these have other splits."""
    others = runs[runs["loss"].isin([loss for loss in CHOSEN if loss != WALKED])]
    others = others[others["split_seed"].isin(front["split_seed"])]
    return 100 * others.groupby(["archive", "loss"], sort=False)[[LOOSE, STRICT]].mean()


def front_said(curve: pd.DataFrame, dots: pd.DataFrame) -> str:
    """What walking the front gains and costs, and how many losses lie within it."""
    told = []
    for archive, line in curve.groupby(level="archive", sort=False):
        first, last = line.iloc[0], line.iloc[-1]
        gain, price = (first - last)[LOOSE] / 100, (first - last)[STRICT] / 100
        text = f"{points(gain)} of `{LOOSE}` for {points(price)} of `{STRICT}` on {named(archive)}"
        if len(dots) and archive in dots.index.unique("archive"):
            others = dots.xs(archive, level="archive")
            within = [
                bool((line[[LOOSE, STRICT]] >= other[[LOOSE, STRICT]]).all(axis=1).any())
                for _, other in others.iterrows()
            ]
            text += f" ({share(sum(within), len(within))} other losses lie within it)"
        told.append(text)
    return f"From one end of the front to the other: {listed(told)}."


def measured_on(table: pd.DataFrame) -> str:
    """ "test parts, three splits", of the splits of a table."""
    splits = table["split_seed"].unique()
    part = "validation" if set(splits) <= set(CHOICE) else "test"
    return f"{part} parts, {counted(len(splits), 'split')}"


def variant(name: str) -> str:
    """A variant of `parts.csv` in words."""
    if name == HALVES:
        return "in parts"
    if name.endswith("_in_all"):
        return f"{method_label(name.removesuffix('_in_all'))} in all parts"
    return VARIANTS.get(name, f"{method_label(name)} alone")


def parts_table(parts: pd.DataFrame, archive: str) -> pd.DataFrame:
    """Variants × metrics of one archive in percent, means over splits: those that are searched
    whole, and of the loss in parts each part as well."""
    own = parts["variant"] == HALVES
    part = parts[(parts["archive"] == archive) & (own | (parts["searched by"] == "whole"))]
    words = [
        variant(name) if by == "whole" else f"in parts, searched by {method_label(by)}'s"
        for name, by in zip(part["variant"], part["searched by"], strict=True)
    ]
    table = part.assign(variant=words).groupby("variant", sort=False)
    return 100 * table[[*METRICS, MEAN]].mean()


def parts_said(parts: pd.DataFrame) -> str:
    """What the parts gain on each loss alone, on their sum, on one loss in all parts, and what
    layers of their own would, by the mean of the seven metrics, on each archive."""
    told = []
    for archive in parts["archive"].unique():
        means = parts_table(parts, archive)[MEAN]
        means = means[~means.index.str.startswith("in parts, ")]
        mine, rest = means["in parts"], means.drop("in parts")
        alike = {
            "the best of its losses alone": rest[rest.index.str.endswith(" alone")],
            "the best of them in all parts": rest[rest.index.str.endswith(" in all parts")],
            "their sum on one embedding": rest[rest.index == VARIANTS["sum"]],
            "networks with layers of their own": rest[rest.index == VARIANTS["apart"]],
        }
        gaps = [
            f"{points((mine - values.max()) / 100)} over {words}"
            for words, values in alike.items()
            if len(values)
        ]
        told.append(f"On {named(archive)} the loss in parts gains {listed(gaps)}.")
    return f"In points of the mean of the seven metrics: {' '.join(told)}"


def lever_gains(levers: pd.DataFrame) -> pd.DataFrame:
    """What each lever adds to the mean of the seven metrics, in points: rows of levers, best mean
    first, columns of losses, means over archives and splits, and `mean` and `least` of them."""
    key = ["loss", "archive", "split_seed"]
    base = levers[levers["lever"] == "baseline"].set_index(key)[MEAN]
    rest = levers[levers["lever"] != "baseline"].set_index([*key, "lever"])[MEAN]
    gain = 100 * (rest - base.reindex(rest.index.droplevel("lever")).to_numpy())
    table = gain.groupby(level=["lever", "loss"], sort=False).mean().unstack("loss")
    table = table.rename(columns=method_label).rename_axis(columns=None)
    found = table.assign(mean=table.mean(axis=1), least=table.min(axis=1))
    return found.sort_values("mean", ascending=False)


def levers_said(gains: pd.DataFrame) -> str:
    """Which levers lift every loss that had them, and how many cost more than they bring."""
    every = gains[gains["least"] >= 0.1]
    names = [f"{name} ({points(row['mean'] / 100)})" for name, row in every.iterrows()]
    lost = (gains["mean"] < 0).sum()
    return (
        f"Of {len(gains)} levers, those that lift the mean of each loss that had them by 0.1 "
        f"points or more: {listed(names or ['none'])}. {lost} cost more than they bring."
    )
