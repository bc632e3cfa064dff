"""What an attachment without a readable record may consist of: the chain as it is now."""

from __future__ import annotations

import time

from cni_chain.plugin import system
from cni_chain.plugin.errors import IO_FAILURE, CNIError, io_error
from cni_chain.plugin.fragments import REFUSED, UNREADABLE
from cni_chain.plugin.record import Record
from cni_chain.plugin.request import recorded
from cni_chain.plugin.undoing import Undoable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.call import CurrentChain
    from cni_chain.plugin.log import Log
    from cni_chain.plugin.record import Attachment, RecordedDelegate
    from cni_chain.plugin.request import Request


def undoable_from_current_chain(
    request: Request, chain: CurrentChain, log: Log, attachment: Attachment, *, damaged: str = ""
) -> Undoable:
    """Return what an attachment without a record may consist of: the chain as it is now.

    An owner that has written nothing is skipped. An owner whose files can't be used just now may still have run for
    this pod: that is a failure, except for a half-written file of an optional owner, as for ADD.
    """
    unknown: list[CNIError] = []
    delegates: list[RecordedDelegate] = []
    try:
        owner_chains = chain.owner_chains()
        if not any(owner_chain.delegates for owner_chain in owner_chains) and not system.exists(chain.chain_dir):
            raise CNIError(
                IO_FAILURE, f"chainDir {chain.chain_dir} is missing, so cni-chain does not know what to delete"
            )
    except CNIError as error:
        owner_chains, unknown = [], [error]
    except OSError as error:
        owner_chains, unknown = [], [io_error(error, chain.chain_dir)]
    for owner_chain in owner_chains:
        if owner_chain.usable:
            delegates += [recorded(delegate, request.version) for delegate in owner_chain.delegates]
        if owner_chain.usable or owner_chain.exempt:
            continue
        why = owner_chain.why_unusable()
        required = owner_chain.owner.required or owner_chain.fault(REFUSED, UNREADABLE)
        if owner_chain.directory.faults and required:
            unknown.append(why)
        else:
            log.note(f"left out: {why.msg}")
    record = Record(attachment, delegates, request.call_context(), time.time())
    return Undoable(record, damaged=damaged, unknown=unknown)
