"""An index of given vectors: built, searched exactly, by condition and approximately, added to;
beside faiss's and usearch's exact searches, in one process and interleaved."""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from maclcore.search import approximate
from maclcore.search.given import take_vectors
from maclcore.search.index import Index

K = 10
PART = 10_000  # vectors that are drawn at a time


class Peak:
    """The largest resident memory of this process while it is entered, in MiB, and what it was."""

    def __enter__(self) -> "Peak":
        self.before = self.peak = _resident()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.done.wait(0.01):
            self.peak = max(self.peak, _resident())

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def __str__(self) -> str:
        return f"{self.peak:,.0f} MiB at most, {self.before:,.0f} before"


def _resident() -> float:
    """Of memory that is the process's own: pages of mapped files, which the system may take back at
    any time, are left out."""
    of = psutil.Process().memory_info()
    return (of.rss - of.shared) / 2**20


def drawn(file: Path, n: int, dim: int) -> np.ndarray:
    """Vectors (n, dim) on disk, in a thousand clusters that lie in a space of 32 dimensions."""
    generator = np.random.default_rng(0)
    centres, plane = generator.standard_normal((1000, 32)), generator.standard_normal((32, dim))
    z = np.lib.format.open_memmap(file, "w+", "float32", (n, dim))
    for start in range(0, n, PART):
        rows = min(PART, n - start)
        points = centres[generator.integers(1000, size=rows)]
        points = points + 0.7 * generator.standard_normal((rows, 32))
        z[start : start + rows] = points @ plane + 0.3 * generator.standard_normal((rows, dim))
    z.flush()
    return np.load(file, mmap_mode="r")


def timed(what: str, work: Callable[[], object]) -> object:
    with Peak() as peak:
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
    print(f"  {what:42}{seconds:10.2f} s   memory {peak}", flush=True)
    return result


def interleaved(work: dict[str, Callable[[np.ndarray], object]], queries: np.ndarray) -> None:
    """The least and the middle of each search's seconds, one after the other for each query."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for row, q in enumerate(queries):
        for name, run in work.items():
            start = time.perf_counter()
            run(q)
            if row:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    best = {name: min(taken) for name, taken in seconds.items()}
    ours = next(iter(best.values()))
    for name, taken in seconds.items():
        middle = float(np.median(taken))
        print(
            f"  {name:42}{best[name] * 1e3:9.1f} ms at least, {middle * 1e3:8.1f} in the middle, "
            f"{best[name] / ours:6.2f} x",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument(
        "--folder", type=Path, default=None, help="for the index; default: temporary"
    )
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder), options.vectors, options.dim, options.queries, not options.no_peers)


def measure(folder: Path, n: int, dim: int, queries: int, peers: bool) -> None:
    z = drawn(folder / "z.npy", n + 1000, dim)
    names = [f"image{i:07}" for i in range(n + 1000)]
    cloud = (np.arange(n + 1000) % 100).tolist()
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{n:,} x {dim}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}")
    where = folder / "vectors.index"

    def put(rows: slice) -> Index:
        columns = {"cloud": cloud[rows]}
        return take_vectors(where, names[rows], z[rows], by="the benchmark", columns=columns)

    index = timed("build, vectors given", lambda: put(slice(n)))
    assert isinstance(index, Index)
    size = sum(file.stat().st_size for file in where.rglob("*") if file.is_file())
    print(f"  size on disk {size / 1e6:,.0f} MB, vectors alone {4e-6 * n * dim:,.0f} MB")
    chosen = np.random.default_rng(1).integers(0, n, queries + 1)
    q = np.array(z[np.sort(chosen)])
    timed("first exact query", lambda: index.nearest(q[0], K))
    with Peak() as peak:
        ours = {
            "exact": lambda v: index.nearest(v, K),
            "exact, a tenth by a condition": lambda v: index.nearest(v, K, where="cloud < 10"),
            "exact, a hundredth by a condition": lambda v: index.nearest(v, K, where="cloud = 5"),
        }
        interleaved(ours, q)
    print(f"  memory while searching {peak}")
    with Peak() as peak:
        name = names[n // 2]
        interleaved({"vector by name": lambda _: index.vectors([name])}, q)
    made = timed("approximate: made and measured", lambda: approximate.make(where))
    assert isinstance(made, approximate.Approximate)
    print(
        f"  {made.probed} of {made.partitions} parts; recall@10 {made.recall_10:.4f}, recall@100 "
        f"{made.recall_100:.4f}, of {made.queries} of its vectors"
    )
    index = Index(where)
    with Peak() as peak:
        near = {
            "exact": lambda v: index.nearest(v, K),
            "approximate": lambda v: index.nearest(v, K, approximate=True),
            "approximate, a tenth by a condition": lambda v: index.nearest(
                v, K, where="cloud < 10", approximate=True
            ),
        }
        interleaved(near, q)
    print(f"  memory while searching {peak}")
    timed("add 1,000", lambda: put(slice(n, n + 1000)))
    if peers:
        against_peers(index, z, q)


def against_peers(index: Index, z: np.ndarray, q: np.ndarray) -> None:
    """Ours on disk; theirs in memory, whose building is not counted."""
    import faiss
    from usearch.index import MetricKind
    from usearch.index import search as usearch

    rows = np.array(z)
    faiss.normalize_L2(rows)
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)

    def unit(v: np.ndarray) -> np.ndarray:
        return (v / np.linalg.norm(v)).astype(np.float32)

    print(f"  beside what lies in memory ({rows.nbytes / 2**20:,.0f} MiB each):")
    interleaved(
        {
            "ours, exact, on disk": lambda v: index.nearest(v, K),
            "faiss IndexFlatIP": lambda v: flat.search(unit(v)[None], K),
            "usearch, exact": lambda v: usearch(rows, unit(v), K, MetricKind.IP, exact=True),
        },
        q,
    )
    found = [index.nearest(v, K)["name"].tolist() for v in q[:5]]
    same = np.mean(
        [
            len({f"image{i:07}" for i in flat.search(unit(v)[None], K)[1][0]} & {*names}) / K
            for v, names in zip(q, found, strict=False)
        ]
    )
    print(f"  of our best {K} faiss has {same:.1%} among its own")


if __name__ == "__main__":
    main()
