"""The server of the live page: on the loopback, for this page alone."""

import json
import secrets
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from ssl_seg.errors import ResourceError
from ssl_seg.reporting.live_page import LivePage, Part
from ssl_seg.utils.log import log

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")  # of this server in a Host header: a page of another name is not answered
_REQUEST_SECONDS = 10.0  # for which a client may stay silent
_PAUSE_SECONDS, _PAUSE_SHARE = (
    1.0,
    9.0,
)  # between two readings: at least so long, and so often as long as one took
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LiveServer(ThreadingMixIn, TCPServer):  # not HTTPServer, which asks for the name of the machine
    """Serves the page of the runs in a folder on `http://127.0.0.1:PORT/`, and nothing else.

    Args:
        root: the folder.
        port: of the loopback; 0 for any that is free.

    Raises:
        ResourceError: the port is taken, or needs other rights.
    """

    allow_reuse_address = True
    daemon_threads, block_on_close = True, False

    def __init__(self, root: Path, port: int = 0) -> None:
        self._page = LivePage(root, f"Runs: {root.resolve().name or root.resolve()}")
        self._lock = threading.Lock()
        self._parts: list[Part] = []
        self._texts: dict[str, str] = {}
        self._due = 0.0
        self.token = secrets.token_urlsafe(8)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ResourceError(
                f"cannot serve on port {port}: {reason}", next="another --port, or --port 0 for any free one"
            ) from error

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def parts(self) -> list[Part]:
        """The parts of the page, read anew if the last reading is old enough."""
        with self._lock:
            start = time.monotonic()
            if start >= self._due:
                before = {part.digest: part.html for part in self._parts}
                self._parts = self._page.parts()
                self._texts = before | {part.digest: part.html for part in self._parts}
                end = time.monotonic()
                self._due = end + max(_PAUSE_SECONDS, _PAUSE_SHARE * (end - start))
            return self._parts

    def answer(self, path: str) -> tuple[str, str] | None:
        """The type and the text of what a path names; None if it names nothing."""
        if path == "/":
            return "text/html", self._page.page(self.parts(), self.token)
        if path == "/parts":
            parts = [(part.name, part.digest) for part in self.parts()]
            return "application/json", json.dumps({"token": self.token, "parts": parts})
        if path.startswith("/part/"):
            text = self._texts.get(path.removeprefix("/part/"))
            return None if text is None else ("text/html", text)
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no fault."""


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    timeout = _REQUEST_SECONDS
    server_version, sys_version = "ssl-seg", ""

    def do_GET(self) -> None:
        if not self._is_for_us():
            self._send(HTTPStatus.FORBIDDEN, "text/plain", "unknown host\n")
            return
        try:
            found = self.server.answer(self.path)
        except Exception as error:  # of one reading: the next may do
            log.exception("the page could not be made: %s", error)
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", "internal error\n")
            return
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "not found\n")
        else:
            self._send(HTTPStatus.OK, *found)

    do_HEAD = do_GET

    def _is_for_us(self) -> bool:
        """Whether the request names this machine: one of a page elsewhere whose name leads here does not."""
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and hosts[0].partition(":")[0].lower() in _NAMES

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        data = text.encode("utf-8", "replace")
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing is printed of requests."""
