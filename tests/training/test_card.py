"""The card beside trained weights says what they are, by the run's own numbers."""

import re

import numpy as np
import pytest
import yaml

from maclcore import METRICS, Config, train
from maclcore.data.readers import READERS
from maclcore.evaluation import reference
from maclcore.training import card

RESULT = {
    "loss": {"alpha": 1.5},
    "metrics": dict.fromkeys(METRICS, 0.5),
    "scores": {"macro mAP": 0.25},
    "queries": 2,
    "archive": {"title": "T", "footnote": "F.", "fingerprint": "f", "split": "7/1/2"},
    "identity": {"archive": "f"},
    "environment": {"git": "", "torch": "2.6"},
    "time": "2026-01-01",
    "seconds": 1.0,
}


def written(config, y, result=RESULT):
    return card.card("an-id", config, np.array(y, dtype=bool), result)


def test_a_run_with_weights_has_a_card_and_a_reference_row_has_none(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    given = {"epochs": 1, "batch_size": 16, "embedding_dim": 8, "backbone": "shufflenet_v2_x0_5"}
    config = Config.from_profile("smoke", archive=str(archive), loss="mulsupcon", **given)
    run = train(config, progress=False)
    text = (run.folder / card.CARD).read_text()
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "maclcore"
    assert run.run_id in body and "MulSupCon" in body and "None" not in body
    rows = dict(re.findall(r"^\| `(.+)` \| (.+) \|$", body, re.MULTILINE))
    assert list(rows) == list(METRICS)
    y = reference_labels(run)
    for name, row in rows.items():
        values = (reference.chance(y).summary(), run.metrics, reference.oracle(y).summary())
        assert row == " | ".join(f"{100 * value[name]:.1f}" for value in values)
    chance = train(
        Config.from_profile("smoke", archive=str(archive), loss="chance"), progress=False
    )
    assert not (chance.folder / card.CARD).exists()


def reference_labels(run):
    from maclcore import load_archive

    data = load_archive(run.config.archive, image_size=32, progress=False)
    return data.labels[data.split(0).test]


@pytest.mark.parametrize("name", READERS)
def test_the_card_of_a_known_archive_has_its_licence_and_whom_to_cite(name):
    text = written(Config(archive=name, labels="random"), [[1, 0], [1, 1]])
    assert READERS[name].licence in text and READERS[name].cite in text
    assert "known: random" in text and "macro mAP 25.0" in text


def test_many_test_images_are_not_ranked_by_chance_for_a_card(monkeypatch):
    monkeypatch.setattr(card, "chance", None)
    monkeypatch.setattr(card, "FEW", 1)
    text = written(Config(archive="synthetic", frozen_views=2), [[1, 0], [1, 1]])
    assert "| `mAP@0.4` | 50.0 |" in text and "--labels-only" in text
    assert "only the head" in text and "no use for photographs" in text
