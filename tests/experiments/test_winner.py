"""Choosing on splits of their own: what is tried, what wins, and what is frozen."""

import json

import pandas as pd
import pytest

from maclcore import store
from maclcore.evaluation.relevance import METRICS
from maclcore.experiments import winner
from maclcore.losses import LOSSES, PAPER


def trials(rows: list[tuple]) -> pd.DataFrame:
    """(archive, split, loss, setting, value of all metrics)"""
    table = pd.DataFrame(rows, columns=["archive", "split_seed", "loss", "setting", "value"])
    return table.assign(**dict.fromkeys(METRICS, table["value"]))


def test_every_loss_has_as_many_settings():
    assert {len(tried) for tried in winner.TRIALS.values()} == {5}
    assert set(PAPER) | {"softcon"} < set(winner.TRIALS)
    for name, tried in winner.TRIALS.items():
        whole = {winner.written({**LOSSES[name].defaults, **params}) for params in tried}
        assert len(whole) == len(tried)
        assert all(params.keys() <= LOSSES[name].defaults.keys() for params in tried)


def test_choices_are_made_elsewhere_than_judged():
    assert not {*winner.CHOICE} & {*range(100)}
    configs = winner.winner_choice("frozen", "dlrsd")
    assert {c.split_seed for c in configs} == {c.seed for c in configs} == {100}
    assert {c.split_seed for c in winner.winner("quick", "dlrsd", (0, 3))} == {0, 3}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    return tmp_path


def test_the_best_two_of_the_first_split_go_on(results):
    assert winner.finalists() == {}
    assert len(winner.winner_choice("frozen", "a", (101,))) == 5 * len(winner.TRIALS)
    rows = [
        ("a", 100, loss, winner.written(params), float(i == 1) + 0.5 * (i == 3))
        for loss, tried in winner.TRIALS.items()
        for i, params in enumerate(tried)
    ]
    store.write_csv(results / winner.FILE, trials(rows))
    second = winner.winner_choice("frozen", "a", (101, 104))
    assert len(second) == 2 * 2 * len(winner.TRIALS)
    taus = {c.loss_params.get("temperature", 0.3) for c in second if c.loss == "mulsupcon"}
    assert taus == {winner.TRIALS["mulsupcon"][i]["temperature"] for i in (1, 3)}


def test_the_best_mean_over_archives_and_splits_is_chosen_and_only_of_finalists():
    a, b, c = (json.dumps({"temperature": tau}) for tau in (0.1, 0.2, 0.3))
    rows = [("a", 100, "oml", c, 0.99)]  # best on the first, not tried on the others
    for split in winner.CHOICE:
        rows += [("a", split, "oml", a, 0.5), ("b", split, "oml", a, 0.5 + 0.1 * (split == 104))]
        rows += [("a", split, "oml", b, 0.51), ("b", split, "oml", b, 0.5)]
    assert winner.choice(trials(rows)) == {"oml": {"temperature": 0.1}}
    assert list(winner.scores(trials(rows)).index) == [("oml", s) for s in (c, a, b)]


def test_what_is_frozen_is_what_was_chosen():
    tried = winner.tried()
    assert set(winner.CHOSEN) == set(winner.TRIALS)
    chosen = winner.choice(tried)
    assert {name: dict(params) for name, params in winner.CHOSEN.items()} == {
        name: chosen[name] for name in winner.CHOSEN
    }
    assert not tried.duplicated(["archive", "split_seed", "loss", "setting"]).any()
    assert set(tried["split_seed"]) == set(winner.CHOICE)


def test_stored_trials_are_measured(results, monkeypatch):
    config = winner.winner_choice("frozen", "synthetic", (100,), weights=winner.WEIGHTS)[5]
    rows = pd.DataFrame(
        {"archive": "synthetic", "split_seed": 100, "loss": config.loss}
        | dict.fromkeys(winner.DESCRIBED, 1),
        index=pd.Index([config.run_id, "another"], name="run_id"),
    )
    epochs = pd.DataFrame({m: [0.1, 0.7] for m in METRICS}, index=pd.Index([config.run_id] * 2))
    monkeypatch.setattr(winner.store, "collect", lambda: rows)
    monkeypatch.setattr(winner.store, "histories", lambda rows: epochs.rename_axis("run_id"))
    assert winner.measure() == results / winner.FILE
    [row] = winner.tried().to_dict("records")
    assert row["loss"] == "supcon_any" and json.loads(row["setting"]) == {"temperature": 0.1}
    assert {row[m] for m in METRICS} == {0.7}
