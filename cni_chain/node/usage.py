"""The configuration that a runtime uses now, and the one that it would use with or without a facade. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cni_chain.agents.multus import MULTUS
from cni_chain.node import crio, locate
from cni_chain.node.crio import Pinned
from cni_chain.node.errors import UnreadableError
from cni_chain.node.facades import FacadeFile, NetDir
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree


def replaced(tree: Tree, directory: NetDir) -> tuple[str, dict[str, Any] | None] | None:
    """Return the configuration that pods get now without cni-chain and behind Multus: its path and its content."""
    pin = pinned(tree, directory)
    first = None
    for path in others(directory):
        document = read(tree, path)
        if document is not None and is_multus(document):
            continue
        if pin is None or (document or {}).get("name") == pin.network:
            return path, document
        first = first or (path, document)
    return first if pin is None or not crio.runs_alone(tree) else None


def others(directory: NetDir) -> list[str]:
    """Return the paths of the configurations that are not facades, in order."""
    ours = {file.path for file in directory.facades}
    return [path for name in directory.names if (path := f"{directory.path}/{name}") not in ours]


def pinned(tree: Tree, directory: NetDir) -> Pinned | None:
    """Return the network that CRI-O's settings name, None if they name none. Raises RefusedError.

    None also if containerd runs and CRI-O doesn't, and if it is Multus's own: Multus finds the others by file name.
    """
    if not crio.may_run(tree):
        return None
    pin = crio.pinned(tree)
    documents = [read(tree, path) or {} for path in others(directory)]
    return None if any(is_multus(one) and pin and one.get("name") == pin.network for one in documents) else pin


def never_taken(tree: Tree, directory: NetDir, network: str) -> str:
    """Return why CRI-O would not take a facade named `network` and what to do, "" if it would. Raises RefusedError."""
    pin = pinned(tree, directory)
    if pin is None or pin.network == network:
        return ""
    return (
        f"{pin.file}: key crio.network.{crio.KEY}: is {pin.network}, and CRI-O takes no other network: no pod would "
        f"get the chain of a facade called {network}. Pass --name {pin.network}, or remove that key and restart CRI-O"
    )


def read(tree: Tree, path: str) -> dict[str, Any] | None:
    """Return the content of a configuration of the runtime, None if it can't be read."""
    try:
        document, _ = locate.decode(tree.read(path))
    except (OSError, UnreadableError):
        return None
    return document


def types(document: dict[str, Any]) -> list[str]:
    """Return the types of a configuration's plugins."""
    plugins = document.get("plugins", [document])
    listed = [plugin.get("type") for plugin in plugins if isinstance(plugin, dict)] if isinstance(plugins, list) else []
    return [type_ for type_ in listed if isinstance(type_, str)]


def is_multus(document: dict[str, Any]) -> bool:
    """Return whether a configuration is Multus's own, which uses another one for the pods' network."""
    return any(type_ in MULTUS.types for type_ in types(document))


def lost(tree: Tree, file: FacadeFile, path: str, kept: Iterable[str]) -> list[str]:
    """Return a warning for each plugin of a facade's chain that is missing in `path`, whose plugins are `kept`."""
    survey = Survey(tree, file, [])
    gone = {link.type for part in survey.parts for link in part.delegates} - set(kept)
    return [
        f"{path} has no {kind}: new pods run without it until you move its agent back and it adds its plugin"
        for kind in sorted(gone)
    ]
