"""`cni-chain gc`: frees stale and stranded attachments with the DEL of their own plugins.

An attachment is stale if the path of its network namespace is gone, and stranded if a runtime's DEL has failed. Any
other attachment whose namespace exists is never changed. The record names the plugins that were run, so nothing is
guessed. Its lock keeps a runtime's call out meanwhile: that call gets "try again".
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cni_chain.checks.wording import counted
from cni_chain.node import attachments, programs
from cni_chain.node.attachments import Damaged, Entry, StateDir
from cni_chain.node.facades import VERSION, FacadeFile, NetDir
from cni_chain.node.progress import Step
from cni_chain.plugin import answer, delegate, delete
from cni_chain.plugin.call import Call
from cni_chain.plugin.errors import INVALID_CONFIG, IO_FAILURE, CNIError, io_error
from cni_chain.plugin.facade import Facade
from cni_chain.plugin.log import Log
from cni_chain.plugin.record import Attachment
from cni_chain.plugin.request import Request
from cni_chain.plugin.spec import CmdArgs
from cni_chain.plugin.undoing import environ_of

BUSY = "busy: another call for it is still running"  # as ADD says it (`plugin.busy`)


class Left(NamedTuple):
    """An attachment to free or to forget, and why. `entry`: its record; None if that is damaged, as `why` then says."""

    state_dir: str
    attachment: Attachment
    why: str
    entry: Entry | None = None

    @property
    def pod(self) -> str:
        """The pod as namespace/name, "" if it isn't known."""
        return self.entry.pod if self.entry else ""

    @property
    def order(self) -> tuple[str, str, str]:
        """What to sort by: pods by name, so that two runs look alike although container IDs are random."""
        return self.pod, self.attachment.ifname, self.attachment.container_id

    @property
    def call(self) -> dict[str, Any]:
        """The context of the ADD, from the record."""
        return self.entry.record.context if self.entry else {}


class Plan(NamedTuple):
    """What a gc would do: free attachments, and remove files that name nothing to free."""

    stale: list[Left]
    stranded: list[Left]
    kept: list[tuple[Entry, str]]  # and why, unless just because its namespace exists
    damaged: list[Damaged]
    unfinished: list[str]
    markers: list[str]  # of retries whose record is gone

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.left or self.removed)

    @property
    def left(self) -> list[Left]:
        """The attachments to free."""
        return self.stale + self.stranded

    @property
    def removed(self) -> list[str]:
        """The files to remove."""
        return [damaged.path for damaged in self.damaged if damaged.set_aside] + self.unfinished + self.markers

    def question(self) -> str:
        """Return the question for the operator before anything is done."""
        parts = []
        if self.stale:
            parts.append(f"free {counted(len(self.stale), 'attachment')}")
        if self.stranded:
            parts.append(f"retry {counted(len(self.stranded), 'DEL')}")
        if self.removed:
            parts.append(f"remove {counted(len(self.removed), 'file')}")
        question = f"{' and '.join(parts)}?"
        return question[0].upper() + question[1:]


class Outcome(NamedTuple):
    """The result for one attachment: done, failed with `errors`, or kept for the reason in `kept`.

    `said`: what the plugins that failed wrote on their standard error, if the attachment isn't done.
    """

    left: Left
    errors: list[CNIError]
    kept: str = ""
    said: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it was freed, or forgotten."""
        return not (self.errors or self.kept)

    def document(self) -> dict[str, Any]:
        """Return what was not done, and why, as members of a JSON object."""
        return {"kept": self.kept or None, "errors": [error.document(VERSION) for error in self.errors]}


def plan(found: list[StateDir], older_than: float | None) -> Plan:
    """Return what there is to do, by pod. `older_than` (seconds) is for attachments without a recorded namespace."""
    made = Plan([], [], [], [], [], [])
    for one in found:
        for entry in one.entries:
            if entry.is_stranded or (entry.is_abandoned and entry.record.state == "deleting"):
                made.stranded.append(Left(one.path, entry.attachment, attachments.failure(entry), entry))
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
                why = f"damaged ({damaged.reason}), last written {attachments.words(damaged.age)} ago"
                made.stale.append(Left(one.path, attachment, why))
            else:
                made.damaged.append(damaged)
        # A running writer has such a file for some milliseconds.
        made.unfinished.extend(path for path in one.unfinished if _age(path) > 60)
        made.markers.extend(one.stale_markers)
    made.stale.sort(key=lambda left: left.order)
    made.stranded.sort(key=lambda left: left.order)
    return made


def _judged(entry: Entry, older_than: float | None) -> tuple[str, str]:
    """Return why an attachment is stale, and if it is not, why it is left alone ("": its namespace exists)."""
    what, why = attachments.namespace(entry.record.context["netns"], entry.record.created)
    if what == attachments.GONE:
        return "its network namespace is gone", ""
    if what == attachments.NONE:
        if older_than is not None and entry.age > older_than:
            return f"no namespace is recorded, and it is {attachments.words(entry.age)} old", ""
        return "", "no namespace is recorded; --older-than frees such attachments"
    return "", why


def carry_out(
    made: Plan, directory: NetDir, older_than: float | None, bin_dirs: list[str], step: Step
) -> Iterator[Outcome]:
    """Free the attachments one after another. `bin_dirs` are for those whose record can't be read."""
    for left in made.left:
        step(attachments.name(left.attachment, left.pod))
        errors: list[CNIError] = []
        kept = ""
        said: list[bytes] = []
        try:
            call = _call(left, directory, bin_dirs, said)
            kept = _free(call, left, older_than, errors)
            if not kept:
                facade = call.request.facade
                call.log.write(facade.log_file, facade.log_level, errors[0] if errors else None)
        except CNIError as error:
            errors.append(error)
        yield Outcome(left, errors, kept, b"".join(said).decode("utf-8", "replace") if errors else "")


def discard(path: str) -> None:
    """Remove what is at a record's path: a file, or an empty directory. Raises OSError."""
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    else:
        os.unlink(path)


def remove(made: Plan) -> Iterator[tuple[str, CNIError | None]]:
    """Remove the files that name nothing to free, one after another; yield each path, and its error or None."""
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
            os.rmdir(directory)  # its absence shows to every call that nothing is stranded
        except OSError:  # an attachment is stranded, or another call has removed it
            continue


def _free(call: Call, left: Left, older_than: float | None, errors: list[CNIError]) -> str:
    """Carry out one attachment's DELs; return why it was left alone, "" if it wasn't. Failures go to `errors`."""
    attachment = left.attachment
    try:
        if not call.state.lock(attachment):
            return BUSY
        try:
            found = delete.find_undoable(call, attachment)
            if found is None:
                return "the runtime's DEL came first"
            if found.on_disk and not _is_still(left, Entry(call.state.path_of(attachment), found.record), older_than):
                return "it is in use again"
            environ = environ_of(found.record, call.request.environ)
            errors += delete.undo(call, found, call.request.deadline, environ=environ)
            if not errors:
                call.state.markers.unmark(attachment.file)
        finally:
            call.state.unlock(attachment)
    except OSError as error:
        errors.append(io_error(error, call.state.directory))
    return ""


def _is_still(left: Left, now: Entry, older_than: float | None) -> bool:
    """Return whether a record is still the one listed: the attachment may have been deleted and added again."""
    if now.record.context != left.call:
        return False
    if left.entry is not None and left.entry.record.state == now.record.state == "deleting":
        return True
    return bool(_judged(now, older_than)[0])


def facade_of(directory: NetDir, network: str, state_dir: str) -> FacadeFile | None:
    """Return the facade through which a network's attachments in a state directory were made, None if it is gone."""
    return next(
        (file for file in directory.facades if (file.network, file.facade.state_dir) == (network, state_dir)), None
    )


def _call(left: Left, directory: NetDir, bin_dirs: list[str], said: list[bytes]) -> Call:
    """Return the DEL that no runtime sends any more. What plugins that fail write on standard error goes to `said`.

    Raises CNIError 7 if its facade has faults that the plugin refuses, too.
    """
    file = facade_of(directory, left.attachment.network, left.state_dir)
    facade = Facade() if file is None else file.facade
    facade.state_dir = left.state_dir
    version = VERSION if file is None else file.sent
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
        faults = f"{file.path}: {'; '.join(map(str, file.problems))}"
        if any(problem.key in ("chainDir", "stateDir") for problem in file.problems):
            raise CNIError(INVALID_CONFIG, faults)
        log.note(f"{faults}: ignored")
    return Call(Request(args, conf, version, facade, environ), log, functools.partial(_execute, said))


def _execute(said: list[bytes], file: str, environ: Mapping[str, str], stdin: bytes, seconds: float) -> answer.Outcome:
    """Run a plugin as a call does. Many write a line for each success, which is nobody's business at a clean-up."""
    outcome = delegate.execute(file, environ, stdin, seconds, pass_on=False)
    if outcome.status != 0:
        said.append(outcome.stderr)
    return outcome


def document(made: Plan, outcomes: list[Outcome], failures: list[str], *, dry_run: bool) -> dict[str, Any]:
    """Return what was done, or with `dry_run` would be, for a program; `failures` belong to no attachment."""
    done = {id(outcome.left): outcome for outcome in outcomes}
    return {
        "dryRun": dry_run,
        "stale": [_document(left, done.get(id(left))) for left in made.stale],
        "stranded": [
            _document(left, done.get(id(left))) | {"error": left.entry.record.error, "tries": left.entry.marker.tries}
            for left in made.stranded
            if left.entry
        ],
        "kept": [attachments.named(entry.attachment, entry.pod) | {"why": why} for entry, why in made.kept],
        "remove": made.removed,
        "damaged": [one.document() for one in made.damaged],
        "errors": failures,
    }


def _document(left: Left, outcome: Outcome | None) -> dict[str, Any]:
    what = {"why": left.why, "freed": outcome is not None and outcome.is_done}
    return attachments.named(left.attachment, left.pod) | what | (outcome or Outcome(left, [])).document()


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0.0
