"""`cni-chain gc`: frees what no namespace holds any more and what a failed DEL has left, by the plugin's own DEL.

An attachment is stale if the path of its network namespace is gone, and stranded if its DEL was asked for and failed;
any other whose namespace is there is never touched. Its record names what was run for it, so that nothing has to be
guessed; its lock keeps a runtime's call out meanwhile (that call gets "try again").
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_chain import delete, spec
from cni_chain.call import Call, io_error
from cni_chain.cli import attached, programs
from cni_chain.cli.attached import Damaged, Entry, StateDir
from cni_chain.cli.facades import FacadeFile, NetDir
from cni_chain.cli.terminal import Step
from cni_chain.errors import INVALID_CONFIG, IO_FAILURE, CNIError
from cni_chain.facade import Facade
from cni_chain.log import Log
from cni_chain.record import Attachment
from cni_chain.spec import CmdArgs
from cni_chain.undoing import environ_of

VERSION = "1.0.0"  # what a delegate is asked in if no facade says: every one of today speaks it


class Left(NamedTuple):
    """An attachment that is to be freed, and why. `entry`: what was seen of it, None if its record is damaged."""

    state_dir: str
    attachment: Attachment
    why: str
    entry: Entry | None = None

    @property
    def pod(self) -> str:
        """The pod as namespace/name, "" if it isn't known."""
        return self.entry.pod if self.entry else ""

    @property
    def call(self) -> dict[str, Any]:
        """What the record has of the ADD."""
        return self.entry.record.call if self.entry else {}


class Plan(NamedTuple):
    """What a gc would do: free attachments, and remove files of which nothing can be learnt."""

    stale: list[Left]
    stranded: list[Left]
    kept: list[tuple[Entry, str]]  # and why, where that is not simply a namespace that is there
    damaged: list[Damaged]
    unfinished: list[str]
    markers: list[str]  # that wait for no record's retry

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to do."""
        return not (self.left or self.removed)

    @property
    def left(self) -> list[Left]:
        """The attachments that are to be freed."""
        return self.stale + self.stranded

    @property
    def removed(self) -> list[str]:
        """The files that are to be removed."""
        return [damaged.path for damaged in self.damaged if damaged.set_aside] + self.unfinished + self.markers

    def question(self) -> str:
        """Return what is asked before anything is done."""
        told = []
        if self.stale:
            told.append(f"free {plural(len(self.stale), 'attachment')}")
        if self.stranded:
            told.append(f"retry {plural(len(self.stranded), 'DEL')}")
        if self.removed:
            told.append(f"remove {plural(len(self.removed), 'file')}")
        question = f"{' and '.join(told)}?"
        return question[0].upper() + question[1:]


class Outcome(NamedTuple):
    """What became of one attachment: freed, or left with the failures, or left because of `kept`."""

    left: Left
    errors: list[CNIError]
    kept: str = ""


def plan(found: list[StateDir], older_than: float | None) -> Plan:
    """Return what there is to do. `older_than` (seconds) is for attachments of which no namespace is known."""
    made = Plan([], [], [], [], [], [])
    for one in found:
        for entry in one.entries:
            if entry.is_stranded or (entry.is_abandoned and entry.record.state == "deleting"):
                made.stranded.append(Left(one.path, entry.attachment, attached.failure(entry), entry))
                continue
            why, kept = _judged(entry, older_than)
            if why:
                made.stale.append(Left(one.path, entry.attachment, why, entry))
            elif kept:
                made.kept.append((entry, kept))
        for damaged in one.damaged:
            attachment = damaged.attachment
            in_place = attachment and not damaged.set_aside and not damaged.unreadable
            if attachment and in_place and older_than is not None and damaged.age > older_than:
                why = f"damaged ({damaged.reason}), not written for {attached.words(damaged.age)}"
                made.stale.append(Left(one.path, attachment, why))
            else:
                made.damaged.append(damaged)
        # A writer that is at work has its file for some milliseconds.
        made.unfinished.extend(path for path in one.unfinished if _age(path) > 60)
        made.markers.extend(one.stale_markers)
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
    """Free what is left, one attachment after another. `bin_dirs` are for those whose record can't be read."""
    for left in made.left:
        step(name(left.attachment, left.pod))
        errors: list[CNIError] = []
        kept = ""
        try:
            call = _call(left, directory, bin_dirs)
            kept = _free(call, left, older_than, errors)
            if not kept:
                call.log.write(call.facade.log_file, call.facade.log_level, errors[0] if errors else None)
        except CNIError as error:
            errors.append(error)
        yield Outcome(left, errors, kept)


def discard(path: str) -> None:
    """Remove what lies in a record's place: a file, or an empty directory. Raises OSError."""
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    else:
        os.unlink(path)


def remove(made: Plan) -> Iterator[tuple[str, CNIError | None]]:
    """Remove the files of which nothing can be learnt, one after another; yield each, and what failed."""
    for path in made.removed:
        try:
            discard(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield path, CNIError(IO_FAILURE, f"{path}: {error.strerror}")
        else:
            yield path, None
    for directory in {os.path.dirname(path) for path in made.markers}:
        try:
            os.rmdir(directory)  # which tells every call that nothing is stranded
        except OSError:  # something is, or another call has removed it
            continue


def _free(call: Call, left: Left, older_than: float | None, errors: list[CNIError]) -> str:
    """Carry out one attachment's DELs; return why it was left alone, "" if it wasn't. Failures go to `errors`."""
    attachment = left.attachment
    try:
        if not call.state.lock(attachment):
            return "another call is at work on it"
        try:
            found = delete.find(call, attachment)
            if found is None:
                return "its own DEL came first"
            if found.on_disk and not _is_still(left, Entry(call.state.path_of(attachment), found.record), older_than):
                return "it is in use again"
            errors += delete.undo(call, found, call.deadline, environ=environ_of(call, found.record))
            if not errors:
                call.stranded.unmark(attachment.file)
        finally:
            call.state.unlock(attachment)
    except OSError as error:
        errors.append(io_error(error, call.facade.state_dir))
    return ""


def _is_still(left: Left, now: Entry, older_than: float | None) -> bool:
    """Tell whether a record is of what was listed, which may meanwhile have been deleted and added again."""
    if now.record.call != left.call:
        return False
    if left.entry is not None and left.entry.record.state == now.record.state == "deleting":
        return True
    return bool(_judged(now, older_than)[0])


def facade_of(directory: NetDir, network: str, state_dir: str) -> FacadeFile | None:
    """Return the facade through which a network's attachments in a state directory were made, None if it is gone."""
    return next(
        (file for file in directory.facades if (file.network, file.facade.state_dir) == (network, state_dir)), None
    )


def _call(left: Left, directory: NetDir, bin_dirs: list[str]) -> Call:
    """Return the DEL that nobody asks for any more.

    Raises CNIError 7 if its facade has faults that the plugin doesn't do without, either.
    """
    file = facade_of(directory, left.attachment.network, left.state_dir)
    facade = Facade() if file is None else file.facade
    facade.state_dir = left.state_dir
    spoken = [] if file is None else [version for version in (file.version, *file.versions) if version]
    version = max((one for one in spoken if one in spec.VERSIONS), key=spec.VERSIONS.index, default=VERSION)
    conf = {**({} if file is None else file.conf), "name": left.attachment.network, "cniVersion": version}
    args = CmdArgs(
        "DEL",
        container_id=left.attachment.container_id,
        netns=left.call.get("netns", ""),
        ifname=left.attachment.ifname,
        args=left.call.get("cniArgs", ""),
        path=left.call.get("path") or ":".join(bin_dirs),
    )
    environ = programs.environ() | {
        "CNI_COMMAND": args.command,
        "CNI_CONTAINERID": args.container_id,
        "CNI_NETNS": args.netns,
        "CNI_IFNAME": args.ifname,
        "CNI_ARGS": args.args,
        "CNI_PATH": args.path,
    }
    log = Log(args, left.attachment.network)
    log.note(f"cni-chain gc: {left.why}")
    if file is not None and file.problems:
        told = f"{file.path}: {'; '.join(map(str, file.problems))}"
        if any(problem.key in ("chainDir", "stateDir") for problem in file.problems):
            raise CNIError(INVALID_CONFIG, told)
        log.note(f"{told}: done without")
    return Call(args, conf, version, facade, environ, log)


def document(made: Plan, outcomes: list[Outcome], failures: list[str], *, dry_run: bool) -> dict[str, Any]:
    """Return what was done, or with `dry_run` would be, for a program; `failures` are of no attachment."""
    done = {id(outcome.left): outcome for outcome in outcomes}
    return {
        "dryRun": dry_run,
        "stale": [_told(left, done.get(id(left))) for left in made.stale],
        "stranded": [
            _told(left, done.get(id(left))) | {"error": left.entry.record.error, "tries": left.entry.marker.tries}
            for left in made.stranded
            if left.entry
        ],
        "kept": [named(entry.attachment, entry.pod) | {"why": why} for entry, why in made.kept],
        "remove": made.removed,
        "damaged": [{"file": one.path, "reason": one.reason, "setAside": one.set_aside} for one in made.damaged],
        "errors": failures,
    }


def _told(left: Left, outcome: Outcome | None) -> dict[str, Any]:
    return named(left.attachment, left.pod) | {
        "why": left.why,
        "freed": outcome is not None and not outcome.errors and not outcome.kept,
        "kept": (outcome.kept or None) if outcome else None,
        "errors": [error.document(VERSION) for error in outcome.errors] if outcome else [],
    }


def named(attachment: Attachment, pod: str) -> dict[str, Any]:
    """Return an attachment as a program is told which it is."""
    return {
        "network": attachment.network,
        "containerID": attachment.container_id,
        "ifname": attachment.ifname,
        "pod": pod,
    }


def name(attachment: Attachment, pod: str) -> str:
    """Return an attachment as gc calls it."""
    return f"{pod or 'a container'} {attachment.ifname} ({attachment.container_id[:13]})"


def plural(count: int, noun: str) -> str:
    """Return how many there are of something."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0.0
