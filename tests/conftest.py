"""Settings of all tests."""

import os

# Before torch is imported: parallel workers with several threads each slow one another down.
os.environ.setdefault("OMP_NUM_THREADS", "1")


import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import nn


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """A folder of sixty images whose labels are the colours of their stripes."""
    folder = tmp_path_factory.mktemp("colours")
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for i in range(60):
        on = generator.random(3) < 0.5
        on[generator.integers(3)] = True
        pixels = generator.integers(0, 60, (32, 32, 3))
        for label in np.flatnonzero(on):
            start = generator.integers(0, 26)
            pixels[start : start + 6, :, label] = generator.integers(180, 256)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"img{i:02}.png")
        rows.append([f"img{i:02}", *on.astype(int)])
    table = pd.DataFrame(rows, columns=["image", "red", "green", "blue"])
    table.to_csv(folder / "labels.csv", index=False)
    return folder


class TinyNet(nn.Module):
    """RetrievalNet's interface around one linear layer, so that hundreds of runs take seconds."""

    def __init__(
        self, backbone, weights, embedding_dim, image_size, channels=3, first_layer="random"
    ):
        super().__init__()
        self.fresh, self.channels = [], channels
        self.backbone = nn.Identity()  # whose weights a cache of features is known by
        self.pool, self.head = nn.AdaptiveAvgPool2d(4), nn.Linear(16 * channels, embedding_dim)

    def features(self, images):
        return self.pool(images).flatten(1)

    def project(self, features):
        return nn.functional.normalize(self.head(features), dim=1)

    def forward(self, images):
        return self.project(self.features(images))


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """An empty store, and TinyNet in place of the network, in this process only."""
    monkeypatch.setattr("maclcore.training.retrieval.RetrievalNet", TinyNet)
    monkeypatch.setattr("maclcore.store.provenance.git_revision", lambda: "")
    monkeypatch.setenv("MACL_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"
