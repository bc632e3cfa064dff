"""Rules about the owners' directories: owners without a fragment, files that can't be used, agents in a wrong one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from cni_chain.agents.registry import BY_TYPE, REWRITERS, seeds
from cni_chain.checks.places import Places
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, of_chain
from cni_chain.checks.wording import listed
from cni_chain.node.locate import Place
from cni_chain.node.survey import Survey, error_of
from cni_chain.plugin import facade
from cni_chain.plugin.chain import OwnerChain
from cni_chain.plugin.fragments import REFUSED, Fault

# What keeps an agent from writing into a directory of its own, by the plugin that it installs.
_HINTS = {type_: agent.hint for type_, agent in BY_TYPE.items() if agent.hint}


UNUSABLE = Kind(
    "fragment-unusable",
    ERROR,
    "a fragment or an owner's directory can't be read, isn't JSON, is refused, or is writable by users other than root",
    "The owner can't be used, so no new pod starts.",
    "Correct the file; if an agent wrote it, restart that agent, which then writes it again. cni-chain verify FILE "
    "checks it before it is in place.",
    milder="the owner is optional and the file is only half-written: pods start without it",
    refused=True,
)
WITHOUT_FRAGMENT = Kind(
    "owner-without-fragment",
    ERROR,
    "an owner has no fragment with a plugin",
    "No new pod starts, apart from those that the owner exempts.",
    "Check that the owner's agent runs on this node, and that it writes to the owner's directory. If it is "
    "uninstalled: cni-chain owner remove NAME.",
    milder="the owner is optional",
    refused=True,
)
TYPES_EXCLUDE_ALL = Kind(
    "owner-types-exclude-all",
    ERROR,
    "an owner's fragments have plugins, and the owner's `types` leave all of them out",
    "No new pod starts, apart from those that the owner exempts.",
    "Correct the owner's types in the facade, or have the right agent write to the owner's directory.",
    milder="the owner is optional",
    refused=True,
)
TWO_WRITERS = Kind(
    "owner-with-two-writers",
    WARNING,
    "a second agent writes to an owner's directory",
    "Two agents in one directory break each other's files: Cilium renames files that are not its own, Istio edits the "
    "first file that it finds.",
    "Have each agent write to its own owner's directory alone, then remove the other agent's files here.",
    replaces=("plugin-not-run",),
)


@of_chain(UNUSABLE)
def faults(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the files that can't be used; the plugin leaves a half-written file of an optional owner out."""
    for part in survey.parts:
        stops = error_of(part) is not None
        for fault in part.directory.faults:
            yield UNUSABLE.at(
                *places.fault(fault),
                why=f"Owner {part.owner.name} can't be used, so no new pod starts."
                if stops
                else f"Owner {part.owner.name} is optional: new pods start without the plugins of this file.",
                do=_remedy(survey, fault),
                severity=ERROR if stops else WARNING,
                owner=part.owner.name,
            )


def _remedy(survey: Survey, fault: Fault) -> str:
    """Return what to do about a fault: for a wrong owner or mode the commands that mend it."""
    try:
        status = os.stat(survey.tree.real(fault.path))
    except OSError:
        status = None
    if status is not None and fault.kind == REFUSED and not survey.facade.allow_unsafe:
        commands = [f"chown root {fault.path}"] if status.st_uid else []
        commands += [f"chmod go-w {fault.path}"] if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else []
        if commands:
            return f"{' && '.join(commands)}. If an agent sets it so again, change that agent's settings."
    return (
        "Correct the file; if an agent wrote it, restart that agent, which then writes it again. "
        f"cni-chain verify {fault.path} checks it."
    )


@of_chain(TYPES_EXCLUDE_ALL)
def types(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the owners of whose fragments no plugin may run."""
    for part in survey.parts:
        if not _is_mistyped(part):
            continue
        owner, has = part.owner, sorted({one.type for one in part.skipped})
        meant = next((near for type_ in owner.types or () if (near := facade.near(type_, has))), "")
        hint = f"; did you mean {meant}?" if meant else ""
        stops = error_of(part) is not None
        allowed = listed(sorted(owner.types or ()))
        yield TYPES_EXCLUDE_ALL.at(
            places.owner(owner, "types"),
            f"key types: owner {owner.name} may run only {allowed}, and {part.directory.path} has {listed(has)}{hint}",
            why="" if stops else f"New pods start without {listed(has)}: the owner is optional.",
            do=f"Write {meant} into the types of owner {owner.name}." if meant else "",
            severity=ERROR if stops else WARNING,
            owner=owner.name,
        )


def _is_mistyped(part: OwnerChain) -> bool:
    """Return whether an owner's types leave out all plugins that its agent wrote; a seed is the administrator's."""
    written = {one.type for one in part.skipped} - seeds(part.owner.types)
    return part.is_filtered and bool(written) and not part.directory.faults


@of_chain(WITHOUT_FRAGMENT)
def nobody_writes(survey: Survey, _: Places) -> Iterator[Finding]:
    """Yield the owners without a plugin, except those whose files `faults` or `types` reports."""
    for part in survey.parts:
        owner, directory = part.owner, part.directory
        if part.usable or directory.faults or _is_mistyped(part):
            continue
        error = error_of(part)
        hints = [_HINTS[type_] for type_ in sorted(owner.types or ()) if type_ in _HINTS]
        look = f"Check that the agent of {owner.name} runs on this node, and that it writes to {directory.path}."
        if os.path.basename(directory.path).removesuffix(".d") in (name for name, _ in survey.strangers):
            look = f"Rename {directory.path.removesuffix('.d')} to {directory.path}, and have the agent write there."
        if error is not None:
            remove = f"If {owner.name} is uninstalled: cni-chain owner remove {owner.name}."
            do = " ".join([look, *hints, remove])
            yield WITHOUT_FRAGMENT.at(
                directory.path, f"new pods wait for {part.what_is_missing()}", do=do, owner=owner.name
            )
        elif owner.types is not None or directory.missing:
            found = "the directory doesn't exist" if directory.missing else "no agent has written a fragment here"
            remove = f"If you don't want it: cni-chain owner remove {owner.name}."
            yield WITHOUT_FRAGMENT.at(
                directory.path,
                f"owner {owner.name}: {found}",
                why=f"New pods start without {listed(sorted(owner.types or ())) or owner.name}: the owner is optional.",
                do=" ".join([look, *hints, "If it is not installed yet: nothing to do.", remove]),
                severity=WARNING,
                owner=owner.name,
            )


@of_chain(TWO_WRITERS)
def foreign(survey: Survey, _: Places) -> Iterator[Finding]:
    """Yield the files in an owner's directory that hold another agent's plugin."""
    for part in survey.parts:
        yield from _foreign(survey, part)


def _foreign(survey: Survey, part: OwnerChain) -> Iterator[Finding]:
    others: dict[str, str] = {}
    for other in survey.parts:
        if other.owner is not part.owner:
            others |= dict.fromkeys(other.owner.types or (), other.owner.name)
    ours = part.owner.types
    agents = sorted({plugin["type"] for one in part.directory.fragments for plugin in one.plugins} & REWRITERS)
    for fragment in part.directory.fragments:
        types = [plugin["type"] for plugin in fragment.plugins]
        if ours is not None:
            # A plugin beside the owner's own is in its agent's list (Cilium's, after Flannel), unless another agent
            # edits lists.
            known = REWRITERS if ours & set(types) else REWRITERS | set(others)
            if part.is_filtered:  # `types` reports a plugin that no other owner has
                known = frozenset(others)
            foreign = [type_ for type_ in types if type_ not in ours and type_ in known]
        else:
            foreign = [type_ for type_ in types if type_ in REWRITERS and len(agents) > 1]
        if foreign:
            whose = next((f"owner {others[type_]}'s" for type_ in foreign if type_ in others), "another agent's")
            yield TWO_WRITERS.at(
                Place(fragment.path),
                f"has {listed(foreign)}, {whose} plugin: a second agent writes to the directory of {part.owner.name}",
            )
