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

from maclcore.config import Config, Param, nearest
from maclcore.experiments.stability import winner_stability
from maclcore.experiments.weak import calibration, chain, weak_labels, weak_network
from maclcore.experiments.winner import TRIALS, winner, winner_choice
from maclcore.losses import LOSSES, PAPER

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

#: λ of `soft_weight`
SOFT_WEIGHTS = (0.1, 1.0, 10.0)

#: rows of the paper's tables, in its order between the reference rows
METHODS = ("chance", "frozen", *PAPER, "oracle")


def main_tables(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Tables 4–6 and Figure 8: the paper's losses at their defaults, between chance, frozen and
    oracle.

    Each seed also has its own split, so that the spread covers both. 16 runs a seed, of which
    the three reference rows train nothing. Paper: `paper_table(archive)`.
    """
    return _rows(METHODS, profile, archive, seeds, overrides)


def other_losses(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """Not in the paper: registered losses that are not the paper's, as `main_tables` trains its
    own, so that they stand in the same tables. A run a loss and seed.

    Losses of other experiments are left to them: `soft_weight`, `winner`.
    """
    others = [
        name
        for name, loss in LOSSES.items()
        if not loss.paper and loss.method == "retrieval" and name not in TRIALS
    ]
    return _rows(others, profile, archive, seeds, overrides)


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
    """Figure 10: the paper's losses over τ; at `smoke` and `quick` MulSupCon and MACL alone.

    τ multiplies MACL's T, so τ = 1 is the loss as printed, and τ = 0.3 the reading under which
    the figure's MACL curve need not be flat. |τ| runs a loss and seed. Paper (§5.4.2): 0.1 to 0.3,
    where it stops, rising; collapse below 0.09, not shown.
    """
    return [
        _ablation(profile, archive, seed, loss, overrides, loss_params={"temperature": tau})
        for seed in seeds
        for loss in (("mulsupcon", "macl") if SHORT[profile] else PAPER)
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


def soft_weight(
    profile: str, archive: str, seeds: Iterable[int] = (0,), **overrides: Any
) -> list[Config]:
    """SoftCon, of another paper: which weight λ of its soft part does anything?

    Its plain part alone (λ = 0), λ = 0.1, 1 and 10 with the soft part averaged over all pairs, and
    the other reading of its average, a sum over candidates, at 0.1. In the setting of the main
    tables, which is not SoftCon's. 5 runs a seed.
    """
    points: list[tuple[str, dict[str, Param]]] = [
        ("infonce", {}),
        *(("softcon", {} if weight == 0.1 else {"soft_weight": weight}) for weight in SOFT_WEIGHTS),
        ("softcon", {"average": "candidates"}),
    ]
    return [
        Config.from_profile(
            profile, archive=archive, loss=loss, loss_params=params, seed=seed, split_seed=seed,
            **overrides,
        )
        for seed in seeds
        for loss, params in points
    ]  # fmt: skip


EXPERIMENTS: dict[str, Callable[..., list[Config]]] = {
    "main_tables": main_tables,
    "other_losses": other_losses,
    "alpha_beta": alpha_beta,
    "temperature": temperature,
    "learning_rate": learning_rate,
    "pretraining": pretraining,
    "alpha_sign": alpha_sign,
    "soft_weight": soft_weight,
    "weak_labels": weak_labels,
    "weak_network": weak_network,
    "calibration": calibration,
    "chain": chain,
    "winner_choice": winner_choice,
    "winner": winner,
    "winner_stability": winner_stability,
}


def experiment(name: str) -> Callable[..., list[Config]]:
    """The experiment of that name; ValueError, naming the nearest one, for none."""
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}{nearest(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]


#: what notebook 04 trains for notebooks 06 and 07, at their lengths
ABLATIONS = ("alpha_beta", "temperature", "learning_rate")


def _rows(
    methods: Iterable[str], profile: str, archive: str, seeds: Iterable[int],
    overrides: dict[str, Any],
) -> list[Config]:  # fmt: skip
    return [
        Config.from_profile(
            profile, archive=archive, loss=method, seed=seed, split_seed=seed, **overrides
        )
        for seed in seeds
        for method in methods
    ]


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
