"""The node that the rules check, and what several rules read of it. Reads only."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from cni_chain.agents.multus import MULTUS
from cni_chain.agents.registry import MESHES
from cni_chain.checks.places import Places
from cni_chain.node import runtimes, usage
from cni_chain.node.attachments import StateDir
from cni_chain.node.crio import Pinned
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import NetDir
from cni_chain.node.negotiation import Spoken
from cni_chain.node.progress import Progress, silent
from cni_chain.node.runtimes import Runtime, Settings
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree

if TYPE_CHECKING:
    from cni_chain.mesh.summary import Summary


class Node:
    """Everything that the rules read. `progress` shows which plugin is asked for its versions.

    With `mesh`, what a mesh sees of the node is looked at: in child processes, one for each of some pods.
    """

    def __init__(
        self,
        tree: Tree,
        directory: NetDir,
        surveys: list[Survey],
        bin_dirs: list[str],
        states: list[StateDir] | None = None,
        progress: Progress = silent,
        *,
        mesh: bool = False,
    ) -> None:
        self.tree = tree
        self.directory = directory
        self.surveys = surveys
        self.bin_dirs = bin_dirs
        self.states = states or []
        self._progress = progress
        self._places: dict[int, Places] = {}
        self._spoken: dict[int, Spoken] = {}
        self._looks_at_mesh = mesh
        self._summary: list[Summary] = []

    def of(self, survey: Survey) -> Node:
        """Return the same node with one of its facades alone."""
        looks = self._looks_at_mesh
        node = Node(self.tree, self.directory, [survey], self.bin_dirs, self.states, self._progress, mesh=looks)
        node._places, node._spoken, node._summary = self._places, self._spoken, self._summary
        return node

    def places(self, survey: Survey) -> Places:
        """Return the places of everything in the files of one facade's chain."""
        return self._places.setdefault(id(survey), Places(survey))

    def spoken(self, survey: Survey) -> Spoken:
        """Return the versions that the plugins of one facade's chain support; each plugin is asked once."""
        if id(survey) not in self._spoken:
            self._spoken[id(survey)] = Spoken(survey, survey.delegates, self._progress)
        return self._spoken[id(survey)]

    @functools.cached_property
    def settings(self) -> dict[str, Settings]:
        """The settings of the runtimes that are installed, by name."""
        return runtimes.settings(self.tree)

    @functools.cached_property
    def pin(self) -> Pinned | None:
        """The network that CRI-O's settings name, where CRI-O may be the runtime; None if they name none."""
        try:
            return None if list(self.settings) == ["containerd"] else usage.pinned(self.tree, self.directory)
        except RefusedError:  # `runtime-settings-unreadable`
            return None

    @functools.cached_property
    def runtimes(self) -> list[Runtime]:
        """The runtimes that are installed; on this system they are asked for their releases."""
        return runtimes.installed(self.tree, self.directory)

    @property
    def mesh(self) -> Summary | None:
        """What a mesh sees of this system, looked at once; None if nobody asked, or no mesh's plugin is in a chain."""
        types = {link.type for survey in self.surveys for link in survey.delegates}
        if not self._looks_at_mesh or not self.tree.is_this_system or not types & MESHES:
            return None
        if not self._summary:
            from cni_chain.mesh import summary  # loaded where there is a mesh only

            self._summary.append(summary.look(self.states))
        return self._summary[0]

    def document(self, name: str) -> dict[str, Any] | None:
        """Return the content of a file of the runtime's directory, None if it is not a configuration."""
        return usage.read(self.tree, f"{self.directory.path}/{name}")

    @functools.cached_property
    def plugins(self) -> list[dict[str, Any]]:
        """The configurations of all plugins that a runtime's call reaches: those of the chains, and Multus before."""
        chained = [link.conf for survey in self.surveys for link in survey.delegates]
        beside = [conf for name in self.directory.names for conf in usage.plugins(self.document(name))]
        return chained + [conf for conf in beside if conf.get("type") in MULTUS.types]
