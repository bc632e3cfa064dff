"""What would fail if the facade were put in place now: steps in an unsafe order, as seen on a node. Reads only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from cni_chain.agents import istio
from cni_chain.agents.cilium import CILIUM
from cni_chain.agents.istio import ISTIO
from cni_chain.agents.registry import BY_OWNER, BY_TYPE, EDITORS
from cni_chain.checks import registry
from cni_chain.checks.chain import UNLISTED
from cni_chain.checks.net_dir import AGENT_WRITES, OUTSORTED, RENAMED
from cni_chain.checks.node import Node
from cni_chain.migrate import plan, steps
from cni_chain.migrate import scene as scenes
from cni_chain.migrate.plan import Paths
from cni_chain.migrate.proof import Proof
from cni_chain.migrate.scene import Scene
from cni_chain.node import usage
from cni_chain.node.conflists import Live
from cni_chain.node.facades import NetDir

_BACKUP = ".cilium_bak"
# Istio has a guard of its own.


class Refusal(NamedTuple):
    """Why the switch is refused; the id is that of the rule of `checks` that finds the same.

    With `is_guess` it was guessed from the files, and --override overrules it.
    """

    id: str
    message: str
    is_guess: bool = False


def refusals(scene: Scene, without: Iterable[str] = ()) -> list[Refusal]:
    """Return every reason not to switch; `without` are the owners that may be left out."""
    found = [refusal for guard in _GUARDS for refusal in guard(scene)]
    left = plan.left_out(scene.tree, scene.paths, scene.survey.file, scene.before, without)
    return [*found, *(Refusal(UNLISTED.id, one.message(scene.before)) for one in left)]


def differing(found: Proof, waiting: str) -> Iterator[Refusal]:
    """Yield that the proof does not hold for the files on the disk; the facade waits as `waiting`."""
    if not found.holds:
        yield Refusal(
            "configuration-differs",
            f"{waiting}: plugins would not get the same configuration as before: correct what is named above, or "
            "remove it and run cni-chain migrate write again",
        )


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
            yield Refusal(finding.id, f"{scene.survey.file.path}: no new pod would get a network: {finding.what}")


def _cilium(scene: Scene) -> Iterator[Refusal]:
    directory = scene.paths.directory(CILIUM.owner)
    fragment = scene.fragment(CILIUM.owner)
    if not fragment:
        return
    hidden = f"{scene.paths.facade}{_BACKUP}"
    if os.path.exists(scene.tree.real(hidden)):
        yield Refusal(
            RENAMED.id,
            f"{hidden}: Cilium has renamed the facade to this: set cni.confPath to {directory}, wait until Cilium has "
            "written there, then remove this file",
        )
    if scene.is_copy(CILIUM.owner):
        yield Refusal(
            "cilium-not-moved",
            f"{fragment}: is still the copy that migrate wrote, so Cilium still writes to {scene.paths.net_dir}, and "
            f"unless cni.exclusive is false it would rename the facade: set cni.confPath to {directory} first",
            is_guess=True,
        )
    written = scene.time(fragment)
    for name in (CILIUM.file, *CILIUM.older):
        path = f"{scene.paths.net_dir}/{name}"
        # A mesh's agent edits this file too, so its time alone shows nothing.
        if scene.time(path) > written and _cilium_part(scene, path) != scene.plugins(CILIUM.owner):
            yield Refusal(
                AGENT_WRITES.id,
                f"{path}: is newer than {fragment}, and Cilium's part of it has changed, so Cilium still writes here: "
                f"set cni.confPath to {directory}",
                is_guess=True,
            )
    yield from _set_aside(scene, fragment, hidden)


def _cilium_part(scene: Scene, path: str) -> list[dict[str, Any]]:
    """Return Cilium's own plugins in a file of the runtime's directory."""
    document = usage.read(scene.tree, path) or {}
    plugins = document.get("plugins", [document])
    found = plugins if isinstance(plugins, list) else []
    return [plugin for plugin in found if isinstance(plugin, dict) and plugin.get("type") in CILIUM.types]


def _set_aside(scene: Scene, fragment: str, hidden: str) -> Iterator[Refusal]:
    since = scene.time(fragment, renamed=True)
    for name in sorted(os.listdir(scene.tree.real(scene.paths.net_dir))):
        path = f"{scene.paths.net_dir}/{name}"
        if name.endswith(_BACKUP) and path != hidden and scene.time(path, renamed=True) > since:
            yield Refusal(
                "cilium-sets-aside",
                f"{path}: Cilium renamed this file after {fragment} was written, so with cni.exclusive it still "
                f"watches {scene.paths.net_dir}: wait until its agent has restarted with the new cni.confPath",
                is_guess=True,
            )


def _istio(scene: Scene) -> Iterator[Refusal]:
    plugins = scene.plugins(ISTIO.owner)
    directory = scene.paths.directory(ISTIO.owner)
    if ISTIO.type in scene.live.types and not scene.fragment(ISTIO.owner):
        yield Refusal(
            "istio-edits-first-file",
            f"{scene.live.path}: has istio-cni, but {directory} has no fragment with it: Istio would append itself to "
            "the facade; run cni-chain migrate write first",
        )
    elif plugins and scene.is_copy(ISTIO.owner) and not istio.leaves_others_first(plugins[0]):
        yield Refusal(
            "istio-edits-first-file",
            f"{scene.fragment(ISTIO.owner)}: is still the copy that migrate wrote, and Istio before 1.27 appends "
            f"itself to the first file, then the facade: set cniConfFileName to {scene.live.name} first",
            is_guess=True,
        )


def _editors(scene: Scene) -> Iterator[Refusal]:
    for part in scene.survey.parts:
        agent = EDITORS.get(part.owner.name)
        if agent is not None and scene.plugins(agent.owner) and scene.is_copy(agent.owner):
            yield Refusal(
                f"{agent.owner}-edits-lists",
                f"{scene.fragment(agent.owner)}: is still the copy that migrate wrote, so {agent.owner}'s agent still "
                f"edits the lists in {scene.paths.net_dir} and would edit the facade: cordon the node and move it "
                "first",
                is_guess=True,
            )


def _early(scene: Scene) -> Iterator[Refusal]:
    """Yield the agents whose kubeconfig beside the list would end up in the records of new pods."""
    for member in scene.members():
        if member.agent.renames or member.moved or not steps.is_early(member, scene.paths.net_dir):
            continue
        yield Refusal(
            f"{member.owner}-not-moved",
            f"{scene.fragment(member.owner)}: is still the copy that migrate wrote: pods that are made before "
            f"{member.agent.name} moves would keep {steps.kubeconfig(member, scene.paths.net_dir)} in their records, "
            f"and couldn't be deleted when its token has expired: move {member.agent.name} first",
            is_guess=True,
        )


def _changed(scene: Scene) -> Iterator[Refusal]:
    change = scenes.changed(scene)
    if change is None:
        return
    agent = BY_TYPE.get(change.gone)
    if agent is None or not scene.fragment(agent.owner):
        yield Refusal("list-changed", f"{change.what}: run cni-chain migrate write again")
        return
    yield Refusal(
        "list-changed",
        f"{change.what}, and {scene.fragment(agent.owner)} is still the copy that migrate wrote: {gone(agent.name)}",
    )


def gone(name: str) -> str:
    """Return what to do about a list that has lost an agent's plugin."""
    return (
        f"{name}'s agent removes its plugin when it stops, and new pods start without it now: wait until the list has "
        f"it again, or move {name} (its commands: cni-chain migrate status), and switch when it has written"
    )


_GUARDS: tuple[Callable[[Scene], Iterator[Refusal]], ...] = (
    _changed,
    _place,
    _programs,
    _cilium,
    _early,
    _istio,
    _editors,
)
OVERRIDABLE = (
    "cilium-not-moved",
    AGENT_WRITES.id,
    "cilium-sets-aside",
    "istio-edits-first-file",
    *(f"{agent.owner}-not-moved" for agent in BY_OWNER.values() if agent.early),
    *(f"{owner}-edits-lists" for owner in EDITORS),
)
