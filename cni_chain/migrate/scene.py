"""One node during its migration: the list as it was and as it is, the facade's chain, and the agents. Reads only."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cni_chain.agents.agent import Agent
from cni_chain.agents.registry import BY_OWNER, OWNER_OF
from cni_chain.migrate import split
from cni_chain.migrate.plan import Paths
from cni_chain.migrate.split import Share
from cni_chain.node.conflists import Live
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree
from cni_chain.plugin.chain import OwnerChain


class Member(NamedTuple):
    """An owner of the facade whose agent is known, and how far that agent is."""

    agent: Agent
    directory: str
    conf: dict[str, Any]  # of its main plugin; {} if it has none yet
    writes: bool  # its directory has a fragment with its plugin
    moved: bool  # and the agent has written that itself
    added: bool  # the list never had its plugin
    required: bool

    @property
    def owner(self) -> str:
        """The owner's name."""
        return self.agent.owner


def in_use(survey: Survey) -> list[Member]:
    """Return the known agents among the owners of a facade, as it is without a list from before.

    A mesh counts as added, and without a configuration until it has written.
    """
    found = []
    for part in survey.parts:
        agent = BY_OWNER.get(part.owner.name)
        conf = next((dict(link.conf) for link in part.delegates), {})
        if agent is not None and (conf or agent.mesh):
            directory, required = part.directory.path, part.owner.required
            found.append(Member(agent, directory, conf, bool(conf), False, agent.mesh, required))
    return found


class Scene:
    """What guards and steps read. `before` is the list from which the fragments were made, `live` the one in use."""

    def __init__(self, tree: Tree, paths: Paths, survey: Survey, before: Live, live: Live) -> None:
        self.tree = tree
        self.paths = paths
        self.survey = survey
        self.before = before
        self.live = live

    def plugins(self, owner: str) -> list[dict[str, Any]]:
        """Return the plugins of an owner that the list had."""
        part = self._part(owner)
        types = part.owner.types if part else None
        return [plugin for plugin in self.before.plugins if plugin["type"] in (types or ())]

    def fragment(self, owner: str) -> str:
        """Return the file that has an owner's plugin, "" if none does."""
        part = self._part(owner)
        return next((link.path for link in part.delegates), "") if part and part.usable else ""

    def is_copy(self, owner: str) -> bool:
        """Return whether an owner's fragment is still the copy that migrate wrote, so its agent has not written it yet.

        No agent formats its files as migrate does.
        """
        for file in split.files(Share(owner, self.plugins(owner)), self.before):
            try:
                if self.tree.read(f"{self.paths.directory(owner)}/{file.name}") == file.content:
                    return True
            except OSError:
                continue
        return False

    def members(self) -> list[Member]:
        """Return the known agents among the facade's owners, in its order."""
        found = []
        for part in self.survey.parts:
            agent = BY_OWNER.get(part.owner.name)
            plugins = self.plugins(part.owner.name) if agent else []
            if agent is None or not (plugins or agent.mesh):
                continue
            written = self.fragment(agent.owner)
            conf = plugins[0] if plugins else next((dict(link.conf) for link in part.delegates), {})
            if plugins:
                moved = bool(written) and not self.is_copy(agent.owner)
            else:  # an older fragment may be a copy from an earlier list
                moved = self.time(written) > self.time(self.paths.record(self.before)) if written else False
            directory = self.paths.directory(agent.owner)
            found.append(Member(agent, directory, conf, bool(written), moved, not plugins, part.owner.required))
        return found

    def moved(self) -> set[str]:
        """Return the owners whose agents have written their fragments themselves."""
        return {member.owner for member in self.members() if member.moved}

    def time(self, path: str, *, renamed: bool = False) -> int:
        """Return when a file was written, or with `renamed` when it got its name; 0 if it doesn't exist."""
        try:
            status = os.stat(self.tree.real(path))
        except OSError:
            return 0
        return status.st_ctime_ns if renamed else status.st_mtime_ns

    def _part(self, owner: str) -> OwnerChain | None:
        return next((part for part in self.survey.parts if part.owner.name == owner), None)


class Change(NamedTuple):
    """How the list has changed since the fragments were written; `gone` is a plugin that it has lost."""

    what: str
    gone: str = ""


def changed(scene: Scene) -> Change | None:
    """Return how the list has changed since the fragments were written, None if in no way that matters.

    An agent that has moved removes its own plugin from the list; the copy from before has it.
    """
    before, live = scene.before, scene.live
    if live.path != before.path:
        return Change(f"the runtime now takes {live.path}, the fragments were written from {before.path}")
    for key in ("name", "cniVersion", "cniVersions", "disableCheck", "disableGC"):
        if live.document.get(key) != before.document.get(key) and live.is_list:
            return Change(f"{live.path}: key {key}: has changed since the fragments were written")
    rest = list(live.plugins)
    for plugin in before.plugins:
        kind = plugin["type"]
        if rest and rest[0]["type"] == kind:
            if rest.pop(0) != plugin:
                return Change(f"{live.path}: {kind} has changed since the fragments were written")
            continue
        owner = OWNER_OF.get(kind, "")
        if not owner or not scene.fragment(owner) or scene.is_copy(owner):
            return Change(f"{live.path}: {kind} was removed since the fragments were written", kind)
    if rest:
        return Change(f"{live.path}: {rest[0]['type']} was added since the fragments were written")
    return None
