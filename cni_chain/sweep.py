"""The retry of DELs that failed and that no runtime asks for any more, when the answer to another call is out.

An ADD that failed and could not be undone leaves a record; the kubelet tries again with a new container ID every few
seconds, and containerd knows no GC. So whenever a pod of the same network came or went in good order, the attachments
that are due (`stranded`) get their DELs, one after another, within a bound and only until one fails: if its agent is
away, so it is for the next.
"""

from __future__ import annotations

import time

from cni_chain import teardown
from cni_chain.call import Call
from cni_chain.errors import joined
from cni_chain.log import Log
from cni_chain.spec import CmdArgs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.record import Record

# How long a call may take longer for it: the runtime waits for our end, whatever it has read of the answer.
_SECONDS = 2.0


def sweep(call: Call) -> None:
    """Retry what is due of the network of `call`. Raises OSError where state can't be kept; nothing is lost then."""
    until = time.monotonic() + _SECONDS
    due = call.stranded.due(call.network)
    done = True
    for name in due:
        done = _retry(call, name, until)
        if not done or time.monotonic() >= until:
            break
    if due:
        call.stranded.pause(resume_at_once=done)


def _retry(call: Call, name: str, until: float) -> bool:
    """Delete what is left of the attachment whose record has that name; False if that failed."""
    if not call.state.lock_file(name):  # its own DEL, or another call's retry
        return True
    try:
        try:
            record = call.state.load_file(name)
        except ValueError:  # damaged: its own DEL or GC takes care of it
            record = None
        if record is None or record.state != "deleting":  # deleted, or added again, since
            call.stranded.unmark(name)
            return True
        if record.attachment.network != call.network:  # only the first 100 characters of its name are the same
            return True
        own = _call_for(call, record)
        found = teardown.Found(record, on_disk=True)
        errors = teardown.undo(own, found, until, least=0.0, environ=teardown.environ_of(own, record))
    finally:
        call.state.unlock_file(name)
    own.log.note("the retry of a DEL that failed before, which no runtime has asked for")
    own.log.write(call.facade.log_file, call.facade.log_level, joined(errors) if errors else None)
    return not errors


def _call_for(call: Call, record: Record) -> Call:
    """Return the DEL that nobody asks for, through the facade of `call`."""
    args = CmdArgs(
        "DEL",
        container_id=record.attachment.container_id,
        netns=record.call["netns"],
        ifname=record.attachment.ifname,
        args=record.call["cniArgs"],
        path=call.args.path,
    )
    return Call(args, {"name": call.network}, call.version, call.facade, call.environ, Log(args, call.network))
