"""What an ADD undoes: itself if it failed, and what an earlier ADD of the same attachment left."""

from __future__ import annotations

from cni_chain.plugin.delete import find_undoable, undo
from cni_chain.plugin.errors import TRY_AGAIN, CNIError, joined
from cni_chain.plugin.undoing import Undoable, environ_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.call import Call
    from cni_chain.plugin.record import Attachment, Record


def clear_left_over(call: Call, attachment: Attachment) -> None:
    """Delete what an earlier ADD of the same attachment left.

    Raises CNIError 11 if that fails: the record stays. Raises OSError if the record can't be read.
    """
    found = find_undoable(call, attachment)
    if found is None:
        return
    errors = undo(call, found, call.request.until("DEL"), environ=environ_of(found.record, call.request.environ))
    if errors:
        failure = joined(errors)
        raise CNIError(
            TRY_AGAIN,
            f"what an earlier try left of this container's network can't be deleted: {failure.msg}",
            failure.details,
        )


def roll_back(call: Call, record: Record, started: int, error: CNIError) -> CNIError:
    """Delete the first `started` delegates of a failed ADD; return `error` with what failed here in its details."""
    record.pending = list(range(started))
    failures = undo(call, Undoable(record, on_disk=True), call.request.until("DEL"))
    if not failures:
        return error
    undone = "; ".join(f"{failure.msg}: {failure.details}" if failure.details else failure.msg for failure in failures)
    details = f"{error.details}; " if error.details else ""
    return CNIError(error.code, error.msg, f"{details}rollback: {undone}")
