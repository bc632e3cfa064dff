"""What the doctor's checks have in common: the node they look at, and what they find. Pure."""

from __future__ import annotations

from typing import NamedTuple

from cni_chain.cli.attached import StateDir
from cni_chain.cli.facades import NetDir
from cni_chain.cli.survey import Survey
from cni_chain.cli.tree import Tree


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


def types_in(document: object) -> list[str]:
    """Return the plugin types in a configuration, a list or a single plugin."""
    plugins = document.get("plugins", [document]) if isinstance(document, dict) else []
    found = [one.get("type") for one in plugins if isinstance(one, dict)] if isinstance(plugins, list) else []
    return [one for one in found if isinstance(one, str)]


def listed(words: list[str], most: int = 3) -> str:
    """Return some words as a sentence has them, and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
