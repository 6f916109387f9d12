"""What is said of the proposed loss is computed: with rows that say something else, it says so."""

from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import pytest

from maclcore import paths
from maclcore.data import ArchiveError
from maclcore.evaluation import statistics
from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import advice, winner, winning
from maclcore.experiments.winner import CHOSEN, WEIGHTS
from maclcore.losses import method_label

PROPOSED = winner.PROPOSED["quick"]
NDCG, STRICT = "nDCG(sim)@100", "mAP@0.8"
KIN = next(name for name in winning.KIN if name != PROPOSED)
MANY = len(CHOSEN)
PAIRS = MANY * (MANY - 1) // 2
METHODS = ("chance", "frozen", *CHOSEN, "oracle")
LOW = {"chance": -0.4, "frozen": -0.3, "oracle": 0.4}


def values_of(lifts, archives=("Somewhere*", "Elsewhere"), seeds=3):
    """Per-query values, {archive: (metric, loss)}; lifts: {loss: by so much in all columns, or
    {(archive, metric): so much}}."""
    pairs = [(seed, seed, f"q{n}") for seed in range(seeds) for n in range(12)]
    index = pd.MultiIndex.from_tuples(pairs, names=["split_seed", "seed", "query"])
    columns = pd.MultiIndex.from_product([METRICS, METHODS], names=["metric", "loss"])
    tables = {}
    for archive in archives:
        noise = np.random.default_rng(1).normal(0, 1e-3, (len(index), len(columns)))
        table = pd.DataFrame(0.5 + noise, index, columns)
        for loss, lift in (LOW | lifts).items():
            for metric in METRICS:
                by = lift.get((archive, metric), 0.0) if isinstance(lift, dict) else lift
                table[metric, loss] += by
        tables[archive] = table
    return tables


def runs_of(archives=("Somewhere*", "Elsewhere"), seeds=3, **columns):
    rows = [
        {"archive": archive.lower(), "archive: title": archive, "seed": seed, "loss": loss,
         "profile": "quick", "weights": WEIGHTS, "image_size": 64, "epochs": 25,
         "device": "this", "seconds": 30.0 if loss == PROPOSED else 10.0}
        for archive in archives for seed in range(seeds) for loss in METHODS
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


def standing_of(lifts, **given):
    return winning.Standing.measured("quick", runs_of(**given), values_of(lifts, **given))


def test_it_is_first_where_it_leads_and_the_numbers_are_those_of_the_rows():
    found = standing_of({PROPOSED: 0.05, "oml": 0.02})
    said = advice.answer(found)
    assert f"Proposed is **{method_label(PROPOSED)}** (`--loss {PROPOSED}`" in said
    assert f"It is **first of {MANY}** by mean rank over 14 columns, 1.0; the first" in said
    assert f"of the {len(found.rivals)} losses of the papers is OML, 2.0" in said
    assert r"Somewhere\* and Elsewhere; the whole network trained, 64 px, 25 epochs, three" in said
    assert "OML, in points of the mean of the seven metrics: +3.0 on Somewhere" in said
    assert "lies above zero in all 14 columns, holds it in 0 and lies below in 0" in said
    assert "There is no column in which" in said and "Where it does not hold" not in said
    assert advice.best_in_short(found).endswith("in all 14 columns, and below it in none of 14.")
    assert f"first of {MANY} by mean rank, 1.0" in advice.also(found)
    short = advice.in_short(found)
    assert f"(`--loss {PROPOSED}`" in short and f") is first of {MANY}" in short
    assert "in 14 of 14" in short
    assert short.endswith("loses in 0.")
    later = advice.untouched(found)
    assert later.startswith("On splits 0 to 2 alone (the whole network trained, 64 px, 25 epochs")
    assert f"it is first of {MANY} by mean rank, above" in later and later.endswith("below in 0.")


def test_it_is_not_first_where_another_leads():
    found = standing_of({"lproto": 0.05, PROPOSED: 0.02})
    said = advice.also(found)
    assert f"**{method_label(PROPOSED)}** is 2nd of {MANY} by mean rank, 2.0, behind LProto" in said
    said = advice.answer(found)
    assert f"It is **2nd of {MANY}** by mean rank over 14 columns, 2.0, behind LProto (1.0)" in said
    assert f"{len(found.rivals)} losses of the papers is LProto, 1.0" in said
    assert "from LProto, in points of the mean of the seven metrics: −3.0 on" in said
    assert "lies above zero in none of 14 columns, holds it in 0 and lies below in 14" in said
    assert f"is 2nd of {MANY}" in advice.in_short(found)
    assert "loses in 14" in advice.in_short(found)
    kin = standing_of({KIN: 0.05, PROPOSED: 0.02, "oml": 0.01})
    said = advice.answer(kin)
    assert f"behind {method_label(KIN)} (1.0); the first" in said
    assert f"{method_label(KIN)} 14 and 0 (mean rank 1.0)" in said
    assert f"{method_label(PROPOSED)} 14 and 0 (mean rank 2.0)" in said
    # kin is no rival: the best of the others is OML
    assert set(winning.against_best(kin)["rival"]) == {"oml"} and KIN not in kin.rivals


def test_where_it_does_not_hold_is_named_with_the_rival_and_the_interval():
    found = standing_of({PROPOSED: 0.03, "oml": {("Elsewhere", NDCG): 0.08}})
    best = winning.against_best(found)
    assert best.loc[("Elsewhere", NDCG), "rival"] == "oml"
    row = best.loc[("Elsewhere", NDCG)]
    assert row["low"] < row["difference"] < row["high"] < 0
    assert row["difference"] == pytest.approx(-0.05, abs=2e-3)
    said = advice.where_not(found)
    assert f"Elsewhere: `{NDCG}` −5.0 [" in said and said.endswith("to OML.")
    assert "Somewhere" not in said and STRICT not in said
    assert f"(`{NDCG}` on Elsewhere, to OML)" in advice.also(found)
    counts = winning.dominance(found)
    assert counts.loc[("Elsewhere", "oml")].tolist() == [6, 0, 1]
    assert counts.loc[("Somewhere*", "oml")].tolist() == [7, 0, 0]
    assert winning.dominance_table(found).loc["oml", "Elsewhere"] == "6 · 0 · 1"
    many = len(found.rivals)
    told = advice.dominates(found)
    assert rf"all {many} on Somewhere\*; {many - 1} of {many} on Elsewhere (not OML (1))" in told


def test_tests_are_corrected_for_all_pairs_whichever_is_proposed():
    lifts = {PROPOSED: 0.03, "oml": {("Elsewhere", NDCG): 0.08}}
    found = standing_of(lifts)
    said = advice.tests(found)
    compared = 14 * len(found.rivals)
    assert f"Of {compared} comparisons" in said and f"{PAIRS} pairs of losses" in said
    # twelve queries have 4,096 flips, of which the least p, 2 / 4096, is not small enough
    assert ", 0 are won and 0 lost" in said and f"{compared} are open" in said
    # three times as many queries have enough of them
    more = {
        name: pd.concat([table.rename(lambda q, n=n: f"{q}-{n}", level="query") for n in range(3)])
        for name, table in values_of(lifts).items()
    }
    values, more = more, winning.Standing.measured("quick", runs_of(), more)
    assert f"{compared - 1} are won and 1 lost" in advice.tests(more)
    # the same pair from its other side
    other = winning.proposed_gaps(values["Elsewhere"], "oml")
    mine = more.gaps.loc["Elsewhere"]
    pair = [table.loc[(NDCG, loss)] for table, loss in ((mine, "oml"), (other, PROPOSED))]
    assert pair[0]["difference"] == pytest.approx(-pair[1]["difference"])
    assert pair[0]["holm"] == pair[1]["holm"] < 0.05


def test_ranks_of_single_splits_are_told_apart_by_their_own_bound():
    found = standing_of({PROPOSED: 0.5})
    place = {loss: i for i, loss in enumerate(CHOSEN, 2)} | {PROPOSED: 1}
    rows = found.runs[found.runs["loss"].isin(list(CHOSEN))]
    rows = rows.assign(**dict.fromkeys(METRICS, 1 / rows["loss"].map(place)))
    lost = (rows["loss"] == PROPOSED) & (rows["seed"] == 2)
    rows.loc[lost, NDCG] = 0.0  # last in one metric of one split of each archive
    found = replace(found, runs=rows)
    table = statistics.ranks(winning.split_columns(found))
    assert (
        table.shape == (MANY, 2 * 3 * 7) and (np.sort(table, axis=0).T == range(1, MANY + 1)).all()
    )
    own = table.loc[PROPOSED]
    assert set(own) == {1, MANY} and (own == MANY).sum() == 2
    said = advice.split_by_split(found)
    assert (
        f"over the 42 columns of single splits its mean rank is {(40 + 2 * MANY) / 42:.1f}" in said
    )
    assert f"that of {method_label(table.index[1])}, the first of the papers'" in said
    within, near = said.split("critical difference, ")[1].split(". Splits")[0].split(": ")
    assert within == f"{statistics.critical_difference(MANY, 42):.1f}"
    gaps = table.mean(axis=1)[found.rivals] - own.mean()
    assert len(near.replace(" and ", ", ").split(", ")) == (gaps < float(within)).sum() > 1
    rows.loc[lost, NDCG] = 2.0
    many = pd.concat([rows.assign(seed=rows["seed"] + 3 * i) for i in range(99)])
    apart = advice.split_by_split(replace(found, runs=many))
    assert "mean rank is 1.0" in apart and ": none. Splits" in apart


def test_ranks_order_and_tables():
    found = standing_of({loss: i / 50 for i, loss in enumerate(CHOSEN)} | {PROPOSED: 0.5})
    assert advice.by_rank(found).startswith("By mean rank over 14 columns, 1.0, ")
    near = [r for r in found.ranks.drop(PROPOSED) if r - 1 < found.critical]
    names = advice.by_rank(found).split(": ")[1].rstrip(".").replace(" and ", ", ").split(", ")
    assert len(names) == len(near) > 0
    assert "p < 0.001" in advice.order_at_all(found)
    table = winning.levels_table(found, "Elsewhere")
    assert list(table.index[:3]) == ["chance", "frozen", PROPOSED] and table.index[-1] == "oracle"
    assert table.loc["chance", NDCG].startswith("10.0 [")
    gaps = winning.tests_table(found, "Elsewhere")
    assert PROPOSED not in gaps.index and gaps.iloc[0].str.contains(r"^\+").all()


def test_cost_is_told_beside_mulsupcon():
    found = standing_of({})
    assert "takes 30 to 30 s" in advice.cost(found) and "3.0 times as long" in advice.cost(found)
    assert winning.seconds(found).loc["oml", "times"] == 1
    older = runs_of().query("loss != @PROPOSED").assign(seconds=99.0, device="other", seed=9)
    both = winning.Standing.measured("quick", pd.concat([runs_of(), older]), values_of({}))
    assert advice.cost(both) == advice.cost(found)


def test_only_whole_seeds_of_the_pretrained_network_count_in_the_order_of_archives():
    runs = runs_of(("ML_AID", "DLRSD"))
    lost = runs[(runs["archive"] == "ml_aid") & (runs["seed"] == 2) & (runs["loss"] == "oml")]
    others = runs.assign(weights="none", seed=7)
    kept = winning.whole(pd.concat([runs.drop(lost.index), others]), "quick")
    assert kept["archive"].unique().tolist() == ["dlrsd", "ml_aid"]
    assert kept.groupby("archive")["seed"].unique().map(list).to_dict() == {
        "dlrsd": [0, 1, 2], "ml_aid": [0, 1],
    }  # fmt: skip
    assert winning.whole(runs, "frozen").empty
    assert winning.whole(runs[runs["loss"] != "oml"], "quick").empty
    fewer = runs[runs["loss"] != KIN]  # a candidate that no seed has is asked of none
    assert len(winning.whole(fewer, "quick")) == len(fewer)


def test_an_archive_of_ones_own_stands_from_the_weights_of_most_of_its_runs(monkeypatch, tmp_path):
    own = str(tmp_path)
    rows = runs_of(("DLRSD", "Mine")).replace({"archive": {"mine": own}})
    mine = rows["archive"] == own
    rows.loc[mine, "weights"] = ["none" if seed == 2 else "imagenet" for seed in rows["seed"][mine]]
    monkeypatch.setattr(winning, "stored_experiment", lambda name: rows)
    monkeypatch.setattr(winning.standing, "values_by_archive", lambda runs: {})
    of_record, of_mine = (winning.Standing.load("quick", name).runs for name in (None, own))
    assert set(of_record["archive"]) == {"dlrsd"} and set(of_mine["archive"]) == {own}
    assert set(of_mine["weights"]) == {"imagenet"} and set(of_mine["seed"]) == {0, 1}
    with pytest.raises(ArchiveError, match="no archive 'elsewhere'"):
        winning.Standing.load("quick", "elsewhere")


def test_without_rows_it_says_which_command_makes_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    found = winning.Standing.load("frozen")
    assert not found and found.titles == [] and advice.provenance(found) == ""
    assert "sweep winner --profile frozen" in advice.cost(found)
    assert "no runs are stored at the profile `frozen`" in advice.untouched(found)
    assert advice.in_short(found) == advice.nothing("frozen")


@pytest.mark.parametrize(("other", "told"), [
    (60.0, f"name it, too: {method_label(PROPOSED)} 70.0, before OML 60.0, in means of the seven "
           "metrics; it is first on all 2 archives."),
    (80.0, "it is 2nd: OML 80.0 is first, in means of the seven metrics; it is first on none of 2"),
])  # fmt: skip
def test_whether_validation_parts_name_it_is_said(monkeypatch, other, told):
    found = standing_of({PROPOSED: 0.05})
    scores = pd.DataFrame(
        {"A": {PROPOSED: 70.0, "oml": other}, "B": {PROPOSED: 70.0, "oml": other}}
    )
    monkeypatch.setattr(advice, "validated", lambda found: scores)
    assert told in advice.since_when(found)


def test_what_is_validated_is_the_last_epoch_of_the_validation_parts(monkeypatch):
    runs = runs_of(("Here",), seeds=2).assign(**{"archive: title": "Here"})
    runs.index = [f"run{n}" for n in range(len(runs))]
    epochs = [(run_id, epoch) for run_id in runs.index for epoch in (1, 2)]
    index = pd.MultiIndex.from_tuples(epochs, names=["run_id", "epoch"])
    last = [0.1 if epoch == 1 else 0.2 + 0.1 * runs.at[run_id, "seed"] for run_id, epoch in epochs]
    table = pd.DataFrame(dict.fromkeys(METRICS, last), index)
    monkeypatch.setattr(winning, "histories", lambda runs: table.loc[list(runs.index)])
    found = winning.validated(winning.Standing.measured("quick", runs, {}))
    assert set(found.index) == set(CHOSEN) and found["Here"].tolist() == pytest.approx([25] * MANY)


def test_the_readme_advises_as_the_overview_does():
    overview = nbformat.read(paths.ROOT / "notebooks" / "00_overview.ipynb", as_version=4)
    (cell,) = [cell for cell in overview.cells if cell.id == "00-which"]
    (output,) = cell.outputs
    said = output.data["text/markdown"]
    assert all(f"`--loss {loss}`" in said for loss in winner.PROPOSED.values())
    assert said in (paths.ROOT / "README.md").read_text(encoding="utf-8")
