"""Does a connection keep the service address that it asked for? Tried as a pod would, without sending a packet.

A child process joins the pod's cgroup, so that the programs of that cgroup apply to it, and enters a network
namespace: the pod's, the node's, or an empty one that it makes, whose only route leads to loopback. There it connects
a socket to the address and asks the kernel where the socket points (`sockets.peer_of`). TCP_REPAIR makes a TCP
connection without a packet; connecting a UDP socket sends none either.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import ipaddress
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cni_chain.mesh import child, sockets
from cni_chain.mesh.sockets import Endpoint
from cni_chain.node.errors import UnreadableError

_TCP_REPAIR = 19  # include/uapi/linux/tcp.h
_SIOCSIFFLAGS = 0x8914
_IFF_UP_LOOPBACK_RUNNING = 0x1 | 0x8 | 0x40
_RTM_NEWROUTE = 24
_REQUEST_ACK_CREATE = 0x1 | 0x4 | 0x400 | 0x200  # NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
_LOOPBACK_INDEX = 1

_PROTOCOLS = ("tcp", "udp")

_CGROUP = "cni-chain-probe-"  # and the process
_LEFT = 60.0  # seconds after which one is nobody's: a check takes less than one

# Of the processes that are not in a pod. From a container with the node's processes, process 1 is the node's.
NODE = "/proc/1/ns/net"
EMPTY = ""


class Target(NamedTuple):
    """A service address to try. `protocol` is "tcp" or "udp"."""

    address: str
    port: int
    protocol: str

    def __str__(self) -> str:
        """Return the address as `--vip` takes it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}/{self.protocol}"

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target of IP:PORT, IP:PORT/tcp or IP:PORT/udp. Raises ValueError with that in its words."""
        place, slash, protocol = text.partition("/")
        host, _, port = place.rpartition(":")
        try:
            given = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            # The kernel itself takes loopback for 0.0.0.0 and ::, whatever programs do.
            address = "" if given.is_unspecified else str(given)
        except ValueError:
            address = ""
        if not address or not port.isdecimal() or not 0 < int(port) < 1 << 16 or (slash and protocol not in _PROTOCOLS):
            raise ValueError(f"{text}: must be IP:PORT, IP:PORT/tcp or IP:PORT/udp")
        return cls(address, int(port), protocol or "tcp")


class Outcome(enum.StrEnum):
    """What became of the address that was asked for."""

    PRESERVED = "preserved"
    TRANSLATED = "translated"  # the socket points elsewhere
    REJECTED = "rejected"  # connect() failed, though every address has a route
    UNREACHABLE = "unreachable"  # connect() failed, and the namespace may lack a route
    UNTRIED = "untried"


class Trial(NamedTuple):
    """One connection that was tried: where the kernel's socket pointed, and what connect() or the try failed with."""

    target: Target
    outcome: Outcome
    peer: Endpoint | None = None
    reason: str = ""


def run(targets: Sequence[Target], namespace: str = EMPTY, cgroup: str | None = None) -> list[Trial]:
    """Return what became of each target, tried from a namespace and below a cgroup (None: this process's own).

    Raises UnreadableError if the child can't get there.
    """
    if not targets:
        return []
    with contextlib.nullcontext() if cgroup is None else _below(cgroup) as place:
        answers = child.ask(lambda: _try_all(targets, is_empty=not namespace), namespace, place)
    return [
        Trial(target, Outcome(outcome), tuple(peer) if peer else None, reason)
        for target, (outcome, peer, reason) in zip(targets, answers, strict=True)
    ]


@contextlib.contextmanager
def _below(cgroup: str) -> Iterator[str]:
    """Yield a new cgroup below one, for the child: programs apply to it as to its parent, and it may hold processes."""
    _remove_left(cgroup)
    path = os.path.join(cgroup, f"{_CGROUP}{os.getpid()}")
    try:
        os.mkdir(path)
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _remove_left(cgroup: str) -> None:
    """Remove what calls that were killed have left. One with a process in it stays: the kernel refuses."""
    with contextlib.suppress(OSError), os.scandir(cgroup) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.startswith(_CGROUP) and entry.stat().st_mtime < time.time() - _LEFT:
                    os.rmdir(entry.path)


def _try_all(targets: Sequence[Target], *, is_empty: bool) -> list[tuple[str, Endpoint | None, str]]:
    if is_empty:
        _route_to_loopback()
    return [_try(target, routed=is_empty) for target in targets]


def _route_to_loopback() -> None:
    """In a new network namespace: loopback is up, and every address has a route to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", _IFF_UP_LOOPBACK_RUNNING)  # struct ifreq
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as routes:
        for family in (socket.AF_INET, socket.AF_INET6):
            # struct rtmsg: family, dst_len, src_len, tos, table (main), protocol (static), scope, type (unicast),
            # flags; then RTA_OIF
            scope = 253 if family == socket.AF_INET else 0
            body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 254, 4, scope, 1, 0)
            body += struct.pack("=HHI", 8, 4, _LOOPBACK_INDEX)
            if family == socket.AF_INET:  # RTA_PREFSRC
                body += struct.pack("=HH4s", 8, 7, socket.inet_aton("127.0.0.1"))
            routes.send(struct.pack("=IHHII", 16 + len(body), _RTM_NEWROUTE, _REQUEST_ACK_CREATE, 1, 0) + body)
            number = -struct.unpack_from("=i", routes.recv(4096), 16)[0]
            if number and family == socket.AF_INET:  # a kernel without IPv6 tries no IPv6 address
                raise OSError(number, os.strerror(number))


def _try(target: Target, *, routed: bool) -> tuple[str, Endpoint | None, str]:
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    kind = socket.SOCK_STREAM if target.protocol == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(family, kind) as tried:
            if kind == socket.SOCK_STREAM:
                try:
                    tried.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
                except OSError as error:  # without it a connection would send packets
                    return Outcome.UNTRIED, None, f"TCP_REPAIR: {error.strerror}"
            try:
                tried.connect((target.address, target.port))
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, str(error.errno))
                return Outcome.REJECTED if routed else Outcome.UNREACHABLE, None, name
            peer = sockets.peer_of(tried)
    except OSError as error:
        return Outcome.UNTRIED, None, str(error.strerror)
    if peer is None:
        return Outcome.UNTRIED, None, "the kernel doesn't list the socket"
    same = _plain(peer) == (target.address, target.port)
    return Outcome.PRESERVED if same else Outcome.TRANSLATED, peer, ""


def _plain(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint whose address is written as `Target.parse` writes it."""
    return str(ipaddress.ip_address(endpoint[0])), endpoint[1]
