"""What of the shim is on this node, and what its programs have counted."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from cni_chain.mesh import cgroups, maps
from cni_chain.mesh.bpf import Map
from cni_chain.mesh.shim import layout, namespaces, proxies
from cni_chain.mesh.shim.programs import PINS
from cni_chain.node.errors import RefusedError, as_root


class PodState(NamedTuple):
    """The shim in one pod's namespace. `is_stale`: the load balancer has made itself another map since."""

    namespace: str
    families: list[int]
    counters: layout.Pod | None
    is_stale: bool


class ProxyState(NamedTuple):
    """The shim on one proxy; `cgroup` is its directory, "" if it is gone."""

    cgroup: str
    counters: layout.Proxy | None


class State(NamedTuple):
    """The shim on this node."""

    pods: list[PodState]
    proxies: list[ProxyState]

    @property
    def is_on(self) -> bool:
        """Whether it can repair something: there is a pod and a proxy."""
        return bool(self.pods) and any(proxy.cgroup for proxy in self.proxies)


def look() -> State:
    """Return what is on this node. Raises RefusedError."""
    try:
        found = State(_pods(), _proxies())
    except OSError as error:
        raise RefusedError(f"{PINS}: {error.strerror}", as_root(error)) from None
    return found


def _pods() -> list[PodState]:
    pinned = {family: _pinned(name) for family, name in layout.REVERSE.items()}
    found: list[PodState] = []
    for path in namespaces.of_pods():
        with contextlib.suppress(FileNotFoundError), namespaces.entered(path) as asked:  # it may go meanwhile
            laid = namespaces.laid(asked)
            if laid:
                families = sorted(one.family for one in laid.filters)
                is_stale = any(pinned[family] not in laid.maps for family in families)
                found.append(PodState(path, families, laid.pod, is_stale))
    return found


def _pinned(name: str) -> int | None:
    """Return the ID of the load balancer's map that is pinned now, None if there is none."""
    try:
        with Map(os.path.join(maps.PINS, name)) as opened:
            return opened.id
    except FileNotFoundError:
        return None


def _proxies() -> list[ProxyState]:
    links = proxies.linked()
    places = proxies.directories(cgroups.root() or "", {one.cgroup for one in links})
    return [ProxyState(places.get(one.cgroup, ""), one.proxy) for one in links]
