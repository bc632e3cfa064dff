"""The three changes that `migrate` makes on a node: write, switch, undo. All is checked before anything changes."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

from cni_chain.change import files
from cni_chain.change.files import Undo
from cni_chain.change.plan import Plan as Changes
from cni_chain.migrate import guards, plan, proof
from cni_chain.migrate.guards import Refusal, Scene
from cni_chain.migrate.plan import WRITE, Paths, Plan
from cni_chain.migrate.proof import Proof
from cni_chain.node import conflists, facades, usage
from cni_chain.node.conflists import Choice, Live
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.facades import FacadeFile, NetDir
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree

_FACADE_MODE = 0o644
# Seconds for which a new facade is watched, and between two reads; agents that watch react in milliseconds.
_WATCH, _INTERVAL = 0.5, 0.02


def write(tree: Tree, paths: Paths, plan: Plan) -> list[str]:
    """Write the missing files, the facade last and under its waiting name; return the paths. Raises RefusedError."""
    if plan.unusable is not None:
        raise RefusedError(f"{paths.facade}: a new pod would get error {plan.unusable.code}: {plan.unusable.msg}")
    if not plan.proof.holds:
        file = plan.live.path
        raise RefusedError(f"{file}: plugins would not get the same configuration as before; nothing was written")
    behind = guards.sorts_behind(paths, plan.live)
    if behind:
        raise RefusedError(behind.message)
    _not_less_than_recorded(tree, paths, plan.live)
    changes = Changes(tree)
    for share in plan.shares:
        _add_directory(changes, paths.directory(share.owner))
    for step in plan.steps:
        if step.action == WRITE:
            _add_file(changes, step.path, step.content, plan.live.mode)
    _add_file(changes, paths.record(plan.live), plan.live.content, plan.live.mode)
    _add_file(changes, paths.pending, plan.content, _FACADE_MODE)
    return _run(tree, paths, changes)


def _not_less_than_recorded(tree: Tree, paths: Paths, live: Live) -> None:
    before = plan.recorded(tree, paths)
    if before is None:
        return
    gone = [kind for kind in before.types if kind not in live.types]
    if gone or before.path != live.path:
        record = paths.record(before)
        why = f"{live.path} no longer has {', '.join(gone)}" if gone else f"the runtime now takes {live.path}"
        raise RefusedError(
            f"{record}: the fragments were written from this copy, and {why}: continue with cni-chain migrate "
            "--switch, or remove this file to start again from the current list"
        )


def _add_directory(changes: Changes, path: str) -> None:
    real = changes.tree.real(path)
    if not os.path.isdir(real):
        changes.add("create", path, lambda: files.directory(real))


def _add_file(changes: Changes, path: str, content: bytes, mode: int) -> None:
    real = changes.tree.real(path)
    try:
        if files.read(real) == content and stat.S_IMODE(os.stat(real).st_mode) == mode:
            return
        action = "replace"
    except OSError:
        action = "create"
    changes.add(action, path, lambda: files.put(real, content, mode))


def _run(tree: Tree, paths: Paths, changes: Changes) -> list[str]:
    with files.locked(tree, paths.net_dir):
        changes.run()
    return [change.path for change in changes.changes]


class Switch:
    """What is checked before the waiting facade is put in place: the proof for what is on the disk, and the guards."""

    def __init__(self, tree: Tree, paths: Paths, choice: Choice, bin_dirs: list[str]) -> None:
        """Raises RefusedError if no usable facade waits."""
        self.tree = tree
        self.paths = paths
        self.live = choice.live
        plan.check(tree, self.live)
        facade = _waiting(tree, paths)
        before = plan.recorded(tree, paths)
        if before is None:
            raise RefusedError(f"{paths.record(self.live)}: is missing", "run cni-chain migrate --write again")
        self.before: Live = before
        self.survey = Survey(tree, facade, bin_dirs)
        self.links, _ = plan.links_of(self.survey.parts)
        self.proof: Proof = proof.prove(before, facade, self.links)
        scene = Scene(tree, paths, self.survey, before, self.live)
        self.refusals: list[Refusal] = guards.refusals(scene)
        changed = guards.stripped(scene)
        if changed:
            self.refusals.insert(0, Refusal("list-changed", f"{changed}: run cni-chain migrate --write again"))

    def standing(self, despite: list[str]) -> list[Refusal]:
        """Return the refusals that --despite hasn't overruled."""
        return [refusal for refusal in self.refusals if not (refusal.despite and refusal.name in despite)]

    def do(self) -> list[str]:
        """Put the facade in place. Raises RefusedError."""

        def check_again() -> None:
            if conflists.load(self.tree, self.live.path).content != self.live.content:
                raise RefusedError(f"{self.live.path}: another process has just changed this file", "try again")

        content = self.tree.read(self.paths.pending)
        changed = _move(self.tree, self.paths, self.paths.pending, self.paths.facade, check_again)
        self._stays(content)
        return changed

    def _stays(self, content: bytes) -> None:
        """Watch the facade for a moment: an agent that still owns the directory reacts at once. Raises RefusedError."""
        facade = self.paths.facade
        until = time.monotonic() + _WATCH
        while time.monotonic() < until:
            time.sleep(_INTERVAL)
            try:
                now = self.tree.read(facade)
            except OSError:
                raise RefusedError(
                    f"{facade}: was removed again at once (by Cilium, if {facade}.cilium_bak exists), and "
                    f"{self.live.path} is active again: an agent still manages this directory, move it first"
                ) from None
            if now != content:
                raise RefusedError(
                    f"{facade}: an agent edited it at once: run cni-chain migrate --undo, and move that agent first"
                )


def _waiting(tree: Tree, paths: Paths) -> FacadeFile:
    try:
        facade = facades.read(tree, paths.pending)
    except UnreadableError as error:
        if not os.path.exists(tree.real(paths.pending)):
            raise RefusedError(
                f"{paths.pending}: nothing to switch to", "run cni-chain migrate --write first"
            ) from None
        raise RefusedError(f"{paths.pending}: {error}") from None
    if facade is None or not facade.is_list:
        raise RefusedError(f"{paths.pending}: is not a facade", "run cni-chain migrate --write again")
    if facade.faults:
        raise RefusedError(f"{paths.pending}: {facade.faults[0]}")
    if facade.facade.chain_dir != paths.chain_dir:
        raise RefusedError(
            f"{paths.pending}: key chainDir: is not {paths.chain_dir}", "pass the same --chain-dir as with --write"
        )
    return facade


def _move(tree: Tree, paths: Paths, old: str, new: str, check: Callable[[], None]) -> list[str]:
    changes = Changes(tree)

    def do() -> Undo:
        check()
        return files.move(tree.real(old), tree.real(new))

    changes.add("rename", new, do, detail=f"from {old}")
    return _run(tree, paths, changes)


def undo(tree: Tree, paths: Paths, directory: NetDir, choice: Choice) -> tuple[list[str], list[str]]:
    """Rename the facade, so that the previous list is active; return the paths and warnings. Raises RefusedError."""
    facade = next(file for file in directory.facades if file.path == paths.facade)
    live = choice.live
    if live.network != facade.network:
        raise RefusedError(
            f"{live.path}: is network {live.network}, not {facade.network}: the facade did not replace this list, and "
            "running pods could not be deleted through it"
        )
    warnings = usage.lost(tree, facade, live.path, live.types)
    return _move(tree, paths, paths.facade, paths.pending, lambda: None), warnings
