"""The pods of this node whose chain had a mesh's plugin, each looked at in its own namespace. No Kubernetes API."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cni_chain.agents import registry
from cni_chain.agents.agent import Proxy
from cni_chain.mesh import capture, cgroups, check, inside, verdict
from cni_chain.mesh.capture import Capture, Fate, State
from cni_chain.mesh.inside import Inside
from cni_chain.mesh.probe import Target
from cni_chain.mesh.processes import Processes
from cni_chain.mesh.verdict import Judgement
from cni_chain.node import attachments
from cni_chain.node.attachments import Entry, StateDir
from cni_chain.node.errors import UnreadableError

# Seconds by which a namespace is younger than its record only if it was made anew: a runtime makes it before its ADD.
_ANEW = 1


class MeshPod(NamedTuple):
    """One pod: its record, the plugins of a mesh that ran for it, and what was found.

    `made` is when its namespace was made, None if it can't be looked at. `services` is None if that was not asked.
    """

    entry: Entry
    plugins: tuple[str, ...]
    capture: Capture
    fates: tuple[Fate, ...] = ()
    made: float | None = None
    services: Judgement | None = None

    @property
    def proxy(self) -> str:
        """The name of the process to which rules redirect, "" if there is none."""
        return next((listener.name for fate in self.fates for listener in fate.listeners), "")


def look(states: Iterable[StateDir], targets: Sequence[Target] | None = None) -> Iterator[MeshPod]:
    """Yield the pods that have a record, in the order of the records.

    With `targets`, services' addresses are tried as each pod; with none of them, a few of Cilium's.
    """
    meshed = [
        (entry, plugins)
        for state in states
        for entry in state.entries
        if (plugins := tuple(step.type for step in entry.record.delegates if step.type in registry.MESHES))
    ]
    if not meshed:
        return
    processes = Processes()
    for entry, plugins in meshed:
        found = _look(entry, plugins, processes)
        tried = targets is not None and found.made is not None
        yield found._replace(services=_services(entry, targets or (), processes)) if tried else found


def _look(entry: Entry, plugins: tuple[str, ...], processes: Processes) -> MeshPod:
    namespace = entry.record.context["netns"]
    became, unsure = attachments.namespace(namespace, entry.record.created)
    if became == attachments.GONE:
        why, do = "its network namespace is gone", "nothing if its DEL is still to come; else cni-chain gc"
        return MeshPod(entry, plugins, Capture(State.UNKNOWN, why, do))
    proxies = _proxies(plugins)
    try:
        seen = inside.look(Inside(namespace, entry.attachment.ifname, addresses(entry), proxies), processes)
    except UnreadableError as error:
        return MeshPod(entry, plugins, Capture(State.UNKNOWN, unsure or str(error)))
    judged = capture.judge(seen, proxies)
    if judged.state in (State.NOT, State.PARTLY) and seen.made > entry.record.created + _ANEW:
        why = f"{judged.why}; its namespace was made anew after its record, as by a reboot"
        judged = judged._replace(why=why, do="restart the pod")
    return MeshPod(entry, plugins, judged, seen.fates, seen.made)


def _proxies(plugins: Sequence[str]) -> list[Proxy]:
    return [proxy for type_ in plugins for proxy in registry.BY_TYPE[type_].proxies]


def addresses(entry: Entry) -> dict[int, str]:
    """Return the pod's first address of each family; of one whose addresses aren't known, any of IPv4."""
    found: dict[int, str] = {}
    for text in entry.addresses:
        with contextlib.suppress(ValueError):  # Go's older parser took some that no other takes, such as 010.0.0.1/24
            interface = ipaddress.ip_interface(text)
            found.setdefault(interface.version, str(interface.ip))
    return found or {4: ""}


def _services(entry: Entry, targets: Sequence[Target], processes: Processes) -> Judgement:
    """Return whether services' addresses survive for a pod: for its processes' cgroup, if one of them can be seen."""
    namespace = entry.record.context["netns"]
    cgroup = None
    try:
        process = processes.member(os.stat(namespace).st_ino)
        top = cgroups.root()
        if process and top is not None:
            cgroup = cgroups.of_process(top, process)
    except OSError:  # it has ended: the cgroup of all pods stands for it
        pass
    return verdict.judge(check.gather(namespace, cgroup, targets, config=None, probing=True))
