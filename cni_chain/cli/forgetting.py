"""`cni-chain gc --forget`: drops an attachment's record, though what it names was never deleted. Runs no plugin.

For what can't be deleted any more, since whoever made it is gone for good. Whatever the plugins keep for the attachment
stays with them, so a person is told what that may be, and a pod that may still run needs a second word.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cni_chain import results
from cni_chain.call import io_error
from cni_chain.cli import attached, gc
from cni_chain.cli.attached import Damaged, Entry, StateDir
from cni_chain.cli.facades import NetDir
from cni_chain.errors import CNIError
from cni_chain.facade import Facade
from cni_chain.log import Log
from cni_chain.record import Attachment
from cni_chain.records import State
from cni_chain.spec import CmdArgs
from cni_chain.stranded import Stranded


class ForgetError(Exception):
    """Why nothing is forgotten."""


class Target(NamedTuple):
    """An attachment that is to be forgotten: what was seen of it, or what is wrong with its record."""

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
        """The addresses that may stay taken."""
        return self.entry.addresses if self.entry else []

    @property
    def left(self) -> list[str]:
        """The delegates that never get their DEL."""
        return self.entry.left if self.entry else []

    def remains(self) -> str:
        """Return what may be left behind."""
        if self.entry is None:
            return "addresses, rules and endpoints of a chain that isn't known may stay"
        if not self.left:
            return "nothing, since every plugin has had its DEL"
        addresses = f" ({', '.join(self.addresses)})" if self.addresses else ""
        return f"addresses{addresses}, rules and endpoints of {', '.join(self.left)} may stay"


class Outcome(NamedTuple):
    """What became of one: forgotten, or not because of an error, or left because of `kept`."""

    target: Target
    error: CNIError | None
    kept: str = ""


def chosen(found: list[StateDir], asked: str) -> list[Target]:
    """Return the attachments of the one container whose ID begins with `asked`, which may end in `:INTERFACE`.

    Raises ForgetError if there is none, or if several containers' IDs begin so.
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
        told = "".join(f"; {one.path}: {one.failure}" for one in found if one.failure)
        interface = f" with an interface {ifname}" if ifname else ""
        raise ForgetError(
            f"no attachment of a container{interface} whose ID begins with {beginning!r}{told}; "
            "cni-chain attachments lists them"
        )
    containers = sorted({target.attachment.container_id for target in meant})
    if len(containers) > 1:
        raise ForgetError(f"{beginning!r} begins the IDs of several containers: {', '.join(containers)}")
    return meant


def guard(targets: list[Target]) -> None:
    """Raise ForgetError if one of them is, or may be, of a pod that runs."""
    for target in targets:
        why = _in_use(target.entry, target.damaged)
        if why:
            name = gc.name(target.attachment, target.pod)
            raise ForgetError(f"{name} is not forgotten: {why} (--force forgets it all the same)")


def _in_use(entry: Entry | None, damaged: Damaged | None) -> str:
    if entry is None:
        return f"its record can't tell whether its pod runs: {damaged.reason if damaged else 'it is gone'}"
    netns = entry.record.call["netns"]
    what, why = attached.namespace(netns, entry.record.created)
    if entry.record.state != "added" or what in (attached.GONE, attached.NONE):
        return ""
    return f"its pod runs: {netns} is there" if what == attached.THERE else f"its pod may still run: {why}"


def carry_out(target: Target, directory: NetDir, *, force: bool) -> Outcome:
    """Drop one attachment's record, with what is kept beside it, and note that in the log."""
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
    call: dict[str, Any] = target.entry.record.call if target.entry else {}
    attachment = target.attachment
    args = CmdArgs("DEL", attachment.container_id, call.get("netns", ""), attachment.ifname, call.get("cniArgs", ""))
    log = Log(args, attachment.network)
    log.note(f"cni-chain gc --forget: the record was dropped and no plugin was run; left behind: {target.remains()}")
    log.write(facade.log_file, "info", None)
    return Outcome(target, None)


def _is_another(state: State, target: Target) -> bool:
    """Tell whether the attachment was deleted and added again since it was looked at."""
    try:
        now = state.load(target.attachment)
    except ValueError:
        return False
    return now is not None and bool(_in_use(Entry(state.path_of(target.attachment), now), None))


def document(targets: list[Target], outcomes: list[Outcome], *, dry_run: bool) -> dict[str, Any]:
    """Return what was forgotten, or with `dry_run` would be, for a program."""
    done = {id(outcome.target): outcome for outcome in outcomes}
    return {"dryRun": dry_run, "forget": [_told(target, done.get(id(target))) for target in targets]}


def _told(target: Target, outcome: Outcome | None) -> dict[str, Any]:
    error = outcome.error if outcome else None
    return gc.named(target.attachment, target.pod) | {
        "state": target.entry.record.state if target.entry else None,
        "left": target.left,
        "addresses": target.addresses,
        "forgotten": outcome is not None and error is None and not outcome.kept,
        "kept": (outcome.kept or None) if outcome else None,
        "errors": [error.document(results.WHOLE)] if error else [],
    }
