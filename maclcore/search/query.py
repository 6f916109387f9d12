"""A query by example: images like these, unlike those, among what some conditions leave."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from maclcore.search.index import Index, quoted

AWAY = 0.5  # how much counter-examples weigh beside examples
NONE = np.zeros((0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Query:
    """What to look for; of what is empty nothing is asked.

    `like`, `unlike`: names of indexed images as examples and counter-examples; `vectors`,
    `unlike_vectors` (n, D): of other images, by the index's own network. `labels`: an image has all
    of them, and none of `not_labels`. `where`: a condition of SQL on the columns. `box`: west,
    south, east and north of where an image lies, in degrees; one with west > east crosses 180°.
    """

    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    vectors: np.ndarray = field(default_factory=lambda: NONE)
    unlike_vectors: np.ndarray = field(default_factory=lambda: NONE)
    labels: tuple[str, ...] = ()
    not_labels: tuple[str, ...] = ()
    where: str = ""
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if both := sorted({*self.like} & {*self.unlike}):
            raise ValueError(f"both an example and a counter-example: {', '.join(both)}")
        if self.box is not None:
            west, south, east, north = self.box
            if not (abs(west) <= 180 and abs(east) <= 180 and -90 <= south <= north <= 90):
                raise ValueError(
                    f"no box {self.box}: west, south, east, north in degrees, south below north"
                )


def find(index: Index, query: Query, k: int, approximate: bool = False) -> pd.DataFrame:
    """The k images that answer a query, as `Index.nearest` has them; its examples are none of them.

    Without any example those that meet the conditions, by name, with a cosine of NaN.
    `approximate`: as of `nearest`. ValueError for k < 1, an example or label that the index does
    not have, and a condition that is none.
    """
    if k < 1:
        raise ValueError(f"k is {k}: a search has at least 1 result")
    where = condition(index, query)
    named = (*query.like, *query.unlike)
    vectors = index.vectors(named) if named else np.zeros((0, index.about.made.dim))
    like = _stacked(vectors[: len(query.like)], query.vectors)
    unlike = _stacked(vectors[len(query.like) :], query.unlike_vectors)
    if len(like) or len(unlike):
        return index.nearest(rocchio(like, unlike), k, where, named, approximate)
    found = index.rows(where, limit=k)
    found.insert(1, "cosine", np.float32(np.nan))
    return found


def rocchio(like: np.ndarray, unlike: np.ndarray) -> np.ndarray:
    """The direction (D,), of any length, of examples (n, D) and away from others, in unit rows.

    The mean direction of the examples less AWAY times that of the counter-examples: J. Rocchio,
    "Relevance feedback in information retrieval", in The SMART Retrieval System, 1971, pp. 313-323,
    with his weights as 1 and AWAY. (Ours: means are brought to length 1 before they are weighed;
    his: left as they are; why: the mean of examples that differ is short, and would weigh less.)
    ValueError where examples cancel out.
    """
    towards, away = (np.asarray(z, np.float64).sum(axis=0) for z in (like, unlike))
    for z, total in ((like, towards), (unlike, away)):
        if len(z) and np.linalg.norm(total) < 1e-6 * len(z):
            raise ValueError("the examples, or counter-examples, cancel out: leave one of them out")
    if not len(unlike):
        return towards  # of one example its own vector, to the last bit
    return (_unit(towards) if len(like) else 0) - AWAY * _unit(away)


def condition(index: Index, query: Query) -> str | None:
    """The conditions of a query as one of SQL; None if it has none."""
    known = index.about.label_names
    for label in (*query.labels, *query.not_labels):
        if label not in known:
            near = difflib.get_close_matches(label, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
            raise ValueError(f"the index has no label {label!r}; {hint}")
    parts = [f"array_has(labels, {quoted(label)})" for label in query.labels]
    parts += [f"NOT array_has(labels, {quoted(label)})" for label in query.not_labels]
    if query.where.strip():
        parts.append(f"({query.where})")
    if query.box is not None:
        west, south, east, north = map(float, query.box)
        across = "AND" if west <= east else "OR"
        parts.append(f"(longitude >= {west} {across} longitude <= {east})")
        parts.append(f"latitude >= {south} AND latitude <= {north}")
    return " AND ".join(parts) or None


def _stacked(indexed: np.ndarray, given: Sequence | np.ndarray) -> np.ndarray:
    return np.concatenate([indexed, given]) if len(given) else indexed


def _unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z)
