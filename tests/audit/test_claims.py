"""The ledger: its rules on made-up evidence, its numbers against other roads, its file."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import ttest_1samp

from maclcore import Config, LabelStatistics, build_loss, paths, train
from maclcore.__main__ import main
from maclcore.audit import claims, evidence
from maclcore.audit.claims import (
    CLAIMS,
    CONTRADICTED,
    NOT_REPRODUCED,
    REPRODUCED,
    UNDECIDED,
    VERDICTS,
    from_runs,
    judge,
    ledger,
)
from maclcore.audit.evidence import ARCHIVES, PROTOCOL, Evidence, Lead, describe, lead, method, told
from maclcore.data import load_archive, make_split
from maclcore.evaluation.reference import chance
from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import LOSSES

QUICK = dict(zip(PROTOCOL, ("quick", 64, 25, "some", "0"), strict=True))
CHECKS = {claim.id: claim.check for claim in CLAIMS}


def runs_of(scores, archive="dlrsd", **protocol):
    """Rows as of `comparable_runs` from {method: values by seed}, the same for all metrics."""
    rows = [
        {
            "archive": archive, "archive: title": archive, "method": name, "seed": seed,
            **QUICK, **protocol, **dict.fromkeys(METRICS, value),
            "mean_cosine": 0.5, "log seconds": value,
        }
        for name, values in scores.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table.index = [f"{r.method} {r.archive} {r.epochs} {r.seed}" for r in table.itertuples()]
    return table


@pytest.fixture(scope="module")
def stored():
    return Evidence.load()


@pytest.fixture
def empty(stored):
    runs = runs_of({"oracle": [1.0]})
    return replace(stored, runs=runs, rare=runs)


# --- rule 3 ---------------------------------------------------------------------------------------


def test_the_interval_is_that_of_the_paired_t_test():
    a, b = np.array([0.8, 0.7, 0.9, 0.85]), np.array([0.7, 0.65, 0.7, 0.8])
    one = lead(runs_of({"macl": a, "lbase": b}), "dlrsd", "macl", ["lbase"], "nDCG@100")
    expected = ttest_1samp(100 * (a - b), 0).confidence_interval(0.95)
    mean, low, high, n = one.table.loc["lbase"]
    assert mean == pytest.approx(100 * (a - b).mean()) and n == 4
    assert (low, high) == pytest.approx((expected.low, expected.high))
    words = f"nDCG@100 {mean:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    assert told([one]) == f"MACL − LBase, n = 4: {words}"


@pytest.mark.parametrize(
    ("rivals", "status"),
    [
        ({"lbase": [0.5, 0.5, 0.51]}, "ahead"),
        ({"lbase": [0.9, 0.9, 0.91]}, "behind"),
        ({"lbase": [0.9, 0.5, 0.72]}, "even"),
        ({"lbase": [0.5, 0.5]}, "missing"),  # two seeds decide nothing
        ({"lbase": [0.5, 0.5, 0.51], "oml": [0.9, 0.9, 0.91]}, "behind"),
        ({"lbase": [0.5, 0.5, 0.51], "oml": [0.9, 0.5, 0.72]}, "even"),
        ({"lbase": [0.5, 0.5, 0.51], "oml": []}, "missing"),
        ({"lbase": [0.9, 0.9, 0.91], "oml": []}, "behind"),  # whatever the other is
        ({"lbase": []}, "missing"),
    ],
)
def test_status(rivals, status):
    runs = runs_of({"macl": [0.7, 0.71, 0.7], **rivals})
    one = lead(runs, "dlrsd", "macl", list(rivals), "mAP@0.4")
    assert one.status == status
    assert lead(runs, "ml_aid", "macl", list(rivals), "mAP@0.4").status == "missing"


def test_runs_are_compared_within_one_protocol():
    few = runs_of({"macl": [0.1, 0.2, 0.3], "lbase": [0.0]}, epochs=100)
    many = runs_of({"macl": [0.7, 0.7, 0.71], "lbase": [0.6, 0.6, 0.6]})
    runs = pd.concat([few, many])
    one = lead(runs, "dlrsd", "macl", ["lbase"], "mAP@0.4")
    assert one.table.loc["lbase", "mean"] == pytest.approx(10 + 1 / 3)
    assert "25 epochs" in one.protocol and "some" in one.protocol
    assert sorted(one.runs) == sorted(many.index)
    longer = runs_of({"macl": [0.5, 0.5, 0.5], "lbase": [0.6, 0.6, 0.61]}, epochs=50)
    one = lead(pd.concat([runs, longer]), "dlrsd", "macl", ["lbase"], "mAP@0.4")
    assert one.status == "behind" and "50 epochs" in one.protocol
    head = runs_of({"macl": [0.9] * 3, "lbase": [0.6] * 3}, epochs=100, profile="frozen")
    one = lead(pd.concat([longer, head]), "dlrsd", "macl", ["lbase"], "mAP@0.4")
    assert one.status == "behind", "of the head alone only where there is nothing else"
    one = lead(pd.concat([few, head]), "dlrsd", "macl", ["lbase"], "mAP@0.4")
    assert one.status == "ahead" and "only the head trained" in one.protocol


def lead_with(status):
    values = {"ahead": [1, 1.1, 1], "behind": [-1, -1.1, -1], "even": [-1, 2, 0], "missing": [1]}
    return Lead("macl", "nDCG@100", ["lbase"], pd.DataFrame({"lbase": values[status]}), "ours")


@pytest.mark.parametrize(
    ("status", "every", "most"),
    [
        ("ahead ahead ahead", REPRODUCED, REPRODUCED),
        ("ahead ahead even", UNDECIDED, REPRODUCED),
        ("ahead even even", UNDECIDED, UNDECIDED),
        ("ahead even behind", NOT_REPRODUCED, UNDECIDED),
        ("ahead ahead behind", NOT_REPRODUCED, REPRODUCED),
        ("ahead ahead missing", UNDECIDED, REPRODUCED),
        ("ahead missing behind", NOT_REPRODUCED, UNDECIDED),
        ("behind behind even", NOT_REPRODUCED, NOT_REPRODUCED),
        ("missing missing missing", UNDECIDED, UNDECIDED),
        ("missing behind behind", NOT_REPRODUCED, NOT_REPRODUCED),
    ],
)
def test_verdict_by_rule(status, every, most):
    leads = [lead_with(word) for word in status.split()]
    assert judge(leads) == every and judge(leads, most=True) == most


@pytest.mark.parametrize(
    ("printed", "other", "verdict"),
    [
        ("behind", "ahead", REPRODUCED),  # either reading will do
        ("ahead", "behind", REPRODUCED),
        ("behind", "behind", NOT_REPRODUCED),
        ("behind", "missing", NOT_REPRODUCED),
        ("missing", "behind", UNDECIDED),
        ("missing", "missing", UNDECIDED),
    ],
)
def test_readings(printed, other, verdict):
    found = from_runs("", [[lead_with(printed)], [lead_with(other)]])
    assert found.verdict == verdict
    assert ("MACL − LBase, n = " in found.ours) and found.why.startswith("ours. MACL ")


def test_methods_have_one_spelling_and_a_name():
    assert method("macl", temperature=0.3, alpha=0.0) == "macl alpha=0 temperature=0.3"
    assert method("macl", alpha=-1.0) == "macl alpha=-1"
    assert describe("macl alpha=-0.5 temperature=0.3") == "MACL (α = −0.5, τ = 0.3)"
    assert describe("macl reweight=False") == "MACL (w = 1)"
    assert describe("frozen") == "Frozen"


# --- the claims, on evidence that says otherwise --------------------------------------------------


def test_without_runs_nothing_is_claimed_of_them(empty):
    table = ledger(empty).set_index("id")
    assert set(table["verdict"]) <= set(VERDICTS)
    for name in (
        "lead-dlrsd dlrsd-wg-cosine dlrsd-macl-hard level-dlrsd discriminative over-mulsupcon "
        "rare-classes cost best-alpha partial-overlap temperature-rises learning-rate-wg "
        "pretraining-gap lead-whdld majority ndcg-and-hard ml_aid-uniform-thresholds no-collapse"
    ).split():
        assert table.loc[name, "verdict"] == UNDECIDED and not table.loc[name, "runs"]
    assert not table["runs"].any()


#: verdicts by where MACL and its variant stand among all others
RUN_CLAIMS = "lead-dlrsd dlrsd-wg-cosine dlrsd-macl-hard discriminative over-mulsupcon rare-classes"


@pytest.mark.parametrize(("level", "verdict"), [(0.9, REPRODUCED), (0.1, NOT_REPRODUCED)])
def test_verdicts_follow_the_runs(empty, level, verdict):
    wiggle = np.array([0.0, 0.001, 0.002])
    others = {name: 0.5 - wiggle for name in (*LOSSES, "frozen", "chance")}
    runs = runs_of({**others, "macl": level + wiggle, "wg_macl": level + wiggle})
    found = {
        name: CHECKS[name](replace(empty, runs=runs, rare=runs)) for name in RUN_CLAIMS.split()
    }
    assert {name: f.verdict for name, f in found.items()} == dict.fromkeys(found, verdict)
    for name, f in found.items():
        assert "64 px, 25 epochs" in f.why and "n = 3" in f.ours, name
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


def test_alpha_and_the_weights_by_runs(empty):
    values = {a: [0.5 + a / 100] * 3 for a in (-1.0, -0.5, 0.0, 0.5)}
    given = {"temperature": 0.3, "reweight": False}
    scores = {method("macl", alpha=a, **given): v for a, v in values.items()}
    scores[method("macl", **given)] = [0.6, 0.6, 0.6]
    assert CHECKS["best-alpha"](replace(empty, runs=runs_of(scores))).verdict == REPRODUCED
    printed = {"beta": 1.0, "reweight": False}
    scores = {method("macl", alpha=1.0, **printed): [0.7] * 3, method("macl", **printed): [0.6] * 3}
    assert CHECKS["best-alpha"](replace(empty, runs=runs_of(scores))).verdict == NOT_REPRODUCED
    for high, verdict in ((0.6, REPRODUCED), (0.4, NOT_REPRODUCED)):
        runs = runs_of({"macl alpha=0": [0.5] * 3, "macl": [high] * 3})
        assert CHECKS["partial-overlap"](replace(empty, runs=runs)).verdict == verdict
    quoted = empty.quoted.replace({"value": {69.9: 71.0}})  # the paper's other road
    without = runs_of(
        {"macl temperature=0.3": [0.6, 0.6, 0.6], "macl": [0.6, 0.6, 0.6],
         "macl reweight=False": [0.5, 0.5, 0.5]}
    )  # fmt: skip
    assert CHECKS["both-needed"](replace(empty, runs=without)).verdict == CONTRADICTED
    found = CHECKS["both-needed"](replace(empty, runs=without, quoted=quoted))
    assert found.verdict == REPRODUCED


def test_runs_on_another_copy_of_an_archive_are_not_paired(empty):
    here = runs_of({"macl": [0.9] * 3})
    there = runs_of({"mulsupcon": [0.5] * 3}, **{"archive: fingerprint": "1"})
    one = lead(pd.concat([here, there]), "dlrsd", "macl", ["mulsupcon"], "nDCG@100")
    assert one.status == "missing"


def test_cost_is_a_matter_of_equivalence(empty):
    def verdict(ours, theirs):
        runs = runs_of({"macl": np.log(ours), "mulsupcon": np.log(theirs)})
        return CHECKS["cost"](replace(empty, runs=runs)).verdict

    assert verdict([100, 110, 105], [100, 108, 107]) == REPRODUCED
    assert verdict([200, 210, 205], [100, 108, 107]) == NOT_REPRODUCED
    assert verdict([100, 300, 20], [100, 108, 107]) == NOT_REPRODUCED  # says nothing
    assert verdict([100], [100]) == UNDECIDED


def test_the_gap_of_pretraining(empty):
    levels = {
        "wg_macl": 0.9, "wg_macl weights=none": 0.5, "macl": 0.8, "macl weights=none": 0.7,
    }  # fmt: skip
    wiggle = np.array([0.0, 0.001, 0.0])
    runs = [runs_of({m: v + wiggle * v for m, v in levels.items()}, a) for a in ARCHIVES]
    found = CHECKS["pretraining-gap"](replace(empty, runs=pd.concat(runs)))
    assert found.verdict == REPRODUCED and "+30.0" in found.ours and len(found.runs) == 36
    assert CHECKS["pretraining-gap"](replace(empty, runs=runs[0])).verdict == UNDECIDED


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
    scores = {name: 0.5 - wiggle for name in LOSSES} | {"macl": level + wiggle}
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


def test_a_collapse_is_read_from_the_runs(empty):
    for cosine, verdict in ((0.5, REPRODUCED), (0.999, NOT_REPRODUCED)):
        runs = runs_of({"macl": [cosine] * 3, "mulsupcon": [0.3] * 3}).assign(mean_cosine=cosine)
        found = CHECKS["no-collapse"](replace(empty, runs=runs))
        assert found.verdict == verdict and f"MACL {cosine:.2f} (n = 3)" in found.ours


def test_label_claims_follow_the_statistics(empty):
    """Each turns with the sign of what was measured."""
    labels = empty.labels.copy()
    quantity = labels.index.get_level_values("quantity")
    labels.loc[quantity == "T, rarest / commonest", "mean"] = 0.9
    labels.loc[quantity == "w, rarest / commonest", "mean"] = 0.9
    labels.loc[quantity == "attraction of rare labels, w", "mean"] = 0.1
    labels.loc[quantity == "rank correlation of J and pull", "mean"] = 0.1
    other = replace(empty, labels=labels)
    for name, before, after in (
        ("beta-amplifies", NOT_REPRODUCED, REPRODUCED),
        ("rare-pairs", REPRODUCED, NOT_REPRODUCED),
        ("rare-influence", REPRODUCED, NOT_REPRODUCED),
        ("overlap-pulls", REPRODUCED, NOT_REPRODUCED),
    ):
        assert CHECKS[name](empty).verdict == before, name
        assert CHECKS[name](other).verdict == after, name


# --- numbers by another road ----------------------------------------------------------------------


def test_numbers_of_the_formula_claims(empty):
    found = {n: CHECKS[n](empty) for n in ("gradient", "special-cases", "equal-treatment")}
    assert {f.verdict for f in found.values()} == {NOT_REPRODUCED}
    assert "below 1e-6" in found["gradient"].why
    assert found["special-cases"].ours.startswith("MulSupCon 0.00, SupCon 0.00, LBase 0.")
    # |P| = 2, 1, 1 for the three labels: (1/2 + 1 + 1) / (1/2)
    ratio = "ratio: SupCon-ANY 1.0, MulSupCon 5.0, Wg-MulSupCon 5.0"
    assert found["equal-treatment"].ours == ratio


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


def real_archives() -> bool:
    folder = Path(os.environ.get("MACL_DATA", ""))
    return all((folder / name / "labels.csv").is_file() for name in ("dlrsd", "ml_aid"))


@pytest.mark.skipif(not real_archives(), reason="MACL_DATA has no DLRSD and ML-AID")
@pytest.mark.parametrize("archive", ["dlrsd", "ml_aid"])
def test_stored_label_statistics_are_those_of_the_archives(archive, stored, monkeypatch):
    y = load_archive(archive, progress=False).labels
    tests = [y[make_split(y, seed).test] for seed in evidence.SPLITS]
    expected = 100 * pd.DataFrame([chance(test).summary() for test in tests]).agg(["mean", "std"]).T
    table = stored.labels.loc[archive]
    got = table.loc[[f"chance {name}" for name in METRICS]].to_numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    monkeypatch.setattr(evidence, "SPLITS", range(2))
    again = evidence.label_statistics([archive]).loc[archive]
    assert list(again.index) == list(table.index)
    assert ((again["mean"] - table["mean"]).abs() <= 3 * table["deviation"] + 1e-3).all()


def test_statistics_of_a_split_by_hand():
    """Two images with {0, 1}, two with {0}, in training: V, w and T of Eqs. 1 to 4 in loops."""
    train = np.array([[1, 1], [1, 1], [1, 0], [1, 0]], dtype=bool).repeat(5, axis=0)
    values = evidence._of_split(train, train)
    w = {2: 1 / np.log(1 + 20), 1: 1 / np.log(1 + 10)}  # both share 0, or both labels
    pull = {0: 0.0, 1: 0.0}
    for i in range(20):
        for p in range(20):
            both = train[i] & train[p]
            for label in np.flatnonzero(both) if i != p else ():
                pull[label] += w[2 if both.sum() == 1 else 1] / (train[:, label].sum() - 1)
    share = 100 * pull[1] / (pull[0] + pull[1])
    assert values["attraction of rare labels, w"] == pytest.approx(share, rel=1e-5)
    assert values["attraction of rare labels, equal pairs"] == pytest.approx(100 / 3)
    assert values["count, commonest / rarest"] == 2
    assert values["w, rarest / commonest"] == pytest.approx(np.log(21) / np.log(11))
    low, high = (np.exp(-1.5) + 0.1 / np.log(1 + n) for n in (20, 10))
    assert values["T, rarest / commonest"] == pytest.approx(high / low)
    # all cosines 1: log Σ exp(1/T) - 1/T, weighted; by the loss itself
    z = np.tile([1.0, 0.0], (20, 1))
    loss = build_loss("macl", LabelStatistics.from_labels(train))
    expected = loss(torch.tensor(z), torch.tensor(train)).item()
    assert values["loss, all cosines 1"] == pytest.approx(expected, rel=1e-5)


# --- files and command line -----------------------------------------------------------------------


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MACL_DATA", str(tmp_path / "data"))
    return tmp_path


def test_only_unchanged_runs_are_compared_and_rare_queries_measured(own_store):
    folder = own_store / "data" / "mine"
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    lines = ["image,often,rare,some"]
    for i in range(40):
        pixels = generator.integers(0, 255, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"img{i:02}.png")
        lines.append(f"img{i:02},1,{int(i % 5 == 0)},{i % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))
    base = Config.from_profile(
        "quick", archive="mine", loss="chance", weights="none", image_size=16
    )
    kept = [base, base.but(seed=1, split_seed=1), base.but(lr=0.01), base.but(epochs=3)]
    left = [base.but(batch_size=8), base.but(seed=2), base.but(profile="smoke")]
    for config in kept + left:
        train(config, progress=False)
    # chance starts from no weights; beside pretrained ones it stands with each of them
    assert evidence.comparable_runs().empty
    for config in (base.but(weights="some"), base.but(loss="oracle", weights="some")):
        train(config, progress=False)
    runs = evidence.comparable_runs()
    assert sorted(runs["method"]) == [
        "chance", "chance lr=0.01 weights=none", "chance weights=none", "chance weights=none",
        "chance weights=none", "oracle",
    ]  # fmt: skip
    assert set(runs["weights"]) == {"some"} and runs["mean_cosine"].isna().all()

    table = evidence.rare_queries(runs)
    labels = load_archive("mine", progress=False)
    test = [labels.names[i] for i in labels.split(0).test]
    rare = [name for name in test if int(name[3:]) % 5 == 0]
    oracle = runs.index[runs["method"] == "oracle"].item()
    assert table.loc[oracle, "queries"] == len(rare) < len(test)
    values = evidence.Run.find(oracle).per_query.loc[rare]
    assert table.loc[oracle, "nDCG@100"] == pytest.approx(values["nDCG@100"].mean())


def test_the_command_writes_the_ledger(own_store, capsys):
    assert main(["claims"]) == 0
    out = capsys.readouterr().out
    table = pd.read_csv(own_store / "results" / "claims.csv", keep_default_na=False)
    assert len(table) == len(CLAIMS) and "undecided" in out
    assert list(table) == ["id", "place", "claim", "verdict", "paper", "ours", "why", "runs"]
    assert main(["claims", "--output", str(own_store / "other.csv")]) == 0
    assert (own_store / "other.csv").is_file()


def test_the_ledger_is_complete_and_up_to_date(stored):
    table = ledger(stored)
    assert 30 <= len(table) <= 50 and table["id"].is_unique
    assert (table[["place", "claim", "paper", "why"]].map(len) > 1).all(axis=None)
    assert not table.map(lambda text: "nan" in text or "{" in text).any(axis=None)
    known = set(stored.runs.index)
    assert all(set(ids.split()) <= known for ids in table["runs"])
    # a verdict from a comparison of runs carries its protocol
    compared = table["ours"].str.contains("n = ")
    assert table.loc[compared, "why"].str.contains(" px, ").all()
    file = paths.ROOT / "results" / "claims.csv"
    written = pd.read_csv(file, keep_default_na=False)
    assert written.equals(table), "the store has changed: python -m maclcore claims"


def test_a_check_without_a_verdict_is_an_error(monkeypatch, empty):
    bad = claims.Claim("bad", "§0", "", lambda e: claims.Finding("maybe", "", "", ""))
    monkeypatch.setattr(claims, "CLAIMS", [bad])
    with pytest.raises(ValueError, match="bad: 'maybe'"):
        ledger(empty)
