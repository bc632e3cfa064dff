"""What an attachment without a readable record may consist of: the chain as it is now."""

from __future__ import annotations

import time

from cni_chain.plugin import system
from cni_chain.plugin.errors import IO_FAILURE, CNIError, io_error
from cni_chain.plugin.fragments import REFUSED, UNREADABLE
from cni_chain.plugin.record import Record
from cni_chain.plugin.request import recorded
from cni_chain.plugin.undoing import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.call import CurrentChain
    from cni_chain.plugin.log import Log
    from cni_chain.plugin.record import Attachment
    from cni_chain.plugin.request import Request


def present_chain(
    request: Request, chain: CurrentChain, log: Log, attachment: Attachment, *, damaged: str = ""
) -> Found:
    """Return what an attachment without a record may consist of: the chain as it is now.

    An owner that has written nothing is skipped. One whose files can't be used just now may have been run for this pod
    all the same: that is a failure, but for a half-written file of an owner that isn't required, as for ADD.
    """
    unknown: list[CNIError] = []
    links = []
    try:
        parts = chain.owner_chains()
        if not any(part.links for part in parts) and not system.exists(chain.chain_dir):
            raise CNIError(IO_FAILURE, f"chainDir {chain.chain_dir} is missing, so what to delete is not known")
    except CNIError as error:
        parts, unknown = [], [error]
    except OSError as error:
        parts, unknown = [], [io_error(error, chain.chain_dir)]
    for part in parts:
        links += part.links if part.usable else []
        if part.usable or part.exempt:
            continue
        why = part.why_unusable()
        if part.directory.faults and (part.owner.required or part.fault(REFUSED, UNREADABLE)):
            unknown.append(why)
        else:
            log.note(f"left out: {why.msg}")
    steps = [recorded(link, request.version) for link in links]
    record = Record(attachment, steps, request.circumstances(), time.time())
    return Found(record, damaged=damaged, unknown=unknown)
