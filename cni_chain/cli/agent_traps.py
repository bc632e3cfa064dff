"""What is wrong with what agents wrote: mostly a setting of a chart that was forgotten. One small function a trap."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from cni_chain.cli.findings import Finding, Place
from cni_chain.cli.places import Places
from cni_chain.cli.plugins import ISTIO, MESHES
from cni_chain.cli.survey import Survey

NO_RETRY = (
    "istio-cni lets a pod run outside the mesh if it can't look up the pod's namespace: set "
    "enable_ambient_detection_retry (Helm: ambient.enableAmbientDetectionRetry, Istio 1.28 and later)"
)
# Agents that write no file of their own, by the plugin that they add to one.
SEEDS = {
    "linkerd-cni": (
        'Linkerd only edits lists that are here: put one with "plugins": [] in as its seed, under a name without '
        '"linkerd" (conf/examples/linkerd).'
    ),
    "consul-cni": (
        "Consul only edits a list that has a plugin: put one with loopback in as its seed (conf/examples/consul), and "
        "leave that out by types."
    ),
}
MISNAMED = (
    "Istio's agent takes a single plugin in a file of this name for invalid, and writes it and its binary again "
    "without end: set cniConfFileName to a name that ends in .conf"
)


def agents(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield what is wrong with what the agents of one facade's owners wrote."""
    for trap in _TRAPS:
        yield from trap(survey, places)


def lacks_retry(conf: dict[str, object]) -> bool:
    """Tell whether a plugin's object is an istio-cni's that is for ambient pods and lets them go when the API fails."""
    return (
        conf.get("type") == ISTIO
        and conf.get("ambient_enabled") is True
        and conf.get("enable_ambient_detection_retry") is not True
    )


def _exempt(survey: Survey, places: Places) -> Iterator[Finding]:
    if survey.facade.owners is None:
        return  # the facade's owners can't be told, and directories exempt nobody
    for part in survey.parts:
        owner = part.owner
        meshes = MESHES & ({link.type for link in part.links} | (owner.types or frozenset()))
        if owner.required and meshes and not owner.exempt:
            message = (
                f"owner {owner.name} exempts no pod: if the agent that installs {min(meshes)} runs in a pod "
                "without host network, that pod waits for itself"
            )
            yield Finding(places.owner(owner), message, warning=True)
        for link in part.links:
            namespace = link.conf.get("pod_namespace")  # where Istio's agent itself runs (1.26 and later)
            exempt = [of for of, _ in owner.exempt]
            if link.type == ISTIO and isinstance(namespace, str) and exempt and namespace not in exempt:
                message = (
                    f"owner {owner.name} exempts pods of {', '.join(exempt)}, but its agent runs in {namespace} "
                    f"(pod_namespace in {link.path}) and may wait for itself"
                )
                yield Finding(places.owner(owner, "exempt"), message, warning=True)


def _retry(survey: Survey, places: Places) -> Iterator[Finding]:
    for part in survey.parts:
        for link in part.links:
            if lacks_retry(link.conf):
                yield Finding(places.link(link), NO_RETRY, warning=True)


def _names(survey: Survey, places: Places) -> Iterator[Finding]:
    for part in survey.parts:
        for fragment in part.directory.fragments:
            is_istios = any(plugin["type"] == ISTIO for plugin in fragment.plugins)
            if is_istios and not fragment.path.endswith(".conf") and not places.is_list(fragment.path):
                yield Finding(Place(fragment.path), MISNAMED, warning=True)


def _kubeconfigs(survey: Survey, places: Places) -> Iterator[Finding]:
    for part in survey.parts:
        for link in part.links:
            for key, path in credentials(link.conf):
                if not os.path.exists(survey.tree.real(path)):
                    message = (
                        f"{link.type} reads {path}, which isn't there: no pod gets a network. Its agent writes that "
                        "file too; if it did so elsewhere, only one of its two directory settings was changed"
                    )
                    yield Finding(places.link(link, key), message)


def credentials(conf: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the key and the path of the kubeconfig that a plugin is told to read."""
    kubernetes = conf.get("kubernetes")
    nested = kubernetes.get("kubeconfig") if isinstance(kubernetes, dict) else None
    if isinstance(nested, str) and nested.startswith("/"):  # Calico, Linkerd, Kuma, Istio up to 1.23
        yield "kubernetes.kubeconfig", nested
    directory, name = conf.get("cni_net_dir"), conf.get("kubeconfig")
    if isinstance(directory, str) and isinstance(name, str) and directory.startswith("/") and name:  # Consul
        yield "kubeconfig", os.path.join(directory, name)


_TRAPS: tuple[Callable[[Survey, Places], Iterator[Finding]], ...] = (_exempt, _retry, _names, _kubeconfigs)
