"""ADD, CHECK and STATUS: what runs in which order, and what is recorded when. DEL is teardown's, GC collect's."""

from __future__ import annotations

import time

from cni_chain import chain, results, teardown
from cni_chain.answer import NotStarted
from cni_chain.call import Call, io_error
from cni_chain.errors import INTERNAL, NOT_AVAILABLE, NOT_AVAILABLE_LIMITED, CNIError
from cni_chain.fragments import REFUSED, UNREADABLE
from cni_chain.record import Record
from cni_chain.spec import at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.chain import Part


def add(call: Call) -> results.Result:
    """Attach the container: every delegate of the chain in order, or none. Raises CNIError."""
    teardown.refuse_own_namespace(call)
    attachment = call.attachment()
    before = call.prev_result()
    parts = call.parts()
    links = chain.complete(parts)
    if not links and before is None:
        raise chain.nobody(call.owners(), call.facade.chain_dir)
    for part in parts:
        if part.directory.faults and not part.exempt:
            call.log.note(f"left out: {part.directory.faults[0]}")
    steps = [call.step(link) for link in links]
    files = [call.find(step) for step in steps]
    try:
        call.state.create()
        if not call.state.lock(attachment):
            raise teardown.busy(call, attachment)
        for step, file in zip(steps, files, strict=True):
            step.version = call.choose(call.speaks(step, file, call.deadline))
        teardown.undo_left_over(call, attachment)
        record = Record(attachment, steps, teardown.circumstances(call), time.time())
        if links:
            call.state.begin(record)
    except OSError as error:
        raise io_error(error, call.facade.state_dir) from None
    record.result = before
    _run_forward(call, record, files)
    assert record.result is not None  # the runtime's, or the last delegate's
    return results.convert(record.result, call.version)


def _run_forward(call: Call, record: Record, files: list[str]) -> None:
    for index, (step, file) in enumerate(zip(record.steps, files, strict=True)):
        failure: CNIError
        started = index + 1
        try:
            record.result = call.add(step, file, record.result, call.deadline)
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
            failure = io_error(error, call.facade.state_dir)
        except Exception as error:  # noqa: BLE001  # whatever it is, what was run must be undone
            failure = CNIError(INTERNAL, f"{type(error).__name__}: {error}")
        raise teardown.roll_back(call, record, started, failure)


def check(call: Call) -> None:
    """Ask every delegate whether the container is still attached as its result says. Raises CNIError."""
    attachment = call.attachment()
    prev_result = call.prev_result()
    record = None
    try:
        if not call.state.lock(attachment):
            raise teardown.busy(call, attachment)
        record = call.state.load(attachment)
    except FileNotFoundError:
        pass
    except ValueError as error:
        call.log.note(f"the record is damaged: {error}; the chain as it is now is checked")
    except OSError as error:
        raise io_error(error, call.facade.state_dir) from None
    if record is not None:
        steps = record.steps
        prev_result = prev_result or record.result
    elif prev_result is None:
        return
    else:
        steps = [call.step(link) for link in chain.present(call.parts())]
    for step in steps:
        owner = call.owner(step.owner)
        if step.disable_check or (owner is not None and owner.disable_check):
            continue
        file = call.find(step)
        step.version = call.choose(call.speaks(step, file, call.deadline))
        if at_least(step.version, "0.4.0"):
            call.run(step, file, "CHECK", prev_result, call.deadline - time.monotonic())


def status(call: Call) -> None:
    """Tell whether this node can take pods, as far as its first owner goes. Raises CNIError 50 or 51.

    Later owners don't count: their agents may need the pod network to start, and ADD waits for them.
    """
    try:
        _check_state(call)
        part = _first_part(call)
        for step in [call.step(link) for link in part.links]:
            call.find(step)
        for link in part.links:
            if not any(at_least(version, "1.1.0") for version in link.versions):
                continue
            step = call.step(link)
            file = call.find(step)
            if "1.1.0" in call.speaks(step, file, call.deadline):
                call.run(step, file, "STATUS", None, call.deadline - time.monotonic())
    except CNIError as error:
        code = NOT_AVAILABLE_LIMITED if error.code == NOT_AVAILABLE_LIMITED else NOT_AVAILABLE
        raise CNIError(code, error.msg, error.details) from None


def _check_state(call: Call) -> None:
    try:
        call.state.check()
    except FileNotFoundError:
        pass  # the first ADD makes it
    except OSError as error:
        raise io_error(error, call.facade.state_dir) from None


def _first_part(call: Call) -> Part:
    owners = call.owners()
    required = [owner for owner in owners if owner.required]
    for owner in required[:1] or owners:
        part = call.part(owner, wait=0, exempt=False)
        if part.usable:
            return part
        if owner.required or part.fault(REFUSED, UNREADABLE):
            raise part.why_unusable()
    raise chain.nobody(call.owners(), call.facade.chain_dir)
