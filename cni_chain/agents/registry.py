"""All agents, and what the rest of the program needs to know about plugins and owners. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cni_chain.agents.agent import Agent
from cni_chain.agents.cilium import CILIUM
from cni_chain.agents.istio import ISTIO
from cni_chain.agents.multus import MULTUS
from cni_chain.agents.table import TABLE

LOCAL = "local"  # the administrator's directory

AGENTS: tuple[Agent, ...] = (CILIUM, ISTIO, *TABLE, MULTUS)

BY_TYPE = {type_: agent for agent in AGENTS for type_ in agent.types}
BY_OWNER = {agent.owner: agent for agent in AGENTS if agent.owner}
OWNER_OF = {type_: agent.owner for type_, agent in BY_TYPE.items() if agent.owner}

MESHES = frozenset(type_ for type_, agent in BY_TYPE.items() if agent.mesh)
# Plugins whose agents edit, or rename, the files of other programs in the directory that they write to.
REWRITERS = frozenset(type_ for type_, agent in BY_TYPE.items() if agent.edits or agent.renames)
# Agents, by owner, that edit any list until they have moved. Istio of today leaves those that sort before its own.
EDITORS = {agent.owner: agent for agent in BY_OWNER.values() if agent.edits and agent is not ISTIO}
# Plugins that change an earlier plugin's result, and that fail or return nothing without it; the second part are
# reference plugins, which no agent writes.
NEVER_FIRST = MESHES | {"portmap", "bandwidth", "tuning", "firewall", "sbr", "vrf"}


def seeds(types: Iterable[str] | None) -> set[str]:
    """Return, for an owner's types, the plugins that a list has only because the agent edits no list without them."""
    return {kind for agent in AGENTS if set(agent.types).intersection(types or ()) for kind in agent.before}


def exempt(types: Iterable[str]) -> list[tuple[str, str]]:
    """Return, for an owner's types, the agents' pods that need the pod network themselves: namespace, prefix."""
    return [pods for type_ in types if type_ in BY_TYPE for pods in BY_TYPE[type_].exempt]


def is_local(owner: str) -> bool:
    """Return whether an owner is the administrator: `local`, or a further part of it, `local-2`."""
    return owner == LOCAL or owner.startswith(f"{LOCAL}-")
