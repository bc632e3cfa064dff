"""Stand-in for the Kubernetes API, over plain HTTP: a pod and a namespace, which is all that istio-cni and calico ask.

Every pod exists. A namespace is in the ambient mesh if it is named so at the start; a pod can be labelled out of it.
"""

import argparse
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.agents.stand_ins import server
from tests.agents.stand_ins.server import Request, Response

Json = dict[str, Any]

ADDRESS = "127.0.0.1:6443"
NODE = "node1"
LABEL = "istio.io/dataplane-mode"


class Api:
    """The calls."""

    name = "kubernetes"

    def __init__(self, ambient: Collection[str], opted_out: Collection[str], node: str) -> None:
        """Namespaces of the mesh; pods, as NAMESPACE/POD, that are out of it; the node that all pods are on."""
        self._ambient = ambient
        self._opted_out = opted_out
        self._node = node

    def note(self, request: Request) -> Json:
        return {"authorization": True} if request.headers.get("Authorization") else {}

    def answer(self, request: Request) -> Response:
        match = re.fullmatch(r"/api/v1/namespaces/([^/]+)(?:/pods/([^/]+))?", request.path)
        if request.method != "GET" or not match:
            return Response(404, status(404, "NotFound", request.path))
        namespace, pod = match.groups()
        return Response(200, self._pod(namespace, pod) if pod else self._namespace(namespace))

    def _pod(self, namespace: str, pod: str) -> Json:
        labels = {LABEL: "none"} if f"{namespace}/{pod}" in self._opted_out else {"app": pod}
        metadata = {"name": pod, "namespace": namespace, "uid": f"uid-{pod}", "labels": labels}
        containers = [{"name": "app", "image": "app"}]
        spec = {"nodeName": self._node, "serviceAccountName": "default", "containers": containers}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _namespace(self, namespace: str) -> Json:
        labels = {"kubernetes.io/metadata.name": namespace}
        if namespace in self._ambient:
            labels[LABEL] = "ambient"
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}


def status(code: int, reason: str, message: str) -> Json:
    """A failure as the API tells it."""
    words = {"status": "Failure", "code": code, "reason": reason, "message": message}
    return {"apiVersion": "v1", "kind": "Status"} | words


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.agents.stand_ins.kubernetes", description=__doc__)
    parser.add_argument("--address", default=ADDRESS, help="(default: %(default)s)")
    parser.add_argument("--ambient", action="append", default=[], metavar="NAMESPACE", help="in the mesh")
    parser.add_argument("--opted-out", action="append", default=[], metavar="NAMESPACE/POD", help="out of the mesh")
    parser.add_argument("--node", default=NODE, help="where every pod is (default: %(default)s)")
    parser.add_argument("--calls", type=Path, default=Path("/dev/stdout"), help="where each call is recorded")
    parser.add_argument("--orders", type=Path, help="what to do wrong; looked at with every call")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    api = Api(options.ambient, options.opted_out, options.node)
    server.serve(api, (host, int(port)), options.calls, options.orders)


if __name__ == "__main__":
    main()
