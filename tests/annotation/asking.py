"""What tests of the annotation share: labels, a line, an answer."""

import json
from dataclasses import asdict

from maclcore.annotation.answers import Line

LABELS = ("water", "trees", "sand", "cars", "dock", "field")
ONE = Line("ada", "one", 0, "labels", "img1", labels=("water",), candidates=("water", "sand"))


def encoded(line):
    """A line as it stands in the file."""
    return json.dumps(asdict(line), ensure_ascii=False).encode() + b"\n"


def answer(session, **given):
    """Answer the question that the session has."""
    given = {"turn": session.state()["turn"], "seconds": 1.5, "batches": 1, **given}
    return session.answer(given)
