"""Retries failed DELs that no runtime asks for any more, when the answer to another call is out.

An ADD that failed and could not be undone leaves a record; the kubelet tries again with a new container ID every few
seconds, and containerd calls no GC. So after each successful ADD or DEL of the same network, the attachments that are
due (`stranded`) get their DELs, one after another, for a limited time and only until one fails: if its agent is away,
it is away for the next one too.
"""

from __future__ import annotations

import errno
import time

from cni_chain.plugin import delete
from cni_chain.plugin.call import Call
from cni_chain.plugin.errors import joined
from cni_chain.plugin.log import Log
from cni_chain.plugin.request import Request
from cni_chain.plugin.spec import CmdArgs
from cni_chain.plugin.undoing import Undoable, environ_of
from cni_chain.plugin.unrecorded import undoable_from_current_chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.stranded import Stranded

# By how much this may lengthen a call: the runtime waits for our end, even if it has read the answer. cilium-cni takes
# 3.2 s to queue a DEL while its agent is away.
_SECONDS = 4.0


def sweep(call: Call) -> None:
    """Retry what is due of the network of `call`. Raises OSError where state can't be kept; nothing is lost then."""
    until = time.monotonic() + _SECONDS
    request, markers = call.request, call.state.markers
    due = markers.due(request.network)
    if not due:
        return
    call.state.unlock(request.attachment())
    markers.pause(resume_at_once=False)  # for calls that look meanwhile
    failed = False
    for name in due:
        if failed or time.monotonic() >= until:
            break
        try:
            failed = not _retry(call, name, until)
        except OSError as error:
            _mark(markers, name)
            log = Log(_args(request, name), request.network)
            log.note(f"the failed DEL can't be retried: {error}")
            log.write(request.facade.log_file, request.facade.log_level, None)
    markers.pause(resume_at_once=not failed)


def _retry(call: Call, name: str, until: float) -> bool:
    """Delete what is left of the attachment whose record has that name; False if that failed."""
    request, markers = call.request, call.state.markers
    if not call.state.lock_file(name):  # its own DEL, or another call's retry
        return True
    try:
        found, own = _found(call, name)
        if found is None or found.record.state == "added":  # deleted, or added again, since
            _unmark(markers, name)
            return True
        if found.record.attachment.network != request.network:  # only the first 100 characters of its name are the same
            return True
        environ = environ_of(found.record, request.environ)
        errors = delete.undo(own, found, until, strict=True, environ=environ)
        if found.damaged and errors:
            _mark(markers, name)
        elif not errors and not found.record.pending:
            _unmark(markers, name)
    finally:
        call.state.unlock_file(name)
    own.log.note("a retry by cni-chain of a DEL that had failed; no runtime asked for it")
    own.log.write(request.facade.log_file, request.facade.log_level, joined(errors) if errors else None)
    return not errors


def _mark(markers: Stranded, name: str) -> None:
    """Let an attachment that can't be read wait longer; if that fails, the next sweep only looks once more."""
    try:
        markers.mark(name)
    except OSError:
        return


def _unmark(markers: Stranded, name: str) -> None:
    """Remove an attachment's marker; if that fails, the next sweep only looks once more."""
    try:
        markers.unmark(name)
    except OSError:
        return


def _found(call: Call, name: str) -> tuple[Undoable | None, Call]:
    """Return what is left to undo for a record's name, and the DEL call for it. Raises OSError."""
    damaged = ""
    record = None
    try:
        record = call.state.load_file(name)
    except ValueError as error:
        damaged = str(error)
    request = call.request
    args = _args(request, name)
    if record is not None:
        attachment = record.attachment
        args.container_id, args.ifname = attachment.container_id, attachment.ifname
        args.netns, args.args = record.context["netns"], record.context["cniArgs"]
    conf = {"name": request.network}
    own = Call(
        Request(args, conf, request.version, request.facade, request.environ),
        Log(args, request.network),
        call.invoker.executor,
        limit=f"a retry by cni-chain itself has {_SECONDS:g} s",
    )
    if record is not None:
        return Undoable(record, on_disk=True), own
    if damaged and args.ifname:
        attachment = own.request.attachment()
        return undoable_from_current_chain(own.request, own.chain, own.log, attachment, damaged=damaged), own
    if damaged:
        raise OSError(errno.EUCLEAN, f"damaged, and its name does not name an attachment: {damaged}", name)
    return None, own


def _args(request: Request, name: str) -> CmdArgs:
    """Return the DEL of the attachment that a record's name names; without its variables if it names none."""
    parts = name.split(":")
    container_id, ifname = parts[1:] if len(parts) == 3 else ("", "")
    return CmdArgs("DEL", container_id=container_id, ifname=ifname, path=request.args.path)
