"""The node's side of a pod's interface, and the programs that a frame of the pod meets there, or one to it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_chain.mesh import bpf, child, programs
from cni_chain.mesh.probe import NODE
from cni_chain.node import kernel
from cni_chain.node.errors import UnreadableError

_PAIRS = ("veth", "netkit")  # kinds of interfaces whose other end is an interface
_SCOPE_GLOBAL = 0  # include/uapi/linux/rtnetlink.h, RT_SCOPE_UNIVERSE

# Where programs that a frame from the pod meets are, in the order in which they see it.
FROM_POD = ("netkit peer", "tcx ingress", "tc ingress")
_TO_POD = ("netkit primary", "tcx egress", "tc egress")
_NETKIT = ("netkit peer", "netkit primary")

# include/uapi/linux/pkt_sched.h: TC_H_CLSACT with the minor number of each direction
_PARENTS = {"tc ingress": 0xFFFFFFF2, "tc egress": 0xFFFFFFF3}
_DIRECT = 1  # TCA_BPF_FLAG_ACT_DIRECT, include/uapi/linux/pkt_cls.h


class Ends(NamedTuple):
    """A pod's interface and the interface of the node that it is paired with. Addresses are those of the pod."""

    inside: str
    outside: str
    number: int  # of the node's
    kind: str  # veth or netkit
    mac: str
    outside_mac: str
    addresses: tuple[str, ...]


class Met(NamedTuple):
    """A program on one hook of the node's interface. `id` is 0 for a filter of tc that can't be asked."""

    hook: str
    id: int
    name: str
    tag: str
    owner: str


def of_pod(namespace: str) -> Ends:
    """Return the ends of a pod's interface: eth0's, as runtimes call it, else the first that is paired.

    Raises UnreadableError, also for a pod that has none: one in the node's own network, or on a macvlan.
    """
    try:
        if os.path.samefile(namespace, NODE):
            raise UnreadableError(f"{namespace}: is the node's own network, and has no interface of a pod")
    except OSError as error:
        raise UnreadableError(f"{error.filename}: {error.strerror}") from None
    kernel.pyroute2()  # here, so that no child has to load it
    inside = child.ask(_inside, namespace)
    paired = sorted(inside, key=lambda one: one["name"] != "eth0")
    if not paired:
        raise UnreadableError(f"{namespace}: has no interface whose other end is on the node")
    chosen = paired[0]
    outside = child.ask(lambda: _outside(namespace, chosen), NODE)
    if outside is None:
        raise UnreadableError(f"{namespace}: the other end of {chosen['name']} is not in the node's network")
    return Ends(
        chosen["name"],
        outside["name"],
        chosen["peer"],
        chosen["kind"],
        chosen["mac"],
        outside["mac"],
        tuple(chosen["addresses"]),
    )


@contextlib.contextmanager
def _asking() -> Iterator[Any]:
    """Yield pyroute2's way to ask the kernel in this network namespace. Raises OSError for what it refuses."""
    library = kernel.pyroute2()
    try:
        with library.IPRoute() as asked:
            yield asked
    except library.NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from None


def _inside() -> list[dict[str, Any]]:
    with _asking() as asked:
        held: dict[int, list[str]] = {}
        for entry in asked.get_addr():
            if entry["scope"] == _SCOPE_GLOBAL:
                held.setdefault(entry["index"], []).append(entry.get("local") or entry.get("address"))
        return [
            _described(link) | {"index": link["index"], "addresses": held.get(link["index"], [])}
            for link in asked.get_links()
            if _kind(link) in _PAIRS and link.get("link")
        ]


def _outside(namespace: str, end: dict[str, Any]) -> dict[str, Any] | None:
    """Return the interface of this namespace that is paired with a pod's: both name each other, and that namespace."""
    opened = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _asking() as asked:
            number = asked.get_netnsid(fd=opened)["nsid"]
            for link in asked.get_links():
                if (link["index"], link.get("link"), link.get("link_netnsid")) == (end["peer"], end["index"], number):
                    return _described(link)
    finally:
        os.close(opened)
    return None


def _described(link: Any) -> dict[str, Any]:
    # An interface without Ethernet (netkit in layer 3) has no address.
    mac = link.get("address") or "00:00:00:00:00:00"
    return {"name": link.get("ifname"), "kind": _kind(link), "mac": mac, "peer": link.get("link")}


def _kind(link: Any) -> str | None:
    information = link.get("linkinfo")
    return information.get("kind") if information else None


def met(ends: Ends) -> list[Met]:
    """Return the programs on the node's interface, each direction in the order in which they run.

    It looks in this process's network namespace, which must be the node's. Raises OSError.
    """
    found: list[Met] = []
    for hook in (*FROM_POD, *_TO_POD):
        if hook in _PARENTS:
            found += _filters(ends.number, hook)
        elif ends.kind == "netkit" or hook not in _NETKIT:
            found += [_met(hook, number) for number in _ids(ends.number, hook)]
    return found


def _ids(index: int, hook: str) -> list[int]:
    try:
        return bpf.query_interface(index, hook)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):  # nothing is attached, or this kernel doesn't know the hook
            return []
        raise


def _met(hook: str, number: int) -> Met:
    program = bpf.program(number)
    return Met(hook, number, program.name, program.tag, programs.owner_of(program.name))


def _filters(index: int, hook: str) -> Iterator[Met]:
    """Yield the filters of tc, those of a lower preference first."""
    try:
        with _asking() as asked:
            _teach()
            dumped = list(asked.get_filters(index=index, parent=_PARENTS[hook]))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # there is no clsact
            return
        raise
    others: set[int] = set()  # preferences: a filter that is no program may be described in several parts
    for one in dumped:
        options, kind, preference = one.get("options"), one.get("kind"), one["info"] >> 16
        if options is None or preference in others:  # the head of the filters of a preference
            continue
        number = options.get_attr("TCA_BPF_ID") if kind == "bpf" else None
        if number and (options.get_attr("TCA_BPF_FLAGS") or 0) & _DIRECT:
            yield _met(hook, number)
        else:
            others.add(preference)
            yield Met(hook, 0, f"a filter of kind {kind}", "", programs.UNKNOWN)


def _teach() -> None:
    """Let pyroute2 read what it doesn't know of a filter: TCA_BPF_TAG and TCA_BPF_ID (linux/pkt_cls.h)."""
    from pyroute2.netlink.rtnl.tcmsg import sched_bpf

    known = sched_bpf.options.nla_map
    if len(known) == 9:  # TCA_BPF_FLAGS is the last
        sched_bpf.options.nla_map = (
            *known,
            ("TCA_BPF_FLAGS_GEN", "uint32"),
            ("TCA_BPF_TAG", "hex"),
            ("TCA_BPF_ID", "uint32"),
        )
