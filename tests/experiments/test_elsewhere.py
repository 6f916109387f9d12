"""Where the proposed loss holds is computed from rows: with others, it says something else."""

import numpy as np
import pandas as pd
import pytest

from maclcore.evaluation.retrieval import METRICS
from maclcore.experiments import elsewhere
from maclcore.experiments.stability import NAMES
from maclcore.experiments.winner import PROPOSED, WEIGHTS

LOSS = PROPOSED["frozen"]

BASE = {"profile": "frozen", "weights": WEIGHTS, "image_size": 64, "train_share": 1.0}
CONDITIONS = (
    {"archive": "dlrsd"}, {"archive": "dlrsd", "image_size": 32},
    {"archive": "dlrsd", "train_share": 0.5}, {"archive": "ml_aid"}, {"archive": "ucm_scenes"},
)  # fmt: skip


def rows_of(seeds=(0, 1)):
    rows = [
        {**BASE, **condition, "seed": seed, "split_seed": seed, "loss": loss}
        for condition in CONDITIONS
        for seed in seeds
        for loss in NAMES
    ]
    return pd.DataFrame(rows, index=[f"run{i}" for i in range(len(rows))])


@pytest.fixture
def stored(monkeypatch):
    def hold(rows, lifts):
        """`lifts`: by so much a loss is above the others in a metric, where the rows are so."""

        def per_query(part):
            pairs = sorted({(row.split_seed, row.seed) for row in part.itertuples()})
            index = pd.MultiIndex.from_tuples(
                [(*pair, f"q{n}") for pair in pairs for n in range(12)],
                names=["split_seed", "seed", "query"],
            )
            columns = pd.MultiIndex.from_product([METRICS, NAMES], names=["metric", "loss"])
            noise = np.random.default_rng(0).normal(0, 1e-3, (len(index), len(columns)))
            table = pd.DataFrame(0.5 + noise, index, columns)
            for (condition, loss, metrics), lift in lifts.items():
                if part["condition"].iloc[0] == condition:
                    for metric in metrics:
                        table[metric, loss] += lift
            return table

        monkeypatch.setattr(elsewhere, "collect", lambda: rows)
        monkeypatch.setattr(elsewhere, "of_experiments", lambda names, rows: rows)
        monkeypatch.setattr(elsewhere, "per_query", per_query)
        return elsewhere.against_best(elsewhere.conditions("frozen"), LOSS)

    return hold


def test_conditions_are_named_and_those_that_lack_a_loss_left_out():
    rows = rows_of()
    lacking = (rows["image_size"] == 32) & (rows["seed"] == 1) & (rows["loss"] == "oml")
    named = elsewhere.named(rows[~lacking])
    found = named.groupby(["where", "condition"], sort=False)["seed"].unique().map(list)
    assert found.to_dict() == {
        ("DLRSD*", "as chosen"): [0, 1], ("DLRSD*", "32 px"): [0],
        ("DLRSD*", "half the images"): [0, 1], (elsewhere.OTHER, "one label"): [0, 1],
    }  # fmt: skip
    assert named.index.isin(rows.index).all()


def test_the_rival_is_the_best_other_of_each_condition_and_group(stored):
    strict, loose = METRICS[2:], METRICS[:2]
    lifts = {
        ("32 px", LOSS, METRICS): 0.05,
        ("32 px", "oml", strict): 0.02,
        ("32 px", "wg_macl", loose): 0.06,
        ("one label", "lmsc", METRICS): 0.03,
    }
    gaps = stored(rows_of(), lifts)
    five, two = elsewhere.GROUPS
    assert gaps.loc[("DLRSD*", five, "32 px"), "rival"] == "oml"
    assert gaps.loc[("DLRSD*", five, "32 px"), "difference"] == pytest.approx(0.03, abs=2e-3)
    assert gaps.loc[("DLRSD*", two, "32 px"), "difference"] == pytest.approx(-0.01, abs=2e-3)
    order = ["as chosen", "32 px", "half the images"]
    assert gaps.loc["DLRSD*"].loc[five].index.tolist() == order
    assert (gaps["low"] <= gaps["difference"]).all() and (gaps["splits"] == 2).all()
    short, told = elsewhere.said(gaps, "frozen")
    assert f"in the {five} in 1 of 4 and in the {two} in none of 4" in short
    assert f"{five}, {elsewhere.OTHER}, one label: −3.0" in told and "to LMSC" in told
    assert told.endswith("Heads alone, two splits a condition.")
    assert elsewhere.said(gaps, "quick")[1].endswith("Whole networks, two splits a condition.")
    assert told.count(" to ") == 3 and f"{two}, DLRSD\\*, 32 px: −" in told


def test_a_store_without_such_rows_has_nothing_to_say(stored):
    assert stored(rows_of().iloc[:0], {}).empty
    assert stored(rows_of().assign(profile="quick"), {}).empty
