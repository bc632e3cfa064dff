"""A load balancer at connect(), as Cilium and Calico have it: one service, one backend, in a dozen instructions."""

import ipaddress
import socket
import struct
from dataclasses import dataclass

# Registers
R0, R1, R2, R3, R4, R6, R10 = 0, 1, 2, 3, 4, 6, 10
_MAP_UPDATE, _GET_SOCKET_COOKIE, _GET_NETNS_COOKIE = 2, 46, 122  # enum bpf_func_id
_ADDRESS4, _ADDRESS6, _PORT = 4, 8, 24  # struct bpf_sock_addr: user_ip4, user_ip6, user_port
ALLOW, REFUSE = 1, 0


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One instruction (struct bpf_insn)."""
    return struct.pack("=BBhi", code, to | source << 4, offset, value)


END = instruction(0x95)


@dataclass(frozen=True)
class Service:
    """A service's address and its one backend. Both are of one family."""

    address: str
    port: int
    backend: str
    backend_port: int

    @property
    def backwards(self) -> "Service":
        """What a getpeername hook does: it puts the service's address where the backend's is."""
        return Service(self.backend, self.backend_port, self.address, self.port)


def words(address: str) -> list[tuple[int, int]]:
    """Where in the context an address is, and the words that it consists of there."""
    packed = ipaddress.ip_address(address).packed
    first = _ADDRESS6 if len(packed) == 16 else _ADDRESS4
    return [(first + at, struct.unpack_from("=i", packed, at)[0]) for at in range(0, len(packed), 4)]


def translator(service: Service, only_namespace: int | None = None) -> bytes:
    """A program that replaces the service's address by its backend's; if a namespace's cookie is given, only there."""
    body = _replacing(service, b"", R1)
    return _in(only_namespace, body) + instruction(0xB4, R0, value=ALLOW) + END


def _replacing(service: Service, before: bytes, context: int) -> bytes:
    """Instructions that replace the service's address, `before` it others, where it is asked for."""
    conditions = [*words(service.address), (_PORT, socket.htons(service.port))]
    changes = [*words(service.backend), (_PORT, socket.htons(service.backend_port))]
    change = before + b"".join(
        instruction(0xB4, R2, value=value)
        + instruction(0x63, context, R2, at)  # w2 = value; *(u32 *)(context + at) = w2
        for at, value in changes
    )
    body = b""
    for number, (at, value) in enumerate(conditions):
        beyond = 2 * (len(conditions) - number - 1) + len(change) // 8
        # w2 = *(u32 *)(context + at); w2 != value: to the end
        body += instruction(0x61, R2, context, at) + instruction(0x56, R2, 0, beyond, value)
    return body + change


def recorder(service: Service, reverse: int) -> bytes:
    """A translator that notes what it has replaced in a map, by its descriptor, as Cilium does.

    The map is that of the backend's family: of IPv4 for an address of IPv4 that a socket of IPv6 asks for.
    """
    was, became = (_plain(address) for address in (service.address, service.backend))
    # struct ipv4_revnat_tuple or ipv6_revnat_tuple behind the cookie, and the entry
    key = became + struct.pack("!H", service.backend_port)
    key += bytes(-len(key) % 8)
    value = was + struct.pack("!HH", service.port, 1)
    note = instruction(0xBF, R1, R6) + instruction(0x85, value=_GET_SOCKET_COOKIE)  # r0 = the socket's cookie
    at = -8 - len(key)
    note += instruction(0x7B, R10, R0, at)  # *(u64 *)(r10 + at) = r0
    note += _stored(key, at + 8) + _stored(value, at - len(value))
    note += instruction(0x18, R1, 1, value=reverse) + instruction(0)  # r1 = the map
    for register, offset in ((R2, at), (R3, at - len(value))):
        note += instruction(0xBF, register, R10) + instruction(0x07, register, value=offset)  # = r10 + offset
    note += instruction(0xB4, R4) + instruction(0x85, value=_MAP_UPDATE)
    return instruction(0xBF, R6, R1) + _replacing(service, note, R6) + instruction(0xB4, R0, value=ALLOW) + END


def _plain(address: str) -> bytes:
    """An address as packed, that of IPv4 also if it is mapped into IPv6."""
    known = ipaddress.ip_address(address)
    mapped = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return (mapped or known).packed


def _stored(content: bytes, at: int) -> bytes:
    """Instructions that put content on the stack, in words."""
    words_of = [(at + place, struct.unpack_from("=i", content, place)[0]) for place in range(0, len(content), 4)]
    return b"".join(instruction(0x62, R10, offset=place, value=word) for place, word in words_of)


def refuser(service: Service) -> bytes:
    """A program that refuses the service's address, as for a service that has no backend."""
    conditions = [*words(service.address), (_PORT, socket.htons(service.port))]
    body = instruction(0xB4, R0, value=ALLOW)
    for number, (at, value) in enumerate(conditions):
        body += instruction(0x61, R2, R1, at) + instruction(0x56, R2, 0, 2 * (len(conditions) - number - 1) + 1, value)
    return body + instruction(0xB4, R0, value=REFUSE) + END


def idler() -> bytes:
    """A program that looks at nothing."""
    return instruction(0xB4, R0, value=ALLOW) + END


def _in(namespace: int | None, body: bytes) -> bytes:
    """A body that is passed over in other network namespaces: bpf_get_netns_cookie(), as Cilium compares it."""
    if namespace is None:
        return body
    low, high = struct.unpack("=ii", struct.pack("=Q", namespace))
    return b"".join(
        (
            instruction(0xBF, R6, R1),  # r6 = r1
            instruction(0x85, value=_GET_NETNS_COOKIE),
            instruction(0x18, R2, value=low) + instruction(0, value=high),  # r2 = the cookie
            instruction(0x5D, R0, R2, len(body) // 8 + 1),  # r0 != r2: beyond the body
            instruction(0xBF, R1, R6),  # r1 = r6
            body,
        )
    )
