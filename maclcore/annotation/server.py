"""The page of a session, on this machine alone. Images go by number, never by path."""

import re
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from maclcore import serving
from maclcore.annotation.session import Conflict, Session

PAGE = Path(__file__).with_name("page.html")


class Server(serving.PageServer):
    """Serves a session until `stop`, which also closes it, as does a port that is taken."""

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        super().__init__(Handler, port, session.close)


class Handler(serving.Handler):
    server: Server
    page = PAGE

    def get(self, at: SplitResult) -> None:
        session = self.server.session
        if at.path == "/state":
            self.tell(session.state)
        elif at.path == "/summary":
            self.tell(session.summary)
        elif match := re.fullmatch(r"/image/([0-9]{1,9})", at.path):
            self._image(int(match[1]))
        else:
            self.nothing_here()

    def post(self, path: str, given: dict[str, Any]) -> None:
        session = self.server.session
        if path == "/answer":
            self.tell(lambda: session.answer(given))
        elif path == "/export":
            self.tell(session.export)
        else:
            self.nothing_here()

    def _image(self, index: int) -> None:
        pictures = self.server.session.pictures
        if index >= len(pictures.names):
            return self.error(HTTPStatus.NOT_FOUND, f"there is no image {index}")
        try:
            kind, content = pictures.shown(pictures.names[index])
        except ValueError as error:
            return self.error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        self.send(HTTPStatus.OK, kind, content, {"Cache-Control": "private, max-age=600"})

    def refusal(self, error: Exception) -> tuple[HTTPStatus, str] | None:
        if isinstance(error, Conflict):
            return HTTPStatus.CONFLICT, str(error)
        if isinstance(error, OSError):
            said = f"This was not saved, and nothing else is lost: {error}"
            return HTTPStatus.INSUFFICIENT_STORAGE, said
        return super().refusal(error)
