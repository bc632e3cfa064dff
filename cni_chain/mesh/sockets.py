"""The kernel's own record of a socket, by sock_diag(7).

getpeername() can't be asked: a program on its hook answers with the address that the caller had wanted.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

# include/uapi/linux/{netlink,sock_diag,inet_diag}.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x1 | 0x300  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3  # nlmsg_type
_HEADER = "=IHHII"  # struct nlmsghdr: length, type, flags, sequence, port
_REQUEST = "=BBBBI"  # struct inet_diag_req_v2: family, protocol, ext, pad, states; then struct inet_diag_sockid
_ANY_STATE = 0xFFF
_ANY_COOKIE = struct.pack("=II", 0xFFFFFFFF, 0xFFFFFFFF)

# include/uapi/asm-generic/socket.h
SO_COOKIE = 57
SO_NETNS_COOKIE = 71

Endpoint = tuple[str, int]


class Socket(NamedTuple):
    """A socket of TCP or UDP as the kernel has it. `state` is that of include/net/tcp_states.h, 10 listens.

    `only6`: it listens for IPv6 alone, and not for IPv4 as well.
    """

    state: int
    local: Endpoint
    peer: Endpoint
    cookie: int
    user: int
    inode: int
    only6: bool = False


def dump(family: int, protocol: int, states: int = _ANY_STATE) -> Iterator[Socket]:
    """Yield the sockets of this thread's network namespace, of IPPROTO_TCP or IPPROTO_UDP. Raises OSError."""
    request = struct.pack(_REQUEST, family, protocol, 0, 0, states) + bytes(40) + _ANY_COOKIE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as asked:
        head = struct.pack(_HEADER, struct.calcsize(_HEADER) + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
        asked.send(head + request)
        while True:
            answer = memoryview(asked.recv(1 << 18))
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                body = answer[struct.calcsize(_HEADER) : length]
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    raise OSError(number, "the kernel doesn't list sockets")
                yield _socket(body)
                answer = answer[(length + 3) & ~3 :]


def _socket(body: memoryview) -> Socket:
    # struct inet_diag_msg: family, state, timer, retrans; inet_diag_sockid at 4 (sport, dport, src, dst, if, cookie);
    # expires, rqueue, wqueue, uid, inode from 52
    family, state = body[0], body[1]
    ports = struct.unpack_from("!HH", body, 4)
    size = 4 if family == socket.AF_INET else 16
    local, peer = (socket.inet_ntop(family, bytes(body[at : at + size])) for at in (8, 24))
    cookie = struct.unpack_from("=Q", body, 44)[0]
    user, inode = struct.unpack_from("=II", body, 64)
    return Socket(state, (local, ports[0]), (peer, ports[1]), cookie, user, inode, _only6(body[72:]))


def _only6(attributes: memoryview) -> bool:
    """Whether the attributes (struct nlattr: length, type) have INET_DIAG_SKV6ONLY, and it is set."""
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == 11:  # INET_DIAG_SKV6ONLY
            return bool(attributes[4])
        attributes = attributes[(length + 3) & ~3 :]
    return False


def peer_of(opened: socket.socket) -> Endpoint | None:
    """Return the peer that the kernel has recorded for a socket of this process. Raises OSError."""
    cookie = struct.unpack("=Q", opened.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
    protocol = socket.IPPROTO_TCP if opened.type == socket.SOCK_STREAM else socket.IPPROTO_UDP
    return next((found.peer for found in dump(opened.family, protocol) if found.cookie == cookie), None)
