"""Images per second of a training step against the bare model, and bf16 against fp32."""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from maclcore.config import Config
from maclcore.data import load_archive
from maclcore.data.augment import draw
from maclcore.data.sampler import shuffled
from maclcore.model import RetrievalNet, autocast
from maclcore.train import _Training


def bare_step(config: Config, device: torch.device):
    """Forward, backward and optimiser on a fixed batch, in the form in which training runs it."""
    torch.manual_seed(0)
    model = RetrievalNet(config.backbone, "none", config.embedding_dim, config.image_size)
    channels_last = config.precision == "bf16"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device, memory_format=layout).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    images = torch.rand(config.batch_size, 3, config.image_size, config.image_size, device=device)
    images = images.contiguous(memory_format=layout)
    direction = torch.randn(config.batch_size, config.embedding_dim, device=device)

    def step():
        with autocast(device, config.precision):
            z = model(images)
        optimizer.zero_grad(set_to_none=True)
        (z * direction).sum().backward()
        optimizer.step()

    return step


def real_step(config: Config, device: torch.device):
    archive = load_archive(config.archive, image_size=config.image_size, progress=False)
    split = archive.split(0)
    torch.manual_seed(0)
    model = RetrievalNet(config.backbone, "none", config.embedding_dim, config.image_size)
    model = model.to(device, memory_format=torch.channels_last).train()
    training = _Training(config, archive, split, model, Path(tempfile.mkdtemp()), device)
    uniform = draw(len(archive.images), seed=0, epoch=0)[training.rows]
    batches = iter([])

    def step():
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(shuffled(len(uniform), config.batch_size, seed=0, epoch=0))
            batch = next(batches)
        training.step(batch, uniform)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", default="synthetic")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"device {device}, {torch.get_num_threads()} threads, batch 128, ResNet-18, macl")
    for size in options.sizes:
        base = Config(archive=options.archive, image_size=size, weights="none", precision="bf16")
        steps = {
            "real step, bf16": real_step(base, device),
            "bare model, bf16 + channels_last": bare_step(base, device),
            "bare model, fp32": bare_step(base.but(precision="fp32"), device),
        }
        best = dict.fromkeys(steps, float("inf"))
        for repeat in range(options.repeats + 1):
            for name, step in steps.items():
                if device.type == "cuda":
                    torch.cuda.synchronize()
                start = time.perf_counter()
                step()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if repeat:  # the first warms up
                    best[name] = min(best[name], time.perf_counter() - start)
        print(f"\n{size} px")
        for name, seconds in best.items():
            print(f"  {name:34}{base.batch_size / seconds:8.0f} images/s  {seconds * 1e3:7.0f} ms")
        real, bare, full = best.values()
        print(f"  data, augmentation, loss and clipping cost {100 * (real / bare - 1):.1f} %")
        print(f"  bf16 + channels_last is {full / bare:.2f} x fp32")


if __name__ == "__main__":
    main()
