"""What has been computed: a folder a run, written atomically, and one table of them all.

From here: `Run`, `collect`, `runs`, `compare`, `per_query`, `histories`, the writers of `files`,
and `maclcore.store.identity`, which says whose a stored number is. Many finished runs may lie in
one file (`maclcore.store.pack` makes it, `maclcore.store.packed` reads it), and are read alike.
This room knows archives, weights and metrics; it must not know how a run is trained, nor what is
made of its numbers.
"""

from maclcore.extras import need

need("train", __name__)

from maclcore.store.files import (
    former_weights,
    log,
    write_csv,
    write_json,
    write_lines,
    write_table,
    write_tensors,
    write_text,
)
from maclcore.store.provenance import environment
from maclcore.store.run import IDENTITY, LEASE, PREDICTIONS, RESULT, Run
from maclcore.store.table import collect, compare, histories, per_query, runs

__all__ = [
    "IDENTITY",
    "LEASE",
    "PREDICTIONS",
    "RESULT",
    "Run",
    "collect",
    "compare",
    "environment",
    "former_weights",
    "histories",
    "log",
    "per_query",
    "runs",
    "write_csv",
    "write_json",
    "write_lines",
    "write_table",
    "write_tensors",
    "write_text",
]
