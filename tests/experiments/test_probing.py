"""Probes of stored runs: fitted where they may, kept with the run, and not computed twice."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maclcore.__main__ import main
from maclcore.config import Config
from maclcore.evaluation.classification import classification_scores
from maclcore.evaluation.transfer import knn, linear_probe
from maclcore.experiments import transfer as room
from maclcore.experiments.transfer import transfer
from maclcore.store import Run, collect
from maclcore.store.identity import identify
from maclcore.store.pack import pack
from maclcore.training import load_model, train
from maclcore.training.loop import Loop

FAST = {"epochs": 3, "lr": 0.05, "progress": False}


@pytest.fixture
def run(archive, tiny):
    return finished(archive)


def finished(archive, **changes):
    values = {"epochs": 1, "batch_size": 16, "embedding_dim": 4, "precision": "fp32", **changes}
    return train(Config.from_profile("smoke", archive=str(archive), **values), progress=False)


@pytest.fixture
def other(tmp_path):
    """Another archive, of thirty images with two labels."""
    folder = tmp_path / "other"
    (folder / "images").mkdir(parents=True)
    generator, rows = np.random.default_rng(1), []
    for i in range(30):
        pixels = generator.integers(0, 60, (32, 32, 3))
        pixels[: 16 + i % 16, :, i % 2] += 150
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"o{i:02}.png")
        rows.append([f"o{i:02}", 1 - i % 2, int(i % 2 or i % 3 == 0)])
    pd.DataFrame(rows, columns=["image", "a", "b"]).to_csv(folder / "labels.csv", index=False)
    return folder


def never(*_, **__):
    raise AssertionError("this was to be read, not computed")


def by_hand(run, probe):
    """The probe of the run's features, each image through the network alone."""
    source, model = identify(run.config), load_model(run)
    images = torch.from_numpy(np.array(source.archive.images))
    with torch.inference_mode():
        h = torch.cat([model.features(image[None].float() / 255) for image in images]).numpy()
    (train, validation, test), y = source.split, source.archive.labels
    if probe == "knn":
        return knn(h[train], y[train], h[test], y[test])
    words = {"h_validation": h[validation], "y_validation": y[validation]}
    return linear_probe(h[train], y[train], h[test], y[test], **words)


@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_a_probe_is_that_of_the_runs_features_and_is_stored(run, probe, monkeypatch):
    before = (run.folder / "result.json").read_bytes()
    said, computed = transfer(run, probe)
    expected = by_hand(run, probe)
    assert computed and said["scores"] == pytest.approx(expected.scores, abs=1e-9)
    assert said["choice"] == expected.choice
    assert said["protocol"] == expected.protocol and said["left out"] == expected.left_out
    for name, (low, high) in said["intervals"].items():
        assert low <= high and (low, high) == pytest.approx(expected.intervals[name], abs=1e-6)
    assert set(said["references"]) == {"chance", "initial"}
    assert said["of"] == {name: run.identity[name] for name in ("archive", "split")}
    assert said["environment"]["scikit-learn"] and said["archive"]["split"] == "42/6/12"
    assert Run.find(run.run_id).transfer == {probe: said}
    assert (run.folder / "result.json").read_bytes() == before
    assert collect().loc[run.run_id, f"{probe}: macro mAP"] == said["scores"]["macro mAP"]
    monkeypatch.setattr(room, "_frozen", never)
    assert transfer(run, probe) == (said, False)


def test_again_computes_the_same_bits(run):
    first, _ = transfer(run, "linear")
    second, computed = transfer(run, "linear", again=True)
    assert computed
    changing = ("time", "seconds")
    assert {k: v for k, v in first.items() if k not in changing} == {
        k: v for k, v in second.items() if k not in changing
    }


def test_the_initial_network_is_the_frozen_rows(archive, tmp_path, monkeypatch):
    """With a real network, whose BatchNorm has a state."""
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    run, frozen, head = (
        finished(archive, backbone="shufflenet_v2_x0_5", **words)
        for words in ({}, {"loss": "frozen"}, {"frozen_views": 2})
    )
    said, _ = transfer(frozen, "linear")
    assert set(said["references"]) == {"chance"}
    probed, _ = transfer(run, "linear")
    reference = probed["references"]["initial"]
    assert reference["scores"] == said["scores"] and reference["choice"] == said["choice"]
    assert probed["scores"] != said["scores"]
    # a head that was trained alone leaves the backbone as it was
    alone, _ = transfer(head, "linear")
    assert alone["scores"] == said["scores"] and set(alone["references"]) == {"chance"}
    tuned, _ = transfer(frozen, "finetune", **FAST)
    assert tuned["scores"] != said["scores"]
    again, _ = transfer(frozen, "finetune", again=True, **FAST)
    assert again["scores"] == tuned["scores"]


def test_global_random_numbers_are_left_alone(run):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    transfer(run, "linear")
    transfer(run, "finetune", **FAST)
    assert torch.equal(torch.rand(3), expected)


def test_fine_tuning_learns_and_is_stored(run, monkeypatch):
    said, computed = transfer(run, "finetune", epochs=15, lr=0.1, progress=False)
    assert computed and said["of"] == {**said["of"], "epochs": 15, "lr": 0.1}
    assert said["scores"]["macro mAP"] > said["references"]["chance"]["scores"]["macro mAP"] + 0.2
    assert "42 training images for 15 epochs" in said["protocol"]
    folder = run.folder.parent.parent / "transfer" / run.run_id / "finetune-15-0.1"
    assert len(pd.read_csv(folder / "history.csv")) == 15
    assert not list(folder.glob("checkpoint*"))
    assert len(collect()) == 1, "it is no run of its own"
    monkeypatch.setattr(room, "_finetuned", never)
    # asked without settings, or with the same, it is what is stored
    assert transfer(run, "finetune") == transfer(run, "finetune", lr=0.1) == (said, False)
    with pytest.raises(ValueError, match="of epochs 15, not 4: --again computes it"):
        transfer(run, "finetune", epochs=4, lr=0.1)


def test_fine_tuning_goes_on_where_it_was_interrupted(run, monkeypatch):
    straight, _ = transfer(run, "finetune", **FAST)
    save = Loop.save

    def stop(self):
        save(self)
        if len(self.history) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            transfer(run, "finetune", again=True, **FAST)
    folder = run.folder.parent.parent / "transfer" / run.run_id / "finetune-3-0.05"
    assert list(folder.glob("checkpoint*")) and run.transfer["finetune"] == straight
    steps, step = [], Loop.step
    monkeypatch.setattr(Loop, "step", lambda self, batch: steps.append(1) or step(self, batch))
    resumed, computed = transfer(run, "finetune", again=True, **FAST)
    assert computed and len(steps) == 2, "one epoch of two batches"
    for part in ("scores", "intervals", "choice", "protocol", "of"):
        assert resumed[part] == straight[part]


def test_a_failed_start_leaves_nothing(run, monkeypatch):
    monkeypatch.setattr(Loop, "step", never)
    with pytest.raises(AssertionError):
        transfer(run, "finetune", **FAST)
    assert run.transfer == {}
    assert not list((run.folder.parent.parent / "transfer").glob("*/*/*"))


@pytest.mark.parametrize("probe", ["knn", "finetune"])
def test_another_archive_has_a_name_of_its_own(run, other, probe):
    own, _ = transfer(run, "knn")
    said, _ = transfer(run, probe, archive=str(other), **(FAST if probe == "finetune" else {}))
    assert said["archive"]["split"] == "21/3/6" and said["of"]["archive"] != own["of"]["archive"]
    assert Run.find(run.run_id).transfer == {"knn": own, f"{probe} on other": said}
    assert f"{probe} on other: micro F1" in collect()
    # the same archive by its path is the run's own
    assert transfer(run, "knn", archive=run.config.archive) == (own, False)


def test_an_archive_that_has_changed_is_told(run, other):
    transfer(run, "knn", archive=str(other))
    table = pd.read_csv(other / "labels.csv")
    table.loc[0, "b"] = 1 - table.loc[0, "b"]
    table.to_csv(other / "labels.csv", index=False)
    with pytest.raises(ValueError, match="'knn on other' stored, but of archive .*, not .*--again"):
        transfer(run, "knn", archive=str(other))
    assert transfer(run, "knn", archive=str(other), again=True)[1]


def test_images_that_the_run_was_trained_on_measure_nothing(run, archive, other):
    trained = identify(run.config).archive.names[identify(run.config).split.train[0]]
    config = run.config.but(archive=str(other))
    name = identify(config).archive.names[identify(config).split.test[0]]
    shutil.copy(archive / "images" / f"{trained}.png", other / "images" / f"{name}.png")
    with pytest.raises(ValueError, match="was trained on 1 of the 9 images that would measure it"):
        transfer(run, "knn", archive=str(other))


def test_a_packed_run_can_be_probed(run):
    pack("a", [run.run_id])
    said, _ = transfer(Run.find(run.run_id), "knn")
    assert Run.find(run.run_id).transfer == {"knn": said} and Run.find(run.run_id).pack is not None
    shutil.rmtree(run.folder)
    with pytest.raises(FileNotFoundError, match="stored without its weights"):
        transfer(Run.find(run.run_id), "knn")


def test_what_cannot_be_probed_is_told(run, archive, monkeypatch):
    with pytest.raises(ValueError, match="probe is one of linear, knn, finetune, not 'linaer'"):
        transfer(run, "linaer")
    with pytest.raises(ValueError, match="epochs and lr are settings of the probe finetune alone"):
        transfer(run, "knn", epochs=2, lr=0.1)
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        transfer(run, "finetune", epochs=0)
    with pytest.raises(ValueError, match="has no network, and so no features to probe"):
        transfer(finished(archive, loss="chance"), "linear")
    (run.folder / "result.json").unlink()
    with pytest.raises(ValueError, match="is not finished"):
        transfer(Run(run.folder), "linear")


def test_labels_of_the_test_part_decide_no_fit(run, archive, tmp_path, monkeypatch):
    """The same images with other test labels: another archive, and the same choice."""
    first, _ = transfer(run, "linear")
    source = identify(run.config)
    table = pd.read_csv(archive / "labels.csv", index_col=0)
    rows = [source.archive.names[i] for i in source.split.test]
    table.loc[rows] = np.roll(table.loc[rows].to_numpy(), 1, axis=0)
    copy = shutil.copytree(archive, tmp_path / "poisoned")
    table.to_csv(copy / "labels.csv")
    again = finished(copy)
    second, _ = transfer(again, "linear")
    assert second["choice"] == first["choice"] and second["scores"] != first["scores"]


def test_the_command_prints_scores_between_chance_and_the_initial_network(run, capsys, archive):
    assert main(["evaluate", run.run_id, "--probe", "linear"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].endswith("42/6/12 images to fit, choose and measure: linear") and not err
    assert [line.split()[0] for line in lines[-3:]] == ["chance", "initial", "macl"]
    said = run.transfer["linear"]
    low, high = said["intervals"]["macro mAP"]
    assert f"C: {said['choice']['C']}" in lines
    cell = f"{100 * said['scores']['macro mAP']:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
    assert cell in lines[-1]
    assert main(["evaluate", run.run_id, "--probe", "linear"]) == 0
    again, err = capsys.readouterr()
    assert again == out and err.startswith("stored on ") and "--again" in err
    words = ["evaluate", run.run_id, "--probe", "finetune", "--epochs", "2", "--quiet"]
    assert main(words) == 0
    assert "for 2 epochs" in capsys.readouterr().out
    assert main(["evaluate", run.run_id, "--probe", "knn", "--split", "train"]) == 1
    assert "--probe measures on the test split" in capsys.readouterr().err


def test_a_probe_of_single_labels_has_an_accuracy(tiny, other):
    table = pd.read_csv(other / "labels.csv")
    table["b"] = 1 - table["a"]
    table.to_csv(other / "labels.csv", index=False)
    run = finished(other, batch_size=8)
    for probe, words in (("linear", {}), ("knn", {}), ("finetune", {**FAST, "epochs": 20})):
        said, _ = transfer(run, probe, **words)
        assert said["scores"]["accuracy"] == said["scores"]["micro F1"] > 0.8
    assert classification_scores(np.eye(2), np.eye(2), single_label=True)["accuracy"] == 1
