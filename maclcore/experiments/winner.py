"""Which loss should one use? Every loss at its best, chosen on other splits than it is judged on.

`winner_choice` trains the same number of settings of each loss on splits 100 to 104; `choice` says
from their validation parts which of them is best, and `CHOSEN` holds it, frozen before any test
split was looked at. `winner` trains those on the splits of its seeds.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from maclcore.config import Config, Param
from maclcore.losses import LOSSES, PAPER

#: seeds of the splits on whose validation parts settings are chosen
CHOICE = (100, 101, 102, 103, 104)
#: of them those on which all settings are tried; the best two of each loss go on to the others
FIRST = CHOICE[:1]
#: the size of a choice: heads that train for 40 epochs on features of small images
SHORT = {"image_size": 64, "epochs": 40}

_TAUS = tuple({"temperature": tau} for tau in (0.05, 0.1, 0.15, 0.2, 0.3, 0.5))
_MACL = (
    {},
    {"alpha": 0.0, "temperature": 0.1},
    {"alpha": -0.5, "temperature": 0.3},
    {"alpha": -0.5, "temperature": 0.3, "reweight": False},
    {"alpha": -1.0, "temperature": 0.3, "reweight": False},
    {"alpha": -0.5, "temperature": 0.2, "reweight": False},
)

#: Six settings of each loss. A temperature is the first thing to tune of all that have one alone;
#: MACL's printed one and its best sign of α (`alpha_sign`) at several; SoftCon's weight λ.
TRIALS: Mapping[str, tuple[Mapping[str, Param], ...]] = {
    **dict.fromkeys(PAPER, _TAUS),
    "oml": (
        *({"temperature": tau} for tau in (0.005, 0.01, 0.02, 0.05)),
        *({"temperature": tau, "norm": "per_label"} for tau in (0.01, 0.02)),
    ),
    "macl": _MACL,
    "wg_macl": _MACL,
    "softcon": (
        {},
        {"soft_weight": 1.0},
        {"soft_weight": 10.0},
        {"average": "candidates"},
        {"average": "candidates", "soft_weight": 1.0},
        {"average": "candidates", "temperature": 0.1},
    ),
    "graded": _TAUS,
    "hap": tuple({"temperature": tau} for tau in (0.01, 0.02, 0.03, 0.05, 0.1, 0.2)),
    "graded_lmsc": tuple(
        {"graded_temperature": first, "lmsc_temperature": second}
        for first, second in (
            (0.1, 0.1),
            (0.2, 0.05),
            (0.2, 0.1),
            (0.2, 0.2),
            (0.3, 0.1),
            (0.3, 0.2),
        )
    ),
    "four_parts": (
        {},
        {"graded": 0.2, "oml": 0.35, "gain": 0.25},
        {"graded": 0.1, "lmsc": 0.1, "oml": 0.5},
        {"graded": 0.25, "lmsc": 0.25, "oml": 0.25, "gain": 0.25},
        {"graded_temperature": 0.1},
        {"oml_temperature": 0.02},
    ),
    "hap_lmsc_oml": tuple(
        dict(zip(("hap", "lmsc", "oml"), shares, strict=True))
        for shares in (
            (0.3, 0.2, 0.5),
            (0.2, 0.2, 0.6),
            (0.4, 0.2, 0.4),
            (0.2, 0.3, 0.5),
            (0.25, 0.25, 0.5),
            (1 / 3, 1 / 3, 1 / 3),
        )
    ),
}

#: the loss that is held against all others
PROPOSED = "hap_lmsc_oml"

#: the best setting of each loss by `choice`, frozen before any test split was looked at
CHOSEN: Mapping[str, Mapping[str, Param]] = {name: trials[0] for name, trials in TRIALS.items()}


def winner_choice(
    profile: str, archive: str, seeds: Iterable[int] = FIRST, **overrides: Any
) -> list[Config]:
    """Which setting of each loss? All of `TRIALS` on splits 100 to 104, never 0 to 9.

    Only validation parts are looked at. 114 runs a seed.
    """
    return [
        _run(profile, archive, seed, loss, params, SHORT | overrides)
        for seed in seeds
        for loss, trials in TRIALS.items()
        for params in trials
    ]


def winner(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Which loss should one use? Every loss at its setting of `CHOSEN`, between chance, frozen and
    oracle; each seed has its own split. 22 runs a seed.
    """
    small = {"image_size": 64, **overrides}
    rows = [("chance", {}), ("frozen", {}), *CHOSEN.items(), ("oracle", {})]
    return [
        _run(profile, archive, seed, loss, params, small) for seed in seeds for loss, params in rows
    ]


def _run(
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
