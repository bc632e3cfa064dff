"""Stand-in for Istio's node agent: the socket on which istio-cni says that a pod of the mesh is being added.

It notes who would be enrolled, with the addresses; it programs no rules. (cni/pkg/nodeagent of istio/istio.)
"""

import argparse
import base64
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.stand_ins import server
from tests.support.stand_ins.calls import Call
from tests.support.stand_ins.server import Request, Response

RUN_DIR = Path("/var/run/istio-cni")
SOCKET = "pluginevent.sock"


class NodeAgent:
    """The calls."""

    name = "istio-node-agent"

    def note(self, request: Request) -> dict[str, Any]:
        if request.path != "/cmdadd" or not isinstance(request.body, dict):
            return {}
        return {"addresses": [prefix(ip["Address"]) for ip in request.body.get("IPs") or []]}

    def answer(self, request: Request) -> Response:
        return Response(200, {}) if (request.method, request.path) == ("POST", "/cmdadd") else Response(404, {})


def enrolments(calls: Iterable[Call]) -> list[Call]:
    """Of what was recorded, the calls of istio-cni for pods that this agent has answered to be in the mesh now."""
    return [call for call in calls if call.call == "POST /cmdadd" and call.status == 200]


def prefix(network: dict[str, str]) -> str:
    """Go's net.IPNet as its JSON has it, the mask in base64, in the usual notation."""
    mask = int.from_bytes(base64.b64decode(network["Mask"]), "big")
    return f"{ipaddress.ip_address(network['IP'])}/{mask.bit_count()}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.stand_ins.istio", description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=RUN_DIR)
    parser.add_argument("--calls", type=Path, default=Path("/dev/stdout"), help="where each call is recorded")
    parser.add_argument("--orders", type=Path, help="what to do wrong; looked at with every call")
    options = parser.parse_args()
    server.serve(NodeAgent(), options.run_dir / SOCKET, options.calls, options.orders)


if __name__ == "__main__":
    main()
