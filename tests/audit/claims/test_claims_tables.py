"""Claims on Tables 4 to 6, on evidence that says otherwise, and their numbers by other roads."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up import CHECKS, runs_of

from maclcore.audit.claims import CONTRADICTED, NOT_REPRODUCED, REPRODUCED, UNDECIDED
from maclcore.audit.evidence import ARCHIVES
from maclcore.evaluation.reference import chance
from maclcore.losses import PAPER

#: verdicts by where MACL and its variant stand among all others
RUN_CLAIMS = "lead-dlrsd dlrsd-wg-cosine dlrsd-macl-hard discriminative over-mulsupcon rare-classes"


@pytest.mark.parametrize(("level", "verdict"), [(0.9, REPRODUCED), (0.1, NOT_REPRODUCED)])
def test_verdicts_follow_the_runs(empty, level, verdict):
    wiggle = np.array([0.0, 0.001, 0.002])
    others = {name: 0.5 - wiggle for name in (*PAPER, "frozen", "chance")}
    runs = runs_of({**others, "macl": level + wiggle, "wg_macl": level + wiggle})
    found = {
        name: CHECKS[name](replace(empty, runs=runs, rare=runs)) for name in RUN_CLAIMS.split()
    }
    assert {name: f.verdict for name, f in found.items()} == dict.fromkeys(found, verdict)
    for name, f in found.items():
        assert "64 px, 25 epochs" in f.protocol and "n = 3" in f.ours, name
        assert set(f.runs) <= set(runs.index) and len(f.runs) >= 6
    one_seed = runs[runs["seed"] == 0]
    for name in found:
        single = CHECKS[name](replace(empty, runs=one_seed, rare=one_seed))
        assert single.verdict == UNDECIDED and "n = 1" in single.ours


def test_the_other_reading_of_macl_counts(empty):
    runs = runs_of(
        {
            "macl": [0.1, 0.1, 0.11],
            "mulsupcon": [0.5, 0.5, 0.51],
            "macl temperature=0.3": [0.8, 0.8, 0.81],
        }
    )
    found = CHECKS["over-mulsupcon"](replace(empty, runs=runs))
    assert found.verdict == REPRODUCED and "MACL (τ = 0.3) − " in found.ours


@pytest.mark.parametrize("name", ["consistent", "ml_aid-slightly"])
def test_tables_in_which_macl_leads_contradict_nothing(empty, name):
    assert CHECKS[name](empty).verdict == CONTRADICTED
    tables = {a: t.copy() for a, t in empty.tables.items()}
    for table in tables.values():
        table.loc["wg_macl"], table.loc["macl"] = 98.0, 99.0
    if name == "ml_aid-slightly":
        tables["ml_aid"].loc["oml", "nDCG@100"] = 99.5
    assert CHECKS[name](replace(empty, tables=tables)).verdict == UNDECIDED


def test_other_contradictions_come_from_the_tables(empty):
    gain = empty.pretraining.copy()
    gain.loc[gain.index.get_level_values("pretrained") == "Yes"] = 99.0
    assert CHECKS["pretraining"](empty).verdict == CONTRADICTED
    assert CHECKS["pretraining"](replace(empty, pretraining=gain)).verdict == UNDECIDED
    assert CHECKS["splits"](empty).verdict == REPRODUCED
    halves = empty.splits.assign(train=[1000, 2100, 3458])
    assert CHECKS["splits"](replace(empty, splits=halves)).verdict == CONTRADICTED
    tables = {a: t.copy() for a, t in empty.tables.items()}
    for table in tables.values():
        table.loc["wg_macl", ["mAP@0.4", "mAP@0.6", "mAP@0.8"]] = [99.0, 50.0, 1.0]
    assert CHECKS["complementary"](empty).verdict == CONTRADICTED
    assert CHECKS["complementary"](replace(empty, tables=tables)).verdict == UNDECIDED
    above = {**tables, "dlrsd": tables["dlrsd"] + 10}
    assert CHECKS["dlrsd-robust-thresholds"](empty).verdict == NOT_REPRODUCED
    found = CHECKS["dlrsd-robust-thresholds"](replace(empty, tables=above))
    assert found.verdict == REPRODUCED
    above["whdld"] = tables["whdld"].assign(**{"mAP(sim)@5000": 97.0})
    assert CHECKS["whdld-level"](replace(empty, tables=above)).verdict == REPRODUCED


@pytest.mark.parametrize(("level", "verdict"), [(0.9, REPRODUCED), (0.1, NOT_REPRODUCED)])
def test_the_majority_is_counted_in_pairs(empty, level, verdict):
    wiggle = np.array([0.0, 0.001, 0.002])
    scores = {name: 0.5 - wiggle for name in PAPER} | {"macl": level + wiggle}
    runs = [runs_of(scores, archive) for archive in ARCHIVES]
    found = CHECKS["majority"](replace(empty, runs=pd.concat(runs)))
    assert found.verdict == verdict
    assert ("DLRSD 77 ahead, 0 behind" if level > 0.5 else "DLRSD 0 ahead, 77 behind") in found.ours
    # a failure on one archive is one, and success on one is not yet that on all
    alone = CHECKS["majority"](replace(empty, runs=runs[0]))
    assert alone.verdict == (UNDECIDED if level > 0.5 else NOT_REPRODUCED)
    tables = {a: t.copy() for a, t in empty.tables.items()}
    tables["dlrsd"].loc["macl"] = 0.0
    assert CHECKS["majority"](replace(empty, tables=tables)).verdict == CONTRADICTED


def test_the_bound_on_chance_holds_for_any_labels_with_these_counts(stored):
    """500 images with WHDLD's shares of labels, drawn in several ways."""
    share = (stored.counts["whdld"].dropna() / 4940).to_numpy()
    top, least = share.max(), share.min()
    for seed in range(5):
        generator = np.random.default_rng(seed)
        common = generator.random((500, 1)) if seed % 2 else generator.random((500, 6))
        y = (common + generator.normal(0, 0.01, (500, 6))) < share
        y[~y.any(axis=1), 0] = True
        counts = y.mean(axis=0)
        bound = counts.max() ** 2 + (1 - counts.max()) * counts.min()
        assert chance(y).summary()["mAP(sim)@5000"] > bound - 2 / 500
    found = CHECKS["whdld-level"](stored)
    assert f"at least {100 * (top**2 + (1 - top) * least):.1f}" in found.ours


def test_ranks_in_the_texts(empty):
    assert CHECKS["dlrsd-nearly-all"](empty).paper == (
        "MACL ranks 4/4/13/1/1/9/3; Wg-MACL ranks 1/1/12/12/8/1/1"
    )
    assert "MACL 11, MACL or Wg-MACL 18" in CHECKS["consistent"](empty).paper
    near = CHECKS["whdld-near-highest"](empty).why
    assert "9, 10, 6 of 13" in near and "0.69, 1.23, 0.95 points" in near
    assert "DLRSD 54, ML-AID 66, WHDLD 58" in CHECKS["majority"](empty).paper
    assert "in 6 of 9 printed pairs" in CHECKS["ndcg-and-hard"](empty).why
    assert "by 0.09 and 10.73 points" in CHECKS["ml_aid-slightly"](empty).why
