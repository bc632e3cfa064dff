"""The three changes that `migrate` makes on a node: write, switch, undo. All is checked before anything changes."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Collection

from cni_chain.agents.registry import BY_TYPE, OWNER_OF
from cni_chain.change import files, kept
from cni_chain.change.files import Undo
from cni_chain.change.plan import Plan as Changes
from cni_chain.migrate import guards, plan, proof, split
from cni_chain.migrate.guards import Refusal
from cni_chain.migrate.plan import WRITE, Paths, Plan, Step
from cni_chain.migrate.proof import Proof
from cni_chain.migrate.scene import Scene
from cni_chain.node import conflists, facades, usage
from cni_chain.node.conflists import Choice, Live
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.facades import FacadeFile, NetDir
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree
from cni_chain.plugin import fragments, jsontext

_FACADE_MODE = 0o644
# Seconds for which a new facade is watched, and between two reads; agents that watch react in milliseconds.
_WATCH, _INTERVAL = 0.5, 0.02


def write(tree: Tree, paths: Paths, plan: Plan, without: Collection[str] = ()) -> list[str]:
    """Write the missing files, the facade under its waiting name, and a copy of the list; return the paths.

    `without` are the meshes' owners that the facade may leave out. Raises RefusedError.
    """
    if plan.unusable is not None:
        raise RefusedError(f"{paths.facade}: a new pod would get error {plan.unusable.code}: {plan.unusable.msg}")
    if not plan.proof.holds:
        file = plan.live.path
        raise RefusedError(
            f"{file}: plugins would not get the same configuration as before; nothing was written",
            "correct the files that are named above, or remove them and run it again",
        )
    behind = guards.sorts_behind(paths, plan.live)
    if behind:
        raise RefusedError(behind.message)
    added = [share.owner for share in plan.shares if not share.plugins]
    _not_less_than_recorded(tree, paths, plan.live, {*without, *added})
    if plan.left_out:
        raise RefusedError(plan.left_out[0].message(plan.live))
    changes = Changes(tree)
    for share in plan.shares:
        _add_directory(changes, paths.directory(share.owner))
    for step in plan.steps:
        if step.action == WRITE:
            _refuse_written(tree, step)
            _add_file(changes, step.path, step.content, plan.live.mode)
    # The copy is the last: whoever ends this before is seen by its being of another list, or missing.
    _add_pending(changes, paths, plan.content)
    _add_file(changes, paths.record(plan.live), plan.live.content, plan.live.mode)
    return _run(tree, paths, changes)


def forget(tree: Tree, paths: Paths, before: Live, owner_of: dict[str, str]) -> None:
    """Remove the fragments that are still as `write` made them of a list, so that it makes them of another one.

    What agents have written, and what somebody has edited, stays. Raises RefusedError, also if they are in use.
    """
    with files.locked(tree, paths.net_dir):
        if os.path.exists(tree.real(paths.facade)):
            raise RefusedError(f"{paths.facade}: another process has just put it in place", "try again")
        for share in split.split(before, owner_of):
            for file in split.files(share, before):
                path = tree.real(f"{paths.directory(share.owner)}/{file.name}")
                with contextlib.suppress(OSError):
                    if files.read(path) == file.content:
                        os.unlink(path)


def _not_less_than_recorded(tree: Tree, paths: Paths, live: Live, without: Collection[str]) -> None:
    before = plan.recorded(tree, paths)
    if before is None:
        return
    record = paths.record(before)
    if before.path != live.path:
        raise RefusedError(
            f"{record}: the fragments were written from this copy, and the runtime now takes {live.path}: make it take "
            f"{before.path} again, or remove the copy to start again from the current list"
        )
    gone = [kind for kind in before.types if kind not in live.types and OWNER_OF.get(kind) not in without]
    if gone:
        agent = BY_TYPE.get(gone[0])
        hint = f"remove {record} to start again from the current list"
        if agent is not None and agent.mesh:
            write = "cni-chain migrate write"
            hint = (
                f"{guards.gone(agent.name)}; if it has moved, keep it with {write} --add {agent.owner}; or leave it "
                f"out with {write} --without {agent.owner}"
            )
        raise RefusedError(f"{live.path}: no longer has {', '.join(gone)}, which its copy {record} has: {hint}")


def _refuse_written(tree: Tree, step: Step) -> None:
    """Refuse to replace a fragment with plugins: it was not there when this was planned, so its agent has moved."""
    try:
        document = jsontext.decode(files.read(tree.real(step.path)))
    except FileNotFoundError:
        return
    except (OSError, ValueError):  # half of it, so far
        document = None
    there = fragments.parse(step.path, document) if isinstance(document, dict) else None
    if not isinstance(there, fragments.Fragment) or there.plugins:
        raise RefusedError(f"{step.path}: another process has just written this file", "try again")


def _add_pending(changes: Changes, paths: Paths, content: bytes) -> None:
    """Have the facade wait as one that was never in place: this is a new start, also after `undo`."""
    tree = changes.tree
    _add_file(changes, paths.pending, content, _FACADE_MODE)
    undone = tree.real(paths.undone)
    if os.path.exists(undone):
        changes.add("remove", paths.undone, lambda: files.remove(undone))


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
    return [change.path for change in changes.changes if change.action != "remove"]


class Switch:
    """What is checked before the waiting facade is put in place: the proof for what is on the disk, and the guards."""

    def __init__(
        self,
        tree: Tree,
        paths: Paths,
        state: str,
        choice: Choice,
        bin_dirs: list[str],
        without: Collection[str] = (),
    ) -> None:
        """Raises RefusedError if no usable facade waits."""
        self.tree = tree
        self.paths = paths
        self.live = choice.live
        self.waiting = paths.waiting(state)
        plan.check(tree, self.live)
        facade = _waiting(tree, paths, self.waiting)
        before = plan.recorded(tree, paths)
        if before is None:
            raise RefusedError(f"{paths.record(self.live)}: is missing", plan.WRITE_AGAIN)
        self.before: Live = before
        self.survey = Survey(tree, facade, bin_dirs)
        self.links, _ = plan.links_of(self.survey.parts)
        self.scene = Scene(tree, paths, self.survey, before, self.live)
        added = plan.added_owners(facade, before)
        self.proof: Proof = proof.prove(before, facade, self.links, added, self.scene.moved())
        self.refusals: list[Refusal] = [
            *guards.differing(self.proof, self.waiting),
            *guards.refusals(self.scene, without),
        ]

    def standing(self, overrides: list[str]) -> list[Refusal]:
        """Return the refusals that --override hasn't overruled."""
        return [refusal for refusal in self.refusals if not (refusal.is_guess and refusal.id in overrides)]

    def do(self) -> list[str]:
        """Put the facade in place. Raises RefusedError."""

        def check_again() -> None:
            if conflists.load(self.tree, self.live.path).content != self.live.content:
                raise RefusedError(f"{self.live.path}: another process has just changed this file", "try again")

        content = self.tree.read(self.waiting)
        changed = _move(self.tree, self.paths, self.waiting, self.paths.facade, check_again)
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
                    f"{facade}: an agent edited it at once: run cni-chain migrate undo, and move that agent first"
                )


def _waiting(tree: Tree, paths: Paths, path: str) -> FacadeFile:
    try:
        facade = facades.read(tree, path)
    except UnreadableError as error:
        if not os.path.exists(tree.real(path)):
            raise RefusedError(f"{path}: nothing to switch to", "run cni-chain migrate write first") from None
        raise RefusedError(f"{path}: {error}", plan.WRITE_AGAIN if error.of_content else "") from None
    if facade is None or not facade.is_list:
        raise RefusedError(f"{path}: is not a facade", plan.WRITE_AGAIN)
    if facade.faults:
        raise RefusedError(f"{path}: {facade.faults[0]}")
    if facade.facade.chain_dir != paths.chain_dir:
        raise RefusedError(
            f"{path}: key chainDir: is not {paths.chain_dir}",
            "pass the same --chain-dir as with `migrate write`",
        )
    return facade


def _move(tree: Tree, paths: Paths, old: str, new: str, check: Callable[[], None]) -> list[str]:
    changes = Changes(tree)

    def do() -> Undo:
        check()
        return files.move(tree.real(old), tree.real(new))

    changes.add("rename", new, do, detail=f"from {old}")
    return _run(tree, paths, changes)


def previous(tree: Tree, paths: Paths, directory: NetDir, runtime: str | None, bin_dirs: list[str]) -> Choice:
    """Return the list that the runtime takes without the facade. Raises RefusedError; then it names migrate's copy."""
    before = plan.recorded(tree, paths)
    if before is not None and not os.path.exists(tree.real(before.path)):
        copy = paths.record(before)
        raise RefusedError(
            f"{before.path}: the list that was in use before the facade no longer exists, but {copy} is its copy",
            f"restore it, cp -p {copy} {before.path}, then run cni-chain migrate undo again",
        )
    try:
        return conflists.choose(tree, directory, runtime, bin_dirs)
    except RefusedError as error:
        reason = str(error).removesuffix(": nothing to migrate")
        raise RefusedError(
            f"{reason}: without the facade pods would get no network", _first_owner(tree, paths, directory)
        ) from None


def _first_owner(tree: Tree, paths: Paths, directory: NetDir) -> str:
    """Return how the runtime gets the first owner's own configuration, "" if that is none for it."""
    facade = next(file for file in directory.facades if file.path == paths.facade)
    fragment = conflists.of_first_owner(tree, directory, facade)
    return (
        fragment
        and f"the first owner's own takes its place with: cni-chain uninstall --keep-program --restore {fragment}"
    )


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
    moved = _move(tree, paths, paths.facade, paths.undone, lambda: None)
    kept.forget(tree, paths.net_dir)
    return moved, warnings
