"""Runs held against one another, and what labels say, against other roads."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maclcore import Config, LabelStatistics, build_loss, train
from maclcore.audit import evidence
from maclcore.audit.evidence import describe, method
from maclcore.data import load_archive, make_split
from maclcore.evaluation.reference import chance
from maclcore.evaluation.retrieval import METRICS


def test_methods_have_one_spelling_and_a_name():
    assert method("macl", temperature=0.3, alpha=0.0) == "macl alpha=0 temperature=0.3"
    assert method("macl", alpha=-1.0) == "macl alpha=-1"
    assert describe("macl alpha=-0.5 temperature=0.3") == "MACL (α = −0.5, τ = 0.3)"
    assert describe("macl reweight=False") == "MACL (w = 1)"
    assert describe("frozen") == "Frozen"


def real_archives() -> bool:
    folder = Path(os.environ.get("MACL_DATA", ""))
    return all((folder / name / "labels.csv").is_file() for name in ("dlrsd", "ml_aid"))


@pytest.mark.skipif(not real_archives(), reason="MACL_DATA has no DLRSD and ML-AID")
@pytest.mark.parametrize("archive", ["dlrsd", "ml_aid"])
def test_stored_label_statistics_are_those_of_the_archives(archive, stored, monkeypatch):
    y = load_archive(archive, progress=False).labels
    tests = [y[make_split(y, seed).test] for seed in evidence.SPLITS]
    expected = 100 * pd.DataFrame([chance(test).summary() for test in tests]).agg(["mean", "std"]).T
    table = stored.labels.loc[archive]
    got = table.loc[[f"chance {name}" for name in METRICS]].to_numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    monkeypatch.setattr(evidence, "SPLITS", range(2))
    again = evidence.label_statistics([archive]).loc[archive]
    assert list(again.index) == list(table.index)
    assert ((again["mean"] - table["mean"]).abs() <= 3 * table["deviation"] + 1e-3).all()


def test_statistics_of_a_split_by_hand():
    """Two images with {0, 1}, two with {0}, in training: V, w and T of Eqs. 1 to 4 in loops."""
    train = np.array([[1, 1], [1, 1], [1, 0], [1, 0]], dtype=bool).repeat(5, axis=0)
    values = evidence._of_split(train, train)
    w = {2: 1 / np.log(1 + 20), 1: 1 / np.log(1 + 10)}  # both share 0, or both labels
    pull = {0: 0.0, 1: 0.0}
    for i in range(20):
        for p in range(20):
            both = train[i] & train[p]
            for label in np.flatnonzero(both) if i != p else ():
                pull[label] += w[2 if both.sum() == 1 else 1] / (train[:, label].sum() - 1)
    share = 100 * pull[1] / (pull[0] + pull[1])
    assert values["attraction of rare labels, w"] == pytest.approx(share, rel=1e-5)
    assert values["attraction of rare labels, equal pairs"] == pytest.approx(100 / 3)
    assert values["count, commonest / rarest"] == 2
    assert values["w, rarest / commonest"] == pytest.approx(np.log(21) / np.log(11))
    low, high = (np.exp(-1.5) + 0.1 / np.log(1 + n) for n in (20, 10))
    assert values["T, rarest / commonest"] == pytest.approx(high / low)
    # all cosines 1: log Σ exp(1/T) - 1/T, weighted; by the loss itself
    z = np.tile([1.0, 0.0], (20, 1))
    loss = build_loss("macl", LabelStatistics.from_labels(train))
    expected = loss(torch.tensor(z), torch.tensor(train)).item()
    assert values["loss, all cosines 1"] == pytest.approx(expected, rel=1e-5)


def test_only_unchanged_runs_are_compared_and_rare_queries_measured(own_store):
    folder = own_store / "data" / "mine"
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    lines = ["image,often,rare,some"]
    for i in range(40):
        pixels = generator.integers(0, 255, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"img{i:02}.png")
        lines.append(f"img{i:02},1,{int(i % 5 == 0)},{i % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))
    base = Config.from_profile(
        "quick", archive="mine", loss="chance", weights="none", image_size=16
    )
    kept = [base, base.but(seed=1, split_seed=1), base.but(lr=0.01), base.but(epochs=3)]
    left = [base.but(batch_size=8), base.but(seed=2), base.but(profile="smoke")]
    for config in kept + left:
        train(config, progress=False)
    # chance starts from no weights; beside pretrained ones it stands with each of them
    assert evidence.comparable_runs().empty
    for config in (base.but(weights="some"), base.but(loss="oracle", weights="some")):
        train(config, progress=False)
    runs = evidence.comparable_runs()
    assert sorted(runs["method"]) == [
        "chance", "chance lr=0.01 weights=none", "chance weights=none", "chance weights=none",
        "chance weights=none", "oracle",
    ]  # fmt: skip
    assert set(runs["weights"]) == {"some"} and runs["mean_cosine"].isna().all()

    table = evidence.rare_queries(runs)
    labels = load_archive("mine", progress=False)
    test = [labels.names[i] for i in labels.split(0).test]
    rare = [name for name in test if int(name[3:]) % 5 == 0]
    oracle = runs.index[runs["method"] == "oracle"].item()
    assert table.loc[oracle, "queries"] == len(rare) < len(test)
    values = evidence.Run.find(oracle).per_query.loc[rare]
    assert table.loc[oracle, "nDCG@100"] == pytest.approx(values["nDCG@100"].mean())
