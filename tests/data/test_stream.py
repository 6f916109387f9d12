"""Streaming gives the same images and weights as arrays in memory, in bounded memory."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from maclcore.config import Config
from maclcore.data import load_archive, stream
from maclcore.data.stream import Images
from maclcore.evaluation.embedding import embed
from maclcore.store import identity
from maclcore.training import load_model, train

N = 400


@pytest.fixture
def mapped(tmp_path):
    """Random images (400, 3, 16, 16), on disk."""
    pixels = np.random.default_rng(0).integers(0, 256, (N, 3, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def resident(file) -> int:
    """kB of the process's maps of `file` that are in memory."""
    parts = Path("/proc/self/smaps").read_text().split(f"{file}\n")[1:]
    return sum(int(part.split("Rss:")[1].split()[0]) for part in parts)


def shuffled(seed=0):
    return torch.randperm(N, generator=torch.Generator().manual_seed(seed)).split(32)


def test_rows_are_those_of_the_array_in_any_order_and_never_in_the_map(mapped):
    images = Images(mapped)
    assert len(images) == N and images.shape == mapped.shape
    got = [images[batch].numpy() for batch in images.ahead(shuffled())]
    assert resident(mapped.filename) == 0
    order = torch.cat(shuffled()).numpy()
    assert np.array_equal(np.concatenate(got), mapped[order])
    assert resident(mapped.filename) > 0  # now that numpy has gone through the map


def test_a_batch_is_read_once_whatever_parts_of_it_are_asked_for(mapped, monkeypatch):
    read = []
    original = Images._read
    monkeypatch.setattr(
        Images, "_read", lambda self, index: read.append(len(index)) or original(self, index)
    )
    images = Images(mapped)
    for batch in images.ahead(shuffled()[:3]):
        for index in (batch, batch.flip(0), batch[5:9], batch.repeat(2)):
            assert np.array_equal(images[index], mapped[index.numpy()])
    assert read == [32] * 3
    assert np.array_equal(images[torch.tensor([7])], mapped[7:8]) and read[3:] == [1]


def test_only_some_batches_are_read_ahead(mapped, monkeypatch):
    read = []
    original = Images._read
    monkeypatch.setattr(
        Images, "_read", lambda self, index: read.append(0) or original(self, index)
    )
    for used, _ in enumerate(Images(mapped).ahead(shuffled()), start=1):
        assert used <= len(read) <= used + stream.AHEAD


@pytest.mark.parametrize(
    "part",
    [
        lambda mapped: mapped[100:],
        lambda mapped: mapped[50:][50:],
        lambda mapped: mapped[::3],
        lambda mapped: mapped[::-1],
        lambda mapped: mapped.transpose(0, 1, 3, 2),
        lambda mapped: np.array(mapped),
        lambda mapped: torch.from_numpy(np.array(mapped)),
    ],
    ids=["slice", "slice of a slice", "step", "reversed", "transposed", "array", "tensor"],
)
def test_views_of_a_map_and_arrays_in_memory(mapped, part):
    source = part(mapped)
    index = torch.tensor([0, 5, 99, 5, -1])
    images = Images(source)
    assert np.array_equal(images[index], source[index.numpy()])
    with pytest.raises(IndexError):
        images[torch.tensor([len(source)])]


def test_the_file_may_be_deleted_but_not_cut_short(mapped):
    images = Images(mapped)
    os.truncate(mapped.filename, os.path.getsize(mapped.filename) - 1)
    assert images[torch.tensor([N - 2])].shape == (1, 3, 16, 16)
    with pytest.raises(OSError, match=r"images.npy is cut short at row 399"):
        list(images.ahead([torch.tensor([N - 1])]))
    os.unlink(mapped.filename)
    assert images[torch.tensor([0])].shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    "options", [{}, {"views": 2, "micro_batch": 50}], ids=["batches", "two views in parts"]
)
def test_streamed_and_resident_trainings_give_the_same_weights(tmp_path, monkeypatch, options):
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path))
    small = {"epochs": 2, "backbone": "shufflenet_v2_x0_5", "embedding_dim": 8, **options}
    config = Config.from_profile("smoke", loss="mulsupcon", **small)
    archive = load_archive("synthetic", n=300, image_size=32)
    in_memory = dataclasses.replace(archive, images=torch.from_numpy(np.array(archive.images)))
    runs = []
    for name, source in {"streamed": archive, "resident": in_memory}.items():
        monkeypatch.setenv("MACL_RESULTS", str(tmp_path / name))
        monkeypatch.setattr(identity, "load_archive", lambda *_, source=source, **__: source)
        runs.append(train(config, progress=False))
    a, b = (load_model(run).state_dict() for run in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert runs[0].metrics == runs[1].metrics
    assert np.array_equal(*(run.embeddings for run in runs))


def test_embedding_an_archive_streams_too(mapped):
    class Mean(torch.nn.Module):
        features = staticmethod(lambda pixels: pixels.flatten(1))
        project = staticmethod(lambda features: features[:, :4])

    index = torch.arange(N).flip(0)
    z, h = embed(Mean(), mapped, index, batch_size=64)
    assert resident(mapped.filename) == 0
    assert np.array_equal(h.numpy(), mapped[::-1].reshape(N, -1).astype(np.float32) / 255)
    assert torch.equal(z, h[:, :4])
