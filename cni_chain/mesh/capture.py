"""Whether a mesh captures a pod's connections: from what was found in its namespace to a judgement. Pure.

A rule that redirects to a port on which nobody listens captures nothing, and neither does a proxy to which no rule
leads, nor a process that listens there and isn't the proxy. The proxy's own connections must leave the pod: rules let
them pass by a mark (a proxy outside the pod, such as ztunnel) or by the user (a sidecar). A process in the pod whose
own connections are redirected is neither.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cni_chain.agents.agent import Proxy

TUNNEL = "tunnel"  # arrives from the proxy of another pod, at a port of its own: no rule needs to redirect it


class Listener(NamedTuple):
    """A process that listens on a port to which rules redirect.

    `pid` is 0 if no process that can be seen holds the socket. `spared`: the rules let its own connections pass.
    """

    pid: int
    name: str
    in_pod: bool
    spared: bool

    @property
    def is_proxy(self) -> bool:
        """Whether it can be a mesh's proxy."""
        return not self.in_pod or self.spared


class Fate(NamedTuple):
    """What becomes of a connection of one family: the port to which rules redirect it (0: none does), and who hears it.

    `redirected` is how many connections that rule has redirected until now, of both families if it is for both; None if
    it doesn't count. `unclear` says why something isn't known.
    """

    family: int
    direction: str  # "out" of the pod, "in", or TUNNEL
    port: int = 0
    rule: str = ""
    redirected: int | None = None
    listeners: tuple[Listener, ...] = ()
    unclear: str = ""


class Seen(NamedTuple):
    """What was found in a pod's namespace.

    `made` is when the namespace was made. `listening`: all ports on which somebody listens. `proxy` is the one for
    which the rules are, None if there are no rules that tell.
    """

    fates: tuple[Fate, ...]
    listening: frozenset[int] = frozenset()
    made: float = 0.0
    proxy: Proxy | None = None


def redirected(fates: Sequence[Fate], direction: str) -> int | None:
    """Return how many connections of one direction the rules have redirected until now, None if no rule counts."""
    counts = {
        fate.rule: fate.redirected for fate in fates if fate.direction == direction and fate.redirected is not None
    }
    return sum(counts.values()) if counts else None


class State(enum.StrEnum):
    """Whether the pod's connections go through a proxy."""

    CAPTURED = "captured"
    PARTLY = "partly"  # some connections of the pod don't
    NOT = "not captured"
    UNKNOWN = "unknown"


class Capture(NamedTuple):
    """The judgement on one pod: the reason, if it isn't captured, and what to do then."""

    state: State
    why: str = ""
    do: str = ""


_AGAIN = "restart the pod; if it stays so, look at the mesh's agent and its proxy on this node"


def judge(seen: Seen, proxies: Sequence[Proxy]) -> Capture:
    """Return whether every connection, in and out, of each of the pod's families, ends at a proxy.

    `proxies` are those of the meshes whose plugins ran for the pod.
    """
    unclear = next((fate.unclear for fate in seen.fates if fate.unclear), "")
    if unclear:
        return Capture(State.UNKNOWN, f"a rule in the pod's namespace is not understood: {unclear}")
    hidden = sorted({fate.port for fate in seen.fates if any(not listener.pid for listener in fate.listeners)})
    if hidden:
        return Capture(
            State.UNKNOWN,
            f"somebody listens on {_listed(hidden)}, but no process that can be seen from here",
            "run cni-chain on the node itself, not in a container without the node's processes",
        )
    missed = [fate for fate in seen.fates if not fate.port]
    if len(missed) == len(seen.fates):
        return _bare(seen, proxies)
    wrong = list(_wrong(seen))
    if not missed and not wrong:
        return Capture(State.CAPTURED)
    whys = [*wrong, *(f"no rule redirects connections {fate.direction}, IPv{fate.family}" for fate in missed)]
    return Capture(State.PARTLY, "; ".join(whys), _remedy(seen, missed))


def _bare(seen: Seen, proxies: Sequence[Proxy]) -> Capture:
    """Return the judgement on a pod that no rule redirects."""
    ports = sorted({port for proxy in proxies for port in proxy.ports if port in seen.listening})
    if not ports:
        return Capture(
            State.NOT,
            "no rule redirects its connections",
            "nothing, if the pod is not enrolled; else restart the pod",
        )
    return Capture(State.NOT, f"no rule redirects its connections, though somebody listens on {_listed(ports)}", _AGAIN)


def _wrong(seen: Seen) -> Iterator[str]:
    """Yield what is wrong with those who should listen where the rules lead."""
    yield from _deaf(seen, [fate for fate in seen.fates if fate.direction != TUNNEL], "to which rules redirect")
    yield from _deaf(seen, [fate for fate in seen.fates if fate.direction == TUNNEL], "to which other proxies connect")
    strange: dict[Listener, list[int]] = {}
    for fate in sorted(seen.fates, key=lambda fate: fate.port):
        for listener in fate.listeners:
            if not listener.is_proxy and fate.port not in strange.setdefault(listener, []):
                strange[listener].append(fate.port)
    for listener, ports in strange.items():
        yield (
            f"process {listener.pid} ({listener.name}) of the pod listens on {_listed(ports)}, and is not the mesh's "
            "proxy: the rules redirect its own connections too"
        )


def _deaf(seen: Seen, fates: Sequence[Fate], whither: str) -> Iterator[str]:
    """Yield on which ports nobody listens, those for both families together."""
    deaf: dict[int, set[int]] = {}
    for fate in sorted(fates, key=lambda fate: fate.port):
        if fate.port and not fate.listeners:
            deaf.setdefault(fate.port, set()).add(fate.family)
    families = {fate.family for fate in seen.fates}
    for missing in (families, *({family} for family in families if len(families) > 1)):
        ports = [port for port in deaf if deaf[port] == missing]
        if ports:
            only = "" if missing == families else f" for IPv{min(missing)}"
            yield f"nobody listens on {_listed(ports)}{only}, {whither}"


def _remedy(seen: Seen, missed: Sequence[Fate]) -> str:
    """Return what to do about a pod of which something is captured."""
    if any(not listener.is_proxy for fate in seen.fates for listener in fate.listeners):
        return "find out who runs that process in the pod, and why the proxy does not listen in its place"
    if any(fate.port and not fate.listeners for fate in seen.fates) and seen.proxy:
        if seen.proxy.in_pod:
            return f"look at the container {seen.proxy.name} of the pod: connections fail until it listens"
        return f"look at {seen.proxy.name} on this node: connections fail until it listens in the pod"
    families = {fate.family for fate in seen.fates}
    if seen.proxy and seen.proxy.ipv6 and {fate.family for fate in missed} == {6} and families == {4, 6}:
        return f"set {seen.proxy.ipv6}, then restart the pod"
    return _AGAIN


def _listed(ports: Sequence[int]) -> str:
    return f"port{'s' if ports[1:] else ''} {', '.join(map(str, ports))}"
