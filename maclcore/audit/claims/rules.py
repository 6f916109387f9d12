"""Verdicts, claims and the ledger of them, and what the checks of every topic share."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pandas as pd

from maclcore.audit.evidence import ARCHIVES, Evidence, method
from maclcore.audit.leads import Lead, told
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


#: what a claim is about, by the file that judges it, in the order of the ledger
TOPICS = {
    "tables": "Who leads",
    "formulas": "Formulas, labels",
    "ablations": "Parts, settings",
    "untested": "Words alone",
    "companions": "",  # those are by their papers
}
#: settings of claims that no run decides
PRINTED, FORMULA, LABELS = "printed", "formula", "labels"
COLUMNS = (
    "id", "source", "topic", "place", "claim", "verdict", "number", "setting", "paper", "ours",
    "why", "protocol", "runs",
)  # fmt: skip
_MINUS = re.compile(r"(?<![\w.])-(?=[\d.])")


class Finding(NamedTuple):
    """`paper` and `ours` are numbers, `why` a sentence or two, `runs` ids (none: a computation);
    `number` the one that decides, `setting` in one or two words, `protocol` in a few more."""

    verdict: str
    paper: str
    ours: str
    why: str
    runs: tuple[str, ...] = ()
    number: str = ""
    setting: str = ""
    protocol: str = ""


@dataclass(frozen=True)
class Claim:
    """Something that a paper says, in our words; "quotes" are its own."""

    id: str
    place: str
    text: str
    check: Callable[[Evidence], Finding]
    topic: str = ""

    @property
    def source(self) -> str:
        """Which paper says it."""
        first = self.place.split(",")[0]
        return first if first in ("SoftCon", "AdaGC") else "MACL"


CLAIMS: list[Claim] = []


def claim(id: str, place: str, **given: str) -> Callable:
    """Enter a claim into CLAIMS: its text is the docstring of the function that judges it, with the
    names of what is `given` filled in."""

    def enter(check: Callable) -> Callable:
        names = {key: ARCHIVES.get(value) or method_label(value) for key, value in given.items()}
        text = " ".join(check.__doc__.format(**names).split())
        topic = TOPICS.get(check.__module__.rpartition(".")[2], "")
        CLAIMS.append(Claim(id, place, text, partial(check, **given), topic))
        return check

    return enter


def ledger(evidence: Evidence | None = None) -> pd.DataFrame:
    """A row a claim, by default from the store.

    id, place, claim      what is said, and where
    source, topic         which paper says it, and of what
    verdict               one of `VERDICTS`
    number, setting       the one number that decides, and of what: "printed", "formula", "labels",
                          or a profile and archives' letters, such as "quick D"
    paper, ours, why      numbers, and a sentence or two
    protocol, runs        the setting in words, and the ids of its runs

    ValueError for a check that returns no verdict of `VERDICTS`.
    """
    evidence = Evidence.load() if evidence is None else evidence
    rows = []
    for one in CLAIMS:
        found = one.check(evidence)
        if found.verdict not in VERDICTS:
            raise ValueError(f"claim {one.id}: {found.verdict!r} is not one of {VERDICTS}")
        about = {"id": one.id, "source": one.source, "topic": one.topic or one.source}
        said = {name: _MINUS.sub("−", text) for name, text in found._asdict().items()
                if name != "runs"}  # fmt: skip
        runs = " ".join(sorted(set(found.runs)))
        rows.append({**about, "place": one.place, "claim": one.text, **said, "runs": runs})
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
    ours, counts = (sep.join(map(words, shown)) for sep, words in ((" | ", told), ("; ", _counts)))
    why = f"{counts}." + " Intervals are over seeds alone." * any(one.by_seed for one in run)
    deciding = [[one for one in leads if one.gaps.size] for v, leads in judged if v == verdict]
    return Finding(
        verdict, paper, ours, why, tuple(i for one in run for i in one.runs),
        number=_least(deciding[0] or run),
        setting=codes(run), protocol=", ".join(dict.fromkeys(one.protocol for one in run)),
    )  # fmt: skip


def _least(leads: Sequence[Lead]) -> str:
    """The gap by which a method is least ahead, or most behind: "−24.6 mAP@0.6"."""
    least = min(leads, key=lambda one: one.table["mean"].min())
    return f"{least.table['mean'].min():+.1f} {least.metric}"


def codes(leads: Sequence[Lead]) -> str:
    """Such as "head D M U", or "head D, quick D"."""
    archives: dict[str, list[str]] = {}
    for code in dict.fromkeys(one.code for one in leads):
        kind, _, archive = code.partition(" ")
        archives.setdefault(kind, []).append(archive)
    return ", ".join(" ".join([kind, *names]) for kind, names in archives.items())


def _counts(leads: Sequence[Lead]) -> str:
    """Such as "MACL is ahead in 1, behind in 4 and even in 2 of 7 quantities"."""
    status = [one.status for one in leads]
    words = {"ahead": "ahead", "behind": "behind", "even": "even", "missing": "short of runs"}
    counts = [f"{text} in {status.count(word)}" for word, text in words.items() if word in status]
    said = " and ".join([", ".join(counts[:-1]), counts[-1]] if counts[1:] else counts)
    title = " or ".join(dict.fromkeys(one.title for one in leads))
    things = "quantity" if len(leads) == 1 else "quantities"
    return f"{title} is {said} of {len(leads)} {things}"


def quote(table: pd.DataFrame, methods: Iterable[str], metrics: Iterable[str]) -> str:
    """Printed values: "Easy@…: MACL 28.95, LBase 30.36; …"."""
    return "; ".join(
        f"{metric}: " + ", ".join(f"{method_label(m)} {table.loc[m, metric]:.2f}" for m in methods)
        for metric in metrics
    )


def spoken(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{ARCHIVES[a]} {value:{form}}" for a, value in values.items())
