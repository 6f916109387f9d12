"""`index build`, `add`, `remove`, `show` and `approximate`: an archive made searchable."""

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
    table: str | None = None,
    tile: int = 0,
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
        table: the table of labels and columns; default: the folder's own.
        tile: cut images that are larger into squares of so many pixels.
        data: the folder that holds the archives; default: MACL_DATA.
        workers: jobs to start on a job queue.
        scheduler: embed on the workers of a Dask scheduler at this address (extra `cluster`), which
            see images and weights where this machine does.
        jobqueue: start `workers` jobs through dask-jobqueue, set up by its own configuration file.
    """
    from maclcore.data.archives import read_archive
    from maclcore.search.embedder import Embedder
    from maclcore.store import Run

    if (run is None) == (backbone is None):
        raise ValueError("give what makes the vectors: either --run RUN_ID or --backbone NAME")
    use(data)
    found = None if run is None else Run.find(run)
    bands = bands or (found.config.bands if found else "")
    options = _options(archive, table, tile)
    catalogue = read_archive(archive, bands=bands, **options)
    _say(catalogue)
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
    table: str | None = None,
    tile: int = 0,
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
        table: the table of labels and columns; default: as it was, or the folder's own.
        tile: cut images that are larger into squares of so many pixels; default: as it was.
        data: the folder that holds the archives; default: MACL_DATA.
        workers: jobs to start on a job queue.
        scheduler: as for `index build`.
        jobqueue: as for `index build`.
    """
    from maclcore.data.archives import read_archive
    from maclcore.search.embedder import of_made
    from maclcore.search.index import Index

    use(data)
    about = Index(index).about
    if archive is None and not about.archive:
        raise ValueError(f"{index} is of vectors that were given: no archive is known")
    asked, how = _options(archive or about.archive, table, tile), dict(about.options)
    how = {**how, **asked} if archive is None else {"bands": how.get("bands", ""), **asked}
    if about.made.stretch:  # what is new must not change what is shown of all
        how["stretch"] = about.made.stretch
    catalogue = read_archive(archive or about.archive, **how)
    _say(catalogue)
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


def _options(archive: str, table: str | None, tile: int) -> dict[str, Any]:
    """How an archive is to be read, as `read_archive` takes it; a table by its whole path."""
    options: dict[str, Any] = {} if _named(archive) else {"unlabelled": True}
    if table is not None:
        inside = (Path(archive).expanduser() / table).exists()
        options["table"] = table if inside else str(Path(table).expanduser().absolute())
    return options | ({"tile": tile} if tile else {})


def _say(catalogue: "Catalogue") -> None:
    print(f"{catalogue.title}: {len(catalogue):,} images, {len(catalogue.label_names)} labels")
    for line in catalogue.said:
        print(f"  {line}")


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
