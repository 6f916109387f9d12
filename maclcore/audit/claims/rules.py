"""Verdicts, claims and the ledger of them, and what the checks of every topic share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pandas as pd

from maclcore.audit.evidence import ARCHIVES, Evidence, Lead, lead, method, told
from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import PAPER, method_label

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
CONTRADICTED = "contradicted by the paper's own tables"
NOT_TESTABLE, UNDECIDED = "not testable", "undecided"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, CONTRADICTED, NOT_TESTABLE, UNDECIDED)

FAMILY = ("macl", "wg_macl")
BASELINES = tuple(name for name in PAPER if name not in FAMILY)
SIM, NDCG_SIM, EASY, MEDIUM, HARD, NDCG, WAP = METRICS
#: MACL as printed, and its other reading
MACL = ("macl", method("macl", temperature=0.3))


class Finding(NamedTuple):
    """`paper` and `ours` are numbers, `why` a sentence or two, `runs` ids (none: a computation)."""

    verdict: str
    paper: str
    ours: str
    why: str
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """Something that the paper says, in our words; "quotes" are its own."""

    id: str
    place: str
    text: str
    check: Callable[[Evidence], Finding]


CLAIMS: list[Claim] = []


def claim(id: str, place: str, **given: str) -> Callable:
    """Enter a claim into CLAIMS: its text is the docstring of the function that judges it, with the
    names of what is `given` filled in."""

    def enter(check: Callable) -> Callable:
        names = {key: ARCHIVES.get(value) or method_label(value) for key, value in given.items()}
        CLAIMS.append(Claim(id, place, check.__doc__.format(**names), partial(check, **given)))
        return check

    return enter


def ledger(evidence: Evidence | None = None) -> pd.DataFrame:
    """A row a claim: id, place, claim, verdict, paper, ours, why, runs; by default from the store.

    ValueError for a check that returns no verdict of `VERDICTS`.
    """
    evidence = Evidence.load() if evidence is None else evidence
    rows = []
    for one in CLAIMS:
        found = one.check(evidence)
        if found.verdict not in VERDICTS:
            raise ValueError(f"claim {one.id}: {found.verdict!r} is not one of {VERDICTS}")
        runs = " ".join(sorted(set(found.runs)))
        about = {"id": one.id, "place": one.place, "claim": one.text}
        rows.append({**about, **found._asdict(), "runs": runs})
    return pd.DataFrame(rows)


def judge(leads: Sequence[Lead], most: bool = False) -> str:
    """Rule 3, for leads all of which, or most, are claimed to be ahead."""
    status = [one.status for one in leads]
    needed = len(leads) // 2 + 1 if most else len(leads)
    if leads and status.count("ahead") >= needed:
        return REPRODUCED
    return UNDECIDED if len(leads) - status.count("behind") >= needed else NOT_REPRODUCED


def from_runs(paper: str, readings: Iterable[Sequence[Lead]], most: bool = False) -> Finding:
    """Rule 3 over the readings of a method, the printed one first; the others are told where the
    store knows something of them."""
    judged = [(judge(leads, most), leads) for leads in readings]
    verdict = REPRODUCED if REPRODUCED in [v for v, _ in judged] else judged[0][0]
    known = [leads for _, leads in judged if any(one.status != "missing" for one in leads)]
    shown = known or [judged[0][1]]
    run = [one for leads in shown for one in leads if one.gaps.size]
    if not run:
        return Finding(UNDECIDED, paper, "", "No such runs are stored.")
    setting = ", ".join(dict.fromkeys(one.protocol for one in run))
    ours, counts = (" | ".join(map(words, shown)) for words in (told, _counts))
    why = f"{setting}. {counts}."
    return Finding(verdict, paper, ours, why, tuple(i for one in run for i in one.runs))


def _counts(leads: Sequence[Lead]) -> str:
    status = [one.status for one in leads]
    words = {"ahead": "ahead", "behind": "behind", "even": "even", "missing": "short of runs"}
    counts = [f"{text} in {status.count(word)}" for word, text in words.items() if word in status]
    title = " or ".join(dict.fromkeys(one.title for one in leads))
    return f"{title} {', '.join(counts)} of {len(leads)}"


def leads_of(
    runs: pd.DataFrame, archive: str, name: str, rivals: Sequence[str], metrics: Sequence[str]
) -> list[Lead]:
    return [lead(runs, archive, name, rivals, metric) for metric in metrics]


def quote(table: pd.DataFrame, methods: Iterable[str], metrics: Iterable[str]) -> str:
    """Printed values: "Easy@…: MACL 28.95, LBase 30.36; …"."""
    return "; ".join(
        f"{metric}: " + ", ".join(f"{method_label(m)} {table.loc[m, metric]:.2f}" for m in methods)
        for metric in metrics
    )


def spoken(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{ARCHIVES[a]} {value:{form}}" for a, value in values.items())
