"""Stand-in for the Kubernetes API as Multus asks it, run as a script: kubernetes.py PORT FILE

Every pod exists, without annotations. Multus then writes the pod's network status, in protobuf: of each such call the
JSON text in it is appended to FILE, one a line.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

POD = re.compile(r"/api/v1/namespaces/([^/]+)/pods/([^/?]+)(/status)?")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    statuses: Path

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match = POD.match(self.path)
        if match and self.command == "PUT":
            text = body[body.index(b"[{") : body.rindex(b"}]") + 2]
            with self.statuses.open("a") as statuses:
                statuses.write(json.dumps({"pod": f"{match[1]}/{match[2]}", "status": json.loads(text)}) + "\n")
        if match:
            metadata = {"name": match[2], "namespace": match[1], "uid": f"uid-{match[2]}"}
            self._send(200, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
        else:
            self._send(
                404, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            )

    do_GET = do_PUT = do_POST = do_PATCH = _answer  # noqa: N815  # http.server's names

    def _send(self, status: int, document: object) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        # Not HTTPServer's: it asks the resolver for our name, and there is none in a sandbox.
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "kubernetes", self.server_address[1]


def main() -> None:
    Handler.statuses = Path(sys.argv[2])
    with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
