"""Small indexes, the network that makes them, and processes that can be killed while they do."""

import itertools
import multiprocessing
import signal
import time
from contextlib import suppress
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
        self.shift = nn.Parameter(torch.rand(16 * channels) / 50)
        self.head = nn.Linear(16 * channels, embedding_dim)

    def features(self, images):
        time.sleep(0.004)  # so that a build can be killed in its midst
        return self.pool(images).flatten(1) + self.shift

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


def steps(folder, where, beside, last=None, seconds=0.0):
    """The steps of `index_folder` in a process of its own, and whether it was killed.

    It is, `seconds` after the step number `last` began, by its own clock: the moment is the same
    however busy the machine is.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["maclcore.search.build", "maclcore.data.archives"])
    ours, theirs = context.Pipe(duplex=False)
    what = (theirs, str(folder), str(where), beside, last, seconds)
    process = context.Process(target=_child, args=what)
    process.start()
    theirs.close()
    begun = []
    with suppress(EOFError):
        while True:
            begun.append(ours.recv())
    process.join()
    return begun, process.exitcode < 0


def _child(pipe, folder, where, beside, last, seconds):
    from maclcore.search import table

    numbers = itertools.count(1)

    def step(name):
        pipe.send(name)
        if next(numbers) == last:  # a signal that nothing handles, so it ends the process
            signal.setitimer(signal.ITIMER_REAL, seconds)

    torch.set_num_threads(1)
    small(setattr)
    told(SmallNet, "features", step)
    for method in ("contents", "put", "update", "say", "tidy"):
        told(table.Table, method, step)
    step("start")
    index_folder(Path(folder), where, beside)


def told(of, method, step):
    """Let a method tell its name when it is called."""
    before = getattr(of, method)

    def telling(*arguments):
        step(method)
        return before(*arguments)

    setattr(of, method, telling)
