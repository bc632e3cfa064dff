"""STATUS: whether this node can take pods, judged by its first required owner."""

from __future__ import annotations

import time

from cni_chain.plugin import chain
from cni_chain.plugin.errors import NOT_AVAILABLE, NOT_AVAILABLE_LIMITED, CNIError, io_error
from cni_chain.plugin.fragments import REFUSED, UNREADABLE
from cni_chain.plugin.request import recorded
from cni_chain.plugin.spec import at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.call import Call, CurrentChain
    from cni_chain.plugin.chain import OwnerChain
    from cni_chain.plugin.records import State


def status(call: Call) -> None:
    """Check whether this node can take pods, judged by its first required owner. Raises CNIError 50 or 51.

    Later owners don't count: their agents may need the pod network to start, and ADD waits for them.
    """
    request, invoker = call.request, call.invoker
    try:
        _check_state(call.state)
        delegates = _first_owner_chain(call.chain).delegates
        asked = [recorded(delegate, request.version) for delegate in delegates]
        files = [invoker.find(delegate) for delegate in asked]
        for declared, delegate, file in zip(delegates, asked, files, strict=True):
            if not any(at_least(version, "1.1.0") for version in declared.versions):
                continue
            if "1.1.0" in invoker.supported_versions(delegate, file, request.deadline):
                invoker.run(delegate, file, "STATUS", None, request.deadline - time.monotonic())
    except CNIError as error:
        code = NOT_AVAILABLE_LIMITED if error.code == NOT_AVAILABLE_LIMITED else NOT_AVAILABLE
        raise CNIError(code, error.msg, error.details) from None


def _check_state(state: State) -> None:
    try:
        state.check()
    except FileNotFoundError:
        pass  # the first ADD makes it
    except OSError as error:
        raise io_error(error, state.directory) from None


def _first_owner_chain(current: CurrentChain) -> OwnerChain:
    owners = current.owners()
    required = [owner for owner in owners if owner.required]
    for owner in required[:1] or owners:
        owner_chain = current.owner_chain(owner, wait=False, exempt=False)
        if owner_chain.usable:
            return owner_chain
        if owner.required or owner_chain.fault(REFUSED, UNREADABLE):
            raise owner_chain.why_unusable()
    raise chain.no_delegate_error(owners, current.chain_dir)
