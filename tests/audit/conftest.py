"""Evidence as it is stored, and without runs."""

from dataclasses import replace

import pytest
from made_up import runs_of

from maclcore.audit.evidence import Evidence


@pytest.fixture(scope="session")
def stored():
    """What is stored, which no test changes: reading it takes long."""
    return Evidence.load()


@pytest.fixture
def empty(stored):
    runs = runs_of({"oracle": [1.0]})
    return replace(
        stored, runs=runs, rare=runs, companions=stored.companions[:0],
        one_label=stored.one_label[:0],
    )  # fmt: skip


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MACL_DATA", str(tmp_path / "data"))
    return tmp_path
