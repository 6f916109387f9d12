"""An index whose images are read and embedded by the workers of a Dask cluster.

This process alone writes, chunk by chunk in the same order as without a cluster, so that a worker
that dies, and one that comes, change nothing but the time.
"""

import os
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from maclcore.data import cache
from maclcore.extras import need
from maclcore.paths import data_root, results_root
from maclcore.search.build import Place
from maclcore.search.embedder import Embedder, Made, of_made
from maclcore.search.pixels import Chunk, Reader

need("cluster", __name__)

AHEAD = 2  # chunks that wait for a worker, or for being written, for each worker that is there
_ONE = threading.Lock()  # a worker has several threads, which torch shares among one chunk


def on_cluster(client: Any, made: Made) -> Place:
    """Where chunks are embedded: `client` is one of dask.distributed.

    The workers see files and weights where this process does, and have the same versions.
    ValueError if the network is another one there.
    """

    need("cluster", "an index made on other machines")

    def place(
        reader: Reader, images: Sequence[Any], parts: Iterable[Sequence[int]]
    ) -> Iterator[tuple[Chunk, Any]]:
        folders = {"MACL_RESULTS": str(results_root()), "MACL_DATA": str(data_root())}
        flying: deque = deque()
        for rows in parts:
            given = reader, list(rows), [images[row] for row in rows], made, folders
            flying.append(client.submit(_on_cluster, *given, pure=False))
            workers = len(client.scheduler_info(n_workers=-1)["workers"])
            if len(flying) >= AHEAD * max(workers, 1):
                yield _result(flying.popleft())
        while flying:
            yield _result(flying.popleft())

    return place


def _result(future: Any) -> tuple[Chunk, Any]:
    chunk, z, problem = future.result()
    if problem:
        raise ValueError(problem)
    return chunk, z


def _on_cluster(
    reader: Reader, rows: Sequence[int], images: Sequence[Any], made: Made, folders: dict[str, str]
) -> tuple[Chunk | None, np.ndarray | None, str]:
    from dask.distributed import get_worker

    with _ONE, cache.no_stray_warnings():
        os.environ.update(folders)
        torch.set_num_threads(get_worker().state.nthreads)
        try:
            embedder = _embedder(made)
        except (ValueError, OSError):
            return None, None, f"on {get_worker().address}: {traceback.format_exc(limit=0)}"
        chunk = reader(rows, images)
        pixels = Chunk(chunk.rows, np.empty(0, np.uint8), chunk.thumbnails, chunk.problems)
        return pixels, embedder(chunk.pixels) if chunk.rows else None, ""


@lru_cache(maxsize=1)
def _embedder(made: Made) -> Embedder:
    return of_made(made)
