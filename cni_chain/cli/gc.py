"""`cni-chain gc`: frees what no namespace holds any more, by the plugin's own DEL.

An attachment is stale if the path of its network namespace is gone; one whose namespace is there is never touched. Its
record names what was run for it, so that nothing has to be guessed; its lock keeps a runtime's call out meanwhile (that
call gets "try again").
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_chain import spec, teardown
from cni_chain.call import Call, io_error
from cni_chain.cli import attached, programs
from cni_chain.cli.attached import Damaged, Entry, StateDir
from cni_chain.cli.facades import NetDir
from cni_chain.cli.terminal import Step
from cni_chain.errors import INVALID_CONFIG, IO_FAILURE, CNIError
from cni_chain.facade import Facade
from cni_chain.log import Log
from cni_chain.record import Attachment
from cni_chain.spec import CmdArgs

_VERSION = "1.0.0"  # what a delegate is asked in if no facade says: every one of today speaks it


class Stale(NamedTuple):
    """An attachment that is to be freed, and why. `call`: what its record has of the ADD."""

    state_dir: str
    attachment: Attachment
    pod: str
    call: dict[str, Any]
    why: str


class Plan(NamedTuple):
    """What a gc would do: free attachments, and remove files of which nothing can be learnt."""

    stale: list[Stale]
    kept: list[tuple[Entry, str]]  # and why, where that is not simply a namespace that is there
    damaged: list[Damaged]
    unfinished: list[str]

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to do."""
        return not (self.stale or self.removed)

    @property
    def removed(self) -> list[str]:
        """The files that are to be removed."""
        return [damaged.path for damaged in self.damaged if damaged.set_aside] + self.unfinished

    def question(self) -> str:
        """Return what is asked before anything is done."""
        told = []
        if self.stale:
            told.append(f"free {_plural(len(self.stale), 'attachment')}")
        if self.removed:
            told.append(f"remove {_plural(len(self.removed), 'file')}")
        return f"{' and '.join(told).capitalize()}?"


class Outcome(NamedTuple):
    """What became of one stale attachment: freed, or left with the failures, or left because of `kept`."""

    stale: Stale
    errors: list[CNIError]
    kept: str = ""


def plan(found: list[StateDir], older_than: float | None) -> Plan:
    """Return what there is to do. `older_than` (seconds) is for attachments of which no namespace is known."""
    made = Plan([], [], [], [])
    for one in found:
        for entry in one.entries:
            why, kept = _judged(entry, older_than)
            if why:
                made.stale.append(Stale(one.path, entry.attachment, entry.pod, entry.record.call, why))
            elif kept:
                made.kept.append((entry, kept))
        for damaged in one.damaged:
            attachment = damaged.attachment
            if attachment and not damaged.set_aside and older_than is not None and damaged.age > older_than:
                why = f"damaged ({damaged.reason}), not written for {attached.words(damaged.age)}"
                made.stale.append(Stale(one.path, attachment, "", {}, why))
            else:
                made.damaged.append(damaged)
        # A writer that is at work has its file for some milliseconds.
        made.unfinished.extend(path for path in one.unfinished if _age(path) > 60)
    return made


def _judged(entry: Entry, older_than: float | None) -> tuple[str, str]:
    """Return why an attachment is stale, or else why it is left alone if that needs a word."""
    what, why = attached.namespace(entry.record.call["netns"], entry.record.created)
    if what == attached.GONE:
        return "its network namespace is gone", ""
    if what == attached.NONE:
        if older_than is not None and entry.age > older_than:
            return f"no namespace is recorded, and it is {attached.words(entry.age)} old", ""
        return "", "no namespace is recorded: --older-than frees such"
    return "", why


def carry_out(
    made: Plan, directory: NetDir, older_than: float | None, bin_dirs: list[str], step: Step
) -> Iterator[Outcome]:
    """Free what is stale, one attachment after another. `bin_dirs` are for those whose record can't be read."""
    for stale in made.stale:
        step(name(stale.attachment, stale.pod))
        errors: list[CNIError] = []
        kept = ""
        try:
            call = _call(stale, directory, bin_dirs)
            kept = _free(call, stale, older_than, errors)
            if not kept:
                call.log.write(call.facade.log_file, call.facade.log_level, errors[0] if errors else None)
        except CNIError as error:
            errors.append(error)
        yield Outcome(stale, errors, kept)


def remove(made: Plan) -> Iterator[tuple[str, CNIError | None]]:
    """Remove the files of which nothing can be learnt, one after another; yield each, and what failed."""
    for path in made.removed:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield path, CNIError(IO_FAILURE, f"{path}: {error.strerror}")
        else:
            yield path, None


def _free(call: Call, stale: Stale, older_than: float | None, errors: list[CNIError]) -> str:
    """Carry out one attachment's DELs; return why it was left alone, "" if it wasn't. Failures go to `errors`."""
    attachment = stale.attachment
    path = f"{call.state.directory}/{attachment.file}"
    try:
        if not call.state.lock(attachment):
            return "another call is at work on it"
        try:
            found = teardown.find(call, attachment)
            if found is None:
                return "its own DEL came first"
            # What was listed may meanwhile have been deleted and added again.
            entry = Entry(path, found.record)
            if found.on_disk and (entry.record.call != stale.call or not _judged(entry, older_than)[0]):
                return "it is in use again"
            errors += teardown.undo(call, found, call.deadline)
        finally:
            call.state.unlock(attachment)
    except OSError as error:
        errors.append(io_error(error, call.facade.state_dir))
    return ""


def _call(stale: Stale, directory: NetDir, bin_dirs: list[str]) -> Call:
    """Return the DEL that nobody asks for any more. Raises CNIError 7 if its facade has faults, as the plugin does."""
    file = next(
        (
            file
            for file in directory.facades
            if (file.network, file.facade.state_dir) == (stale.attachment.network, stale.state_dir)
        ),
        None,
    )
    if file is not None and file.problems:
        raise CNIError(INVALID_CONFIG, f"{file.path}: {'; '.join(map(str, file.problems))}")
    facade = Facade() if file is None else file.facade
    facade.state_dir = stale.state_dir
    spoken = [] if file is None else [version for version in (file.version, *file.versions) if version]
    version = max((one for one in spoken if one in spec.VERSIONS), key=spec.VERSIONS.index, default=_VERSION)
    conf = {**({} if file is None else file.conf), "name": stale.attachment.network, "cniVersion": version}
    args = CmdArgs(
        "DEL",
        container_id=stale.attachment.container_id,
        netns=stale.call.get("netns", ""),
        ifname=stale.attachment.ifname,
        args=stale.call.get("cniArgs", ""),
        path=stale.call.get("path") or ":".join(bin_dirs),
    )
    environ = programs.environ() | {
        "CNI_COMMAND": args.command,
        "CNI_CONTAINERID": args.container_id,
        "CNI_NETNS": args.netns,
        "CNI_IFNAME": args.ifname,
        "CNI_ARGS": args.args,
        "CNI_PATH": args.path,
    }
    log = Log(args, stale.attachment.network)
    log.note(f"cni-chain gc: {stale.why}")
    return Call(args, conf, version, facade, environ, log)


def document(made: Plan, outcomes: list[Outcome], failures: list[str], *, dry_run: bool) -> dict[str, Any]:
    """Return what was done, or with `dry_run` would be, for a program; `failures` are of no attachment."""
    done = {id(outcome.stale): outcome for outcome in outcomes}
    stale = []
    for one in made.stale:
        outcome = done.get(id(one))
        stale.append(
            _named(one)
            | {
                "why": one.why,
                "freed": outcome is not None and not outcome.errors and not outcome.kept,
                "kept": (outcome.kept or None) if outcome else None,
                "errors": [error.document(_VERSION) for error in outcome.errors] if outcome else [],
            }
        )
    return {
        "dryRun": dry_run,
        "stale": stale,
        "kept": [_named(Stale("", entry.attachment, entry.pod, {}, "")) | {"why": why} for entry, why in made.kept],
        "remove": made.removed,
        "damaged": [{"file": one.path, "reason": one.reason, "setAside": one.set_aside} for one in made.damaged],
        "errors": failures,
    }


def _named(stale: Stale) -> dict[str, Any]:
    attachment = stale.attachment
    return {
        "network": attachment.network,
        "containerID": attachment.container_id,
        "ifname": attachment.ifname,
        "pod": stale.pod,
    }


def name(attachment: Attachment, pod: str) -> str:
    """Return an attachment as gc calls it."""
    return f"{pod or 'a container'} {attachment.ifname} ({attachment.container_id[:13]})"


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0.0


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
