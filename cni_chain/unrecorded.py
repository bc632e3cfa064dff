"""What an attachment without a readable record may consist of: the chain as it is now."""

from __future__ import annotations

import time

from cni_chain import system as os
from cni_chain.call import Call, io_error
from cni_chain.errors import IO_FAILURE, CNIError
from cni_chain.fragments import REFUSED, UNREADABLE
from cni_chain.record import Record
from cni_chain.undoing import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.record import Attachment


def present_chain(call: Call, attachment: Attachment, *, damaged: str = "") -> Found:
    """Return what an attachment without a record may consist of: the chain as it is now.

    An owner that has written nothing is skipped. One whose files can't be used just now may have been run for this pod
    all the same: that is a failure, but for a half-written file of an owner that isn't required, as for ADD.
    """
    unknown: list[CNIError] = []
    links = []
    try:
        parts = call.parts()
        if not any(part.links for part in parts) and not os.path.exists(call.facade.chain_dir):
            raise CNIError(IO_FAILURE, f"chainDir {call.facade.chain_dir} is missing, so what to delete is not known")
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
    record = Record(attachment, [call.step(link) for link in links], call.circumstances(), time.time())
    return Found(record, damaged=damaged, unknown=unknown)
