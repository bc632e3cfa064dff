"""`cni-chain gc --forget`: removes an attachment's record, and runs no plugin.

For attachments whose DEL can't succeed any more, because their plugin is gone for good. What the plugins keep for the
attachment stays: the command prints what that may be, and refuses a pod that may still run unless --force is given.
"""

from __future__ import annotations

import os
from typing import Any

from cni_chain.change import gc
from cni_chain.change.gc import BUSY, Left, Outcome
from cni_chain.node import attachments
from cni_chain.node.attachments import Entry, StateDir
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import NetDir
from cni_chain.plugin.errors import io_error
from cni_chain.plugin.facade import Facade
from cni_chain.plugin.log import Log
from cni_chain.plugin.record import Attachment
from cni_chain.plugin.records import State
from cni_chain.plugin.spec import CmdArgs
from cni_chain.plugin.stranded import Stranded


def remains(left: Left) -> str:
    """Return what may be left behind."""
    if left.entry is None:
        return "addresses, rules and endpoints of an unknown chain may stay"
    if not left.entry.left:
        return "nothing: the DEL of every plugin has succeeded"
    addresses = f" ({', '.join(left.entry.addresses)})" if left.entry.addresses else ""
    return f"addresses{addresses}, rules and endpoints of {', '.join(left.entry.left)} may stay"


def chosen(found: list[StateDir], asked: str) -> list[Left]:
    """Return the attachments of the one container whose ID begins with `asked`, which may end in `:INTERFACE`.

    Raises RefusedError if no container's ID begins so, or several do.
    """
    beginning, _, ifname = asked.partition(":")
    every = [Left(one.path, entry.attachment, "", entry) for one in found for entry in one.entries]
    every += [
        Left(one.path, damaged.attachment, damaged.reason)
        for one in found
        for damaged in one.damaged
        if damaged.attachment is not None and not damaged.set_aside
    ]
    meant = [left for left in every if beginning and left.attachment.container_id.startswith(beginning)]
    exact = [left for left in meant if left.attachment.container_id == beginning]
    meant = [left for left in exact or meant if ifname in ("", left.attachment.ifname)]
    if not meant:
        failures = "".join(f"; {one.path}: {one.failure}" for one in found if one.failure)
        interface = f" with an interface {ifname}" if ifname else ""
        raise RefusedError(
            f"no attachment of a container{interface} whose ID begins with {beginning!r}{failures}",
            "cni-chain attachments lists them",
        )
    containers = sorted({left.attachment.container_id for left in meant})
    if len(containers) > 1:
        named = ", ".join(containers)
        raise RefusedError(f"{beginning!r}: several container IDs begin so: {named}", "give more of the ID")
    return meant


def guard(chosen: list[Left]) -> None:
    """Raise RefusedError if one of them is, or may be, of a pod that runs."""
    for left in chosen:
        unknown = f"its record does not show whether its pod runs: {left.why}"
        why = unknown if left.entry is None else _in_use(left.entry)
        if why:
            name = attachments.name(left.attachment, left.pod)
            raise RefusedError(f"{name} is not forgotten: {why} (--force forgets it anyway)")


def _in_use(entry: Entry) -> str:
    netns = entry.record.context["netns"]
    what, why = attachments.namespace(netns, entry.record.created)
    if entry.record.state != "added" or what in (attachments.GONE, attachments.NONE):
        return ""
    return f"its pod runs: {netns} exists" if what == attachments.THERE else f"its pod may still run: {why}"


def carry_out(left: Left, directory: NetDir, *, force: bool) -> Outcome:
    """Remove one attachment's record and its marker, and note that in the log."""
    attachment = left.attachment
    file = gc.facade_of(directory, attachment.network, left.state_dir)
    facade = Facade() if file is None else file.facade
    state = State(left.state_dir, allow_unsafe=facade.allow_unsafe)
    path = state.path_of(attachment)
    try:
        if not state.lock(attachment):
            return Outcome(left, [], BUSY)
        try:
            if not force and _is_another(state, attachment):
                return Outcome(left, [], "it is in use again")
            if os.path.isdir(path):  # a record that is damaged
                gc.discard(path)
            state.remove(attachment)
            Stranded(state.stranded).unmark(attachment.file)
        finally:
            state.unlock(attachment)
    except OSError as error:
        return Outcome(left, [io_error(error, left.state_dir)])
    call = left.call
    args = CmdArgs("DEL", attachment.container_id, call.get("netns", ""), attachment.ifname, call.get("cniArgs", ""))
    log = Log(args, attachment.network)
    log.note(f"cni-chain gc --forget: the record was removed and no plugin was run; left behind: {remains(left)}")
    log.write(facade.log_file, "info", None)
    return Outcome(left, [])


def _is_another(state: State, attachment: Attachment) -> bool:
    """Return whether the attachment was deleted and added again since it was listed."""
    try:
        now = state.load(attachment)
    except ValueError:
        return False
    return now is not None and bool(_in_use(Entry(state.path_of(attachment), now)))


def document(chosen: list[Left], outcomes: list[Outcome], *, dry_run: bool) -> dict[str, Any]:
    """Return what was forgotten, or with `dry_run` would be, for a program."""
    results = [Outcome(left, []) for left in chosen] if dry_run else outcomes
    return {
        "dryRun": dry_run,
        "forget": [
            attachments.named(left.attachment, left.pod)
            | {
                "state": left.entry.record.state if left.entry else None,
                "left": left.entry.left if left.entry else [],
                "addresses": left.entry.addresses if left.entry else [],
                "forgotten": one.is_done and not dry_run,
            }
            | one.document()
            for left, one in zip(chosen, results, strict=True)
        ],
    }
