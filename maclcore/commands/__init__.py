"""The verbs of the command line, a function each, with its options as parameters.

From here: `VERBS` and `SECOND`, which `python -m maclcore` dispatches. A verb asks the rooms below
and prints; it imports them when it is called, so that `--help` is there at once. What others could
call from Python belongs in a room below, not here.
"""

from collections.abc import Callable

from maclcore.extras import need

need("train", __name__)

from maclcore.commands import (
    annotate,
    batch,
    browse,
    complete,
    data,
    embed,
    evaluate,
    index,
    runs,
    search,
    train,
)

VERBS: dict[str, Callable[..., None]] = {
    "data": data.data,
    "annotate": annotate.annotate,
    "complete": complete.complete,
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "runs": runs.runs,
    "sweep": batch.sweep,
    "notebooks": batch.notebooks,
    "claims": batch.claims,
    "index": index.show,
    "embed": embed.embed,
    "search": search.search,
    "browse": browse.browse,
}
SECOND: dict[tuple[str, ...], Callable[..., None]] = {
    ("data", "prepare"): data.prepare,
    ("index", "build"): index.build,
    ("index", "add"): index.add,
    ("index", "remove"): index.remove,
    ("index", "show"): index.show,
    ("index", "approximate"): index.approximate,
    ("runs", "compare"): runs.compare,
    ("runs", "pack"): runs.pack,
    ("runs", "unpack"): runs.unpack,
    ("runs", "recompute"): runs.recompute,
}
