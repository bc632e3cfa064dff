"""Splits a list that agents share into what each of them owns: directories, files, and the facade. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from cni_chain.agents.agent import Agent
from cni_chain.agents.registry import BY_OWNER, LOCAL, OWNER_OF, is_local
from cni_chain.change.draft import CAPABILITIES, text_of
from cni_chain.node.conflists import Live
from cni_chain.node.errors import RefusedError, UsageError
from cni_chain.node.facades import TYPE
from cni_chain.plugin import fragments, request, spec
from cni_chain.plugin.facade import is_owner_name

_LIST_FLAGS = ("disableCheck", "disableGC")


class File:
    """One fragment to write."""

    def __init__(self, owner: str, name: str, document: dict[str, Any], types: list[str]) -> None:
        self.owner = owner
        self.name = name
        self.document = document
        self.content = text_of(document).encode()  # how migrate's copies differ from an agent's own files
        self.types = types


class Share:
    """One owner's part of the list: plugins that follow each other in it; none for a mesh that comes later."""

    def __init__(self, owner: str, plugins: list[dict[str, Any]]) -> None:
        self.owner = owner
        self.plugins = plugins
        self.agent: Agent | None = BY_OWNER.get(owner)

    @property
    def types(self) -> list[str]:
        """The plugins' types, each once, in order; those of the agent if it comes later."""
        if self.agent is not None and not self.plugins:
            return list(self.agent.types)
        return list(dict.fromkeys(plugin["type"] for plugin in self.plugins))

    @property
    def repeats(self) -> bool:
        """Whether a type exists twice, each in a file of its own."""
        return self.agent is None and len(self.types) < len(self.plugins)


def split(live: Live, owner_of: dict[str, str]) -> list[Share]:
    """Return the shares in the list's order; `owner_of` names a type's owner, else the table of agents does.

    A directory has one place in the chain, so an owner's plugins must follow each other. The administrator may have
    several directories: `local`, then `local-2`. Raises RefusedError.
    """
    strangers = [kind for kind in owner_of if kind not in live.types]
    if strangers:
        raise RefusedError(
            f"{live.path}: --owner {owner_of[strangers[0]]}:{strangers[0]}: the list has no {strangers[0]}"
        )
    shares: list[Share] = []
    for plugin in live.plugins:
        kind = plugin["type"]
        owner = owner_of.get(kind) or OWNER_OF.get(kind, LOCAL)
        if shares and shares[-1].owner == owner:
            shares[-1].plugins.append(plugin)
        else:
            shares.append(Share(owner, [plugin]))
    _name_local_parts(shares)
    for index, share in enumerate(shares):
        if any(other.owner == share.owner for other in shares[:index]):
            raise RefusedError(f"{live.path}: {_torn(share.owner, shares)}")
        foreign = [kind for kind in share.types if share.agent and kind not in share.agent.types]
        if foreign and share.agent and share.agent.exempt:
            raise RefusedError(
                f"{live.path}: --owner {share.owner}:{foreign[0]}: {share.owner}'s agent rewrites its file with "
                "only its own plugin",
                "choose another owner",
            )
    return shares


def _name_local_parts(shares: list[Share]) -> None:
    taken = {share.owner for share in shares}
    number = 1
    for share in (share for share in shares if share.owner == LOCAL):
        if number > 1:
            while f"{LOCAL}-{number}" in taken:
                number += 1
            share.owner = f"{LOCAL}-{number}"
        number += 1


def _torn(owner: str, shares: list[Share]) -> str:
    """Return why one owner can't have two places in the chain, and the option that gives it one."""
    places = [index for index, share in enumerate(shares) if share.owner == owner]
    inner = shares[places[0] : places[-1] + 1]
    own = list(dict.fromkeys(kind for share in inner if share.owner == owner for kind in share.types))
    between = list(dict.fromkeys(kind for share in inner if share.owner != owner for kind in share.types))
    everything = ",".join(dict.fromkeys(kind for share in inner for kind in share.types))
    return (
        f"owner {owner} has {' and '.join(own)} with {', '.join(between)} between them, and its directory has one "
        f"place in the chain: give all of them to it, --owner {owner}:{everything}, or to the administrator, "
        f"--owner {LOCAL}:{everything}"
    )


def files(share: Share, live: Live) -> list[File]:
    """Return the fragments of a share, as its agent writes them itself."""
    agent = share.agent
    if agent is not None and not share.plugins:  # its agent creates the file, unless it only edits one
        seed = [{"type": kind} for kind in agent.before]
        return [_list(share.owner, agent.file, agent.seed, seed, live)] if agent.seed else []
    if agent is not None:
        if agent.single and len(share.plugins) == 1 and "plugins" not in share.plugins[0]:
            return [_single(share.owner, agent.file, share.plugins[0], live)]
        if not live.is_list and live.name in agent.older:
            return [_single(share.owner, live.name, share.plugins[0], live)]
        seeded: list[dict[str, Any]] = [{"type": kind} for kind in agent.before]
        return [_list(share.owner, agent.file, agent.seed or live.network, seeded + share.plugins, live)]
    found = []
    width = 2 if len(share.plugins) < 10 else 3
    for number, plugin in enumerate(share.plugins, 1):
        word = re.sub(r"[^A-Za-z0-9_-]", "-", plugin["type"])
        stem = f"{number * 10:0{width}}-{word}"
        if fragments.ignored_because(f"{stem}.conf"):
            stem = f"{number * 10:0{width}}-plugin"
        if "plugins" in plugin:  # by itself it would be read as a list
            found.append(_list(share.owner, f"{stem}.conflist", live.network, [plugin], live))
        else:
            found.append(_single(share.owner, f"{stem}.conf", plugin, live))
    return found


def _single(owner: str, name: str, plugin: dict[str, Any], live: Live) -> File:
    head = {"cniVersion": live.version, "name": plugin.get("name") or plugin["type"], "type": plugin["type"]}
    return File(owner, name, head | {key: plugin[key] for key in plugin if key not in head}, [plugin["type"]])


def _list(owner: str, name: str, network: str, plugins: list[dict[str, Any]], live: Live) -> File:
    document = _list_keys(live) | {"name": network} | {key: True for key in _LIST_FLAGS if live.flag(key)}
    return File(owner, name, document | {"plugins": plugins}, [plugin["type"] for plugin in plugins])


def _list_keys(live: Live) -> dict[str, Any]:
    keys: dict[str, Any] = {"cniVersion": live.version}
    more = versions(live)[1:]
    if more:
        keys["cniVersions"] = [version for version in live.document["cniVersions"] if version in spec.VERSIONS]
    return keys


def facade(live: Live, shares: list[Share], chain_dir: str, *, optional: Collection[str] = ()) -> dict[str, Any]:
    """Return the facade that replaces the list: its name and versions, and the shares' owners in order.

    No pod waits for the owners in `optional`.
    """
    declared = dict.fromkeys(CAPABILITIES, True)
    for plugin in live.plugins:
        declared |= dict.fromkeys(request.capabilities(plugin), True)
    return (
        _list_keys(live)
        | {"name": live.network, "loadOnlyInlinedPlugins": True}
        | {key: True for key in _LIST_FLAGS if live.flag(key)}
        | {
            "plugins": [
                {
                    "type": TYPE,
                    "capabilities": declared,
                    "chainDir": chain_dir,
                    "owners": [
                        _owner(share, is_first=index == 0, is_optional=share.owner in optional)
                        for index, share in enumerate(shares)
                    ],
                }
            ]
        }
    )


def _owner(share: Share, *, is_first: bool, is_optional: bool) -> dict[str, Any]:
    owner: dict[str, Any] = {"name": share.owner}
    if not is_local(share.owner):
        # An agent writes whole lists; only its own plugin is taken from them.
        owner["types"] = share.types
    elif not is_first:
        owner["required"] = False  # the default for `local`: a pod has its network without the administrator's plugins
    if is_optional:
        owner["required"] = False
    exempt = exempt_pods(share)
    if exempt:
        owner["exempt"] = [{"namespace": namespace, "podNamePrefix": prefix} for namespace, prefix in exempt]
    if share.repeats:
        owner["duplicates"] = "all"
    return owner


def exempt_pods(share: Share) -> list[tuple[str, str]]:
    """Return the pods of the share's own agent, which must start without it."""
    return [] if share.agent is None else list(share.agent.own_pods(share.plugins[0] if share.plugins else {}))


def parse_owners(given: list[str]) -> dict[str, str]:
    """Return the owner of each type from `NAME:type,type`. Raises UsageError."""
    owner_of: dict[str, str] = {}
    for text in given:
        owner, _, types = text.partition(":")
        names = [kind.strip() for kind in types.split(",") if kind.strip()]
        if not names or not is_owner_name(owner):
            raise UsageError(
                f"--owner: {text!r} is not NAME:type,type with a NAME of lower-case letters, digits and '-'"
            )
        for kind in names:
            if owner_of.setdefault(kind, owner) != owner:
                raise UsageError(f"--owner: {kind} has two owners: {owner_of[kind]} and {owner}")
    return owner_of


def versions(live: Live) -> list[str]:
    """Return the versions that a runtime may send for the list, that of old runtimes first."""
    listed = live.document.get("cniVersions") if live.is_list else None
    more = [version for version in listed if version in spec.VERSIONS] if isinstance(listed, list) else []
    return list(dict.fromkeys([live.version, *more]))
