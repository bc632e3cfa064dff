"""DEL, wherever one is due: asked for, rolling back an ADD, before an ADD that finds a record, in GC, in a sweep."""

from __future__ import annotations

import time

from cni_chain import results
from cni_chain import system as os
from cni_chain.call import Call, io_error
from cni_chain.errors import INVALID_CONFIG, INVALID_NETNS, TRY_AGAIN, CNIError, joined
from cni_chain.fragments import REFUSED, UNREADABLE
from cni_chain.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cni_chain.record import Attachment

_LONGEST_ERROR = 1024  # characters of one that is recorded
_DEPTH_OF_PROCESSES = 64  # more than lie between a runtime and a plugin's plugin


class Found:
    """What there is to undo for an attachment.

    `on_disk` tells whether `record` lies there, or stands in for one that doesn't: the chain as it is now. `damaged`
    is what keeps the one that lies there from being read; `unknown` are the failures to tell what belongs to the chain.
    """

    __slots__ = ("damaged", "on_disk", "record", "unknown")

    def __init__(
        self, record: Record, *, on_disk: bool = False, damaged: str = "", unknown: Sequence[CNIError] = ()
    ) -> None:
        self.record = record
        self.on_disk = on_disk
        self.damaged = damaged
        self.unknown = unknown


def find(call: Call, attachment: Attachment) -> Found | None:
    """Return what a record says, or what stands in for a damaged one; None if there is no record. Raises OSError."""
    try:
        record = call.state.load(attachment)
    except ValueError as error:
        call.log.note(f"the record is damaged: {error}; the chain as it is now stands in")
        return stand_in(call, attachment, damaged=str(error))
    return None if record is None else Found(record, on_disk=True)


def stand_in(call: Call, attachment: Attachment, *, damaged: str = "") -> Found:
    """Return what an attachment without a record may consist of: the chain as it is now.

    An owner that has written nothing is skipped. One whose files can't be used just now may have been run for this pod
    all the same: that is a failure, but for a half-written file of an owner that isn't required, as for ADD.
    """
    unknown: list[CNIError] = []
    links = []
    try:
        parts = call.parts()
        if not any(part.links for part in parts):
            os.stat(call.facade.chain_dir)
    except CNIError as error:
        parts, unknown = [], [error]
    except OSError as error:
        parts, unknown = [], [io_error(error, call.facade.chain_dir)]
    for part in parts:
        links += part.links if part.usable else []
        if part.usable or part.exempt:
            continue
        why = part.why_unusable()
        if part.directory.faults and (part.owner.required or part.fault(REFUSED, UNREADABLE)):
            unknown.append(why)
        else:
            call.log.note(f"left out: {why.msg}")
    record = Record(attachment, [call.step(link) for link in links], circumstances(call), time.time())
    return Found(record, damaged=damaged, unknown=unknown)


def delete(call: Call) -> None:
    """Carry out DEL: detach the container. Raises CNIError if anything is left to do."""
    refuse_own_namespace(call)
    attachment = call.attachment()
    if not _hold(call, attachment):
        call.log.note("called by a plugin of this chain, whose own DEL is under way: there is nothing else to delete")
        return
    unreadable: list[CNIError] = []
    found = None
    try:
        found = find(call, attachment)
    except OSError as error:
        unreadable.append(io_error(error, call.facade.state_dir))
        call.log.note("the record can't be read, so the chain as it is now is deleted")
    errors = undo(call, found or stand_in(call, attachment), call.deadline, asked=True, forget=not unreadable)
    if unreadable or errors:
        raise joined(unreadable + errors)


def undo(
    call: Call,
    found: Found,
    deadline: float,
    *,
    to_come: int = 0,
    strict: bool = False,
    forget: bool = True,
    asked: bool = False,
    environ: Mapping[str, str] | None = None,
) -> list[CNIError]:
    """Carry out the DELs of what was found and return the failures (see Undoing for the arguments).

    Then nothing of the attachment is left on disk, unless `forget` says that this isn't known; of what failed, or was
    not begun, the record is, if there is one. What stands in for a record is never recorded: the next DEL derives it
    again, and most often nothing of it had ever run.
    """
    from cni_chain.undoing import Undoing  # an ADD has seldom anything to undo

    undoing = Undoing(call, found.record, on_disk=found.on_disk, asked=asked, environ=environ)
    errors = undoing.run(deadline, to_come=to_come, strict=strict, before=found.unknown)
    if errors:
        if found.on_disk:
            strand(call, found.record, errors)
    elif forget and not found.record.pending:
        errors = _forget(call, found)
    return errors


def strand(call: Call, record: Record, errors: list[CNIError]) -> None:
    """Note in the record, and for the sweep, what kept it from being deleted."""
    first = errors[0]
    # Without details, which differ at each try: the record grows only by what is new.
    record.error = CNIError(first.code, first.msg[:_LONGEST_ERROR]).document(results.WHOLE)
    try:
        call.stranded.mark(record.attachment.file)
    except OSError as error:
        call.log.note(f"what failed can't be marked for its retry: {error}")
    try:
        call.state.update(record)
    except OSError as error:
        call.log.note(f"what failed can't be recorded: {error}")


def _forget(call: Call, found: Found) -> list[CNIError]:
    """Remove the record of which nothing is left to undo, or set a damaged one aside; return the failure to."""
    record = found.record
    try:
        if found.damaged:
            call.log.note(f"the damaged record was set aside as {call.state.set_aside(record.attachment)}")
        call.state.remove(record.attachment)
    except OSError as error:
        failures = [io_error(error, call.facade.state_dir)]
        if found.on_disk:
            strand(call, record, failures)
        return failures
    if record.error is not None:
        try:
            call.stranded.unmark(record.attachment.file)
        except OSError as error:
            call.log.note(f"the marker of what was stranded is left for the next retry to remove: {error}")
    return []


def _hold(call: Call, attachment: Attachment) -> bool:
    """Take the attachment; False if the call that called this one has it. Raises CNIError 11 if another has.

    Where no state can be kept there is nothing to take: the pod must go all the same.
    """
    try:
        free = call.state.lock(attachment)
    except FileNotFoundError:
        return True
    except OSError as error:
        call.log.note(f"without a lock: {error}")
        return True
    if not free and not _is_below_holder(call, attachment):
        raise busy(call, attachment)
    return free


def busy(call: Call, attachment: Attachment) -> CNIError:
    """Return the error for an attachment that another process works on: 11, or 7 if that process called this one."""
    if _is_below_holder(call, attachment):
        return CNIError(
            INVALID_CONFIG,
            f"network {call.network} leads back to itself: a plugin of its chain calls cni-chain for the same "
            "network again; take that plugin out of its owner's fragments, or give it another network",
        )
    return CNIError(TRY_AGAIN, f"{named(attachment)} is busy: another call is at work on it")


def _is_below_holder(call: Call, attachment: Attachment) -> bool:
    holder, process = call.state.holder(attachment), "self"
    for _ in range(_DEPTH_OF_PROCESSES if holder else 0):
        process = _parent(process)
        if process == str(holder):
            return True
    return False


def _parent(process: str) -> str:
    """Return the parent of a process as /proc names it, "" if that can't be told."""
    try:
        with open(f"/proc/{process}/stat", "rb", buffering=0) as file:
            return file.readall().rpartition(b")")[2].split()[1].decode()
    except (OSError, LookupError):
        return ""


def named(attachment: Attachment) -> str:
    """Return an attachment as messages call it."""
    return f"attachment {attachment.ifname} of container {attachment.container_id}"


def circumstances(call: Call) -> dict[str, Any]:
    """Return what a later DEL may need of this call and a GC doesn't get from the runtime."""
    told = {"path": call.args.path, "netns": call.args.netns, "cniArgs": call.args.args}
    return told | {key: call.conf[key] for key in ("runtimeConfig", "args") if key in call.conf}


def environ_of(call: Call, record: Record) -> dict[str, str]:
    """Return the environment for DELs that no runtime asked for: the attachment's variables are the record's."""
    netns = record.call["netns"]
    return {
        **call.environ,
        "CNI_CONTAINERID": record.attachment.container_id,
        "CNI_IFNAME": record.attachment.ifname,
        # A path like /proc/<pid>/ns/net may by now lead to the node's own namespace, of which nothing must be deleted.
        "CNI_NETNS": "" if is_own_namespace(netns) else netns,
        "CNI_ARGS": record.call["cniArgs"],
    }


def is_own_namespace(netns: str) -> bool:
    """Tell whether a path leads to the network namespace of this process; one that can't be opened doesn't."""
    try:
        theirs, ours = os.stat(netns), os.stat("/proc/self/ns/net")
    except (OSError, ValueError):
        return False
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def refuse_own_namespace(call: Call) -> None:
    """Raise CNIError 8 if the container's namespace is this process's (`pkg/skel/skel.go`, with its override)."""
    if call.environ.get("CNI_NETNS_OVERRIDE", "").upper() in ("TRUE", "1"):
        return
    if is_own_namespace(call.args.netns):
        raise CNIError(
            INVALID_NETNS,
            f"CNI_NETNS {call.args.netns} is the network namespace that the runtime itself is in; nothing was run",
        )


def undo_left_over(call: Call, attachment: Attachment) -> None:
    """Delete what an earlier ADD of the same attachment left.

    Raises CNIError 11 if that fails (the record stays), OSError if the record can't be read.
    """
    found = find(call, attachment)
    if found is None:
        return
    errors = undo(call, found, call.until("DEL"), environ=environ_of(call, found.record))
    if errors:
        failure = joined(errors)
        raise CNIError(
            TRY_AGAIN,
            f"an earlier attachment of this container is still there and can't be deleted: {failure.msg}",
            failure.details,
        )


def roll_back(call: Call, record: Record, started: int, error: CNIError) -> CNIError:
    """Delete the first `started` delegates of a failed ADD; return `error` with what failed here in its details."""
    record.pending = list(range(started))
    failures = undo(call, Found(record, on_disk=True), call.until("DEL"))
    if not failures:
        return error
    undone = "; ".join(f"{failure.msg}: {failure.details}" if failure.details else failure.msg for failure in failures)
    details = f"{error.details}; " if error.details else ""
    return CNIError(error.code, error.msg, f"{details}rollback: {undone}")
