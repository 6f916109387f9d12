"""`search`: an archive searched by example."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from maclcore.commands.shared import archive_of, use

if TYPE_CHECKING:
    from maclcore.search.embedder import Embedder
    from maclcore.search.index import Index


def search(
    index: Positional[str],
    images: Positional[tuple[Path, ...]] = (),
    *,
    k: int = 20,
    like: tuple[str, ...] = (),
    unlike: Annotated[tuple[str, ...], arg(name="not")] = (),
    labels: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    where: str = "",
    box: tuple[float, float, float, float] | None = None,
    ticks: tuple[Path, ...] = (),
    each: bool = False,
    approximate: bool = False,
    json: Path | None = None,
    csv: Path | None = None,
    html: Path | None = None,
    archive: str | None = None,
    data: Path | None = None,
) -> None:
    """Search an index, or the archive of a finished run, by example.

    All examples together are one query: the mean of what they show, less half of what the
    counter-examples show.
    Example: python -m maclcore search my_index my_photo.jpg --k 10 --html found.html
    Example: python -m maclcore search my_index --like img03 img17 --not img20 --labels water,tree
    Example: python -m maclcore search my_index a.jpg --csv round1.csv, then good or bad in its
    column tick, and python -m maclcore search my_index a.jpg --ticks round1.csv --csv round2.csv
    Example: python -m maclcore search RUN_ID my_photo.jpg

    Args:
        index: the folder of an index, or a run's id, as `train` prints it; the archive of a run is
            indexed the first time.
        images: image files to search by; one that cannot be read stops no other.
        k: how many results.
        like: names of indexed images that are examples, too.
        unlike: counter-examples: image files, or names of indexed images.
        labels: only images that have all of these labels; with commas.
        without: only images that have none of these.
        where: only images of which this is true: SQL on the columns, such as "year = 2020".
        box: only images inside of west, south, east, north, in degrees.
        ticks: tables that `--csv` has written, one a round, with good or bad in the column tick:
            these images are examples and counter-examples.
        each: a list for each image file, instead of one for all together.
        approximate: look only where the best are likely (`index approximate`).
        json: write what was found here, with the query and what made the index.
        csv: write it as a table.
        html: write it as a page with pictures, which needs nothing else to be looked at.
        archive: of a run: search this archive; default: the one it was trained on, as it was.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    if k < 1:
        raise ValueError(f"k is {k}: a search has at least 1 result")
    if each and not images:
        raise ValueError("--each makes a list for each image file: give some")
    if not any((images, like, unlike, labels, without, where, box, ticks)):
        raise ValueError("nothing to look for: give an image, or --like, --labels, --where, --box")
    from maclcore.data.reading import printable
    from maclcore.search import contact_sheet, results
    from maclcore.search.query import Query

    use(data)
    found, embedder = _opened(index, archive, data)
    known = found.about.label_names
    good, bad = results.read_ticks(ticks)
    files = tuple(Path(word) for word in unlike if Path(word).is_file())
    names = tuple(word for word in unlike if Path(word) not in files)
    query = Query(
        like=tuple(dict.fromkeys([*like, *good])),
        unlike=tuple(dict.fromkeys([*names, *bad])),
        labels=_labels(labels, known),
        not_labels=_labels(without, known),
        where=where,
        box=box,
    )
    how = {"each": each, "approximate": approximate}
    answers, problems = results.search(
        found, query, k, like=images, unlike=files, embedder=embedder, **how
    )
    for answer in answers:
        print(results.text(answer))
    if json:
        results.write_json(json, found, answers)
    if csv:
        results.write_csv(csv, answers)
    if html:
        contact_sheet.write(html, found, answers)
    if problems:
        raise ValueError(printable("; ".join(problems)))


def _opened(name: str, archive: str | None, data: Path | None) -> "tuple[Index, Embedder | None]":
    """The index in a folder, or that of a run's archive and the run's network."""
    from maclcore.config import is_path
    from maclcore.search.index import TABLE, Index
    from maclcore.search.kept import of_run
    from maclcore.store import Run

    if is_path(name) or (Path(name) / f"{TABLE}.lance").is_dir():
        if archive is not None:
            raise ValueError("--archive is for a run: an index has the archive that it was made of")
        return Index(name), None
    try:
        run = Run.find(name)
    except ValueError as error:
        raise ValueError(f"{error}; and there is no index {name!r} here") from error
    if archive is None:
        archive_of(run, None, data)  # refuses one that is no longer as it was
    return of_run(run, archive)


def _labels(words: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Labels given apart or with commas; one that has commas itself is given apart."""
    split = [[word] if word in known else word.split(",") for word in words]
    return tuple(dict.fromkeys(label.strip() for part in split for label in part))
