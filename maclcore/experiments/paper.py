"""The paper's tables and figures as lists of configurations, each with its lab note.

An experiment is a function (profile, archive, seeds, **overrides) -> list[Config]; its docstring
is the note: source, what it answers, runs a seed, the paper's values. What computes it is

    python -m maclcore sweep NAME --profile quick --archive dlrsd --seeds 0 1 2 --workers 2

Cost of a run on DLRSD (1,475 training images) with one of two threads of an AMD EPYC that both
train: 9 s (frozen; its features 10 minutes a seed before that), 210 s (quick), 50 times that
(paper); `--dry-run` tells what the store knows of the machine at hand.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from maclcore import paths
from maclcore.config import Config
from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import LOSSES, method_label
from maclcore.store import collect

#: How finely each profile samples the axes of Figures 9–11. The paper's α and β are positive;
#: ours reach below zero, because the sign of α is a finding in itself.
AXES: dict[str, dict[str, tuple[float, ...]]] = {
    "smoke": {
        "alpha": (-1.0, 0.0, 1.5),
        "beta": (0.0, 0.1, 1.0),
        "temperature": (0.1, 0.3, 1.0),
        "lr": (0.01, 0.001),
    },
    "quick": {
        "alpha": (-1.0, 0.0, 1.5),
        "beta": (0.0, 0.1, 1.0),
        "temperature": (0.1, 0.3, 1.0),
        "lr": (0.1, 0.01, 0.001),
    },
    "paper": {
        "alpha": (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5),
        "beta": (0.0, 0.1, 0.5, 1.0, 1.5, 2.0),
        "temperature": (0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
        "lr": (0.1, 0.01, 0.001),
    },
}
AXES["frozen"] = AXES["paper"]
#: α of `alpha_sign`, around the reading with τ = 0.3
SIGNS = (-1.0, -0.5, 0.0, 0.5, 1.5)
#: ablations compare settings of one loss, some thirty runs: shorter than the tables below `paper`
SHORT = {"smoke": {"epochs": 1}, "quick": {"epochs": 3}, "frozen": {}, "paper": {}}

#: what the rows of one table have in common
TABLE = ["archive", "archive: fingerprint", "profile", "weights"]
#: rows of a results table, in the paper's order between the reference rows
METHODS = ("chance", "frozen", *LOSSES, "oracle")


def main_tables(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Tables 4–6 and Figure 8: every loss at its defaults, between chance, frozen and oracle.

    Each seed also has its own split, so that the spread covers both. 16 runs a seed, of which
    the three reference rows train nothing. Paper: `paper_table(archive)`.
    """
    return [
        Config.from_profile(
            profile, archive=archive, loss=method, seed=seed, split_seed=seed, **overrides
        )
        for seed in seeds
        for method in METHODS
    ]


def alpha_beta(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Figure 9: MACL over α × β, (a) with T alone (w = 1) and (b) with w and T.

    The curves (c), w with α, and (d), w with β, are the lines β = 0 and α = 0 through (b).
    2 × |α| × |β| runs a seed. Paper (§5.4.1, `quoted.csv`): (a) 68.1 to 70.2, best at (1.5, 1.0);
    (b) near 69.9; (c) 70.1 at α ≈ 0.5; (d) 67.9 at β ≈ 1.
    """
    axes = AXES[profile]
    return [
        _macl(profile, archive, seed, overrides, alpha=alpha, beta=beta, reweight=reweight)
        for seed in seeds
        for reweight in (False, True)
        for alpha in axes["alpha"]
        for beta in axes["beta"]
    ]


def temperature(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Figure 10: every loss over τ; at `smoke` and `quick` MulSupCon and MACL alone.

    τ multiplies MACL's T, so τ = 1 is the loss as printed, and τ = 0.3 the reading under which
    the figure's MACL curve need not be flat. |τ| runs a loss and seed. Paper (§5.4.2): 0.1 to 0.3,
    where it stops, rising; collapse below 0.09, not shown.
    """
    return [
        _ablation(profile, archive, seed, loss, overrides, loss_params={"temperature": tau})
        for seed in seeds
        for loss in (("mulsupcon", "macl") if SHORT[profile] else LOSSES)
        for tau in AXES[profile]["temperature"]
    ]


def learning_rate(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Figure 11: MACL and Wg-MACL at the paper's learning rates, 6 runs a seed (`smoke`: 4).

    Paper (§5.4.4, `quoted.csv`): 0.001 the best, such as Wg-MACL on DLRSD 77.71 for 70.08 at 0.1.
    """
    return [
        _ablation(profile, archive, seed, loss, overrides, lr=lr)
        for seed in seeds
        for loss in ("macl", "wg_macl")
        for lr in AXES[profile]["lr"]
    ]


def pretraining(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Table 7: MACL and Wg-MACL from pretrained weights (the profile's, or `weights`) and from
    random ones; beside them MulSupCon, without which a gap says nothing of MACL.

    6 runs a seed, half of them of the main tables. Paper: `table7.csv`.
    """
    pretrained = overrides.pop("weights", Config.from_profile(profile).weights)
    return [
        Config.from_profile(
            profile, archive=archive, loss=loss, seed=seed, split_seed=seed, weights=weights,
            **overrides,
        )
        for seed in seeds
        for loss in ("mulsupcon", "macl", "wg_macl")
        for weights in (pretrained, "none")
    ]  # fmt: skip


def alpha_sign(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Not in the paper: which sign should α have? MACL at τ = 0.3, with rarity weights and without.

    Full length, beside MulSupCon and MACL as printed from the main tables, and MulSupCon at 0.5:
    α = −0.5 makes temperatures of 0.3 to 0.5, and may owe what it gains to these and not to their
    depending on overlap. 13 runs a seed.
    """
    full = {"epochs": Config.from_profile(profile).epochs, **overrides}
    return [
        config
        for seed in seeds
        for config in (
            _ablation(profile, archive, seed, "mulsupcon", full),
            _ablation(profile, archive, seed, "mulsupcon", full, loss_params={"temperature": 0.5}),
            _macl(profile, archive, seed, full),
            *(
                _macl(profile, archive, seed, full, alpha=alpha, temperature=0.3, reweight=reweight)
                for reweight in (True, False)
                for alpha in SIGNS
            ),
        )
    ]


EXPERIMENTS: dict[str, Callable[..., list[Config]]] = {
    "main_tables": main_tables,
    "alpha_beta": alpha_beta,
    "temperature": temperature,
    "learning_rate": learning_rate,
    "pretraining": pretraining,
    "alpha_sign": alpha_sign,
}
#: what notebook 04 trains for notebooks 06 and 07, at their lengths
ABLATIONS = ("alpha_beta", "temperature", "learning_rate")


def results_table(runs: pd.DataFrame, *, digits: int = 2) -> pd.DataFrame:
    """Methods × metrics in percent from rows of `collect()`: mean, and ± the standard deviation
    where a method has several seeds. What is no loss or reference row comes last, as in `runs`."""
    grouped = runs.groupby("loss", sort=False)[list(METRICS)]
    mean, deviation = grouped.mean() * 100, grouped.std() * 100
    cells = mean.map(lambda value: f"{value:.{digits}f}")
    spread = deviation.map(lambda value: f" ± {value:.{digits}f}")
    cells = (cells + spread).where(deviation.notna(), cells)  # one seed has no deviation
    order = [m for m in dict.fromkeys([*METHODS, *cells.index]) if m in cells.index]
    labels = {method: method_label(method) for method in METHODS}
    return cells.loc[order].rename(index=labels).rename_axis("method")


def stored_experiment(name: str) -> pd.DataFrame:
    """The rows of `collect()` that belong to an experiment on real archives under an unchanged
    profile, smoke runs left out. Empty if there are none. Runs on different contents of an archive
    have titles that tell them apart."""
    rows = collect()
    rows = rows[(rows["archive"] != "synthetic") & (rows["profile"] != "smoke")]
    return _told_apart(of_experiment(name, rows))


def of_experiment(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Those of `rows` of `collect()` that belong to an experiment under an unchanged profile."""
    base = rows.index.str.split("@").str[0]
    wanted: set[str] = set()
    for (profile, archive, weights), part in rows.groupby(["profile", "archive", "weights"]):
        seeds = map(int, part["seed"].unique())
        configs = EXPERIMENTS[name](profile, archive, seeds, weights=weights)
        wanted |= {config.run_id for config in configs}
    return rows[base.isin(wanted)]


def _told_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Several contents of one title are several archives, and get titles of their own."""
    if rows.empty or "archive: title" not in rows:
        return rows
    prints = rows.groupby(["profile", "archive: title"])["archive: fingerprint"]
    titles = rows["archive: title"] + " (" + rows["archive: fingerprint"].str[:6] + "…)"
    several = prints.transform("nunique") > 1
    return rows.assign(**{"archive: title": rows["archive: title"].mask(several, titles)})


def stored_main_tables() -> pd.DataFrame:
    """`stored_experiment("main_tables")` without the seeds that lack a method of their table, and
    without what is no table, having no row of chance: such as the half of `pretraining`."""
    rows = stored_experiment("main_tables")
    chance = (rows["loss"] == "chance").groupby([rows[name] for name in [*TABLE, "seed"]])
    rows = rows[chance.transform("any").astype(bool)]  # not bool where there are no rows
    return _whole_seeds(rows, rows["loss"])


def stored_alpha_sign() -> pd.DataFrame:
    """`stored_experiment("alpha_sign")`, `loss` naming the variant, of the seeds with most values
    of α, without variants that lack one of these seeds."""
    rows = stored_experiment("alpha_sign")
    if rows.empty:
        return rows
    rows = rows.assign(loss=[_variant(row) for _, row in rows.iterrows()])
    # the others belong to other experiments, too, which may have more seeds
    rows = _whole_seeds(rows, rows["loss"].where(rows["loss_params"].str.contains("alpha")))
    number = rows.groupby([*TABLE, "loss"])["seed"].transform("nunique")
    rows = rows[number == number.groupby([rows[name] for name in TABLE]).transform("max")]
    order = [f"param: {name}" for name in ("alpha", "temperature", "reweight")]
    return rows.sort_values([*TABLE, *order, "seed"], kind="stable")


def _whole_seeds(rows: pd.DataFrame, methods: pd.Series) -> pd.DataFrame:
    """Of each table the seeds that have most of `methods`, a value or NaN for each row."""
    number = methods.groupby([rows[name] for name in [*TABLE, "seed"]]).transform("nunique")
    most = number.groupby([rows[name] for name in TABLE]).transform("max")
    return rows[(number == most) & (most > 0)]


def _variant(row: pd.Series) -> str:
    """Such as "MACL, α = −0.5, τ = 0.3, w = 1"."""
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
    order = ["Chance", "Frozen", *published.index, "Oracle"]
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


def _ablation(
    profile: str, archive: str, seed: int, loss: str, overrides: dict[str, Any], **point: Any
) -> Config:
    values = {**SHORT[profile], **point, **overrides}
    # a parameter at its default is left out, so that experiments share the run that has it
    defaults = LOSSES[loss].defaults
    given = values.get("loss_params", {})
    values["loss_params"] = {k: v for k, v in given.items() if v != defaults[k]}
    return Config.from_profile(
        profile, archive=archive, loss=loss, seed=seed, split_seed=seed, **values
    )


def _macl(
    profile: str, archive: str, seed: int, overrides: dict[str, Any], **loss_params: Any
) -> Config:
    return _ablation(profile, archive, seed, "macl", overrides, loss_params=loss_params)
