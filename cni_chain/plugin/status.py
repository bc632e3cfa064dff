"""STATUS: can this node take pods, as far as its first owner goes."""

from __future__ import annotations

import time

from cni_chain.plugin import chain
from cni_chain.plugin.call import Call, io_error
from cni_chain.plugin.errors import NOT_AVAILABLE, NOT_AVAILABLE_LIMITED, CNIError
from cni_chain.plugin.fragments import REFUSED, UNREADABLE
from cni_chain.plugin.spec import at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.chain import Part


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
