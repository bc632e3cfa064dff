"""The configuration that a runtime uses now, and the one that it would use with or without a facade. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    documents = {path: read(tree, path) for path in others(directory)}
    found = [path for _, _, path in taken(tree, directory, documents) if path is not None]
    return (found[-1], documents[found[-1]]) if found else None


def taken(
    tree: Tree, directory: NetDir, documents: Mapping[str, dict[str, Any] | None]
) -> Iterator[tuple[str, Pinned | None, str | None]]:
    """Yield each runtime that this node may have, the network that it needs, and the path that it takes of `documents`.

    Those are by path, in order. Multus takes the file behind its own for the pods' network, so its own is not enough.
    Raises RefusedError.
    """
    paths = [path for path, document in documents.items() if not is_multus(document)]
    pin = pinned(tree, directory)
    if pin is None or not crio.runs_alone(tree):
        yield "the runtime" if pin is None else "containerd", None, next(iter(paths), None)
    if pin is not None:
        named = (path for path in paths if (documents[path] or {}).get("name") == pin.network)
        yield "CRI-O", pin, next(named, None)


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
    pin = crio.setting(tree)
    documents = [one for path in others(directory) if (one := read(tree, path)) is not None]
    return None if any(is_multus(one) and pin and one.get("name") == pin.network for one in documents) else pin


def read(tree: Tree, path: str) -> dict[str, Any] | None:
    """Return the content of a configuration of the runtime, None if it can't be read."""
    try:
        document, _ = locate.decode(tree.read(path))
    except (OSError, UnreadableError):
        return None
    return document


def plugins(document: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the plugins of a configuration, a list or a single plugin; none if it couldn't be read."""
    listed = [] if document is None else document.get("plugins", [document])
    return [plugin for plugin in listed if isinstance(plugin, dict)] if isinstance(listed, list) else []


def types(document: dict[str, Any] | None) -> list[str]:
    """Return the types of a configuration's plugins."""
    return [plugin["type"] for plugin in plugins(document) if isinstance(plugin.get("type"), str)]


def is_multus(document: dict[str, Any] | None) -> bool:
    """Return whether a configuration is Multus's own, which uses another one for the pods' network."""
    return any(type_ in MULTUS.types for type_ in types(document))


def lost(tree: Tree, file: FacadeFile, path: str, kept: Iterable[str]) -> list[str]:
    """Return a warning for each plugin of a facade's chain that is missing in `path`, whose plugins are `kept`."""
    survey = Survey(tree, file, [])
    gone = {link.type for link in survey.delegates} - set(kept)
    return [
        f"{path} has no {kind}: new pods run without it until you move its agent back and it adds its plugin"
        for kind in sorted(gone)
    ]
