"""From evidence to a verdict: does a pod's service address survive until a mesh sees it? Pure."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cni_chain.mesh.claims import Claim, Coverage
from cni_chain.mesh.datapath import Crossing, Datapath, Result
from cni_chain.mesh.probe import Outcome, Target, Trial
from cni_chain.mesh.programs import UNKNOWN as UNKNOWN_OWNER
from cni_chain.mesh.programs import Hooked, replaces


class Verdict(enum.StrEnum):
    """What the evidence proves."""

    OK = "OK"
    BROKEN = "BROKEN"
    UNKNOWN = "UNKNOWN"


class Evidence(NamedTuple):
    """What was looked at. `pod` and `node` have a trial for each target, or are empty if none was tried."""

    cgroup: str  # the pod's, or that of all pods
    applying: Sequence[Hooked]  # the programs that run for processes in it
    elsewhere: Sequence[Hooked]  # programs on other cgroups
    pod: Sequence[Trial] = ()
    node: Sequence[Trial] = ()
    claims: Sequence[Claim] = ()
    missing: Sequence[str] = ()  # what could not be looked at, each with its reason
    uncontrolled: str = ""  # why nothing was tried from the node itself
    ztunnel: str = ""  # what says that Cilium captures pods for a ztunnel of its own
    datapath: Datapath | None = None  # what happens behind the pod's interface, if that was asked


class Judgement(NamedTuple):
    """A verdict, the sentence that gives its reason, what else is worth knowing, and what to do."""

    verdict: Verdict
    why: str
    notes: list[str]
    do: list[str]


def judge(evidence: Evidence) -> Judgement:
    """Return what the evidence proves. The worst of the targets counts."""
    reasons = sorted(_reasons(evidence), key=lambda reason: _ORDER.index(reason[0]))
    verdict, why = reasons[0]
    drift = list(_drift(evidence))
    return Judgement(verdict, why, [*drift, *_notes(evidence)], list(_advice(evidence, verdict, drift=bool(drift))))


_ORDER = (Verdict.BROKEN, Verdict.UNKNOWN, Verdict.OK)


def _reasons(evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
    """Yield a verdict for each target and for what no target can prove."""
    for missing in evidence.missing:
        yield Verdict.UNKNOWN, missing
    below = [hooked for hooked in evidence.elsewhere if hooked.cgroup.startswith(f"{evidence.cgroup}/")]
    if below:
        yield Verdict.UNKNOWN, f"{_named(below, 'applies', 'apply')} to {below[0].cgroup} only: try that with --cgroup"
    for number, trial in enumerate(evidence.pod):
        control = evidence.node[number] if evidence.node else None
        yield _of_target(trial, control, _replacing(evidence.applying, trial.target), _crossing(evidence, trial))
    if evidence.pod:
        return
    replacing = [hooked for hooked in evidence.applying if hooked.hook.startswith(("connect", "sendmsg"))]
    if replacing:
        see = _named(replacing, "sees", "see")
        yield (
            Verdict.UNKNOWN,
            f"{see} where a pod connects, and no service address was tried; give one with --vip",
        )
    elif not evidence.missing:
        yield Verdict.OK, "no program sees where a pod connects, so that nothing replaces a service's address"


def _of_target(
    trial: Trial, control: Trial | None, replacing: Sequence[Hooked], crossing: Crossing | None
) -> tuple[Verdict, str]:
    target = trial.target
    if trial.outcome is Outcome.TRANSLATED and trial.peer:
        became = Target(*trial.peer, target.protocol)
        return Verdict.BROKEN, (
            f"{target} becomes {became} before a mesh in the pod sees it: "
            "the mesh's policies for the service don't apply"
        )
    if trial.outcome is Outcome.REJECTED and any(hooked.owner != UNKNOWN_OWNER for hooked in replacing):
        return Verdict.BROKEN, (
            f"{_named(replacing, 'refuses', 'refuse')} {target} ({trial.reason}) before a mesh in the pod sees it, "
            "as for a service without backends"
        )
    if trial.outcome is not Outcome.PRESERVED:
        return Verdict.UNKNOWN, f"{target} could not be tried: {trial.reason}"
    if not replacing:
        return Verdict.OK, f"{target} stays as it is: no program sees where the pod connects"
    if control and control.outcome is Outcome.TRANSLATED:
        return Verdict.OK, f"{target} stays as it is for a pod, and is replaced for the node's own processes only"
    if crossing and crossing.result is Result.REPLACED:
        return Verdict.OK, f"{target} stays as it is in a pod, and is replaced behind the pod's interface, after a mesh"
    return Verdict.UNKNOWN, (
        f"{_named(replacing, 'sees', 'see')} where a pod connects, and did not replace {target}, and not for the "
        "node either: is that the address, port and protocol of a service with backends?"
    )


def _crossing(evidence: Evidence, trial: Trial) -> Crossing | None:
    """Return what becomes behind the pod's interface of an address that was tried."""
    crossings = evidence.datapath.crossings if evidence.datapath else ()
    return next((crossing for crossing in crossings if crossing.target == trial.target), None)


def _coverage(evidence: Evidence) -> Coverage | None:
    """Return for whom addresses were seen to be replaced; None if that is not known."""
    if any(trial.outcome is Outcome.TRANSLATED for trial in evidence.pod):
        return Coverage.ALL
    if any(trial.outcome is Outcome.TRANSLATED for trial in evidence.node):
        return Coverage.NODE
    if not evidence.applying and not evidence.elsewhere and not evidence.missing:
        return Coverage.NONE
    return None


def _drift(evidence: Evidence) -> Iterator[str]:
    """Yield where what the kernel does differs from what is configured."""
    seen = _coverage(evidence)
    for claim in evidence.claims:
        if seen is not None and claim.coverage is not seen:
            yield f"{claim.source} says that service addresses are replaced {claim.coverage}; the kernel does it {seen}"
    for first, other in itertools.pairwise(evidence.claims):
        if seen is None and other.coverage is not first.coverage:
            yield (
                f"{first.source} says that service addresses are replaced {first.coverage}, "
                f"{other.source} {other.coverage}"
            )


def _notes(evidence: Evidence) -> Iterator[str]:
    if evidence.uncontrolled:
        yield f"nothing was tried from the node itself: {evidence.uncontrolled}"
    unknown = [hooked for hooked in evidence.applying if hooked.owner == UNKNOWN_OWNER]
    if unknown:
        yield f"{_named(unknown, 'belongs', 'belong')} to no product that is known here"
    apart = [hooked for hooked in evidence.elsewhere if not hooked.cgroup.startswith(f"{evidence.cgroup}/")]
    if apart:
        yield f"{_named(apart, 'applies', 'apply')} to {apart[0].cgroup}, not to pods"
    if evidence.ztunnel:
        yield (
            f"{evidence.ztunnel} says that Cilium has a ztunnel of its own; beside Istio ambient two agents claim a "
            "pod whose namespace has the labels of both (io.cilium/mtls-enabled, istio.io/dataplane-mode)"
        )
    yield from _behind(evidence)


def _behind(evidence: Evidence) -> Iterator[str]:
    """Yield what is worth knowing of the programs behind the pod's interface."""
    if evidence.datapath and evidence.datapath.missing:
        yield f"nothing is known of what happens behind the pod's interface: {evidence.datapath.missing}"
    for trial in evidence.pod:
        crossing = _crossing(evidence, trial)
        if trial.outcome is Outcome.PRESERVED and crossing and crossing.result is Result.ALONE:
            yield (
                f"no program replaces {trial.target}, neither where the pod connects nor behind its interface: "
                "the node's own rules may (kube-proxy's), or it is not the address of a service with backends"
            )


def _advice(evidence: Evidence, verdict: Verdict, *, drift: bool) -> Iterator[str]:
    if verdict is Verdict.OK:
        return
    owners = {hooked.owner for hooked in evidence.applying}
    if verdict is Verdict.BROKEN and "Cilium" in owners:
        settled = any(claim.coverage is not Coverage.ALL for claim in evidence.claims)
        if not settled:
            yield "set Cilium's Helm value socketLB.hostNamespaceOnly=true"
        yield "restart Cilium's agents: kubectl --namespace kube-system rollout restart ds/cilium"
    elif verdict is Verdict.BROKEN and "Calico" in owners:
        yield "set bpfConnectTimeLoadBalancing to Disabled in Calico's FelixConfiguration"
    elif verdict is Verdict.BROKEN:
        yield f"ask who attached {_named(evidence.applying)}, and for a setting that spares pods"
    elif drift:
        yield "restart the agent whose configuration and programs differ"


def _replacing(applying: Iterable[Hooked], target: Target) -> list[Hooked]:
    return [hooked for hooked in applying if replaces(hooked.hook, target.address, target.protocol)]


def _named(found: Sequence[Hooked], one: str = "", several: str = "") -> str:
    """Return programs as a sentence's subject with its verb; of more than two only the first: a table has them all."""
    names = list(dict.fromkeys(f"{hooked.program.name} ({hooked.owner})" for hooked in found))
    if len(names) > 2:
        names = [names[0], f"{len(names) - 1} other programs"]
    return f"{' and '.join(names)} {one if len(names) == 1 else several}".rstrip()
