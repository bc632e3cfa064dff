"""What the programs on the node's side of a pod's interface make of a connection to a service: path (B).

Each program is asked by BPF_PROG_TEST_RUN, which runs it on a frame that is made up here. No frame is sent, but the
program does what it does for any frame: it may note the connection that never was.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

from cni_chain.mesh import bpf, child, frame, interface
from cni_chain.mesh.interface import Ends, Met
from cni_chain.mesh.probe import NODE, Target
from cni_chain.mesh.sockets import Endpoint
from cni_chain.node.errors import UnreadableError

# Verdicts that end the way through the programs (include/uapi/linux/pkt_cls.h, enum tcx_action_base); whatever else
# a program returns, the next one is run.
_PASS, _DROP, _STOLEN, _REDIRECT, _TRAP = 0, 2, 4, 7, 8
_LAST = (_PASS, _DROP, _STOLEN, _REDIRECT, _TRAP)


class Result(enum.StrEnum):
    """What became of the frame."""

    REPLACED = "replaced"
    ALONE = "left alone"
    REFUSED = "refused"  # the answer is a message of ICMP
    DROPPED = "dropped"
    UNTRIED = "untried"


class Crossing(NamedTuple):
    """One address: what became of a frame to it, by which program, or why that isn't known."""

    target: Target
    result: Result
    became: Endpoint | None = None
    by: str = ""
    reason: str = ""


class Datapath(NamedTuple):
    """What was found at one pod's interface. `missing`: why nothing could be looked at."""

    namespace: str
    ends: Ends | None = None
    met: Sequence[Met] = ()
    crossings: Sequence[Crossing] = ()
    missing: str = ""


def look(namespace: str, targets: Sequence[Target]) -> Datapath:
    """Return the programs at a pod's interface, and what they make of a connection to each target."""
    try:
        ends = interface.of_pod(namespace)
        answer = child.ask(lambda: _cross_all(ends, targets), NODE)
    except UnreadableError as error:
        return Datapath(namespace, missing=str(error))
    crossings = [
        Crossing(target, Result(result), tuple(became) if became else None, by, reason)
        for target, (result, became, by, reason) in zip(targets, answer["crossings"], strict=True)
    ]
    return Datapath(namespace, ends, [Met(*one) for one in answer["met"]], crossings)


def _cross_all(ends: Ends, targets: Sequence[Target]) -> dict[str, Any]:
    met = interface.met(ends)
    on_the_way = [one for one in met if one.hook in interface.FROM_POD]
    return {"met": met, "crossings": [_cross(ends, on_the_way, target)[1:] for target in targets]}


def _cross(ends: Ends, on_the_way: Sequence[Met], target: Target) -> Crossing:
    if ends.kind == "netkit":
        return Crossing(target, Result.UNTRIED, reason="programs of a netkit pair are listed, and not run")
    is_ipv6 = ":" in target.address
    source = next((address for address in ends.addresses if (":" in address) == is_ipv6), None)
    if source is None:
        return Crossing(target, Result.UNTRIED, reason=f"the pod has no address of IPv{6 if is_ipv6 else 4}")
    sent = frame.first(target, source, _bytes(ends.mac), _bytes(ends.outside_mac))
    now, by, verdict = sent, "", _PASS
    for one in on_the_way:
        if not one.id:
            return Crossing(target, Result.UNTRIED, by=one.name, reason=f"{one.name} comes first, and can't be asked")
        try:
            verdict, after = bpf.run(one.id, now, ends.number)
        except OSError as error:
            return Crossing(target, Result.UNTRIED, by=one.name, reason=f"{one.name} can't be run: {error.strerror}")
        if after != now or verdict in _LAST:
            by = one.name
        now = after
        if verdict in _LAST:
            break
    return _judged(target, by, verdict, now)


def _judged(target: Target, by: str, verdict: int, after: bytes) -> Crossing:
    if verdict == _DROP:
        return Crossing(target, Result.DROPPED, by=by)
    if frame.refuses(after):
        return Crossing(target, Result.REFUSED, by=by)
    found = frame.destination(after)
    if found is None:
        return Crossing(target, Result.UNTRIED, by=by, reason=f"{by} answers with a frame that is not understood")
    if found == (target.address, target.port):
        return Crossing(target, Result.ALONE, by=by)
    return Crossing(target, Result.REPLACED, found, by)


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
