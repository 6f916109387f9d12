import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from maclcore.config import PROFILES, Config
from maclcore.store import Run


def test_defaults_are_the_papers():
    config = Config()
    assert (config.lr, config.weight_decay, config.batch_size) == (1e-3, 5e-4, 128)
    assert (config.clip_norm, config.epochs, config.backbone) == (1.0, 100, "resnet18")
    assert (config.profile, config.weights) == ("paper", "imagenet")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_stored_configuration_comes_back_equal(profile):
    config = Config.from_profile(profile, loss_params={"beta": 0.2, "alpha": -0.5})
    again = Config.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config and again.run_id == config.run_id and hash(again) == hash(config)


def test_run_id_depends_on_every_field_and_not_on_the_order_of_parameters():
    base = Config(loss_params={"alpha": 1.0, "beta": 0.5})
    assert base.run_id == Config(loss_params={"beta": 0.5, "alpha": 1.0}).run_id
    assert base.run_id == Config(loss_params={"beta": 0.5, "alpha": 1}).run_id
    assert Config(loss_params={"reweight": True}).loss_params["reweight"] is True
    other = {
        "archive": "dlrsd", "image_size": 64, "split_seed": 1, "loss": "mulsupcon",
        "loss_params": {}, "backbone": "resnet34", "weights": "none", "embedding_dim": 128,
        "epochs": 3, "batch_size": 64, "lr": 0.1, "weight_decay": 0.0, "schedule": "step",
        "clip_norm": 2.0, "precision": "fp32", "seed": 7, "profile": "smoke",
        "sampler": "label_aware", "views": 2, "queue": 256, "momentum": 0.99, "micro_batch": 32,
        "frozen_views": 10, "bands": "s2", "method_params": {"mask_ratio": 0.5},
        "first_layer": "inflated", "labels": "random", "split": "official",
        "validation_labels": "complete", "train_share": 0.5,
    }  # fmt: skip
    completion = {"completion": "gc", "completion_params": {"labels_per_image": 5}}
    assert set(base.to_dict()) == {*other, *completion}
    ids = {base.but(**{name: value}).run_id for name, value in other.items()} | {base.run_id}
    weak = base.but(labels="random", completion="gc")
    ids |= {weak.run_id, weak.but(**completion).run_id}
    assert len(ids) == len(other) + 3


def test_stored_runs_keep_their_ids():
    """A field added later leaves the ids of runs that were stored without it as they are."""
    runs = Run.all()
    assert len(runs) >= 20
    for run in runs:
        assert run.config.run_id == run.run_id.split("@")[0]


def test_a_run_id_is_one_folder_name_even_for_a_path():
    assert "/" not in Config(archive="/some/where/my archive").run_id


def test_numbers_and_paths_of_any_library_are_plain_ones():
    params = {"alpha": 0.5, "beta": 1.0, "reweight": True, "f": "min"}
    plain = Config(
        archive="a/x", seed=1, batch_size=64, lr=0.5, weight_decay=0.0, micro_batch=4,
        loss_params=params,
    )  # fmt: skip
    row = pd.Series([1, 64]).convert_dtypes()
    other = Config(
        archive=Path("a/x"), seed=row.iloc[0], batch_size=np.int16(64), lr=np.float64(0.5),
        weight_decay=0, micro_batch=torch.tensor(4),
        loss_params={"beta": np.int64(1), "alpha": np.float32(0.5), "reweight": np.bool_(True),
                     "f": np.str_("min")},
    )  # fmt: skip
    assert other == plain and other.run_id == plain.run_id and hash(other) == hash(plain)
    assert json.loads(json.dumps(other.to_dict())) == plain.to_dict()
    assert type(Config(momentum=1).momentum) is float
    assert Config(momentum=1).run_id == Config(momentum=1.0).run_id


def test_a_run_id_holds_the_name_of_a_folder_and_not_its_path():
    """Ids of earlier versions, which held the path as typed and told 0 from 0.0, are known."""
    ids = {Config(archive=a).run_id for a in ("d", "./d", "d/", "/x/d", "../d", "y/../d")}
    assert len(ids) == 1 and Config(archive="e").run_id not in ids
    files = {Config(weights=w).run_id for w in ("w", "w.safetensors", "/x/w", "./w.safetensors")}
    assert len(files) == 1
    # as commit 7118b44 made them
    former = Config(archive="/x/d", weight_decay=0).former_ids
    assert "paper-d-224px-macl-s0-fc63d636" in former
    assert Config(archive="dlrsd").former_ids == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Config.from_profile("smok"), "did you mean 'smoke'"),
        (lambda: Config.from_profile("smoke", batchsize=3), "did you mean 'batch_size'"),
        (lambda: Config().but(learning_rate=1), "unknown configuration field 'learning_rate'"),
        (lambda: Config(schedule="cosin"), "schedule must be one of restart, step, cosine"),
        (lambda: Config(lr=0), "lr must be positive"),
        (lambda: Config(lr=float("nan")), "lr must be positive"),
        (lambda: Config(epochs=-1), "epochs must not be negative"),
        (lambda: Config(sampler="label-aware"), "sampler must be one of shuffle, label_aware"),
        (lambda: Config(views=3), "views must be 1 or 2, got 3"),
        (lambda: Config(queue=-1), "queue must not be negative"),
        (lambda: Config(queue=64, views=2), "queue and views=2 exclude each other"),
        (lambda: Config(momentum=1.1), r"momentum must be in \[0, 1\], got 1.1"),
        (lambda: Config(train_share=0), "train_share must be above 0 and at most 1, got 0.0"),
        (lambda: Config(train_share=50), "train_share must be above 0 and at most 1, got 50.0"),
        (lambda: Config(micro_batch=0), "micro_batch must be positive or None"),
        (lambda: Config(seed=-1), "seed must not be negative, got -1"),
        (lambda: Config(split_seed=-1), "split_seed must not be negative, got -1"),
        (lambda: Config(batch_size=12.5), "batch_size must be a whole number, got 12.5"),
        (lambda: Config(epochs="3"), "epochs must be a whole number, got '3'"),
        (lambda: Config(seed=True), "seed must be a whole number, got True"),
        (lambda: Config(lr="fast"), "lr must be a number, got 'fast'"),
        (lambda: Config(lr=None), "lr must be a number, got None"),
        (lambda: Config(archive=3), "archive must be a word, got 3"),
        (lambda: Config(loss_params=[("a", 1)]), "loss_params must be a mapping"),
        (lambda: Config(loss_params={"alpha": np.ones(2)}), "alpha'] must be a number or a word"),
        (lambda: Config(loss_params={"alpha": float("nan")}), "alpha'] must be a number"),
        (lambda: Config(loss_params={"alpha": [1]}), r"loss_params\['alpha'\] must be a number"),
    ],
)
def test_a_wrong_value_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
