"""What tests of the annotation share: labels, a line, an answer, and a client."""

import json
from dataclasses import asdict

import page_client

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


class Client(page_client.Client):
    """Answers as the page does."""

    def answer(self, kind="labels", **given):
        _, state, _ = self.get("/state")
        labels = state["task"]["candidates"][:1] if kind == "labels" else []
        content = {"turn": state["turn"], "answer": kind, "labels": labels, "batches": 1}
        return self.post("/answer", {**content, **given})
