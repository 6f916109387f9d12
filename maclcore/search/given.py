"""An index of vectors that somebody else has made."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from maclcore.data.catalogue import Catalogue
from maclcore.evaluation.ranking import UnitRows
from maclcore.search.embedder import GIVEN, Made
from maclcore.search.index import About, Index, alone
from maclcore.search.known import Known
from maclcore.search.table import Table, room

PART = 8192  # vectors that are read and written at once


def take_vectors(
    where: str | Path,
    names: Sequence[str],
    z: Any,
    *,
    by: str,
    labels: np.ndarray | None = None,
    label_names: Sequence[str] = (),
    columns: Mapping[str, Sequence[Any]] | None = None,
    title: str = "",
) -> Index:
    """Bring an index, which there need not be yet, in step with vectors: `names[i]` has z[i].

    z: (N, D), an array or whatever gives its rows for a slice, of which PART at a time are read;
    they become unit rows of float32. `by`: what made them, in words of which all vectors of an
    index must have the same. labels (N, L) bool; `columns`: more, a value a name. Only what is new
    or changed is written, and nothing is removed. There are no thumbnails, and an image that is not
    in the index cannot be embedded.

    ValueError for names of which two are the same, a row that is zero or not finite, and an index
    of other vectors; TimeoutError if another process is writing it; OSError if there is no room.
    """
    rows, n = UnitRows(z, "z"), len(names)
    if len(rows) != n or len(set(names)) < n:
        raise ValueError(
            f"{n:,} names, {len(set(names)):,} of them different, of {len(rows):,} rows"
        )
    labels = np.zeros((n, len(label_names)), dtype=bool) if labels is None else np.asarray(labels)
    whole = ("", title or by, None, ("",) * n, tuple(names), labels, tuple(label_names))
    known = Known(
        Catalogue(*whole, columns={k: tuple(v) for k, v in (columns or {}).items()}), [""] * n
    )
    made = Made("", "", "", by, GIVEN, 0, (), rows.shape[1])
    about = About(
        made, "", title or by, tuple(label_names), versions={"lancedb": version("lancedb")}
    )
    with alone(where), room(where):
        table = Table.made(where, about, known.types, beside=False)
        there = table.contents()
        for start in range(0, n, PART):
            part = slice(start, min(start + PART, n))
            unit = rows(part).float().numpy()
            known.contents[part] = [hashlib.sha256(row.tobytes()).hexdigest() for row in unit]
            todo = [i for i in range(n)[part] if there.get(names[i]) != known.contents[i]]
            if todo:
                vectors = unit[np.array(todo) - start]
                thumbnails = [None] * len(todo)
                replacing = any(names[i] in there for i in todo)
                table.put(known(todo, table.schema, thumbnails, vectors), replacing)
        for changed in table.differing(known, set()):
            table.update(known(changed, table.schema))
        table.tidy()
    return Index(where)
