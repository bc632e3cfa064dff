"""traffic.py SERVICE...: ask the ready pods of services without a pause, and hear of pods that start.

In the control plane's network. Each pod tells once, before it serves: GET :8000/POD/WHAT. A new connection every 20 ms
goes to one ready pod after the other, as a service would send it. The first line is `ready`; after the end of its
standard input the last is what was seen, as JSON.
"""

import http.client
import json
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

told: dict[str, list[str]] = {}
endpoints: dict[str, list[str]] = {}  # by the slice's name
failed: list[str] = []
took: list[float] = []  # of each request
ended = threading.Event()


class Hears(BaseHTTPRequestHandler):
    """What pods tell."""

    def do_GET(self) -> None:
        pod, _, what = self.path.strip("/").partition("/")
        told.setdefault(pod, []).append(what)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def watch(service: str) -> None:
    """Keep the addresses of its ready pods, as kube-proxy does."""
    context = ssl._create_unverified_context()  # noqa: S323  # the lab's own API server
    selector = f"labelSelector=kubernetes.io/service-name%3D{service}"
    while not ended.is_set():
        try:
            api = http.client.HTTPSConnection("127.0.0.1", 6443, context=context, timeout=3600)
            path = f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?watch=1&{selector}"
            api.request("GET", path, headers={"Authorization": "Bearer admin"})
            for line in api.getresponse():
                event = json.loads(line)
                name = event["object"]["metadata"]["name"]
                found = event["object"].get("endpoints") or [] if event["type"] != "DELETED" else []
                endpoints[name] = [one["addresses"][0] for one in found if one["conditions"].get("ready")]
        except (OSError, ValueError, KeyError, http.client.HTTPException):  # it ended, or begins again
            time.sleep(0.2)


def ask(address: str) -> None:
    with socket.create_connection((address, 8080), 3) as connection:
        connection.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
        answer = connection.recv(100)
    if not answer.startswith(b"HTTP/1."):
        raise OSError(f"answered {answer!r}")


def keep_asking() -> None:
    number = 0
    while not ended.is_set():
        ready = [address for addresses in list(endpoints.values()) for address in addresses]
        start = time.monotonic()
        if ready:
            address = ready[number % len(ready)]
            number += 1
            try:
                ask(address)
            except OSError as error:
                failed.append(f"{time.strftime('%H:%M:%S')} {address}: {error}")
            took.append(time.monotonic() - start)
        time.sleep(max(0.0, 0.02 - (time.monotonic() - start)))


def main() -> None:
    server = ThreadingHTTPServer(("0.0.0.0", 8000), Hears)  # noqa: S104  # of the sandbox
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for service in sys.argv[1:]:
        threading.Thread(target=watch, args=(service,), daemon=True).start()
    asking = threading.Thread(target=keep_asking)
    asking.start()
    print("ready", flush=True)
    sys.stdin.read()
    ended.set()
    asking.join()
    seen = {"asked": len(took), "failed": failed, "slowest": max(took, default=0), "told": told}
    print(json.dumps(seen), flush=True)


main()
