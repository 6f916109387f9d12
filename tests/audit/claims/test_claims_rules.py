"""Verdicts by rule, and the ledger as a whole: its file, and stores that lack or add something."""

import pandas as pd
import pytest

from maclcore import paths
from maclcore.__main__ import main
from maclcore.audit import claims
from maclcore.audit.claims import CLAIMS, NOT_REPRODUCED, REPRODUCED, UNDECIDED, VERDICTS, ledger
from maclcore.audit.claims.rules import COLUMNS, TOPICS, from_runs, judge
from maclcore.audit.leads import Lead


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
    assert (
        ("MACL − LBase, n = " in found.ours)
        and found.protocol == "ours"
        and found.why.startswith("MACL is ")
    )


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


def test_the_command_writes_the_ledger(own_store, capsys):
    assert main(["claims"]) == 0
    out = capsys.readouterr().out
    table = pd.read_csv(own_store / "results" / "claims.csv", keep_default_na=False)
    assert len(table) == len(CLAIMS) and "undecided" in out
    assert list(table) == list(COLUMNS)
    assert main(["claims", "--output", str(own_store / "other.csv")]) == 0
    assert (own_store / "other.csv").is_file()


def test_the_ledger_is_complete_and_up_to_date(stored):
    table = ledger(stored)
    assert 30 <= len(table) <= 60 and table["id"].is_unique
    assert (table[["place", "claim", "paper", "why"]].map(len) > 1).all(axis=None)
    assert not table.map(lambda text: "nan" in text or "{" in text).any(axis=None)
    known = {*stored.runs.index, *stored.companions.index}
    assert all(set(ids.split()) <= known for ids in table["runs"])
    # a verdict from a comparison of runs carries its protocol
    compared = table["ours"].str.contains("n = ")
    assert table.loc[compared, "protocol"].str.contains(" px, ").all()
    # and whatever is reproduced says by what; a claim without a number cannot be tested
    assert table.loc[table["verdict"] == REPRODUCED, "ours"].map(len).all()
    judged = table["verdict"].isin([REPRODUCED, NOT_REPRODUCED, claims.CONTRADICTED])
    assert table.loc[judged, ["number", "setting"]].map(len).all(axis=None)
    assert set(table["topic"]) <= {*TOPICS.values(), "SoftCon", "AdaGC"} - {""}
    assert not table["ours"].str.contains(r"(?<![\w.])-\d").any()  # a minus is a minus
    file = paths.ROOT / "results" / "claims.csv"
    written = pd.read_csv(file, keep_default_na=False)
    assert written.equals(table), "the store has changed: python -m maclcore claims"


def test_a_check_without_a_verdict_is_an_error(monkeypatch, empty):
    bad = claims.Claim("bad", "§0", "", lambda e: claims.Finding("maybe", "", "", ""))
    monkeypatch.setattr(claims.rules, "CLAIMS", [bad])
    with pytest.raises(ValueError, match="bad: 'maybe'"):
        ledger(empty)
