"""`browse`: an index searched by example, on a page of this machine."""

from pathlib import Path

from tyro.conf import Positional

from maclcore.commands.shared import serve, use


def browse(
    index: Positional[str], *, port: int = 0, browser: bool = True, data: Path | None = None
) -> None:
    """Search an index in the browser: drop an image or click one, mark results, look again.

    The page is served to this machine alone, until Ctrl-C, and shows what the index holds. Nothing
    is written: what is worth keeping is exported on the page.
    Example: python -m maclcore browse photos.index

    Args:
        index: what `index build` wrote, a folder or an address of object storage.
        port: of the page; default: any that is free.
        browser: open the page.
        data: the folder that holds weights, and archives by name; default: MACL_DATA.
    """
    from maclcore.data.reading import printable
    from maclcore.search.browse import Server, Session

    use(data)
    session = Session(index)
    server = Server(session, port).start()
    about = session.about()
    print(f"{printable(about['title'])}: {about['images']:,} images, {len(about['labels'])} labels")
    serve(server, browser)
