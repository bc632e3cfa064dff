"""Looks into a pod's namespace: its rules, and who listens where they lead. From a child process; sends no packet.

What the rules make of a made-up packet is computed as the kernel would (`xtables`, `nftables`).
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cni_chain.agents.agent import Proxy
from cni_chain.mesh import child, nftables, packet, rules, sockets, xtables
from cni_chain.mesh.capture import TUNNEL, Fate, Listener, Seen
from cni_chain.mesh.packet import Packet
from cni_chain.mesh.processes import Processes, credentials
from cni_chain.mesh.rules import Walked
from cni_chain.mesh.sockets import Socket

_LISTENS = 10  # TCP_LISTEN, include/net/tcp_states.h
_ANY = {4: ("0.0.0.0", "::"), 6: ("::",)}  # noqa: S104  # seen, not listened on
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_HERE = "/proc/thread-self/ns/net"
_NS_GET_USERNS = 0xB701  # include/uapi/linux/nsfs.h


class Inside(NamedTuple):
    """Where to look, and for what: the pod's interface, an address of each family, and the proxies that it may have."""

    namespace: str
    interface: str
    addresses: Mapping[int, str]
    proxies: Sequence[Proxy]


def look(pod: Inside, processes: Processes) -> Seen:
    """Return what is found in a pod's namespace. Raises UnreadableError."""
    answer = child.ask(lambda: _look(pod, processes), pod.namespace)
    fates = tuple(
        Fate(family, direction, port, rule, count, tuple(Listener(*one) for one in listeners), unclear)
        for family, direction, port, rule, count, listeners, unclear in answer["fates"]
    )
    proxy = None if answer["proxy"] is None else pod.proxies[answer["proxy"]]
    return Seen(fates, frozenset(answer["listening"]), answer["made"], proxy)


def _look(pod: Inside, processes: Processes) -> dict[str, Any]:
    here, owner = os.stat(_HERE), _owner()
    chains = nftables.read()
    ruled = {family: _Rules(family, pod.interface, address, chains) for family, address in pod.addresses.items()}
    listening = [
        found
        for family in (socket.AF_INET, socket.AF_INET6)
        for found in sockets.dump(family, socket.IPPROTO_TCP, 1 << _LISTENS)
    ]
    number = _meant(pod.proxies, [*ruled.values()])
    tunnels = () if number is None or pod.proxies[number].in_pod else pod.proxies[number].ports[2:]
    fates = []
    for family, of_family in ruled.items():
        for fate in (of_family.fate("out"), of_family.fate("in"), *map(of_family.tunnel, tunnels)):
            # REDIRECT leads what leaves to loopback, and what arrives to the address of the interface.
            own = _LOOPBACK[family] if fate.direction == "out" else pod.addresses[family]
            places = {*_ANY[family], own, f"::ffff:{own}"}
            heard = [found for found in listening if fate.port and _hears(found, fate.port, family, places)]
            listeners = tuple(_listener(found, of_family, processes, here.st_ino, owner) for found in heard)
            fates.append(fate._replace(listeners=listeners))
    return {
        "fates": fates,
        "listening": sorted({found.local[1] for found in listening}),
        "made": here.st_ctime,
        "proxy": number,
    }


class _Rules:
    """The rules of one family, as they are for the packets of one pod."""

    def __init__(self, family: int, interface: str, address: str, chains: list[nftables.Chain]) -> None:
        self.family = family
        self.leaving = packet.leaving(family, interface, address)
        self.arriving = packet.arriving(family, interface, address)
        self.tables = xtables.read(family)
        self.chains = chains

    def fate(self, direction: str) -> Fate:
        """Return what becomes of an application's connection; who hears it is left open."""
        try:
            walked = self.walk(self.leaving if direction == "out" else self.arriving)
        except rules.UnclearError as error:
            return Fate(self.family, direction, unclear=str(error))
        except (rules.DroppedError, rules.UntrackedError):
            return Fate(self.family, direction)
        return Fate(self.family, direction, walked.port, walked.rule, walked.redirected)

    def tunnel(self, port: int) -> Fate:
        """Return what becomes of a connection from the proxy of another pod."""
        try:
            walked = self.walk(self.arriving._replace(destination_port=port))
        except rules.UntrackedError:
            return Fate(self.family, TUNNEL, port)
        except rules.UnclearError as error:
            return Fate(self.family, TUNNEL, unclear=str(error))
        except rules.DroppedError:
            return Fate(self.family, TUNNEL, unclear=f"it drops what arrives at port {port}")
        return Fate(self.family, TUNNEL, walked.port or port, walked.rule, walked.redirected)

    def spares(self, made_up: Packet) -> bool:
        """Return whether a packet of a connection that leaves the pod passes."""
        try:
            return self.walk(made_up).port == rules.PASSED
        except (rules.UnclearError, rules.DroppedError, rules.UntrackedError):
            return False

    def walk(self, made_up: Packet) -> Walked:
        """Return what both kinds of rules make of a packet; each has its own hooks, and the first that redirects wins.

        Raises UnclearError, DroppedError and UntrackedError of `rules`.
        """
        for table in self.tables:
            walked = xtables.walk(table, made_up)
            if walked.port:
                return walked
            made_up = walked.packet
        return nftables.walk(self.chains, made_up)


def _hears(found: Socket, port: int, family: int, places: set[str]) -> bool:
    """Return whether a socket takes a connection of a family to one of these addresses, at a port."""
    address = found.local[0]
    if found.local[1] != port or address not in places:
        return False
    return family == 6 or ":" not in address or not found.only6


def _owner() -> int:
    """Return the inode of the user namespace that owns this thread's network namespace. Raises OSError."""
    here = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = fcntl.ioctl(here, _NS_GET_USERNS)
    finally:
        os.close(here)
    try:
        return os.fstat(owner).st_ino
    finally:
        os.close(owner)


def _listener(found: Socket, of_family: _Rules, processes: Processes, namespace: int, owner: int) -> Listener:
    holder = processes.holder(found.inode)
    if holder is None:
        return Listener(0, "", in_pod=False, spared=False)
    known = credentials(holder.pid, owner)
    spared = known is not None and of_family.spares(of_family.leaving._replace(user=known[0], group=known[1]))
    return Listener(holder.pid, holder.name, holder.namespace == namespace, spared)


def _meant(proxies: Sequence[Proxy], ruled: Sequence[_Rules]) -> int | None:
    """Return which of the proxies the rules are for: that whose mark lets a connection pass, else one in the pod."""
    laid = [one for one in ruled if not one.spares(one.leaving)]
    for number, proxy in enumerate(proxies):
        if laid and proxy.in_pod != all(one.spares(one.leaving._replace(mark=proxy.mark)) for one in laid):
            return number
    return None
