"""The page of `maclcore annotate` in a notebook: a server in a thread, and a frame onto it."""

import getpass
from pathlib import Path
from typing import Any

from maclcore.annotation.server import Server
from maclcore.annotation.session import Session

_RUNNING: dict[Path, "Widget"] = {}


class Widget:
    """The page in a frame, as the value of a cell; it is served until `stop`, or the kernel's end.

    The options are those of `Session`. A cell that is run again stops its former widget. The
    browser must run on the machine of the kernel, as JupyterLab on localhost has it: the server
    listens to no other.
    """

    def __init__(
        self, folder: str | Path, *, annotator: str = "", height: int = 720, **options: Any
    ) -> None:
        self.height, annotator = height, annotator or getpass.getuser()
        self._key = Path(folder).expanduser().resolve() / annotator
        if self._key in _RUNNING:
            _RUNNING[self._key].stop()
        self._server = Server(Session(folder, annotator=annotator, **options)).start()
        self.address = self._server.address
        _RUNNING[self._key] = self

    def stop(self) -> None:
        """End the server; everything answered is in the folder's `annotations/`."""
        if _RUNNING.get(self._key) is self:
            del _RUNNING[self._key]
            self._server.stop()

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{self.address}" title="annotate" width="100%" height="{self.height}" '
            'style="border: 1px solid #ccc"></iframe>'
        )
