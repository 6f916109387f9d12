"""Metrics: seven columns of 978 images against torchmetrics and ranx, and a million-row gallery."""

import argparse
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from maclcore.data import synthetic
from maclcore.evaluation.retrieval import evaluate, evaluate_scores
from maclcore.labels import jaccard

IMAGES, DIM = 978, 512


def labels(images: int, seed: int) -> np.ndarray:
    """Label sets of the synthetic archive, drawn with replacement."""
    pool = synthetic.generate(2100, 32, 0)[1].astype(bool)
    return pool[np.random.default_rng(seed).integers(0, len(pool), images)]


def embeddings(images: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((images, DIM), dtype=np.float32)


# --- Against peers ------------------------------------------------------------------------------


def contenders(z: np.ndarray, y: np.ndarray) -> dict:
    """Ours takes scores and gives seven columns; each peer gives those of them that it has."""
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    scores = unit @ unit.T
    level = jaccard(y)
    shared = y.astype(int) @ y.T
    hits = [shared > 0] + [level >= least - 1e-9 for least in (0.4, 0.6, 0.8)]
    other = ~np.eye(len(y), dtype=bool)
    work = {
        "evaluate (embeddings, all seven)": lambda: evaluate(z, y),
        "evaluate_scores (all seven)": lambda: evaluate_scores(scores, y),
    }
    try:
        from torchmetrics.functional import retrieval
    except ImportError:
        print("torchmetrics is not installed")
    else:
        positive = torch.from_numpy(scores[other].reshape(len(y), -1) + 1.5)  # it drops <= 0
        target = [torch.from_numpy(hit[other].reshape(positive.shape)) for hit in hits]
        gains = [2.0**shared - 1, 2.0**level - 1]
        gains = [torch.from_numpy(gain[other].reshape(positive.shape)) for gain in gains]

        def torchmetrics():
            for q, row in enumerate(positive):
                for hit in target:
                    retrieval.retrieval_average_precision(row, hit[q])
                for gain in gains:
                    retrieval.retrieval_normalized_dcg(row, gain[q], top_k=100)

        work["torchmetrics (4 mAP, 2 nDCG)"] = torchmetrics
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ranx
    except ImportError:
        print("ranx is not installed")
    else:
        names = [str(i) for i in range(len(y))]
        rows = {q: {i: float(s) for i, s in zip(names, row, strict=True) if i != q}
                for q, row in zip(names, scores, strict=True)}  # fmt: skip
        run = ranx.Run(rows)

        def judged(relevance):
            return ranx.Qrels({q: {i: int(r) for i, r in zip(names, row, strict=True) if i != q}
                               for q, row in zip(names, relevance, strict=True)})  # fmt: skip

        ranks = judged(sum(hit.astype(int) for hit in hits))
        counts = judged(shared)
        maps = [f"map-l{n}" for n in (1, 2, 3, 4)]

        def with_ranx():
            ranx.evaluate(ranks, run, maps, make_comparable=False)
            ranx.evaluate(counts, run, "ndcg_burges@100", make_comparable=False)

        work["ranx (4 mAP, 1 nDCG; dictionaries built before)"] = with_ranx
    return work


def against_peers(repeats: int) -> None:
    work = contenders(embeddings(IMAGES, 0), labels(IMAGES, 0))
    best = dict.fromkeys(work, float("inf"))
    for repeat in range(repeats + 1):
        for name, run in work.items():
            once = 10 if name.startswith("evaluate") else 1
            for _ in range(once if repeat else 1):  # the first warms up, and compiles ranx
                start = time.perf_counter()
                run()
                if repeat:
                    best[name] = min(best[name], time.perf_counter() - start)
    ours = best["evaluate_scores (all seven)"]
    print(f"\n{IMAGES} x {IMAGES} x {DIM}, {torch.get_num_threads()} threads")
    for name, seconds in best.items():
        print(f"  {name:50}{seconds * 1e3:9.1f} ms{seconds / ours:8.1f} x")


# --- Large galleries ----------------------------------------------------------------------------


class PeakMemory:
    """Bytes of anonymous memory beyond what was there at the start; mapped files do not count."""

    def __enter__(self):
        self.base, self.peak, self.done = _anonymous(), 0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        while not self.done.wait(0.005):
            self.peak = max(self.peak, _anonymous() - self.base)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def large(items: int, queries: int, folder: Path, memory: int, cutoff: int | None, device) -> None:
    file = folder / f"{items}.npy"
    if not file.exists():
        z = np.lib.format.open_memmap(file, "w+", "float32", (items, DIM))
        for start in range(0, items, 10_000):
            z[start : start + 10_000] = embeddings(len(z[start : start + 10_000]), start)
        z.flush()
    z = np.load(file, mmap_mode="r")
    y, y_query, z_query = labels(items, 1), labels(queries, 2), embeddings(queries, 3)
    evaluate(z_query[:8], y_query[:8], z[:100], y[:100], device=device)
    with PeakMemory() as used:
        start = time.perf_counter()
        evaluate(z_query, y_query, z, y, map_cutoff=cutoff, memory=memory, device=device)
        seconds = time.perf_counter() - start
    whole = "whole list" if cutoff is None else f"top {cutoff}"
    print(
        f"  {queries:6} x {items:9,}  {whole:10}  {seconds:7.1f} s  "
        f"{1e9 * seconds / queries / items:6.1f} ns a pair  {used.peak / 2**20:6.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--whole", type=int, default=64, help="queries of which whole lists count")
    parser.add_argument("--memory", type=int, default=1 << 30)
    options = parser.parse_args()
    against_peers(options.repeats)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"\ngalleries on disk, {DIM} columns, memory={options.memory >> 20} MiB, {device}")
    with tempfile.TemporaryDirectory() as folder:
        for items in options.sizes:
            shared = Path(folder), options.memory
            large(items, options.queries, *shared, 5000, device)
            large(items, options.whole, *shared, None, device)


if __name__ == "__main__":
    main()
