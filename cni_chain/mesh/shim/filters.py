"""The filters on what leaves `lo` of a network namespace, by rtnetlink(7): include/uapi/linux/rtnetlink.h, pkt_sched.h
and pkt_cls.h.

Each function takes a socket of rtnetlink in that namespace (`cni_chain.node.kernel.netlink_socket`). Each raises
OSError.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_NEW_QDISC, _DELETE_QDISC = 36, 37
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46
_REQUEST_ACK = 0x1 | 0x4  # NLM_F_REQUEST | NLM_F_ACK
_NEW = 0x400 | 0x200  # NLM_F_CREATE | NLM_F_EXCL
_DUMP = 0x1 | 0x300  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3

_LOOPBACK = 1  # its index in every network namespace
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3

_KIND, _OPTIONS = 1, 2  # TCA_*
_FD, _NAME, _FLAGS, _ID = 6, 7, 8, 11  # TCA_BPF_*
_DIRECT_ACTION = 1  # TCA_BPF_FLAG_ACT_DIRECT: the program's answer is the verdict

# By family: the protocol of link layers, and the priority, of which each protocol needs its own. Lower ones come first.
_PROTOCOLS = {4: 0x0800, 6: 0x86DD}
_PRIORITIES = {4: 15001, 6: 15002}
_HANDLE = 1

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_MESSAGE = struct.Struct("=BxxxiIII")  # struct tcmsg: family, ifindex, handle, parent, info
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type


class Filter(NamedTuple):
    """A filter on `lo`. `name` and `program`, an ID, are of BPF's only."""

    handle: int
    info: int  # priority and protocol
    name: str
    program: int

    @property
    def family(self) -> int:
        """The family of the packets that it sees, 0 for others."""
        return next((family for family, one in _PROTOCOLS.items() if socket.htons(one) == self.info & 0xFFFF), 0)


def add_qdisc(asked: socket.socket) -> bool:
    """Give `lo` what filters are attached to (clsact); return whether it was missing."""
    try:
        _request(asked, _NEW_QDISC, _NEW, handle=_CLSACT_HANDLE, parent=_CLSACT, attributes=_kind("clsact"))
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise OSError(errno.EOPNOTSUPP, "this kernel has no clsact (CONFIG_NET_SCH_INGRESS)") from None
    return True


def remove_qdisc(asked: socket.socket) -> None:
    """Take clsact from `lo`, with all filters."""
    _request(asked, _DELETE_QDISC, 0, handle=_CLSACT_HANDLE, parent=_CLSACT, attributes=_kind("clsact"))


def add(asked: socket.socket, family: int, program: int, name: str) -> None:
    """Have a program, by its descriptor, see each packet of a family (4 or 6) that leaves on `lo`."""
    options = _attribute(_FD, struct.pack("=I", program)) + _attribute(_NAME, name.encode() + b"\0")
    options += _attribute(_FLAGS, struct.pack("=I", _DIRECT_ACTION))
    info = _PRIORITIES[family] << 16 | socket.htons(_PROTOCOLS[family])
    attributes = _kind("bpf") + _attribute(_OPTIONS, options)
    try:
        _request(asked, _NEW_FILTER, _NEW, handle=_HANDLE, parent=EGRESS, info=info, attributes=attributes)
    except FileNotFoundError:
        raise OSError(errno.EOPNOTSUPP, "this kernel has no BPF filters (CONFIG_NET_CLS_BPF)") from None
    except FileExistsError:
        priority = _PRIORITIES[family]
        raise OSError(errno.EEXIST, f"somebody else's filter has the priority {priority} on lo already") from None


def remove(asked: socket.socket, one: Filter) -> None:
    """Take a filter from what leaves `lo`."""
    _request(asked, _DELETE_FILTER, 0, handle=one.handle, parent=EGRESS, info=one.info, attributes=_kind("bpf"))


def listed(asked: socket.socket, parent: int = EGRESS) -> list[Filter]:
    """Return the filters on what leaves `lo`, or arrives there (INGRESS)."""
    body = _MESSAGE.pack(0, _LOOPBACK, 0, parent, 0)
    asked.send(_HEADER.pack(_HEADER.size + len(body), _GET_FILTER, _DUMP, 1, 0) + body)
    found: list[Filter] = []
    while True:
        for kind, content in _messages(asked):
            if kind == _DONE:
                return found
            _, _, handle, _, info = _MESSAGE.unpack_from(content)
            attributes = dict(_attributes(content[_MESSAGE.size :]))
            if handle:  # the kernel lists each priority as well
                options = dict(_attributes(attributes.get(_OPTIONS, b"")))
                name = options.get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
                found.append(Filter(handle, info, name, int.from_bytes(options.get(_ID, b""), "little")))


def _request(
    asked: socket.socket, kind: int, flags: int, *, handle: int, parent: int, attributes: bytes, info: int = 0
) -> None:
    body = _MESSAGE.pack(0, _LOOPBACK, handle, parent, info) + attributes
    asked.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_ACK | flags, 1, 0) + body)
    for _ in _messages(asked):
        pass


def _messages(asked: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield the messages of one answer, each with its type. Raises the OSError that it reports."""
    answer = asked.recv(1 << 18)
    while answer:
        length, kind, _, _, _ = _HEADER.unpack_from(answer)
        content = answer[_HEADER.size : length]
        if kind == _ERROR:
            number = -struct.unpack_from("=i", content)[0]
            if number:
                raise OSError(number, os.strerror(number))
        yield kind, content
        answer = answer[(length + 3) & ~3 :]


def _kind(name: str) -> bytes:
    return _attribute(_KIND, name.encode() + b"\0")


def _attribute(kind: int, content: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(length, kind) + content + bytes(-length % 4)


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    while len(content) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(content)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, content[_ATTRIBUTE.size : length]
        content = content[(length + 3) & ~3 :]
