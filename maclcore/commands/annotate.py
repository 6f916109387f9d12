"""`annotate`: labels given by a person, image by image, on a page of this machine."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from maclcore.commands.shared import serve


def annotate(
    folder: Positional[Path],
    *,
    labels: str = "",
    labels_file: Path | None = None,
    annotator: str = "",
    mode: Literal["one", "all", "review"] = "one",
    completed: Path | None = None,
    port: int = 0,
    browser: bool = True,
    seed: int = 0,
) -> None:
    """Label the images of a folder in the browser, by keyboard, until Ctrl-C.

    The page is served to this machine alone. Each answer is kept at once, in the folder's
    annotations/NAME.jsonl; the same command goes on where it stopped. Several people may annotate
    one folder, each under a name; export, on the page, merges what they said.
    Example: python -m maclcore annotate photos --labels forest,water,road --annotator ada
    Example: python -m maclcore annotate photos --mode review

    Args:
        folder: images, in images/ or anywhere in it.
        labels: those to choose from, with commas; default: the columns of the folder's labels.csv.
        labels_file: the same from a file, one a line.
        annotator: your name, which becomes a file's; default: that of your account.
        mode: one label an image, all its labels, or review: are the cells of a completed table
            right, the most doubtful first.
        completed: the table to review, with labels.probabilities.csv beside it; default: the
            folder's labels.completed.csv.
        port: of the page; default: any that is free.
        browser: open the page.
        seed: of the random order of images and of the labels to choose from.
    """
    import getpass

    from maclcore.annotation.server import Server
    from maclcore.annotation.session import Session
    from maclcore.data.reading import printable

    if labels and labels_file:
        raise ValueError("--labels and --labels-file: give one of them")
    names = labels.split(",") if labels else []
    if labels_file:
        lines = labels_file.expanduser().read_text(encoding="utf-8-sig").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if not names:
            raise ValueError(f"{labels_file} has no label: one a line")
    annotator = annotator or getpass.getuser()
    options = {"annotator": annotator, "mode": mode, "labels": names, "completed": completed}
    session = Session(folder, **options, seed=seed)  # type: ignore[arg-type]
    server = Server(session, port).start()
    if session.log.cut:
        print(f"note: the last line of {session.log.file} was cut off, and is ignored")
    state = session.state()
    print(f"{printable(session.folder.name)}: {state['images']:,} images, {len(state['labels'])} "
          f"labels; {state['done']:,} answers so far, {state['to_go']:,} to go")  # fmt: skip
    serve(server, browser)
    print(f"\n{len(session.log.lines):,} lines in {session.log.file}")
