"""Rules for a node whose runtime calls Multus, which should run the facade for pods (Multus 4.3)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, of_node
from cni_chain.node import usage
from cni_chain.node.facades import FacadeFile, is_facade

NETWORK = Kind(
    "multus-other-network",
    ERROR,
    "Multus runs another network for pods than the facade",
    "No new pod gets the chain.",
    "Set multusMasterCNI, or --multus-master-cni-file-name, to the facade's name, and restart Multus's pod.",
    stops=True,
)
COPY = Kind(
    "multus-copy-stale",
    WARNING,
    "Multus's file has a copy of the facade that differs from the facade",
    "Pods get the chain as it was when Multus started.",
    "Restart Multus's pod on this node.",
)
GC = Kind(
    "multus-gc",
    WARNING,
    "Multus's file has `cniVersion` 1.1.0, with which runtimes call GC",
    "At GC, Multus frees the network of each pod that is not in its own cache, also of pods from before Multus.",
    'Write "cniVersion": "1.0.0" in the facade; Multus copies it from there.',
)


@of_node(NETWORK, COPY, GC)
def behind(node: Node) -> Iterator[Finding]:
    """Yield what is wrong if Multus's file sorts first and the facade is in the same directory."""
    directory = node.directory
    name = next(iter(directory.names), "")
    document = node.document(name) if "multus" in name else None
    if document is None:
        return
    for survey in node.surveys:
        if directory.holds(survey.file.path):
            path = f"{directory.path}/{name}"
            yield from _network(path, next(iter(usage.plugins(document)), {}), survey.file)
            yield from _gc(path, document)


def _network(path: str, multus: dict[str, Any], file: FacadeFile) -> Iterator[Finding]:
    """Yield a network that Multus runs for pods instead of the facade, or an old copy of the facade."""
    facade = os.path.basename(file.path)
    network, delegates = multus.get("clusterNetwork"), multus.get("delegates")
    if isinstance(network, str) and network.startswith("/"):  # as Multus' pod sees it; the directory may differ
        taken = os.path.basename(network)
        if taken != facade:
            yield NETWORK.at(path, f"Multus runs {taken} for pods, not {facade}: set multusMasterCNI to {facade}")
    elif isinstance(delegates, list) and delegates and isinstance(delegates[0], dict):
        if not is_facade(delegates[0]):
            what = f"Multus runs another network for pods: set --multus-master-cni-file-name={facade}"
            yield NETWORK.at(path, what)
        elif delegates[0] != file.document:
            yield COPY.at(path, f"has an old copy of {facade}, from Multus's start: restart Multus's pod on this node")


def _gc(path: str, document: dict[str, Any]) -> Iterator[Finding]:
    """Yield a version with which runtimes call GC (Multus's `CmdGC` treats its own cache as the list of all pods)."""
    if document.get("cniVersion") == "1.1.0":
        yield GC.at(
            path,
            "key cniVersion: with 1.1.0 runtimes call GC, and Multus then frees the network of each pod that is not in "
            "its own cache, also of older pods; write cniVersion 1.0.0 in the facade, and Multus copies it from there",
        )
