"""ADD: what runs in which order, and what is recorded when."""

from __future__ import annotations

import time

from cni_chain.plugin import chain, results
from cni_chain.plugin.answer import NotStarted
from cni_chain.plugin.errors import INTERNAL, CNIError, io_error
from cni_chain.plugin.record import Record
from cni_chain.plugin.request import recorded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.call import Call


def add(call: Call) -> results.Result:
    """Attach the container: every delegate of the chain in order, or none. Raises CNIError."""
    request, invoker = call.request, call.invoker
    attachment = request.attachment()
    before = request.prev_result()
    owner_chains = call.chain.owner_chains()
    delegates = [recorded(delegate, request.version) for delegate in chain.required_delegates(owner_chains)]
    if not delegates and before is None:
        raise chain.no_delegate_error(call.chain.owners(), request.facade.chain_dir)
    for owner_chain in owner_chains:
        if owner_chain.directory.faults and not owner_chain.exempt:
            call.log.note(f"left out: {owner_chain.directory.faults[0]}")
    files = [invoker.find(delegate) for delegate in delegates]
    if request.facade.service_address:  # before anything is written or run: there is nothing to undo
        from cni_chain.plugin import service_address

        service_address.look(call, delegates)
    try:
        call.state.create()
        if not call.state.lock(attachment):
            from cni_chain.plugin.busy import busy

            raise busy(call.state, attachment)
        for delegate, file in zip(delegates, files, strict=True):
            delegate.version = request.pick_version(invoker.supported_versions(delegate, file, request.deadline))
        if call.state.has_record(attachment):
            from cni_chain.plugin.rollback import clear_left_over

            clear_left_over(call, attachment)
        record = Record(attachment, delegates, request.call_context(), time.time())
        if delegates:
            call.state.begin(record)
    except OSError as error:
        raise io_error(error, call.state.directory) from None
    record.result = before
    _run_forward(call, record, files)
    assert record.result is not None  # the runtime's, or the last delegate's
    return results.convert(record.result, request.version)


def _run_forward(call: Call, record: Record, files: list[str]) -> None:
    for index, (delegate, file) in enumerate(zip(record.delegates, files, strict=True)):
        failure: CNIError
        started = index + 1
        try:
            record.result = call.invoker.add(delegate, file, record.result, call.request.deadline)
            record.ran = started
            if started == len(files):
                record.state = "added"
            call.state.update(record)
            continue
        except NotStarted as error:
            failure, started = error, index
        except CNIError as error:
            failure = error
        except OSError as error:
            failure = io_error(error, call.state.directory)
        except Exception as error:  # noqa: BLE001  # whatever it is, what was run must be undone
            failure = CNIError(INTERNAL, f"{type(error).__name__}: {error}")
        from cni_chain.plugin.rollback import roll_back  # imported here: most pods start

        raise roll_back(call, record, started, failure)
