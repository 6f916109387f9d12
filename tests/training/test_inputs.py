"""Training the head alone, on stored features."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from maclcore import paths
from maclcore.__main__ import main
from maclcore.config import Config
from maclcore.data import load_archive, make_split
from maclcore.data.archives import RGB
from maclcore.data.augment import augment, draw
from maclcore.data.augment_bands import augmentation
from maclcore.data.stream import Images
from maclcore.evaluation.embedding import embed
from maclcore.models.network import RetrievalNet
from maclcore.store import collect
from maclcore.store.identity import Source, identify
from maclcore.training import inputs, load_model, train


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))


def small(archive, **changes):
    values = {"epochs": 3, "batch_size": 16, "embedding_dim": 8, "backbone": "squeezenet1_1"}
    return Config.from_profile("smoke", archive=str(archive), **values, frozen_views=2).but(
        **changes
    )


def features_of(config):
    source = identify(config)
    torch.manual_seed(config.seed)
    model = RetrievalNet(config.backbone, config.weights, config.embedding_dim, config.image_size)
    stored = inputs.frozen_features(model, source, torch.device("cpu"))
    return model.eval(), source.archive, source.split, stored


def test_features_are_those_of_each_augmented_image(archive):
    config = small(archive, seed=3)
    model, data, split, stored = features_of(config)
    with torch.no_grad():
        for view in range(2):
            uniform = draw(len(data), seed=3, epoch=view)
            for row, i in list(enumerate(split.train))[::11]:
                image = augment(torch.tensor(data.images[i : i + 1]), uniform[i : i + 1])
                expected = model.features(image)[0]
                found = torch.from_numpy(stored.views[view, row].copy())
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    _, h = embed(model, data.images)
    np.testing.assert_allclose(stored.clean, h, rtol=1e-4, atol=1e-5)
    assert not np.allclose(*stored.views)


def test_epochs_take_the_views_by_turns(archive):
    *_, stored = features_of(small(archive))
    a, b = torch.from_numpy(stored.views.copy())
    assert torch.equal(stored.of_epoch(0, 1), a) and torch.equal(stored.of_epoch(3, 1), b)
    assert torch.equal(stored.of_epoch(1, 2), torch.cat([a, b], dim=1))


@pytest.mark.parametrize("stored", [1, 2, 3, 5])
def test_no_view_comes_again_before_all_the_others(stored):
    views = np.arange(stored * 4.0).reshape(stored, 2, 2).astype(np.float32)
    features = inputs.Features(views[0], views)
    for taken in (1, 2):
        turn = 0
        for epoch in range(7):
            found = features.of_epoch(epoch, taken)
            assert found.shape == (2, 2 * taken)
            for part in found.split(2, dim=1):
                assert np.array_equal(part, views[turn % stored])
                turn += 1


def test_features_are_computed_once_for_all_that_they_depend_on(archive, monkeypatch):
    written = []
    write = inputs._write
    monkeypatch.setattr(inputs, "_write", lambda *a, **k: written.append(1) or write(*a, **k))
    train(small(archive, loss="mulsupcon"), progress=False)
    train(small(archive, loss="macl", lr=0.01, epochs=2), progress=False)
    assert len(written) == 1
    for change in ({"seed": 1}, {"split_seed": 1}, {"frozen_views": 3}, {"image_size": 33}):
        train(small(archive, loss="mulsupcon", epochs=1, **change), progress=False)
    rule = augmentation(RGB)._replace(rule=["another augmentation"])
    monkeypatch.setattr(inputs, "augmentation", lambda bands: rule)
    train(small(archive, loss="mulsupcon", epochs=1), progress=False)
    assert len(written) == 6
    assert len(list(paths.cache_root().glob("features-*.npy"))) == 6


def test_features_are_known_by_each_thing_that_they_depend_on(archive, monkeypatch):
    """One thing changes at a time: with the same weights, another seed is another augmentation."""
    names = []

    def cached(target, write):
        names.append(target.name)
        given = write.keywords["source"]
        views = given.config.frozen_views * len(given.split.train)
        return np.zeros((len(given.archive) + views, 4), dtype=np.float32)

    monkeypatch.setattr(inputs, "cached", cached)
    config = small(archive)
    data = load_archive(config.archive, image_size=config.image_size)
    model = RetrievalNet(config.backbone, config.weights, config.embedding_dim, config.image_size)

    first = data.split(0)

    def ask(config=config, data=data, split=first, model=model):
        source = Source(config, (), data, split, {})
        inputs.frozen_features(model, source, torch.device("cpu"))

    ask()
    ask(config.but(loss="macl", lr=0.5, epochs=9, split_seed=7))  # of these they are independent
    assert len(set(names)) == 1
    for change in ({"seed": 1}, {"frozen_views": 3}, {"image_size": 33}, {"precision": "bf16"}):
        ask(config.but(**change))
    ask(data=dataclasses.replace(data, fingerprint="another"))
    ask(split=data.split(1))
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.backbone.parameters())[0, 0, 0, 0] += 1
    ask(model=other)
    with torch.no_grad():
        model.head[0].weight.zero_()  # the head is what trains
    ask()
    assert len(set(names)) == 8 and names[-1] == names[0]


class Means(torch.nn.Module):
    """RetrievalNet's interface around the mean of each channel."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = torch.nn.Flatten(), torch.nn.Identity()

    def features(self, images):
        return images.mean(dim=(2, 3))

    def project(self, features):
        return features


def test_images_of_bands_are_augmented_by_the_rule_of_their_bands():
    asked = {"archive": "synthetic_sentinel", "bands": "B8,VV"}
    config = Config.from_profile("smoke", **asked, frozen_views=2, seed=3)
    data = load_archive("synthetic_sentinel", image_size=32, n=30, bands="B8,VV")
    split = make_split(data.labels, 0, places=data.places)
    source, on = Source(config, (), data, split, {}), torch.device("cpu")
    rule = augmentation(("B8", "VV"))

    pixels = inputs.Pixels(Images(data.images), source, on)
    varied = pixels.of_epoch(5, 2)
    assert torch.equal(varied, rule.draw(30, seed=3, epoch=5, views=2)[split.train])
    index = torch.from_numpy(split.train[:7])
    found = pixels.through(torch.nn.Flatten(), index, varied[:7, 12:])
    images = rule.augment(torch.from_numpy(data.images[index]), varied[:7, 12:])
    torch.testing.assert_close(found, images.flatten(1))

    stored = inputs.frozen_features(Means(), source, on)
    for view in range(2):
        uniform = rule.draw(30, seed=3, epoch=view)[split.train]
        images = rule.augment(torch.from_numpy(data.images[split.train]), uniform)
        expected = images.mean(dim=(2, 3)).numpy()
        np.testing.assert_allclose(stored.views[view], expected, atol=1e-5)
    np.testing.assert_allclose(stored.clean, data.images.mean(axis=(2, 3)) / 255, atol=1e-5)


def test_the_head_trains_and_nothing_else(archive):
    config = small(archive, loss="mulsupcon", lr=0.01, epochs=30)
    before, data, split, _ = features_of(config)
    run = train(config, progress=False)
    after = load_model(run)
    for name, value in before.backbone.state_dict().items():
        assert torch.equal(value, after.backbone.state_dict()[name]), name
    assert not torch.equal(before.head[0].weight, after.head[0].weight)
    z, _ = embed(after, data.images, split.test)
    np.testing.assert_allclose(z, run.embeddings, atol=1e-5)
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
    assert (run.folder / "weights.safetensors").stat().st_size < 4 * 1.1 * (513 * 512 + 513 * 8)


def test_evaluate_measures_the_head_as_its_run_did(archive, capsys):
    run = train(small(archive, loss="mulsupcon", precision="bf16"), progress=False)
    assert main(["evaluate", run.run_id]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line.split() for line in lines if line.startswith("mulsupcon"))
    assert row[1:] == [f"{100 * value:.2f}" for value in run.metrics.values()]


def test_a_row_says_that_only_the_head_was_trained(archive):
    train(small(archive, loss="frozen"), progress=False)
    train(small(archive, loss="macl"), progress=False)
    rows = collect()
    assert (rows["frozen_views"] == 2).all()
    assert rows["protocol"].str.endswith("only the head trained").all()


def test_two_views_need_two_stored_ones():
    with pytest.raises(ValueError, match="frozen_views of at least 2, got 1"):
        Config(frozen_views=1, views=2)


def test_clean_images_may_take_turns_with_their_views(archive):
    *_, split, stored = features_of(small(archive))
    more = stored.with_clean(split.train)
    clean = torch.from_numpy(stored.clean[split.train])
    assert torch.equal(more.of_epoch(2, 1), clean) and torch.equal(more.of_epoch(5, 1), clean)
    for epoch in (0, 1):
        assert torch.equal(more.of_epoch(epoch, 1), stored.of_epoch(epoch, 1))
    assert len(stored.views) == 2, "and those that were there stay as they are"


def test_moments_are_those_of_all_views_together():
    generator = np.random.default_rng(0)
    views = generator.normal(3, 2, (3, 50, 4)).astype(np.float32)
    views[:, :, 3] = 7
    mean, spread = inputs.Features(views[0], views).moments()
    every = torch.from_numpy(views.reshape(-1, 4))
    torch.testing.assert_close(mean, every.mean(dim=0))
    torch.testing.assert_close(spread[:3], every.std(dim=0, correction=0)[:3])
    assert spread[3] == 1, "one that does not vary"
