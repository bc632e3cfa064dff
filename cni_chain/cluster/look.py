"""Asks for all that a report needs: two lists, and for nodes that aren't ready their events and logs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from cni_chain.checks.wording import listed
from cni_chain.cluster import objects, report, saying
from cni_chain.cluster.kubectl import ForbiddenError, Json, Kubectl
from cni_chain.cluster.objects import Pod, Release, Writer
from cni_chain.cluster.report import Report
from cni_chain.cluster.saying import Saying
from cni_chain.node.errors import UnknownError

LOGS = 10  # read at most, of nodes that aren't ready
LINES = 40  # of the end of each

_DAEMONSETS, _EVENTS = "daemonsets.apps", "events"


class Question(NamedTuple):
    """What is asked."""

    kubectl: Kubectl
    namespace: str | None = None
    release: str | None = None  # the name of one DaemonSet
    nodes: frozenset[str] = frozenset()  # whose agents' logs are read whatever they are
    patience: float = 0.0  # seconds for which a node may be not ready before it is asked why


class Answer(NamedTuple):
    """The report, and the DaemonSets that have a directory of CNI configurations; None if they can't be seen."""

    report: Report
    writers: list[Writer] | None


def look(asked: Question) -> Answer:
    """Return what is so now. Raises UnknownError."""
    notes: list[str] = []
    found, sees_all = _daemonsets(asked, notes)
    releases = [one for one in map(objects.release, found) if one is not None and _is_asked(one, asked)]
    writers = [
        one
        for daemonset in found
        if (
            one := objects.writer(
                daemonset,
                {release.options.net_dir for release in releases},
                {release.options.chain_dir for release in releases},
            )
        )
    ]
    events: dict[str, list[Json]] = {}
    fleets = [_fleet(asked, release, events, notes) for release in releases]
    return Answer(Report(tuple(fleets), tuple(dict.fromkeys(notes)), time.time()), writers if sees_all else None)


def _is_asked(release: Release, asked: Question) -> bool:
    return asked.namespace in (None, release.namespace) and asked.release in (None, release.name)


def _daemonsets(asked: Question, notes: list[str]) -> tuple[list[Json], bool]:
    """Return the DaemonSets of all namespaces, or of one where no more may be read, and whether it is all."""
    try:
        return asked.kubectl.objects(_DAEMONSETS, "--all-namespaces"), True
    except ForbiddenError:
        namespace = asked.namespace or asked.kubectl.namespace()
        found = asked.kubectl.objects(_DAEMONSETS, "--namespace", namespace)
        notes.append(
            f"You may not list the DaemonSets of all namespaces: only {namespace} was looked at, and whether the "
            "agents of the network and the mesh were moved is not known."
        )
        return found, False


def _fleet(asked: Question, release: Release, events: dict[str, list[Json]], notes: list[str]) -> report.Fleet:
    pods = [objects.pod(one) for one in asked.kubectl.pods(release.namespace, release.selector)]
    now = time.time()
    fleet = report.fleet(release, pods, {}, now)
    late = [line for line in fleet.lines if line.since is None or now - line.since >= asked.patience]
    wrong = [line.pod for line in late if line.pod and not line.ready and not line.reasons]
    wanted = [*wrong[:LOGS], *(pod for pod in pods if pod.node in asked.nodes and pod not in wrong[:LOGS])]
    if not wanted and not fleet.missing and fleet.done:
        return fleet
    said: dict[str, Saying] = {}
    refused = ""
    if wrong or fleet.missing:
        if release.namespace not in events:
            events[release.namespace] = _events(asked, release.namespace, notes)
        said |= saying.of_events(events[release.namespace])
        refused = saying.of_controller(events[release.namespace]).get(release.name, "") if fleet.missing else ""
    said |= _logs(asked, release, wanted, notes)
    fleet = report.fleet(release, pods, said, now, refused=refused)
    silent = [line.node for line in fleet.lines if not line.ready and not line.reasons]
    if silent:
        notes.append(
            f"Why {listed(silent)} {'is' if len(silent) == 1 else 'are'} not ready is not known yet"
            + ("." if len(wrong) <= LOGS else f"; the logs of {LOGS} were read.")
        )
    return fleet


def _events(asked: Question, namespace: str, notes: list[str]) -> list[Json]:
    try:
        return asked.kubectl.objects(_EVENTS, "--namespace", namespace, "--field-selector=type=Warning")
    except ForbiddenError:
        notes.append(f"You may not list the events of {namespace}, which have the reasons of nodes that aren't ready.")
        return []


def _logs(asked: Question, release: Release, pods: Sequence[Pod], notes: list[str]) -> dict[str, Saying]:
    """Return what the agents' logs say, by the pods' names."""
    running = [pod for pod in pods if pod.running and not pod.answering]
    texts: list[str | UnknownError] = asked.kubectl.logs(
        [(release.namespace, pod.name, release.container) for pod in running], LINES
    )
    found: dict[str, Saying] = {}
    for pod, text in zip(running, texts, strict=True):
        said = saying.of_log(text) if isinstance(text, str) else None
        if said is not None:
            found[pod.name] = said
        if isinstance(text, ForbiddenError):
            notes.append(
                f"You may not read logs in {release.namespace} (get pods/log), which have each node's reasons and "
                "owners."
            )
    return found
