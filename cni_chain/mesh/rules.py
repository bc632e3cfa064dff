"""What becomes of a packet by rules: the results that readers of rules share, and the matches that both kinds have.

The structures are those of include/uapi/linux/netfilter/xt_*.h; iptables over nftables uses the same.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from cni_chain.mesh.packet import Packet

PASSED = 0  # no rule redirects it; any other result is the port to which one does


class Walked(NamedTuple):
    """What rules made of a packet: the port to which one redirects it, or PASSED; and the packet as it goes on.

    `rule` is that rule's place. `redirected` is how many packets it has redirected until now, None if it doesn't count.
    Only the first packet of each connection passes such rules, so these are connections.
    """

    port: int
    packet: Packet
    rule: str = ""
    redirected: int | None = None


class UnclearError(Exception):
    """A rule that decides what becomes of the packet is of a kind that is not understood; the message names it."""


class DroppedError(Exception):
    """A rule drops the packet."""


class UntrackedError(Exception):
    """A rule takes the packet out of connection tracking: no rule can redirect it then."""


def matches(name: str, revision: int, info: bytes, packet: Packet) -> bool:
    """Return whether a match of xtables holds for a packet. Raises UnclearError."""
    if name == "comment":
        return True
    if name == "tcp":  # struct xt_tcp: spts, dpts, option, flg_mask, flg_cmp, invflags
        first, last, first_to, last_to, option, mask, wanted, inverted = struct.unpack_from("=HHHHBBBB", info)
        return bool(
            option == 0
            and (first <= packet.source_port <= last) != bool(inverted & 0x01)
            and (first_to <= packet.destination_port <= last_to) != bool(inverted & 0x02)
            and (0x02 & mask == wanted) != bool(inverted & 0x04)
        )
    if name == "udp":
        return False
    if name in ("mark", "connmark") and revision == 1:  # struct xt_mark_mtinfo1: mark, mask, invert
        mark, mask, inverted = struct.unpack_from("=IIB", info)
        held = packet.mark if name == "mark" else 0
        return bool((held & mask == mark) != bool(inverted))
    if name == "owner":
        return _owner_matches(info, packet)
    if name == "multiport" and revision == 1:
        return _one_of_ports(info, packet)
    if name == "conntrack" and revision in (2, 3):
        # struct xt_conntrack_mtinfo3: match_flags, invert_flags, state_mask from 146
        asked, inverted, states = struct.unpack_from("=HHH", info, 146)
        if asked == 0x1:  # XT_CONNTRACK_STATE
            return bool(states & _NEW) != bool(inverted & 0x1)
    if name == "state" and revision == 0:  # struct xt_state_info: statemask
        return bool(struct.unpack_from("=I", info)[0] & _NEW)
    raise UnclearError(f"match {name}, revision {revision}")


_NEW = 1 << 3  # XT_STATE_BIT(IP_CT_NEW)


def _owner_matches(info: bytes, packet: Packet) -> bool:
    """Whether the packet is of the users and groups that a rule wants."""
    # struct xt_owner_match_info: uid_min, uid_max, gid_min, gid_max, match, invert
    first, last, first_group, last_group, match, inverted = struct.unpack_from("=IIIIBB", info)
    if match & ~0x7:
        raise UnclearError("match owner, supplementary groups")
    held = (
        (0x1, first <= packet.user <= last),  # XT_OWNER_UID
        (0x2, first_group <= packet.group <= last_group),  # XT_OWNER_GID
        (0x4, True),  # XT_OWNER_SOCKET
    )
    return all(holds != bool(inverted & bit) for bit, holds in held if match & bit)


def _one_of_ports(info: bytes, packet: Packet) -> bool:
    # struct xt_multiport_v1: flags, count, ports[15], pflags[15] (1: the first of two that are a range), invert
    kind, count, *numbers = struct.unpack_from("=BB15H15BB", info)
    ports, ranges, inverted = numbers[:15][:count], numbers[15:30], numbers[30]
    held = {0: (packet.source_port,), 1: (packet.destination_port,)}.get(
        kind, (packet.source_port, packet.destination_port)
    )
    at, found = 0, False
    while at < len(ports):
        last = at + 1 if ranges[at] else at
        found = found or any(ports[at] <= port <= ports[last] for port in held)
        at = last + 1
    return found != bool(inverted)


def redirected_to(family: int, info: bytes) -> int:
    """Return the port of a target REDIRECT."""
    # struct nf_nat_ipv4_multi_range_compat: rangesize, flags, min_ip, max_ip, min, max; IPv6: struct nf_nat_range
    return int(struct.unpack_from("!H", info, 16 if family == 4 else 36)[0])


def after_target(name: str, revision: int, info: bytes, packet: Packet) -> Packet:
    """Return the packet after a target of xtables that lets it go on. Raises UnclearError and UntrackedError."""
    if name == "CT":  # struct xt_ct_target_info: flags
        if struct.unpack_from("=H", info)[0] & 0x1:  # XT_CT_NOTRACK
            raise UntrackedError
        return packet
    if name == "NOTRACK":
        raise UntrackedError
    if name == "MARK" and revision == 2:  # struct xt_mark_tginfo2: mark, mask
        mark, mask = struct.unpack_from("=II", info)
        return packet._replace(mark=packet.mark & ~mask & 0xFFFFFFFF ^ mark)
    if name == "CONNMARK":  # to restore the mark of a new connection is to leave it
        return packet
    if name in ("LOG", "NFLOG", "TRACE"):
        return packet
    raise UnclearError(f"target {name}, revision {revision}")
