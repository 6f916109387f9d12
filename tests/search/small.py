"""A small index whose network is one layer, for the tests of queries and their results."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from maclcore.data.archives import read_archive
from maclcore.search.build import build
from maclcore.search.embedder import Embedder

LABELS = ("o'clock", 'say "hi"', "a, b", "<b>bold</b>")
NAMES = ("it's", "<i onclick=alert(1)>", "100%_sure", "ünï", 'a "quoted" one')


class Net(torch.nn.Module):
    """`RetrievalNet`'s interface around one pooling layer, so that an index takes no time."""

    def __init__(self, backbone, weights, embedding_dim, image_size, channels=3):
        super().__init__()
        self.pool, self.head = torch.nn.AdaptiveAvgPool2d(4), torch.nn.Linear(48, embedding_dim)

    def features(self, images):
        return self.pool(images).flatten(1)

    def project(self, features):
        return torch.nn.functional.normalize(self.head(features), dim=1)


def folder(at, n=40):
    """An archive with names and labels that a careless program would obey."""
    (at / "images").mkdir(parents=True)
    generator = np.random.default_rng(1)
    names = [*NAMES, *(f"img{i:02}" for i in range(n - len(NAMES)))]
    lines = ["image," + ",".join('"' + label.replace('"', '""') + '"' for label in LABELS)]
    for name in names:
        base = generator.integers(0, 200, 3)
        pixels = (base + generator.integers(0, 50, (16, 16, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(at / "images" / f"{name}.png")
        on = generator.random(4) < 0.4
        on[generator.integers(4)] = True
        said = '"' + name.replace('"', '""') + '"'
        lines.append(",".join([said, *map(str, on.astype(int))]))
    (at / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return at


def index_of(archive, where, **columns):
    """Its index, by `RetrievalNet`, which is to be `Net`, with columns of its owner's."""
    embedder = Embedder.of_backbone("tiny", "none", 16)
    return build(
        replace(read_archive(str(archive), progress=False), columns=columns), embedder, where
    )
