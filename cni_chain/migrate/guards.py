"""What would fail if the facade were put in place now: steps in an unsafe order, as seen on a node. Reads only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cni_chain.agents import istio
from cni_chain.agents.cilium import CILIUM
from cni_chain.agents.istio import ISTIO
from cni_chain.agents.registry import BY_OWNER, OWNER_OF
from cni_chain.checks import registry
from cni_chain.checks.net_dir import OUTSORTED
from cni_chain.checks.node import Node
from cni_chain.migrate import split
from cni_chain.migrate.plan import Paths
from cni_chain.migrate.split import Share
from cni_chain.node.conflists import Live
from cni_chain.node.facades import NetDir
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree

_BACKUP = ".cilium_bak"
# Istio has a guard of its own.
_EDITORS = {agent.owner: agent for agent in BY_OWNER.values() if agent.edits and agent is not ISTIO}


class Refusal(NamedTuple):
    """Why the switch is refused. With `despite` it is a guess from the files, and --despite overrules it."""

    name: str
    message: str
    despite: bool = False


class Scene:
    """What the guards read: the list as it was and as it is, and the chain behind the facade."""

    def __init__(self, tree: Tree, paths: Paths, survey: Survey, before: Live, live: Live) -> None:
        self.tree = tree
        self.paths = paths
        self.survey = survey
        self.before = before
        self.live = live

    def plugins(self, owner: str) -> list[dict[str, Any]]:
        """Return the plugins of an owner that the list had."""
        types = next((part.owner.types for part in self.survey.parts if part.owner.name == owner), None) or ()
        return [plugin for plugin in self.before.plugins if plugin["type"] in types]

    def fragment(self, owner: str) -> str:
        """Return the file that has an owner's plugin, "" if none does."""
        return next((link.path for link in self.survey.links if link.owner.name == owner), "")

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

    def time(self, path: str, *, renamed: bool = False) -> int:
        """Return when a file was written, or with `renamed` when it got its name; 0 if it doesn't exist."""
        try:
            status = os.stat(self.tree.real(path))
        except OSError:
            return 0
        return status.st_ctime_ns if renamed else status.st_mtime_ns


def refusals(scene: Scene) -> list[Refusal]:
    """Return every reason not to switch."""
    return [refusal for guard in _GUARDS for refusal in guard(scene)]


def _place(scene: Scene) -> Iterator[Refusal]:
    refusal = sorts_behind(scene.paths, scene.live)
    if refusal:
        yield refusal


def sorts_behind(paths: Paths, live: Live) -> Refusal | None:
    """Return why no runtime would take the facade, None if it sorts before the list."""
    name = os.path.basename(paths.facade)
    if os.fsencode(name) < os.fsencode(live.name):
        return None
    return Refusal(
        OUTSORTED.id,
        f"{live.path}: sorts before {name}, so no runtime would take the facade: choose another name, --facade NAME",
    )


def _programs(scene: Scene) -> Iterator[Refusal]:
    bin_dirs = scene.survey.bin_dirs
    if not any(os.access(scene.tree.real(f"{directory}/cni-chain"), os.X_OK) for directory in bin_dirs):
        file = f"{bin_dirs[0]}/cni-chain"
        yield Refusal("program-missing", f"{file}: is missing or not executable: run cni-chain install first")
    node = Node(scene.tree, NetDir(scene.paths.net_dir), [scene.survey], bin_dirs)
    # A configuration that a plugin refuses is refused in the active list as well.
    for finding in registry.of_chain(node):
        if registry.refused(finding):
            yield Refusal(finding.id, f"{scene.survey.file.path}: no new pod would get a network: {finding.text()}")


def _cilium(scene: Scene) -> Iterator[Refusal]:
    directory = scene.paths.directory(CILIUM.owner)
    fragment = scene.fragment(CILIUM.owner)
    if not fragment:
        return
    hidden = f"{scene.paths.facade}{_BACKUP}"
    if os.path.exists(scene.tree.real(hidden)):
        yield Refusal(
            "cilium-took-facade",
            f"{hidden}: Cilium has renamed the facade to this: set cni.confPath to {directory}, wait until Cilium has "
            "written there, then remove this file",
        )
    if scene.is_copy(CILIUM.owner):
        yield Refusal(
            "cilium-not-moved",
            f"{fragment}: is still the copy that migrate wrote, so Cilium still writes to {scene.paths.net_dir}, and "
            f"unless cni.exclusive is false it would rename the facade: set cni.confPath to {directory} first",
            despite=True,
        )
    written = scene.time(fragment)
    # A mesh's agent that has moved removed its plugin from the list: then its write is the newest.
    is_stripped = scene.live.types != scene.before.types and not stripped(scene)
    for name in (CILIUM.file, *CILIUM.older):
        path = f"{scene.paths.net_dir}/{name}"
        if scene.time(path) > written and not (is_stripped and path == scene.live.path):
            yield Refusal(
                "cilium-writes-net-dir",
                f"{path}: is newer than {fragment}, so Cilium may still write here: set cni.confPath to {directory}",
                despite=True,
            )
    yield from _set_aside(scene, fragment, hidden)


def _set_aside(scene: Scene, fragment: str, hidden: str) -> Iterator[Refusal]:
    since = scene.time(fragment, renamed=True)
    for name in sorted(os.listdir(scene.tree.real(scene.paths.net_dir))):
        path = f"{scene.paths.net_dir}/{name}"
        if name.endswith(_BACKUP) and path != hidden and scene.time(path, renamed=True) > since:
            yield Refusal(
                "cilium-sets-aside",
                f"{path}: Cilium renamed this file after {fragment} was written, so with cni.exclusive it still "
                f"watches {scene.paths.net_dir}: wait until its agent has restarted with the new cni.confPath",
                despite=True,
            )


def _istio(scene: Scene) -> Iterator[Refusal]:
    plugins = scene.plugins(ISTIO.owner)
    directory = scene.paths.directory(ISTIO.owner)
    if ISTIO.type in scene.live.types and not scene.fragment(ISTIO.owner):
        yield Refusal(
            "istio-edits-first-file",
            f"{scene.live.path}: has istio-cni, but {directory} has no fragment with it: Istio would append itself to "
            "the facade; run cni-chain migrate --write first",
        )
    elif plugins and scene.is_copy(ISTIO.owner) and not istio.leaves_others_first(plugins[0]):
        yield Refusal(
            "istio-edits-first-file",
            f"{scene.fragment(ISTIO.owner)}: is still the copy that migrate wrote, and Istio before 1.27 appends "
            f"itself to the first file, then the facade: set cniConfFileName to {scene.live.name} first",
            despite=True,
        )


def _editors(scene: Scene) -> Iterator[Refusal]:
    for part in scene.survey.parts:
        agent = _EDITORS.get(part.owner.name)
        if agent is not None and scene.plugins(agent.owner) and scene.is_copy(agent.owner):
            yield Refusal(
                f"{agent.owner}-edits-lists",
                f"{scene.fragment(agent.owner)}: is still the copy that migrate wrote, so {agent.owner}'s agent still "
                f"edits the lists in {scene.paths.net_dir} and would edit the facade: cordon the node and move it "
                "first",
                despite=True,
            )


_GUARDS: tuple[Callable[[Scene], Iterator[Refusal]], ...] = (_place, _programs, _cilium, _istio, _editors)
NAMES = (
    "cilium-not-moved",
    "cilium-writes-net-dir",
    "cilium-sets-aside",
    "istio-edits-first-file",
    *(f"{owner}-edits-lists" for owner in _EDITORS),
)


def stripped(scene: Scene) -> str:
    """Return how the list has changed since the fragments were written, "" if in no way that matters.

    An agent that has moved removes its own plugin from the list; the copy from before has it.
    """
    before, live = scene.before, scene.live
    if live.path != before.path:
        return f"the runtime now takes {live.path}, the fragments were written from {before.path}"
    for key in ("name", "cniVersion", "cniVersions", "disableCheck", "disableGC"):
        if live.document.get(key) != before.document.get(key) and live.is_list:
            return f"{live.path}: key {key}: has changed since the fragments were written"
    rest = list(live.plugins)
    for plugin in before.plugins:
        kind = plugin["type"]
        if rest and rest[0]["type"] == kind:
            if rest.pop(0) != plugin:
                return f"{live.path}: {kind} has changed since the fragments were written"
            continue
        owner = OWNER_OF.get(kind, "")
        if not owner or not scene.fragment(owner) or scene.is_copy(owner):
            return f"{live.path}: {kind} was removed, and its agent has not written a fragment"
    if rest:
        return f"{live.path}: {rest[0]['type']} was added since the fragments were written"
    return ""
