"""Rules about the fragments that agents wrote: most find a setting of a chart that somebody forgot."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cni_chain.agents.istio import ISTIO, lacks_retry
from cni_chain.agents.registry import MESHES
from cni_chain.checks.places import Places
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, of_chain
from cni_chain.node.survey import Survey

NO_RETRY = (
    "istio-cni lets a pod run outside the mesh if it can't look up the pod's namespace: set "
    "enable_ambient_detection_retry (Helm: ambient.enableAmbientDetectionRetry, Istio 1.28 and later)"
)
MISNAMED = (
    "Istio's agent treats a single plugin in a file of this name as invalid, and writes the file and the plugin's "
    "binary again and again: set cniConfFileName to a name that ends in .conf"
)


NO_EXEMPTION = Kind(
    "owner-exempts-none",
    WARNING,
    "a mesh's owner is required and exempts no pod",
    "If the agent that installs the mesh's plugin runs in a pod without host network, that pod waits for a fragment "
    "that only it can write: a new node never becomes Ready.",
    "Add the agent's pods to the owner's exempt (docs/reference/facade.md).",
)
EXEMPT_ELSEWHERE = Kind(
    "owner-exempts-elsewhere",
    WARNING,
    "an owner exempts pods of another namespace than the one in which its agent runs",
    "The agent's own pod may wait for a fragment that only it can write, after a reboot at the latest.",
    "Add the agent's namespace to the owner's exempt.",
)
WITHOUT_RETRY = Kind(
    "istio-without-retry",
    WARNING,
    "istio-cni is in ambient mode and doesn't retry when the Kubernetes API fails",
    "If the plugin can't look up a pod's namespace, the pod runs outside the mesh, without an error.",
    "Set ambient.enableAmbientDetectionRetry in Istio's chart (Istio 1.28 and later).",
)
FILE_NAME = Kind(
    "istio-file-name",
    WARNING,
    "Istio's fragment is a single plugin in a file that doesn't end in .conf",
    "Istio's agent treats it as invalid, and writes it and the plugin's binary again each second.",
    "Set cniConfFileName to a name that ends in .conf.",
)
NO_KUBECONFIG = Kind(
    "kubeconfig-missing",
    ERROR,
    "a plugin's configuration names a kubeconfig that doesn't exist",
    "The plugin fails for every pod, so no new pod starts.",
    "The plugin's agent writes that file. If it wrote it to another directory, only one of its two directory settings "
    "was changed: set both.",
    stops=True,
)

KUBECONFIG_ELSEWHERE = Kind(
    "kubeconfig-elsewhere",
    WARNING,
    "a plugin's configuration names a kubeconfig outside its owner's directory, and one of that name lies inside",
    "The agent renews the one inside. When the token of the other has expired, no new pod starts, and none is deleted "
    "whose record names it (Unauthorized).",
    "Only one of the agent's two directory settings was changed: set both (for Calico by manifest the hostPath of the "
    "volume cni-net-dir, and CNI_NET_DIR), then restart the agent on this node.",
)


@of_chain(NO_EXEMPTION, EXEMPT_ELSEWHERE)
def exemptions(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the meshes' owners whose agent may wait for itself; a facade without a list of owners can exempt no pod."""
    for part in survey.parts if survey.facade.owners is not None else ():
        owner = part.owner
        meshes = MESHES & ({link.type for link in part.delegates} | (owner.types or frozenset()))
        if owner.required and meshes and not owner.exempt:
            message = (
                f"owner {owner.name} exempts no pod: if the agent that installs {min(meshes)} runs in a pod "
                "without host network, that pod waits for itself"
            )
            yield NO_EXEMPTION.at(places.owner(owner), message)
        for link in part.delegates:
            namespace = link.conf.get("pod_namespace")  # where Istio's agent itself runs (1.26 and later)
            exempt = [of for of, _ in owner.exempt]
            if link.type == ISTIO.type and isinstance(namespace, str) and exempt and namespace not in exempt:
                message = (
                    f"owner {owner.name} exempts pods of {', '.join(exempt)}, but its agent runs in {namespace} "
                    f"(pod_namespace in {link.path}) and may wait for itself"
                )
                yield EXEMPT_ELSEWHERE.at(places.owner(owner, "exempt"), message)


@of_chain(WITHOUT_RETRY)
def retry(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield each istio-cni that lets a pod run outside the mesh when the Kubernetes API fails."""
    for link in survey.delegates:
        if lacks_retry(link.conf):
            yield WITHOUT_RETRY.at(places.link(link), NO_RETRY)


@of_chain(FILE_NAME)
def names(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield Istio's files that its agent treats as invalid."""
    for fragment in survey.fragments:
        is_istios = any(plugin["type"] == ISTIO.type for plugin in fragment.plugins)
        if is_istios and not fragment.path.endswith(".conf") and not places.is_list(fragment.path):
            yield FILE_NAME.at(fragment.path, MISNAMED)


@of_chain(NO_KUBECONFIG, KUBECONFIG_ELSEWHERE)
def kubeconfigs(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the kubeconfigs that plugins' configurations name and that don't exist, or that no agent renews."""
    for link in survey.delegates:
        for key, path in credentials(link.conf):
            if not os.path.exists(survey.tree.real(path)):
                message = (
                    f"{link.type} reads {path}, which doesn't exist: no pod gets a network. Its agent writes that "
                    "file; if it wrote it to another directory, only one of its two directory settings was changed"
                )
                yield NO_KUBECONFIG.at(places.link(link, key), message)
                continue
            renewed = f"{os.path.dirname(link.path)}/{os.path.basename(path)}"
            if path != renewed and os.path.exists(survey.tree.real(renewed)):
                message = f"{link.type} reads {path}, but its agent renews {renewed}"
                yield KUBECONFIG_ELSEWHERE.at(places.link(link, key), message)


def credentials(conf: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the key and the path of the kubeconfig that a plugin's configuration names."""
    kubernetes = conf.get("kubernetes")
    nested = kubernetes.get("kubeconfig") if isinstance(kubernetes, dict) else None
    if isinstance(nested, str) and nested.startswith("/"):  # Calico, Linkerd, Kuma, Istio up to 1.23
        yield "kubernetes.kubeconfig", nested
    directory, name = conf.get("cni_net_dir"), conf.get("kubeconfig")
    if isinstance(directory, str) and isinstance(name, str) and directory.startswith("/") and name:  # Consul
        yield "kubeconfig", os.path.join(directory, name)
