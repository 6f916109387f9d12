"""Fine-tuning as a method of the loop, against a slow training and what must hold."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from stopping import stopped
from torch import nn

from maclcore.config import Config
from maclcore.data.augment import augment, draw
from maclcore.data.sampler import SAMPLERS
from maclcore.evaluation.classification import classification_scores
from maclcore.store.identity import identify
from maclcore.training.finetune import FineTune
from maclcore.training.loop import Loop, learning_rate


class Net(nn.Module):
    """RetrievalNet's interface around one convolution."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 8, 8, stride=8), nn.Linear(8, 4)

    def features(self, images):
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        return self.layer(images).relu().mean(dim=(2, 3))


@pytest.fixture
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    return tmp_path


@pytest.fixture
def single(tmp_path):
    """A folder of sixty-three images, each with one label, its colour."""
    folder = tmp_path / "single"
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = []
    for i in range(63):
        pixels = generator.integers(0, 60, (32, 32, 3))
        pixels[:, :, i % 3] += 120
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"img{i:02}.png")
        rows.append([f"img{i:02}", *np.eye(3, dtype=int)[i % 3]])
    table = pd.DataFrame(rows, columns=["image", "red", "green", "blue"])
    table.to_csv(folder / "labels.csv", index=False)
    return folder


def asked(archive, **changes):
    values = {"epochs": 4, "batch_size": 16, "lr": 0.01, "precision": "fp32", **changes}
    return identify(Config.from_profile("smoke", archive=str(archive), **values))


def network():
    torch.manual_seed(7)
    return Net()


def loop(source, folder, owner="owner"):
    folder.mkdir(exist_ok=True)
    return Loop(
        FineTune(source, network(), torch.device("cpu")), folder, torch.device("cpu"), owner
    )


def trained(source, folder):
    found = loop(source, folder)
    found.fit(progress=False)
    return found


def slow_training(source, single_label):
    """The same training in one loop of its own, written from what is said of it."""
    config, labels = source.config, torch.from_numpy(source.archive.labels)
    net, on = network(), [i for i in source.split.train if labels[i].any()]
    torch.manual_seed(config.seed)
    layer = nn.Linear(8, labels.shape[1])
    parameters = [*net.layer.parameters(), *layer.parameters()]
    optimizer = torch.optim.Adam(parameters, weight_decay=config.weight_decay)
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, epoch)
        varied = draw(len(labels), seed=config.seed, epoch=epoch)
        order = SAMPLERS[config.sampler]
        for batch in order(labels[on].numpy(), config.batch_size, seed=config.seed, epoch=epoch):
            index = [on[i] for i in batch]
            pixels = torch.from_numpy(np.stack([source.archive.images[i] for i in index]))
            logits = layer(net.features(augment(pixels, varied[index])))
            p, y = logits.double(), labels[index].double()
            if single_label:
                chosen = (p * y).sum(dim=1)
                loss = (p.exp().sum(dim=1).log() - chosen).mean()
            else:
                loss = -(y * p.sigmoid().log() + (1 - y) * (1 - p.sigmoid()).log()).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimizer.step()
    return net, layer


@pytest.mark.parametrize("kind", ["several labels", "one label"])
def test_a_slow_training_ends_at_the_same_weights(kind, archive, single, store):
    source = asked(single if kind == "one label" else archive, epochs=2)
    found = trained(source, store / "run").method
    net, layer = slow_training(source, kind == "one label")
    for fast, slow in ((found.model.network.layer, net.layer), (found.model.layer, layer)):
        for a, b in zip(fast.parameters(), slow.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    start = network().layer.weight
    assert (found.model.network.layer.weight - start).abs().max() > 1e-3, "the backbone trains"


def test_it_learns_and_its_log_has_the_scores(archive, store):
    found = trained(asked(archive, epochs=12, lr=0.05), store / "run")
    first, last = found.history[0], found.history[-1]
    assert last["loss"] < first["loss"]
    assert last["macro mAP"] > 0.75
    method, source = found.method, found.method.source
    predicted, _ = method.predict(source.split.validation)
    y = source.archive.labels[source.split.validation]
    expected = classification_scores(predicted, y)
    assert {name: last[name] for name in expected} == expected
    columns = (store / "run" / "history.csv").read_text().splitlines()[0].split(",")
    assert {"loss", *expected} <= set(columns)


@pytest.mark.parametrize("epochs", [1, 3])
def test_it_resumes_to_the_same_bits(archive, store, epochs):
    source = asked(archive)
    straight, part = trained(source, store / "straight"), loop(source, store / "parts")
    stopped(part, epochs)
    resumed = trained(source, store / "parts")
    a, b = (one.method.model.state_dict() for one in (straight, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)
    first, second = (one.method.outcome() for one in (straight, resumed))
    predicted = [one.tensors["predictions"]["predicted"] for one in (first, second)]
    assert torch.equal(*predicted) and first.embedding.summary() == second.embedding.summary()
    assert [row["macro mAP"] for row in straight.history] == [
        row["macro mAP"] for row in resumed.history
    ]


def test_labels_of_test_images_do_not_matter_until_the_end(archive, store):
    source = asked(archive, epochs=2)
    labels, test = source.archive.labels.copy(), source.split.test
    labels[test] = ~labels[test]
    other = replace(source, archive=replace(source.archive, labels=labels))
    first, second = trained(source, store / "a"), trained(other, store / "b")
    a, b = (one.method.model.state_dict() for one in (first, second))
    assert all(torch.equal(a[name], b[name]) for name in a)
    rows = [[row["macro mAP"] for row in one.history] for one in (first, second)]
    assert rows[0] == rows[1]


def test_of_single_labels_probabilities_sum_to_1_and_unlabelled_images_are_left_out(single, store):
    source = asked(single, epochs=12, lr=0.05)
    labels = source.archive.labels.copy()
    labels[[source.split.train[3], source.split.test[0]]] = False  # of which none is known
    source = replace(source, archive=replace(source.archive, labels=labels))
    found = trained(source, store / "run").method
    known = source.archive.labels[source.split.train].any(axis=1)
    assert len(found.y_train) == known.sum() == len(known) - 1 and found.y_train.any(axis=1).all()
    predicted = found.outcome().tensors["predictions"]["predicted"]
    assert len(predicted) == len(source.split.test)
    torch.testing.assert_close(predicted.sum(dim=1), torch.ones(len(predicted)))
    y = source.archive.labels[source.split.test]
    assert classification_scores(predicted, y, single_label=True)["accuracy"] > 0.8
    assert "accuracy" in found.validate()


def test_seeds_decide_the_new_layer_and_nothing_of_the_network(archive, store):
    first, same, other = (
        FineTune(asked(archive, seed=seed), network(), torch.device("cpu")).model
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.layer.weight, same.layer.weight)
    assert not torch.equal(first.layer.weight, other.layer.weight)
    assert torch.equal(first.network.layer.weight, other.network.layer.weight)


def test_what_is_given_is_read_and_its_head_alone_replaced(archive, store):
    net = network()
    before = copy.deepcopy(net)
    model = FineTune(asked(archive), net, torch.device("cpu")).model
    images = torch.rand(5, 3, 32, 32)
    torch.testing.assert_close(model.features(images), before.features(images))
    expected = before.features(images) @ model.layer.weight.T + model.layer.bias
    torch.testing.assert_close(model(images), expected)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"network", "layer"}
    assert not list(model.network.head.parameters())
