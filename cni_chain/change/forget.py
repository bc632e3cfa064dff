"""`cni-chain gc --forget`: removes an attachment's record, and runs no plugin.

For attachments whose DEL can't succeed any more, because their plugin is gone for good. What the plugins keep for the
attachment stays: the command prints what that may be, and refuses a pod that may still run unless --force is given.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cni_chain.change import gc
from cni_chain.node import attachments
from cni_chain.node.attachments import Damaged, Entry, StateDir
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import NetDir
from cni_chain.plugin import spec
from cni_chain.plugin.errors import CNIError, io_error
from cni_chain.plugin.facade import Facade
from cni_chain.plugin.log import Log
from cni_chain.plugin.record import Attachment
from cni_chain.plugin.records import State
from cni_chain.plugin.spec import CmdArgs
from cni_chain.plugin.stranded import Stranded


class Target(NamedTuple):
    """An attachment to forget: its record, or what is wrong with its record."""

    state_dir: str
    attachment: Attachment
    entry: Entry | None
    damaged: Damaged | None

    @property
    def pod(self) -> str:
        """The pod as namespace/name, "" if it isn't known."""
        return self.entry.pod if self.entry else ""

    @property
    def addresses(self) -> list[str]:
        """The addresses that may stay allocated."""
        return self.entry.addresses if self.entry else []

    @property
    def left(self) -> list[str]:
        """The delegates that never get their DEL."""
        return self.entry.left if self.entry else []

    def remains(self) -> str:
        """Return what may be left behind."""
        if self.entry is None:
            return "addresses, rules and endpoints of an unknown chain may stay"
        if not self.left:
            return "nothing: the DEL of every plugin has succeeded"
        addresses = f" ({', '.join(self.addresses)})" if self.addresses else ""
        return f"addresses{addresses}, rules and endpoints of {', '.join(self.left)} may stay"


class Outcome(NamedTuple):
    """The result for one target: forgotten, failed with `error`, or kept for the reason in `kept`."""

    target: Target
    error: CNIError | None
    kept: str = ""


def chosen(found: list[StateDir], asked: str) -> list[Target]:
    """Return the attachments of the one container whose ID begins with `asked`, which may end in `:INTERFACE`.

    Raises RefusedError if no container's ID begins so, or several do.
    """
    beginning, _, ifname = asked.partition(":")
    every = [Target(one.path, entry.attachment, entry, None) for one in found for entry in one.entries]
    every += [
        Target(one.path, damaged.attachment, None, damaged)
        for one in found
        for damaged in one.damaged
        if damaged.attachment is not None and not damaged.set_aside
    ]
    meant = [target for target in every if beginning and target.attachment.container_id.startswith(beginning)]
    exact = [target for target in meant if target.attachment.container_id == beginning]
    meant = [target for target in exact or meant if ifname in ("", target.attachment.ifname)]
    if not meant:
        failures = "".join(f"; {one.path}: {one.failure}" for one in found if one.failure)
        interface = f" with an interface {ifname}" if ifname else ""
        raise RefusedError(
            f"no attachment of a container{interface} whose ID begins with {beginning!r}{failures}",
            "cni-chain attachments lists them",
        )
    containers = sorted({target.attachment.container_id for target in meant})
    if len(containers) > 1:
        named = ", ".join(containers)
        raise RefusedError(f"{beginning!r}: several container IDs begin so: {named}", "give more of the ID")
    return meant


def guard(targets: list[Target]) -> None:
    """Raise RefusedError if one of them is, or may be, of a pod that runs."""
    for target in targets:
        why = _in_use(target.entry, target.damaged)
        if why:
            name = attachments.name(target.attachment, target.pod)
            raise RefusedError(f"{name} is not forgotten: {why} (--force forgets it anyway)")


def _in_use(entry: Entry | None, damaged: Damaged | None) -> str:
    if entry is None:
        return f"its record does not show whether its pod runs: {damaged.reason if damaged else 'it is gone'}"
    netns = entry.record.context["netns"]
    what, why = attachments.namespace(netns, entry.record.created)
    if entry.record.state != "added" or what in (attachments.GONE, attachments.NONE):
        return ""
    return f"its pod runs: {netns} exists" if what == attachments.THERE else f"its pod may still run: {why}"


def carry_out(target: Target, directory: NetDir, *, force: bool) -> Outcome:
    """Remove one attachment's record and its marker, and note that in the log."""
    file = gc.facade_of(directory, target.attachment.network, target.state_dir)
    facade = Facade() if file is None else file.facade
    state = State(target.state_dir, allow_unsafe=facade.allow_unsafe)
    try:
        if not state.lock(target.attachment):
            return Outcome(target, None, "another call is at work on it")
        try:
            if not force and _is_another(state, target):
                return Outcome(target, None, "it is in use again")
            if target.damaged is not None and os.path.isdir(target.damaged.path):
                gc.discard(target.damaged.path)
            state.remove(target.attachment)
            Stranded(state.stranded).unmark(target.attachment.file)
        finally:
            state.unlock(target.attachment)
    except OSError as error:
        return Outcome(target, io_error(error, target.state_dir))
    call: dict[str, Any] = target.entry.record.context if target.entry else {}
    attachment = target.attachment
    args = CmdArgs("DEL", attachment.container_id, call.get("netns", ""), attachment.ifname, call.get("cniArgs", ""))
    log = Log(args, attachment.network)
    log.note(f"cni-chain gc --forget: the record was removed and no plugin was run; left behind: {target.remains()}")
    log.write(facade.log_file, "info", None)
    return Outcome(target, None)


def _is_another(state: State, target: Target) -> bool:
    """Return whether the attachment was deleted and added again since it was listed."""
    try:
        now = state.load(target.attachment)
    except ValueError:
        return False
    return now is not None and bool(_in_use(Entry(state.path_of(target.attachment), now), None))


def document(targets: list[Target], outcomes: list[Outcome], *, dry_run: bool) -> dict[str, Any]:
    """Return what was forgotten, or with `dry_run` would be, for a program."""
    done = {id(outcome.target): outcome for outcome in outcomes}
    return {"dryRun": dry_run, "forget": [_document(target, done.get(id(target))) for target in targets]}


def _document(target: Target, outcome: Outcome | None) -> dict[str, Any]:
    error = outcome.error if outcome else None
    return attachments.named(target.attachment, target.pod) | {
        "state": target.entry.record.state if target.entry else None,
        "left": target.left,
        "addresses": target.addresses,
        "forgotten": outcome is not None and error is None and not outcome.kept,
        "kept": (outcome.kept or None) if outcome else None,
        "errors": [error.document(spec.LATEST)] if error else [],
    }
