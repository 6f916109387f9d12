"""The table of an index as it is written: whole commits, each of which stays or never was."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from lancedb.index import BTree

from maclcore.search.embedder import unlike
from maclcore.search.index import (
    TABLE,
    About,
    Index,
    connect,
    one_of,
    parts,
    schema,
)
from maclcore.search.known import Known

SCANNED = 4096  # rows that are compared at a time
COMMITS = 2048  # after which, in mid-work, small pieces are made one: each commit lists them all
FRAGMENTS = 32  # pieces up to which a query does not notice them
#: rows up to which a table is always made one piece, which of a larger one would cost much, and
#: needs no index of its names
SMALL = 100_000


@contextmanager
def room(where: str | Path) -> Iterator[None]:
    """What LanceDB raises while it writes becomes an OSError that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if "lance error" not in str(error):
            raise
        reason = str(error).split(", /")[0].removeprefix("lance error: ")
        raise OSError(
            f"cannot write to {where} ({reason}): make room, or make it writable; the same command "
            "goes on from what is written"
        ) from error


class Table:
    """An index's table, held by `alone` against others who would write it."""

    def __init__(self, table: Any, where: str) -> None:
        self.table, self.where, self.commits = table, where, 0

    @classmethod
    def made(
        cls, where: str | Path, about: About, types: Mapping[str, pa.DataType], beside: bool
    ) -> "Table":
        """The table for what `about` says, which there may be; `types`: of the owner's columns.

        `beside`: what is to be put into it may be of another archive. ValueError if what is there
        was made otherwise.
        """
        db = connect(where)
        if TABLE not in db.list_tables().tables:
            return cls(db.create_table(TABLE, schema=schema(about, types)), str(where))
        found = Index(where)
        self = cls(found.table, found.where)
        self._check(found.about, about, beside)
        self._columns(types)
        self._about(found.about, about)
        return self

    def _check(self, there: About, about: About, beside: bool) -> None:
        if differences := unlike(there.made, about.made):
            raise ValueError(
                f"{self.where} was made by another network ({differences}), with whose vectors no "
                "others can be compared: build another index"
            )
        if there.rule != about.rule:
            raise ValueError(
                f"{self.where} is of images that were read by another rule ({there.rule}) than "
                f"{about.title} is ({about.rule}): build another index; `index add` reads its "
                "archive as it was read"
            )
        if not beside and there.archive != about.archive:
            raise ValueError(
                f"{self.where} is of {there.archive}, not of {about.archive}: `index add` puts one "
                "archive beside another"
            )

    def _columns(self, types: Mapping[str, pa.DataType]) -> None:
        """Give the table the owner's columns that it has not; they hold nothing in other rows."""
        for name, kind in types.items():
            if name not in self.schema.names:
                self.table.add_columns(pa.field(name, kind))
            elif not _fits(kind, old := self.schema.field(name).type):
                raise ValueError(
                    f"column {name!r} held {old} when {self.where} was built, and holds {kind} "
                    "now: rename it, or build the index anew"
                )

    def _about(self, there: About, about: About) -> None:
        """Let it say of which labels it is, and of which archive, if that has moved."""
        label_names = tuple(dict.fromkeys((*there.label_names, *about.label_names)))
        now = replace(there, label_names=label_names)
        moved = os.path.isabs(there.archive) and not os.path.isdir(there.archive)
        if there.archive == about.archive or moved:
            now = replace(now, archive=about.archive, title=about.title, options=about.options)
        if now != there:
            self.say(now)

    def say(self, about: About) -> None:
        self.table.update_field_metadata({"path": "vector", "metadata": about.metadata()})

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    # --- Read ---

    def contents(self) -> dict[str, str]:
        """Of each name the content that was embedded."""
        query = self.table.search().select(["name", "content"])
        batches = (batch.to_pydict() for batch in query.to_batches(SCANNED))
        return {
            name: content
            for batch in batches
            for name, content in zip(batch["name"], batch["content"], strict=True)
        }

    def files(self, names: Sequence[str]) -> dict[str, str]:
        """Where images lay when they were indexed, of those names that are."""
        found: dict[str, str] = {}
        for some in parts(list(names)):
            query = self.table.search().select(["name", "file"]).where(one_of("name", some))
            rows = query.to_arrow().to_pydict()
            found |= zip(rows["name"], rows["file"], strict=True)
        return found

    def missing(self) -> list[str]:
        """The images whose files are there no longer."""
        query, gone = self.table.search().select(["name", "file"]), []
        for batch in query.to_batches(SCANNED):
            rows = batch.to_pydict()
            pairs = zip(rows["name"], rows["file"], strict=True)
            gone += [name for name, file in pairs if file and not os.path.exists(file)]
        return gone

    def differing(self, known: Known, but: Set[int]) -> Iterator[list[int]]:
        """Images whose rows say something else than is known now, some at a time; none of `but`."""
        row = {name: i for i, name in enumerate(known.catalogue.names) if i not in but}
        shown = [name for name in self.schema.names if name not in ("thumbnail", "vector")]
        batches = self.table.search().select(shown).to_batches(SCANNED)
        for batch in batches:
            ours = [i for i, name in enumerate(batch["name"].to_pylist()) if name in row]
            stored = pa.Table.from_batches([batch.take(pa.array(ours, pa.int64()))])
            rows = [row[name] for name in stored["name"].to_pylist()]
            now = known(rows, self.schema)
            if not stored.equals(now):
                pairs = zip(rows, stored.to_pylist(), now.to_pylist(), strict=True)
                if changed := [i for i, then, here in pairs if then != here]:
                    yield changed

    # --- Written ---

    def put(self, rows: pa.Table, replacing: bool) -> None:
        """Whole rows; `replacing`: some have names that are there."""
        if replacing:
            merge = self.table.merge_insert("name")
            merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)
        else:
            self.table.add(rows)
        self.commits += 1
        if self.commits % COMMITS == 0:
            self._one_piece()

    def update(self, rows: pa.Table) -> None:
        """Some columns of rows that are there."""
        self.table.merge_insert("name").when_matched_update_all().execute(rows)

    def delete(self, names: Sequence[str]) -> None:
        for some in parts(list(names)):
            self.table.delete(one_of("name", some))

    def tidy(self) -> None:
        """Leave a table that is quick to search, and nothing of what it was before."""
        fragments = self.table.stats()["fragment_stats"]["num_fragments"]
        large = self.table.count_rows() > SMALL
        if fragments >= FRAGMENTS or not large:
            self._one_piece()
        if large and all(index.columns != ["name"] for index in self.table.list_indices()):
            self.table.create_index("name", config=BTree())

    def _one_piece(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "optimize"
            )  # of readers: `Index` looks for the newest
            self.table.optimize(cleanup_older_than=timedelta(0), delete_unverified=self._ours)

    @property
    def _ours(self) -> bool:
        """Whether nobody else can be writing, so that what no version names is a killed one's."""
        return "://" not in self.where


def _fits(kind: pa.DataType, old: pa.DataType) -> bool:
    return kind == old or (pa.types.is_integer(kind) and pa.types.is_floating(old))
