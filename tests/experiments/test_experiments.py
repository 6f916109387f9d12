"""The named lists of configurations, and what is picked from the store for them."""

import json

import pandas as pd
import pytest

from maclcore.config import Config
from maclcore.experiments import paper as experiments
from maclcore.losses import LOSSES

SIZES = {
    "main_tables": 16,
    "alpha_beta": 18,
    "temperature": 6,
    "learning_rate": 6,
    "pretraining": 6,
    "alpha_sign": 13,
}


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_an_experiment_is_a_list_of_different_runs(name):
    configs = experiments.EXPERIMENTS[name]("quick", "dlrsd", (0, 1), weights="imagenet")
    assert len({config.run_id for config in configs}) == len(configs)
    assert len(configs) == 2 * SIZES[name]
    assert {config.seed for config in configs} == {0, 1}
    for config in configs:
        assert (config.profile, config.archive) == ("quick", "dlrsd")
        assert config.weights == "imagenet" or (name == "pretraining" and config.weights == "none")
        assert config.split_seed == config.seed, "each seed has its own split"
        defaults = LOSSES[config.loss].defaults if config.loss in LOSSES else {}
        for key, value in config.loss_params.items():
            assert value != defaults[key], "a parameter at its default would be another run"


def test_ablations_are_shorter_than_tables_and_the_sign_of_alpha_is_not():
    for name, make in experiments.EXPERIMENTS.items():
        epochs = {config.epochs for config in make("quick", "dlrsd")}
        assert epochs == ({3} if name in experiments.ABLATIONS else {25})


def test_head_only_runs_afford_every_axis_and_never_pass_for_others():
    assert len(experiments.alpha_beta("frozen", "dlrsd")) == 2 * 9 * 6
    losses = {config.loss for config in experiments.temperature("frozen", "dlrsd")}
    assert losses == set(LOSSES)
    for make in experiments.EXPERIMENTS.values():
        for config in make("frozen", "dlrsd"):
            assert config.frozen_views and config.epochs == 100
            assert config.run_id.startswith("frozen-")


def test_the_sign_of_alpha_shares_its_ends_with_the_main_tables():
    tables = {config.run_id for config in experiments.main_tables("quick", "dlrsd")}
    configs = experiments.alpha_sign("quick", "dlrsd")
    assert [config.run_id in tables for config in configs] == [True, False, True] + 10 * [False]


def collected(configs):
    """What `collect()` says of the configurations of finished runs."""
    rows = {}
    for config in configs:
        loss = LOSSES.get(config.loss)
        params = {**loss.defaults, **config.loss_params} if loss else {}
        text = {"loss_params": json.dumps(dict(config.loss_params))}
        params = {f"param: {name}": value for name, value in params.items()}
        row = {**config.to_dict(), **text, **params, "archive: fingerprint": "0"}
        rows[config.run_id] = row
    return pd.DataFrame(list(rows.values()), index=list(rows))


def test_main_tables_leave_out_seeds_that_lack_a_method_and_runs_of_other_settings(monkeypatch):
    configs = experiments.main_tables("quick", "dlrsd", (0, 1), weights="none")[:-1]
    configs += [config.but(lr=0.5) for config in configs]
    configs += experiments.main_tables("frozen", "dlrsd", (3,), weights="none")[:5]
    configs += experiments.pretraining("quick", "ml_aid", (0,), weights="imagenet")
    configs += experiments.main_tables("smoke", "dlrsd") + experiments.main_tables(
        "quick", "synthetic"
    )
    monkeypatch.setattr(experiments, "collect", lambda: collected(configs))
    found = experiments.stored_main_tables()
    sizes = found.groupby(["archive", "profile", "seed"]).size().to_dict()
    assert sizes == {("dlrsd", "quick", 0): 16, ("dlrsd", "frozen", 3): 5}
    assert (found["lr"] == 1e-3).all()


def test_stored_variants_are_those_of_seeds_that_have_all(monkeypatch):
    """Two seeds of all variants but one, of another archive only the main tables' runs."""
    configs = experiments.alpha_sign("quick", "dlrsd", (0, 1), weights="none")
    configs = [c for c in configs if not (c.seed == 1 and c.loss_params.get("alpha") == 0.5)]
    configs += experiments.main_tables("quick", "ml_aid", (0,), weights="none")
    configs += experiments.temperature("frozen", "ml_aid", (0,), weights="none")
    configs += experiments.alpha_sign("smoke", "synthetic")
    store = collected(configs)
    monkeypatch.setattr(experiments, "collect", lambda: store)
    found = experiments.stored_alpha_sign()
    assert set(found["archive"]) == {"dlrsd"} and set(found["seed"]) == {0} and len(found) == 13
    assert {"MACL, α = −0.5, τ = 0.3, w = 1", "MulSupCon, τ = 0.5"} < set(found["loss"])
    assert found["param: alpha"].dropna().is_monotonic_increasing
    monkeypatch.setattr(experiments, "collect", lambda: store.iloc[:0])
    assert experiments.stored_alpha_sign().empty and experiments.stored_main_tables().empty


def test_shared_runs_of_another_seed_do_not_hide_the_values_of_alpha(monkeypatch):
    configs = experiments.alpha_sign("quick", "dlrsd", (0, 1), weights="none")
    configs += experiments.main_tables("quick", "dlrsd", (2, 3), weights="none")
    monkeypatch.setattr(experiments, "collect", lambda: collected(configs))
    found = experiments.stored_alpha_sign()
    assert len(found) == 2 * 13 and set(found["seed"]) == {0, 1}


def test_contents_of_one_title_are_told_apart_where_they_meet():
    rows = pd.DataFrame(
        {
            "profile": ["quick", "quick", "quick", "frozen"],
            "archive: title": ["DLRSD", "DLRSD", "ML-AID", "DLRSD"],
            "archive: fingerprint": ["0123456789", "abcdef0123", "0123456789", "fedcba9876"],
        }
    )
    titles = experiments._told_apart(rows)["archive: title"]
    assert list(titles) == ["DLRSD (012345…)", "DLRSD (abcdef…)", "ML-AID", "DLRSD"]
    assert experiments._told_apart(rows[:0]).empty


def test_two_copies_of_an_archive_make_two_tables(monkeypatch):
    """With other images, or labels, an archive of the same name is another one."""
    rows = collected(experiments.main_tables("quick", "dlrsd", (0, 1), weights="none"))
    other = rows["seed"] == 1
    rows.loc[other, "archive: fingerprint"] = "1"
    rows = rows[~(other & (rows["loss"] == "macl"))]
    monkeypatch.setattr(experiments, "collect", lambda: rows)
    found = experiments.stored_main_tables()
    assert found.groupby(experiments.TABLE).size().tolist() == [16, 15]


def test_pretraining_starts_from_the_weights_of_its_profile():
    weights = {c.weights for c in experiments.pretraining("smoke", "synthetic")}
    assert weights == {Config.from_profile("smoke").weights, "none"}
    assert {c.weights for c in experiments.pretraining("quick", "x")} == {"imagenet", "none"}


def test_results_table_has_a_deviation_where_there_are_seeds():
    rows = pd.DataFrame(
        {"loss": ["macl", "macl", "chance"]} | {m: [0.5, 0.7, 0.1] for m in experiments.METRICS}
    )
    table = experiments.results_table(rows, digits=1)
    assert list(table.index) == ["Chance", "MACL"]
    assert set(table.loc["MACL"]) == {"60.0 ± 14.1"} and set(table.loc["Chance"]) == {"10.0"}
