"""GC: deletes what the runtime doesn't list any more, as recorded, then passes the list to the delegates."""

from __future__ import annotations

import time

from cni_chain.plugin import delete
from cni_chain.plugin.errors import INTERNAL, INVALID_CONFIG, TRY_AGAIN, CNIError, io_error, joined
from cni_chain.plugin.fragments import REFUSED, UNREADABLE
from cni_chain.plugin.record import Attachment
from cni_chain.plugin.request import recorded
from cni_chain.plugin.spec import is_interface_name, is_name
from cni_chain.plugin.undoing import VALID_ATTACHMENT_KEYS, environ_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.call import Call
    from cni_chain.plugin.record import RecordedDelegate
    from cni_chain.plugin.request import Request


def collect(call: Call) -> None:
    """Carry out GC. A failure doesn't stop the rest; raises CNIError with all failures."""
    request, invoker = call.request, call.invoker
    listed = _listed(request)
    errors: list[CNIError] = []
    delegates = _delegates(call, errors)
    conf = dict(request.conf)
    if listed is not None:
        kept = _collect_stale(call, {(a.container_id, a.ifname) for a in listed}, len(delegates), errors)
        if kept is None:  # the valid attachments aren't known, and a delegate would free them
            delegates = []
        elif kept:
            keys = [key for key in VALID_ATTACHMENT_KEYS if key in conf]
            entries = [{"containerID": a.container_id, "ifname": a.ifname} for a in kept]
            conf |= {key: [*(conf[key] or []), *entries] for key in keys}
    for behind, delegate in zip(range(len(delegates) - 1, -1, -1), delegates, strict=True):
        until = time.monotonic() + max(1.0, request.deadline - time.monotonic() - behind)
        try:
            file = invoker.find(delegate)
            if "1.1.0" in invoker.supported_versions(delegate, file, until):
                invoker.run(delegate, file, "GC", None, until - time.monotonic(), conf=conf)
        except CNIError as error:
            errors.append(error)
        except OSError as error:
            errors.append(io_error(error, delegate.path))
    if errors:
        raise joined(errors)


def _delegates(call: Call, errors: list[CNIError]) -> list[RecordedDelegate]:
    """Return the delegates that get the list: those of the usable owners of the current chain."""
    try:
        owner_chains = call.chain.owner_chains()
    except CNIError as error:
        errors.append(error)
        return []
    for owner_chain in owner_chains:
        if not owner_chain.usable and not owner_chain.exempt:
            why = owner_chain.why_unusable()
            call.log.note(f"not called: {why.msg}")
            # An owner that has written nothing yet has nothing to collect either.
            if owner_chain.fault(REFUSED, UNREADABLE):
                errors.append(why)
    usable = [delegate for owner_chain in owner_chains if owner_chain.usable for delegate in owner_chain.delegates]
    return [recorded(delegate, call.request.version) for delegate in usable if not delegate.disable_gc]


def _listed(request: Request) -> list[Attachment] | None:
    """Return the attachments that the runtime still has; None if it gave no list. Raises CNIError 7."""
    lists = {key: request.conf[key] for key in VALID_ATTACHMENT_KEYS if key in request.conf}
    if not lists:
        return None
    key, entries = next(iter(lists.items()))
    if any((other or []) != (entries or []) for other in lists.values()):
        raise CNIError(INVALID_CONFIG, f"network configuration: keys {' and '.join(lists)}: must have the same value")
    attachments = []
    for entry in [] if entries is None else entries if isinstance(entries, list) else [None]:
        # Go reads keys in any case, and so do the delegates that are given the list.
        fields = {name.lower(): value for name, value in entry.items()} if isinstance(entry, dict) else {}
        container_id, ifname = fields.get("containerid"), fields.get("ifname")
        if not (isinstance(container_id, str) and isinstance(ifname, str)):
            raise CNIError(
                INVALID_CONFIG,
                f"network configuration: key {key}: must be a list of objects with containerID and ifname",
            )
        if is_name(container_id) and is_interface_name(ifname):
            attachments.append(Attachment(request.network, container_id, ifname))
    return attachments


def _collect_stale(
    call: Call, listed: set[tuple[str, str]], to_come: int, errors: list[CNIError]
) -> list[Attachment] | None:
    """Delete the attachments that are not `listed` and return those that must still be kept.

    None if it isn't known which attachments exist.
    """
    try:
        stale = [a for a in call.state.attachments(call.request.network) if (a.container_id, a.ifname) not in listed]
    except OSError as error:
        errors.append(io_error(error, call.state.directory))
        return None
    kept = []
    late = 0
    try:
        call.state.clear_unfinished(call.request.network)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            errors.append(io_error(error, call.state.directory))
    for behind, attachment in zip(range(len(stale) - 1, -1, -1), stale, strict=True):
        if time.monotonic() >= call.request.deadline:
            late += 1
            kept.append(attachment)
        elif not _collect_one(call, attachment, to_come + behind, errors):
            kept.append(attachment)
    if late:
        errors.append(
            CNIError(TRY_AGAIN, f"no time left for {late} of {len(stale)} stale attachments; the next GC deletes them")
        )
    return kept


def _collect_one(call: Call, attachment: Attachment, to_come: int, errors: list[CNIError]) -> bool:
    """Delete one attachment unless another call holds it; return whether it is gone."""
    try:
        if not call.state.lock(attachment):
            return False
    except OSError as error:
        errors.append(io_error(error, call.state.directory))
        return False
    failures: list[CNIError]
    try:
        found = delete.find_undoable(call, attachment)
        if found is None:
            return True
        environ = environ_of(found.record, call.request.environ)
        failures = delete.undo(call, found, call.request.deadline, environ=environ, to_come=to_come)
    except OSError as error:
        failures = [io_error(error, call.state.directory)]
    except Exception as error:  # noqa: BLE001  # whatever one attachment raises, the others are collected
        failures = [CNIError(INTERNAL, f"{type(error).__name__}: {error}")]
    finally:
        call.state.unlock(attachment)
    # Stale attachments fail with the same message; only the name distinguishes them.
    name = str(attachment)
    errors += [CNIError(failure.code, f"{name}: {failure.msg}", failure.details) for failure in failures]
    return not failures
