"""The server: it hands out a table of files by path, to GET and HEAD, and hands posts to the endpoints that there are.

No path is ever looked up on disk and nothing is written. A body is read only where an endpoint takes one, after token,
size and type have been checked; the page of the demo has no endpoint.
"""

import dataclasses
import hmac
import json
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rtseg_jax.demo.site import File

IDLE = 20.0  # seconds without a word, after which a connection is closed
MOST_CONNECTIONS = 64  # at a time; a browser opens six
LOOPBACK = "127.0.0.1"
LOCAL_NAMES = ("localhost", LOOPBACK)

HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked about at every load
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    # Both of these let a page share memory between threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",  # the token is in the address
    "X-Content-Type-Options": "nosniff",
}

TOKEN_NEEDED = "Open the whole link that the command printed, token included."
JSON = "application/json"
"""The type of every post: a page of another site cannot send it without asking, and nobody answers such questions."""


class BadPost(Exception):
    """What was posted is refused, with a status and a sentence; it has changed nothing."""

    def __init__(self, status: HTTPStatus, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """What takes posts.

    Attributes:
      take: from plain values, which nobody has checked, to those of the answer; may raise `BadPost`.
      most_bytes: of a body.
    """

    take: Callable[[Any], Any]
    most_bytes: int


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE
    server: "DemoServer"

    def do_GET(self) -> None:
        """A file with its content."""
        self._answer()

    def do_HEAD(self) -> None:
        """A file without it."""
        self._answer()

    def do_POST(self) -> None:
        """Hands a post to its endpoint."""
        try:
            answer = json.dumps(self._posted()).encode()
        except BadPost as refusal:
            self.send_error(refusal.status, refusal.sentence)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _posted(self) -> Any:
        """What the endpoint answers; raises `BadPost`."""
        if not self.server.is_for_us(self.headers.get("Host", "")):
            raise BadPost(HTTPStatus.MISDIRECTED_REQUEST, "This server answers to localhost only.")
        path = self.server.without_token(self.path)
        if path is None:
            raise BadPost(HTTPStatus.NOT_FOUND, TOKEN_NEEDED)
        endpoint = self.server.posts.get(path)
        if endpoint is None:
            raise BadPost(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD.")
        if self.headers.get("Content-Type") != JSON:
            raise BadPost(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Posts are JSON.")
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise BadPost(HTTPStatus.LENGTH_REQUIRED, "A post says how long it is.")
        if len(length) > 9 or int(length) > endpoint.most_bytes:
            raise BadPost(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This post is too large.")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise BadPost(HTTPStatus.BAD_REQUEST, "The post was cut off.")
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadPost(HTTPStatus.BAD_REQUEST, "This is not JSON.") from error
        return endpoint.take(value)

    def _answer(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "No request here has a body.")
        elif not self.server.is_for_us(self.headers.get("Host", "")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "This server answers to localhost only.")
        elif (path := self.server.without_token(self.path.partition("?")[0])) is None:
            self.send_error(HTTPStatus.NOT_FOUND, TOKEN_NEEDED)
        elif (file := self.server.files.get(path)) is None:
            self.send_error(HTTPStatus.NOT_FOUND, "There is no such file.")
        elif file.tag in self.headers.get("If-None-Match", ""):
            self._head(HTTPStatus.NOT_MODIFIED, file)
        else:
            self._head(HTTPStatus.OK, file)
            if self.command != "HEAD":
                self.wfile.write(file.content)

    def _head(self, status: HTTPStatus, file: File) -> None:
        self.send_response(status)
        self.send_header("ETag", file.tag)
        if status is HTTPStatus.OK:
            self.send_header("Content-Type", file.kind)
            self.send_header("Content-Length", str(len(file.content)))
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """One plain line, and the end of the connection: what a stranger sent is not repeated."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:  # what the library says of other methods
            status, message = HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD."
        # The library hands in parts of the request where it could not read it.
        known = message if message is not None and message.endswith(".") else status.phrase
        content = f"{known}\n".encode("ascii", "replace")
        self.send_response(status)
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Connection", "close")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def end_headers(self) -> None:
        """Ends them with those that every answer has."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """What the server calls itself."""
        return "rtseg_jax"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses carry the token."""


class DemoServer(ThreadingHTTPServer):
    """A thread for each connection.

    Attributes:
      files: what is handed out, by path.
      token: first part of every path; None for none.
      posts: what takes posts, by path.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self,
        address: tuple[str, int],
        files: Mapping[str, File],
        token: str | None = None,
        context: ssl.SSLContext | None = None,
        posts: Mapping[str, Endpoint] | None = None,
    ):
        """Listens from now on; `context` makes it HTTPS. Raises OSError where the port is taken."""
        self.files, self.token, self.posts = files, token, posts or {}
        self._context = context
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, Handler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def is_for_us(self, host: str) -> bool:
        """Whether a request names this machine: without a token, other sites must not read it by a name of theirs."""
        return self.token is not None or host.rpartition(":")[0] in LOCAL_NAMES or host in LOCAL_NAMES

    def without_token(self, path: str) -> str | None:
        """The path in the table; None where the token is missing or wrong."""
        if self.token is None:
            return path.removeprefix("/")
        given, slash, rest = path.removeprefix("/").partition("/")
        right = hmac.compare_digest(given.encode(errors="replace"), self.token.encode())
        return rest if right and slash else None

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread, unless there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers one connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shakes hands first where it is HTTPS: in this thread, so that others do not wait."""
        if self._context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(IDLE)
        with self._context.wrap_socket(request, server_side=True) as secret:
            super().finish_request(secret, client_address)
            secret.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are everyday; anything else is told."""
        if not isinstance(sys.exc_info()[1], OSError):
            logging.exception("a request could not be answered")
