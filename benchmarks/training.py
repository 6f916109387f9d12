"""Training against its own bare model, a plain loop, streaming, and what memory it takes.

Each part interleaves its variants in one process and takes minima; ratios are what counts, since
absolute times depend on the machine and on what else it does. Memory is measured in processes of
their own: resident, and of that what belongs to no file.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from maclcore.config import Config
from maclcore.data import Archive, Split, augment, load_archive
from maclcore.data.sampler import shuffled
from maclcore.data.stream import Images
from maclcore.models.network import RetrievalNet, autocast
from maclcore.store.identity import Source
from maclcore.training import train
from maclcore.training.loop import Loop
from maclcore.training.retrieval import Retrieval


def session(config: Config, archive: Archive, split: Split, device: torch.device) -> Loop:
    source = Source(config, (), archive, split, {})
    loop = Loop(Retrieval(source, device), Path(tempfile.mkdtemp()), device)
    loop.method.begin(0)
    for module in loop.method.modules.values():
        module.train()
    return loop


def bare_step(config: Config, device: torch.device):
    """Forward, backward and optimiser on a fixed batch, in the form in which training runs it."""
    torch.manual_seed(0)
    model = RetrievalNet(config.backbone, "none", config.embedding_dim, config.image_size)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    images = torch.rand(config.batch_size, 3, config.image_size, config.image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    direction = torch.randn(config.batch_size, config.embedding_dim, device=device)

    def step():
        with autocast(device, config.precision):
            z = model(images)
        optimizer.zero_grad(set_to_none=True)
        (z * direction).sum().backward()
        optimizer.step()

    return step


def real_step(config: Config, device: torch.device):
    """One step of training as an epoch makes it: read ahead, augment, loss, clip, update."""
    archive = load_archive(config.archive, image_size=config.image_size, progress=False)
    split = archive.split(0)
    training = session(config, archive, split, device)

    def steps():
        while True:
            for batch in training.method.ahead(training.batches(0)):
                yield training.step(batch)

    return steps().__next__


class Plain(Dataset):
    """Images and labels of an archive, each with torchvision's transforms, as tutorials do it."""

    def __init__(self, config: Config):
        self.archive = load_archive(config.archive, image_size=config.image_size, progress=False)
        self.index = self.archive.split(0).train
        self.transform = v2.Compose(
            [
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomResizedCrop(
                    config.image_size, augment.CROP_AREA, augment.CROP_RATIO, antialias=True
                ),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
                v2.RandomRotation(augment.ROTATION, v2.InterpolationMode.BILINEAR),
                v2.ColorJitter(
                    augment.BRIGHTNESS, augment.CONTRAST, augment.SATURATION, augment.HUE
                ),
            ]
        )

    def __len__(self):
        return len(self.index)

    def __getitem__(self, i):
        row = self.index[i]
        return self.transform(torch.from_numpy(self.archive.images[row].copy())), row


def plain_step(config: Config, device: torch.device):
    """The same work by a DataLoader with two workers and torchvision v2, image by image."""
    data = Plain(config)
    training = session(config, data.archive, data.archive.split(0), device)
    loader = DataLoader(data, config.batch_size, shuffle=True, num_workers=2, drop_last=True)

    def steps():
        while True:
            for images, rows in loader:
                images = images.to(device).contiguous(memory_format=torch.channels_last)
                with autocast(device, config.precision):
                    z = training.method.model(images)
                loss = training.method.loss(z, training.method.y[rows.to(device)])
                training.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(training.parameters, config.clip_norm)
                yield training.optimizer.step()

    return steps().__next__


def interleaved(steps: dict, repeats: int, device: torch.device) -> dict[str, np.ndarray]:
    """Least seconds of each of `steps`, by the clock and of this process's processors.

    They take turns; the first turn warms up. On a busy machine the second figure is the steadier.
    """
    best = {name: np.full(2, np.inf) for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            _wait(device)
            start = np.array([time.perf_counter(), time.process_time()])
            step()
            _wait(device)
            taken = np.array([time.perf_counter(), time.process_time()]) - start
            if repeat:
                best[name] = np.minimum(best[name], taken)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def speed(size: int, options, device: torch.device) -> None:
    config = Config(archive=options.archive, image_size=size, weights="none", precision="bf16")
    work = {"bare": bare_step(config, device), "real": real_step(config, device)}
    work["bare, fp32"] = bare_step(config.but(precision="fp32"), device)
    if options.plain:
        work["plain"] = plain_step(config, device)
    best = interleaved(work, options.repeats, device)
    print(f"\n{size} px, batch {config.batch_size}, bf16 unless said otherwise")
    for name, (clock, processor) in best.items():
        share, of_time = best["bare"] / best[name]
        print(
            f"  {name:12}{config.batch_size / clock:8.0f} images/s  {share:5.2f} of bare; "
            f"processor {processor:6.2f} s, {of_time:5.2f} of bare"
        )
    ratios = {"fp32 / bf16": best["bare, fp32"][0] / best["bare"][0]}
    if options.plain:
        ratios["plain / real"] = best["plain"][0] / best["real"][0]
    print("  " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()), flush=True)


# --- A second run, streaming, and memory ---------------------------------------------------------


def second_run(device: torch.device) -> None:
    """Seconds of a run that are not of its epochs, for two runs in one process."""
    print("\nseconds of a run outside its epochs (32 px, archive decoded before)")
    load_archive("synthetic", image_size=32, progress=False)
    for seed in (0, 1):
        run = train(
            Config.from_profile("smoke", epochs=1, seed=seed), progress=False, device=str(device)
        )
        rest = run.result["seconds"] - run.history["seconds"].sum()
        print(f"  run {seed + 1} of the process: {rest:.2f}", flush=True)


def frozen_runs(device: torch.device) -> None:
    """Head-only trainings a minute, once the features are stored: their size is all that counts."""
    config = Config.from_profile("frozen", image_size=32, weights="none", frozen_views=2)
    train(config.but(loss="frozen"), progress=False, device=str(device))
    print(f"\nonly the head trains, {config.epochs} epochs of 1,475 images")
    for loss in ("mulsupcon", "macl"):
        runs = [config.but(loss=loss, lr=lr) for lr in (1e-3, 2e-3, 3e-3)]
        seconds = min(train(run, progress=False).result["seconds"] for run in runs)
        print(f"  {loss:10}{seconds:5.1f} s a run, {60 / seconds:4.1f} a minute", flush=True)


def random_archive(size: int, images: int, folder: str) -> Archive:
    """Random images, on disk and in no cache of the system; labels of fifty scenes."""
    generator, file = np.random.default_rng(0), Path(folder) / "images.npy"
    with open(file, "wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": (images, 3, size, size)}
        np.lib.format.write_array_header_1_0(out, header)
        for _ in range(images):
            out.write(generator.bytes(3 * size * size))
        out.flush()
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    labels = (generator.random((50, 17)) < 0.2)[generator.integers(0, 50, images)]
    labels[:, 0] |= ~labels.any(axis=1)
    names = tuple(map(str, range(images)))
    return Archive("random", np.load(file, mmap_mode="r"), labels, names[:17], names, "", "Random")


def measure(way: str, size: int, images: int, batch: int, micro: int, steps: int, device: str):
    """Print images/s and MiB at the peak, in all and of no file, of `steps` of training.

    way: "streamed", "mapped" (rows gathered through the memory map) or "held" (in memory).
    """
    on = torch.device(device)
    config = Config(
        image_size=size, weights="none", batch_size=batch, micro_batch=micro or None,
        precision="bf16", loss="mulsupcon",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        archive = random_archive(size, images, folder)
        every = np.arange(images)
        training = session(config, archive, Split(every, every[:1], every[:1]), on)
        if way != "streamed":
            pixels = archive.images if way == "mapped" else np.array(archive.images)
            training.method.inputs.images = Images(pixels.view(np.ndarray), on)
        seconds = []
        batches = list(shuffled(images, batch, seed=0, epoch=0)[:steps])
        start = time.perf_counter()
        for index in training.method.ahead(batches):
            training.step(index)
            _wait(on)
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
    status = Path("/proc/self/status").read_text()
    peak, files = (int(status.split(name)[1].split()[0]) >> 10 for name in ("VmHWM:", "RssFile:"))
    told = f"{batch / min(seconds):6.0f} images/s, peak {peak} MiB, {files} MiB of mapped files"
    if on.type == "cuda":
        told += f", {torch.cuda.max_memory_allocated() >> 20} MiB on the GPU"
    print(told)


def memory(title: str, cases: list[tuple], device: torch.device) -> None:
    print(f"\n{title}")
    for case in cases:
        way, size, images, batch, micro, _ = case
        code = f"import training; training.measure(*{case!r}, {str(device)!r})"
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent
        )
        archive = images * 3 * size**2 >> 20
        parts = f" in parts of {micro}" if micro else ""
        print(f"  {way:9}{size:4} px {archive:6} MiB on disk, batch {batch}{parts}: ", end="")
        print((run.stdout or run.stderr.splitlines()[-1]).strip(), flush=True)


PARTS = ("speed", "second", "frozen", "streaming", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--archive", default="synthetic")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-plain", dest="plain", action="store_false", help="no plain loop")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{device}, {torch.get_num_threads()} threads, load {load}, ResNet-18, macl")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MACL_RESULTS"] = folder
        if "second" in options.parts:
            second_run(device)
        if "frozen" in options.parts:
            frozen_runs(device)
        del os.environ["MACL_RESULTS"]
    if "speed" in options.parts:
        for size in options.sizes:
            speed(size, options, device)
    if "streaming" in options.parts:
        small, large = 8_000, 40_000  # 94 and 469 MiB of 64 x 64 pixels
        ways = [("streamed", small), ("streamed", large), ("mapped", large), ("held", large)]
        cases = [(way, 64, images, 128, 0, 12) for way, images in ways]
        memory("streaming: the same steps, whatever the archive's size", cases, device)
    if "memory" in options.parts:
        cases = [("streamed", 64, 8_192, 128, 0, 2), ("streamed", 64, 8_192, 4096, 128, 1)]
        cases += [("streamed", 224, 512, 128, 0, 1)]
        memory("memory of a batch", cases, device)


if __name__ == "__main__":
    main()
