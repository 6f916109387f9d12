"""Which loss should one use? Every loss at its best, chosen on other splits than it is judged on.

`winner_choice` trains the same number of settings of each loss on splits 100 to 104 of two
archives; `choice` says from their validation parts which of them is best, and `CHOSEN` holds it,
frozen before any test split was looked at. `winner` trains those on the splits of its seeds.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from maclcore import paths, store
from maclcore.config import Config, Param
from maclcore.evaluation.relevance import METRICS
from maclcore.losses import LOSSES, PAPER

#: seeds of the splits on whose validation parts settings are chosen
CHOICE = (100, 101, 102, 103, 104)
#: of them those on which all settings are tried, on DLRSD* and ML-AID; the best two of each loss go
#: on to the others, 101 and 103 on DLRSD*, 102 and 104 on ML-AID
FIRST = CHOICE[:1]
#: the size of a choice: heads that train for 40 epochs on features of small images
SHORT = {"image_size": 64, "epochs": 40}
#: real archives that runs of all experiments are stored of, as pages have them in order
ARCHIVES = ("dlrsd", "ucm_multilabel", "ml_aid")
WEIGHTS = "resnet18_imagenet_layer1-3"
FILE = "winner_choice.csv"
#: what a row of it says of its run, beside the setting
DESCRIBED = ["profile", "image_size", "epochs", "weights", "seed", "git", "torch", "device"]

_TAUS = tuple({"temperature": tau} for tau in (0.1, 0.2, 0.3, 0.5, 0.7))
_MACL = (
    {},
    {"alpha": -0.5, "temperature": 0.3},
    {"alpha": -0.5, "temperature": 0.3, "reweight": False},
    {"alpha": -1.0, "temperature": 0.3, "reweight": False},
    {"alpha": -1.0, "temperature": 0.5, "reweight": False},
)

#: Five settings of each loss. A temperature is the first thing to tune of all that have one alone;
#: MACL as printed and with α of the sign that `alpha_sign` is for; SoftCon's weight λ.
TRIALS: Mapping[str, tuple[Mapping[str, Param], ...]] = {
    **dict.fromkeys(PAPER, _TAUS),
    "oml": tuple({"temperature": tau} for tau in (0.005, 0.01, 0.02, 0.05, 0.1)),
    "macl": _MACL,
    "wg_macl": _MACL,
    "softcon": (
        {},
        {"soft_weight": 10.0},
        {"average": "candidates"},
        {"average": "candidates", "soft_weight": 1.0},
        {"average": "candidates", "soft_weight": 1.0, "temperature": 0.5},
    ),
    "graded": _TAUS,
    "hap": tuple({"temperature": tau} for tau in (0.01, 0.02, 0.05, 0.1, 0.2)),
    "graded_lmsc": tuple(
        {"graded_temperature": first, "lmsc_temperature": second}
        for first, second in ((0.2, 0.1), (0.2, 0.3), (0.3, 0.1), (0.3, 0.3), (0.3, 0.5))
    ),
    "four_parts": (  # equal shares; others are those of the next loss
        {},
        {"graded_temperature": 0.2, "lproto_temperature": 0.2},
        {"lproto_temperature": 0.5},
        {"hap_temperature": 0.1},
        {"oml_temperature": 0.05},
    ),
    "balanced_parts": (
        {},
        {"hap": 0.375, "oml": 0.5},
        {"hap": 0.25, "oml": 0.625},
        {"hap": 0.25, "lproto": 0.25, "oml": 0.5},
        {"lproto": 0.0, "oml": 0.5},
    ),
}

#: the best setting of each loss by `choice`, frozen before any test split was looked at
CHOSEN: Mapping[str, Mapping[str, Param]] = {
    "supcon_all": {"temperature": 0.1},
    "supcon_any": {"temperature": 0.3},
    "lbase": {"temperature": 0.3},
    "lproto": {"temperature": 0.5},
    "lmsc": {"temperature": 0.3},
    "oml": {"temperature": 0.1},
    "mulsupcon": {"temperature": 0.5},
    "wg_mulsupcon": {"temperature": 0.5},
    "simdis": {"temperature": 0.3},
    "lreg": {"temperature": 0.3},
    "l_wo_reg": {"temperature": 0.5},
    "macl": {"alpha": -1.0, "reweight": False, "temperature": 0.5},
    "wg_macl": {"alpha": -1.0, "reweight": False, "temperature": 0.3},
    "softcon": {"average": "candidates", "soft_weight": 1.0},
    "graded": {"temperature": 0.1},
    "hap": {"temperature": 0.05},
    "graded_lmsc": {"graded_temperature": 0.2, "lmsc_temperature": 0.1},
    "four_parts": {},
    "balanced_parts": {},
}
#: The loss that the project proposes where the whole network trains and where the head alone does,
#: each the first by the mean of the seven metrics on validation parts: of its own runs, and of
#: `winner_choice`. The shares of `balanced_parts` are the best of five there; that parts are better
#: weighed after training was seen on test parts of splits 0 to 2, heads alone.
PROPOSED: Mapping[str, str] = {"quick": "graded_lmsc", "frozen": "balanced_parts"}
#: what they are held against: the paper's losses and SoftCon, not what else this project adds
RIVALS = (*PAPER, "softcon")


def winner_choice(
    profile: str, archive: str, seeds: Iterable[int] = FIRST, **overrides: Any
) -> list[Config]:
    """Which setting of each loss? `TRIALS` on splits 100 to 104; only validation parts count.

    95 runs a seed; for splits 101 to 104, once the first has been tried, the best two settings of
    each loss, 38 runs.
    """
    second = finalists()
    return [
        run_of(profile, archive, seed, loss, params, SHORT | overrides)
        for seed in seeds
        for loss, trials in TRIALS.items()
        for params in trials
        if seed not in CHOICE[1:] or loss not in second or written(params) in second[loss]
    ]


def written(params: Mapping[str, Param]) -> str:
    """Parameters as a table has them: JSON, by name."""
    return json.dumps({name: params[name] for name in sorted(params)})


def measure() -> Path:
    """Write results/winner_choice.csv: the stored runs of `winner_choice`, a row each.

    What was set (`loss_params` by `setting`, all of `TRIALS[loss]`), on which split, the metrics of
    the validation part after the last epoch, versions and hardware.
    """
    rows = store.collect()
    ids = {
        config.run_id: written(params)
        for archive in rows["archive"].unique()
        for seed in CHOICE
        for loss, trials in TRIALS.items()
        for params in trials
        for config in [run_of("frozen", archive, seed, loss, params, SHORT | {"weights": WEIGHTS})]
    }
    rows = rows[rows.index.isin(ids)]
    last = store.histories(rows).groupby(level="run_id").last()
    table = rows[["archive", "split_seed", "loss", *DESCRIBED]].assign(
        setting=rows.index.map(ids), **{metric: last[metric] for metric in METRICS}
    )
    target = paths.results_root() / FILE
    store.write_csv(target, table.sort_values(["loss", "setting", "archive", "split_seed"]))
    return target


def tried() -> pd.DataFrame:
    """results/winner_choice.csv, or an empty table of that form."""
    file = paths.results_root() / FILE
    if file.is_file():
        return pd.read_csv(file)
    return pd.DataFrame(columns=["archive", "split_seed", "loss", "setting", *METRICS])


def scores(trials: pd.DataFrame) -> pd.Series:
    """Mean of the seven metrics over archives and splits, by (loss, setting), the best first."""
    means = trials.groupby(["loss", "setting"], sort=False)[list(METRICS)].mean().mean(axis=1)
    return means.sort_values(ascending=False, kind="stable")


def finalists() -> dict[str, list[str]]:
    """The best two settings of each loss on the first split; empty before it has been tried."""
    trials = tried()
    ranked = scores(trials[trials["split_seed"].isin(FIRST)])
    return {loss: list(part.index[:2].get_level_values(1)) for loss, part in ranked.groupby("loss")}


def choice(trials: pd.DataFrame) -> dict[str, dict[str, Param]]:
    """The best setting of each loss by `scores`, among those tried on all splits."""
    splits = trials.groupby(["loss", "setting"])["split_seed"].transform("nunique")
    ranked = scores(trials[splits == len(CHOICE)])
    return {loss: json.loads(part.index[0][1]) for loss, part in ranked.groupby("loss", sort=False)}


def winner(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Which loss should one use? Every loss at its setting of `CHOSEN`, between chance, frozen and
    oracle; each seed has its own split. 22 runs a seed.
    """
    small = {"image_size": 64, **overrides}
    rows = [("chance", {}), ("frozen", {}), *CHOSEN.items(), ("oracle", {})]
    return [
        run_of(profile, archive, seed, loss, params, small)
        for seed in seeds
        for loss, params in rows
    ]


def run_of(
    profile: str, archive: str, seed: int, loss: str, params: Mapping[str, Param],
    overrides: Mapping[str, Any],
) -> Config:  # fmt: skip
    """A run whose parameters at their defaults are left out, so that experiments share it."""
    given = {k: v for k, v in params.items() if v != LOSSES[loss].defaults[k]}
    head = {"frozen_views": 4, "schedule": "cosine"} if profile == "frozen" else {}
    return Config.from_profile(
        profile, archive=archive, loss=loss, loss_params=given, seed=seed, split_seed=seed,
        **{**head, **overrides},
    )  # fmt: skip
