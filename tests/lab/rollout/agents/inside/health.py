"""The probes of an agent's container: ready when its writer says that its file is in place."""

import json
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(port: int, host: str = "") -> threading.Event:
    """Answer from now on, in threads, 200 to any question while the event is set, else 503."""
    ready = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            self.send_response(200 if ready.is_set() else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return ready


def follow(lines: Iterable[str] | None, ready: threading.Event) -> None:
    """From now on, in a thread, set the event by what a writer says of its state, a line of JSON for each change."""

    def read() -> None:
        for line in lines or ():
            print(line, end="", flush=True)
            said = json.loads(line)
            if said.get("state") == "Ok" or said.get("ready") == "true":
                ready.set()
            else:
                ready.clear()

    threading.Thread(target=read, daemon=True).start()
