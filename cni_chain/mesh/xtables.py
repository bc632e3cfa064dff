"""The rules of iptables as the kernel holds them (the "legacy" kind), and what they make of a packet.

include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h and netfilter/x_tables.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import NamedTuple

from cni_chain.mesh import rules
from cni_chain.mesh.packet import TCP, Packet
from cni_chain.mesh.rules import Walked
from cni_chain.node import system_calls

_GET_INFO, _GET_ENTRIES = 64, 65  # IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES, and the same numbers for IPv6
_INFO_SIZE = 84  # struct ipt_getinfo: name[32], valid_hooks, hook_entry[5], underflow[5], num_entries, size
_LEVELS = {4: (socket.AF_INET, socket.IPPROTO_IP), 6: (socket.AF_INET6, socket.IPPROTO_IPV6)}
# Tables in the order in which their chains see a packet.
_TABLES = ("raw", "mangle", "nat")

_ACCEPT, _DROP, _RETURN = -2, -1, -5  # verdicts of a standard target; others are the places to which it jumps
_GOTO = 0x02  # IPT_F_GOTO, in the entry's flags; IP6T_F_GOTO is 0x04


class _Layout(NamedTuple):
    """Where an entry has what, for one family."""

    address: int  # the size of an address
    interfaces: int  # iniface, outiface and their masks
    protocol: int
    flags: int
    inverted: int
    offsets: int  # target_offset, next_offset
    packets: int  # the first half of struct xt_counters
    matches: int
    goto: int


_LAYOUTS = {
    4: _Layout(4, 16, 80, 82, 83, 88, 96, 112, 0x02),
    6: _Layout(16, 64, 128, 131, 132, 140, 152, 168, 0x04),
}


class Table(NamedTuple):
    """One table: its entries as the kernel holds them, and where each hook begins."""

    family: int
    name: str
    starts: tuple[int, ...]
    entries: bytes


def read(family: int) -> list[Table]:
    """Return the tables of this thread's network namespace, in the order in which they see a packet.

    A table that was never used isn't made by the question; it is left out. Raises OSError.
    """
    kind, level = _LEVELS[family]
    try:
        with open(f"/proc/net/ip{'' if family == 4 else '6'}_tables_names", encoding="ascii") as names:
            used = names.read().split()
    except FileNotFoundError:
        return []
    with socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW) as asked:
        return [_table(asked.fileno(), level, family, name) for name in _TABLES if name in used]


def _table(opened: int, level: int, family: int, name: str) -> Table:
    while True:
        info = bytearray(name.encode().ljust(_INFO_SIZE, b"\0"))
        system_calls.getsockopt(opened, level, _GET_INFO, info)
        numbers = struct.unpack_from("=13I", info, 32)
        starts, size = numbers[1:6], numbers[12]
        # struct ipt_get_entries: name[32], size, and the entries from 40
        held = bytearray(name.encode().ljust(32, b"\0") + struct.pack("=II", size, 0) + bytes(size))
        try:
            system_calls.getsockopt(opened, level, _GET_ENTRIES, held)
        except OSError as error:
            if error.errno == errno.EAGAIN:  # somebody changed it meanwhile
                continue
            raise
        return Table(family, name, starts, bytes(held[40:]))


def walk(table: Table, packet: Packet) -> Walked:
    """Return what a table makes of a packet.

    Raises UnclearError, DroppedError and UntrackedError of `rules`.
    """
    layout = _LAYOUTS[table.family]
    at = table.starts[packet.hook]
    back: list[int] = []
    while True:
        target, beyond = (at + size for size in struct.unpack_from("=HH", table.entries, at + layout.offsets))
        if not _matches(table.entries, at, target, layout, packet):
            at = beyond
            continue
        name, revision, info = _part(table.entries, target)
        if name == "REDIRECT":
            count = struct.unpack_from("=Q", table.entries, at + layout.packets)[0]
            place = f"{table.family} {table.name} {at}"
            return Walked(rules.redirected_to(table.family, info), packet, place, count)
        if name == "":
            verdict = struct.unpack_from("=i", info)[0]
            if verdict == _DROP:
                raise rules.DroppedError
            if verdict == _ACCEPT or (verdict == _RETURN and not back):  # the end of a built-in chain has its policy
                return Walked(rules.PASSED, packet)
            if verdict == _RETURN:
                at = back.pop()
            else:
                if not table.entries[at + layout.flags] & layout.goto and verdict != beyond:
                    back.append(beyond)
                at = verdict
            continue
        packet = rules.after_target(name, revision, info, packet)
        at = beyond


def _matches(entries: bytes, at: int, target: int, layout: _Layout, packet: Packet) -> bool:
    inverted = entries[at + layout.inverted]
    size = layout.address
    source, destination, source_mask, destination_mask = (
        entries[at + number * size : at + (number + 1) * size] for number in range(4)
    )
    ports = struct.unpack_from("=H", entries, at + layout.protocol)[0]
    conditions = (
        # IPT_INV_SRCIP 0x08, IPT_INV_DSTIP 0x10, IPT_INV_VIA_IN 0x01, IPT_INV_VIA_OUT 0x02, XT_INV_PROTO 0x40
        (_masked(packet.source, source_mask) == source) != bool(inverted & 0x08),
        (_masked(packet.destination, destination_mask) == destination) != bool(inverted & 0x10),
        _interface(entries, at + layout.interfaces, packet.interface_in) != bool(inverted & 0x01),
        _interface(entries, at + layout.interfaces + 16, packet.interface_out) != bool(inverted & 0x02),
        ports == 0 or (ports == TCP) != bool(inverted & 0x40),
    )
    if not all(conditions):
        return False
    place = at + layout.matches
    while place < target:
        name, revision, info = _part(entries, place)
        if not rules.matches(name, revision, info, packet):
            return False
        place += struct.unpack_from("=H", entries, place)[0]
    return True


def _part(entries: bytes, at: int) -> tuple[str, int, bytes]:
    """Return the name, the revision and the content of a match or target (struct xt_entry_match)."""
    size, name, revision = struct.unpack_from("=H29sB", entries, at)
    return name.split(b"\0", 1)[0].decode(), revision, entries[at + 32 : at + size]


def _masked(address: bytes, mask: bytes) -> bytes:
    return bytes(one & other for one, other in zip(address, mask, strict=True))


def _interface(entries: bytes, at: int, name: str) -> bool:
    """Whether an interface's name is the one that an entry wants, under its mask of 16 bytes."""
    wanted, mask = entries[at : at + 16], entries[at + 32 : at + 48]
    return _masked(name.encode().ljust(16, b"\0"), mask) == wanted
