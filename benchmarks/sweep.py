"""What a sweep adds to its runs, what two workers gain, and `collect()` of many runs."""

import argparse
import json
import os
import tempfile
import time


def timed(function, *arguments, **words) -> tuple[float, float]:
    """Seconds on the wall and of the processor; on a busy machine only the second says much."""
    start, used = time.perf_counter(), time.process_time()
    function(*arguments, **words)
    return time.perf_counter() - start, time.process_time() - used


def overhead(count: int) -> None:
    """Seconds a run beyond its own, for short runs that train."""
    from maclcore import Config, train
    from maclcore.experiments.sweep import sweep

    tiny = Config.from_profile("smoke", epochs=1, backbone="shufflenet_v2_x0_5")
    train(tiny, progress=False)  # the archive is drawn, everything is imported
    configs = [tiny.but(seed=seed) for seed in range(1, count + 1)]
    whole, _ = timed(sweep, configs, progress=False)
    own = sweep(configs, progress=False)["seconds"].sum()  # finished: these are the stored ones
    print(
        f"{count} runs one after the other: {whole:.1f} s, of which {own:.1f} s are the runs' own"
    )
    print(f"  beyond that, a run: {(whole - own) / count:.2f} s")
    print(f"  the same sweep again, all finished: {timed(sweep, configs, progress=False)[0]:.2f} s")


def workers(count: int) -> None:
    """Wall clock with this process, which has all threads, and with two that share them; the start
    of these, some seconds, included. The runs are those of the smoke profile."""
    from maclcore import Config
    from maclcore.experiments.sweep import sweep

    seconds = {}
    for number in (1, 2):
        configs = [Config.from_profile("smoke", seed=100 * number + i) for i in range(count)]
        seconds[number], _ = timed(sweep, configs, workers=number, progress=False)
        print(f"{count} runs, {number} worker(s): {seconds[number]:.1f} s")
    print(f"  two against one: {seconds[1] / seconds[2]:.2f} times as fast")


def collecting(run_id: str, files: dict[str, bytes], counts: list[int], repeats: int) -> None:
    """`collect()` of copies of a stored run, without and with its index."""
    from maclcore import paths
    from maclcore.store import collect

    result = json.loads(files["result.json"])
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["MACL_RESULTS"] = folder
            for i in range(count):
                copy = paths.runs_root() / f"{run_id[:-8]}{i:08x}"
                copy.mkdir(parents=True)
                for name, content in files.items():
                    (copy / name).write_bytes(content)
                result["config"]["seed"] = i  # each has its own text
                (copy / "result.json").write_text(json.dumps(result, indent=1) + "\n")
            first = timed(collect)
            later = [
                min(pair) for pair in zip(*(timed(collect) for _ in range(repeats)), strict=True)
            ]
            size = (paths.cache_root() / "runs.parquet").stat().st_size / 1e6
            print(f"collect() of {count:6,} runs, wall clock (processor):", end=" ")
            print(f"first {first[0]:.2f} s ({first[1]:.2f} s),", end=" ")
            print(
                f"then {later[0]:.2f} s ({later[1]:.2f} s) by an index of {size:.2f} MB", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=6, help="that the sweeps train")
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 1_000, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=["overhead", "workers", "collect"])
    chosen = parser.parse_args()
    from maclcore.store import Run
    from maclcore.store.packed import FILES

    stored = next(run for run in Run.all() if run.finished and "-macl-" in run.run_id)
    files = {name: content for name in FILES if (content := stored.read(name)) is not None}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MACL_RESULTS"] = folder
        if chosen.only in (None, "overhead"):
            overhead(chosen.runs)
        if chosen.only in (None, "workers"):
            workers(chosen.runs)
    if chosen.only in (None, "collect"):
        collecting(stored.run_id, files, chosen.counts, chosen.repeats)


if __name__ == "__main__":
    main()
