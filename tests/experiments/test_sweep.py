"""A sweep ends with every run that can be had, whatever happens to workers, runs and machines."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from filelock import Timeout

from maclcore import store
from maclcore.__main__ import main
from maclcore.config import Config
from maclcore.experiments import paper as experiments
from maclcore.experiments import workers
from maclcore.experiments.sweep import estimate, lacking, sweep
from maclcore.store import Run, collect
from maclcore.training import run as training
from maclcore.training import train
from maclcore.training.loop import Loop


@pytest.fixture(autouse=True)
def results(tiny):
    return tiny


@pytest.fixture
def config(archive):
    return Config.from_profile(
        "smoke", archive=str(archive), epochs=2, batch_size=16, embedding_dim=8,
        backbone="shufflenet_v2_x0_5",
    )  # fmt: skip


def tell(file, seconds):
    """Let a stored run have taken so long."""
    result = json.loads(file.read_text())
    store.write_json(file, {**result, "seconds": seconds})


def test_a_sweep_tells_how_far_it_is(config):
    told = []
    configs = [config.but(loss="chance"), config.but(loss="oracle")]
    sweep(configs, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (1, 2), (2, 2)]
    sweep(configs, progress=lambda done, total: told.append((done, total)))
    assert told[3:] == [(0, 0)]  # nothing is left


def test_histories_are_the_epochs_of_runs_that_train(config):
    rows = sweep([config.but(loss="chance"), config], progress=False)
    table = store.histories(rows)
    assert list(table.index) == 2 * [config.run_id]
    pd.testing.assert_frame_equal(table.reset_index(drop=True), Run.find(config.run_id).history)
    assert store.histories(rows[:1]).empty


@pytest.fixture(scope="module")
def undisturbed(archive, tmp_path_factory):
    """Runs of the real network, long enough to be killed in the middle, and where they are."""
    long = Config.from_profile(
        "smoke", archive=str(archive), epochs=20, batch_size=16, embedding_dim=8,
        backbone="shufflenet_v2_x0_5",
    )  # fmt: skip
    configs = [long, long.but(seed=1), long.but(loss="chance")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MACL_RESULTS", str(folder := tmp_path_factory.mktemp("undisturbed")))
        assert list(sweep(configs, progress=False).index) == [c.run_id for c in configs]
    return configs, folder


def assert_equal_runs(configs, left, right):
    for config in configs:
        a, b = (Run(root / "runs" / config.run_id) for root in (left, right))
        assert a.metrics == b.metrics
        pd.testing.assert_frame_equal(a.per_query, b.per_query)


def trainer(run, other_than=None):
    """The process that is at a run, once it has saved an epoch."""
    while True:
        with suppress(FileNotFoundError, ValueError, KeyError):  # not there, or half-written
            lines = (run.folder / "lease.lock").read_text().splitlines()
            pid = int(dict(line.split("=") for line in lines[1:])["pid"])
            if pid != other_than and [*run.folder.glob("checkpoint-*")]:
                return pid
        assert not run.finished, f"{run.run_id} was too quick"
        time.sleep(0.02)


@pytest.mark.timeout(1200)  # half a minute, but processes are slow to start on a busy machine
def test_two_processes_survive_a_kill_and_a_run_that_cannot_be(undisturbed, results):
    configs, reference = undisturbed
    bad = configs[0].but(archive="nowhere")
    victim = Run(results / "runs" / configs[0].run_id)
    killer = threading.Thread(target=lambda: os.kill(trainer(victim), signal.SIGKILL))
    killer.start()
    with pytest.raises(LookupError, match=f"^1 of 4 runs failed: {bad.run_id}: .*no archive 'now"):
        sweep([configs[0], bad, *configs[1:]], workers=2)
    killer.join()
    assert not (victim.folder / "failure.json").exists()  # it was tried again
    assert_equal_runs(configs, results, reference)


@pytest.mark.timeout(1200)
def test_a_cluster_that_loses_a_worker_and_then_its_scheduler(undisturbed, results, tmp_path):
    configs, reference = undisturbed
    started = []

    def dask(role, *words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{role}", "--no-dashboard", *words]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, **quiet))
        return started[-1]

    def cluster(number):
        file = tmp_path / f"scheduler{number}.json"
        scheduler = dask("scheduler", "--port", "0", "--scheduler-file", str(file))
        for _ in range(2):
            words = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0"]
            dask("worker", "--scheduler-file", str(file), *words)
        while not (file.is_file() and file.read_text()):  # not yet, or not yet written
            assert scheduler.poll() is None
            time.sleep(0.1)
        return scheduler, json.loads(file.read_text())["address"]

    try:
        scheduler, address = cluster(1)
        runs = [Run(results / "runs" / config.run_id) for config in configs]

        def disturb():
            first = trainer(runs[0])
            worker = next(process for process in started if process.pid == first)
            worker.kill()
            worker.wait()  # a zombie would pass for alive
            trainer(runs[0], other_than=first)  # another worker goes on
            scheduler.kill()

        disturbance = threading.Thread(target=disturb)
        disturbance.start()
        with pytest.raises(ConnectionError, match=f"lost the scheduler at {address}; repeat"):
            sweep(configs, scheduler=address)
        disturbance.join()
        assert not runs[0].finished
        for process in started:
            process.kill()
            process.wait()
        _, address = cluster(2)
        assert len(sweep(configs, scheduler=address)) == 3
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert_equal_runs(configs, results, reference)


def test_a_failure_is_stored_tried_again_and_forgotten_when_it_succeeds(
    config, monkeypatch, capsys, results
):
    step, calls = Loop.step, []

    def failing(self, *arguments):
        if self.config.seed == 0:
            calls.append(list(results.glob("runs/*/result.json")))
            if len(calls) <= fails:
                raise FloatingPointError("such a pity")
        return step(self, *arguments)

    monkeypatch.setattr(Loop, "step", failing)
    configs, fails = [config, config.but(seed=1)], 9
    with pytest.raises(LookupError, match=f"1 of 2 runs failed: {config.run_id}: Floating.*pity"):
        sweep(configs, retries=2)
    assert [len(done) for done in calls] == [0, 1, 1]  # three attempts, the last ones at the end
    folder = results / "runs" / config.run_id
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["attempt"] == 3 and failure["error"] == "FloatingPointError: such a pity"
    assert "in failing" in "\n".join(failure["traceback"])
    assert store.runs().loc[config.run_id, "state"] == "failed"
    assert "attempt 3 failed" in capsys.readouterr().err
    calls.clear()
    monkeypatch.setitem(experiments.EXPERIMENTS, "two", lambda *_, **__: configs)
    assert main(["sweep", "two", "--retries", "0"]) == 1
    assert "1 of 2 runs failed" in capsys.readouterr().err and len(calls) == 1
    fails = 2
    assert main(["sweep", "two"]) == 0  # the second attempt succeeds
    assert store.runs().loc[config.run_id, "state"] == "finished"
    assert not (folder / "failure.json").exists()


def test_what_fails_many_runs_is_said_once(config, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "labels.csv").write_text("image,sea\n")
    configs = [config.but(archive=str(photos), seed=seed) for seed in range(3)]
    with pytest.raises(LookupError) as caught:
        sweep(configs)
    message = str(caught.value)
    assert message.startswith(f"3 of 3 runs failed: {configs[0].run_id} and 2 more: photos cannot")
    assert message.count("cannot be used") == 1


def test_two_sweeps_on_one_store_share_the_work(config, monkeypatch):
    compute, trained, meet = training.compute, [], threading.Barrier(2, timeout=60)

    def recorded(source, *rest):
        trained.append((threading.get_ident(), source.config.run_id))
        if len(trained) <= 2:
            meet.wait()  # both are at a run of their own
        compute(source, *rest)

    monkeypatch.setattr(training, "compute", recorded)
    configs = [config.but(loss="chance", seed=seed) for seed in range(8)]
    both = [threading.Thread(target=sweep, args=(configs,)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(run_id for _, run_id in trained) == sorted(c.run_id for c in configs)
    assert len({thread for thread, _ in trained}) == 2


#: holds a lease, as a machine does that does not share the kernel's locks
ELSEWHERE = """
import socket, sys, time
socket.gethostname = lambda: "elsewhere"
from filelock import SoftFileLease
with SoftFileLease(sys.argv[1], lease_duration=float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("exchanges", [True, False], ids=["local disk", "NFS"])
def test_another_machines_lease_holds_and_is_taken_over_when_it_is_stale(
    config, monkeypatch, results, exchanges
):
    if not exchanges:  # such a file system refuses to exchange two names
        monkeypatch.setattr("filelock._soft.exchange_names", lambda *_: False)
    monkeypatch.setattr(store.run, "LEASE", 2.0)
    monkeypatch.setattr(store.table, "LEASE", 2.0)
    monkeypatch.setattr(store, "LEASE", 2.0)
    config, other = config.but(loss="chance"), config.but(loss="oracle")
    run = Run(results / "runs" / config.run_id)
    run.folder.mkdir(parents=True)
    command = [sys.executable, "-c", ELSEWHERE, str(run.folder / "lease.lock"), str(store.LEASE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(Timeout), run.alone(wait=3 * store.LEASE):
                pass  # it lives, and is touched
        finally:
            holder.kill()
    with pytest.raises(Timeout), run.alone(wait=0):
        pass  # who has just come cannot know yet
    order = []
    monkeypatch.setattr(
        workers, "train", lambda c, **words: order.append(c.loss) or train(c, **words)
    )
    assert len(sweep([config, other])) == 2
    assert order == ["chance", "oracle", "chance"]  # the held one first, then the other, then it


def test_one_seed_everywhere_before_a_second_anywhere(config, results):
    grid = [config.but(loss="chance", lr=lr, seed=s) for lr in (0.1, 0.2, 0.3) for s in (0, 1, 2)]
    assert [(c.lr, c.seed) for c in lacking(grid)][:4] == [(0.1, 0), (0.2, 0), (0.3, 0), (0.1, 1)]
    for done in (grid[4], grid[5]):  # of 0.2, seeds 1 and 2
        train(done)
    assert [(c.lr, c.seed) for c in lacking(grid)] == [
        (0.1, 0), (0.3, 0), (0.1, 1), (0.3, 1), (0.1, 2), (0.2, 0), (0.3, 2)
    ]  # fmt: skip


def test_costs_come_from_the_store_and_a_budget_keeps_to_them(config, monkeypatch, capsys, results):
    long, short = config.but(seed=0), config.but(loss="chance", seed=0)
    assert estimate([long])["basis"].item() == "nothing is stored"
    train(long)
    tell(results / "runs" / long.run_id / "result.json", 100.0)
    costs = estimate([
        long.but(seed=1, loss="supcon_all"), long.but(epochs=4), long.but(image_size=64), short
    ])  # fmt: skip
    assert list(costs["seconds"])[:3] == pytest.approx([100, 200, 400])
    assert list(costs["basis"]) == [
        "median of 1 alike", "scaled from 1 here", "scaled from 1 here",
        "nothing of its kind is stored",
    ]  # fmt: skip
    assert estimate([long.but(train_share=0.5)])["seconds"].item() == pytest.approx(50)
    head, whole = estimate([long.but(frozen_views=2), long.but(seed=3)])["basis"]
    assert (head, whole) == ("nothing of its kind is stored", "median of 1 alike")
    result = json.loads((results / "runs" / long.run_id / "result.json").read_text())
    result["environment"]["device"] = "an abacus"
    store.write_json(results / "runs" / long.run_id / "result.json", result)
    assert estimate([long])["basis"].item() == "scaled from 1 on other hardware"

    train(short)
    configs = [long.but(seed=1), long.but(seed=2), short.but(seed=1)]
    assert list(sweep(configs, budget=50).index) == [configs[2].run_id]
    assert "2 of 3 runs do not fit" in capsys.readouterr().err
    monkeypatch.setitem(experiments.EXPERIMENTS, "two", lambda *_, **__: configs)
    assert main(["sweep", "two", "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in out[:2]] == [c.run_id for c in configs[:2]]
    assert "(2 min, scaled from 1 on other hardware)" in out[0]
    assert out[2] == "2 of 3 runs, some 3 min in all"
    assert main(["sweep", "two", "--budget", "25"]) == 1
    assert "not a duration: '25'; such as" in capsys.readouterr().err
    unknown = short.but(loss="oracle")
    assert sweep([unknown], budget=0).empty  # of unknown cost, and the time is over
    assert len(sweep(configs, budget=101 + 100)) == 3  # one after the other, they are quick


def flip(index):
    content = bytearray(index.read_bytes())
    content[len(content) // 3] ^= 1
    index.write_bytes(content)


DAMAGES = {
    "gone": lambda index: index.unlink(),
    "truncated": lambda index: os.truncate(index, index.stat().st_size // 2),
    "one bit": flip,
    "of another kind": lambda index: pd.DataFrame({"a": [1]}).to_parquet(index),
    "not writable": lambda index: (shutil.rmtree(index.parent), index.parent.touch()),
}


def test_collect_is_the_same_with_an_index_and_without(config, monkeypatch, results):
    def check():
        rows, again = collect(), collect()
        with monkeypatch.context() as patch:
            patch.setattr(pd, "read_parquet", lambda *_, **__: pd.DataFrame())  # no index
            pd.testing.assert_frame_equal(rows, collect())
        pd.testing.assert_frame_equal(rows, again)
        return rows

    configs = [config.but(loss=loss) for loss in ("chance", "oracle", "macl", "mulsupcon")]
    for count, added in enumerate(configs):
        train(added)
        assert len(check()) == count + 1
    folders = [results / "runs" / c.run_id for c in configs]
    tell(folders[0] / "result.json", 12345.5)
    assert check().loc[folders[0].name, "seconds"] == 12345.5
    shutil.rmtree(folders[1])
    before = check()
    assert list(before.index) == sorted(folder.name for folder in folders[:1] + folders[2:])
    index = results / "cache" / "runs.parquet"
    for damage in DAMAGES.values():
        damage(index)
        pd.testing.assert_frame_equal(check(), before)


def test_an_index_saves_reading_the_runs(config, monkeypatch):
    train(config.but(loss="chance"))
    collect()
    monkeypatch.setattr(Path, "read_text", lambda file: pytest.fail(f"{file} is read"))
    assert len(collect()) == 1


def test_compare_tells_what_differs(config, capsys, results):
    a, b = train(config), train(config.but(seed=1, loss_params={"alpha": 0.5}))
    stored = json.loads((a.folder / "config.json").read_text())
    del stored["momentum"]  # a run from before there was such a field: it has the default
    store.write_json(a.folder / "config.json", stored)
    result = json.loads((b.folder / "result.json").read_text())
    result["environment"]["torch"] = "9.9"
    store.write_json(b.folder / "result.json", result)
    table = store.compare(a.run_id, b.run_id)
    assert {"seed", "loss_params", "param: alpha", "torch"} < set(table.index)
    assert not {"loss", "epochs", "archive", "momentum", "archive: fingerprint"} & set(table.index)
    name = "backbone: mAP@0.8"
    expected = b.result["metrics_backbone"]["mAP@0.8"] - a.result["metrics_backbone"]["mAP@0.8"]
    assert table.loc[name, "difference"] == expected
    assert main(["runs", "compare", a.run_id, b.run_id]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^torch +\S+ +9.9 *$", out, re.M) and f"b: {b.run_id}" in out
    assert main(["runs", "compare", a.run_id, "b"]) == 1
    assert "no run 'b'" in capsys.readouterr().err


def test_what_cannot_be_is_said(config, monkeypatch):
    for words, message in [
        ({"workers": 0}, "workers must be positive"),
        ({"scheduler": "a", "jobqueue": "slurm"}, "not both"),
        ({"jobqueue": "condor"}, "slurm, pbs, got 'condor'"),
    ]:
        with pytest.raises(ValueError, match=message):
            sweep([config], **words)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'maclcore\[cluster\]'"):
        sweep([config], scheduler="tcp://nowhere:1")
