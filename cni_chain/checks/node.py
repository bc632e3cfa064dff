"""The node that the rules check, and what several rules read of it. Reads only."""

from __future__ import annotations

import functools
from typing import Any

from cni_chain.checks.places import Places
from cni_chain.node import runtimes, usage
from cni_chain.node.attachments import StateDir
from cni_chain.node.facades import NetDir
from cni_chain.node.negotiation import Spoken
from cni_chain.node.progress import Progress, silent
from cni_chain.node.runtimes import Runtime
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree


class Node:
    """Everything that the rules read. `progress` shows which plugin is asked for its versions."""

    def __init__(
        self,
        tree: Tree,
        directory: NetDir,
        surveys: list[Survey],
        bin_dirs: list[str],
        states: list[StateDir] | None = None,
        progress: Progress = silent,
    ) -> None:
        self.tree = tree
        self.directory = directory
        self.surveys = surveys
        self.bin_dirs = bin_dirs
        self.states = states or []
        self._progress = progress
        self._places: dict[int, Places] = {}
        self._spoken: dict[int, Spoken] = {}

    def of(self, survey: Survey) -> Node:
        """Return the same node with one of its facades alone."""
        node = Node(self.tree, self.directory, [survey], self.bin_dirs, self.states, self._progress)
        node._places, node._spoken = self._places, self._spoken
        return node

    def places(self, survey: Survey) -> Places:
        """Return the places of everything in the files of one facade's chain."""
        return self._places.setdefault(id(survey), Places(survey))

    def spoken(self, survey: Survey) -> Spoken:
        """Return the versions that the plugins of one facade's chain support; each plugin is asked once."""
        if id(survey) not in self._spoken:
            links = (link for part in survey.parts for link in part.delegates)
            self._spoken[id(survey)] = Spoken(survey, links, self._progress)
        return self._spoken[id(survey)]

    @functools.cached_property
    def runtimes(self) -> list[Runtime]:
        """The runtimes that are installed; on this system they are asked for their releases."""
        return runtimes.installed(self.tree, self.directory)


def document_in(node: Node, name: str) -> dict[str, Any] | None:
    """Return the content of a file of the runtime's directory, None if it is not a configuration."""
    return usage.read(node.tree, f"{node.directory.path}/{name}")


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
