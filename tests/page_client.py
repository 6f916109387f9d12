"""A client of a page's server, without a browser."""

import http.client
import json
from urllib.parse import urlsplit


class Client:
    """As the page asks, unless other headers are given."""

    def __init__(self, address):
        self.host = urlsplit(address).netloc
        self.headers = {"Origin": f"http://{self.host}", "Content-Type": "application/json"}

    def get(self, path, **headers):
        return self._ask("GET", path, None, headers)

    def post(self, path, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self._ask("POST", path, body, {**self.headers, **headers})

    def _ask(self, method, path, body, headers):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            headers = {k.replace("_", "-"): v for k, v in headers.items() if v is not None}
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        kind = reply.headers["Content-Type"]
        return reply.status, json.loads(content) if "json" in kind else content, reply.headers
