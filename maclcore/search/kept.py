"""Indexes that nobody has to name: made where the cache is, and found there the next time."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from maclcore import paths
from maclcore.config import LABELS
from maclcore.data.archives import is_named, read_archive
from maclcore.data.catalogue import Catalogue
from maclcore.search.build import LeftOut, remove, take
from maclcore.search.embedder import Embedder
from maclcore.search.index import Index
from maclcore.store import Run
from maclcore.store.files import digest


def kept(catalogue: Catalogue, embedder: Embedder) -> tuple[Index, list[str]]:
    """The index of an archive by a network, as the archive is now; and a line for each image that
    cannot be read, which it has not. Images that are new or changed are embedded now."""
    of = str(catalogue.folder or catalogue.name)
    made = embedder.shown(catalogue.stretch).made
    key = digest([asdict(made), of, catalogue.label_names, catalogue.rule(0)])
    where = paths.cache_root() / "indexes" / f"{Path(of).name}-{key}"
    done = take(catalogue, embedder, where)
    if gone := {*Index(where).rows()["name"]}.difference(catalogue.names):
        remove(where, sorted(gone))
    return Index(where), done.problems


def of_run(run: Run, archive: str | None = None) -> tuple[Index, Embedder]:
    """The index of a run's archive, or of another one, by the run's network.

    Errors as of these; LeftOut for images that cannot be read.
    """
    of = run.config
    options: dict[str, Any] = {}
    if archive is None and not is_named(of.archive) and of.labels not in LABELS:
        options["unlabelled"] = True  # a table of its own may tell labels that the folder does not
    catalogue = read_archive(archive or of.archive, bands=of.bands, progress=False, **options)
    embedder = Embedder.of_run(run).shown(catalogue.stretch)
    index, problems = kept(catalogue, embedder)
    if problems:
        raise LeftOut(index.where, problems)
    return index, embedder
