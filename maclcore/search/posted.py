"""What a page posts, as a query: nothing of it is taken for what it should be.

All functions raise ValueError, which names what is none.
"""

import base64
from typing import Any

import numpy as np

from maclcore.search.index import Index, quoted
from maclcore.search.query import Query
from maclcore.search.results import Dropped

JPEG = "image/jpeg"
DATA = f"data:{JPEG};base64,"


def query_of(index: Index, given: dict[str, Any]) -> Query:
    """The query that a page asks; ValueError that names what is none."""
    dim = index.about.made.dim
    conditions = [_equals(index, *pair) for pair in _pairs(given, "equals")]
    conditions += [_between(index, *pair) for pair in _pairs(given, "between")]
    own = given.get("where", "")
    if not isinstance(own, str):
        raise ValueError("where: a condition is a text")
    conditions += [f"({own})"] if own.strip() and conditions else [own.strip()]
    return Query(
        like=_texts(given, "like"),
        unlike=_texts(given, "unlike"),
        vectors=_vectors(given, "vectors", dim),
        unlike_vectors=_vectors(given, "unlike_vectors", dim),
        labels=_texts(given, "labels"),
        not_labels=_texts(given, "not_labels"),
        where=" AND ".join(filter(None, conditions)),
        box=None if given.get("box") is None else box(given["box"]),
    )


def dropped(given: dict[str, Any], key: str) -> tuple[Dropped, ...]:
    """Names and thumbnails of the files that vectors are of, as `Session.example` has them."""
    pairs = given.get(key, [])
    try:
        return tuple(
            Dropped(str(name), base64.b64decode(picture.removeprefix(DATA), validate=True))
            for name, picture in pairs
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{key}: names and thumbnails are expected") from error


def data_address(jpeg: bytes) -> str:
    """An image as the address of itself."""
    return DATA + base64.b64encode(jpeg).decode()


def has_examples(given: dict[str, Any]) -> bool:
    return any(given.get(key) for key in ("like", "unlike", "vectors", "unlike_vectors"))


def _texts(given: dict[str, Any], key: str) -> tuple[str, ...]:
    found = given.get(key, [])
    if not (isinstance(found, list) and all(isinstance(text, str) for text in found)):
        raise ValueError(f"{key}: a list of texts is expected")
    return tuple(found)


def _vectors(given: dict[str, Any], key: str, dim: int) -> np.ndarray:
    try:
        rows = [base64.b64decode(text, validate=True) for text in _texts(given, key)]
        found = np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), dim)
    except ValueError as error:
        raise ValueError(f"{key}: a vector here has {dim} numbers; drop the image again") from error
    if not np.isfinite(found).all():
        raise ValueError(f"{key}: a vector that is not finite; drop the image again")
    return found


def whole(given: dict[str, Any], key: str) -> int:
    found = given.get(key)
    if type(found) is not int:
        raise ValueError(f"{key}: a whole number is expected")
    return found


def box(given: Any) -> tuple[float, float, float, float]:
    if not (isinstance(given, list) and len(given) == 4 and all(map(_is_number, given))):
        raise ValueError("a box is west, south, east and north in degrees")
    west, south, east, north = map(float, given)
    return west, south, east, north


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))


def _pairs(given: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    found = given.get(key, {})
    if not isinstance(found, dict):
        raise ValueError(f"{key}: columns and what they have are expected")
    return [*found.items()]


def _column(index: Index, name: str) -> str:
    if name not in index.columns or "`" in name:
        raise ValueError(f"no column {name!r} to choose by: {', '.join(index.columns) or 'none'}")
    return f"`{name}`"


def _equals(index: Index, name: str, value: Any) -> str:
    column = _column(index, name)
    if value is None:
        return f"{column} IS NULL"
    if isinstance(value, str):
        return f"{column} = {quoted(value)}"
    if isinstance(value, bool) or _is_number(value):
        return f"{column} = {str(value).lower()}"
    raise ValueError(f"{name}: {value!r} is nothing to choose by")


def _between(index: Index, name: str, value: Any) -> str:
    column = _column(index, name)
    if not (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))):
        raise ValueError(f"{name}: two numbers are expected, the least and the most")
    return f"{column} BETWEEN {value[0]} AND {value[1]}"
