"""The network namespaces of this node's pods, and what of the shim is in one of them."""

from __future__ import annotations

import contextlib
import glob
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from cni_chain.mesh.bpf import Map
from cni_chain.mesh.probe import NODE
from cni_chain.mesh.shim import filters, kernel, layout
from cni_chain.mesh.shim.filters import Filter
from cni_chain.mesh.sockets import SO_NETNS_COOKIE
from cni_chain.node.kernel import netlink_socket

# Runtimes name namespaces in the first; a process of a pod shows the others.
_PLACES = ("/run/netns/*", "/proc/[0-9]*/ns/net")


class Laid(NamedTuple):
    """What of the shim is in a namespace."""

    filters: list[Filter]
    pod: layout.Pod | None  # None if its map is not what it must be
    maps: set[int]  # the IDs of the programs' maps


def of_pods() -> Iterator[str]:
    """Yield the path of each network namespace but the node's, once."""
    seen = {_nodes()}
    kind = os.stat("/proc/self/ns/net").st_dev  # a runtime may leave an empty file where a namespace was
    for pattern in _PLACES:
        for path in sorted(glob.glob(pattern)):
            with contextlib.suppress(OSError):
                found = os.stat(path)
                if found.st_dev == kind and found.st_ino not in seen:
                    seen.add(found.st_ino)
                    yield path


def is_nodes(path: str) -> bool:
    """Return whether a namespace is the node's own. Raises OSError."""
    return os.stat(path).st_ino == _nodes()


def _nodes() -> int:
    """Return the number of the node's own namespace; of this process's where process 1 can't be looked at."""
    try:
        return os.stat(NODE).st_ino
    except PermissionError:
        return os.stat("/proc/self/ns/net").st_ino


@contextlib.contextmanager
def entered(path: str) -> Iterator[socket.socket]:
    """Yield a socket of rtnetlink in the namespace at a path. Raises OSError."""
    try:
        asked = netlink_socket(path)
    except ValueError as error:
        raise OSError(0, str(error)) from None
    with asked:
        yield asked


def cookie(asked: socket.socket) -> int:
    """Return the number by which programs know the namespace of a socket. Raises OSError."""
    return int(struct.unpack("=Q", asked.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0])


def laid(asked: socket.socket) -> Laid | None:
    """Return what of the shim is in a namespace, None if nothing is. Raises OSError."""
    ours = [one for one in filters.listed(asked) if one.name in layout.LEARN.values()]
    if not ours:
        return None
    maps = {number for one in ours for number in kernel.maps_of(one.program)}
    pod = None
    for number in maps:
        with Map(number) as opened:
            if opened.name == layout.POD.name and opened.info == layout.POD.info:
                pod = layout.Pod.unpacked(kernel.read_only(opened) or b"")
    return Laid(ours, pod, maps)


def clear(asked: socket.socket) -> bool:
    """Take from a namespace what the shim has laid there; return whether there was something. Raises OSError."""
    found = laid(asked)
    if found is None:
        return False
    for one in found.filters:
        filters.remove(asked, one)
    if found.pod and found.pod.made_qdisc and not filters.listed(asked) and not filters.listed(asked, filters.INGRESS):
        filters.remove_qdisc(asked)
    return True
