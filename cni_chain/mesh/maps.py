"""What Cilium's load balancer remembers of connections, from its pinned maps: services, backends, what was replaced.

Layouts: bpf/lib/eps.h, common.h, conntrack.h and sock.h of Cilium 1.14 to 1.20; `…_reverse_sk_v2` from the source of
2026, in no release yet. Addresses and ports are in network order, and so is an index of reverse NAT wherever it is
kept. A map whose keys or values have another size is not read: nobody knows what is in it.
"""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from cni_chain.mesh import bpf
from cni_chain.mesh.probe import Target
from cni_chain.mesh.sockets import Endpoint
from cni_chain.node.errors import UnreadableError

PINS = "/sys/fs/bpf/tc/globals"

# The size of keys and values. %d is the family: 4 or 6.
SIZES = {
    "cilium_lb%d_services_v2": {4: (12, 12), 6: (24, 12)},
    "cilium_lb%d_backends_v3": {4: (4, 12), 6: (4, 24)},
    "cilium_lb%d_reverse_nat": {4: (2, 6), 6: (2, 18)},
    "cilium_lb%d_reverse_sk": {4: (16, 8), 6: (32, 20)},
    "cilium_lb%d_reverse_sk_v2": {4: (4, 16), 6: (4, 40)},
    "cilium_ct%d_global": {4: (14, 56), 6: (38, 56)},
    "cilium_ct_any%d_global": {4: (14, 56), 6: (38, 56)},
}
_PROTOCOLS = {"tcp": 6, "udp": 17}
_NAMES = {0: "tcp", 6: "tcp", 17: "udp"}  # of a service; 0: before services had a protocol
_OUT = 0  # TUPLE_F_OUT: the entry of a connection that the pod began
_REV_NAT = 38  # where struct ct_entry has its index of reverse NAT


class Service(NamedTuple):
    """A service's address, and how many backends it has."""

    target: Target
    backends: int


class Maps:
    """The maps of one family, each opened when it is asked. Use it as a context manager.

    Every question raises UnreadableError if its map can't be read, or has a layout that is not known; a map that
    doesn't exist has no entries.
    """

    def __init__(self, family: int, pins: str = PINS) -> None:
        """Take the maps of IPv4 or IPv6 (`family`: 4 or 6) below a directory."""
        self._family = family
        self._size = 4 if family == 4 else 16  # of an address
        self._pins = pins
        self._opened: dict[str, bpf.Map | None] = {}

    def __enter__(self) -> Maps:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in filter(None, self._opened.values()):
            opened.__exit__()

    def services(self) -> Iterator[Service]:
        """Yield the services. Raises UnreadableError without that map, too."""
        if self._map("cilium_lb%d_services_v2") is None:
            path = os.path.join(self._pins, self._name("cilium_lb%d_services_v2"))
            raise UnreadableError(f"{path}: does not exist: does Cilium balance services of IPv{self._family} here?")
        for key, value in self._items("cilium_lb%d_services_v2"):
            port, slot, protocol = self._service_key(key)
            # Slot 0 is the service itself. An address has an entry without a port too, for all ports that it lacks.
            if slot == 0 and port and protocol in _NAMES and any(key[: self._size]):
                target = Target(self._text(key), port, _NAMES[protocol])
                yield Service(target, struct.unpack_from("=H", value, 4)[0])  # backend_id, count, rev_nat_index, …

    def of_backend(self, backend: Target) -> list[Target]:
        """Return the services that have a backend, by their addresses. Raises UnreadableError without that map, too."""
        if self._map("cilium_lb%d_backends_v3") is None:
            raise UnreadableError(f"{self._name('cilium_lb%d_backends_v3')}: does not exist, so no backend is known")
        wanted = self._packed(backend)
        # struct lb4_backend: address, port, proto, flags, …; the key is its number
        numbers = {key for key, value in self._items("cilium_lb%d_backends_v3") if value[: len(wanted)] == wanted}
        found = set()
        for key, value in self._items("cilium_lb%d_services_v2"):
            port, slot, protocol = self._service_key(key)
            if slot and value[:4] in numbers and protocol in (0, _PROTOCOLS[backend.protocol]):
                found.add(Target(self._text(key), port, backend.protocol))
        return sorted(found)

    def replaced_for(self, cookie: int, backend: Target) -> Target | None:
        """Return the address that a socket asked for at connect(), before a backend took its place."""
        key = struct.pack("=Q", cookie) + self._packed(backend)
        value = self._get("cilium_lb%d_reverse_sk", key.ljust(self._key_size("cilium_lb%d_reverse_sk"), b"\0"))
        return self._target(value, backend.protocol) if value else None

    def keeps_in_sockets(self) -> bool:
        """Whether this Cilium keeps that in the socket itself."""
        return self._map("cilium_lb%d_reverse_sk_v2") is not None

    def replaced_in(self, opened: int, backend: Target) -> Target | None:
        """Return the same from the socket itself, by a descriptor of this process."""
        value = self._get("cilium_lb%d_reverse_sk_v2", struct.pack("=i", opened))
        # struct ipv4_sk_storage_entry: address, port, rev_nat_index, backend_address, backend_port, pad
        wanted = self._packed(backend)
        at = self._size + 4
        return self._target(value, backend.protocol) if value and value[at : at + len(wanted)] == wanted else None

    def tracked(self, source: Endpoint, backend: Target) -> bytes | None:
        """Return the index of reverse NAT of a connection that was begun here; b"\\0\\0": it is not to a service.

        None: there is no such connection.
        """
        kind = "cilium_ct%d_global" if backend.protocol == "tcp" else "cilium_ct_any%d_global"
        here, there = ipaddress.ip_address(source[0]).packed, ipaddress.ip_address(backend.address).packed
        # struct ipv4_ct_tuple: daddr, saddr, dport, sport, nexthdr, flags. Addresses are those of the answer, ports
        # those of the request.
        ports = struct.pack("!HHBB", backend.port, source[1], _PROTOCOLS[backend.protocol], _OUT)
        value = self._get(kind, here + there + ports)
        return value[_REV_NAT : _REV_NAT + 2] if value else None

    def indexed(self, index: bytes, protocol: str) -> Target | None:
        """Return the service that an index of reverse NAT stands for; None if it is gone."""
        value = self._get("cilium_lb%d_reverse_nat", index)
        return self._target(value, protocol) if value else None

    def _name(self, kind: str) -> str:
        return kind % self._family

    def _service_key(self, key: bytes) -> tuple[int, int, int]:
        """Return what is behind the address in struct lb4_key: dport, backend_slot, proto."""
        port = struct.unpack_from("!H", key, self._size)[0]
        slot, protocol = struct.unpack_from("=HB", key, self._size + 2)
        return port, slot, protocol

    def _packed(self, target: Target) -> bytes:
        return ipaddress.ip_address(target.address).packed + struct.pack("!H", target.port)

    def _text(self, content: bytes) -> str:
        return str(ipaddress.ip_address(content[: self._size]))

    def _target(self, value: bytes, protocol: str) -> Target:
        """Return what a value begins with: an address and a port."""
        return Target(self._text(value), struct.unpack_from("!H", value, self._size)[0], protocol)

    def _get(self, kind: str, key: bytes) -> bytes | None:
        opened = self._map(kind)
        try:
            return opened.get(key) if opened else None
        except OSError as error:
            raise UnreadableError(f"{self._name(kind)}: {error.strerror}") from None

    def _items(self, kind: str) -> Iterator[tuple[bytes, bytes]]:
        opened = self._map(kind)
        try:
            yield from opened.items() if opened else ()
        except OSError as error:
            raise UnreadableError(f"{self._name(kind)}: {error.strerror}") from None

    def _key_size(self, kind: str) -> int:
        return SIZES[kind][self._family][0]

    def _map(self, kind: str) -> bpf.Map | None:
        name = self._name(kind)
        if name not in self._opened:
            path = os.path.join(self._pins, name)
            try:
                opened = bpf.Map(path)
            except FileNotFoundError:
                self._opened[name] = None
                return None
            except OSError as error:
                raise UnreadableError(f"{path}: {error.strerror}") from None
            self._opened[name] = opened
        found = self._opened[name]
        sizes = SIZES[kind][self._family]
        if found and (found.info.key_size, found.info.value_size) != sizes:
            raise UnreadableError(
                f"{name}: has keys and values of {found.info.key_size} and {found.info.value_size} bytes, and not of "
                f"{sizes[0]} and {sizes[1]}: it has a layout that is not known, and is not read"
            )
        return found
