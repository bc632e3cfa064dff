"""What is so on each node of a cluster, what holds the roll-out, and what can't be told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cni_chain.checks.wording import counted, listed
from cni_chain.cluster import objects
from cni_chain.cluster.objects import Pod, Release
from cni_chain.cluster.saying import EVENT, LOG, Saying
from cni_chain.daemon.wanted import STATES

KUBERNETES = "kubernetes"  # a source of reasons, beside the agents' LOG and EVENT

GRACE = 20.0  # seconds for which an agent that refuses is asked again: the one before it may not have ended yet
FRESH = 3600.0  # seconds after which an event says nothing any more of what is so now

_NO_ANSWER = "the node's kubelet does not answer: see kubectl get node"
_LATE = 30.0  # seconds after which a pod that isn't ready is more than one that has just begun


class NodeLine(NamedTuple):
    """One node: what it is to be by its pod, and what it is. `pod` is None where there is none."""

    node: str
    pod: Pod | None
    wanted: str
    reached: str | None  # None: not known
    version: str
    current: bool  # whether its pod is the one that the DaemonSet wants now
    ready: bool
    since: float | None
    refused: bool
    reasons: tuple[str, ...]
    source: str | None
    said: Saying | None

    @property
    def done(self) -> bool:
        """Whether the node is as the DaemonSet wants it."""
        return self.ready and self.current

    def document(self, now: float) -> dict[str, Any]:
        """Return it as members of a JSON object."""
        said = self.said
        return {
            "name": self.node,
            "wanted": self.wanted,
            "reached": self.reached,
            "ready": self.ready,
            "current": self.current,
            "version": self.version or None,
            "sinceSeconds": None if self.since is None else max(0, int(now - self.since)),
            "pod": self.pod.name if self.pod else None,
            "restarts": self.pod.restarts if self.pod else None,
            "refused": self.refused,
            "reasons": list(self.reasons),
            "source": self.source,
            "owners": None
            if said is None or said.owners is None
            else [{"name": name, "ready": not why, "why": why or None} for name, why in said.owners.items()],
            "pods": said.pods if said else None,
            "stranded": said.stranded if said else None,
            "findings": None
            if said is None or said.findings is None
            else [{"id": name, "count": count} for name, count in said.findings.items()],
        }


class Fleet(NamedTuple):
    """One DaemonSet of cni-chain with its nodes, those that aren't as wanted first."""

    release: Release
    lines: tuple[NodeLine, ...]
    refused: str = ""  # why the controller can't make pods

    @property
    def missing(self) -> int:
        """How many nodes should have a pod and have none."""
        return max(0, self.release.desired - len(self.lines))

    @property
    def done(self) -> bool:
        """Whether every node is as wanted, and the roll-out has ended. Without any node nothing is."""
        release = self.release
        counts = min(release.updated, release.available) >= max(1, release.desired)
        return release.seen and counts and not self.missing and all(line.done for line in self.lines)

    @property
    def reached(self) -> int:
        """How many nodes are as wanted."""
        return sum(line.done for line in self.lines)

    def states(self) -> dict[str, int]:
        """Return how many ready nodes are in each state, and how many aren't ready."""
        found = {state: sum(line.ready and line.wanted == state for line in self.lines) for state in STATES}
        return {**found, "notReady": sum(not line.ready for line in self.lines), "withoutPod": self.missing}

    def stuck(self, now: float) -> list[NodeLine]:
        """Return the nodes that won't become as wanted by waiting."""
        return [line for line in self.lines if line.current and line.refused and _lasts(line, now)]

    def holds(self, now: float) -> list[str]:
        """Return what keeps the roll-out from its end, in words."""
        return [] if self.done else list(_holds(self, now))

    def document(self, now: float) -> dict[str, Any]:
        """Return it as members of a JSON object."""
        release = self.release
        return {
            "namespace": release.namespace,
            "name": release.name,
            "state": release.options.state,
            "version": release.version or None,
            "image": release.image,
            "owners": list(release.options.owners),
            "done": self.done,
            "rollout": {
                "type": release.strategy,
                "maxUnavailable": release.max_unavailable,
                "minReadySeconds": release.min_ready,
                "desired": release.desired,
                "updated": release.updated,
                "available": release.available,
            },
            "counts": self.states(),
            "holds": self.holds(now),
            "nodes": [line.document(now) for line in self.lines],
        }


class Report(NamedTuple):
    """All DaemonSets of cni-chain that were found, and what could not be asked, in words."""

    fleets: tuple[Fleet, ...]
    notes: tuple[str, ...]
    now: float

    @property
    def done(self) -> bool:
        """Whether all is as it is wanted. Of several DaemonSets none may stay unfinished."""
        return bool(self.fleets) and all(fleet.done for fleet in self.fleets)

    def document(self) -> dict[str, Any]:
        """Return it as members of a JSON object."""
        return {
            "done": self.done,
            "daemonSets": [fleet.document(self.now) for fleet in self.fleets],
            "notes": list(self.notes),
        }


def fleet(release: Release, pods: Iterable[Pod], said: Mapping[str, Saying], now: float, *, refused: str = "") -> Fleet:
    """Return a DaemonSet's nodes, from its pods and from what their agents have said, by the pods' names.

    A node that has an old pod and a new one is the new one's.
    """
    newest: dict[str, Pod] = {}
    for pod in sorted(pods, key=lambda pod: (not pod.leaving, objects.is_current(pod, release))):
        newest[pod.node or pod.name] = pod
    lines = [_line(release, pod, said.get(pod.name), now) for pod in newest.values()]
    return Fleet(release, tuple(sorted(lines, key=lambda line: (line.done, line.ready, natural(line.node)))), refused)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts node9 before node10."""
    parts: list[str] = []
    for char in name:
        if parts and char.isdecimal() == parts[-1][-1].isdecimal():
            parts[-1] += char
        else:
            parts.append(char)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def _line(release: Release, pod: Pod, said: Saying | None, now: float) -> NodeLine:
    wanted = pod.options.state if pod.options else release.options.state
    reasons, source, refused = _why(pod, said, now)
    reached = said.reached if said and (said.source == LOG or not pod.ready) else None
    return NodeLine(
        node=pod.node or "(none yet)",
        pod=pod,
        wanted=wanted,
        reached=reached or (wanted if pod.ready else None),
        version=pod.version,
        current=objects.is_current(pod, release) and not pod.leaving,
        ready=pod.ready and not pod.leaving,
        since=pod.ready_since,
        refused=refused,
        reasons=reasons,
        source=source,
        said=said if said and said.source == LOG else None,
    )


def _why(pod: Pod, said: Saying | None, now: float) -> tuple[tuple[str, ...], str | None, bool]:
    """Return why a node isn't ready, who says so, and whether its agent refuses."""
    if pod.answering:
        return (_NO_ANSWER,), KUBERNETES, False
    if pod.leaving:
        return ("its pod is being deleted",), KUBERNETES, False
    if pod.ready:
        return (), None, False
    if pod.troubles:
        return pod.troubles, KUBERNETES, False
    if said is not None and said.reasons and (said.source == LOG or now - (said.at or 0) < FRESH):
        return said.reasons, said.source, said.refused
    return (), None, False


def _lasts(line: NodeLine, now: float) -> bool:
    """Return whether a node has refused for long enough to believe it."""
    return line.since is not None and now - line.since >= GRACE


def _holds(fleet: Fleet, now: float) -> Iterable[str]:
    release = fleet.release
    if not release.seen:
        yield "the DaemonSet controller has not seen the last change yet"
    elif not release.desired and not fleet.lines:
        yield "it selects no node: are its nodeSelector, affinity and tolerations right?"
    if fleet.refused:
        yield f"no pod can be made: {fleet.refused}"
    elif fleet.missing:
        command = f"kubectl --namespace {release.namespace} describe daemonset {release.name}"
        yield f"{counted(fleet.missing, 'node')} should have a pod and have none: {command} says why"
    new = [line for line in fleet.lines if line.current and not line.ready]
    old = [line for line in fleet.lines if not line.current]
    if new:
        late = [line for line in new if line.since is None or now - line.since >= _LATE]
        names = f"{listed([line.node for line in late or new])} {_is(late or new)}"
        if old and release.strategy == "RollingUpdate" and len(new) >= release.max_unavailable:
            most = f"at most {counted(release.max_unavailable, 'node')} at a time"
            yield f"{names}, and no other node changes before: {most}"
        else:
            yield names
    if old and release.strategy == "OnDelete":
        yield f"OnDelete: {counted(len(old), 'node')} change when you delete the pod: " + listed(
            [line.node for line in old]
        )
    elif old and not new:
        have = "has" if len(old) == 1 else "have"
        most = f"the controller replaces {release.max_unavailable} at a time"
        yield f"{counted(len(old), 'node')} still {have} the old pod; {most}"
    if not old and not new and not fleet.missing and release.seen and release.available < release.desired:
        yield f"the last nodes have not been ready for {release.min_ready} s yet"


def _is(lines: list[NodeLine]) -> str:
    """Return what nodes are that aren't ready, after their names."""
    if all(line.refused for line in lines):
        return "refuses" if len(lines) == 1 else "refuse"
    return "is not ready" if len(lines) == 1 else "are not ready"


SOURCES = {
    LOG: "by the agent's log",
    EVENT: "by the pod's last event",
    KUBERNETES: "by the pod's status",
}
