"""The retry of DELs that failed and that no runtime asks for any more, when the answer to another call is out.

An ADD that failed and could not be undone leaves a record; the kubelet tries again with a new container ID every few
seconds, and containerd knows no GC. So whenever a pod of the same network came or went in good order, the attachments
that are due (`stranded`) get their DELs, one after another, within a bound and only until one fails: if its agent is
away, so it is for the next.
"""

from __future__ import annotations

import errno
import time

from cni_chain.plugin import delete
from cni_chain.plugin.call import Call
from cni_chain.plugin.errors import joined
from cni_chain.plugin.log import Log
from cni_chain.plugin.spec import CmdArgs
from cni_chain.plugin.undoing import Found, environ_of
from cni_chain.plugin.unrecorded import present_chain

# How long a call may take longer for it: the runtime waits for our end, whatever it has read of the answer. A Cilium
# whose agent is away takes 3.2 s to queue a DEL.
_SECONDS = 4.0


def sweep(call: Call) -> None:
    """Retry what is due of the network of `call`. Raises OSError where state can't be kept; nothing is lost then."""
    until = time.monotonic() + _SECONDS
    due = call.stranded.due(call.network)
    if not due:
        return
    call.state.unlock(call.attachment())
    call.stranded.pause(resume_at_once=False)  # for those who look meanwhile
    failed = False
    for name in due:
        if failed or time.monotonic() >= until:
            break
        try:
            failed = not _retry(call, name, until)
        except OSError as error:
            _mark(call, name)
            log = Log(_args(call, name), call.network)
            log.note(f"what is stranded can't be retried: {error}")
            log.write(call.facade.log_file, call.facade.log_level, None)
    call.stranded.pause(resume_at_once=not failed)


def _retry(call: Call, name: str, until: float) -> bool:
    """Delete what is left of the attachment whose record has that name; False if that failed."""
    if not call.state.lock_file(name):  # its own DEL, or another call's retry
        return True
    try:
        found, own = _found(call, name)
        if found is None or found.record.state == "added":  # deleted, or added again, since
            _unmark(call, name)
            return True
        if found.record.attachment.network != call.network:  # only the first 100 characters of its name are the same
            return True
        environ = environ_of(own, found.record)
        errors = delete.undo(own, found, until, strict=True, environ=environ)
        if found.damaged and errors:
            _mark(call, name)
        elif not errors and not found.record.pending:
            _unmark(call, name)
    finally:
        call.state.unlock_file(name)
    own.log.note("the retry of a DEL that failed before, which no runtime has asked for")
    own.log.write(call.facade.log_file, call.facade.log_level, joined(errors) if errors else None)
    return not errors


def _mark(call: Call, name: str) -> None:
    """Have an attachment that can't be looked at wait longer; if that can't be, it costs the next sweep a look."""
    try:
        call.stranded.mark(name)
    except OSError:
        return


def _unmark(call: Call, name: str) -> None:
    """Have an attachment wait no more; if that can't be, it costs the next sweep a look."""
    try:
        call.stranded.unmark(name)
    except OSError:
        return


def _found(call: Call, name: str) -> tuple[Found | None, Call]:
    """Return what there is to undo under a record's name, and the DEL that nobody asks for. Raises OSError."""
    damaged = ""
    record = None
    try:
        record = call.state.load_file(name)
    except ValueError as error:
        damaged = str(error)
    args = _args(call, name)
    if record is not None:
        attachment = record.attachment
        args.container_id, args.ifname = attachment.container_id, attachment.ifname
        args.netns, args.args = record.call["netns"], record.call["cniArgs"]
    own = Call(args, {"name": call.network}, call.version, call.facade, call.environ, Log(args, call.network))
    own.limit = f"a retry that no runtime asks for has {_SECONDS:g} s"
    if record is not None:
        return Found(record, on_disk=True), own
    if damaged and args.ifname:
        return present_chain(own, own.attachment(), damaged=damaged), own
    if damaged:
        raise OSError(errno.EUCLEAN, f"damaged, and its name tells no attachment: {damaged}", name)
    return None, own


def _args(call: Call, name: str) -> CmdArgs:
    """Return the DEL of the attachment that a record's name tells, as far as it does."""
    parts = name.split(":")
    container_id, ifname = parts[1:] if len(parts) == 3 else ("", "")
    return CmdArgs("DEL", container_id=container_id, ifname=ifname, path=call.args.path)
