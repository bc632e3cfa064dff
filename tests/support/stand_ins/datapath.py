"""What Cilium's datapath does for an endpoint, so that pods and the node reach each other: here with routes.

The real one loads BPF programs; they answer a pod's question for its gateway, and hand its packets on. Here the node
has the gateway's address on an interface of the real one's name, forwards, and has a route for each endpoint, as the
real agent's `endpointRoutes` mode makes them.
"""

import ipaddress
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

HOST_INTERFACE, ITS_PEER = "cilium_host", "cilium_net"


class Datapath:
    """The routes of one node. Its methods change the network namespace that this process is in."""

    def __init__(self, routers: Iterable[str]) -> None:
        """Give the node the routers' addresses, one for each family."""
        self._routers = list(routers)
        if HOST_INTERFACE not in {name for _, name in socket.if_nameindex()}:  # of an earlier process
            _ip(f"link add {HOST_INTERFACE} type veth peer name {ITS_PEER}")
        for interface in (HOST_INTERFACE, ITS_PEER):
            _ip(f"link set {interface} up")
        for router in self._routers:
            bits = ipaddress.ip_address(router).max_prefixlen
            _ip(f"addr replace {router}/{bits} dev {HOST_INTERFACE} nodad")
        _set("net/ipv4/ip_forward", "1")
        if any(":" in router for router in self._routers):
            _set("net/ipv6/conf/all/forwarding", "1")

    def connect(self, interface: str, mac: str, addresses: Iterable[str]) -> None:
        """Make an endpoint reachable behind its interface on the node. It ends with that interface."""
        for address in addresses:
            version = ipaddress.ip_address(address).version
            _ip(f"-{version} route replace {address} dev {interface}")
            # Not asked for: the kernel can't ask for IPv6 until the interface has made sure of its own address.
            _ip(f"neigh replace {address} lladdr {mac} dev {interface} nud permanent")
        # IPv6 answers for an address on another interface only where it is told so.
        for router in self._routers:
            if ":" in router:
                _set(f"net/ipv6/conf/{interface}/proxy_ndp", "1")
                _set(f"net/ipv6/neigh/{interface}/proxy_delay", "0")
                _ip(f"-6 neigh replace proxy {router} dev {interface}")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)  # noqa: S607  # where it is differs between distributions


def _set(name: str, value: str) -> None:
    file = Path("/proc/sys", name)
    if file.read_text().strip() != value:  # a container's may be read-only
        file.write_text(value)
