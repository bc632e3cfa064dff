"""Rules about the mesh whose plugin is in the chain: what it sees of this node's pods, and who else claims them."""

from __future__ import annotations

from collections.abc import Iterator

from cni_chain.agents import istio
from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, Needs, of_node
from cni_chain.checks.wording import counted, listed
from cni_chain.mesh import claims
from cni_chain.node.survey import Survey
from cni_chain.plugin.facade import ENFORCE

_LABELS = "istio.io/dataplane-mode=ambient,io.cilium/mtls-enabled=true"

_EVIDENCE = "cni-chain mesh check shows the evidence, and what to do."
_REFUSED = 'The facade has mesh.serviceAddress "enforce": new pods with the mesh\'s plugin are refused (code 11).'

LOST = Kind(
    "service-addresses-lost",
    ERROR,
    "the node's load balancing replaces services' addresses before a mesh in the pod sees them "
    "(`cni-chain mesh check`: BROKEN)",
    "The mesh's policies for services don't apply to this node's pods, and nothing else reports it.",
    _EVIDENCE,
    milder='no facade has `mesh.serviceAddress: "enforce"`: pods start, and bypass these policies',
    stops=True,
)
UNSURE = Kind(
    "service-addresses-unknown",
    ERROR,
    "the facade has the key `mesh`, and it is unknown whether services' addresses reach the mesh "
    "(`cni-chain mesh check`: UNKNOWN)",
    "A pod that starts may bypass the mesh's policies for services.",
    _EVIDENCE,
    milder="the key `mesh` has `warn`: pods start",
    stops=True,
)
PARTLY = Kind(
    "pods-partly-captured",
    WARNING,
    "one of the newest 10 pods has only some of a mesh's rules, or no proxy where they lead",
    "Some connections of the pod bypass the mesh, or fail.",
    "cni-chain mesh pods says what is missing of each pod. Restart the pods; if it stays so, look at the mesh's agent "
    "and its proxy on this node.",
)
TWO_ZTUNNELS = Kind(
    "two-ztunnels",
    WARNING,
    "Cilium's own ztunnel mode (`encryption.type=ztunnel`) is on beside Istio ambient",
    "Both lay their rules in a pod whose namespace has the labels of both, with the same ports and chains: which "
    "ztunnel gets its connections, and by whose identity, is left to chance.",
    f"Enrol each namespace in one of them only: kubectl get namespaces -l {_LABELS} must list none. Or switch "
    "Cilium's off: encryption.enabled=false in its chart, then restart its agents.",
)


@of_node(TWO_ZTUNNELS, needs=Needs.NODE)
def two_ztunnels(node: Node) -> Iterator[Finding]:
    """Yield what shows that Cilium captures pods for a ztunnel of its own, where Istio's ambient mode does."""
    ambient = any(conf.get("type") == istio.ISTIO.type and istio.is_ambient(conf) for conf in node.plugins)
    path = claims.ztunnel_on_disk(node.tree) if ambient else ""
    if path:
        yield TWO_ZTUNNELS.at(
            path, "Cilium's agent captures pods for a ztunnel of its own, and Istio's ambient mode is in the chain"
        )


@of_node(LOST, UNSURE, needs=Needs.NODE)
def service_addresses(node: Node) -> Iterator[Finding]:
    """Yield that services' addresses don't reach the mesh; that it is unknown is a finding if a facade wants it."""
    if node.mesh is None or not (node.mesh.is_lost or node.mesh.is_unknown):
        return
    found, lost = node.mesh.addresses, node.mesh.is_lost
    for survey in node.surveys if lost else filter(_wants_it, node.surveys):
        enforced = survey.facade.service_address == ENFORCE
        yield (LOST if lost else UNSURE).at(
            node.places(survey).facade("mesh" if _wants_it(survey) else "owners"),
            f"services' addresses don't reach the mesh: {found.why}" if lost else f"unknown: {found.why}",
            why=_REFUSED if enforced else "",
            do=" ".join([*(f"{one[:1].upper()}{one[1:]}." for one in found.do), _EVIDENCE]),
            severity=ERROR if enforced else WARNING,
        )


def _wants_it(survey: Survey) -> bool:
    return survey.facade.service_address != ""


@of_node(PARTLY, needs=Needs.NODE)
def partly_captured(node: Node) -> Iterator[Finding]:
    """Yield the pods whose connections reach the mesh's proxy only partly."""
    found = node.mesh.partly if node.mesh else []
    if found:
        names = listed([pod.entry.pod or pod.entry.attachment.container_id for pod in found])
        yield PARTLY.at(
            found[0].entry.path, f"{counted(len(found), 'pod')} captured only partly ({names}): {found[0].capture.why}"
        )
