"""What `migrate` would do on a node: the shares, the missing files, and the proof for the resulting files.

Reads only. The proof uses the plugin's own modules (`fragments`, `chain`, `request`): the bytes that would be written
are parsed like those of existing files.
"""

from __future__ import annotations

import os

from cni_chain.agents.multus import MULTUS
from cni_chain.change.draft import text_of
from cni_chain.migrate import proof, split
from cni_chain.migrate.split import File, Share
from cni_chain.node import conflists, locate
from cni_chain.node.conflists import Choice, Live
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import PENDING, FacadeFile, NetDir
from cni_chain.node.survey import owner_directory
from cni_chain.node.tree import Tree
from cni_chain.plugin import chain, fragments, jsontext
from cni_chain.plugin.chain import Delegate, OwnerChain
from cni_chain.plugin.errors import CNIError
from cni_chain.plugin.facade import Owner

FACADE = "00-cni-chain.conflist"
# No runtime and no agent reads a file with this suffix.
_RECORD = ".before-cni-chain"
_NO_POD = ("", "")  # no pod: no owner exempts it

WRITE, KEEP = "write", "keep"


class Paths:
    """Where things are, as seen from inside the tree."""

    def __init__(self, net_dir: str, chain_dir: str, facade: str) -> None:
        self.net_dir = net_dir
        self.chain_dir = chain_dir
        self.facade = f"{net_dir}/{facade}"
        self.pending = self.facade + PENDING

    def record(self, live: Live) -> str:
        """Return where a copy of the list is kept: an agent that moves removes its plugin from the list."""
        return f"{self.net_dir}/{live.name}{_RECORD}"

    def directory(self, owner: str) -> str:
        """Return an owner's directory."""
        return f"{self.chain_dir}/{owner}.d"


class Step(File):
    """A fragment of the plan: to be written, or existing already (as this file or as another)."""

    def __init__(self, file: File, path: str, action: str) -> None:
        super().__init__(file.owner, file.name, file.document, file.types)
        self.path = path
        self.action = action


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


def state_of(directory: NetDir, paths: Paths, tree: Tree) -> str:
    """Return the node's state: `switched`, `written` or `live`. Raises RefusedError."""
    if any(file.path == paths.facade for file in directory.facades):
        return "switched"
    if os.path.exists(tree.real(paths.facade)):
        raise RefusedError(f"{paths.facade}: exists and is not a facade: choose another name, --facade NAME")
    if directory.first is not None and any(file.path == directory.first for file in directory.facades):
        raise RefusedError(f"{directory.first}: is a facade, so this node uses cni-chain already")
    return "written" if os.path.exists(tree.real(paths.pending)) else "live"


def make(tree: Tree, paths: Paths, choice: Choice, owner_of: dict[str, str]) -> Plan:
    """Return the plan for the chosen list. Raises RefusedError."""
    live = choice.live
    check(tree, live)
    shares = split.split(live, owner_of)
    document = split.facade(live, shares, paths.chain_dir)
    content = text_of(document).encode()
    facade = FacadeFile(paths.facade, *locate.decode(content))
    if facade.problems:
        raise RefusedError(f"{paths.facade}: {facade.problems[0]}")
    plan = Plan(choice, shares, facade, content)
    _fill(plan, tree, paths)
    return plan


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


def _fill(plan: Plan, tree: Tree, paths: Paths) -> None:
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
    plan.proof = proof.prove(plan.live, plan.facade, plan.links)


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
    return KEEP if have.issuperset(file.types) else WRITE


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
        names = [name for name in os.listdir(tree.real(paths.net_dir)) if name.endswith(_RECORD)]
    except OSError:
        return None
    if len(names) > 1:
        copies = ", ".join(sorted(names))
        raise RefusedError(f"{paths.net_dir}: {copies}: keep only the copy of the list to migrate, remove the others")
    if not names:
        return None
    path = f"{paths.net_dir}/{names[0]}"
    return conflists.load(tree, path, path.removesuffix(_RECORD))
