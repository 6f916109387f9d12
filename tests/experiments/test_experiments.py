"""The named lists of configurations, and what is picked from the store for them."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from maclcore import paths
from maclcore.config import Config
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import paper as experiments
from maclcore.experiments import stability, tables
from maclcore.experiments.winner import TRIALS
from maclcore.losses import LOSSES, PAPER, WEAK_LOSSES
from maclcore.store import collect

SIZES = {
    "main_tables": len(PAPER) + 3,
    "other_losses": 3,  # gain, soft_jaccard and smooth_ap; a test of the next loss has one more
    "alpha_beta": 18,
    "temperature": 6,
    "learning_rate": 6,
    "pretraining": 6,
    "alpha_sign": 13,
    "soft_weight": 5,
    "weak_labels": len(WEAK_LOSSES),
    "weak_network": 5,
    "calibration": 17,  # of 25 epochs, too few for a trigger after 30
    "chain": 18,
    "winner_choice": 5 * len(TRIALS),
    "winner": len(TRIALS) + 3,
    "winner_stability": 4 * len(stability.NAMES),
}


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_an_experiment_is_a_list_of_different_runs(name):
    configs = experiments.EXPERIMENTS[name]("quick", "dlrsd", (0, 1), weights="imagenet")
    assert len({config.run_id for config in configs}) == len(configs)
    assert len(configs) == 2 * SIZES[name]
    assert {config.seed for config in configs} == ({0, 1} if SIZES[name] else set())
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
        assert epochs <= ({3} if name in experiments.ABLATIONS else {25}) or name == "winner_choice"


def test_head_only_runs_afford_every_axis_and_never_pass_for_others():
    assert len(experiments.alpha_beta("frozen", "dlrsd")) == 2 * 9 * 6
    losses = {config.loss for config in experiments.temperature("frozen", "dlrsd")}
    assert losses == set(PAPER), "as in its Figure 10"
    for name, make in experiments.EXPERIMENTS.items():
        for config in make("frozen", "dlrsd"):
            assert config.frozen_views
            assert config.epochs == (40 if name == "winner_choice" else 100)
            assert config.run_id.startswith("frozen-")


def test_the_sign_of_alpha_shares_its_ends_with_the_main_tables():
    tables = {config.run_id for config in experiments.main_tables("quick", "dlrsd")}
    configs = experiments.alpha_sign("quick", "dlrsd")
    assert [config.run_id in tables for config in configs] == [True, False, True] + 10 * [False]


def test_stability_changes_one_condition_of_the_setting_of_the_choice(monkeypatch):
    """And no parameter of a loss, at its default or not."""
    default = LOSSES["oml"].defaults["temperature"]
    chosen = {"macl": {"alpha": -0.5}, "oml": {"temperature": default}}
    monkeypatch.setattr(stability, "CHOSEN", chosen)
    first = Config.from_profile("quick", archive="dlrsd", seed=3, split_seed=3)
    base = [
        first.but(loss=name, loss_params={"alpha": -0.5} if name == "macl" else {})
        for name in stability.NAMES
    ]
    changes = [{"image_size": 32}, {"image_size": 96}, {"image_size": 128}, {"train_share": 0.5}]
    configs = experiments.experiment("winner_stability")("quick", "dlrsd", (3,))
    assert configs == [one.but(**change) for change in changes for one in base]
    for archive in ("ucm_scenes", "synthetic_5", "synthetic_60"):
        of = experiments.experiment("winner_stability")("quick", archive, (3,))
        assert of == [one.but(archive=archive) for one in base]


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


def counted(rows):
    return rows.groupby(["archive", "profile", "seed"]).size().to_dict()


@pytest.fixture
def stored(monkeypatch, capsys):
    """`stored(configs, make)`: what `make` finds in a store of these, and the lines it says."""

    def find(configs, make=tables.stored_main_tables):
        rows = configs if isinstance(configs, pd.DataFrame) else collected(configs)
        monkeypatch.setattr(tables, "collect", lambda: rows)
        found = make()
        return found, capsys.readouterr().err.splitlines()

    return find


def test_main_tables_have_no_runs_of_other_settings_and_no_rows_of_other_experiments(stored):
    configs = experiments.main_tables("quick", "dlrsd", (0, 1), weights="none")
    configs += [config.but(lr=0.5) for config in configs]
    configs += experiments.main_tables("frozen", "dlrsd", (3,), weights="none")[:5]
    configs += experiments.pretraining("quick", "ml_aid", (0,), weights="imagenet")
    configs += experiments.main_tables("smoke", "dlrsd")
    configs += experiments.main_tables("quick", "synthetic")
    found, said = stored(configs)
    rows = len(experiments.METHODS)
    expected = {("dlrsd", "quick", 0): rows, ("dlrsd", "quick", 1): rows, ("dlrsd", "frozen", 3): 5}
    assert counted(found) == expected and not said
    assert (found["lr"] == 1e-3).all()


def test_a_method_that_lacks_a_seed_takes_no_other_with_it(stored):
    configs = experiments.main_tables("quick", "dlrsd", (0, 1, 2), weights="none")
    configs = [c for c in configs if (c.loss, c.seed) not in (("lbase", 1), ("oml", 0))]
    found, said = stored(configs)
    rows = len(experiments.METHODS) - 2
    assert counted(found) == {("dlrsd", "quick", seed): rows for seed in range(3)}
    assert set(experiments.METHODS) - set(found["loss"]) == {"lbase", "oml"}
    assert said == [
        "left out of the table dlrsd, quick: LBase, seed 0, 2: it lacks seed 1",
        "left out of the table dlrsd, quick: OML, seed 1, 2: it lacks seed 0",
    ]


def test_a_seed_that_few_methods_have_yet_waits_for_the_others(stored):
    configs = experiments.main_tables("quick", "dlrsd", (0, 1), weights="none")
    configs = [c for c in configs if c.seed == 0 or c.loss in ("chance", "frozen", "macl")]
    found, said = stored(configs)
    assert counted(found) == {("dlrsd", "quick", 0): len(experiments.METHODS)}
    assert said == [
        f"left out of the table dlrsd, quick: {name}, seed 1: other methods lack it"
        for name in ("Chance", "Frozen", "MACL")
    ]


def test_what_a_table_keeps_and_what_is_said_is_all_that_is_stored(stored):
    """For any holes: no method of a table lacks a seed, and each missing row has its line."""
    every = experiments.main_tables("quick", "dlrsd", range(4), weights="none")
    for draw in range(20):
        rng = np.random.default_rng(draw)
        configs = [c for c in every if c.loss == "chance" or rng.random() < 0.8]
        found, said = stored(configs)
        seeds = found.groupby("loss")["seed"].agg(set)
        assert len(set(map(frozenset, seeds))) == 1
        told = sum(len(line.split(", seed ")[1].split(":")[0].split(",")) for line in said)
        assert len(found) + told == len(configs)
        # no other choice of seeds leaves more rows
        has = pd.DataFrame([(c.loss, c.seed) for c in configs]).groupby(0)[1].agg(set)
        subsets = [set(s) for r in range(1, 5) for s in combinations(range(4), r)]
        assert len(found) == max(len(s) * sum(s <= h for h in has) for s in subsets)


def test_stored_variants_are_those_of_seeds_that_have_all(stored):
    """Two seeds of all variants but one, of another archive only the main tables' runs."""
    configs = experiments.alpha_sign("quick", "dlrsd", (0, 1), weights="none")
    number = len(configs) // 2
    configs = [c for c in configs if not (c.seed == 1 and c.loss_params.get("alpha") == 0.5)]
    configs += experiments.main_tables("quick", "ml_aid", (0,), weights="none")
    configs += experiments.temperature("frozen", "ml_aid", (0,), weights="none")
    configs += experiments.alpha_sign("smoke", "synthetic")
    found, said = stored(configs, tables.stored_alpha_sign)
    assert set(found["archive"]) == {"dlrsd"} and counted(found) == {
        ("dlrsd", "quick", seed): number - 2 for seed in (0, 1)
    }
    assert len(said) == 2 and all("α = 0.5" in line and "lacks seed 1" in line for line in said)
    assert {"MACL, α = −0.5, τ = 0.3, w = 1", "MulSupCon, τ = 0.5"} < set(found["loss"])
    assert found["param: alpha"].dropna().is_monotonic_increasing
    for make in (tables.stored_alpha_sign, tables.stored_main_tables):
        nothing, said = stored(collected(configs).iloc[:0], make)
        assert nothing.empty and not said


def test_stored_chain_has_seeds_that_are_whole_named_by_loss_and_labels(stored):
    configs = experiments.chain("frozen", "dlrsd", (0, 1), weights="none")
    configs += experiments.chain("frozen", "ml_aid", (0,), weights="none")
    configs += experiments.main_tables("frozen", "dlrsd", (0,), weights="none")
    configs += experiments.chain("smoke", "synthetic")
    left = next(c for c in configs if c.completion == "gc" and c.seed == 1)
    configs.remove(left)
    found, said = stored(configs, tables.stored_chain)
    assert counted(found) == {("dlrsd", "frozen", 0): 18, ("ml_aid", "frozen", 0): 18}
    assert said == ["left out of the table dlrsd, frozen: seed 1: it lacks 1 runs of chain"]
    trained = found[found["given"] != ""]
    given = ["one label", "AN", "EPR", "GC", "complete"]
    for (_, loss), part in trained.groupby(["archive", "retrieval"]):
        assert list(part["given"]) == given
        assert list(part["loss"]) == [f"{loss}, {name}" for name in given]
    for _, row in trained.iterrows():
        known = {"none": {"random": "one label", "complete": "complete"}[row["labels"]]}
        assert row["given"] == known.get(row["completion"], row["completion"].upper())
    rest = found[found["given"] == ""]
    assert set(rest["loss"]) == {"chance", "frozen", "oracle"}
    nothing, said = stored(collected(configs).iloc[:0], tables.stored_chain)
    assert nothing.empty and not said


def test_shared_runs_of_another_seed_do_not_hide_the_values_of_alpha(stored):
    configs = experiments.alpha_sign("quick", "dlrsd", (0, 1), weights="none")
    number = len(configs)
    configs += experiments.main_tables("quick", "dlrsd", range(2, 9), weights="none")
    found, said = stored(configs, tables.stored_alpha_sign)
    assert len(found) == number and set(found["seed"]) == {0, 1}
    assert len(said) == 2 and all("other methods lack it" in line for line in said)


def test_contents_of_one_title_are_told_apart_where_they_meet():
    rows = pd.DataFrame(
        {
            "profile": ["quick", "quick", "quick", "frozen"],
            "archive: title": ["DLRSD", "DLRSD", "ML-AID", "DLRSD"],
            "archive: fingerprint": ["0123456789", "abcdef0123", "0123456789", "fedcba9876"],
        }
    )
    titles = tables._told_apart(rows)["archive: title"]
    assert list(titles) == ["DLRSD (012345…)", "DLRSD (abcdef…)", "ML-AID", "DLRSD"]
    assert tables._told_apart(rows[:0]).empty


def test_two_copies_of_an_archive_make_two_tables(stored):
    """With other images, or labels, an archive of the same name is another one."""
    rows = collected(experiments.main_tables("quick", "dlrsd", (0, 1), weights="none"))
    other = rows["seed"] == 1
    rows.loc[other, "archive: fingerprint"] = "1"
    rows = rows[~(other & (rows["loss"] == "macl"))]
    found, said = stored(rows)
    number = len(experiments.METHODS)
    assert found.groupby(tables.TABLE).size().tolist() == [number, number - 1] and not said


def test_pretraining_starts_from_the_weights_of_its_profile():
    weights = {c.weights for c in experiments.pretraining("smoke", "synthetic")}
    assert weights == {Config.from_profile("smoke").weights, "none"}
    assert {c.weights for c in experiments.pretraining("quick", "x")} == {"imagenet", "none"}


def test_results_table_has_a_deviation_where_there_are_seeds():
    rows = pd.DataFrame(
        {"loss": ["macl", "macl", "chance"]} | {m: [0.5, 0.7, 0.1] for m in METRICS}
    )
    table = tables.results_table(rows, digits=1)
    assert list(table.index) == ["Chance", "MACL"]
    assert set(table.loc["MACL"]) == {"60.0 ± 14.1"} and set(table.loc["Chance"]) == {"10.0"}


def test_a_store_without_runs_has_tables_without_rows(monkeypatch, tmp_path):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    for stored in (tables.stored_main_tables, tables.stored_alpha_sign):
        assert stored().empty


def test_variants_of_softcon_stand_in_the_order_of_their_weights():
    rows = pd.DataFrame(
        [
            ("softcon", 0.1, "candidates"),
            ("softcon", 10.0, "pairs"),
            ("infonce", float("nan"), float("nan")),
            ("softcon", 0.1, "pairs"),
            ("frozen", float("nan"), float("nan")),
        ],
        columns=["loss", "param: soft_weight", "param: average"],
    )
    assert list(tables.named(rows)["loss"]) == [
        "frozen", "infonce", "SoftCon, λ = 0.1", "SoftCon, λ = 0.1, summed", "SoftCon, λ = 10",
    ]  # fmt: skip
    plain = rows.iloc[[2, 4]].drop(columns=["param: soft_weight", "param: average"])
    assert list(tables.named(plain)["loss"]) == ["infonce", "frozen"]


@pytest.fixture
def of_record(monkeypatch, tmp_path):
    """The packed runs alone."""
    (tmp_path / "packed").symlink_to(paths.PACKAGE.parent / "results" / "packed")
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))


def test_stored_soft_weight_has_whole_tables_alone(of_record, monkeypatch):
    """Five variants of three archives with the same seeds; one with a seed less leaves the table,
    and no run of bands or of another experiment is in it."""
    rows = tables.stored_soft_weight()
    counts = rows.groupby(["archive", "loss"])["seed"].nunique().unstack()
    assert set(counts.index) == {"dlrsd", "ml_aid", "ucm_multilabel"}
    assert counts.shape[1] == 5 and (counts == counts.iloc[0, 0]).all(axis=None)
    assert (rows["bands"] == "").all()
    everything = collect()
    last = rows[(rows["archive"] == "dlrsd") & (rows["loss"] == "infonce")].index[-1]
    monkeypatch.setattr(tables, "collect", lambda: everything.drop(index=last))
    fewer = tables.stored_soft_weight()
    assert "infonce" not in set(fewer.loc[fewer["archive"] == "dlrsd", "loss"])
    assert len(fewer[fewer["archive"] == "ml_aid"]) == len(rows[rows["archive"] == "ml_aid"])


def test_stored_bands_has_real_archives_of_many_bands_alone(of_record):
    rows = tables.stored_bands()
    assert {"terramesh5", "ben11"} == set(rows["archive"]) and {"s1", "s2"} == set(rows["bands"])
    assert "SoftCon, λ = 10" in set(rows["loss"])
