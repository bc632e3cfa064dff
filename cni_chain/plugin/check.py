"""CHECK: is the container still attached as its result says."""

from __future__ import annotations

import time

from cni_chain.plugin import chain
from cni_chain.plugin.call import Call, io_error
from cni_chain.plugin.spec import at_least


def check(call: Call) -> None:
    """Ask every delegate whether the container is still attached as its result says. Raises CNIError."""
    attachment = call.attachment()
    prev_result = call.prev_result()
    record = None
    try:
        if not call.state.lock(attachment):
            from cni_chain.plugin.busy import busy

            raise busy(call, attachment)
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
