"""What is wrong with a Multus that is the runtime's plugin and should run the facade for pods (Multus 4.3)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from cni_chain.checks.findings import Finding
from cni_chain.node.facades import FacadeFile, NetDir, is_facade
from cni_chain.node.locate import Place
from cni_chain.node.tree import Tree


def behind(file: FacadeFile, directory: NetDir, tree: Tree) -> Iterator[Finding]:
    """Yield what is wrong if Multus' file is the runtime's first and the facade is in the same directory."""
    name = directory.names[0]
    if "multus" not in name or not directory.holds(file.path):
        return
    try:
        document = json.loads(tree.read(f"{directory.path}/{name}"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(document, dict):
        for message in (_network(_plugin(document), file), _gc(document)):
            if message:
                yield Finding(Place(f"{directory.path}/{name}"), message, warning=True)


def _plugin(document: dict[str, Any]) -> dict[str, Any]:
    plugins = document.get("plugins", [document])
    return plugins[0] if isinstance(plugins, list) and plugins and isinstance(plugins[0], dict) else {}


def _network(multus: dict[str, Any], file: FacadeFile) -> str:
    """Return what is said of the network that Multus runs for pods, "" if that is the facade's."""
    facade = os.path.basename(file.path)
    network, delegates = multus.get("clusterNetwork"), multus.get("delegates")
    if isinstance(network, str) and network.startswith("/"):  # as Multus' pod sees it; the directory may differ
        taken = os.path.basename(network)
        return "" if taken == facade else f"Multus runs {taken} for pods, not {facade}: set multusMasterCNI to {facade}"
    if not isinstance(delegates, list) or not delegates or not isinstance(delegates[0], dict):
        return ""
    if not is_facade(delegates[0]):
        return f"Multus runs another network for pods: --multus-master-cni-file-name={facade} makes it take {facade}"
    if delegates[0] != file.document:
        return f"holds a copy of {facade} as it was when Multus started: restart its pod on this node"
    return ""


def _gc(document: dict[str, Any]) -> str:
    """Return what is said of a version in which runtimes call GC (Multus `CmdGC` takes its own cache for all pods)."""
    if document.get("cniVersion") != "1.1.0":
        return ""
    return (
        "key cniVersion: in 1.1.0 runtimes call GC, and Multus frees the network of each pod that is not in its own "
        "cache, of those from before it too; have cniVersion 1.0.0 in the facade, from which it takes its own"
    )
