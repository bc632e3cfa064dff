"""What waits on a node that isn't switched, and the list of which it is made: is it as it is wanted now? Reads only."""

from __future__ import annotations

import contextlib

from cni_chain.agents.registry import BY_OWNER, OWNER_OF, is_local
from cni_chain.daemon.wanted import Wanted
from cni_chain.migrate import plan
from cni_chain.migrate.plan import WRITTEN
from cni_chain.migrate.proof import Proof
from cni_chain.migrate.site import Site
from cni_chain.node import facades
from cni_chain.node.conflists import Live
from cni_chain.node.errors import UnreadableError


def owner_of(wanted: Wanted, live: Live) -> dict[str, str]:
    """Return whose the list's plugins are that no known agent writes: as it is wanted."""
    found: dict[str, str] = {}
    for entry in wanted.owners or ():
        name = entry["name"]
        if name not in BY_OWNER and not is_local(name):
            for kind in entry.get("types", [name]):
                if kind in live.types and kind not in OWNER_OF:
                    found.setdefault(kind, name)
    return found


def to_come(wanted: Wanted, live: Live) -> list[str]:
    """Return the meshes that are wanted and that the list doesn't have yet."""
    named = [BY_OWNER[entry["name"]] for entry in wanted.owners or () if entry["name"] in BY_OWNER]
    return [agent.owner for agent in named if agent.mesh and not set(live.types).intersection(agent.types)]


def foreign(site: Site, wanted: Wanted) -> str:
    """Return why the list is none of the wanted network's: a package's, or another network's; "" if it is.

    As a chain's beginning it would have new pods start outside the wanted network, and its mesh. Raises RefusedError.
    """
    first = next((entry for entry in wanted.owners or () if entry.get("required", True)), None)
    if first is None or plan.recorded(site.tree, site.paths) is not None:
        return ""
    known = BY_OWNER.get(first["name"])
    types = first.get("types") or (known.types if known else ())
    live = site.choose().live
    if not types or set(types).intersection(live.types):
        return ""
    return (
        f"{live.path}: has no {types[0]}, which owner {first['name']} is wanted for, so it is of another network: "
        f"remove it, or name its owners; if {first['name']}'s agent writes to its own directory, the facade is put "
        "before it"
    )


def outdated(site: Site, wanted: Wanted) -> Live | None:
    """Return the list of which the copies are, if its agents have changed it since, and it still has all that it had.

    A plugin that is gone may be one whose agent has moved, or is away: what was copied stays, unless no node is to have
    its owner any more. Raises RefusedError.
    """
    before, live = plan.recorded(site.tree, site.paths), site.choose().live
    if before is None or before.path != live.path or before.content == live.content:
        return None
    gone = {OWNER_OF.get(type_) for type_ in before.types if type_ not in live.types}
    return before if gone.issubset(wanted.without) else None


def lacks(site: Site, wanted: Wanted) -> bool:
    """Return whether what waits has no copy of its list, as after a kill, or not what is wanted: a mesh, the directory.

    Raises RefusedError.
    """
    if plan.recorded(site.tree, site.paths) is None:
        return True
    waiting = None
    with contextlib.suppress(UnreadableError):
        waiting = facades.read(site.tree, site.paths.pending)
    if site.state != WRITTEN or waiting is None:
        return False
    if waiting.facade.chain_dir != wanted.chains:
        return True
    listed = {owner.name for owner in waiting.facade.owners or ()}
    return not listed.issuperset(to_come(wanted, site.choose().live))


def differences(proof: Proof) -> list[str]:
    """Return in words what would differ for plugins."""
    found = [f"the list: {one.text()}" for one in proof.differences]
    return found + [f"{one.type}: {other.text()}" for one in proof.delegates for other in one.differences]
