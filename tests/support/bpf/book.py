"""What Cilium's load balancer remembers, in maps as it pins them: bpf/lib/eps.h, common.h, conntrack.h and sock.h."""

import contextlib
import ipaddress
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.support.bpf.balancer import Service
from tests.support.bpf.kernel import pinned

Endpoint = tuple[str, int]
PROTOCOLS = {"tcp": 6, "udp": 17}


def packed(endpoint: Endpoint) -> bytes:
    return ipaddress.ip_address(endpoint[0]).packed + struct.pack("!H", endpoint[1])


class Book:
    """The entries of one family's maps. Services and backends are numbered as they come."""

    def __init__(self, service: Service, *, protocol: str = "tcp") -> None:
        self.family = 6 if ":" in service.address else 4
        self.protocol = protocol
        self.maps: dict[str, dict[bytes, bytes]] = defaultdict(dict)
        self._numbers: dict[Endpoint, int] = {}
        self.add(service)

    def add(self, service: Service) -> None:
        """A service with its backend, which others may have too."""
        number = self._number((service.backend, service.backend_port))
        index = self.index(service)
        key = packed((service.address, service.port))
        tail = struct.pack("=BBxx", PROTOCOLS[self.protocol], 0)
        services = self._map("lb%d_services_v2")
        services[key + struct.pack("=H", 0) + tail] = struct.pack("=IH2s4x", 0, 1, index)
        services[key + struct.pack("=H", 1) + tail] = struct.pack("=IH2s4x", number, 0, index)
        anything = ipaddress.ip_address(service.address).packed + bytes(8)
        services[anything] = struct.pack("=IH2s4x", 0, 0, bytes(2))  # for the ports that the address lacks
        backend = packed((service.backend, service.backend_port))
        size = {4: 12, 6: 24}[self.family]
        self._map("lb%d_backends_v3")[struct.pack("=I", number)] = backend.ljust(size, b"\0")
        self._map("lb%d_reverse_nat")[index] = key

    def index(self, service: Service) -> bytes:
        """By which reverse NAT finds a service."""
        return struct.pack("!H", 0x0107 + self._number((service.address, service.port)))

    def replaced(self, cookie: int, service: Service) -> None:
        """A socket's connect() was to a service."""
        key = struct.pack("=Q", cookie) + packed((service.backend, service.backend_port))
        value = packed((service.address, service.port)) + self.index(service)
        self._map("lb%d_reverse_sk")[key.ljust({4: 16, 6: 32}[self.family], b"\0")] = value

    def connected(self, source: Endpoint, service: Service, *, to_service: bool = True) -> None:
        """A connection of the pod's was seen behind its interface."""
        kind = "ct%d_global" if self.protocol == "tcp" else "ct_any%d_global"
        addresses = [ipaddress.ip_address(address).packed for address in (source[0], service.backend)]
        ports = struct.pack("!HHBB", service.backend_port, source[1], PROTOCOLS[self.protocol], 0)
        index = self.index(service) if to_service else bytes(2)
        self._map(kind)[b"".join(addresses) + ports] = bytes(38) + index + bytes(16)

    def storage(self, service: Service) -> bytes:
        """What the newest layout keeps in a socket."""
        asked = packed((service.address, service.port)) + self.index(service)
        return asked + packed((service.backend, service.backend_port)) + bytes(2)

    @contextlib.contextmanager
    def pinned(self, pins: Path) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for name, entries in self.maps.items():
                stack.enter_context(pinned(pins / name, entries))
            yield

    def _map(self, kind: str) -> dict[bytes, bytes]:
        return self.maps[f"cilium_{kind % self.family}"]

    def _number(self, of: Endpoint) -> int:
        return self._numbers.setdefault(of, len(self._numbers) + 1)
