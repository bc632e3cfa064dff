"""How far a node's migration is: its state, the steps there or back, and each agent's settings. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from cni_chain.checks import registry
from cni_chain.checks.node import Node
from cni_chain.checks.rule import Needs
from cni_chain.migrate import plan, steps
from cni_chain.migrate.plan import FINISHED, SWITCHED, UNDONE, Paths, Plan
from cni_chain.migrate.scene import Member, Scene, in_use
from cni_chain.migrate.settings import Setting, settings
from cni_chain.migrate.steps import Step
from cni_chain.node import facades
from cni_chain.node.conflists import Live
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree


class Standing(NamedTuple):
    """A node's state, and its steps: those that roll back after `undo`."""

    paths: Paths
    state: str
    summary: str
    members: list[Member]
    steps: list[Step]

    @property
    def settings(self) -> list[Setting]:
        """What moves each agent to its directory."""
        return settings(self.members)


def of_plan(
    tree: Tree, paths: Paths, made: Plan, state: str, added: Collection[str], without: Collection[str] = ()
) -> Standing:
    """Return how far a node is on the way of a plan; one that would leave a mesh out has no steps."""
    survey = Survey(tree, made.facade, [])
    members = Scene(tree, paths, survey, made.live, made.live).members()
    found = []
    if not made.left_out:
        found = steps.there(members, made.live, paths, state, added=added, without=without)
    return Standing(paths, state, _summary(paths, state, made.live.path), members, found)


def moved(tree: Tree, paths: Paths, state: str) -> set[str]:
    """Return the owners whose agents have written their fragments since `write` did. Raises RefusedError."""
    before = plan.recorded(tree, paths)
    try:
        facade = facades.read(tree, paths.waiting(state))
    except UnreadableError:
        return set()
    if before is None or facade is None:
        return set()
    return Scene(tree, paths, Survey(tree, facade, []), before, before).moved()


def of_node(
    tree: Tree,
    paths: Paths,
    state: str,
    bin_dirs: list[str],
    live: Live | None = None,
    without: Collection[str] = (),
) -> Standing:
    """Return how far a node is on which the facade waits or is in place; `live` is the list if no copy of it is left.

    `without` are the meshes that `switch` may leave out.

    Raises RefusedError.
    """
    copy = plan.recorded(tree, paths)
    before = copy or live
    if before is None and state not in (SWITCHED, FINISHED):
        raise RefusedError(f"{paths.waiting(state)}: waits, but no copy of the list is left", plan.WRITE_AGAIN)
    path = paths.facade if state in (SWITCHED, FINISHED) else paths.waiting(state)
    try:
        facade = facades.read(tree, path)
    except UnreadableError as error:
        raise RefusedError(f"{path}: {error}", plan.WRITE_AGAIN if error.of_content else "") from None
    if facade is None:
        raise RefusedError(f"{path}: is not a facade", plan.WRITE_AGAIN)
    survey = Survey(tree, facade, bin_dirs)
    if before is None or state == FINISHED:
        members = in_use(survey)
        found = steps.to_come(members)
        return Standing(paths, FINISHED, _in_place(tree, paths, survey, found), members, found)
    members = Scene(tree, paths, survey, before, before).members()
    if state == UNDONE:
        if copy is None:  # a mesh that has moved may have taken its plugin out of the list
            members = [member._replace(added=False) for member in members]
        found = steps.back(members, before, paths, is_undone=True)
    else:
        found = steps.there(members, before, paths, state, without=without)
    summary = _in_place(tree, paths, survey) if state == SWITCHED else _summary(paths, state, before.path)
    return Standing(paths, state, summary, members, found)


def _in_place(tree: Tree, paths: Paths, survey: Survey, left: Sequence[Step] | None = None) -> str:
    """Return what the facade in place does for new pods; `left` are the steps without a copy of the list."""
    node = Node(tree, facades.look(tree, paths.net_dir), [survey], survey.bin_dirs)
    if any(map(registry.stops, registry.run(node, Needs.PLUGINS))):
        return f"{paths.facade} is in place; no new pod gets a network: cni-chain status"
    if left is None:
        return f"{paths.facade} is in place, and new pods get the chain"
    none = "" if left else ": no step is left"
    return f"{paths.facade} is in place, and no copy of a previous list is left{none}"


def _summary(paths: Paths, state: str, path: str) -> str:
    return {
        plan.LIVE: f"{path} is in use, and nothing is written yet",
        plan.WRITTEN: f"{path} is in use, and the facade waits as {paths.pending}",
        UNDONE: f"the migration was undone: {path} is in use, and the facade waits as {paths.undone}",
    }[state]
