"""`index build`, `add`, `remove`, `show` and `approximate`: an archive made searchable."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from maclcore.commands.shared import use

if TYPE_CHECKING:
    from maclcore.data.catalogue import Catalogue
    from maclcore.search.build import Done
    from maclcore.search.embedder import Embedder


def build(
    archive: Positional[str],
    *,
    out: str,
    run: str | None = None,
    backbone: str | None = None,
    weights: str = "imagenet",
    image_size: int = 224,
    bands: str = "",
    tile: int = 0,
    stretch: str = "",
    table: str = "",
    label_columns: str = "",
    labels_column: str = "",
    data: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    jobqueue: Literal["slurm", "pbs"] | None = None,
) -> None:
    """Make a folder of images searchable: an index that has a vector for each of them.

    The vectors are those of a run, or of a backbone without any training. The same command goes on
    where it was interrupted. An image that cannot be read stops no other and is named at the end.
    Example: python -m maclcore index build ~/photos --backbone resnet18 --out photos.index
    Example: python -m maclcore index build ucm_multilabel --run RUN_ID --out ucm.index

    Args:
        archive: a folder with images, with labels or without, or an archive by name.
        out: the index, a folder; or an address such as s3://bucket/ucm.index, for which LanceDB
            takes what it needs from the environment, and to which one process writes at a time.
        run: a finished run, whose network makes the vectors.
        backbone: instead of a run, a backbone of torchvision or timm, as for `train`.
        weights: of the backbone: imagenet, or a file.
        image_size: of the backbone: side of the images in pixels.
        bands: of images of many bands those to take; default: those of the run, or all.
        tile: of a folder, cut images that are larger into squares of so many pixels.
        stretch: of a folder, the values that become black and white, as 0,3000, of images of more
            than 8 bits; default: percentiles of their pixels, found once for an index.
        table: of a folder its table of labels and columns; default: labels.csv, or the only one.
        label_columns: of this table the columns that are labels, such as water,trees.
        labels_column: of this table the column that names an image's labels.
        data: the folder that holds the archives; default: MACL_DATA.
        workers: jobs to start on a job queue.
        scheduler: embed on the workers of a Dask scheduler at this address (extra `cluster`), which
            see images and weights where this machine does.
        jobqueue: start `workers` jobs through dask-jobqueue, set up by its own configuration file.
    """
    from maclcore.search.embedder import Embedder
    from maclcore.store import Run

    if (run is None) == (backbone is None):
        raise ValueError("give what makes the vectors: either --run RUN_ID or --backbone NAME")
    use(data)
    found = None if run is None else Run.find(run)
    bands = bands or (found.config.bands if found else "")
    options = _options(archive, table, label_columns, labels_column)
    options |= {"tile": tile} if tile else {}
    asked = {"stretch": stretch} if stretch else _kept(out)
    catalogue = _read(archive, bands=bands, **options, **asked)
    if found:
        embedder = Embedder.of_run(found)
    else:
        embedder = Embedder.of_backbone(backbone or "", weights, image_size, catalogue.channels)
    given = {"archive": _named(archive), "options": {"bands": bands, **options}}
    _take(catalogue, embedder, out, given, workers, scheduler, jobqueue)


def add(
    index: Positional[str],
    archive: Positional[str | None] = None,
    *,
    table: str = "",
    label_columns: str = "",
    labels_column: str = "",
    data: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    jobqueue: Literal["slurm", "pbs"] | None = None,
) -> None:
    """Take into an index what is new or changed, by the network that made it.

    Where only the table says something else, the row is brought up to date without the network.
    Example: python -m maclcore index add photos.index
    Example: python -m maclcore index add photos.index ~/more_photos

    Args:
        index: as `index build` made it.
        archive: a folder, or an archive by name; default: the one that the index is of, read as it
            was then.
        table: of a folder its table; default: as it was, or as for `index build`.
        label_columns: as for `index build`; default: as it was.
        labels_column: as for `index build`; default: as it was.
        data: the folder that holds the archives; default: MACL_DATA.
        workers: jobs to start on a job queue.
        scheduler: as for `index build`.
        jobqueue: as for `index build`.
    """
    from maclcore.search.embedder import of_made
    from maclcore.search.index import Index

    use(data)
    about = Index(index).about
    if archive is None and not about.archive:
        raise ValueError(f"{index} is of vectors that were given: no archive is known")
    asked = _options(archive or about.archive, table, label_columns, labels_column)
    kept = about.options if archive is None else _shared(about.options)
    how = {**kept, **asked}
    catalogue = _read(archive or about.archive, **how, **_kept(index))
    embedder = of_made(about.made)
    given = {"archive": _named(archive or about.archive), "options": how, "beside": True}
    _take(catalogue, embedder, index, given, workers, scheduler, jobqueue)


def remove(
    index: Positional[str], names: Positional[tuple[str, ...]] = (), *, missing: bool = False
) -> None:
    """Take images out of an index; their files stay where they are.

    Example: python -m maclcore index remove photos.index img03 img04
    Example: python -m maclcore index remove photos.index --missing

    Args:
        index: as `index build` made it.
        names: of images, as a search prints them.
        missing: those whose files are there no longer, too.
    """
    from maclcore.search.build import remove as take_out

    if not names and not missing:
        raise ValueError("give the names of images, or --missing for those whose files are gone")
    removed = take_out(index, names, missing)
    print(f"{index}: {len(removed):,} images removed {_some(removed)}".rstrip())


def show(index: Positional[str]) -> None:
    """Show what an index is of, and what made it.

    It is made by `index build`, kept in step with its images by `index add` and `index remove`,
    and made faster, at a price, by `index approximate`; each has a --help.
    Example: python -m maclcore index show photos.index

    Args:
        index: as `index build` made it.
    """
    from maclcore.search.index import Index
    from maclcore.search.summary import summary

    for name, text in summary(Index(index)).items():
        print(f"{name:12} {text}")


def approximate(index: Positional[str]) -> None:
    """Give an index a faster search that may miss some, and measure how many it finds.

    It is worth it from some million images on, and used by `search --approximate` alone.
    Example: python -m maclcore index approximate photos.index

    Args:
        index: as `index build` made it.
    """
    from maclcore.search.approximate import WORTH, make
    from maclcore.search.index import Index

    if (n := len(Index(index))) < WORTH:
        print(f"{n:,} images: an exact search takes a moment; this pays from {WORTH:,} on")
    made = make(index, progress=True)
    print(
        f"{index}: a query looks into {made.probed} of {made.partitions} parts; of {made.queries} "
        f"of its vectors that found {made.recall_10:.1%} of the best 10 and {made.recall_100:.1%} "
        "of the best 100"
    )


# --- Shared -------------------------------------------------------------------------------------


def _named(archive: str) -> str:
    """The name of an archive; "" of a folder."""
    from maclcore.data.archives import ARCHIVES

    return archive if archive in ARCHIVES else ""


def _options(archive: str, table: str, label_columns: str, labels_column: str) -> dict[str, Any]:
    """How an archive is to be read, as `read_archive` takes it, from wherever it is read again."""
    options: dict[str, Any] = {} if _named(archive) else {"unlabelled": True, "missing": True}
    if table and not (Path(archive).expanduser() / table).exists() and Path(table).exists():
        table = str(Path(table).absolute())
    given = {
        "table": table,
        "label_columns": next(csv.reader([label_columns]), []),
        "labels_column": labels_column,
    }
    return options | {name: value for name, value in given.items() if value}


def _kept(index: str) -> dict[str, Any]:
    """The stretch of an index, if it is there: what is new must not change what is shown of all."""
    from maclcore.search.index import Index

    try:
        stretch = Index(index).about.made.stretch
    except ValueError:  # none yet, or one that will say what is wrong with it
        return {}
    return {"stretch": stretch} if stretch else {}


def _shared(options: dict[str, Any]) -> dict[str, Any]:
    """Of how one archive was read what holds of another beside it."""
    return {name: options[name] for name in ("bands", "tile") if options.get(name)}


def _read(archive: str, **options: Any) -> "Catalogue":
    """An archive as it is now, and how it is understood, in print."""
    from maclcore.data import ArchiveError
    from maclcore.data.archives import read_archive
    from maclcore.data.reading import printable

    try:
        catalogue = read_archive(archive, **options)
    except ArchiveError as error:
        print(*map(printable, error.said), sep="\n", end="\n" * bool(error.said))
        raise
    print(f"{catalogue.title}: {len(catalogue):,} images, {len(catalogue.label_names)} labels")
    print(*map(printable, catalogue.said), sep="\n", end="\n" * bool(catalogue.said))
    return catalogue


def _take(
    catalogue: "Catalogue",
    embedder: "Embedder",
    index: str,
    given: dict[str, Any],
    workers: int,
    scheduler: str | None,
    jobqueue: str | None,
) -> None:
    """Bring the index in step and print what was done; LeftOut of images that cannot be read."""
    from maclcore.search.build import LeftOut, take

    given["progress"] = True
    if scheduler or jobqueue:
        from maclcore.experiments.workers import cluster
        from maclcore.search.cluster import on_cluster

        with cluster(workers, scheduler, jobqueue) as client:
            done = take(
                catalogue, embedder, index, place=on_cluster(client, embedder.made), **given
            )
    else:
        done = take(catalogue, embedder, index, **given)
    _report(done, index)
    if done.problems:
        raise LeftOut(index, done.problems)


def _report(done: "Done", index: str) -> None:
    from maclcore.search.index import Index

    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in done.seconds.items())
    print(
        f"{index}: {len(Index(index)):,} images; {done.new:,} new, {done.changed:,} changed, "
        f"{done.updated:,} with other labels or columns\n"
        f"{sum(done.seconds.values()):.1f} s: {steps}"
    )
    if done.gone:
        print(
            f"{len(done.gone):,} images are gone {_some(done.gone)}: `index remove {index} "
            "--missing` takes them out"
        )


def _some(names: "list[str] | tuple[str, ...]") -> str:
    more = ", …" * (len(names) > 5)
    return f"({', '.join(names[:5])}{more})" if names else ""
