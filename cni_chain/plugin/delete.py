"""DEL, in all its uses: a runtime's, the rollback of an ADD, an ADD that finds a record, GC, a sweep."""

from __future__ import annotations

from cni_chain.plugin import spec
from cni_chain.plugin.errors import CNIError, io_error, joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cni_chain.plugin.call import Call
    from cni_chain.plugin.log import Log
    from cni_chain.plugin.record import Attachment, Record
    from cni_chain.plugin.records import State
    from cni_chain.plugin.undoing import Undoable

_LONGEST_ERROR = 1024  # characters of one that is recorded


def find_undoable(call: Call, attachment: Attachment) -> Undoable | None:
    """Return what a record lists, or the current chain if it is damaged; None if no record exists. Raises OSError."""
    try:
        record = call.state.load(attachment)
    except ValueError as error:
        call.log.note(f"the record is damaged: {error}; DEL uses the current chain instead")
        return _from_current_chain(call, attachment, damaged=str(error))
    if record is None:
        return None
    from cni_chain.plugin.undoing import Undoable  # an ADD seldom finds any

    return Undoable(record, on_disk=True)


def _from_current_chain(call: Call, attachment: Attachment, *, damaged: str = "") -> Undoable:
    from cni_chain.plugin.unrecorded import undoable_from_current_chain  # most attachments have their record

    return undoable_from_current_chain(call.request, call.chain, call.log, attachment, damaged=damaged)


def delete(call: Call) -> None:
    """Carry out DEL: detach the container. Raises CNIError if anything is left to do."""
    request = call.request
    attachment = request.attachment()
    if not _lock_if_possible(call.state, call.log, attachment):
        call.log.note(
            "a plugin of this chain made this call; its own DEL still runs, so there is nothing else to delete"
        )
        return
    unreadable: list[CNIError] = []
    found = None
    try:
        found = find_undoable(call, attachment)
    except OSError as error:
        unreadable.append(io_error(error, call.state.directory))
        call.log.note("the record can't be read; DEL uses the current chain instead")
    found = found or _from_current_chain(call, attachment)
    errors = undo(call, found, request.deadline, asked=True, forget=not unreadable)
    if unreadable or errors:
        raise joined(unreadable + errors)


def undo(
    call: Call,
    found: Undoable,
    deadline: float,
    *,
    to_come: int = 0,
    strict: bool = False,
    forget: bool = True,
    asked: bool = False,
    environ: Mapping[str, str] | None = None,
) -> list[CNIError]:
    """Carry out the DELs of what was found and return the failures (see Undoing for the arguments).

    If all succeed, nothing of the attachment is left on disk; without `forget` the files on disk are left alone. If one
    failed or was not begun, its record stays, if one exists. The current chain in place of a record is never recorded:
    the next DEL derives it again, and most often nothing of it has ever run.
    """
    from cni_chain.plugin.undoing import Undoing  # an ADD has seldom anything to undo

    undoing = Undoing(call, found.record, on_disk=found.on_disk, asked=asked, environ=environ)
    errors = undoing.run(deadline, to_come=to_come, strict=strict, before=found.unknown)
    if errors:
        if found.on_disk:
            _strand(call.state, call.log, found.record, errors)
    elif forget and not found.record.pending:
        errors = _forget(call.state, call.log, found)
    return errors


def _forget(state: State, log: Log, found: Undoable) -> list[CNIError]:
    """Remove a record whose DELs are all done, or move a damaged one aside; return the failures."""
    record = found.record
    try:
        if found.damaged:
            log.note(f"the damaged record was moved to {state.set_aside(record.attachment)}")
        state.remove(record.attachment)
    except OSError as error:
        failures = [io_error(error, state.directory)]
        if found.on_disk:
            _strand(state, log, record, failures)
        return failures
    if record.error is not None:
        try:
            state.markers.unmark(record.attachment.file)
        except OSError as error:
            log.note(f"the retry marker can't be removed; the next retry removes it: {error}")
    return []


def _lock_if_possible(state: State, log: Log, attachment: Attachment) -> bool:
    """Lock the attachment; False if the call that started this one has it. Raises CNIError 11 if another has it.

    Returns True without a lock if the state directory can't be used: the pod must go all the same.
    """
    try:
        free = state.lock(attachment)
    except FileNotFoundError:
        return True
    except OSError as error:
        log.note(f"the lock can't be taken, so DEL runs without it: {error}")
        return True
    if not free:
        from cni_chain.plugin.busy import busy, is_below_holder

        if not is_below_holder(state, attachment):
            raise busy(state, attachment)
    return free


def _strand(state: State, log: Log, record: Record, errors: list[CNIError]) -> None:
    """Write to the record why its DEL failed, and mark it for the sweep."""
    first = errors[0]
    # Without details, which differ at each try: the record grows only by what is new.
    record.error = CNIError(first.code, first.msg[:_LONGEST_ERROR]).document(spec.LATEST)
    try:
        state.markers.mark(record.attachment.file)
    except OSError as error:
        log.note(f"the failed DEL can't be marked for a retry: {error}")
    try:
        state.update(record)
    except OSError as error:
        log.note(f"the failure can't be written to the record: {error}")
