"""The page of a session, on this machine alone: `http.server`, and nothing from elsewhere.

Answers are `POST`ed as JSON by the page itself: a request that another site's page makes, under
another name of this machine or from another origin, is refused. Images go by number, never by path.
"""

import json
import re
import secrets
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maclcore.annotation.session import Conflict, Session

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("page.html")
LARGEST = 2**16  # bytes of a request
#: The page's own style and script, and images from here; it may be framed by JupyterLab at home.
POLICY = (
    "default-src 'none'; style-src 'nonce-{0}'; script-src 'nonce-{0}'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors http://127.0.0.1:* http://localhost:*"
)


class Server(ThreadingHTTPServer):
    """Serves a session at `address` from `start` to `stop`, which also closes the session.

    Port 0 is any free one. OSError where the port is taken; the session is then closed.
    """

    daemon_threads = True

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            session.close()
            raise OSError(f"port {port} cannot be had ({error}): give another one") from error
        self.own = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.address = f"http://{HOST}:{self.server_port}/"
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def start(self) -> "Server":
        self._thread.start()
        return self

    def join(self) -> None:
        """Return only if the server is stopped, or by KeyboardInterrupt."""
        while self._thread.is_alive():
            self._thread.join(1)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.session.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Shows a fault of the program, but not that a browser has gone on to another image."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that a silent connection is kept

    def do_GET(self) -> None:
        session, path = self.server.session, urlsplit(self.path).path
        if not self._is_own(needed=False):
            return
        if path == "/":
            nonce = secrets.token_urlsafe(16)
            page = PAGE.read_text(encoding="utf-8").replace("{{nonce}}", nonce)
            policy = {"Content-Security-Policy": POLICY.format(nonce)}
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode(), policy)
        elif path == "/state":
            self._json(session.state)
        elif path == "/summary":
            self._json(session.summary)
        elif match := re.fullmatch(r"/image/([0-9]{1,9})", path):
            self._image(int(match[1]))
        else:
            self._error(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        session, path = self.server.session, urlsplit(self.path).path
        if not self._is_own(needed=True):
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self.close_connection = True  # what was sent has not been read
            return self._error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "no length, or too much")
        body = self.rfile.read(int(length))
        if self.headers.get_content_type() != "application/json":
            return self._error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "answers are JSON")
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            return self._error(HTTPStatus.BAD_REQUEST, "not an object of JSON")
        if path == "/answer":
            self._json(lambda: session.answer(given))
        elif path == "/export":
            self._json(session.export)
        else:
            self._error(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _is_own(self, needed: bool) -> bool:
        """Whether the page of this server asks; else the request is answered with a refusal.

        A browser names the origin of what may change something, so there it is `needed`.
        """
        origin, own = self.headers.get("Origin"), self.server.own
        from_here = not needed if origin is None else origin in {f"http://{at}" for at in own}
        if self.headers.get("Host") in own and from_here:
            return True
        self.close_connection = True
        self._error(HTTPStatus.FORBIDDEN, f"only the page at {self.server.address} may ask this")
        return False

    def _image(self, index: int) -> None:
        pictures = self.server.session.pictures
        if index >= len(pictures.names):
            return self._error(HTTPStatus.NOT_FOUND, f"there is no image {index}")
        try:
            kind, content = pictures.shown(pictures.names[index])
        except ValueError as error:
            return self._error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        self._send(HTTPStatus.OK, kind, content, {"Cache-Control": "private, max-age=600"})

    def _json(self, function: Callable[[], Any]) -> None:
        """What the function gives, or what is wrong, and where the session then stands."""
        try:
            content = json.dumps(function()).encode()
        except Conflict as error:
            self._error(HTTPStatus.CONFLICT, str(error))
        except ValueError as error:
            self._error(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            said = f"This was not saved, and nothing else is lost: {error}"
            self._error(HTTPStatus.INSUFFICIENT_STORAGE, said)
        else:
            self._send(HTTPStatus.OK, "application/json", content)

    def _error(self, status: HTTPStatus, message: str) -> None:
        self._send(status, "application/json", json.dumps({"error": message}).encode())

    def _send(
        self, status: HTTPStatus, kind: str, content: bytes, more: dict[str, str] | None = None
    ) -> None:
        headers = {
            "Cache-Control": "no-store",
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",  # other sites do not get images either
            "Referrer-Policy": "no-referrer",
            **(more or {}),
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base's name)
        """Says nothing: what counts is in the file of answers."""
