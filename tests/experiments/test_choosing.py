"""How the proposed loss was chosen: tables of validation parts, and what is said of them."""

import json

import pandas as pd
import pytest

from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import choosing
from maclcore.experiments.winner import CHOSEN, PROPOSED, TRIALS
from maclcore.losses import LOSSES, method_label

MANY = len(TRIALS["oml"])


def row(value, **columns):
    return columns | dict.fromkeys(METRICS, value)


def choice_of(**values):
    """Two archives; the first two settings on two splits, the others on one. A setting is worth
    its loss's value less a hundredth for each before it."""
    rows = [
        row(values.get(loss, 0.5) - n / 100, loss=loss, setting=json.dumps(dict(trial)),
            split_seed=split, archive=archive)
        for loss, trials in TRIALS.items()
        for n, trial in enumerate(trials)
        for split in ((100, 101) if n < 2 else (100,))
        for archive in ("dlrsd", "ml_aid")
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**{choosing.MEAN: lambda t: t[list(METRICS)].mean(axis=1)})


def test_every_setting_of_a_loss_has_words_of_its_own():
    for loss, trials in TRIALS.items():
        words = [choosing.setting(loss, trial) for trial in trials]
        assert len(set(words)) == len(trials) == MANY
        assert choosing.setting(loss, LOSSES[loss].defaults | trials[3]) == words[3]
    assert choosing.setting("lproto", {"temperature": 0.1}) == "τ = 0.1"
    assert choosing.setting("macl", TRIALS["macl"][2]) == "α = −0.5, τ = 0.3, w = 1"
    halves = choosing.setting("graded_lmsc", {"graded_temperature": 0.3})
    assert halves == "Graded τ = 0.3, LMSC τ = 0.1"
    assert ", OML 0.4, " in choosing.setting("four_parts", {"oml": 0.4})


def test_a_recipe_names_parts_shares_and_temperatures():
    found = choosing.recipe("graded_lmsc")
    assert list(found.index) == ["graded", "lmsc"] and set(found["share"]) == {"0.50"}
    chosen = {**LOSSES["graded_lmsc"].defaults, **CHOSEN["graded_lmsc"]}
    assert float(found.loc["lmsc", "τ"]) == chosen["lmsc_temperature"]
    assert found.loc["graded", "from"] == LOSSES["graded"].source
    shares = choosing.recipe()["share"].astype(float)
    assert shares.sum() == pytest.approx(1, abs=0.02) and len(shares) > 1


def test_settings_are_means_over_archives_and_splits_and_the_chosen_is_marked():
    found = choosing.settings(choice_of(oml=0.7))
    assert list(found["loss"].unique()) == list(TRIALS) and len(found) == MANY * len(TRIALS)
    oml = found[found["loss"] == "oml"]
    assert oml["first"].tolist() == pytest.approx([70 - n for n in range(MANY)])
    assert oml["all"].notna().tolist() == [True, True, *[False] * (MANY - 2)]
    assert found.groupby("loss")["chosen"].sum().eq(1).all()
    table = choosing.settings_table(choice_of())
    assert list(table) == ["setting", "one split", "two splits", "chosen"]
    assert table.index[0] == "SupCon-ALL" and table.index[1] == ""


@pytest.mark.parametrize(("value", "place"), [(0.9, 1), (0.1, len(TRIALS))])
def test_the_place_before_any_test_turns_with_the_loss(value, place):
    said = choosing.how_chosen(choice_of(**{PROPOSED: value}))
    assert f"{method_label(PROPOSED)} was number {place} of {len(CHOSEN)}" in said
    assert (
        rf"{MANY - 1}.0 points above the worst (median; mean of the seven metrics, DLRSD\* and"
        in said
    )
    assert (f"three were {method_label(PROPOSED)} " in said) == (place == 1)


def front_of():
    rows = [
        row(0.8, archive="dlrsd", protocol="frozen", split_seed=100, shares=shares)
        | {choosing.LOOSE: loose, choosing.STRICT: strict}
        for shares, loose, strict in (("a", 0.70, 0.60), ("b", 0.80, 0.50), ("c", 0.75, 0.58))
    ]
    return pd.DataFrame(rows).assign(**{choosing.MEAN: 0.7})


def test_the_front_goes_from_loose_to_strict_and_tells_what_lies_within():
    curve = choosing.front_curve(front_of())
    assert curve.loc["dlrsd"].index.tolist() == ["b", "c", "a"]
    choice = choice_of(oml=0.52, lproto=0.5)  # at (52, 52) and (50, 50) or so
    dots = choosing.front_dots(front_of(), choice)
    assert PROPOSED not in dots.index.get_level_values("loss")
    assert len(dots.loc["dlrsd"]) == len(CHOSEN) - 1
    said = choosing.front_said(curve, dots)
    assert "+10.0 of `nDCG(sim)@100` for −10.0 of `mAP@0.6`" in said and r"DLRSD\*" in said
    assert f"all {len(dots.loc['dlrsd'])} other losses lie within it" in said
    beyond = choosing.front_said(curve, dots + 20)  # at (72, 72), above all of the curve
    assert f"none of {len(dots.loc['dlrsd'])} other losses lie within it" in beyond
    assert "within" not in choosing.front_said(curve, choosing.front_dots(front_of(), choice[:0]))


@pytest.mark.parametrize(("both", "best"), [(0.7, "both"), (0.5, "alone")])
def test_parts_are_told_by_their_means(both, best):
    parts = pd.DataFrame(
        [row(value, variant=name, archive="ml_aid", split_seed=seed)
         for name, value in (("alone", 0.6), ("both", both)) for seed in (100, 101)]
    ).assign(**{choosing.MEAN: lambda t: t[list(METRICS)].mean(axis=1)})  # fmt: skip
    table = choosing.parts_table(parts, "ml_aid")
    assert table.loc["both", "mAP@0.4"] == pytest.approx(100 * both)
    value = 100 * max(both, 0.6)
    assert f"on ML-AID 150 px {best} ({value:.1f}, next" in choosing.parts_said(parts)


def test_levers_are_differences_from_the_baseline_of_the_same_run():
    gain = {"baseline": 0.0, "good": 0.02, "bad": -0.01, "mixed": 0.0}
    rows = [
        row(0.5 + base + by + (0.03 if (lever, loss) == ("mixed", "oml") else 0),
            lever=lever, loss=loss, archive=archive, split_seed=100)
        for lever, by in gain.items()
        for loss, base in (("oml", 0.1), ("lproto", 0.2))
        for archive in ("dlrsd", "ml_aid")
    ]  # fmt: skip
    levers = pd.DataFrame(rows).assign(**{choosing.MEAN: lambda t: t[list(METRICS)].mean(axis=1)})
    gains = choosing.lever_gains(levers)
    assert list(gains.index) == ["good", "mixed", "bad"]
    assert gains.loc["good"].tolist() == pytest.approx([2, 2, 2, 2])
    assert gains.loc["mixed", "OML"] == pytest.approx(3)
    said = choosing.levers_said(gains)
    assert "0.1 points or more: good (+2.0). 1 cost more" in said
    assert "more: none." in choosing.levers_said(gains.loc[["bad"]])


def test_tables_come_from_the_store_or_are_said_to_lack(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    monkeypatch.setattr(choosing.paths, "paper_root", lambda: tmp_path / "none" / "paper")
    assert choosing.read("front").empty and "`front.csv`" in choosing.lacking("front")
    front_of().drop(columns=choosing.MEAN).to_csv(tmp_path / "front.csv", index=False)
    found = choosing.read("front")
    assert found[choosing.MEAN].tolist() == pytest.approx(found[list(METRICS)].mean(axis=1))
