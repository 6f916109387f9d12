"""Where a sweep's runs are trained: in this process, in some of its own, or on a Dask cluster.

Each place has `free()`, the number of runs that it can start now, `start(config, wait, expected)`,
`flying`, the runs that have started, and `ended()`, which waits until some of them have, and
returns each with what became of it: None if it is finished, BUSY, or the traceback of what went
wrong. `expected` is the identity that archive and weights must have where the run is trained.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection, wait

import torch
from filelock import Timeout

from maclcore.config import Config
from maclcore.extras import need
from maclcore.paths import data_root, results_root
from maclcore.training import train

BUSY = "another process is at it"
QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}  # of dask_jobqueue
Identity = Mapping[str, str]
Ended = list[tuple[Config, str | None]]


def attempt(
    config: Config, wait: float, expected: Identity, device: str | None = None
) -> str | None:
    """Train from the `expected` content, unless another process is at it for `wait` seconds."""
    try:
        train(config, progress=False, device=device, wait=wait, expected=expected)
    except Timeout:
        return BUSY
    except Exception:
        return traceback.format_exc()
    return None


@contextmanager
def place(
    workers: int = 1, scheduler: str | None = None, jobqueue: str | None = None
) -> "Iterator[Here | Processes | Cluster]":
    """Arguments as for `sweep`; what it starts it ends.

    ValueError for what cannot be had, ImportError without the extra `cluster`, OSError if there is
    no scheduler at the address.
    """
    if workers < 1:
        raise ValueError(f"workers must be positive, got {workers}")
    if not scheduler and not jobqueue:
        with nullcontext(Here()) if workers == 1 else Processes(workers) as here:
            yield here
        return
    with cluster(workers, scheduler, jobqueue) as client:
        yield Cluster(client)


@contextmanager
def cluster(
    workers: int = 1, scheduler: str | None = None, jobqueue: str | None = None
) -> "Iterator[dask.distributed.Client]":  # noqa: F821
    """The client of a scheduler, or of jobs that are started and ended; errors as of `place`."""
    if scheduler and jobqueue:
        raise ValueError("give either the address of a scheduler or a job queue, not both")
    if jobqueue and jobqueue not in QUEUES:
        raise ValueError(f"jobqueue must be one of {', '.join(QUEUES)}, got {jobqueue!r}")
    need("cluster", "work on other machines")
    from dask.distributed import CancelledError, Client
    from distributed.comm import CommClosedError

    if jobqueue:
        import dask_jobqueue
    with ExitStack() as stack:
        if jobqueue:
            jobs = stack.enter_context(getattr(dask_jobqueue, QUEUES[jobqueue])())
            jobs.scale(jobs=workers)
        client = stack.enter_context(Client(jobs if jobqueue else scheduler))
        try:
            yield client
        except (CancelledError, CommClosedError) as error:
            raise ConnectionError(
                f"lost the scheduler at {scheduler or jobqueue}; repeat the command when there is "
                "one: what is finished is stored, the rest goes on where it was"
            ) from error


class Here:
    """This process, one run after the other."""

    def __init__(self) -> None:
        self.flying: Ended = []

    def free(self) -> int:
        return 1 - len(self.flying)

    def start(self, config: Config, wait: float, expected: Identity) -> None:
        self.flying.append((config, attempt(config, wait, expected)))

    def ended(self) -> Ended:
        ended, self.flying = self.flying, []
        return ended


class Worker:
    """A process that trains the configurations that it is sent; `pipe` is the way to it."""

    def __init__(self, threads: int, device: str | None) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
        self.given = threads, device
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *self.given), daemon=True)
        self.process.start()
        theirs.close()

    def end(self, now: bool) -> None:
        """Let it go when it is idle; `now`: in mid-run, where the last checkpoint stays."""
        self.pipe.close()
        if now:
            self.process.terminate()
        self.process.join(timeout=30)
        self.process.kill()


class Processes:
    """Processes of this machine, which share its threads, or have a GPU each.

    One that dies takes its own run with it, and is replaced.
    """

    def __init__(self, count: int) -> None:
        gpus = torch.cuda.device_count()
        if gpus and count > gpus:
            raise ValueError(f"a GPU trains one run at a time: set workers to at most {gpus}")
        threads = max(1, torch.get_num_threads() // count)
        devices = [f"cuda:{i}" if gpus else None for i in range(count)]
        self.idle = [Worker(threads, device) for device in devices]
        self.flying: dict[Connection, tuple[Worker, Config]] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_) -> None:
        for worker in self.idle:
            worker.end(now=False)
        for worker, _ in self.flying.values():
            worker.end(now=True)

    def free(self) -> int:
        return len(self.idle)

    def start(self, config: Config, wait: float, expected: Identity) -> None:
        worker = self.idle.pop()
        self.flying[worker.pipe] = worker, config
        with suppress(OSError):  # if it is dead, `ended` will find out
            worker.pipe.send((config, wait, expected))

    def ended(self) -> Ended:
        ended = []
        for pipe in wait(self.flying):
            worker, config = self.flying.pop(pipe)
            try:
                outcome = pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                code = worker.process.exitcode
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                outcome = f"its process ended with {how}"
                worker = Worker(*worker.given)
            self.idle.append(worker)
            ended.append((config, outcome))
        return ended


def _serve(pipe: Connection, threads: int, device: str | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which ends its workers
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError):
        while True:
            pipe.send(attempt(*pipe.recv(), device))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)


class Cluster:
    """The workers of a Dask cluster, one run at a time each.

    Where workers announce the resource GPU, a run takes one. Workers may come and go; the run of
    one that died goes to another, until Dask gives it up.
    """

    def __init__(self, client: "dask.distributed.Client") -> None:  # noqa: F821
        self.client = client
        self.flying: dict = {}  # a future's configuration

    def gpus(self) -> list[int]:
        """Announced by each worker that is there."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return [int(worker["resources"].get("GPU", 0)) for worker in workers]

    def free(self) -> int:
        gpus = self.gpus()
        return (sum(gpus) or len(gpus)) - len(self.flying)

    def start(self, config: Config, wait: float, expected: Identity) -> None:
        folders = {"MACL_RESULTS": str(results_root()), "MACL_DATA": str(data_root())}
        resources = {"GPU": 1} if any(self.gpus()) else None
        future = self.client.submit(
            _on_cluster, config, wait, expected, folders, resources=resources, pure=False
        )
        self.flying[future] = config

    def ended(self) -> Ended:
        from dask.distributed import wait

        if not self.flying:  # there is no worker yet
            time.sleep(1)
            return []
        with suppress(TimeoutError):  # now and then, because there may be new workers
            wait(list(self.flying), timeout=5, return_when="FIRST_COMPLETED")
        ended = []
        for future in [future for future in self.flying if future.done()]:
            error = future.exception()  # such as KilledWorker, when Dask has given it up
            outcome = "".join(traceback.format_exception(error)) if error else future.result()
            ended.append((self.flying.pop(future), outcome))
        return ended


_ONE = threading.Lock()  # a worker has several threads, and torch one stream of random numbers


def _on_cluster(
    config: Config, wait: float, expected: Identity, folders: dict[str, str]
) -> str | None:
    from dask.distributed import get_worker

    with _ONE:
        os.environ.update(folders)
        torch.set_num_threads(get_worker().state.nthreads)
        return attempt(config, wait, expected)
