"""The smallest HTTP server that probes, scrapers and people need: GET and HEAD, one answer a connection.

`http.server` imports the standard library's mail package; with it the agent takes 5 MB more.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from cni_chain.node.errors import RefusedError

_SECONDS = 5.0  # for one connection
_LONGEST = 65536  # bytes of a request
_AT_ONCE = 16  # connections
_PATIENCE = 10.0  # seconds for the agent before this one to go
_REASONS = {
    200: "OK",
    307: "Temporary Redirect",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}

TEXT, JSON = "text/plain; charset=utf-8", "application/json"


class Answer(NamedTuple):
    """What is answered to a request."""

    status: int
    text: str
    content_type: str = TEXT
    location: str = ""  # of a redirect


class Server:
    """Serves `answer`, which gets a path and is called in threads of its own."""

    def __init__(self, address: str, port: int, answer: Callable[[str], Answer]) -> None:
        """Raises RefusedError if the port can't be had."""
        self._answer = answer
        self._room = threading.Semaphore(_AT_ONCE)
        self._open: dict[socket.socket, None] = {}  # the oldest first
        self._socket = _listening(address, port)
        self.is_serving = False

    def start(self) -> None:
        """Begin to answer, in threads."""
        if self.is_serving:
            return
        self.is_serving = True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # the caller has gone, or too many files are open
                time.sleep(0.01)
                continue
            if not self._room.acquire(blocking=False):
                self._end_oldest()
                self._room.acquire()
            self._open[connection] = None
            try:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except RuntimeError:  # no more threads can be had
                self._close(connection)

    def _end_oldest(self) -> None:
        """Make room: whoever holds a connection without a word must not keep a kubelet's probe out."""
        for connection in list(self._open)[:1]:
            with contextlib.suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def _close(self, connection: socket.socket) -> None:
        self._open.pop(connection, None)
        connection.close()
        self._room.release()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                method, answer = self._answered(_request(connection))
                body = answer.text.encode(errors="backslashreplace")  # names of files may be no text
                head = (
                    f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
                    f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n"
                    + (f"Location: {answer.location}\r\n" if answer.location else "")
                    + "\r\n"
                ).encode()
                connection.settimeout(_SECONDS)
                connection.sendall(head + (b"" if method == "HEAD" else body))
        finally:
            self._close(connection)

    def _answered(self, request: bytes) -> tuple[str, Answer]:
        words = request.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "", Answer(400, "not an HTTP request\n")
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return method, Answer(405, "GET and HEAD only\n")
        return method, self._answer(target.partition("?")[0])


def _request(connection: socket.socket) -> bytes:
    """Return the head of a request, or as much of it as comes in time."""
    until = time.monotonic() + _SECONDS
    content = b""
    while b"\r\n\r\n" not in content and len(content) < _LONGEST:
        connection.settimeout(max(0.01, until - time.monotonic()))
        piece = connection.recv(_LONGEST - len(content))
        if not piece:
            break
        content += piece
    return content


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            made.bind((address, port))
            made.listen(_AT_ONCE)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < until:
                time.sleep(0.2)
                continue
            made.close()
            hint = "is another agent on this node?" if error.errno == errno.EADDRINUSE else ""
            raise RefusedError(f"--listen {address}:{port}: {error.strerror}", hint) from None
        return made
