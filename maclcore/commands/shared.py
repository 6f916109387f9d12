"""What several verbs share: types of their options, and how they show numbers."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from maclcore.data import Archive
    from maclcore.serving import PageServer
    from maclcore.store import Run

Profile = Literal["smoke", "quick", "frozen", "paper"]


def use(data: Path | None) -> None:
    """Let the folder of the archives, and of weights, be that of --data."""
    if data is not None:
        os.environ["MACL_DATA"] = str(data.expanduser().absolute())


def archive_of(run: "Run", archive: str | None, data: Path | None) -> "Archive":
    """The archive named, or else the run's own, if that is what the run was made from."""
    from maclcore.data import load_archive
    from maclcore.store.identity import check, identify

    use(data)
    if archive is not None:
        of = run.config
        return load_archive(archive, image_size=of.image_size, bands=of.bands)
    source = identify(run.config)
    try:
        check(run, source)
    except ValueError as error:
        raise ValueError(f"{error}; --archive names the one to take instead") from error
    return source.archive


def serve(server: "PageServer", browser: bool) -> None:
    """Show where a page is, in the `browser` if wanted, and serve it until Ctrl-C."""
    import webbrowser

    print(f"{server.address}  (Ctrl-C ends it)", flush=True)
    if browser:
        webbrowser.open(server.address)
    try:
        server.join()
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        server.stop()


def age(seconds: float) -> str:
    """In the largest unit that leaves at least one of it."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def print_metrics(rows: dict[str, dict[str, float]]) -> None:
    import pandas as pd

    table = pd.DataFrame({name: row for name, row in rows.items() if row}).T * 100
    print(table.to_string(float_format=lambda value: f"{value:.2f}"))
