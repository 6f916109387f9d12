"""Kill a run with SIGKILL at random moments, resume it, compare it with an undisturbed one.

The kills fall in training, validation and writing by turns: each waits for a random moment, then
for its phase, then for a random part of the time that the phase lasts.
"""

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

PHASES = ("start or end", "training", "validation", "writing")
TARGETS = {"epoch": 1, "validate": 2, "save": 3}  # methods of a training


def run(options: dict, results: str, phase, lasted) -> None:
    """Train; `phase` says at any time which of PHASES it is in, `lasted` how long each lasts."""
    os.environ["MACL_RESULTS"] = results
    from maclcore import Config, train
    from maclcore.training.loop import Loop

    def told(method, number):
        def wrapped(*arguments):
            phase.value, start = number, time.perf_counter()
            try:
                return method(*arguments)
            finally:
                phase.value, lasted[number] = 0, time.perf_counter() - start

        return wrapped

    for name, number in TARGETS.items():
        setattr(Loop, name, told(getattr(Loop, name), number))
    train(Config.from_profile(**options), progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--backbone", default="shufflenet_v2_x0_5", help="small: many epochs")
    parser.add_argument("--archive", default="synthetic")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    arguments = parser.parse_args()
    from maclcore import Config
    from maclcore.store import Run
    from maclcore.training import load_model

    chosen = {name: getattr(arguments, name) for name in ("archive", "epochs", "backbone")}
    options = {"profile": "smoke", **chosen}
    run_id = Config.from_profile(**options).run_id
    context = multiprocessing.get_context("spawn")
    phase, lasted = context.Value("i", 0, lock=False), context.Array("d", 4, lock=False)

    def started(results: str):
        phase.value = 0
        process = context.Process(target=run, args=(options, results, phase, lasted))
        process.start()
        return process

    def seconds(results: str) -> float:
        start = time.perf_counter()
        started(results).join()
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        straight, disturbed = f"{folder}/straight", f"{folder}/disturbed"
        whole = seconds(straight)
        startup = seconds(straight)  # finds it finished
        lasts = list(lasted)  # of the last epoch
        moments, fell = random.Random(arguments.seed), Counter()
        for kill in range(1, arguments.kills + 1):
            process, wanted = started(disturbed), 1 + kill % 3
            # short enough that the kills together do not outlast the run
            process.join(startup + moments.random() * (whole - startup) / arguments.kills)
            while process.is_alive() and phase.value != wanted:
                time.sleep(0.0005)
            time.sleep(moments.random() * lasts[wanted])
            if not process.is_alive():
                raise SystemExit(f"the run was finished before kill {kill}: use more epochs")
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            fell[PHASES[phase.value]] += 1
            left = sorted(file.name for file in Path(disturbed, "runs", run_id).glob("*"))
            place = PHASES[phase.value]
            print(f"kill {kill}, {place}, left: {', '.join(left) or 'nothing'}", flush=True)
        started(disturbed).join()
        a, b = (Run(Path(root) / "runs" / run_id) for root in (straight, disturbed))
        x, y = load_model(a).state_dict(), load_model(b).state_dict()
        same = all(bool((x[name] == y[name]).all()) for name in x)
        print(f"killed in: {', '.join(f'{name} {count}' for name, count in fell.most_common())}")
        print(f"weights equal bit for bit: {same}; metrics equal: {a.metrics == b.metrics}")
        if not (same and a.metrics == b.metrics):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
