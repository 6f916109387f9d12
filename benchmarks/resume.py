"""Kill a run with SIGKILL at random moments, resume it, compare it with an undisturbed one."""

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path


def run(options: dict, results: str) -> None:
    os.environ["MACL_RESULTS"] = results
    from maclcore import Config, train

    train(Config.from_profile(**options), progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--backbone", default="shufflenet_v2_x0_5", help="small: many epochs")
    parser.add_argument("--archive", default="synthetic")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    arguments = parser.parse_args()
    from maclcore import Config
    from maclcore.store import Run
    from maclcore.train import load_model

    chosen = {name: getattr(arguments, name) for name in ("archive", "epochs", "backbone")}
    options = {"profile": "smoke", **chosen}
    run_id = Config.from_profile(**options).run_id
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        straight, disturbed = f"{folder}/straight", f"{folder}/disturbed"
        start = time.perf_counter()
        process = context.Process(target=run, args=(options, straight))
        process.start()
        process.join()
        whole = time.perf_counter() - start
        start = time.perf_counter()
        process = context.Process(target=run, args=(options, straight))  # finds it finished
        process.start()
        process.join()
        startup = time.perf_counter() - start
        moments = random.Random(arguments.seed)
        for kill in range(1, arguments.kills + 1):
            process = context.Process(target=run, args=(options, disturbed))
            process.start()
            # short enough that the kills together do not outlast the run
            process.join(startup + moments.random() * (whole - startup) / arguments.kills)
            if not process.is_alive():
                raise SystemExit(f"the run was finished before kill {kill}: use more epochs")
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            folder = Path(disturbed) / "runs" / run_id
            left = sorted(file.name for file in folder.glob("*"))
            print(f"kill {kill} left: {', '.join(left) or 'nothing'}", flush=True)
        process = context.Process(target=run, args=(options, disturbed))
        process.start()
        process.join()
        a, b = (Run(Path(root) / "runs" / run_id) for root in (straight, disturbed))
        x, y = load_model(a).state_dict(), load_model(b).state_dict()
        same = all(bool((x[name] == y[name]).all()) for name in x)
        print(f"weights equal bit for bit: {same}; metrics equal: {a.metrics == b.metrics}")
        if not (same and a.metrics == b.metrics):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
