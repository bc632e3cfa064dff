"""Stand-in for the Kubernetes API: a pod and a namespace, which is all that istio-cni and calico ask.

Every pod exists. A namespace is in the ambient mesh if it is named so at the start; a pod can be labelled out of it.
Over plain HTTP plugins send no token. With --tls they do, and with --tokens it must be one that counts: a real API
takes a token that is bound to a pod only as long as that pod is there.
"""

import argparse
import re
import ssl
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.support.stand_ins import server
from tests.support.stand_ins.orders import kubernetes_status as status
from tests.support.stand_ins.server import Request, Response

Json = dict[str, Any]

ADDRESS = "127.0.0.1:6443"
NODE = "node1"
LABEL = "istio.io/dataplane-mode"


class Api:
    """The calls."""

    name = "kubernetes"

    def __init__(
        self, ambient: Collection[str], opted_out: Collection[str], node: str, tokens: Path | None = None
    ) -> None:
        """Namespaces of the mesh; pods, as NAMESPACE/POD, that are out of it; the node that all pods are on.

        `tokens`: a file of those that count, a line each, looked at with every call. None: anybody may ask.
        """
        self._ambient = ambient
        self._opted_out = opted_out
        self._node = node
        self._tokens = tokens

    def note(self, request: Request) -> Json:
        return {"authorization": True} if request.headers.get("Authorization") else {}

    def answer(self, request: Request) -> Response:
        if self._tokens and request.headers.get("Authorization") not in bearers(self._tokens):
            return Response(401, status(401, "Unauthorized", "Unauthorized"))
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


def bearers(tokens: Path) -> set[str]:
    """The headers with which one may ask."""
    return {f"Bearer {token}" for token in tokens.read_text().split()}


def own_certificate() -> ssl.SSLContext:
    """For a server whose clients don't ask who signed it."""
    with tempfile.TemporaryDirectory() as directory:
        files = [f"{directory}/key", f"{directory}/certificate"]
        new = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=stand-in"]
        command = ["openssl", "req", *new, "-keyout", files[0], "-out", files[1]]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files[1], files[0])
    return context


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.stand_ins.kubernetes", description=__doc__)
    parser.add_argument("--address", default=ADDRESS, help="(default: %(default)s)")
    parser.add_argument("--ambient", action="append", default=[], metavar="NAMESPACE", help="in the mesh")
    parser.add_argument("--opted-out", action="append", default=[], metavar="NAMESPACE/POD", help="out of the mesh")
    parser.add_argument("--node", default=NODE, help="where every pod is (default: %(default)s)")
    parser.add_argument("--tls", action="store_true", help="with a certificate of its own")
    parser.add_argument(
        "--tokens", type=Path, metavar="FILE", help="those that count, a line each (default: no matter)"
    )
    parser.add_argument("--calls", type=Path, default=Path("/dev/stdout"), help="where each call is recorded")
    parser.add_argument("--orders", type=Path, help="what to do wrong; looked at with every call")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    api = Api(options.ambient, options.opted_out, options.node, options.tokens)
    tls = own_certificate() if options.tls else None
    server.serve(api, (host, int(port)), options.calls, options.orders, tls)


if __name__ == "__main__":
    main()
