"""A page on this machine alone: `http.server`, and nothing from elsewhere.

What every page of the package shares: it listens on localhost, answers only its own page, says in
JSON what is wrong, and gives no file of the disk. A page has a `Handler` of its own, which says
what is got and posted; a request that another site's page makes, under another name of this machine
or from another origin, never reaches it.
"""

import json
import secrets
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

HOST = "127.0.0.1"
LARGEST = 2**16  # bytes of a request, unless a handler says another number
DISCARDED = 2**24  # bytes that are read of what is too much
#: The page's own style and script, and images from here; it may be framed by JupyterLab at home.
POLICY = (
    "default-src 'none'; style-src 'nonce-{0}'; script-src 'nonce-{0}'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors http://127.0.0.1:* http://localhost:*"
)


class PageServer(ThreadingHTTPServer):
    """Serves a page at `address` from `start` to `stop`, which also ends what it is of.

    Port 0 is any free one. OSError where the port is taken; `close` is then called as by `stop`.
    """

    daemon_threads = True

    def __init__(self, handler: type["Handler"], port: int, close: Callable[[], None]) -> None:
        self._close = close
        try:
            super().__init__((HOST, port), handler)
        except (OSError, OverflowError) as error:
            close()
            raise OSError(f"port {port} cannot be had ({error}): give another one") from error
        self.own = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.address = f"http://{HOST}:{self.server_port}/"
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def join(self) -> None:
        """Return only if the server is stopped, or by KeyboardInterrupt."""
        while self._thread.is_alive():
            self._thread.join(1)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Shows a fault of the program, but not that a browser has gone on to another image."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """What a page asks: `get` and `post` answer it, with `tell`, `give`, `send` or `error`."""

    server: PageServer
    page: Path  #: its file, in which {{nonce}} stands where styles and scripts begin
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that a silent connection is kept

    def get(self, at: SplitResult) -> None:
        """Answer a GET of anything but the page itself."""
        self.nothing_here()

    def post(self, path: str, given: dict[str, Any]) -> None:
        """Answer a POST of an object of JSON."""
        self.nothing_here()

    def largest(self, path: str) -> int:
        """Bytes of what may be posted there."""
        return LARGEST

    def do_GET(self) -> None:
        if not self._is_own(needed=False):
            return
        at = urlsplit(self.path)
        if at.path == "/":
            nonce = secrets.token_urlsafe(16)
            page = self.page.read_text(encoding="utf-8").replace("{{nonce}}", nonce)
            policy = {"Content-Security-Policy": POLICY.format(nonce)}
            self.send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode(), policy)
        else:
            self.get(at)

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        if not self._is_own(needed=True):
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > self.largest(path):
            self.close_connection = True  # what was sent has not been read
            self.error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "no length, or too much")
            # who sends all before reading would have a broken connection for an answer
            left = min(int(length), DISCARDED) if length.isdecimal() else 0
            while left and (part := self.rfile.read1(min(left, 2**16))):
                left -= len(part)
            return
        self.body(path, self.rfile.read(int(length)))

    def body(self, path: str, content: bytes) -> None:
        """What was posted, which is JSON."""
        if self.headers.get_content_type() != "application/json":
            return self.error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "answers are JSON")
        try:
            given = json.loads(content)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            return self.error(HTTPStatus.BAD_REQUEST, "not an object of JSON")
        self.post(path, given)

    def _is_own(self, needed: bool) -> bool:
        """Whether the page of this server asks; else the request is answered with a refusal.

        A browser names the origin of what may change something, so there it is `needed`.
        """
        origin, own = self.headers.get("Origin"), self.server.own
        from_here = not needed if origin is None else origin in {f"http://{at}" for at in own}
        if self.headers.get("Host") in own and from_here:
            return True
        self.close_connection = True
        self.error(HTTPStatus.FORBIDDEN, f"only the page at {self.server.address} may ask this")
        return False

    def tell(self, function: Callable[[], Any]) -> None:
        """What the function gives, as JSON, or what is wrong."""
        self.give(lambda: ("application/json", json.dumps(function()).encode()))

    def give(
        self, function: Callable[[], tuple[str, bytes]], more: dict[str, str] | None = None
    ) -> None:
        """Type and content that the function gives, with `more` headers, or what is wrong."""
        try:
            kind, content = function()
        except Exception as error:
            if (refusal := self.refusal(error)) is None:
                raise
            self.error(*refusal)
        else:
            self.send(HTTPStatus.OK, kind, content, more)

    def refusal(self, error: Exception) -> tuple[HTTPStatus, str] | None:
        """How the page is told of an error; None for a fault of the program."""
        return (HTTPStatus.BAD_REQUEST, str(error)) if isinstance(error, ValueError) else None

    def nothing_here(self) -> None:
        self.error(HTTPStatus.NOT_FOUND, "there is nothing here")

    def error(self, status: HTTPStatus, message: str) -> None:
        self.send(status, "application/json", json.dumps({"error": message}).encode())

    def send(
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
        """Says nothing: what is of use is on the page."""
