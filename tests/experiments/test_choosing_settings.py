"""How the proposed loss was chosen: tables of validation parts, and what is said of them."""

import json

import pandas as pd
import pytest

from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import choosing
from maclcore.experiments.winner import CHOSEN, TRIALS
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
    assert ", OML 0.4" in choosing.setting("balanced_parts", {"oml": 0.4})


def test_a_recipe_names_parts_shares_and_temperatures():
    found = choosing.recipe("graded_lmsc")
    assert list(found.index) == ["graded", "lmsc"] and set(found["share"]) == {"0.50"}
    chosen = {**LOSSES["graded_lmsc"].defaults, **CHOSEN["graded_lmsc"]}
    assert float(found.loc["lmsc", "τ"]) == chosen["lmsc_temperature"]
    assert found.loc["graded", "from"] == LOSSES["graded"].source
    shares = choosing.recipe(choosing.WALKED)["share"].astype(float)
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
    said = choosing.how_chosen(choice_of(**{choosing.WALKED: value}))
    assert f"{method_label(choosing.WALKED)} was number {place} of {len(CHOSEN)}" in said
    assert (
        rf"{MANY - 1}.0 points above the worst (median; mean of the seven metrics, DLRSD\* and"
        in said
    )
    assert (f"three were {method_label(choosing.WALKED)} " in said) == (place == 1)


@pytest.mark.parametrize(
    ("tau", "told"), [(-1, "with OML."), (0, "with OML."), (1, "with no loss.")]
)
def test_a_best_temperature_at_an_end_of_those_tried_is_told(tau, told, monkeypatch):
    inside = {loss: trials[1] for loss, trials in TRIALS.items()}
    monkeypatch.setattr(choosing, "CHOSEN", inside | {"oml": TRIALS["oml"][tau]})
    assert choosing.how_chosen(choice_of()).endswith(told)


SHARES = choosing.parts_of(choosing.WALKED)


def front_of():
    """Three searches of one training, of which the last is beaten, and another one's archive."""
    rows = [
        row(0.8, archive="dlrsd", split_seed=split, **dict.fromkeys(SHARES, 0.0))
        | {SHARES[0]: share, SHARES[-1]: 1 - share, choosing.LOOSE: loose, choosing.STRICT: strict}
        for share, loose, strict in ((1.0, 0.7, 0.6), (0.0, 0.8, 0.5), (0.5, 0.75, 0.45))
        for split in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_the_front_is_what_no_other_share_beats_from_loose_to_strict():
    curve = choosing.front_curve(front_of())
    first, last = (f"{method_label(SHARES[i])} 1" for i in (-1, 0))
    assert curve.loc["dlrsd"].index.tolist() == [first, last]
    assert curve.loc[("dlrsd", first)].tolist() == pytest.approx([80, 50])


def test_the_shares_of_the_training_are_found_where_they_were_searched_with():
    params = {**LOSSES[choosing.WALKED].defaults, **CHOSEN[choosing.WALKED]}
    whole = sum(params[part] for part in SHARES)
    ends = front_of()[lambda t: t[SHARES[0]] != 0.5]
    assert choosing.front_own(ends).empty
    own = ends.iloc[:1].assign(**{part: params[part] / whole for part in SHARES})
    found = choosing.front_own(pd.concat([ends, own]))
    assert found.loc["dlrsd"].tolist() == pytest.approx([70, 60])


@pytest.mark.parametrize(("strict", "within"), [(0.4, "all 2"), (0.7, "1 of 2")])
def test_what_lies_within_the_front_is_counted(strict, within):
    values = {"oml": 0.4, "lproto": strict, choosing.WALKED: 0.9, "chance": 0.1}
    runs = pd.DataFrame([
        row(0.4, archive="dlrsd", loss=loss, split_seed=split)
        | {choosing.LOOSE: 0.75, choosing.STRICT: value}
        for loss, value in values.items()
        for split in (0, 1)
    ])  # fmt: skip
    curve, dots = choosing.front_curve(front_of()), choosing.front_dots(front_of(), runs)
    assert dots.loc["dlrsd"].index.tolist() == ["oml", "lproto"]
    said = choosing.front_said(curve, dots)
    assert choosing.measured_on(front_of()) == "test parts, two splits"
    assert choosing.measured_on(choice_of()) == "validation parts, two splits"
    assert "+10.0 of `nDCG(sim)@100` for −10.0 of `mAP@0.6`" in said and r"DLRSD\*" in said
    assert f"({within} other losses lie within it)" in said
    none = choosing.front_dots(front_of(), runs.assign(split_seed=7))
    assert none.empty and "within" not in choosing.front_said(curve, none)


PARTS = choosing.parts_of(choosing.HALVES)


@pytest.mark.parametrize("gain", [0.02, -0.02])
def test_parts_are_told_by_what_they_gain_on_each_other_way(gain):
    equal = f"{PARTS[0]}_in_all"
    values = {PARTS[0]: 0.5, PARTS[1]: 0.55, "sum": 0.6, equal: 0.52, choosing.HALVES: 0.6 + gain}
    searched = {"variant": choosing.HALVES, "searched by": PARTS[1]}
    parts = pd.DataFrame(
        [row(value, variant=name, archive="ml_aid", split_seed=seed, **{"searched by": "whole"})
         for name, value in values.items() for seed in (0, 1)]
        + [row(0.3, archive="ml_aid", split_seed=0, **searched)]
        + [row(0.9, variant=equal, archive="ml_aid", split_seed=0, **{"searched by": "1"})]
    ).assign(**{choosing.MEAN: lambda t: t[list(METRICS)].mean(axis=1)})  # fmt: skip
    table, label = choosing.parts_table(parts, "ml_aid"), method_label(PARTS[1])
    assert table.loc["in parts", "mAP@0.4"] == pytest.approx(60 + 100 * gain)
    assert table.loc[f"in parts, searched by {label}'s", "mAP@0.4"] == pytest.approx(30)
    assert table.loc[f"{method_label(PARTS[0])} in all parts", "mAP@0.4"] == pytest.approx(52)
    said = choosing.parts_said(parts)
    sign = "+2.0" if gain > 0 else "−2.0"
    assert f"{sign} over their sum on one embedding" in said and "layers of their own" not in said
    alone = "+7.0" if gain > 0 else "+3.0"
    assert f"On ML-AID 150 px the loss in parts gains {alone} over the best of its losses" in said


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
    front_of().to_csv(tmp_path / "front.csv", index=False)
    found = choosing.read("front")
    assert found[choosing.MEAN].tolist() == pytest.approx(found[list(METRICS)].mean(axis=1))
