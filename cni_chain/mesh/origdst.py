"""Which service address a live connection asked for, though its packets or its socket name a pod.

The answer is in the load balancer's maps: for a socket whose address was replaced at connect() (A), by the socket's
cookie; for a connection whose packets are changed on the node's side of the pod's interface (B), by its addresses and
ports. Only what these maps say is certain. Nothing is changed.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
from collections.abc import Sequence
from typing import NamedTuple

from cni_chain.mesh import child, sockets
from cni_chain.mesh.maps import PINS, Maps
from cni_chain.mesh.probe import Target
from cni_chain.mesh.sockets import Endpoint, Socket
from cni_chain.node import system_calls
from cni_chain.node.errors import UnreadableError

_MAPPED = "::ffff:"  # an address of IPv4 in a socket of IPv6


class Kind(enum.StrEnum):
    """How much is known."""

    SERVICE = "service"  # the connection asked for this address: that is certain
    CANDIDATES = "candidates"  # it may have asked for one of these
    NONE = "none"  # it asked for the address that it has
    UNKNOWN = "unknown"


class Answer(NamedTuple):
    """The answer, and the sentence that gives its reason. `service` is there for Kind.SERVICE alone."""

    kind: Kind
    why: str
    service: Target | None = None
    candidates: Sequence[Target] = ()
    namespace: str = ""  # in which the socket was looked for; "": in none
    found: Socket | None = None


def ask(source: Endpoint, destination: Target, namespace: str = "", pins: str = PINS) -> Answer:
    """Return the service address behind a connection from `source` to `destination`, as a packet or the socket has it.

    `namespace` is the pod's, by its path; without it no socket is looked for. Raises UnreadableError if the namespace
    can't be entered.
    """
    mine = child.ask(lambda: _from(source, destination.protocol), namespace) if namespace else []
    held = [_socket(one) for one in mine]
    there = next((one for one in held if one.peer == destination[:2]), None)
    with Maps(6 if ":" in destination.address else 4, pins) as maps:
        try:
            answer = _answer(maps, source, destination, held, there)
        except UnreadableError as error:
            answer = Answer(Kind.UNKNOWN, str(error))
    if namespace and not held and answer.kind is not Kind.UNKNOWN:
        answer = answer._replace(why=f"{answer.why}; no socket with this source is open in {namespace}")
    return answer._replace(namespace=namespace, found=there or next(iter(held), None))


def _answer(maps: Maps, source: Endpoint, destination: Target, held: Sequence[Socket], there: Socket | None) -> Answer:
    services = {service.target for service in maps.services()}
    if destination in services:
        return Answer(Kind.SERVICE, f"{destination} is itself the address of a service", destination)
    if there:
        return _of_socket(maps, destination, there)
    peers = [Target(*one.peer, destination.protocol) for one in held]
    index = maps.tracked(source, destination)
    if index and any(index):
        asked = maps.indexed(index, destination.protocol)
        if asked is None:
            return _guessed(maps, destination, "the connection was to a service that is deleted by now")
        why = "Cilium's tables of connections have it with this service"
        return Answer(Kind.SERVICE, why if asked in peers or not held else f"{why}; it is not open any more", asked)
    asked_for = [peer for peer in peers if peer in services]
    if asked_for:
        why = "the socket with this source points to a service, and Cilium's tables don't say that this is its backend"
        return Answer(Kind.CANDIDATES, why, candidates=asked_for)
    why = "Cilium's tables have the connection, as one that is to no service"
    return _guessed(maps, destination, why if index else "Cilium's tables don't have the connection")


def _of_socket(maps: Maps, destination: Target, there: Socket) -> Answer:
    """Return what is known of a socket that points to the destination itself: only connect() can have changed that."""
    reason = ""
    if maps.keeps_in_sockets():
        try:
            asked = _kept_in(maps, destination, there.inode)
        except OSError as error:
            reason = f"; what Cilium keeps in the socket itself can't be read: {error.strerror}"
        else:
            if asked:
                return Answer(Kind.SERVICE, "the address was replaced at connect(), says the socket itself", asked)
    asked = maps.replaced_for(there.cookie, destination)
    if asked and destination.protocol == "tcp":
        return Answer(Kind.SERVICE, "the address was replaced at connect(), say the maps of Cilium's programs", asked)
    if asked:
        why = "the socket asked for it at some time; a socket of UDP can be connected anew, to the backend itself"
        return Answer(Kind.CANDIDATES, f"{why}{reason}", candidates=[asked])
    why = "the socket points there, and Cilium's maps don't say that another address was replaced"
    return _guessed(maps, destination, f"{why}{reason}")


def _guessed(maps: Maps, destination: Target, why: str) -> Answer:
    """Return the services that might be meant, as several may have one backend, and a map may have lost an entry."""
    candidates = maps.of_backend(destination)
    if candidates:
        return Answer(Kind.CANDIDATES, why, candidates=candidates)
    return Answer(Kind.NONE, f"{why}; {destination} is not a backend of a service")


def _kept_in(maps: Maps, destination: Target, inode: int) -> Target | None:
    """Return what the newest Cilium keeps in a socket, by a copy of its owner's descriptor. Raises OSError."""
    owner = _owner(inode)
    if owner is None:
        raise ProcessLookupError(0, "no process is found that holds it")
    process = os.pidfd_open(owner[0])
    try:
        copied = system_calls.pidfd_getfd(process, owner[1])
    finally:
        os.close(process)
    try:
        return maps.replaced_in(copied, destination)
    finally:
        os.close(copied)


def _owner(inode: int) -> tuple[int, int] | None:
    """Return a process that holds a socket, and its descriptor."""
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended
            for descriptor in os.listdir(f"/proc/{number}/fd"):
                with contextlib.suppress(OSError):  # it was closed
                    if os.readlink(f"/proc/{number}/fd/{descriptor}") == f"socket:[{inode}]":
                        return int(number), int(descriptor)
    return None


def _from(source: Endpoint, protocol: str) -> list[Socket]:
    """Return the sockets of this network namespace that have a source, and a peer."""
    number = socket.IPPROTO_TCP if protocol == "tcp" else socket.IPPROTO_UDP
    found = [one for family in (socket.AF_INET, socket.AF_INET6) for one in sockets.dump(family, number)]
    return [one for one in map(_plain, found) if one.local == source and one.peer[1]]


def _plain(found: Socket) -> Socket:
    local, peer = ((address.removeprefix(_MAPPED), port) for address, port in (found.local, found.peer))
    return found._replace(local=local, peer=peer)


def _socket(answer: Sequence[object]) -> Socket:
    """Return a socket that JSON made a list of."""
    state, local, peer, *others = answer
    return Socket(state, tuple(local), tuple(peer), *others)  # type: ignore[arg-type]  # as `Socket` was written
