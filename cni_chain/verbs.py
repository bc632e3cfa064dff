"""ADD, CHECK, STATUS and GC: what runs in which order, and what is recorded when. DEL is in teardown."""

from __future__ import annotations

import os
import time

from cni_chain import chain, results, teardown
from cni_chain.call import Call, io_error
from cni_chain.errors import (
    INVALID_CONFIG,
    INVALID_NETNS,
    NOT_AVAILABLE,
    NOT_AVAILABLE_LIMITED,
    TRY_AGAIN,
    CNIError,
    joined,
)
from cni_chain.record import Attachment, Record
from cni_chain.spec import at_least, is_interface_name, is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni_chain.chain import Part


def add(call: Call) -> results.Result:
    """Attach the container: every delegate of the chain in order, or none. Raises CNIError."""
    _refuse_own_namespace(call)
    attachment = call.attachment()
    before = call.prev_result()
    links = chain.complete(call.parts())
    if not links:
        if before is None:
            raise _nobody(call)
        return before
    steps = [call.step(link) for link in links]
    files = [call.find(step) for step in steps]
    try:
        call.state.create()
        if not call.state.lock(attachment):
            raise teardown.busy(attachment)
        for step, file in zip(steps, files, strict=True):
            step.version = call.choose(call.speaks(step, file, call.deadline))
        left_over = teardown.load(call, attachment)
        if left_over is not None:
            teardown.undo_left_over(call, left_over)
        record = Record(attachment, steps, teardown.circumstances(call), time.time())
        call.state.begin(record)
    except OSError as error:
        raise io_error(error, call.facade.state_dir) from None
    record.result = before
    return _run_forward(call, record, files)


def _run_forward(call: Call, record: Record, files: list[str]) -> results.Result:
    for index, (step, file) in enumerate(zip(record.steps, files, strict=True)):
        try:
            record.result = call.add(step, file, record.result, call.deadline)
            if index == len(files) - 1:
                record.state = "added"
            call.state.update(record)
        except CNIError as error:
            raise teardown.roll_back(call, record, index + 1, error) from None
        except OSError as error:
            failure = io_error(error, call.facade.state_dir)
            raise teardown.roll_back(call, record, index + 1, failure) from None
    assert record.result is not None  # there is a step, and it returned one
    return record.result


def _nobody(call: Call) -> CNIError:
    names = ", ".join(owner.name for owner in call.owners())
    return CNIError(
        TRY_AGAIN,
        f"no owner has a delegate for this pod: {names or 'there is none'} in {call.facade.chain_dir}; "
        "`cni-chain show --all` tells why",
    )


def _refuse_own_namespace(call: Call) -> None:
    """Raise CNIError 8 if the container's namespace is this process's (`pkg/skel/skel.go`, with its override)."""
    if call.environ.get("CNI_NETNS_OVERRIDE", "").upper() in ("TRUE", "1"):
        return
    try:
        theirs, ours = os.stat(call.args.netns), os.stat("/proc/self/ns/net")
    except (OSError, ValueError):
        return
    if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino):
        raise CNIError(
            INVALID_NETNS,
            f"CNI_NETNS {call.args.netns} is the network namespace that the runtime itself is in; nothing was run",
        )


def delete(call: Call) -> None:
    """Detach the container. Raises CNIError."""
    if call.args.netns:
        _refuse_own_namespace(call)
    teardown.delete(call)


def check(call: Call) -> None:
    """Ask every delegate whether the container is still attached as its result says. Raises CNIError."""
    attachment = call.attachment()
    prev_result = call.prev_result()
    record = None
    try:
        if not call.state.lock(attachment):
            raise teardown.busy(attachment)
        record = teardown.load(call, attachment)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise io_error(error, call.facade.state_dir) from None
    if record is not None:
        steps = record.steps
        if prev_result is None and record.result is not None:
            prev_result = results.convert(record.result, call.version)
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


def _first_part(call: Call) -> Part:
    owners = call.owners()
    required = [owner for owner in owners if owner.required]
    for owner in required[:1] or owners:
        part = call.part(owner, wait=0, exempt=False)
        if part.usable:
            return part
        if owner.required or part.directory.faults:
            raise part.why_unusable()
    raise _nobody(call)


def collect(call: Call) -> None:
    """Carry out GC: delete what the runtime doesn't list, then hand the list on. Raises CNIError with all failures."""
    listed = _listed(call)
    steps = [call.step(link) for link in _links_for_gc(call)]
    errors: list[CNIError] = []
    conf = dict(call.conf)
    if listed is not None:
        kept = _collect_stale(call, {(a.container_id, a.ifname) for a in listed}, len(steps), errors)
        if kept:
            told = next(conf[key] for key in teardown.LISTS if key in conf) or []
            both = [*told, *({"containerID": a.container_id, "ifname": a.ifname} for a in kept)]
            conf |= {key: both for key in teardown.LISTS if key in conf}
    for behind, step in zip(range(len(steps) - 1, -1, -1), steps, strict=True):
        until = time.monotonic() + max(1.0, call.deadline - time.monotonic() - behind)
        try:
            file = call.find(step)
            if "1.1.0" in call.speaks(step, file, until):
                call.run(step, file, "GC", None, until - time.monotonic(), conf=conf)
        except CNIError as error:
            errors.append(error)
    if errors:
        raise joined(errors)


def _links_for_gc(call: Call) -> list[chain.Link]:
    links = []
    for part in call.parts():
        if part.usable:
            links += [link for link in part.links if not link.disable_gc]
        else:
            call.log.note(f"not called: {part.why_unusable().msg}")
    return links


def _listed(call: Call) -> list[Attachment] | None:
    """Return the attachments that the runtime still has; None if it gave no list. Raises CNIError 7."""
    key = next((key for key in teardown.LISTS if key in call.conf), None)
    if key is None:
        return None
    entries = call.conf[key]
    attachments = []
    for entry in [] if entries is None else entries if isinstance(entries, list) else [None]:
        # Go reads keys in any case, and so do the delegates that are given the list.
        fields = {name.lower(): value for name, value in entry.items()} if isinstance(entry, dict) else {}
        container_id, ifname = fields.get("containerid"), fields.get("ifname")
        if not (isinstance(container_id, str) and isinstance(ifname, str)):
            raise CNIError(
                INVALID_CONFIG, f"network configuration: key {key}: must be a list of containerID and ifname"
            )
        if is_name(container_id) and is_interface_name(ifname):
            attachments.append(Attachment(call.network, container_id, ifname))
    return attachments


def _collect_stale(call: Call, listed: set[tuple[str, str]], to_come: int, errors: list[CNIError]) -> list[Attachment]:
    """Delete the attachments that are not `listed` and return those that must be kept all the same."""
    try:
        stale = [a for a in call.state.attachments(call.network) if (a.container_id, a.ifname) not in listed]
    except OSError as error:
        errors.append(io_error(error, call.facade.state_dir))
        return []
    kept = []
    late = 0
    for behind, attachment in zip(range(len(stale) - 1, -1, -1), stale, strict=True):
        if time.monotonic() >= call.deadline:
            late += 1
            kept.append(attachment)
        elif not _collect_one(call, attachment, to_come + behind, errors):
            kept.append(attachment)
    if late:
        errors.append(CNIError(TRY_AGAIN, f"no time left for {late} of {len(stale)} stale attachments: the next GC"))
    return kept


def _collect_one(call: Call, attachment: Attachment, to_come: int, errors: list[CNIError]) -> bool:
    """Delete one attachment unless another call holds it; return whether it is gone."""
    try:
        if not call.state.lock(attachment):
            return False
    except OSError as error:
        errors.append(io_error(error, call.facade.state_dir))
        return False
    try:
        record = teardown.load(call, attachment)
        if record is None:
            return True
        failures = teardown.Undoing(call, record, environ=_recorded_environ(call, record)).run(
            call.deadline, to_come=to_come
        )
        if not failures:
            teardown.forget(call, attachment)
        errors += failures
        return not failures
    except OSError as error:
        errors.append(io_error(error, call.facade.state_dir))
        return False
    finally:
        call.state.unlock(attachment)


def _recorded_environ(call: Call, record: Record) -> dict[str, str]:
    """Return the environment for a DEL that no runtime asked for: the attachment's variables are the record's."""
    return {
        **call.environ,
        "CNI_CONTAINERID": record.attachment.container_id,
        "CNI_IFNAME": record.attachment.ifname,
        "CNI_NETNS": record.call.get("netns", ""),
        "CNI_ARGS": record.call.get("cniArgs", ""),
    }


# What each verb asks of the request's cniVersion (SPEC section 2).
MINIMUM_VERSION = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

VERBS: dict[str, Callable[[Call], Any]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "STATUS": status,
    "GC": collect,
}
