"""Forward and backward of the losses against the formulations in use: time and extra memory.

expanded   MulSupCon over (anchor, label) pairs, as its released code computes it: M x N numbers
pml        SupConLoss of pytorch-metric-learning, on labels of which every image has one
dense      the formula as it reads, through autograd (`losses.kernel.contrast`)
the rest   this package, by name; its form is chosen by size; of `CUBIC` losses up to 1,024 images

`--step` has training steps of the whole network at 64 px instead, one loss against another.

Times are interleaved, the minimum of the repeats. Memory is the peak of one step above where it
began: of the process, which is then one of its own, or of the GPU's allocator.
"""

import argparse
import subprocess
import sys
import time

import pandas as pd
import torch
import torch.nn.functional as F
from training import real_step

from maclcore import LabelStatistics, build_loss
from maclcore.config import Config
from maclcore.losses import LOSSES
from maclcore.losses.kernel import REDUCTIONS, contrast
from maclcore.losses.pairs import Pairs

DIM = 128
OURS = ("mulsupcon", "macl", "supcon_any", "lmsc", "lreg", "graded", "graded_lmsc")
#: those that compare three images with one another
CUBIC = ("oml", "hap", "smooth_ap", "four_parts")
#: on a batch that holds two views of half as many images
TWINS = ("infonce", "softcon")


def batch(n: int, labels: int, device: str, single: bool = False):
    """Unit rows, and labels 3.4 an image as DLRSD has them: few common, many rare."""
    generator = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(n, DIM, generator=generator)).to(device).requires_grad_()
    rate = 1 / torch.arange(1, labels + 1)
    rate = (3.4 * rate / rate.sum()).clamp(max=0.9)
    if single:
        one = torch.multinomial(rate.expand(n, -1), 1, generator=generator)[:, 0]
        return z, F.one_hot(one, labels).to(device)
    # an image's labels follow one of 200 scenes, so that label sets recur as in real archives
    scenes = torch.rand(200, labels, generator=generator) < rate
    y = scenes[torch.randint(200, (n,), generator=generator)]
    y ^= torch.rand(n, labels, generator=generator) < 0.02 * (rate / rate.max())
    return z, y.to(device)


def expanded(z, y, temperature=0.3):
    anchor, label = y.nonzero(as_tuple=True)
    itself = anchor[:, None] == torch.arange(len(z), device=z.device)
    log_p = (z[anchor] @ z.T / temperature).masked_fill(itself, -1e9).log_softmax(dim=1)
    positive = y.T[label] & ~itself
    terms = (positive * log_p).sum(dim=1) / positive.sum(dim=1).clamp(min=1)
    return -terms.mean()


def dense(z, y):
    pairs = Pairs.of(y, z.dtype)
    terms = LOSSES["mulsupcon"].function.weights(pairs)
    a, b = REDUCTIONS["pairs"](pairs.total(terms[0]), pairs.size)
    return a @ contrast(z @ z.T, type(terms)(*terms), pairs.own) / b.sum()


def peers(n: int, labels: int, device: str) -> dict:
    """name -> a step: forward and backward of one batch."""
    z, y = batch(n, labels, device)
    stats = LabelStatistics.from_labels(y)

    def step(loss, z, y):
        def run():
            loss(z, y).backward()
            z.grad = None
            if device != "cpu":
                torch.cuda.synchronize()

        return run

    def built(name, stats):
        return build_loss(name, stats, embedding_dim=DIM).to(device)

    names = OURS + CUBIC if n <= 1024 else OURS
    steps = {name: step(built(name, stats), z, y) for name in names}
    twice = y[: n // 2].repeat(2, 1)
    steps |= {name: step(built(name, stats), z, twice) for name in TWINS}
    steps |= {"expanded": step(expanded, z, y), "dense": step(dense, z, y)}
    try:
        from pytorch_metric_learning.losses import SupConLoss
    except ImportError:
        return steps
    z, y = batch(n, labels, device, single=True)
    alone = built("supcon_any", LabelStatistics.from_labels(y))
    return steps | {
        "pml": step(SupConLoss(temperature=0.3), z, y.argmax(dim=1)),
        "supcon_any, one label": step(alone, z, y),
    }


def times(n: int, labels: int, device: str, repeats: int, skip: tuple[str, ...]) -> pd.Series:
    steps = {name: run for name, run in peers(n, labels, device).items() if name not in skip}
    return interleaved(steps, repeats)


def interleaved(steps: dict, repeats: int, seconds: float = 10) -> pd.Series:
    """The least time of each step in ms, of some repeats; fewer, but 3, of one that takes long."""
    found = {name: [] for name in steps}
    for _ in range(repeats):
        for name, run in steps.items():
            if len(found[name]) < 3 or sum(found[name]) < seconds:
                start = time.perf_counter()
                run()
                found[name].append(time.perf_counter() - start)
    return pd.Series({name: min(each) for name, each in found.items()}) * 1e3


def training_steps(device: str, repeats: int = 60) -> None:
    """Steps of the whole network, of 128 images of 64 px, by loss."""
    steps = {}
    for name in OURS + CUBIC:
        config = Config(archive="synthetic", image_size=64, weights="none", loss=name)
        steps[name] = real_step(config, torch.device(device))
    for run in steps.values():
        run()  # images are read, libraries have their workspaces
    best = interleaved(steps, repeats, 60)
    ratio = (best / best["mulsupcon"]).rename("/ mulsupcon")
    print(pd.concat([best.rename("ms"), ratio], axis=1).round(3).to_string())


def extra_memory(name: str, n: int, labels: int, device: str) -> float:
    """MiB that one step of `name` needs at its peak."""
    if device != "cpu":
        run = peers(n, labels, device)[name]
        run()  # libraries have their workspaces
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    code = f"import losses; print(losses.peak_of({name!r}, {n}, {labels}))"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, cwd=sys.path[0])
    return float(out.stdout) if out.returncode == 0 else float("nan")


def peak_of(name: str, n: int, labels: int) -> float:
    peers(64, labels, "cpu")[name]()  # libraries and threads are there before it counts
    run = peers(n, labels, "cpu")[name]
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts from here
    before = status("VmRSS")
    run()
    return (status("VmHWM") - before) / 1024


def status(field: str) -> int:
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith(field)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512, 1024, 2048, 4096, 8192])
    parser.add_argument("--labels", type=int, default=17)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--step", action="store_true")
    arguments = parser.parse_args()
    device = arguments.device
    on = f"{torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name()
    print(f"D = {DIM}, L = {arguments.labels}, {on}; ms, minimum")
    if arguments.step:
        training_steps(device)
        return
    table = {}
    for n in arguments.sizes:
        repeats = int(min(max(2e8 / n**2, 3), 300))
        skip = ("expanded",) if n > 4096 else ()  # 3.4 N x N numbers, several times over
        table[n] = times(n, arguments.labels, device, repeats, skip)
        print(pd.DataFrame(table).T.round(2).to_string(), flush=True)
    best = pd.DataFrame(table).T
    print("\nratios (above 1: ours is faster)")
    against = {"expanded": "mulsupcon", "dense": "mulsupcon", "pml": "supcon_any, one label"}
    ratio = {f"{a} / {b}": best[a] / best[b] for a, b in against.items() if a in best}
    print(pd.DataFrame(ratio).round(2).to_string(), flush=True)
    print("\nas many times the time of mulsupcon")
    print(
        best.reindex(columns=[*OURS, *CUBIC]).div(best["mulsupcon"], axis=0).round(2).to_string(),
        flush=True,
    )
    if not arguments.no_memory:
        print("\nMiB beyond the inputs")
        cases = [(4096, 17, "expanded"), (4096, 17, "dense"), (4096, 17, "pml")]
        cases += [(n, w, name) for n, w in ((4096, 17), (8192, 100)) for name in OURS + TWINS]
        for n, labels, name in cases:
            print(
                f"{name:12} N = {n}, L = {labels:3}: {extra_memory(name, n, labels, device):8.0f}"
            )


if __name__ == "__main__":
    main()
