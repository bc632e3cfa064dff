"""Gathers the evidence on whether service addresses survive: programs, trials, configuration. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cni_chain.agents import registry
from cni_chain.mesh import cgroups, child, claims, datapath, probe, programs, services
from cni_chain.mesh.claims import Claim
from cni_chain.mesh.probe import Target
from cni_chain.mesh.verdict import Evidence
from cni_chain.node import attachments
from cni_chain.node.attachments import StateDir
from cni_chain.node.errors import UnreadableError
from cni_chain.node.tree import Tree


class Subject(NamedTuple):
    """Whose connections are judged: a network namespace (`probe.EMPTY`: that of no pod) and a cgroup."""

    namespace: str
    cgroup: str


def subject(root: str, pod: str | None, cgroup: str | None) -> Subject:
    """Return the subject that options name: a pod by its namespace or a process, a cgroup, or any pod.

    Raises UnreadableError, also for a pod that isn't there: nothing else may look at it.
    """
    # As it will be compared with cgroups below it.
    directory = os.path.realpath(cgroup) if cgroup else ""
    if pod is not None and pod.isdecimal():
        namespace = f"/proc/{pod}/ns/net"
        try:
            directory = directory or cgroups.of_process(root, int(pod))
            os.stat(namespace)
        except OSError as error:
            raise UnreadableError(f"process {pod}: {error.strerror}") from None
        return Subject(namespace, directory)
    if pod is not None:
        child.must_be_network(pod)
    return Subject(pod or probe.EMPTY, directory or cgroups.of_pods(root))


def any_pod(states: Iterable[StateDir]) -> str | None:
    """Return the namespace of the newest pod that has a record, of those with a mesh's plugin if there are any."""
    there = [
        (any(step.type in registry.MESHES for step in entry.record.delegates), entry.record.created, netns)
        for state in states
        for entry in state.entries
        if attachments.namespace(netns := entry.record.context["netns"], entry.record.created)[0] == attachments.THERE
    ]
    return max(there)[2] if there else None


def gather(
    pod: str | None,
    cgroup: str | None,
    targets: Sequence[Target],
    *,
    config: str | None,
    probing: bool,
    crossed: str | None = None,
) -> Evidence:
    """Return the evidence. What can't be looked at is in it, with the reason. Raises UnreadableError for `config`.

    `crossed` is the namespace of a pod: the programs at its interface are asked too.
    """
    wanted = (targets or services.some()) if probing or crossed else []
    evidence = _gather(pod, cgroup, wanted if probing else [], config)
    return evidence._replace(datapath=datapath.look(crossed, wanted)) if crossed else evidence


def _gather(pod: str | None, cgroup: str | None, targets: Sequence[Target], config: str | None) -> Evidence:
    said, ztunnel = _said(config)
    root = cgroups.root()
    if root is None:
        missing = ["this node has no cgroups of version 2"]
        return Evidence("", [], [], claims=said, missing=missing, ztunnel=ztunnel)
    try:
        who = subject(root, pod, cgroup)
        attached = programs.on_the_way(root, who.cgroup)
        applying = programs.applying(who.cgroup, attached)
        elsewhere = [hooked for hooked in programs.elsewhere(root, attached) if hooked not in attached]
    except UnreadableError as error:
        return Evidence(cgroup or "", [], [], claims=said, missing=[str(error)], ztunnel=ztunnel)
    evidence = Evidence(who.cgroup, applying, elsewhere, claims=said, ztunnel=ztunnel)
    return _tried(evidence, who, targets)


def _said(config: str | None) -> tuple[list[Claim], str]:
    """Return what the agent on disk and a ConfigMap claim, and which of them says that Cilium captures pods itself."""
    settings = claims.settings(config) if config else {}
    said = [claim for claim in (claims.on_disk(), claims.of_settings(settings, config) if config else None) if claim]
    line = claims.ztunnel_in(settings)
    return said, f"{config} ({line})" if line else claims.ztunnel_on_disk(Tree("/"))


def _tried(evidence: Evidence, who: Subject, targets: Sequence[Target]) -> Evidence:
    try:
        evidence = evidence._replace(pod=probe.run(targets, who.namespace, who.cgroup))
    except UnreadableError as error:
        return evidence._replace(missing=[f"no connection was tried: {error}"])
    try:
        return evidence._replace(node=probe.run(targets, probe.NODE))
    except UnreadableError as error:
        return evidence._replace(uncontrolled=str(error))
