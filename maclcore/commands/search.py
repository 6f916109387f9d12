"""`search`: an archive searched by example."""

from pathlib import Path

from tyro.conf import Positional

from maclcore.commands.shared import archive_of


def search(
    run: Positional[str],
    images: Positional[tuple[Path, ...]],
    *,
    k: int = 5,
    archive: str | None = None,
    data: Path | None = None,
) -> None:
    """Search the archive of a finished run by example.

    Example: python -m maclcore search RUN_ID my_photo.jpg --k 10

    Args:
        run: a run's id, as `train` prints it.
        images: image files to search with; one that cannot be read stops no other.
        k: how many results for each.
        archive: search this archive; default: the one the run was trained on, as it was.
        data: the folder that holds the archives; default: MACL_DATA.
    """
    if k < 1:
        raise ValueError(f"k is {k}: a search has at least 1 result")
    from maclcore.search.example import by_example
    from maclcore.store import Run

    found = Run.find(run)
    source = archive_of(found, archive, data)
    matches, problems = by_example(found, source, images, k)
    for file, best in matches.items():
        print(file)
        for match in best:
            print(f"  {match.cosine:.3f}  {match.name:20} {', '.join(match.labels)}")
    if problems:
        raise ValueError("; ".join(problems))
