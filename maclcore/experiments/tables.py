"""The paper's tables from the store, and the published ones beside them.

Nothing here trains: `stored_…` pick rows of `collect()`, `results_table` and `beside_paper` make
tables of them.
"""

import json
from collections.abc import Iterable, Mapping

import pandas as pd

from maclcore import paths, reads
from maclcore.config import EMBEDDED, Param
from maclcore.evaluation.reference import REFERENCES
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import paper
from maclcore.experiments.weak import CALIBRATIONS
from maclcore.losses import LOSSES, WEAK_LOSSES, method_label
from maclcore.progress import say
from maclcore.store import collect

#: what the rows of one table have in common
TABLE = ["archive", "archive: fingerprint", "profile", "weights"]


def results_table(runs: pd.DataFrame, *, digits: int = 2) -> pd.DataFrame:
    """Methods × metrics in percent from rows of `collect()`: mean, and ± the standard deviation
    where a method has several seeds. The paper's losses stand in its order, others behind them,
    then what is no loss by name, as in `runs`, all between the reference rows."""
    cells = over_seeds(runs, METRICS, digits)
    methods = ["chance", "frozen", *LOSSES]
    others = [name for name in cells.index if name not in methods and name != "oracle"]
    order = [name for name in (*methods, *others, "oracle") if name in cells.index]
    labels = {name: method_label(name) for name in (*methods, "oracle")}
    return cells.loc[order].rename(index=labels).rename_axis("method")


def over_seeds(runs: pd.DataFrame, columns: Iterable[str], digits: int = 1) -> pd.DataFrame:
    """Methods, in their order in `runs`, × columns in percent: mean, and ± the standard deviation
    where a method has several seeds."""
    grouped = runs.groupby("loss", sort=False)[list(columns)]
    mean, deviation = grouped.mean() * 100, grouped.std() * 100
    cells = mean.map(lambda value: f"{value:.{digits}f}")
    spread = deviation.map(lambda value: f" ± {value:.{digits}f}")
    return (cells + spread).where(deviation.notna(), cells)  # one seed has no deviation


def stored_experiment(*names: str) -> pd.DataFrame:
    """The rows of `collect()` that belong to experiments on real archives under an unchanged
    profile, smoke runs left out. Empty if there are none. Runs on different contents of an archive
    have titles that tell them apart."""
    rows = collect()
    rows = rows[~rows["archive"].isin(EMBEDDED) & (rows["profile"] != "smoke")]
    return _told_apart(of_experiments(names, rows))


def of_experiments(names: Iterable[str], rows: pd.DataFrame) -> pd.DataFrame:
    """Those of `rows` of `collect()` that belong to experiments under an unchanged profile."""
    of_them = rows[_belongs(names, rows)]
    reads.note(of_them.index)
    return of_them


def _belongs(names: Iterable[str], rows: pd.DataFrame) -> pd.Series:
    """Whether each of `rows` belongs to experiments under an unchanged profile."""
    base = rows.index.str.split("@").str[0]
    wanted: set[str] = set()
    for (profile, archive, weights), part in rows.groupby(["profile", "archive", "weights"]):
        seeds = [int(seed) for seed in part["seed"].unique()]
        for name in names:
            configs = paper.experiment(name)(profile, archive, seeds, weights=weights)
            wanted |= {config.run_id for config in configs}
    return pd.Series(base.isin(wanted), rows.index)


def _own_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Without seeds of a table that it owes to `winner` alone, which shares some of its runs."""
    own = ~_belongs(("winner",), rows)
    seeds = own.groupby([rows[name] for name in (*TABLE, "seed")])
    return rows[seeds.transform("any").astype(bool)]


def _told_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Several contents of one title are several archives, and get titles of their own."""
    if rows.empty or "archive: title" not in rows:
        return rows
    prints = rows.groupby(["profile", "archive: title"])["archive: fingerprint"]
    titles = rows["archive: title"] + " (" + rows["archive: fingerprint"].str[:6] + "…)"
    several = prints.transform("nunique") > 1
    return rows.assign(**{"archive: title": rows["archive: title"].mask(several, titles)})


def stored_main_tables() -> pd.DataFrame:
    """Rows of `collect()` for Tables 4 to 6: those of `main_tables` and, behind them, of
    `other_losses`.

    What has no row of chance is no table, such as the half of `pretraining`. The rows of a table
    have their seeds in common, and what is left out for that is said (`_whole`).
    """
    rows = _own_seeds(stored_experiment("main_tables", "other_losses"))
    chance = (rows["loss"] == "chance").groupby([rows[name] for name in TABLE])
    rows = rows[chance.transform("any").astype(bool)]  # not bool where there are no rows
    return _whole(rows, rows["loss"].isin(paper.METHODS))


def stored_alpha_sign() -> pd.DataFrame:
    """`stored_experiment("alpha_sign")`, `loss` naming the variant, where α was varied.

    The rows of a table have the seeds of the values of α in common, whatever other experiments
    share with it, and what is left out for that is said (`_whole`).
    """
    rows = _own_seeds(stored_experiment("alpha_sign"))
    if rows.empty:
        return rows
    rows = named(rows)
    rows = _whole(rows, rows["loss_params"].str.contains("alpha"))
    order = [f"param: {name}" for name in ("alpha", "temperature", "reweight")]
    return rows.sort_values([*TABLE, *order, "seed"], kind="stable")


def stored_chain() -> pd.DataFrame:
    """`chained` rows of `stored_experiment("chain")`, of those seeds that have the whole of it; of
    others a line to stderr says that they are left out."""
    rows = stored_experiment("chain")
    kept = []
    for (*_, seed), part in rows.groupby([*TABLE, "seed"]):
        first = part.iloc[0]
        lacking = len(paper.chain(first["profile"], first["archive"], (seed,))) - len(part)
        if lacking:
            where = f"{first.get('archive: title', first['archive'])}, {first['profile']}"
            say(f"left out of the table {where}: seed {seed}: it lacks {lacking} runs of chain")
        else:
            kept += list(part.index)
    return chained(rows[rows.index.isin(kept)])


def chained(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `collect()` of `chain`, by loss and by what it was given of the labels.

    `retrieval` is the loss, `given` one of "one label", "AN", "EPR", "GC" and "complete", and
    `loss` says both; of reference rows they are "" and the name.
    """
    rows = rows.assign(
        retrieval=rows["loss"].map(method_label), given=rows["completion"].str.upper()
    )
    rows["given"] = rows["given"].replace("NONE", "one label")
    rows.loc[rows["labels"] == "complete", "given"] = "complete"
    rows.loc[rows["loss"].isin(REFERENCES), ["retrieval", "given"]] = ""
    both = rows["retrieval"] + ", " + rows["given"]
    rows["loss"] = both.where(rows["given"] != "", rows["loss"])
    order = {name: i for i, name in enumerate(("one label", "AN", "EPR", "GC", "complete"))}
    return rows.sort_values(
        ["retrieval", "given", "seed"], kind="stable",
        key=lambda column: column.map(order) if column.name == "given" else column,
    )  # fmt: skip


def stored_soft_weight() -> pd.DataFrame:
    """`stored_experiment("soft_weight")`, `loss` naming the variant, with the seeds that all of a
    table's variants have (`_whole`)."""
    rows = named(stored_experiment("soft_weight"))
    return _whole(rows, pd.Series(True, index=rows.index))


def stored_weak(name: str) -> pd.DataFrame:
    """`stored_experiment(name)`, name weak_labels, weak_network or calibration, whose settings
    `loss` then names; of each table the seeds that have most methods, and these (`_whole`)."""
    rows = stored_experiment(name)
    if name == "calibration":
        rows = rows.assign(loss=[setting(json.loads(text)) for text in rows["method_params"]])
    has = rows.groupby([*TABLE, "seed"])["loss"].transform("nunique")
    most = has.groupby([rows[name] for name in TABLE]).transform("max")
    rows = _whole(rows, has == most)
    order = (
        list(WEAK_LOSSES) if name != "calibration" else [setting(c) for c in ({}, *CALIBRATIONS)]
    )
    place = {loss: i for i, loss in enumerate(order)}
    return rows.sort_values("loss", key=lambda losses: losses.map(place), kind="stable")


def setting(params: Mapping[str, Param]) -> str:
    """What of calibration is not the default, in words: "no teacher", "λ = 2", "the whole"."""
    given = {name: value for name, value in params.items() if name != "labels_per_image"}
    zero = sorted(name for name, value in given.items() if name.endswith("_decay") and not value)
    words = {"memory_decay": "no memory", "teacher_decay": "no teacher"}
    said = [words[name] for name in zero]
    said = ["neither"] if len(said) == 2 else said
    for name, value in given.items():
        if name not in zero:
            text = f"{value:g}" if isinstance(value, float | int) else value
            said.append(f"λ = {text}" if name == "weight" else f"{name} {text}")
    return ", ".join(said) or "the whole"


def stored_bands() -> pd.DataFrame:
    """Rows of `collect()` of real archives of many bands, `loss` naming the variant; smoke runs
    left out."""
    rows = collect()
    return named(rows[(rows["bands"] != "") & ~rows["archive"].isin(EMBEDDED)])


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `collect()`, `loss` naming the variant, such as "SoftCon, λ = 10", whose weights are
    in order."""
    rows = rows.assign(loss=[_variant(row) for _, row in rows.iterrows()])
    if "param: soft_weight" not in rows:
        return rows
    return rows.sort_values(["param: soft_weight", "loss"], kind="stable", na_position="first")


def _whole(rows: pd.DataFrame, core: pd.Series) -> pd.DataFrame:
    """Of each table the seeds and methods that all have one another: no method lacks a seed.

    The seeds are those with which most rows of `core` remain, so that neither a method that lacks
    one nor a seed that few have yet takes much with it; other methods have no say. Tables without
    a row of `core` are none. A line to stderr names what is left out.
    """
    kept = []
    for _, table in rows.groupby(TABLE, sort=False):
        seeds, names = _rectangle(table[core[table.index]])
        here = table["seed"].isin(seeds)
        held = table[here].groupby("loss")["seed"].nunique()
        names = list(held.index[held == len(seeds)]) if seeds else []
        kept += list(table.index[here & table["loss"].isin(names)])
        if seeds:
            _tell(table, seeds, names)
    return rows[rows.index.isin(kept)]


def _rectangle(table: pd.DataFrame) -> tuple[list[int], list[str]]:
    """The seeds and the methods, all with all of them, that make most rows."""
    seeds_of = table.groupby("loss")["seed"].agg(frozenset)
    best: tuple[list[int], list[str]] = [], []
    # the best seeds are those of some method, or what it shares with others
    for seeds in sorted(_shared(set(seeds_of)), key=sorted):
        names = [name for name, has in seeds_of.items() if seeds <= has]
        if (len(seeds) * len(names), len(names)) > (len(best[0]) * len(best[1]), len(best[1])):
            best = sorted(seeds), names
    return best


def _shared(sets: set[frozenset[int]]) -> set[frozenset[int]]:
    """Sets, and all that they have in common with one another."""
    while more := {a & b for a in sets for b in sets} - sets:
        sets = sets | more
    return sets


def _tell(table: pd.DataFrame, seeds: list[int], names: list[str]) -> None:
    first = table.iloc[0]
    where = f"{first.get('archive: title', first['archive'])}, {first['profile']}"
    for name, has in table.groupby("loss", sort=False)["seed"].agg(set).items():
        left = sorted(has if name not in names else has - set(seeds))
        if left:
            lacks = sorted(set(seeds) - has)
            why = f"it lacks seed {_list(lacks)}" if lacks else "other methods lack it"
            say(f"left out of the table {where}: {method_label(name)}, seed {_list(left)}: {why}")


def _list(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))


def _variant(row: pd.Series) -> str:
    """Such as "MACL, α = −0.5, τ = 0.3, w = 1"; what is no variant keeps its name."""
    if row["loss"] == "softcon":
        summed = ", summed" if row["param: average"] == "candidates" else ""
        return f"SoftCon, λ = {row['param: soft_weight']:g}{summed}"
    if row["loss"] not in ("macl", "mulsupcon"):
        return row["loss"]
    if row["loss_params"] == "{}":
        return method_label(row["loss"]) + (", as printed" if row["loss"] == "macl" else "")
    if row["loss"] == "mulsupcon":
        return f"MulSupCon, τ = {row['param: temperature']:g}"
    sign = f"{row['param: alpha']:g}".replace("-", "−")
    return f"MACL, α = {sign}, τ = 0.3" + ("" if row["param: reweight"] else ", w = 1")


def beside_paper(runs: pd.DataFrame) -> pd.DataFrame:
    """`results_table` of one archive's runs with the published value beside each of ours, if the
    paper has the archive; "–" where either has none."""
    ours, published = results_table(runs, digits=1), paper_table(runs["archive"].iloc[0])
    if published is None:
        return ours
    published = published.map("{:.2f}".format).rename(index=method_label)
    framed = {"Chance", "Frozen", "Oracle", *published.index}
    others = [name for name in ours.index if name not in framed]
    order = ["Chance", "Frozen", *published.index, *others, "Oracle"]
    both = pd.concat({"ours": ours, "paper": published}, axis=1).reindex(order).fillna("–")
    both = both.swaplevel(axis=1).rename_axis("method")
    return both[[(metric, source) for metric in METRICS for source in ("ours", "paper")]]


def paper_table(archive: str) -> pd.DataFrame | None:
    """The published Table 4, 5 or 6 in percent, or None for an archive that the paper lacks."""
    number = {"dlrsd": 4, "ml_aid": 5, "whdld": 6}.get(archive)
    if number is None:
        return None
    return pd.read_csv(paths.paper_root() / f"table{number}.csv", index_col="method")


def weights_label(weights: str) -> str:
    """How a table or a caption calls the initial weights."""
    names = {"imagenet": "ImageNet", "resnet18_imagenet_layer1-3": "ImageNet (layers 1–3)"}
    return names.get(weights, weights)
