"""DEL, wherever one is due: asked for, rolling back a failed ADD, before an ADD that finds a record, in GC."""

from __future__ import annotations

import time

from cni_chain import chain
from cni_chain.call import Call, io_error
from cni_chain.errors import TRY_AGAIN, CNIError, joined
from cni_chain.record import Record
from cni_chain.undoing import Undoing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_chain.record import Attachment


class Found:
    """What there is to undo for an attachment.

    `record` is None if nothing is known of it. `on_disk` tells whether it lies there, or stands in for one that
    doesn't. `whole` is False for a stand-in that lacks an owner whose files can't be used just now.
    """

    __slots__ = ("on_disk", "record", "whole")

    def __init__(self, record: Record | None, *, on_disk: bool = False, whole: bool = True) -> None:
        self.record = record
        self.on_disk = on_disk
        self.whole = whole


def find(call: Call, attachment: Attachment) -> Found:
    """Return an attachment's record; for a damaged one, which is set aside, the chain as it is now. Raises OSError."""
    try:
        record = call.state.load(attachment)
    except ValueError as error:
        path = call.state.set_aside(attachment)
        call.log.note(f"a damaged record was set aside as {path}: {error}; the chain as it is now stands in")
        return stand_in(call, attachment)
    return Found(record, on_disk=record is not None)


def stand_in(call: Call, attachment: Attachment) -> Found:
    """Return what an attachment without a record may consist of: the chain as it is now, as far as it can be used."""
    try:
        parts = call.parts()
    except CNIError as error:
        call.log.note(f"no owners: {error.msg}")
        parts = []
    for part in parts:
        if not part.usable and not part.exempt:
            call.log.note(f"left out: {part.why_unusable().msg}")
    steps = [call.step(link) for link in chain.present(parts)]
    record = Record(attachment, steps, circumstances(call), time.time())
    return Found(record, whole=not any(part.directory.faults for part in parts))


def delete(call: Call) -> None:
    """Carry out DEL. Raises CNIError if anything is left to do; what is left is then recorded."""
    attachment = call.attachment()
    _hold(call, attachment)
    try:
        found = find(call, attachment)
    except OSError as error:
        call.log.note(f"the record can't be read, so the chain as it is now is deleted: {error}")
        found = Found(None)
    if found.record is None:
        found = stand_in(call, attachment)
    errors = undo(call, found, call.deadline, asked=True)
    if errors:
        raise joined(errors)
    forget(call, attachment)


def undo(call: Call, found: Found, deadline: float, *, to_come: int = 0, **how: Any) -> list[CNIError]:
    """Carry out the DELs of what was found and return the failures (see Undoing for `to_come` and `how`).

    What is left of a stand-in is recorded for the retry, unless it isn't whole: then the retry looks again.
    """
    assert found.record is not None
    errors = Undoing(call, found.record, on_disk=found.on_disk, **how).run(deadline, to_come=to_come)
    if errors and not found.on_disk and found.whole:
        try:
            call.state.begin(found.record)
        except OSError as error:
            call.log.note(f"what is left to delete can't be recorded: {error}")
    return errors


def _hold(call: Call, attachment: Attachment) -> None:
    """Take the attachment. Where no state can be kept there is nothing to take: the pod must go all the same."""
    try:
        free = call.state.lock(attachment)
    except FileNotFoundError:
        return
    except OSError as error:
        call.log.note(f"without a lock: {error}")
        return
    if not free:
        raise busy(attachment)


def busy(attachment: Attachment) -> CNIError:
    """Return the error for an attachment that another process works on."""
    return CNIError(TRY_AGAIN, f"{named(attachment)} is busy: another call is at work on it")


def named(attachment: Attachment) -> str:
    """Return an attachment as messages call it."""
    return f"attachment {attachment.ifname} of container {attachment.container_id}"


def forget(call: Call, attachment: Attachment) -> None:
    """Remove a record of which nothing is left to undo. Should that fail, its DELs are merely repeated one day."""
    try:
        call.state.remove(attachment)
    except OSError as error:
        call.log.note(f"the record can't be removed: {error}")


def circumstances(call: Call) -> dict[str, Any]:
    """Return what a later DEL may need of this call and a GC doesn't get from the runtime."""
    told = {"path": call.args.path, "netns": call.args.netns, "cniArgs": call.args.args}
    return told | {key: call.conf[key] for key in ("runtimeConfig", "args") if key in call.conf}


def undo_left_over(call: Call, attachment: Attachment) -> None:
    """Delete what an earlier ADD of the same attachment left.

    Raises CNIError 11 if that fails (the record stays), OSError if the record can't be read.
    """
    found = find(call, attachment)
    if found.record is None:
        return
    errors = undo(call, found, call.until("DEL"))
    if errors:
        failure = joined(errors)
        raise CNIError(
            TRY_AGAIN,
            f"an earlier attachment of this container is still there and can't be deleted: {failure.msg}",
            failure.details,
        )
    forget(call, attachment)


def roll_back(call: Call, record: Record, started: int, error: CNIError) -> CNIError:
    """Delete the first `started` delegates of a failed ADD; return `error` with what failed here in its details."""
    record.pending = list(range(started))
    failures = Undoing(call, record, keep_first=False).run(call.until("DEL"))
    if not failures:
        forget(call, record.attachment)
        return error
    try:
        call.state.update(record)
    except OSError as failure:
        failures.append(io_error(failure, call.facade.state_dir))
    undone = "; ".join(f"{failure.msg}: {failure.details}" if failure.details else failure.msg for failure in failures)
    details = f"{error.details}; " if error.details else ""
    return CNIError(error.code, error.msg, f"{details}rollback: {undone}")
