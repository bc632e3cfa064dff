"""What `migrate` would do on a node: the shares, the missing files, and the proof for the resulting files.

Reads only. The proof uses the plugin's own modules (`fragments`, `chain`, `request`): the bytes that would be written
are parsed like those of existing files.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from cni_chain.agents.agent import Agent
from cni_chain.agents.multus import MULTUS
from cni_chain.agents.registry import BY_OWNER
from cni_chain.change.draft import text_of
from cni_chain.migrate import proof, split
from cni_chain.migrate.split import File, Share
from cni_chain.node import conflists, facades, locate
from cni_chain.node.conflists import Choice, Live
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.facades import COPY, PENDING, TYPE, FacadeFile, NetDir
from cni_chain.node.locate import Place
from cni_chain.node.survey import owner_directory
from cni_chain.node.tree import Tree
from cni_chain.plugin import chain, fragments, jsontext
from cni_chain.plugin.chain import Delegate, OwnerChain
from cni_chain.plugin.errors import CNIError
from cni_chain.plugin.facade import Owner

FACADE = "00-cni-chain.conflist"
WRITE_AGAIN = "run cni-chain migrate write again"
_CORRECT = "correct it: cni-chain verify checks it"
_NO_POD = ("", "")  # no pod: no owner exempts it

WRITE, KEEP = "write", "keep"

# A node's states: the list is in use; the facade waits; it was in use and waits again; it is in use; it is in use, and
# no copy of the list is left.
LIVE, WRITTEN, UNDONE, SWITCHED, FINISHED = "live", "written", "undone", "switched", "finished"


class Paths:
    """Where things are, as seen from inside the tree."""

    def __init__(self, net_dir: str, chain_dir: str, facade: str) -> None:
        self.net_dir = net_dir
        self.chain_dir = chain_dir
        self.facade = f"{net_dir}/{facade}"
        self.pending = self.facade + PENDING
        self.undone = self.facade + facades.UNDONE

    def waiting(self, state: str) -> str:
        """Return where the facade waits in a state: `undo` leaves it under another name than `write`."""
        return self.undone if state == UNDONE else self.pending

    def record(self, live: Live) -> str:
        """Return where a copy of the list is kept: an agent that moves removes its plugin from the list."""
        return f"{self.net_dir}/{live.name}{COPY}"

    def directory(self, owner: str) -> str:
        """Return an owner's directory."""
        return f"{self.chain_dir}/{owner}.d"


class Step(File):
    """A fragment of the plan: to be written, or existing already (as this file or as another)."""

    def __init__(self, file: File, path: str, action: str) -> None:
        super().__init__(file.owner, file.name, file.document, file.types)
        self.path = path
        self.action = action


class LeftOut(NamedTuple):
    """A mesh on this node that the facade would leave out: where that shows, and how."""

    owner: str
    type: str
    path: str
    shows: str

    def message(self, live: Live) -> str:
        """Return why such a facade isn't put in place, and the ways on."""
        return (
            f"{self.path}: {self.shows}, but {live.path} lacks {self.type}, so the facade would leave owner "
            f"{self.owner} out and new pods would start outside the mesh: wait until the list has {self.type} again "
            f"(its agent adds it when it runs), or keep it with cni-chain migrate write --add {self.owner}, or leave "
            f"it out with --without {self.owner}"
        )


class Plan:
    """All that follows from one list and the node's existing files."""

    def __init__(self, choice: Choice, shares: list[Share], facade: FacadeFile, content: bytes) -> None:
        self.choice = choice
        self.live = choice.live
        self.shares = shares
        self.facade = facade
        self.content = content  # the facade's
        self.steps: list[Step] = []
        self.links: list[Delegate] = []
        self.proof = proof.Proof()
        self.unusable: CNIError | None = None  # why the planned chain can't run
        self.left_out: list[LeftOut] = []


def state_of(directory: NetDir, paths: Paths, tree: Tree) -> str:
    """Return the node's state. Raises RefusedError."""
    if any(file.path == paths.facade for file in directory.facades):
        return SWITCHED if recorded(tree, paths) is not None else FINISHED
    name = os.path.basename(paths.facade)
    if name in directory.unreadable:
        error = directory.unreadable[name]
        raise RefusedError(f"{Place(paths.facade, error.at)}: {error}", _CORRECT if error.of_content else "")
    if name in directory.misspelt:
        type_, at = directory.misspelt[name]
        raise RefusedError(f"{Place(paths.facade, at)}: the plugin's type is {type_}; did you mean {TYPE}?", _CORRECT)
    if os.path.exists(tree.real(paths.facade)):
        raise RefusedError(f"{paths.facade}: exists and is not a facade: choose another name, --facade NAME")
    if directory.first is not None and any(file.path == directory.first for file in directory.facades):
        raise RefusedError(f"{directory.first}: is a facade, so this node uses cni-chain already")
    if os.path.exists(tree.real(paths.pending)):
        return WRITTEN
    return UNDONE if os.path.exists(tree.real(paths.undone)) else LIVE


def still_to_come(tree: Tree, path: str, live: Live) -> list[str]:
    """Return the meshes that the facade that waits as `path` has as optional, and the list not: a plan added them."""
    try:
        waiting = facades.read(tree, path)
    except UnreadableError:
        return []
    if waiting is None:
        return []
    added = added_owners(waiting, live)
    return [owner.name for owner in waiting.facade.owners or () if owner.name in added and not owner.required]


def make(
    tree: Tree,
    paths: Paths,
    choice: Choice,
    owner_of: dict[str, str],
    added: Iterable[str] = (),
    without: Iterable[str] = (),
    moved: Collection[str] = (),
) -> Plan:
    """Return the plan for the chosen list, with the meshes `added` that come later. Raises RefusedError.

    `moved` are the owners whose agents have written their fragments themselves.
    A mesh's fragment that the facade would leave out is reported in the plan, unless `without` names its owner.
    """
    live = choice.live
    check(tree, live)
    shares = split.split(live, owner_of) + [_added(live, owner) for owner in added]
    document = split.facade(live, shares, paths.chain_dir, optional=_unwritten(tree, paths, added))
    content = text_of(document).encode()
    facade = FacadeFile(paths.facade, *locate.decode(content))
    if facade.problems:
        raise RefusedError(f"{paths.facade}: {facade.problems[0]}")
    plan = Plan(choice, shares, facade, content)
    _fill(plan, tree, paths, moved)
    plan.left_out = left_out(tree, paths, facade, live, without)
    return plan


def _added(live: Live, owner: str) -> Share:
    agent = BY_OWNER[owner]
    if set(live.types).intersection(agent.types):
        raise RefusedError(f"{live.path}: --add {owner}: the list has {agent.type} already", "leave the option out")
    return Share(owner, [])


def _unwritten(tree: Tree, paths: Paths, owners: Iterable[str]) -> set[str]:
    """Return those of some meshes' owners whose agents have not written a fragment: new pods can't wait for these."""
    return {owner for owner in owners if not _mesh_fragments(tree, paths, BY_OWNER[owner])}


def _mesh_fragments(tree: Tree, paths: Paths, agent: Agent) -> list[str]:
    directory = owner_directory(tree, paths.chain_dir, Owner(agent.owner))
    has_plugin = (one.path for one in directory.fragments if any(plug["type"] in agent.types for plug in one.plugins))
    return list(has_plugin)


def left_out(tree: Tree, paths: Paths, facade: FacadeFile, before: Live, without: Iterable[str]) -> list[LeftOut]:
    """Return the meshes on this node whose owners a facade doesn't list, except those of `without`.

    A mesh is here if its directory has a fragment, or if its agent runs: another agent may just have rewritten the list
    without it. One whose plugin the list `before` has is no concern: the proof compares that.
    """
    listed = {owner.name for owner in facade.facade.owners or ()}
    return [
        LeftOut(agent.owner, agent.type, path, shows)
        for agent in BY_OWNER.values()
        if agent.mesh and agent.owner not in (listed | set(without)) and not set(before.types).intersection(agent.types)
        for path, shows in _signs(tree, paths, agent)
    ]


def _signs(tree: Tree, paths: Paths, agent: Agent) -> Iterator[tuple[str, str]]:
    """Yield what shows that a mesh is on this node: a path, and what it is."""
    for path in _mesh_fragments(tree, paths, agent):
        yield path, f"has {agent.type}"
    if agent.sign and agent.sign.path.startswith("/") and os.path.exists(tree.real(agent.sign.path)):
        yield agent.sign.path, f"{agent.sign.agent} runs on this node"


def added_owners(facade: FacadeFile, before: Live) -> set[str]:
    """Return the meshes that a facade has in addition to the list that it replaces."""
    listed = {owner.name for owner in facade.facade.owners or ()}
    return {
        agent.owner
        for agent in BY_OWNER.values()
        if agent.mesh and agent.owner in listed and not set(before.types).intersection(agent.types)
    }


def check(tree: Tree, live: Live) -> None:
    """Refuse a list that can't be split. Raises RefusedError."""
    if live.types[0] in MULTUS.types:
        raise RefusedError(
            f"{live.path}: Multus is first, and runs another list as its default network: cni-chain can replace only "
            "that list, behind Multus' own file; see docs/guides/multus.md"
        )
    if "cni-chain" in live.types:
        raise RefusedError(f"{live.path}: has a plugin of type cni-chain: it is a facade, or was one")
    appended = conflists.drop_ins(tree, live)
    if appended:
        raise RefusedError(
            f"{appended}: containerd 2.1, CRI-O 1.33 and later append this plugin to network {live.network}, older "
            f"ones don't: add it to {live.path}, or remove it"
        )


def _fill(plan: Plan, tree: Tree, paths: Paths, moved: Collection[str]) -> None:
    owners = plan.facade.facade.owners or []
    directories = []
    for share, owner in zip(plan.shares, owners, strict=True):
        there = owner_directory(tree, paths.chain_dir, owner)
        for file in split.files(share, plan.live):
            step = Step(file, f"{there.path}/{file.name}", _action(file, there, owner))
            plan.steps.append(step)
            if step.action == WRITE:
                _add(there, step)
        directories.append(there)
    parts = chain.resolve(owners, directories, _NO_POD)
    plan.links, plan.unusable = links_of(parts)
    plan.proof = proof.prove(plan.live, plan.facade, plan.links, added_owners(plan.facade, plan.live), moved)


def links_of(parts: list[OwnerChain]) -> tuple[list[Delegate], CNIError | None]:
    """Return the chain that a new pod gets, or its usable part and why it can't run."""
    try:
        return chain.required_delegates(parts), None
    except CNIError as error:
        return chain.usable_delegates(parts), error


def _action(file: File, there: fragments.Directory, owner: Owner) -> str:
    """Return whether a file is written; an existing one is never overwritten, except a seed without plugins."""
    path = f"{there.path}/{file.name}"
    if any(fault.path == path for fault in there.faults):
        return KEEP
    same = next((fragment for fragment in there.fragments if fragment.path == path), None)
    if same is not None:
        return KEEP if same.plugins else WRITE
    if owner.duplicates == "all":
        return WRITE
    have = {plugin["type"] for fragment in there.fragments for plugin in fragment.plugins}
    return KEEP if file.types and have.issuperset(file.types) else WRITE


def _add(directory: fragments.Directory, step: Step) -> None:
    parsed = fragments.parse(step.path, jsontext.decode(step.content))
    if not isinstance(parsed, fragments.Fragment):
        directory.faults += parsed
        return
    others = [fragment for fragment in directory.fragments if fragment.path != step.path]
    directory.fragments = sorted([*others, parsed], key=lambda fragment: os.fsencode(fragment.path))
    directory.missing = False


def recorded(tree: Tree, paths: Paths) -> Live | None:
    """Return the list as it was when the fragments were written, None if there is no copy. Raises RefusedError."""
    try:
        names = [name for name in os.listdir(tree.real(paths.net_dir)) if name.endswith(COPY)]
    except OSError:
        return None
    if len(names) > 1:
        copies = ", ".join(sorted(names))
        raise RefusedError(f"{paths.net_dir}: {copies}: keep only the copy of the list to migrate, remove the others")
    if not names:
        return None
    path = f"{paths.net_dir}/{names[0]}"
    return conflists.load(tree, path, path.removesuffix(COPY))
