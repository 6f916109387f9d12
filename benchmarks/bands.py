"""What images of many bands cost in training beyond the network, and which part of that costs it.

A step on an archive's images (read ahead, augmented, through the network, updated) against the same
step on a tensor that lies ready; then the parts of the augmentation on one batch. All are
interleaved in one process; minimum of repeats, by the clock and by processor time, which other work
on the machine leaves alone.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from maclcore.config import Config
from maclcore.data import Archive, augment, augment_bands, load_archive
from maclcore.data.sampler import shuffled
from maclcore.data.stream import Images
from maclcore.models.network import RetrievalNet, autocast
from maclcore.store.identity import Source
from maclcore.training.inputs import Pixels


class Training:
    """A network and its optimiser; the loss is a fixed direction, so that it costs nothing."""

    def __init__(self, config: Config, channels: int) -> None:
        torch.manual_seed(0)
        self.model = RetrievalNet(
            config.backbone, "none", config.embedding_dim, config.image_size, channels=channels
        ).to(memory_format=torch.channels_last)
        self.model.train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, fused=True)
        self.direction = torch.randn(config.batch_size, config.embedding_dim)

    def update(self, z: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        (z * self.direction).sum().backward()
        self.optimizer.step()


def bare_step(config: Config, channels: int) -> Callable[[], None]:
    training = Training(config, channels)
    side = config.image_size
    images = torch.rand(config.batch_size, channels, side, side)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with autocast(torch.device("cpu"), config.precision):
            z = training.model(images)
        training.update(z)

    return step


def real_step(config: Config, archive: Archive) -> Callable[[], None]:
    source = Source(config, (), archive, archive.split(0), {})
    pixels = Pixels(Images(archive.images), source, torch.device("cpu"))
    training = Training(config, len(archive.bands))

    def steps() -> Iterator[None]:
        epoch = 0
        while True:
            varied = pixels.of_epoch(epoch, 1)
            order = shuffled(len(pixels.rows), config.batch_size, seed=0, epoch=epoch)
            rows = iter(order)
            for index in pixels.ahead([pixels.rows[batch] for batch in order]):
                yield training.update(pixels.through(training.model, index, varied[next(rows)]))
            epoch += 1

    return steps().__next__


def parts(config: Config, archive: Archive) -> dict[str, Callable[[], object]]:
    """The steps of `augment_bands.augment` on one batch, each on what the one before it made."""
    images = torch.from_numpy(archive.images[: config.batch_size].copy())
    rule = augment_bands.augmentation(archive.bands)
    u = rule.draw(len(images), seed=0, epoch=0)
    place, floats = F.pad(u[:, :6], (0, 1)), images.float() / 255

    def colour() -> torch.Tensor:
        matrix, shift = augment_bands.colour(u[:, 6:10], floats, archive.bands)
        return torch.baddbmm(shift, matrix, floats.flatten(2)).view_as(floats)

    return {
        "all": lambda: rule.augment(images, u),
        "to floats": lambda: images.float() / 255,
        "crop": lambda: augment.move(floats, place, augment_bands.CROP_AREA, 0),
        "colour": colour,
        "blur": lambda: augment_bands.blur(floats, u[:, 10:]),
    }


def measure(variants: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each, by the clock and of the processors: minima of interleaved repeats."""
    best = {name: [float("inf")] * 2 for name in variants}
    for turn in range(repeats + 1):
        for name, run in variants.items():
            before = time.perf_counter(), time.process_time()
            run()
            after = time.perf_counter(), time.process_time()
            if turn:  # the first warms up
                took = [1e3 * (b - a) for a, b in zip(before, after, strict=True)]
                best[name] = [min(pair) for pair in zip(best[name], took, strict=True)]
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bands", default="s2")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    name = "synthetic_sentinel"
    archive = load_archive(name, image_size=args.size, bands=args.bands, progress=False)
    config = Config(
        archive=name, image_size=args.size, bands=args.bands, batch_size=args.batch,
        precision=args.precision, weights="none",
    )  # fmt: skip
    channels = len(archive.bands)
    print(f"{channels} bands, {args.size} px, batches of {args.batch}, {args.precision}, "
          f"{torch.get_num_threads()} threads; ms by the clock, ms of the processors")  # fmt: skip
    steps = {"bare": bare_step(config, channels), "real": real_step(config, archive)}
    took = measure(steps, args.repeats)
    for name, (clock, processor) in took.items():
        print(f"{name:10} {clock:8.1f} {processor:8.1f}")
    ratios = [bare / real for bare, real in zip(took["bare"], took["real"], strict=True)]
    print(f"real step at {ratios[0]:.2f} of the bare one's speed, {ratios[1]:.2f} by processor")
    for name, (clock, processor) in measure(parts(config, archive), args.repeats).items():
        print(f"{name:10} {clock:8.1f} {processor:8.1f}")


if __name__ == "__main__":
    main()
