"""The owners that are wanted, and those that a node's facade has. Plans only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

from cni_chain.agents.registry import OWNER_OF, is_local
from cni_chain.change import draft
from cni_chain.change.owners import Edit
from cni_chain.change.plan import Plan
from cni_chain.daemon.wanted import Wanted
from cni_chain.migrate import plan as migrated
from cni_chain.migrate.plan import FACADE, Paths
from cni_chain.node.conflists import Live
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import FacadeFile
from cni_chain.node.survey import Survey, owner_directory
from cni_chain.node.tree import Tree
from cni_chain.plugin.chain import OwnerChain
from cni_chain.plugin.facade import Owner


class Change(NamedTuple):
    """A change of the facade's owners, in words and as a plan."""

    what: str
    plan: Plan


# Gets the facade as it is, and returns what it lacks, None if nothing. Raises RefusedError if it can't have that.
Wish = Callable[[FacadeFile], Change | None]


def wishes(tree: Tree, wanted: Wanted) -> Iterator[Wish]:
    """Yield what is wished of the owners that are wanted, and of each that isn't any more.

    All are there before their types are looked at: a plugin may go from one of them to another.
    """
    entries = wanted.owners or ()
    for entry in entries:
        yield partial(_addition, tree, wanted, entry)
    yield partial(_types, tree, wanted)
    yield partial(_order, tree, wanted)
    for entry in entries:
        yield partial(_change, tree, wanted, entry)
    for name in wanted.without:
        yield partial(_removal, tree, wanted, name)


def _addition(tree: Tree, wanted: Wanted, entry: dict[str, Any], file: FacadeFile) -> Change | None:
    """An owner is optional until its agent has written: pods must not wait for an agent that isn't installed yet."""
    name, listed = entry["name"], _listed(file)
    if name in listed:
        return None
    before = _follower(name, wanted, listed)
    plan = Edit(tree, file, [wanted.bin_dir], force=False).add({**entry, "required": False}, before=before)
    return Change(f"owner {name}, optional until its agent has written", plan)


def _types(tree: Tree, wanted: Wanted, file: FacadeFile) -> Change | None:
    """What another owner runs stays with it, as the administrator's copies of a list do: twice is worse than missing.

    Unless that owner isn't to run it any more.
    """
    parts = {part.owner.name: part for part in Survey(tree, file, [wanted.bin_dir]).parts}
    wished = {entry["name"]: entry.get("types") for entry in wanted.owners or () if entry["name"] in parts}
    kept = {name: _kept(part, wished.get(name)) for name, part in parts.items() if name not in wanted.without}
    changed: dict[str, list[str] | None] = {}
    for name, types in wished.items():
        part, now = parts[name], parts[name].owner.types
        elsewhere = {kind for other, kinds in kept.items() if other != name for kind in kinds}
        has = {link.type for link in part.delegates} if now is None else now
        if types is None:
            if now is not None and not elsewhere.intersection(one.type for one in part.skipped):
                changed[name] = None
        else:
            meant = [kind for kind in types if kind in has or kind not in elsewhere]
            if meant and (now is None or now != set(meant)):
                changed[name] = meant
    if not changed:
        return None
    plan = Edit(tree, file, [wanted.bin_dir], force=False).may_run(changed)
    return Change(plan.changes[-1].detail, plan)


def _kept(part: OwnerChain, types: list[str] | None) -> set[str]:
    """Return the plugins that an owner runs now and may go on to run."""
    return {link.type for link in part.delegates if types is None or link.type in types}


def _order(tree: Tree, wanted: Wanted, file: FacadeFile) -> Change | None:
    """Each preset has `local` at the end: in a chain that was made of a list, it keeps its place of that list."""
    listed = _listed(file)
    meant = [entry["name"] for entry in wanted.owners or () if entry["name"] in listed]
    paths = Paths(wanted.net_dir, wanted.chains, FACADE)
    if meant and is_local(meant[-1]) and migrated.recorded(tree, paths) is not None:
        meant.pop()
    if [name for name in listed if name in meant] == meant:
        return None
    plan = Edit(tree, file, [wanted.bin_dir], force=False).order(meant)
    return Change(plan.changes[-1].detail, plan)


def _listed(file: FacadeFile) -> list[str]:
    return [owner.name for owner in file.facade.owners or ()]


def _change(tree: Tree, wanted: Wanted, entry: dict[str, Any], file: FacadeFile) -> Change | None:
    """A pod for which an owner is skipped starts outside a mesh: so only for those that are wanted now."""
    name = entry["name"]
    bin_dirs = [wanted.bin_dir]
    listed = next((part for part in Survey(tree, file, bin_dirs).parts if part.owner.name == name), None)
    if listed is None:
        return None
    edit = partial(Edit, tree, file, bin_dirs, force=False)
    if name in wanted.optional and listed.owner.required:
        return Change(f"owner {name}, optional", edit().require(name, required=False))
    if name not in wanted.optional and not is_local(name) and not listed.owner.required and listed.delegates:
        return Change(f"owner {name}, required", edit().require(name, required=True))
    pods = entry.get("exempt", [])
    if pods != next(one.get("exempt", []) for one in file.conf["owners"] if one["name"] == name):
        return Change(f"owner {name}, and the pods that it is skipped for", edit().exempt(name, pods))
    return None


def _removal(tree: Tree, wanted: Wanted, name: str, file: FacadeFile) -> Change | None:
    if name not in _listed(file):
        return None
    return Change(f"without owner {name}", Edit(tree, file, [wanted.bin_dir], force=False).remove(name))


def _follower(name: str, wanted: Wanted, listed: Collection[str]) -> str | None:
    """Return the owner of the facade that runs after a new one, as it is wanted; None: the new one is the last."""
    names = [entry["name"] for entry in wanted.owners or ()]
    return next((other for other in names[names.index(name) + 1 :] if other in listed), None)


def have_moved(tree: Tree, wanted: Wanted) -> bool:
    """Return whether the first owner that pods wait for has a fragment: its agent will write no list any more."""
    entries = draft.owners([*draft.OWNERS], []) if wanted.owners is None else wanted.owners
    first = next((entry for entry in entries if entry.get("required", True)), None)
    if first is None:
        return False
    directory = owner_directory(tree, wanted.chains, Owner(first["name"]))
    found = {plugin["type"] for fragment in directory.fragments for plugin in fragment.plugins}
    return bool(found.intersection(first["types"]) if "types" in first else found)


def refuse_other_plugins(parts: list[OwnerChain], live: Live, wanted: Wanted) -> None:
    """Refuse a list to go back to that lacks a required owner's plugin, or has one of an owner that isn't wanted.

    Raises RefusedError.
    """
    again = f"remove {live.path} (and its copy): then the chain as it is now is written as one list"
    for part in parts:
        missing = [kind for kind in _needed(part) if kind not in live.types]
        if missing:
            raise RefusedError(
                f"{live.path}: has no {missing[0]}, so without the facade new pods would start outside what owner "
                f"{part.owner.name} does",
                f"move its agent back first, or {again}",
            )
    for kind in live.types:
        owner = OWNER_OF.get(kind)
        if owner in wanted.without:
            raise RefusedError(f"{live.path}: has {kind}, and this node is to be without owner {owner}", again)


def _needed(part: OwnerChain) -> list[str]:
    """Return the plugins of an owner without which no new pod starts; those that it may have, if it has none now."""
    if not part.owner.required:
        return []
    return [link.type for link in part.delegates] or sorted(part.owner.types or (part.owner.name,))
