"""HTTP for the stand-ins: on a unix socket or an address, every call recorded, orders obeyed."""

import contextlib
import json
import select
import signal
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from tests.support.stand_ins.calls import Call, record
from tests.support.stand_ins.orders import concerning

# How soon a call that was left hanging sees that its order is gone.
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: Any


@dataclass(frozen=True)
class Response:
    status: int
    body: object = None


class StandIn(Protocol):
    """What is behind a server. `answer` is never called twice at once."""

    name: str

    def answer(self, request: Request) -> Response: ...

    def note(self, request: Request) -> dict[str, Any]:
        """What else the record of this call should say."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Set for each server.
    stand_in: StandIn
    calls: Path
    orders: Path | None
    lock: threading.Lock

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        request = Request(self.command, path, query, self.headers, json.loads(body) if body else None)
        self._hang(request)
        self._require_caller()
        with self.lock:
            order = concerning(self.orders, f"{request.method} {request.path}")
            # An order that came this instant to hang: the next call's.
            obeyed = order is not None and not order.hang and not order.late
            response = Response(order.status, order.body) if order and obeyed else self.stand_in.answer(request)
            self._record(request, response.status)
        self._send(response)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815  # http.server's names

    def _hang(self, request: Request) -> None:
        call = f"{request.method} {request.path}"
        hung = False
        while (order := concerning(self.orders, call)) and order.hang:
            if not hung:
                self._record(request, 0)
            hung = True
            self._require_caller()
            time.sleep(POLL_SECONDS)
        time.sleep(order.late if order else 0)

    def _require_caller(self) -> None:
        """Raise ConnectionError if the caller has given up, while this server hung or was frozen.

        What it asked is then neither done nor recorded, or it would be found among the calls of a later test.
        """
        gone = select.poll()
        gone.register(self.connection, select.POLLRDHUP)
        if gone.poll(0):
            raise ConnectionAbortedError("the caller has given up")

    def _record(self, request: Request, status: int) -> None:
        call = f"{request.method} {request.path}"
        note = self.stand_in.note(request)
        record(self.calls, Call(self.stand_in.name, call, status, request.query, request.body, note))

    def _send(self, response: Response) -> None:
        data = b"" if response.body is None else json.dumps(response.body).encode()
        with contextlib.suppress(ConnectionError):  # its caller has given up meanwhile
            self.send_response(response.status)
            if response.body is not None:
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


class Threads(socketserver.ThreadingMixIn):
    daemon_threads = True
    request_queue_size = 128


class UnixServer(Threads, socketserver.UnixStreamServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A plugin that exits resets its idle connection; anything else is a fault of ours, and is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # handed on as it came


class TcpServer(Threads, socketserver.TCPServer):
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A plugin that is killed breaks off in the middle of TLS; anything else is a fault of ours, and is told."""
        if not isinstance(sys.exception(), (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # handed on as it came


def serve(
    stand_in: StandIn,
    address: Path | tuple[str, int],
    calls: Path,
    orders: Path | None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT; says "ready" on stdout first. A unix socket is gone afterwards."""
    attributes = {"stand_in": stand_in, "calls": calls, "orders": orders, "lock": threading.Lock()}
    handler = type("BoundHandler", (Handler,), attributes)
    signal.signal(signal.SIGTERM, interrupt)
    with contextlib.ExitStack() as stack:
        server: socketserver.BaseServer
        if isinstance(address, Path):
            address.parent.mkdir(parents=True, exist_ok=True)
            address.unlink(missing_ok=True)  # of one that was killed
            server = UnixServer(str(address), handler)
            stack.callback(address.unlink, missing_ok=True)
        else:
            server = TcpServer(address, handler)
            if tls:  # each connection's own thread shakes hands
                server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        stack.enter_context(server)
        print("ready", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.05)


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
