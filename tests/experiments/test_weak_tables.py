"""What is stored from one label an image: whole tables, in order, variants by name."""

import json

import pandas as pd
import pytest

from maclcore import paths
from maclcore.experiments import tables
from maclcore.experiments.weak import CALIBRATIONS, WHOLE, calibration, weak_labels, weak_network
from maclcore.losses import WEAK_LOSSES


@pytest.fixture
def stored(monkeypatch, capsys):
    """`stored(configs, name)`: what a store of these has of an experiment, and what is said."""

    def find(configs, name):
        rows = pd.DataFrame([config.to_dict() for config in configs])
        rows = rows.assign(**{"archive: fingerprint": "0"})
        rows["method_params"] = [json.dumps(dict(config.method_params)) for config in configs]
        rows.index = [config.run_id for config in configs]
        monkeypatch.setattr(tables, "collect", lambda: rows)
        found = tables.stored_weak(name)
        return found, capsys.readouterr().err.splitlines()

    return find


def test_a_seed_that_lacks_a_method_is_left_out_and_others_are_no_part(stored):
    configs = weak_labels("frozen", "dlrsd", (0, 1)) + weak_network("quick", "dlrsd", (0,))
    found, said = stored(configs[:-8] + configs[-5:], "weak_labels")
    assert set(found["seed"]) == {0} and len(said) == len(WEAK_LOSSES) - 3
    assert list(found["loss"]) == list(WEAK_LOSSES) and set(found["profile"]) == {"frozen"}


def test_one_seed_of_all_methods_is_more_than_several_of_some(stored):
    configs = weak_network("quick", "dlrsd", (0, 1, 2))
    without = [c for c in configs if c.loss != "gc" or c.seed == 1]
    found, _ = stored(without, "weak_network")
    assert set(found["seed"]) == {1} and set(found["loss"]) == set(WHOLE)


def test_settings_of_calibration_have_names_of_their_own_in_order(stored):
    found, said = stored(calibration("frozen", "ml_aid", (0, 1)), "calibration")
    names = [tables.setting(changed) for changed in ({}, *CALIBRATIONS)]
    assert list(found["loss"].unique()) == names and len(set(names)) == len(names) and not said
    assert names[:4] == ["the whole", "no teacher", "no memory", "neither"]
    assert {"mixup 0.2", "trigger 8", "trigger plateau", "λ = 2"} <= set(names)


def test_a_store_without_such_runs_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    for name in ("weak_labels", "weak_network", "calibration"):
        assert tables.stored_weak(name).empty


def test_the_runs_of_record_make_tables(monkeypatch, tmp_path):
    (tmp_path / "packed").symlink_to(paths.PACKAGE.parent / "results" / "packed")
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    for _, part in tables.stored_weak("weak_labels").groupby("archive"):
        counts = part.groupby("loss")["seed"].nunique()
        assert set(counts.index) == set(WEAK_LOSSES) and counts.nunique() == 1
        cells = tables.over_seeds(part, ["test: macro mAP"])
        assert list(cells.index) == list(WEAK_LOSSES)
