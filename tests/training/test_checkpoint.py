"""A checkpoint gives every tensor back under its own name, and sees any that has moved."""

import itertools

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from maclcore.training import checkpoint
from maclcore.training.checkpoint import CheckpointWarning

HISTORY = [{"epoch": 1, "loss": 0.5}]


def session(seed):
    """Two modules of the same shapes, layers of the same shapes, and an optimiser with moments."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))
    model = layers.to(memory_format=torch.channels_last)
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.Adam([*model.parameters(), *other.parameters()], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.randn(4, 2, 6, 6)).square().mean() + other(torch.randn(4, 2)).sum()).backward()
        optimizer.step()
    return {"model": model, "loss": other}, optimizer


def state(modules, optimizer):
    """Everything that a checkpoint holds, by name."""
    found = {f"{m}.{k}": v for m in modules for k, v in modules[m].state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        found |= {f"{i}.{k}": v for k, v in moments.items()}
    return {name: value.clone() for name, value in found.items()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def saved(folder, seed=0, run_id="run", history=HISTORY):
    modules, optimizer = session(seed)
    checkpoint.save(folder, run_id, history, modules, optimizer)
    return state(modules, optimizer)


def contents(file):
    with safe_open(file, framework="pt") as stored:
        names = list(stored.keys())
        return {name: stored.get_tensor(name) for name in names}, stored.metadata()


def test_every_tensor_comes_back_under_its_name(tmp_path):
    expected = saved(tmp_path)
    values = [value for value in expected.values() if value.numel() > 1]
    same = [(a, b) for a, b in itertools.combinations(values, 2) if a.shape == b.shape]
    assert len(same) > 30 and sum(torch.equal(a, b) for a, b in same) == 0, "else a swap is unseen"
    modules, optimizer = session(1)
    assert not torch.equal(state(modules, optimizer)["model.0.weight"], expected["model.0.weight"])
    assert checkpoint.restore(tmp_path, "run", modules, optimizer) == HISTORY
    assert_equal(state(modules, optimizer), expected)
    for parameter, moments in optimizer.state.items():  # in the layout the next step is fastest in
        assert moments["exp_avg"].stride() == parameter.stride()
        assert moments["step"].shape == ()


def test_a_fresh_optimiser_has_nothing_to_give_and_gets_all(tmp_path):
    expected = saved(tmp_path)
    modules, _ = session(1)
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = torch.optim.Adam([{"params": parameters[:2]}, {"params": parameters[2:]}])
    checkpoint.restore(tmp_path, "run", modules, optimizer)
    assert_equal(state(modules, optimizer), expected)


def test_two_tensors_that_changed_places_are_damage(tmp_path):
    saved(tmp_path)
    (file,) = tmp_path.glob("checkpoint-*")
    tensors, metadata = contents(file)
    pairs = itertools.combinations(sorted(tensors), 2)
    swaps = [(a, b) for a, b in pairs if tensors[a].shape == tensors[b].shape]
    swaps = [(a, b) for a, b in swaps if not torch.equal(tensors[a], tensors[b])]
    kinds = {(a.split(".")[0], b.split(".")[0]) for a, b in swaps}
    # the moments of one parameter, of two, and modules among each other
    assert {("optimizer", "optimizer"), ("loss", "model"), ("model", "optimizer")} <= kinds
    for a, b in swaps:
        save_file(tensors | {a: tensors[b], b: tensors[a]}, file, metadata)
        with pytest.raises(ValueError, match="checksum"):
            checkpoint._read(file)
    modules, optimizer = session(1)
    before = state(modules, optimizer)
    with pytest.warns(CheckpointWarning, match=f"{file.name} is damaged .*going on without it"):
        assert checkpoint.restore(tmp_path, "run", modules, optimizer) == []
    assert_equal(state(modules, optimizer), before)


@pytest.mark.parametrize("key, value", [("run_id", "ruin"), ("history", "[]"), ("crc32", "0" * 8)])
def test_the_checksum_covers_what_is_beside_the_tensors(tmp_path, key, value):
    saved(tmp_path)
    (file,) = tmp_path.glob("checkpoint-*")
    tensors, metadata = contents(file)
    save_file(tensors, file, metadata | {key: value})
    with pytest.raises(ValueError, match="checksum"):
        checkpoint._read(file)


@pytest.mark.parametrize("lacks", [{"crc32"}, {"run_id"}, {"history"}])
def test_a_file_of_somebody_else_is_left_aside(tmp_path, lacks):
    saved(tmp_path)
    (file,) = tmp_path.glob("checkpoint-*")
    tensors, metadata = contents(file)
    save_file(tensors, file, {k: v for k, v in metadata.items() if k not in lacks})
    with pytest.warns(CheckpointWarning, match="damaged"):
        assert checkpoint.restore(tmp_path, "run", *session(1)) == []


def test_a_file_that_cannot_be_read_is_left_aside(tmp_path):
    expected = saved(tmp_path, history=HISTORY * 2)
    (tmp_path / "checkpoint-1.safetensors").symlink_to(tmp_path / "gone")
    modules, optimizer = session(1)
    with pytest.warns(CheckpointWarning, match="checkpoint-1.safetensors is damaged"):
        assert checkpoint.restore(tmp_path, "run", modules, optimizer) == HISTORY * 2
    assert_equal(state(modules, optimizer), expected)


def test_the_newest_of_two_is_restored_whichever_file_it_is_in(tmp_path):
    assert checkpoint.restore(tmp_path, "run", *session(1)) == []
    history = []
    for epoch in range(1, 5):
        history = [*history, {"epoch": epoch}]
        expected = saved(tmp_path, seed=epoch, history=history)
        assert len(list(tmp_path.iterdir())) == min(epoch, 2), "by turns, and nothing else is left"
        modules, optimizer = session(9)
        assert checkpoint.restore(tmp_path, "run", modules, optimizer) == history
        assert_equal(state(modules, optimizer), expected)
    with pytest.raises(ValueError, match="belongs to run run; delete it"):
        checkpoint.restore(tmp_path, "another", *session(1))
    checkpoint.remove(tmp_path)
    assert not list(tmp_path.iterdir())
