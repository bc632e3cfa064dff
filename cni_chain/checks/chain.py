"""Rules about a chain: which parts of the owners' files run, and whether their plugins fit together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import takewhile

from cni_chain.agents import cilium
from cni_chain.agents.cilium import CILIUM
from cni_chain.agents.registry import BY_OWNER, NEVER_FIRST, seeds
from cni_chain.checks.places import Places
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, of_chain
from cni_chain.node import crio
from cni_chain.node.locate import Place
from cni_chain.node.survey import Survey, error_of
from cni_chain.plugin import request
from cni_chain.plugin.chain import Delegate, OwnerChain
from cni_chain.plugin.fragments import NO_ENDING

UNREADABLE = Kind(
    "chain-dir-unreadable",
    ERROR,
    "`chainDir` can't be read",
    "The plugin finds no owner, so no new pod starts.",
    "Check that the path is a directory, and check the file system.",
    refused=True,
)
EMPTY = Kind(
    "chain-empty",
    ERROR,
    "no owner has a plugin, and none is required",
    "A pod needs at least one plugin: no new pod starts (error 11).",
    "Check the owners' agents on this node, or require the owner that must exist: cni-chain owner require NAME.",
    refused=True,
)
UNLISTED = Kind(
    "owner-not-listed",
    WARNING,
    "a directory of `chainDir` belongs to no owner of the facade",
    "cni-chain runs nothing in it.",
    "Make it an owner (cni-chain owner add NAME:TYPE), or remove the directory.",
)
IGNORED = Kind(
    "file-ignored",
    WARNING,
    "a file or directory looks like a fragment or an owner's directory, but its name doesn't fit",
    "cni-chain runs nothing in it.",
    "If it must run, rename it: a fragment ends in .conf, .conflist or .json, an owner's directory in .d. Otherwise "
    "remove it.",
)
NOT_RUN = Kind(
    "plugin-not-run",
    WARNING,
    "cni-chain leaves a plugin of a fragment out: an earlier file has it, or the owner's `types` don't have it and no "
    "other owner runs it",
    "Pods start without the plugin as this file configures it.",
    "Add its type to the owner's types, have another owner run it, or remove it from the file.",
)
UNDECLARED = Kind(
    "capability-undeclared",
    ERROR,
    "a plugin uses a capability that the facade doesn't declare",
    "The runtime never sends it, so the plugin can't apply it: port mappings or bandwidth limits are missing.",
    "Declare it in the facade's capabilities, or correct its name in the fragment.",
)
NEVER_FIRST_KIND = Kind(
    "plugin-never-first",
    ERROR,
    "the first plugin of the chain is one that changes the result of an earlier plugin",
    "Without an earlier plugin's result it fails, or returns nothing: no new pod starts.",
    "Put the owner whose plugin gives pods their addresses first.",
    stops=True,
)
CILIUM_MODE = Kind(
    "cilium-chaining",
    ERROR,
    "cilium-cni is first with a chaining mode, or not first without one",
    "cilium-cni refuses every pod.",
    "Set cni.chainingMode for Cilium's place in the chain, or change the order of the owners (docs/agents/cilium.md).",
    milder="it works, but only because of the network's name",
    stops=True,
)
TWICE = Kind(
    "plugin-twice",
    WARNING,
    "two owners run the same plugin, or an owner runs one that the facade has beside cni-chain",
    "It runs twice for a pod, and most plugins fail or do harm the second time.",
    "Remove it from one of them, or leave it out with the owner's types.",
)
TOO_SHORT = Kind(
    "timeout-short",
    WARNING,
    "a timeout is shorter than cilium-cni needs while its agent is stopped",
    "cni-chain kills cilium-cni before it has queued the deletion, and pods stay Terminating until the agent is back.",
    "Set 45 s for DEL and 31 s for CHECK, or remove the key.",
)


@of_chain(UNREADABLE, EMPTY)
def nothing(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield a chain without a plugin that no single owner causes."""
    if survey.failure is not None:
        yield UNREADABLE.at(survey.facade.chain_dir, survey.failure.msg)
        return
    blamed = bool(survey.file.problems) or any(error_of(part) is not None for part in survey.parts)
    refusal = survey.refusal()
    if refusal is not None and not survey.links and not blamed:
        yield EMPTY.at(places.facade("owners"), refusal.msg)


@of_chain(UNLISTED, IGNORED)
def ignored(survey: Survey, _: Places) -> Iterator[Finding]:
    """Yield the directories that belong to no owner, and the ignored files that look like fragments."""
    for path in survey.unlisted:
        do = f"Make it an owner (cni-chain owner add {_added(path)}), or remove the directory."
        yield UNLISTED.at(path, f"not run: {survey.file.path} doesn't list this owner", do=do)
    for name, reason in survey.strangers:
        path = f"{survey.facade.chain_dir}/{name}"
        if any(part.directory.path == f"{path}.d" for part in survey.parts):
            yield IGNORED.at(path, f"ignored: the directory of owner {name} is {path}.d", do=f"mv {path} {path}.d")
        else:
            yield IGNORED.at(path, f"ignored: {reason}")
    for part in survey.parts:
        for name, reason in part.directory.ignored:
            if _is_near_miss(name, reason):
                yield IGNORED.at(f"{part.directory.path}/{name}", f"ignored: {reason}")


def _added(path: str) -> str:
    """Return the argument with which `owner add` makes an owner of a directory: of a known agent, with its types."""
    name = os.path.basename(path).removesuffix(".d")
    agent = BY_OWNER.get(name)
    return f"{name}:{','.join(agent.types)}" if agent else name


def _is_near_miss(name: str, reason: str) -> bool:
    """Return whether an ignored file looks like a fragment; temporary and backup files of agents don't count."""
    lower = name.lower()
    if lower.startswith(".") or lower.endswith((".install", ".cilium_bak")):
        return False
    if lower.endswith((".conf", ".conflist", ".json")):
        return True
    return reason == NO_ENDING and (".conf" in lower or ".json" in lower)


@of_chain(NOT_RUN)
def dropped(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the plugins of fragments that don't run."""
    run = {link.type for link in survey.delegates}
    for part in survey.parts:
        for one in part.skipped:
            filtered = part.owner.types is not None and one.type not in part.owner.types
            if not filtered:
                yield NOT_RUN.at(places.dropped(one), f"{one.type} is not run: {one.reason}")
            elif one.type not in {*run, *seeds(part.owner.types)} and part.delegates:
                what = f"{one.type} is not run, and no other owner has it: {one.reason}"
                yield NOT_RUN.at(places.dropped(one), what)


@of_chain(UNDECLARED)
def capabilities(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the capabilities that a plugin never gets."""
    for link in survey.delegates:
        for name in request.capabilities(link.conf):
            if name not in survey.file.capabilities:
                what = f"{link.type} never gets {name}: {survey.file.path} doesn't declare that capability"
                yield UNDECLARED.at(places.link(link, f"capabilities.{name}"), what)


@of_chain(NEVER_FIRST_KIND)
def first(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield a plugin that is first but can't be first."""
    link = _first_link(survey)
    if link is not None and link.type in NEVER_FIRST:
        what = f"{link.type} can't be first: it changes the result of an earlier plugin"
        yield NEVER_FIRST_KIND.at(places.link(link), what)


@of_chain(CILIUM_MODE)
def chaining(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield a Cilium whose chaining mode doesn't fit its place."""
    if _first_link(survey) is None:
        return
    network = survey.file.network
    for link in survey.links:
        if link.type != CILIUM.type:
            continue
        is_first = link is survey.links[0] and survey.file.index == 0
        mode = link.conf.get("chaining-mode")
        if is_first and mode in cilium.CHAINING:
            what = f"cilium-cni is first, but its chaining-mode {mode} needs a plugin before it"
            yield CILIUM_MODE.at(places.link(link, "chaining-mode"), what)
        elif is_first and not mode and network in cilium.CHAINING:
            what = f"key name: {network} switches cilium-cni, which is first, to chaining; rename the network"
            yield CILIUM_MODE.at(Place(survey.file.path, survey.file.find("name")), what)
        elif not is_first and not mode and network in cilium.CHAINING:
            what = f'cilium-cni chains only because of the network\'s name {network}: write "chaining-mode"'
            yield CILIUM_MODE.at(places.link(link), what, why=_BY_NAME, severity=WARNING)
        elif not is_first and not mode:
            what = 'cilium-cni is not first: without "chaining-mode" it refuses the result of the plugin before it'
            yield CILIUM_MODE.at(places.link(link), what)


_BY_NAME = "If somebody renames the network, no new pod of this node starts."


@of_chain(TWICE)
def twice(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the plugins that run twice: two owners have them, or an owner and the facade itself."""
    seen: dict[str, Delegate] = {}
    for index, type_ in survey.file.neighbours:
        for link in survey.links:
            if link.type == type_:
                place = Place(survey.file.path, survey.file.find(f"plugins[{index}].type"))
                what = f"{type_} runs twice for a pod: the facade has it, and {link.path} has it too"
                yield TWICE.at(place, what, do="Remove it from the facade.", owner=link.owner.name)
    for link in survey.links:
        if link.type in seen:
            what = f"{link.type} runs twice for a pod: it is also in {seen[link.type].path}"
            yield TWICE.at(places.link(link), what)
        seen.setdefault(link.type, link)


@of_chain(TOO_SHORT)
def budgets(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the timeouts that kill cilium-cni while its agent is stopped."""
    owners = {link.owner for link in survey.delegates if link.type == CILIUM.type}
    for verb, needed in cilium.NEEDS.items() if owners else ():
        if verb == "CHECK" and not crio.may_run(survey.tree):  # containerd never calls it
            continue
        if survey.facade.timeouts[verb] < needed:
            yield TOO_SHORT.at(places.facade(f"timeouts.{verb}"), _too_short(f"timeouts.{verb}", verb, needed))
    for owner in owners:
        if owner.timeout is not None and owner.timeout < cilium.NEEDS["DEL"]:
            what = _too_short("timeoutSeconds", "DEL", cilium.NEEDS["DEL"])
            yield TOO_SHORT.at(places.owner(owner, "timeoutSeconds"), what)


def _too_short(key: str, verb: str, needed: int) -> str:
    return f"key {key}: too short: cilium-cni needs up to {needed} s for {verb} while its agent is stopped"


def _first_link(survey: Survey) -> Delegate | None:
    """Return the link that runs first, None if the facade or an owner without a fragment yet has one before it."""
    links = survey.links
    if not links or survey.file.index > 0:
        return None

    def is_before(part: OwnerChain) -> bool:
        return part.owner is not links[0].owner

    missing = any(part.owner.required for part in takewhile(is_before, survey.parts))
    return None if missing else links[0]
