"""Small indexes, the network that makes them, and processes that can be killed while they do."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

CHUNK, BATCH = 8, 4  # in place of those of images and networks of another size


class SmallNet(nn.Module):
    """RetrievalNet's interface around means of cells, so that an index takes a moment."""

    def __init__(self, backbone, weights, embedding_dim, image_size, channels=3):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.head = nn.Linear(16 * channels, embedding_dim)

    def features(self, images):
        time.sleep(0.004)  # so that a build can be killed in its midst
        return self.pool(images).flatten(1) + 0.01

    def project(self, features):
        return nn.functional.normalize(self.head(features), dim=1)


def small(patch):
    """Let networks be small and chunks short; `patch(target, value)` sets an attribute by name."""
    from maclcore.search import build, embedder

    patch(embedder, "RetrievalNet", SmallNet)
    patch(embedder, "BATCH", BATCH)
    patch(build, "CHUNK", CHUNK)


def picture(file, seed, size=(24, 18)):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3))
    Image.fromarray(pixels.astype(np.uint8)).save(file)


def folder_of(root, images, labels=("sea", "pier"), header=(), more=lambda i: ()):
    """A plain archive: `images` are seeds by name; labels by the bits of the seed."""
    lines = [",".join(["image", *labels, *header])]
    for i, (name, seed) in enumerate(images.items()):
        picture(root / "images" / f"{name}.png", seed)
        on = [1 if j == 0 else seed >> j & 1 for j in range(len(labels))]
        lines.append(",".join(map(str, [name, *on, *more(i)])))
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def names(n, start=0):
    return {f"img{i:03}": i for i in range(start, start + n)}


def network():
    from maclcore.search.embedder import Embedder

    return Embedder.of_backbone("small", "none", 16)


def content(index):
    """All that an index holds, in the order of names."""
    return index.table.to_arrow().sort_by("name").to_pylist()


def index_folder(folder, where, beside=False):
    """`index build`, or `index add`, of a folder."""
    from maclcore.data.archives import read_archive
    from maclcore.search.build import take

    catalogue = read_archive(folder, progress=False)
    return take(catalogue, network(), where, beside=beside)


def killed(folder, where, beside, after):
    """`index_folder` in a process that is killed so many seconds after it began; if it was."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["maclcore.training", "maclcore.data.archives"])
    begun, ours = context.Pipe()
    process = context.Process(target=_child, args=(ours, str(folder), str(where), beside))
    process.start()
    begun.recv()
    process.join(after)
    process.kill()
    process.join()
    return process.exitcode < 0


def _child(pipe, folder, where, beside):
    torch.set_num_threads(1)
    small(setattr)
    pipe.send("begun")
    index_folder(Path(folder), where, beside)
