"""Run the numbered notebooks through papermill, in parallel where they do not need one another."""

from maclcore.extras import need

need("notebooks", __name__)

import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from textwrap import indent
from typing import ClassVar, NamedTuple

import nbformat
import pandas as pd
import papermill
import zmq
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from jupyter_core.utils import ensure_event_loop
from traitlets import Integer
from traitlets.config import Config

from maclcore.data import archive_name
from maclcore.models.weights import weights_name
from maclcore.paths import ROOT, data_root, figures_root, results_root


class Outcome(NamedTuple):
    seconds: float
    figures: int  #: written under figures_root()
    error: str  #: the failing cell's source and its error, or why it was not run; "" for success


def run(
    parameters: Mapping[str, object],
    only: Sequence[str] = (),
    *,
    jobs: int | None = None,
    folder: Path = ROOT / "notebooks",
) -> pd.DataFrame:
    """Execute notebooks with the parameters that they have; a row of `Outcome` for each.

    Executed copies and `log.txt` land in results/executed/, that of a failed notebook as far as it
    came. What needs a failed notebook is not run, the others are. An interrupt ends all kernels.
    A notebook that reads what another computes says so by a tag of its parameters, `needs-04`.

    Args:
        parameters: values for the cell tagged `parameters`, where it has that name. Relative paths
            are the caller's, as those of `MACL_DATA`, `MACL_RESULTS` and `MACL_FIGURES` are.
        only: numbers, such as 05 06; default: all. ValueError if there is no such notebook.
        jobs: notebooks at a time; default: the number of cores. What others need has the threads of
            all cores, so that its results do not depend on `jobs`; the others share them.
        folder: where the notebooks are. FileNotFoundError if there are none.
    """
    files = {file.name[:2]: file for file in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not files:
        raise FileNotFoundError(
            f"no notebooks in {folder}: they are a part of the repository and not of an installed "
            "package; clone it, and run this command there"
        )
    if unknown := sorted(set(only) - set(files)):
        raise ValueError(f"no notebook {' '.join(unknown)} in {folder}")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    # What others wait for comes first, what waits last: no place is held that another could use.
    needs = {number: _needs(file) for number, file in files.items() if not only or number in only}
    computes = set().union(*needs.values())
    try:
        order = [number for number in TopologicalSorter(needs).static_order() if number in needs]
    except CycleError as error:
        raise ValueError(f"notebooks need one another: {' '.join(error.args[1])}") from None
    order.sort(key=lambda number: number not in computes)
    parameters = _absolute(parameters)
    cores = _cores()
    jobs = jobs or cores
    futures: dict[str, Future[Outcome]] = {}
    target = results_root() / "executed"
    target.mkdir(parents=True, exist_ok=True)

    def outcome(number: str) -> Outcome:
        for other in needs[number]:
            if other in futures and futures[other].result().error:
                return Outcome(0, 0, f"not run: it needs {files[other].name}")
        threads = cores if number in computes else max(1, cores // jobs)
        return execute(files[number], target / files[number].name, parameters, threads)

    outcomes = {}
    with open(target / "log.txt", "w", encoding="utf-8") as log, ThreadPoolExecutor(jobs) as pool:
        for number in order:
            futures[number] = pool.submit(outcome, number)
        names = {future: files[number].name for number, future in futures.items()}
        try:
            for future in as_completed(names):
                found = outcomes[names[future]] = future.result()
                line = f"{names[future]:32} {found.seconds:7.1f} s  {found.figures:2} figures"
                line += f"  FAILED\n{indent(found.error, '    ')}" if found.error else ""
                print(line, flush=True)
                print(line, file=log, flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while any(future.running() for future in names):
                Kernel.kill_all()
                time.sleep(0.1)  # and again: one may be about to start
            raise
    return pd.DataFrame.from_dict(outcomes, "index", columns=Outcome._fields).sort_index()


def _needs(file: Path) -> list[str]:
    """Numbers of the notebooks that this one needs, by the tags of its cells."""
    try:
        cells = nbformat.read(file, as_version=4).cells
    except Exception:  # not a notebook: its execution will say so
        return []
    tags = [tag for cell in cells for tag in cell.metadata.get("tags", [])]
    return [tag.removeprefix("needs-") for tag in tags if tag.startswith("needs-")]


def execute(file: Path, target: Path, parameters: Mapping[str, object], threads: int) -> Outcome:
    """Execute one notebook into `target`, whatever becomes of it."""
    start, error = time.time(), ""
    try:
        known = papermill.inspect_notebook(file)  # not every notebook has every parameter
        given = {name: value for name, value in parameters.items() if name in known}
        with tempfile.TemporaryDirectory(prefix="maclcore-") as sockets:
            papermill.execute_notebook(
                file, target, given, progress_bar=False, kernel_manager_class=Kernel,
                config=Config(Kernel={**_connection(sockets), "threads": threads}),
                resources={"metadata": {"path": str(file.parent)}},  # the kernel's folder
                shutdown_kernel="immediate",  # else an idle kernel may complain of the interrupt
            )  # fmt: skip
    except papermill.PapermillExecutionError as failure:
        error = f"In [{failure.exec_count}]:\n{indent(failure.source, '    ')}\n"
        error += f"{failure.ename}: {failure.evalue}"
    except Exception as failure:  # a dead kernel, a full disk: the other notebooks go on
        error = f"{type(failure).__name__}: {failure}"
    finally:
        ensure_event_loop().close()  # this thread's, which papermill leaves open
    figures = figures_root().rglob(f"{file.name[:2]}-*.png")
    return Outcome(time.time() - start, sum(f.stat().st_mtime >= start for f in figures), error)


def _absolute(parameters: Mapping[str, object]) -> dict[str, object]:
    """The parameters for kernels, which run in another folder: the caller's paths made absolute.

    What is not found stays as it is: the notebook will say so.
    """
    given = dict(parameters)
    for key, found_by in (("archive", archive_name), ("weights", weights_name)):
        if given.get(key):
            with suppress(ValueError, OSError):
                given[key] = found_by(str(given[key]))
    return given


def _cores() -> int:
    """Cores that this process may use; macOS and Windows tell only how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _connection(folder: str) -> dict[str, str]:
    """Traits of a kernel whose sockets are files in `folder`, where the system allows such names;
    else none, which is TCP, of which ipykernel warns."""
    file = f"{folder}/kernel.json"
    longest = f"{folder}/kernel-ipc-5"  # jupyter_client's names, five sockets a kernel
    fits = len(os.fsencode(longest)) <= zmq.IPC_PATH_MAX_LEN  # 0 where there is no ipc
    return {"transport": "ipc", "connection_file": file} if fits else {}


class Kernel(AsyncKernelManager):
    """A kernel of this very interpreter, whatever kernels are installed and the notebook names.

    It has so many threads, unless OMP_NUM_THREADS is set, and can be ended at once.
    """

    threads = Integer(1, config=True)
    running: ClassVar[set["Kernel"]] = set()

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())

    async def start_kernel(self, **options) -> None:
        roots = {"DATA": data_root(), "RESULTS": results_root(), "FIGURES": figures_root()}
        environment = {"OMP_NUM_THREADS": str(self.threads)} | os.environ
        environment |= {f"MACL_{name}": str(root) for name, root in roots.items()}  # absolute
        await super().start_kernel(env=environment, **options)
        Kernel.running.add(self)

    async def cleanup_resources(self, **options) -> None:
        Kernel.running.discard(self)
        await super().cleanup_resources(**options)

    @classmethod
    def kill_all(cls) -> None:
        """Kill the running kernels and what they have started: each leads a process group."""
        for kernel in list(cls.running):
            with suppress(ProcessLookupError, PermissionError):  # ended; macOS, not yet waited for
                os.killpg(kernel.provisioner.pid, signal.SIGKILL)
