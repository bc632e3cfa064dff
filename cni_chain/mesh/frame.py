"""A connection's first frame, made up to ask the programs of an interface what they make of it. Pure.

`packet` is for rules of netfilter, which look at headers; programs get a whole frame, and return one.
"""

from __future__ import annotations

import ipaddress
import struct

from cni_chain.mesh.probe import Target
from cni_chain.mesh.sockets import Endpoint

_ETHERNET = 14  # bytes of its header
_IPV4, _IPV6 = 0x0800, 0x86DD  # include/uapi/linux/if_ether.h
_ICMP, _TCP, _UDP, _ICMPV6 = 1, 6, 17, 58
_UNREACHABLE = {_ICMP: 3, _ICMPV6: 1}  # the type of "destination unreachable", RFC 792 and 4443
_PROTOCOLS = {"tcp": _TCP, "udp": _UDP}

# No application gets it by itself: the flow that is made up is no other's, and the same at every check.
SOURCE_PORT = 1


def first(target: Target, source: str, source_mac: bytes, next_mac: bytes) -> bytes:
    """Return the frame with which a pod begins to talk to an address: a SYN of TCP, or an empty datagram of UDP."""
    addresses = [ipaddress.ip_address(text).packed for text in (source, target.address)]
    here, there = addresses
    protocol = _PROTOCOLS[target.protocol]
    if protocol == _TCP:  # ports, sequence and acknowledgement, length of the header, SYN, window, checksum, urgent
        transport = struct.pack("!HHIIBBHHH", SOURCE_PORT, target.port, 1, 0, 5 << 4, 0x02, 64240, 0, 0)
        place = 16
    else:  # ports, length, checksum
        transport = struct.pack("!HHHH", SOURCE_PORT, target.port, 8, 0)
        place = 6
    pseudo = here + there + struct.pack("!II", len(transport), protocol)  # RFC 9293 and 8200: both sum up alike
    transport = _with_checksum(transport, place, pseudo)
    if len(here) == 4:
        length = 20 + len(transport)
        network = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0x4000, 64, protocol, 0, here, there)
        network = _with_checksum(network, 10)
    else:
        network = struct.pack("!IHBB16s16s", 6 << 28, len(transport), protocol, 64, here, there)
    kind = _IPV4 if len(here) == 4 else _IPV6
    return next_mac + source_mac + struct.pack("!H", kind) + network + transport


def destination(frame: bytes) -> Endpoint | None:
    """Return where a frame of TCP or UDP goes; None for any other."""
    protocol, addresses, transport = _parts(frame)
    if protocol not in (_TCP, _UDP) or len(transport) < 4:
        return None
    return str(ipaddress.ip_address(addresses[len(addresses) // 2 :])), struct.unpack_from("!H", transport, 2)[0]


def refuses(frame: bytes) -> bool:
    """Return whether a frame tells its receiver that a destination can't be reached."""
    protocol, _, transport = _parts(frame)
    return protocol in _UNREACHABLE and transport[:1] == bytes([_UNREACHABLE[protocol]])


def _parts(frame: bytes) -> tuple[int, bytes, bytes]:
    """Return the protocol (0: not known), both addresses, and what is behind the header of IP."""
    kind = struct.unpack_from("!H", frame, _ETHERNET - 2)[0] if len(frame) >= _ETHERNET else 0
    network = frame[_ETHERNET:]
    if kind == _IPV4 and len(network) >= 20:
        return network[9], network[12:20], network[(network[0] & 0xF) * 4 :]
    if kind == _IPV6 and len(network) >= 40:
        return network[6], network[8:40], network[40:]
    return 0, b"", b""


def _with_checksum(content: bytes, place: int, before: bytes = b"") -> bytes:
    """Return a header with the checksum of IP in it (RFC 1071). Both parts have an even length."""
    total = sum(struct.unpack(f"!{(len(before) + len(content)) // 2}H", before + content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return content[:place] + struct.pack("!H", ~total & 0xFFFF or 0xFFFF) + content[place + 2 :]
