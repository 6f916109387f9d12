"""What training from weak labels costs beside training for retrieval.

A step of each loss, of all of the network and of the head alone, and a whole head-only training
with what it validates and saves, against MACL's; of gradient calibration before its trigger and
after it. All are interleaved in one process; minimum of repeats, by the clock and by processor
time, which other work on the machine leaves alone.
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from bands import measure

from maclcore.config import Config
from maclcore.data import Archive, load_archive
from maclcore.losses import entry
from maclcore.store.identity import identify
from maclcore.training.loop import Loop
from maclcore.training.run import METHODS, method_settings

#: loss and settings, by the name of the row; the first is what the others are held against
ROWS: dict[str, tuple[str, dict]] = {
    "macl": ("macl", {}),
    "an": ("an", {}),
    "role": ("role", {"labels_per_image": 3.0}),
    "elr": ("elr", {}),
    "gc, before": ("gc", {"trigger": 2}),
    "gc, after": ("gc", {"trigger": 1}),
    "gc, mixup": ("gc", {"trigger": 1, "mixup": 1.0}),
}


def loop(config: Config, archive: Archive, folder: str) -> Loop:
    source, on = identify(config, archive=archive), torch.device("cpu")
    method = METHODS[entry(config.loss).method](source, on, **method_settings(config))
    return Loop(method, Path(tempfile.mkdtemp(dir=folder)), on)


def step(config: Config, archive: Archive, folder: str) -> Callable[[], None]:
    """Steps of the second epoch and on, before which a trigger may have fired."""
    found = loop(config, archive, folder)
    if config.method_params.get("trigger") == 1:
        found.method.modules["loss"].trigger.fill_(1)

    def steps() -> Iterator[None]:
        for epoch in itertools.count(1):
            found.method.begin(epoch)
            for batch in found.method.ahead(found.batches(epoch)):
                found.step(batch)
                yield

    return steps().__next__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--repeats", type=int, default=8)
    args = parser.parse_args()
    archive = load_archive("synthetic", image_size=args.size, n=800, progress=False)
    shared = {"image_size": args.size, "batch_size": args.batch, "precision": args.precision}
    shared |= {"weights": "none", "epochs": 4}
    configs = {
        name: Config(loss=loss, method_params=settings, **shared)
        for name, (loss, settings) in ROWS.items()
    }
    print(f"{args.size} px, batches of {args.batch}, {args.precision}, {torch.get_num_threads()} "
          "threads; ms by the clock, ms of the processors, and of MACL's")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        head = {name: config.but(frozen_views=4) for name, config in configs.items()}
        kinds: dict[str, dict[str, Callable[[], object]]] = {
            "step": {n: step(c, archive, folder) for n, c in configs.items()},
            "step, head alone": {n: step(c, archive, folder) for n, c in head.items()},
            "4 epochs, head alone": {
                n: lambda c=c: loop(c, archive, folder).fit(progress=False) for n, c in head.items()
            },
        }
        for kind, variants in kinds.items():
            print(kind)
            took = measure(variants, args.repeats)
            for name, (clock, processor) in took.items():
                ratios = [x / y for x, y in zip((clock, processor), took["macl"], strict=True)]
                print(
                    f"  {name:12} {clock:8.1f} {processor:8.1f} {ratios[0]:6.2f} {ratios[1]:6.2f}"
                )


if __name__ == "__main__":
    main()
