"""An index made of an archive, and kept in step with it.

Images are read by threads while the network works, and written CHUNK by CHUNK, in the order of
their names: memory is that of some chunks beside names and hashes, and what was written stays
whatever happens next. The same command goes on from there, with the same bits.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maclcore.data import cache
from maclcore.data.catalogue import Catalogue
from maclcore.progress import Progress
from maclcore.search.embedder import Embedder, Made
from maclcore.search.index import About, Index, alone
from maclcore.search.known import Known
from maclcore.search.pixels import CHUNK, Chunk, Reader, chunks, file_of, images_of
from maclcore.search.table import Table, room

PACKAGES = ("maclcore", "torch", "torchvision", "timm", "pillow", "lancedb")
#: embeds chunks: from (reader, images, rows of each chunk) to each chunk and its vectors
Place = Callable[[Reader, Sequence[Any], Iterable[Sequence[int]]], Iterator[tuple[Chunk, Any]]]


class LeftOut(ValueError):
    """Images that could not be read and are not in the index; `.problems` has a line for each."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        lines = "\n  ".join(problems)
        super().__init__(
            f"{len(problems):,} images could not be read and are not in {where}; the same command "
            f"tries them again:\n  {lines}"
        )
        self.problems = list(problems)


@dataclass
class Done:
    """What has been done to an index, in numbers of images, and how long it took."""

    new: int = 0
    changed: int = 0  #: of another content than before
    updated: int = 0  #: of which the table, or a georeference, says something else than before
    gone: tuple[str, ...] = ()  #: indexed, and their files are there no longer
    problems: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  #: by step

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0) + time.perf_counter() - start

    def each(self, step: str, items: Iterable[Any]) -> Iterator[Any]:
        """The items, of which the time that each takes to come counts as this step."""
        coming = iter(items)
        while True:
            with self.timed(step):
                item = next(coming, None)
            if item is None:
                return
            yield item


def build(catalogue: Catalogue, embedder: Embedder, where: str | Path) -> Index:
    """`take`, and the index; LeftOut at the end if there are images that cannot be read."""
    done = take(catalogue, embedder, where)
    if done.problems:
        raise LeftOut(str(where), done.problems)
    return Index(where)


def take(
    catalogue: Catalogue,
    embedder: Embedder,
    where: str | Path,
    *,
    archive: str = "",
    options: Mapping[str, Any] | None = None,
    beside: bool = False,
    place: Place | None = None,
    progress: bool = False,
) -> Done:
    """Bring an index, which there need not be yet, in step with an archive.

    Embedded are the images that it has not, or with another content; of the others what is known
    is brought up to date. None is removed. `archive`: its name, if it was read by one; `options`:
    how. `beside`: it may be another archive than the index is of, which then holds both. `place`:
    where chunks are embedded, if not here.

    ValueError if the index was made by another network or rule, or of another archive; if a name
    is also that of an image elsewhere; TimeoutError if another process is writing it; OSError if
    there is no room. Whatever is raised, what was written stays and is whole.
    """
    embedder.check(catalogue)
    made = embedder.shown(catalogue.stretch).made
    about, done = about_of(catalogue, made, archive, options or {}), Done()
    with alone(where), room(where):
        with done.timed("comparing files"):
            contents = catalogue.contents(progress=progress)
            known = Known(catalogue, contents, catalogue.coordinates)
            table = Table.made(where, about, known.types, beside)
            there = table.contents()
            todo = [i for i, n in enumerate(catalogue.names) if there.get(n) != known.contents[i]]
            refuse_namesakes(table, catalogue, [i for i in todo if catalogue.names[i] in there])
        with done.timed("comparing what is known"):
            for rows in table.differing(known, set(todo)):
                table.update(known(rows, table.schema))
                done.updated += len(rows)
        label, before = f"Indexing {catalogue.title}", len(catalogue) - len(todo)
        embedded = _embedded(catalogue, made.image_size, todo, place or here(embedder, done))
        if place:
            embedded = done.each("waiting for others", embedded)
        with Progress(label, "images", before, len(catalogue), progress and bool(todo)) as bar:
            for chunk, z in embedded:
                done.problems += chunk.problems
                with done.timed("writing"):
                    old = sum(catalogue.names[i] in there for i in chunk.rows)
                    if chunk.rows:
                        table.put(known(chunk.rows, table.schema, chunk.thumbnails, z), old > 0)
                done.changed, done.new = done.changed + old, done.new + len(chunk.rows) - old
                bar.advance(len(chunk.rows) + len(chunk.problems))
        with done.timed("tidying"):
            table.tidy()
        absent = set(there).difference(catalogue.names)
        done.gone = tuple(name for name in table.missing() if name in absent) if absent else ()
    return done


def _embedded(
    catalogue: Catalogue, size: int, todo: list[int], place: Place
) -> Iterator[tuple[Chunk, Any]]:
    if todo:
        parts = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
        with cache.no_stray_warnings():
            yield from place(Reader.of(catalogue, size), images_of(catalogue, size), parts)


def here(embedder: Embedder, done: Done) -> Place:
    """In this process, with files read ahead by threads."""

    def place(
        reader: Reader, images: Sequence[Any], parts: Iterable[Sequence[int]]
    ) -> Iterator[tuple[Chunk, Any]]:
        for chunk in done.each("waiting for files", chunks(reader, images, parts)):
            with done.timed("embedding"):
                z = embedder(chunk.pixels) if chunk.rows else None
            yield chunk, z

    return place


def about_of(catalogue: Catalogue, made: Made, archive: str, options: Mapping[str, Any]) -> About:
    return About(
        made,
        archive or str(catalogue.folder or catalogue.name),
        catalogue.title,
        catalogue.label_names,
        rule=catalogue.rule(made.image_size),
        options=dict(options),
        versions={name: version(name) for name in PACKAGES},
    )


def refuse_namesakes(table: Table, catalogue: Catalogue, rows: Sequence[int]) -> None:
    """ValueError if an image of another content than the indexed one lies beside it, elsewhere."""
    files = table.files([catalogue.names[i] for i in rows])
    moved = {i: files[catalogue.names[i]] for i in rows}
    both = [
        f"{catalogue.names[i]} ({old})"
        for i, old in moved.items()
        if old and old != file_of(catalogue.images[i]) and os.path.exists(old)
    ]
    if both:
        raise ValueError(
            f"{len(both):,} images of {catalogue.title} have names that the index has for others, "
            f"such as {', '.join(both[:3])}: rename them, or remove the others from the index"
        )


# --- Without an archive -------------------------------------------------------------------------


def remove(where: str | Path, names: Sequence[str] = (), missing: bool = False) -> list[str]:
    """Take images out of an index by name, and those whose files are gone if `missing`.

    They are found no longer; of a large index their bytes leave the disk when a tenth of it has
    been removed.

    The names of those removed. ValueError for a name that is not indexed, and if the whole folder
    of the archive is gone, which rather is a disk that is not there.
    """
    index = Index(where)
    with alone(where), room(where):
        table = Table(index.table, index.where)
        unknown = sorted(set(names) - table.files(names).keys())
        if unknown:
            raise ValueError(f"not in the index: {', '.join(unknown[:10])}")
        if missing and os.path.isabs(of := index.about.archive) and not os.path.isdir(of):
            raise ValueError(f"no folder {of}: is its disk there? Nothing was removed")
        removed = sorted({*names, *(table.missing() if missing else ())})
        table.delete(removed)
        table.tidy()
    return removed
