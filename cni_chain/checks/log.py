"""Rules about the log: whether cni-chain can write it, whether a program rotates it, which calls fail."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator

from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, Needs, of_node
from cni_chain.checks.wording import listed
from cni_chain.node import attachments, calls, failures, space
from cni_chain.node.failures import Failure
from cni_chain.plugin.errors import DELEGATE_TIMED_OUT

_RECENT = 600  # seconds; an ADD that failed before is a warning: its pod may be gone
_LARGE = 200 << 20  # bytes of a log that no program rotates

UNWRITABLE = Kind(
    "log-unwritable",
    WARNING,
    "the log can't be written: its directory doesn't exist, or its file system is full, out of inodes or read-only "
    "(the file system is not looked at below `--root`)",
    "When a pod has no network, no log says why.",
    "Create the directory, free space in its file system, or set another logFile in the facade.",
)
LARGE = Kind(
    "log-large",
    WARNING,
    "the log has 200 MiB or more",
    "It fills the disk, and on a full disk cni-chain can't write records.",
    "Install conf/logrotate.d/cni-chain.",
)
UNREADABLE = Kind(
    "log-unreadable",
    WARNING,
    "the log exists and can't be read",
    "doctor can't see whether calls fail.",
    "Run doctor as root; if you did, check the file system.",
)
FAILING = Kind(
    "calls-failing",
    ERROR,
    "the log's last calls failed and no success has followed: one finding for each network, verb, code and plugin that "
    "failed. A failure doesn't count if the same verb has succeeded since for the same pod, or if its pod hasn't "
    "failed for three minutes while another pod succeeded, or if it is older than a day. A DEL that waits for its "
    "retry is `record-stranded` instead",
    "The runtime tries again and again, and its pod waits.",
    "Do what the message asks for; docs/troubleshooting.md explains the common messages.",
    milder="it is not an ADD, or another pod's ADD has succeeded since, or it was more than ten minutes ago, or it is "
    "a plugin's own error and only pods of one namespace have failed: that may be the pods' fault",
)


@of_node(UNWRITABLE, LARGE, UNREADABLE, needs=Needs.NODE)
def log(node: Node) -> Iterator[Finding]:
    """Yield what is wrong with the facades' logs."""
    for path in _paths(node):
        real = node.tree.real(path)
        directory = os.path.dirname(path)
        if not os.path.isdir(os.path.dirname(real)):
            do = f"mkdir -p {directory}, or set another logFile in the facade."
            yield UNWRITABLE.at(path, "its directory doesn't exist, so cni-chain logs nothing", do=do)
            continue
        found = space.left(node.tree, directory)
        if found is not None and found.failing:
            yield UNWRITABLE.at(path, f"cni-chain logs nothing: {found.failing}")
        try:
            size = os.stat(real).st_size
        except OSError:  # not written yet
            continue
        if size > _LARGE:
            yield LARGE.at(path, f"has {size >> 20} MiB: no program rotates it")
        if not os.path.isfile(real):
            yield UNREADABLE.at(path, "is not a regular file")
        elif not os.access(real, os.R_OK):
            yield UNREADABLE.at(path, "this user can't read it")


@of_node(FAILING, needs=Needs.NODE)
def failing(node: Node) -> Iterator[Finding]:
    """Yield the failures that no success has followed."""
    now = time.time()
    found = last_failures(node, now)
    for path, failure in found:
        whose = _only_namespace(failure, [other for _, other in found])
        severity = ERROR if _stops(failure, now) and not whose else WARNING
        yield FAILING.at(path, _told(failure, now, whose), why=_why(failure), severity=severity)


def last_failures(node: Node, now: float) -> list[tuple[str, Failure]]:
    """Return the last failure of each kind that no success has followed, and the log that has it; the latest first."""
    found = []
    for path in _paths(node):
        try:
            lines = calls.last(node.tree, path)
        except OSError:
            continue
        levels = {survey.facade.log_level for survey in node.surveys if survey.facade.log_file == path}
        entries = [entry for state in node.states for entry in state.entries]
        stranded = {entry.attachment.container_id for entry in entries if entry.is_stranded}
        added = {entry.pod: entry.record.created for entry in entries if entry.record.state == "added"}
        own = (line for line in lines if line.verb != "DEL" or line.text("containerID") not in stranded)
        logged = "error" not in levels
        found += [(path, one) for one in failures.unhealed(own, now, added, successes_are_logged=logged)]
    return sorted(found, key=lambda one: -one[1].last.ended)


def _paths(node: Node) -> list[str]:
    return sorted({survey.facade.log_file for survey in node.surveys if survey.facade.log_file})


def _told(failure: Failure, now: float, whose: str) -> str:
    told = failure.text(now)
    if failure.times > 1:
        pods = f", of {listed(sorted(failure.pods))}" if len(failure.pods) > 1 else ""
        span = attachments.words(max(1, math.ceil(now - failure.first)))
        told += f"; {failure.times} calls failed like this in the last {span}{pods}"
    if failure.alone:
        told += f"; no {failure.last.verb} has succeeded since"
    return f"{told}, but only pods of namespace {whose} have failed" if whose else told


def _stops(failure: Failure, now: float) -> bool:
    """Return whether new pods seem to get no network."""
    return failure.last.verb == "ADD" and failure.alone and now - failure.last.ended <= _RECENT


def _only_namespace(failure: Failure, every: list[Failure]) -> str:
    """Return the one namespace whose pods a plugin refuses, "" if the failure says more of the node than of a pod.

    Whoever may create pods can have one fail for ever. A node that is not ready for it would hold a roll-out of the
    whole cluster.
    """
    call = failure.last
    if call.verb != "ADD" or not failure.alone or not call.culprit or call.code == DELEGATE_TIMED_OUT:
        return ""
    beside = [one for one in every if one.last.verb == "ADD" and one.alone and one.last.network == call.network]
    found = {namespace for one in beside for namespace in one.namespaces}
    return found.pop() if len(found) == 1 and failure.pods else ""


_WHY = {
    "ADD": "A pod that waits for its network tries again and again.",
    "DEL": "The pod stays Terminating, and its addresses, rules and endpoints are still in use.",
    "CHECK": "CRI-O refuses the pod whose CHECK fails.",
    "GC": "What pods have left behind is not freed.",
    "STATUS": "The runtime reports this node as not ready, so it gets no new pods.",
}


def _why(failure: Failure) -> str:
    return _WHY.get(failure.last.verb, "")
