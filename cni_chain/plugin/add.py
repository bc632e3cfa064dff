"""ADD: what runs in which order, and what is recorded when."""

from __future__ import annotations

import time

from cni_chain.plugin import chain, results
from cni_chain.plugin.answer import NotStarted
from cni_chain.plugin.delete import find
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
    parts = call.chain.owner_chains()
    links = chain.complete(parts)
    if not links and before is None:
        raise chain.nobody(call.chain.owners(), request.facade.chain_dir)
    for part in parts:
        if part.directory.faults and not part.exempt:
            call.log.note(f"left out: {part.directory.faults[0]}")
    steps = [recorded(link, request.version) for link in links]
    files = [invoker.find(step) for step in steps]
    try:
        call.state.create()
        if not call.state.lock(attachment):
            from cni_chain.plugin.busy import busy

            raise busy(call.state, attachment)
        for step, file in zip(steps, files, strict=True):
            step.version = request.pick_version(invoker.supported_versions(step, file, request.deadline))
        left_over = find(call, attachment)
        if left_over is not None:
            from cni_chain.plugin.rollback import clear_left_over

            clear_left_over(call, left_over)
        record = Record(attachment, steps, request.circumstances(), time.time())
        if links:
            call.state.begin(record)
    except OSError as error:
        raise io_error(error, call.state.directory) from None
    record.result = before
    _run_forward(call, record, files)
    assert record.result is not None  # the runtime's, or the last delegate's
    return results.convert(record.result, request.version)


def _run_forward(call: Call, record: Record, files: list[str]) -> None:
    for index, (step, file) in enumerate(zip(record.steps, files, strict=True)):
        failure: CNIError
        started = index + 1
        try:
            record.result = call.invoker.add(step, file, record.result, call.request.deadline)
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
        from cni_chain.plugin.rollback import roll_back  # most pods start

        raise roll_back(call, record, started, failure)
