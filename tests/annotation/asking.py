"""What tests of the annotation share: labels, a line, an answer, and a client."""

import http.client
import json
from dataclasses import asdict
from urllib.parse import urlsplit

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


class Client:
    """As the page asks, unless other headers are given."""

    def __init__(self, address):
        self.host = urlsplit(address).netloc
        self.headers = {"Origin": f"http://{self.host}", "Content-Type": "application/json"}

    def get(self, path, **headers):
        return self._ask("GET", path, None, headers)

    def post(self, path, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self._ask("POST", path, body, {**self.headers, **headers})

    def _ask(self, method, path, body, headers):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            headers = {k.replace("_", "-"): v for k, v in headers.items() if v is not None}
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        kind = reply.headers["Content-Type"]
        return reply.status, json.loads(content) if "json" in kind else content, reply.headers

    def answer(self, kind="labels", **given):
        _, state, _ = self.get("/state")
        labels = state["task"]["candidates"][:1] if kind == "labels" else []
        content = {"turn": state["turn"], "answer": kind, "labels": labels, "batches": 1}
        return self.post("/answer", {**content, **given})
