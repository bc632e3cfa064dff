"""CHECK: is the container still attached as its result says."""

from __future__ import annotations

import time

from cni_chain.plugin.errors import io_error
from cni_chain.plugin.request import recorded
from cni_chain.plugin.spec import at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.call import Call


def check(call: Call) -> None:
    """Ask every delegate whether the container is still attached as its result says. Raises CNIError."""
    request, invoker = call.request, call.invoker
    attachment = request.attachment()
    prev_result = request.prev_result()
    record = None
    try:
        if not call.state.lock(attachment):
            from cni_chain.plugin.busy import busy

            raise busy(call.state, attachment)
        record = call.state.load(attachment)
    except FileNotFoundError:
        pass
    except ValueError as error:
        call.log.note(f"the record is damaged: {error}; CHECK uses the current chain instead")
    except OSError as error:
        raise io_error(error, call.state.directory) from None
    if record is not None:
        delegates = record.delegates
        prev_result = prev_result or record.result
    elif prev_result is None:
        return
    else:
        from cni_chain.plugin import chain  # most attachments have their record

        delegates = [recorded(usable, request.version) for usable in chain.usable_delegates(call.chain.owner_chains())]
    for delegate in delegates:
        owner = call.chain.owner(delegate.owner)
        if delegate.disable_check or (owner is not None and owner.disable_check):
            continue
        file = invoker.find(delegate)
        delegate.version = request.pick_version(invoker.supported_versions(delegate, file, request.deadline))
        if at_least(delegate.version, "0.4.0"):
            invoker.run(delegate, file, "CHECK", prev_result, request.deadline - time.monotonic())
