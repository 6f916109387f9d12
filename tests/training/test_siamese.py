"""Siamese pretraining: what follows what, whom a second view shows, against plain loops."""

import copy

import numpy as np
import pytest
import torch
from stopping import stopped

from maclcore.config import Config
from maclcore.data.augment import augment, draw
from maclcore.losses import infonce, softcon
from maclcore.store.identity import identify
from maclcore.training import run as running
from maclcore.training import train
from maclcore.training.loop import Loop
from maclcore.training.momentum import MomentumQueue
from maclcore.training.softcon import SoftCon, momentum, seasons

CPU = torch.device("cpu")


def config_of(archive, loss="softcon", **changes):
    return Config.from_profile(
        "smoke", archive=str(archive), loss=loss, embedding_dim=8, batch_size=16, **changes
    )


def loop_of(config, folder):
    folder.mkdir(exist_ok=True)
    method = SoftCon(identify(config), CPU, **config.method_params)
    return Loop(method, folder, CPU, "owner")


# --- pieces --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first, values",
    [(0.99, [0.99, 0.991464, 0.995, 0.998536, 1]), (0.996, [0.996, 0.996586, 0.998, 0.999414, 1])],
)
def test_momentum_rises_along_half_a_cosine(first, values):
    found = [momentum(first, 1.0, t / 4) for t in range(5)]
    assert found == pytest.approx(values, abs=5e-7)
    assert {momentum(first, first, t / 4) for t in range(5)} == {first}


def test_a_queue_of_no_size_gives_the_batch_alone():
    queue = MomentumQueue(torch.nn.Linear(3, 2), 0, 2, 4)
    for n in (5, 3):
        keys, labels = torch.randn(n, 2), torch.rand(n, 4) < 0.5
        given = queue.contrast("moco", keys, labels)
        assert torch.equal(given["keys"], keys) and torch.equal(given["key_labels"], labels)
        queue.enqueue(keys, labels)
        assert queue.keys.shape == (0, 2) and queue.labels.shape == (0, 4)


def test_a_second_view_is_of_the_same_ground_each_image_of_it_as_often():
    places = np.array(["b", "a", "b", "c", "b", "a"])
    found = torch.stack([seasons(places, 3, epoch) for epoch in range(3000)])
    assert torch.equal(found[5], seasons(places, 3, 5))
    assert not torch.equal(found[5], seasons(places, 4, 5))
    assert (places[found] == places).all()
    for image, own in enumerate(places):
        share = np.bincount(found[:, image], minlength=6) / 3000
        expected = (places == own) / (places == own).sum()
        assert abs(share - expected).max() < 0.05


# --- training ------------------------------------------------------------------------------------


def slow_training(method, epochs, symmetric=False):
    """The same as a plain loop, batch after batch, and of it losses and the network's state."""
    config, archive = method.source.config, method.source.archive
    rows, y = method.rows, torch.from_numpy(archive.labels)
    net, slow = copy.deepcopy(method.model), copy.deepcopy(method.model)
    optimizer = torch.optim.Adam(
        net.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    places, losses = archive.grounds or archive.names, []
    loop = Loop(method, None, CPU)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * (1 + np.cos(np.pi * epoch / epochs)) / 2
        u = draw(len(archive), seed=config.seed, epoch=epoch, views=2)[rows]
        other = seasons(np.array([places[i] for i in rows]), config.seed, epoch)
        batches = loop.batches(epoch)
        for i, batch in enumerate(batches):
            second = other[batch]
            at, to = (torch.from_numpy(archive.images[rows[part]]) for part in (batch, second))
            first_view, second_view = (augment(at, u[batch, :11]), augment(to, u[second, 11:]))
            y1, y2 = y[rows[batch]], y[rows[second]]
            with torch.no_grad():
                keys = slow(second_view)
            loss = softcon(net(first_view), y1, keys=keys, key_labels=y2)
            if symmetric:
                with torch.no_grad():
                    keys = slow(first_view)
                loss = (loss + softcon(net(second_view), y2, keys=keys, key_labels=y1)) / 2
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip_norm)
            optimizer.step()
            t = (epoch + (i + 1) / len(batches)) / epochs
            m = 1 - 0.01 * (np.cos(np.pi * t) + 1) / 2
            with torch.no_grad():
                for a, b in zip(slow.parameters(), net.parameters(), strict=True):
                    a.copy_(m * a + (1 - m) * b)
            losses.append(loss.item())
    return losses, net, slow


@pytest.mark.parametrize("symmetric", [False, True])
def test_training_is_that_of_a_plain_loop(archive, tiny, tmp_path, symmetric):
    changes = {"method_params": {"symmetric": True}} if symmetric else {}
    loop = loop_of(config_of(archive, lr=0.01, epochs=3, **changes), tmp_path / "run")
    losses, net, slow = slow_training(loop.method, 3, symmetric)
    loop.fit(progress=False)
    per_epoch = np.array(losses).reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose([row["loss"] for row in loop.history], per_epoch, rtol=1e-5)
    for module, reference in ((loop.method.model, net), (loop.method.queue.encoder, slow)):
        for name, value in reference.state_dict().items():
            torch.testing.assert_close(module.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def with_grounds(config, groups=20):
    """The source of `config`, of whose images three each show one ground."""
    source = identify(config)
    archive = copy.copy(source.archive)
    object.__setattr__(archive, "grounds", tuple(f"p{i % groups}" for i in range(len(archive))))
    source = copy.copy(source)
    object.__setattr__(source, "archive", archive)
    return source


def test_seasons_of_a_place_are_each_others_views_with_their_own_labels(archive, tiny, tmp_path):
    config = config_of(archive, lr=0.01, epochs=2)
    (tmp_path / "run").mkdir()
    loop = Loop(SoftCon(with_grounds(config), CPU), tmp_path / "run", CPU, "owner")
    losses, net, _ = slow_training(loop.method, 2)
    loop.fit(progress=False)
    assert loop.history[0]["loss"] == pytest.approx(np.mean(losses[: len(losses) // 2]), rel=1e-5)
    torch.testing.assert_close(
        loop.method.model.state_dict(), net.state_dict(), rtol=1e-4, atol=1e-6
    )
    assert not torch.equal(loop.method.second, torch.arange(len(loop.method.rows)))
    alone = SoftCon(with_grounds(config), CPU, seasons=False)
    alone.begin(0)
    assert torch.equal(alone.second, torch.arange(len(alone.rows)))


@pytest.mark.parametrize("queue", [0, 12])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    archive, tiny, tmp_path, epochs, queue
):
    config = config_of(archive, lr=0.01, epochs=3, queue=queue)
    straight, first, second = (
        loop_of(config, tmp_path / name) for name in ("straight", "parts", "parts")
    )
    straight.fit(progress=False)
    stopped(first, epochs)
    second.fit(progress=False)
    for name, module in straight.method.modules.items():
        a, b = module.state_dict(), second.method.modules[name].state_dict()
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_plain_part_is_logged_and_is_all_of_infonce(archive, tiny):
    plain = train(config_of(archive, "infonce"), progress=False)
    assert plain.history["loss"].equals(plain.history["contrast"])
    assert (plain.history["soft_gradient"] == 0).all()
    soft = train(config_of(archive, loss_params={"soft_weight": 5.0}), progress=False)
    assert (soft.history["loss"] > soft.history["contrast"] + 1).all()
    ten = train(config_of(archive, loss_params={"soft_weight": 50.0}, lr=1e-9), progress=False)
    one = train(config_of(archive, loss_params={"soft_weight": 5.0}, lr=1e-9), progress=False)
    ratio = ten.history["soft_gradient"] / one.history["soft_gradient"]
    assert ratio.tolist() == pytest.approx([10] * 3, rel=1e-3)
    settings = {"momentum": 0.99, "momentum_end": 1.0, "mask_ratio": 0.0}
    assert soft.result["method"] == settings | {"symmetric": False, "seasons": True}


def test_two_views_of_one_batch_need_no_slow_copy(archive, tiny, tmp_path):
    method = loop_of(config_of(archive, views=2), tmp_path / "run").method
    assert method.queue is None and set(method.modules) == {"model", "loss"}
    method.begin(0)
    batch = torch.arange(6)
    z, y, keys = method.seen(batch)
    assert z.shape == (12, 8) and torch.equal(y[:6], y[6:]) and not keys
    assert method.step(batch)["contrast"].item() == pytest.approx(infonce(z, y).item(), rel=1e-6)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"method_params": {"symmetric": True}, "queue": 8}, "symmetric"),
        ({"method_params": {"symmetric": True}, "views": 2}, "symmetric"),
        ({"method_params": {"momentum": 1.5}}, r"momentum must be in \[0, 1\], got 1.5"),
        ({"momentum": 0.9}, "method_params"),
        ({"method_params": {"mask_ratio": 0.5}, "frozen_views": 2}, "frozen_views"),
    ],
)
def test_settings_that_cannot_be_are_refused(archive, tiny, changes, told):
    with pytest.raises(ValueError, match=told):
        train(config_of(archive, **changes), progress=False)


def test_an_unknown_setting_is_told_with_the_nearest(archive, tiny):
    with pytest.raises(TypeError, match="without a setting 'mask'; did you mean 'mask_ratio'"):
        train(config_of(archive, method_params={"mask": 0.5}), progress=False)
    with pytest.raises(TypeError, match="macl is trained by retrieval.*it has none"):
        train(config_of(archive, "macl", method_params={"momentum": 0.5}), progress=False)
    assert running.method_settings(config_of(archive, "chance")) == {}


def test_the_trainable_branch_alone_drops_tokens(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    config = config_of(
        archive, backbone="timm/vit_tiny_patch16_224:depth=1,patch_size=8,embed_dim=48,num_heads=3",
        method_params={"mask_ratio": 0.75}, epochs=2, lr=0.01,
    )  # fmt: skip
    straight, parts = (loop_of(config, tmp_path / name) for name in ("straight", "parts"))
    method, seen = straight.method, {}
    for name, net in (("fast", method.model), ("slow", method.queue.encoder)):
        net.backbone.blocks[0].register_forward_hook(
            lambda block, given, out, name=name: seen.setdefault(name, set()).add(given[0].shape[1])
        )
    epochs = []
    monkeypatch.setattr(
        Loop, "validate", lambda loop: epochs.append(dict(seen)) or {method.headline: 0}
    )
    straight.fit(progress=False)
    assert epochs[-1] == {
        "fast": {1 + 4},
        "slow": {1 + 16},
    }  # of 16 patches a quarter, and the class
    method.validate()
    assert seen["fast"] == {1 + 4, 1 + 16}, "judged by all that it sees"
    # which tokens are dropped is drawn anew after a resumption, as it would have been
    stopped(parts, 1)
    again = loop_of(config, tmp_path / "parts")
    again.fit(progress=False)
    a, b = method.model.state_dict(), again.method.model.state_dict()
    assert len(again.history) == 2 and all(torch.equal(a[key], b[key]) for key in a)


def test_tokens_are_dropped_where_there_are_some(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    with pytest.raises(ValueError, match="a convolutional network has none"):
        train(config_of(archive, method_params={"mask_ratio": 0.5}), progress=False)
