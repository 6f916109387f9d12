"""Sentences about results are computed: with rows that say something else, they say so."""

import numpy as np
import pandas as pd
import pytest

from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import settings, standing, temperatures, words
from maclcore.experiments.tables import paper_table

LOSSES = ("mulsupcon", "macl", "oml", "lproto")


def values_of(**lifts):
    """Per-query values of two archives, three seeds each, in which a loss is lifted by so much."""
    index = pd.MultiIndex.from_product([range(3), range(40)], names=["seed", "query"]).to_frame(
        index=False
    )
    index = pd.MultiIndex.from_frame(
        index.assign(split_seed=index["seed"])[["split_seed", "seed", "query"]]
    )
    noise = np.random.default_rng(0).normal(0, 0.01, (len(index), len(METRICS)))
    frames = {
        loss: pd.DataFrame(0.5 + noise + lifts.get(loss, 0.01 * i), index, list(METRICS))
        for i, loss in enumerate(("chance", "frozen", *LOSSES))
    }
    wide = pd.concat(frames, axis=1, names=["loss", "metric"]).swaplevel(axis=1)
    return {"Somewhere*": wide, "Elsewhere": wide}


def table_of(values):
    tables = {name: wide.mean().unstack("metric") for name, wide in values.items()}
    return pd.concat(tables, axis=1, names=["archive", "metric"])


@pytest.mark.parametrize(
    ("lift", "place", "side", "untrained"),
    [
        (
            0.3,
            "1st",
            "lies above MulSupCon in all 14 columns and below in none of 14",
            "none of 14",
        ),
        (-0.3, "4th", "lies above MulSupCon in none of 14 columns and below in all 14", "all 14"),
    ],
)
def test_the_first_sentence_of_the_main_tables_turns_with_macl(lift, place, side, untrained):
    values = values_of(macl=lift)
    table, gaps = table_of(values), standing.differences(values)
    said = standing.who_is_first(table, gaps)
    leader = "MACL" if lift > 0 else "LProto"
    assert f"**{leader} is first** by its mean rank, 1.0 of 4" in said
    assert f"**MACL as printed is {place}.** Its 95 % interval {side}" in said
    # 0.3 above or below 0.5, where MulSupCon is at 0.52
    assert words.points(lift - 0.02) in said and r"Somewhere\*" in said
    assert f"below the same network before training in {untrained}." in said
    assert standing.first_in_short(standing.mean_ranks(table)).startswith(f"{leader} is first")
    above = standing.above_before_training(table)
    assert ("MACL (14)" in above) == (lift < 0)
    names = "MACL and LProto are" if lift > 0 else "LProto is"
    short = standing.apart_in_short(gaps)
    assert names.split()[-1] in short and ("MACL" in short.split(" above")[0]) == (lift > 0)


def test_printed_values_are_told_to_be_near_chance_only_where_they_are():
    published = paper_table("dlrsd")[standing.HARD]
    rows = pd.DataFrame({"loss": ["chance", "frozen"], "archive": "dlrsd"})
    rows = rows.assign(**{"archive: title": "DLRSD*"})
    for shift in (0, 20):
        chance = published.mean() / 100 + shift / 100
        for metric in standing.HARD:
            rows[metric] = [chance[metric], chance[metric] + 0.25]
        farthest = (published - 100 * chance).abs().max().max()
        said = standing.published_and_chance(rows)
        assert f"within {farthest:.1f} points of chance" in said and "25 to 25 points" in said
    assert "no table of DLRSD" in standing.published_and_chance(rows.assign(archive="mine"))


def grouped(**lifts):
    """Values of label groups, the loss lifted among rare labels alone."""
    rows = [(seed, seed, group) for seed in range(3) for group in standing.LABEL_GROUPS]
    index = pd.MultiIndex.from_tuples(rows, names=["split_seed", "seed", "query"])
    columns = pd.MultiIndex.from_product([["mAP@0.4"], LOSSES], names=["metric", "loss"])
    noise = np.random.default_rng(0).normal(0, 0.003, (9, len(LOSSES)))
    values = pd.DataFrame(0.5 + noise, index, columns)
    for loss, lift in lifts.items():
        values.loc[(slice(None), slice(None), "rare"), ("mAP@0.4", loss)] += lift
    return {"A": values, "B": values}


@pytest.mark.parametrize(("lift", "side"), [(0.2, "above"), (-0.2, "below")])
def test_the_sentence_on_rare_labels_turns_with_macl(lift, side):
    gaps = standing.group_differences(grouped(macl=lift), "mAP@0.4")
    short = f"On rare labels MACL is {side} MulSupCon on two archives."
    assert standing.rare_in_short(gaps) == short
    said = standing.rare_labels(gaps, "mAP@0.4")
    assert f"in points: {words.points(lift)[0]}" in said and " on A (" in said
    (one, *_) = ({name: table.loc[[0]] for name, table in grouped(macl=lift).items()},)
    alone = standing.group_differences(one, "mAP@0.4")
    assert alone["low"].isna().all() and "[" not in standing.rare_labels(alone, "mAP@0.4")
    assert standing.rare_in_short(alone) == short
    assert list(gaps.index.unique("group")) == list(standing.LABEL_GROUPS)


def test_like_pairs_have_the_temperature_of_equation_two():
    params = {"alpha": 1.5, "beta": 0.1, "temperature": 0.3}
    found = temperatures.like_temperature(np.array([70, 70, 0]), **params)
    assert found == pytest.approx(0.3 * (np.exp(-1.5) + 0.1 / np.log(71)), rel=1e-6)
    low, high = (0.1 / np.log(1 + n) for n in (400, 10))
    params = {"alpha": 0.0, "beta": 0.1, "temperature": 1.0}
    assert 1 + low < temperatures.like_temperature(np.array([400, 10]), **params) < 1 + high


TRIED = {-1.0: 0.8, 0.5: 0.2, 1.5: 0.08}  # α -> T of like pairs


def made_up(effect):
    """`like_pairs` and its per-query values, MACL being off MulSupCon's curve by `effect(α)`."""
    plain = [("MulSupCon", np.nan, tau) for tau in (0.05, 0.2, 1.0)]
    ours = [("MACL, τ = 0.3", alpha, T) for alpha, T in TRIED.items()]
    far = [("MACL, τ = 0.3", -3.0, 6.0)]  # beyond MulSupCon's temperatures: not to be compared
    rows = pd.DataFrame([*plain, *ours, *far], columns=["series", "param: alpha", "T"])
    rows["param: temperature"] = rows["T"].where(rows["series"] == "MulSupCon", 0.3)
    rows["loss"] = [f"{row.series} @ {row.T}" for row in rows.itertuples()]
    curve = lambda T: 0.6 + 0.05 * np.log(T)  # noqa: E731
    level = [
        curve(T) + (0 if np.isnan(a) else effect(a))
        for a, T in zip(rows["param: alpha"], rows["T"], strict=True)
    ]
    rows["nDCG@100"] = level
    tuples = [(s, s, q) for s in range(3) for q in range(30)]
    index = pd.MultiIndex.from_tuples(tuples, names=["split_seed", "seed", "query"])
    noise = np.random.default_rng(1).normal(0, 0.001, (90, len(rows)))
    columns = pd.MultiIndex.from_product([["nDCG@100"], rows["loss"]], names=["metric", "loss"])
    return rows, pd.DataFrame(np.array(level) + noise, index, columns)


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [
        (lambda alpha: 0.0, "nothing but the temperature of like pairs"),
        (lambda alpha: -0.1 * alpha, "the better sign is minus"),
        (lambda alpha: 0.1 * alpha, "the better sign is plus"),
        (
            lambda alpha: {-1: 0.05, 0.5: 0.1}.get(alpha, -0.1),
            "not the temperature of like pairs alone",
        ),
    ],
)
def test_sign_or_temperature_is_read_off_differences_at_equal_temperature(
    effect, verdict, monkeypatch
):
    rows, values = made_up(effect)
    monkeypatch.setattr(temperatures, "per_query", lambda _: values)
    gaps = temperatures.at_equal_temperature(rows, ["nDCG@100"])
    found = gaps.loc["nDCG@100"].set_index("param: alpha")["difference"]
    assert sorted(found.index) == sorted(TRIED)
    assert all(abs(found[alpha] - effect(alpha)) < 0.002 for alpha in TRIED)
    said = temperatures.sign_or_temperature(rows, gaps)
    assert verdict in said and said.count("\n") == 2
    assert "α < 0 it is" in said and "in the one setting" in said


def test_both_signs_can_be_best_and_the_page_says_why_only_then():
    rows = pd.DataFrame(
        {"series": ["MACL, τ = 1"] * 2 + ["MACL, τ = 0.3"] * 2, "param: alpha": [-1, 1.0] * 2,
         "m": [0.1, 0.2, 0.2, 0.1]}
    )  # fmt: skip
    assert "no contradiction" in temperatures._reconciled(rows, "m")
    assert temperatures._reconciled(rows.assign(m=[0.2, 0.1, 0.2, 0.1]), "m") == ""
    assert temperatures._reconciled(rows[:2], "m") == ""


def grid_of(best, reweight_gain=0.0):
    """Rows of `alpha_beta` over 3 × 3 settings, two seeds, highest at `best`."""
    rows = [
        {"param: alpha": alpha, "param: beta": beta, "param: reweight": w, "seed": seed,
         "mAP(sim)@5000": 0.9 - 0.02 * (abs(alpha - best[0]) + abs(beta - best[1]))
         + reweight_gain * w, "mAP@0.8": 0.5 + 0.01 * alpha}
        for alpha in (-1.0, 0.0, 1.5) for beta in (0.0, 0.1, 1.0) for w in (False, True)
        for seed in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_best_setting_of_a_grid_and_its_rank_beside_mulsupcon_are_told():
    mulsupcon = pd.DataFrame({"mAP(sim)@5000": [0.88, 0.89], "param: temperature": 0.3})
    said = settings.peak(grid_of((1.5, 0.1)), "mAP(sim)@5000", mulsupcon)
    assert "is 90.0 at its best, (α, β) = (1.5, 0.1), 90.0 at the paper's choice" in said
    assert "4 of the 18 settings are above MulSupCon's 88.5 at τ = 0.3" in said
    said = settings.peak(grid_of((-1.0, 0.0)), "mAP(sim)@5000", mulsupcon + 0.1)
    assert "is 90.0 at its best, (α, β) = (−1, 0)," in said and "none of the 18 settings is" in said
    marks = settings.marks(settings.grids(grid_of((-1.0, 0.0)), "mAP(sim)@5000"))
    assert marks["w and T"]["our best"] == (-1.0, 0.0) and len(marks["w and T"]) == 3
    assert "−1.0 points" in settings.weights_cost(grid_of((0, 0), -0.01), ["mAP(sim)@5000"])
    both = ("mAP(sim)@5000", "mAP@0.8")
    assert "want the same α, 1.5 and 1.5" in settings.agreement(grid_of((1.5, 0.1)), *both)
    assert "want different values of α, −1 and 1.5" in settings.agreement(grid_of((-1, 0)), *both)


def runs_of(column, values, loss="macl", **rest):
    """Rows of `collect()` whose `nDCG@100` over a column is highest where it says."""
    rows = [{column: value, "nDCG@100": level, "loss": loss, "seed": seed, **rest}
            for value, level in values.items() for seed in (0, 1)]  # fmt: skip
    return pd.DataFrame(rows)


def test_archives_side_by_side_are_told_by_where_each_is_best(monkeypatch):
    asked = []

    def at_equal_temperature(pairs, metrics):
        asked.append((pairs, metrics))
        gaps = pd.DataFrame({"difference": [-0.1, -0.2, 0.3]}, [["nDCG@100"] * 3, list("abc")])
        ends = {"low": gaps["difference"] - 0.05, "high": gaps["difference"] + 0.05}
        return gaps.assign(**ends, **{"param: alpha": [0.5, 1.5, -1.0]})

    monkeypatch.setattr(settings, "like_pairs", lambda grid, tau, signs, counts: len(signs))
    monkeypatch.setattr(settings, "at_equal_temperature", at_equal_temperature)
    found = {}
    for name, (alpha, tau) in {"A*": (0.5, 0.3), "B": (-1.0, 0.3)}.items():
        plain = {"archive": "dlrsd", "param: beta": 0.1, "param: reweight": False}
        grid = runs_of("param: alpha", {alpha: 0.8, 2.0: 0.7}, **plain)
        worse = runs_of("param: alpha", {2.5: 0.9}, **{**plain, "param: reweight": True})
        tried = [runs_of("param: temperature", {0.1: 0.5, tau: 0.6}),
                 runs_of("param: temperature", {0.1: 0.7, 0.5: 0.6}, "mulsupcon"),
                 runs_of("param: temperature", {1.0: 0.99}, "oml")]  # fmt: skip
        rates = [runs_of("lr", {0.001: 0.6, 0.1: 0.2}), runs_of("lr", {0.1: 0.9}, "wg_macl")]
        found[name] = [pd.concat([grid, worse]), pd.concat(tried), pd.concat(rates)]
    table = settings.across(found)
    assert asked == [(0, ["nDCG@100"])] * 2
    assert table.loc["A*"].tolist() == [
        "0.5: 80.0", "below it in all 2 settings, −20.0 to −10.0 points", "0.3: 60.0", "0.1: 70.0",
        "0.001: 60.0",
    ]  # fmt: skip
    said = settings.same_everywhere(table)
    assert r"α 0.5 on A\* and −1 on B" in said and "learning rate 0.001 on all" in said
    assert "τ of MACL 0.3 on all" in said and "minus" not in said
    varied = settings.one_at_a_time(*found["B"])
    assert list(varied) == ["param: alpha", "param: temperature", "lr"]
    assert set(varied["param: temperature"]["loss"]) == {"macl", "mulsupcon"}
    assert not varied["param: alpha"]["param: reweight"].any()


def test_words():
    assert [words.counted(n, "seed") for n in (1, 3, 13)] == ["one seed", "three seeds", "13 seeds"]
    assert [words.ordinal(n) for n in (1, 2, 3, 11, 12, 13, 23)] == [
        "1st", "2nd", "3rd", "11th", "12th", "13th", "23rd",
    ]  # fmt: skip
    assert words.listed([]) == ""
    assert words.listed(["a"]) == "a" and words.listed("abc") == "a, b and c"
    row = pd.Series({"difference": -0.169, "low": -0.184, "high": 0.001})
    assert words.interval(row) == "−16.9 [−18.4, +0.1]"
    assert words.share(0, 3) == "none of 3" and words.share(3, 3) == "all 3"
    assert words.probability(1e-9) == "< 0.001" and words.probability(0.02) == "= 0.02"
