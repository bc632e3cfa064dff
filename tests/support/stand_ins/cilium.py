"""Stand-in for Cilium's agent: the part of its REST API that the real cilium-cni, 1.18 to 1.20, asks.

It hands out addresses and keeps endpoints over a restart, as the agent does; it loads no BPF. When it starts it works
off the plugin's deletion queue. Paths, codes and bodies were read off the real plugin (api/v1 of cilium/cilium).
"""

import argparse
import ipaddress
import json
import re
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tests.support.stand_ins import server
from tests.support.stand_ins.calls import Call, record
from tests.support.stand_ins.datapath import Datapath
from tests.support.stand_ins.server import Request, Response

Json = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SOCKET = Path("/var/run/cilium/cilium.sock")
POOL4, POOL6 = "10.244.0.0/24", "fd00:244::/112"
# Never to be handed out: the network itself, and the router.
RESERVED = 2
NAME = "cilium-agent"


class Endpoints:
    """Who has which address, and the endpoints: `container:interface` → what the plugin asked for."""

    def __init__(self, pools: dict[str, Network], state: Path) -> None:
        """Take over what an earlier process has left in `state`."""
        self.pools = pools
        self._state = state
        kept = json.loads(state.read_bytes()) if state.exists() else {}
        self.used: dict[str, str] = kept.get("used", {})
        self.known: dict[str, Json] = kept.get("endpoints", {})

    def allocate(self, owner: str) -> dict[str, str]:
        """An address of each family. Raises LookupError when a pool has none left."""
        taken = {family: self._free(pool) for family, pool in self.pools.items()}
        self.used |= dict.fromkeys(taken.values(), owner)
        self._save()
        return taken

    def _free(self, pool: Network) -> str:
        # The last one is IPv4's broadcast address.
        for number in range(RESERVED, pool.num_addresses - 1):
            if (address := str(pool[number])) not in self.used:
                return address
        raise LookupError(f"no more address in {pool}")

    def release(self, address: str) -> bool:
        """Was it taken?"""
        was_taken = self.used.pop(address, None) is not None
        self._save()
        return was_taken

    def add(self, request: Json) -> None:
        self.known[f"{request['container-id']}:{request['container-interface-name']}"] = request
        self._save()

    def forget(self, attachment: str) -> bool:
        """Was it known? Its addresses are free again, but those of another plugin."""
        endpoint = self.known.pop(attachment, None)
        if endpoint is None:
            return False
        if not (endpoint.get("datapath-configuration") or {}).get("external-ipam"):
            for address in addresses(endpoint):
                self.used.pop(address, None)
        self._save()
        return True

    def forget_container(self, container: str) -> bool:
        """Up to 1.18 a DEL names the container only, and takes every interface of it."""
        attachments = [name for name in self.known if name.rpartition(":")[0] == container]
        return any([self.forget(name) for name in attachments])  # noqa: C419  # all of them, not up to the first

    def forget_without(self, interfaces: Collection[str]) -> None:
        """What the agent does when it starts with endpoints whose interface on the node is gone (validateEndpoint)."""
        for name in [name for name, e in self.known.items() if e["interface-name"] not in interfaces]:
            self.forget(name)

    def forget_queued(self, text: str) -> bool:
        """A file of the plugin's deletion queue: up to 1.18 a request's body, later an endpoint's ID."""
        if text.startswith("{"):
            return self.forget_container(json.loads(text)["container-id"])
        return self.forget(text.partition(":")[2])

    def _save(self) -> None:
        self._state.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._state.with_suffix(".new")
        temporary.write_text(json.dumps({"used": self.used, "endpoints": self.known}))
        temporary.replace(self._state)


def addresses(endpoint: Json) -> list[str]:
    """The addresses in a request for an endpoint."""
    given = endpoint.get("addressing") or {}
    return [given[family] for family in ("ipv4", "ipv6") if given.get(family)]


class Agent:
    """The calls."""

    name = NAME

    def __init__(self, endpoints: Endpoints, mtu: int, mac: str, datapath: Datapath | None) -> None:
        """`mac`: given to every endpoint, which the plugin then sets in the pod; empty: each keeps its own."""
        self._endpoints = endpoints
        self._mtu = mtu
        self._mac = mac
        self._datapath = datapath
        self._routes: list[tuple[str, Callable[[Request, str], Response]]] = [
            (r"GET /v1/config", self._config),
            (r"GET /v1/healthz", lambda _request, _match: Response(200, {"cilium": {"state": "Ok"}})),
            (r"GET /v1/endpoint", self._list),
            (r"POST /v1/ipam", self._allocate),
            (r"DELETE /v1/ipam/([0-9a-f.:]+)", self._release),
            (r"PUT /v1/endpoint/(cilium-local:\d+)", self._create),
            (r"DELETE /v1/endpoint", self._delete_container),
            (r"DELETE /v1/endpoint/cni-attachment-id:([^/]+)", self._delete),
            (r"GET /v1/endpoint/cni-attachment-id:([^/]+)/healthz", self._health),
        ]

    def note(self, request: Request) -> Json:
        """Who asks the agent to take an address back by itself, should no endpoint follow, says so in a header."""
        return {"expiration": True} if request.headers.get("Expiration") == "true" else {}

    def answer(self, request: Request) -> Response:
        for pattern, route in self._routes:
            if match := re.fullmatch(pattern, f"{request.method} {request.path}"):
                return route(request, match[1] if match.lastindex else "")
        return Response(404)

    def _addressing(self) -> Json:
        return {
            family: {"enabled": True, "ip": str(pool[1]), "alloc-range": str(pool)}
            for family, pool in self._endpoints.pools.items()
        }

    def _config(self, _request: Request, _match: str) -> Response:
        status = {"addressing": self._addressing(), "datapathMode": "veth", "ipam-mode": "cluster-pool"}
        mtu = {"deviceMTU": self._mtu, "routeMTU": self._mtu}
        return Response(200, {"status": status | mtu | {"realized": {}, "immutable": {}}, "spec": {}})

    def _list(self, _request: Request, _match: str) -> Response:
        """For people and tests: no plugin asks it."""
        return Response(200, [{"attachment": a, "addresses": addresses(e)} for a, e in self._endpoints.known.items()])

    def _allocate(self, request: Request, _match: str) -> Response:
        try:
            taken = self._endpoints.allocate(request.query.get("owner", ""))
        except LookupError as e:
            return Response(502, str(e))
        answer: Json = {"address": {}, "host-addressing": self._addressing()}
        for family, address in taken.items():
            pool = self._endpoints.pools[family]
            answer["address"] |= {family: address, f"{family}-pool-name": "default", f"{family}-expiration-uuid": ""}
            answer[family] = {"ip": address, "gateway": str(pool[1]), "cidrs": [str(pool)]}
        return Response(201, answer)

    def _release(self, _request: Request, address: str) -> Response:
        return Response(200 if self._endpoints.release(address) else 404)

    def _create(self, request: Request, _match: str) -> Response:
        self._endpoints.add(request.body)
        mac = self._mac or request.body.get("mac", "")
        if self._datapath:
            self._datapath.connect(request.body["interface-name"], mac, addresses(request.body))
        networking = {"addressing": [request.body["addressing"]], "mac": mac}
        number = len(self._endpoints.known)
        return Response(201, {"id": number, "status": {"state": "ready", "networking": networking}})

    def _delete(self, _request: Request, attachment: str) -> Response:
        return Response(200, 0) if self._endpoints.forget(attachment) else Response(404)

    def _delete_container(self, request: Request, _match: str) -> Response:
        return Response(200, 0) if self._endpoints.forget_container(request.body["container-id"]) else Response(404)

    def _health(self, _request: Request, attachment: str) -> Response:
        if attachment not in self._endpoints.known:
            return Response(404)
        return Response(200, {"overallHealth": "OK", "bpf": "OK", "policy": "OK", "connected": True})


def work_off(queue: Path, endpoints: Endpoints, calls: Path) -> None:
    """The DELs that came while no agent was there: recorded as calls named REPLAY."""
    for file in sorted(queue.glob("*.delete")):
        text = file.read_text()
        record(calls, Call(NAME, "REPLAY", 0, note={"request": text, "known": endpoints.forget_queued(text)}))
        file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.stand_ins.cilium", description=__doc__)
    parser.add_argument("--socket", type=Path, default=SOCKET)
    parser.add_argument("--state", type=Path, help="keeps endpoints over a restart (default: beside the socket)")
    parser.add_argument("--ipv4", default=POOL4, metavar="POOL", help='"" for none (default: %(default)s)')
    parser.add_argument("--ipv6", default=POOL6, metavar="POOL", help='"" for none (default: %(default)s)')
    parser.add_argument("--mtu", type=int, default=1450)
    parser.add_argument("--mac", default="", help="what every endpoint gets for its address")
    parser.add_argument("--datapath", action="store_true", help="set routes on this node for each endpoint")
    parser.add_argument("--calls", type=Path, default=Path("/dev/stdout"), help="where each call is recorded")
    parser.add_argument("--orders", type=Path, help="what to do wrong; looked at with every call")
    options = parser.parse_args()
    given = {"ipv4": options.ipv4, "ipv6": options.ipv6}
    pools: dict[str, Network] = {family: ipaddress.ip_network(pool) for family, pool in given.items() if pool}
    endpoints = Endpoints(pools, options.state or options.socket.with_name("stand-in.json"))
    work_off(options.socket.with_name("deleteQueue"), endpoints, options.calls)
    if options.datapath:
        endpoints.forget_without({name for _, name in socket.if_nameindex()})
    datapath = Datapath(str(pool[1]) for pool in pools.values()) if options.datapath else None
    agent = Agent(endpoints, options.mtu, options.mac, datapath)
    server.serve(agent, options.socket, options.calls, options.orders)


if __name__ == "__main__":
    main()
