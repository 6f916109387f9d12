"""What dropping tokens saves: steps of training of a vision transformer with a share of them left.

The variants take turns in one process, each on the same images, and minima are taken; ratios are
what counts, since absolute times depend on the machine. On a CPU it is processor time that is
measured, which depends less on what else the machine does.
"""

import argparse
import os
import time

import torch

from maclcore.models.network import RetrievalNet, autocast, resolve_precision


def step(options: argparse.Namespace, ratio: float, device: torch.device):
    """Forward, backward and optimiser on a fixed batch, with that share of tokens dropped."""
    torch.manual_seed(0)
    model = RetrievalNet(options.backbone, "none", 256, options.size, options.channels)
    model = model.to(device, memory_format=torch.channels_last).train()
    model.drop_tokens(ratio)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    images = torch.rand(options.batch, options.channels, options.size, options.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    direction = torch.randn(options.batch, 256, device=device)
    precision = resolve_precision(options.precision, device, options.size)

    clock = time.perf_counter if device.type == "cuda" else time.process_time

    def run() -> float:
        start = clock()
        with autocast(device, precision):
            z = model(images)
        optimizer.zero_grad(set_to_none=True)
        (z * direction).sum().backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="timm/vit_small_patch14_dinov2")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--channels", type=int, default=13)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0, 0.5, 0.75])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    steps = {ratio: step(options, ratio, device) for ratio in options.ratios}
    for run in steps.values():
        run()
    rounds = [{ratio: run() for ratio, run in steps.items()} for _ in range(options.repeats)]
    seconds = {ratio: min(one[ratio] for one in rounds) for ratio in steps}
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{device}, {torch.get_num_threads()} threads, load {load}; {options.backbone}, "
        f"{options.channels} channels, {options.size} px, batch {options.batch}"
    )
    whole = seconds[options.ratios[0]]
    for ratio, least in seconds.items():
        print(
            f"  {ratio:4.0%} dropped: {options.batch / least:8.1f} images/s, "
            f"{whole / least:5.2f} times as fast as {options.ratios[0]:.0%}"
        )


if __name__ == "__main__":
    main()
