"""What the doctor's checks have in common: the node they look at, and what they find. Reads only."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from cni_chain.node.attachments import StateDir
from cni_chain.node.facades import NetDir
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree


class Trouble(NamedTuple):
    """One finding: what is so, why it matters, what to do. `id` names the kind, for programs."""

    id: str
    path: str
    what: str
    why: str
    do: str
    warning: bool = False


class Node(NamedTuple):
    """All that is looked at."""

    tree: Tree
    directory: NetDir
    surveys: list[Survey]
    bin_dirs: list[str]
    states: list[StateDir]


def document_in(node: Node, name: str) -> dict[str, Any] | None:
    """Return what a file of the runtime's directory holds, None if that is no configuration."""
    try:
        document = json.loads(node.tree.read(f"{node.directory.path}/{name}"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def plugins_of(document: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the plugins of a configuration, a list or a single plugin."""
    plugins = [] if document is None else document.get("plugins", [document])
    return [one for one in plugins if isinstance(one, dict)] if isinstance(plugins, list) else []


def plugins_in(node: Node, name: str) -> list[dict[str, Any]]:
    """Return the plugins of a file of the runtime's directory."""
    return plugins_of(document_in(node, name))


def types_in(document: dict[str, Any] | None) -> list[str]:
    """Return the plugin types in a configuration."""
    return [one["type"] for one in plugins_of(document) if isinstance(one.get("type"), str)]


def listed(words: list[str], most: int = 3) -> str:
    """Return some words as a sentence has them, and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
