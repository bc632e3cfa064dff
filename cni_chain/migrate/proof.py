"""Proves that every plugin gets the same configuration, in the same order, as before. Pure.

Before: what libcni derives from the list (`libcni/api.go`, buildOneConfig). After: what cni-chain derives from the
fragments, by its own code, from what libcni derives for it from the facade. They are compared value by value, once
with everything that a runtime may send, and once without.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from cni_chain.migrate.split import versions
from cni_chain.node.conflists import Live
from cni_chain.node.facades import FacadeFile
from cni_chain.plugin import request
from cni_chain.plugin.chain import Delegate as ChainDelegate

# What a plugin gets from its place in the order, the facade and the runtime, and not from its agent's file.
_NOT_AGENTS = frozenset(("type", "name", "cniVersion", "prevResult", "runtimeConfig"))
_EXACT = 2**53  # above this not every integer is a float64, and libcni converts all of them to float64


class Difference(NamedTuple):
    """One value that differs; `...` means that it doesn't exist."""

    key: str
    before: Any
    after: Any

    @property
    def root(self) -> str:
        """The plugin's own key that has the value, or has it below."""
        return re.split(r"[.[]", self.key, maxsplit=1)[0]

    def text(self) -> str:
        """Return it in words."""
        before, after = ("nothing" if value is ... else json.dumps(value) for value in (self.before, self.after))
        return f"{self.key}: before {before}, after {after}"


class Delegate:
    """One place in the order: the plugin before, the one after, and what differs."""

    def __init__(self, number: int, kind: str, link: ChainDelegate | None) -> None:
        self.number = number
        self.type = kind
        self.link = link
        self.before: dict[str, Any] | None = None
        self.after: dict[str, Any] | None = None
        self.differences: list[Difference] = []


class Proof:
    """All places, the differences of the list itself, and remarks about harmless differences."""

    def __init__(self) -> None:
        self.delegates: list[Delegate] = []
        self.differences: list[Difference] = []  # of the list, not of a plugin
        self.remarks: list[str] = []

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.differences and not any(delegate.differences for delegate in self.delegates)


def libcni(
    conf: Mapping[str, Any], network: str, version: str, prev_result: Any, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what libcni sends to a plugin of a list. Integers stay as they are written (see `_EXACT`)."""
    sent = {**conf, "name": network, "cniVersion": version}
    if prev_result is not None:
        sent["prevResult"] = prev_result
    granted = {name: given[name] for name in request.capabilities(conf) if name in given}
    return sent | {"runtimeConfig": granted} if granted else sent


def prove(
    live: Live,
    facade: FacadeFile,
    links: list[ChainDelegate],
    added: Collection[str] = (),
    moved: Collection[str] = (),
) -> Proof:
    """Return the comparison of the list with the chain `links` behind a facade.

    Plugins of the owners `added` are meant to be new. What the agents of the owners `moved` have written themselves is
    what they want now, and often what their new settings are for: how it differs from the list is a remark.
    """
    proof = Proof()
    new = [link for link in links if link.owner.name in added]
    links = [link for link in links if link.owner.name not in added]
    proof.remarks += [f"{link.type}, of the added owner {link.owner.name}, is new: {link.path}" for link in new]
    for key, before, after in (
        ("name", live.network, facade.network),
        ("cniVersions", versions(live), list(dict.fromkeys([facade.version, *facade.versions]))),
        ("plugins of the facade beside cni-chain", 0, len(facade.plugins) - 1),
    ):
        if before != after:
            proof.differences.append(Difference(key, before, after))
    names = sorted({name for plugin in live.plugins for name in request.capabilities(plugin)})
    everything = {name: f"<{name}, as the runtime sends it>" for name in names}
    for number, (plugin, link) in enumerate(zip_longest(live.plugins, links), 1):
        delegate = Delegate(number, link.type if plugin is None else plugin["type"], link)
        proof.delegates.append(delegate)
        if plugin is None or link is None:
            there = (plugin or {}).get("type", ...), link.type if link else ...
            delegate.differences.append(Difference("type", *there))
            continue
        for version in versions(live):
            for given in (everything, {}):
                _compare(delegate, plugin, live, facade, version, given, proof)
        for verb, before, after in (
            ("disableCheck", live.flag("disableCheck"), _flag(facade, "disableCheck") or link.disable_check),
            ("disableGC", live.flag("disableGC"), _flag(facade, "disableGC") or link.disable_gc),
        ):
            if before != after:
                delegate.differences.append(Difference(verb, before, after))
        if link.owner.name in moved:
            not_agents = [one for one in delegate.differences if one.root in _NOT_AGENTS or _flag(facade, one.key)]
            by_agent = [one for one in delegate.differences if one not in not_agents]
            proof.remarks += [_by_agent(delegate, link, one) for one in by_agent]
            delegate.differences = not_agents
        proof.remarks += _remarks(delegate, plugin)
    return proof


def _compare(
    delegate: Delegate,
    plugin: dict[str, Any],
    live: Live,
    facade: FacadeFile,
    version: str,
    given: Mapping[str, Any],
    proof: Proof,
) -> None:
    assert delegate.link is not None
    prev_result = None if delegate.number == 1 else {"cniVersion": version, "ips": ["<of the plugin before>"]}
    before = libcni(plugin, live.network, version, prev_result, given)
    before.pop("capabilities", None)  # plugins don't need it; the specification says to remove it
    asked = libcni(facade.conf, facade.network, version, None, given)
    conf = delegate.link.conf
    after = request.derive(request.own_part(conf), request.capabilities(conf), asked, version, prev_result)
    if delegate.before is None:
        delegate.before, delegate.after = before, after
    for difference in differences(before, after):
        remark = _harmless(difference, delegate, os.path.dirname(live.path))
        if remark and remark not in proof.remarks:
            proof.remarks.append(remark)
        if not remark and difference not in delegate.differences:
            delegate.differences.append(difference)


def _harmless(difference: Difference, delegate: Delegate, net_dir: str) -> str:
    """Return a remark for a difference that is intended, "" for any other."""
    key, before, after = difference
    if key == "runtimeConfig" and after is ... and _hollow(before):
        return f"{delegate.type}: the empty runtimeConfig in the list isn't passed on"
    # Agents keep their credentials beside their configuration, and move both together.
    directory = os.path.dirname(delegate.link.path) if delegate.link else ""
    if isinstance(before, str) and f"{before}/".startswith(f"{net_dir}/"):
        moved = directory + before.removeprefix(net_dir)
        if after == moved:
            return f"{delegate.type}: {key}: {moved}, where its agent has moved it, was {before}"
    return ""


def _by_agent(delegate: Delegate, link: ChainDelegate, difference: Difference) -> str:
    """Return the remark about a difference that an agent has made."""
    return f"{delegate.type}: {difference.text()}: its agent has written this itself, in {link.path}"


def differences(before: Any, after: Any, key: str = "") -> Iterator[Difference]:
    """Yield where two JSON values differ; true is not 1, but 1.0 is."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            yield from differences(before.get(name, ...), after.get(name, ...), f"{key}.{name}" if key else name)
    elif isinstance(before, list) and isinstance(after, list):
        for index, (one, other) in enumerate(zip_longest(before, after, fillvalue=...)):
            yield from differences(one, other, f"{key}[{index}]")
    elif isinstance(before, bool) != isinstance(after, bool) or before != after:
        yield Difference(key, before, after)


def _hollow(value: Any) -> bool:
    """Return whether a value is empty for a plugin that reads it."""
    if isinstance(value, dict):
        return all(map(_hollow, value.values()))
    return value is None or value in ("", [])


def _remarks(delegate: Delegate, plugin: dict[str, Any]) -> Iterator[str]:
    for key, number in _integers(plugin, ""):
        if abs(number) > _EXACT and int(float(number)) != number:
            yield (
                f"{delegate.type}: {key}: libcni passed {int(float(number))} on; cni-chain passes {number}, as written"
            )


def _integers(value: Any, key: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _integers(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _integers(inner, f"{key}[{index}]")
    elif isinstance(value, int) and not isinstance(value, bool):
        try:
            float(value)
        except OverflowError:
            return  # no runtime reads it either
        yield key, value


def _flag(facade: FacadeFile, key: str) -> bool:
    value = facade.document.get(key) if facade.is_list else None
    return value is True or (isinstance(value, str) and value.lower() == "true")
