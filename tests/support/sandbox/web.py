"""A pod's web server and a client, run inside a network namespace with nothing but the standard library.

web.py serve PORT NAME    answers NAME, or /bytes/COUNT with so many bytes
web.py get URL            prints one JSON object: status, body, bytes, seconds; or error
"""

import json
import socket
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's: it asks the resolver for our name, and there is none in here.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "pod", self.server_address[1]


def serve(port: int, name: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, bulk, count = self.path.rpartition("/bytes/")
            body = bytes(int(count)) if bulk else name.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with Server(("::", port), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()


def get(url: str) -> dict[str, object]:
    start = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  # the tests' own URLs
            body: bytes = response.read()
            status: int = response.status
    except OSError as e:
        return {"error": str(e)}
    seconds = time.monotonic() - start
    return {"status": status, "body": body[:80].decode(), "bytes": len(body), "seconds": seconds}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), sys.argv[3])
    else:
        print(json.dumps(get(sys.argv[2])))
