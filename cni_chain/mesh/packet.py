"""A connection's first packet, made up to ask a pod's rules what becomes of it. Pure."""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

TCP = 6
# A user and a group that no rule names: those of an ordinary application.
ANYBODY = 0x7FFFFFFE
_ADDRESSES = {
    4: ("192.0.2.1", "198.51.100.1"),
    6: ("2001:db8::1", "2001:db8::2"),
}  # for documentation, RFC 5737 and 3849

# enum nf_inet_hooks
PREROUTING, OUTPUT = 0, 3


class Packet(NamedTuple):
    """What rules look at. Headers are as on the wire; the connection is a new one, without a mark of its own."""

    family: int  # 4 or 6
    hook: int
    interface_in: str
    interface_out: str
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    mark: int = 0
    user: int = ANYBODY
    group: int = ANYBODY

    @property
    def network_header(self) -> bytes:
        """The header of IPv4 or IPv6, as far as rules look at it: version, protocol and addresses."""
        if self.family == 4:
            return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, TCP, 0, self.source, self.destination)
        return struct.pack("!IHBB16s16s", 6 << 28, 20, TCP, 64, self.source, self.destination)

    @property
    def transport_header(self) -> bytes:
        """The header of TCP, with SYN alone."""
        return struct.pack("!HHIIBBHHH", self.source_port, self.destination_port, 0, 0, 5 << 4, 0x02, 0, 0, 0)


def leaving(family: int, interface: str, pod: str = "", port: int = 80) -> Packet:
    """Return the packet of an application in the pod, whose address is `pod`, that connects to somewhere else."""
    here, there = _ends(family, pod)
    return Packet(family, OUTPUT, "", interface, here, there, 40000, port)


def arriving(family: int, interface: str, pod: str = "", port: int = 80) -> Packet:
    """Return the packet of somebody else who connects to the pod."""
    here, there = _ends(family, pod)
    return Packet(family, PREROUTING, interface, "", there, here, 40000, port)


def _ends(family: int, pod: str) -> tuple[bytes, bytes]:
    here, there = _ADDRESSES[family]
    return ipaddress.ip_address(pod or here).packed, ipaddress.ip_address(there).packed
