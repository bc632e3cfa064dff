"""DEL, wherever one is due: asked for, rolling back a failed ADD, before an ADD that finds a record, in GC.

What was recorded is undone, backward. A delegate that fails doesn't keep those before it from their DEL, apart from
the first: it holds the addresses, and an address must not be given to another pod while a plugin still refers to it.
"""

from __future__ import annotations

import os
import time

from cni_chain import chain, results
from cni_chain.answer import DelegateError
from cni_chain.call import Call, io_error
from cni_chain.errors import TRY_AGAIN, CNIError, joined
from cni_chain.record import Record
from cni_chain.spec import at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cni_chain.record import Attachment, Step

# containerd takes these words in the error of a DEL for success (go-cni, cni.go, Remove), whatever had failed.
_TAKEN_FOR_SUCCESS = (("not found", "absent"), ("no such file or directory", "nothing at that path"))
_LEAST_SECONDS = 1.0

# GC's list of what is to be kept, under its name since 2024 and the one before (containernetworking/cni, pull 1101).
LISTS = ("cni.dev/valid-attachments", "cni.dev/attachments")


def delete(call: Call) -> None:
    """Carry out DEL. Raises CNIError if anything is left to do; what is left is then recorded."""
    attachment = call.attachment()
    _hold(call, attachment)
    record = _load(call, attachment)
    recorded = record is not None
    if record is None:
        links = [link for part in _parts_that_can_be_read(call) for link in chain.present([part])]
        record = Record(attachment, [call.step(link) for link in links], circumstances(call), time.time())
    errors = Undoing(call, record, recorded=recorded, asked=True).run(call.deadline)
    if errors and not recorded:
        try:
            call.state.begin(record)
        except OSError as error:
            call.log.note(f"what is left to delete can't be recorded: {error}")
    if errors:
        failure = joined(errors)
        raise CNIError(failure.code, _reworded(failure.msg), _reworded(failure.details))
    forget(call, attachment)


def _hold(call: Call, attachment: Attachment) -> None:
    """Take the attachment. Where no state can be kept there is nothing to take: the pod must go all the same."""
    try:
        free = call.state.lock(attachment)
    except FileNotFoundError:
        return
    except OSError as error:
        call.log.note(f"without a lock: {error}")
        return
    if not free:
        raise busy(attachment)


def _load(call: Call, attachment: Attachment) -> Record | None:
    """Return the record, None if there is none that can be used."""
    try:
        return load(call, attachment)
    except OSError as error:
        call.log.note(f"the record can't be read, so the chain as it is now is deleted: {error}")
        return None


def _parts_that_can_be_read(call: Call) -> list[chain.Part]:
    try:
        return call.parts()
    except CNIError as error:
        call.log.note(f"no owners: {error.msg}")
        return []


def busy(attachment: Attachment) -> CNIError:
    """Return the error for an attachment that another process works on."""
    return CNIError(
        TRY_AGAIN,
        f"attachment {attachment.ifname} of container {attachment.container_id} is busy: another call is at work on it",
    )


def load(call: Call, attachment: Attachment) -> Record | None:
    """Return an attachment's record, None if it has none; a damaged one is set aside. Raises OSError."""
    try:
        return call.state.load(attachment)
    except ValueError as error:
        path = call.state.set_aside(attachment)
        call.log.note(f"a damaged record was set aside as {path}: {error}")
        return None


def forget(call: Call, attachment: Attachment) -> None:
    """Remove a record of which nothing is left to undo. Should that fail, its DELs are merely repeated one day."""
    try:
        call.state.remove(attachment)
    except OSError as error:
        call.log.note(f"the record can't be removed: {error}")


def circumstances(call: Call) -> dict[str, Any]:
    """Return what a later DEL may need of this call and a GC doesn't get from the runtime."""
    told = {"path": call.args.path, "netns": call.args.netns, "cniArgs": call.args.args}
    return told | {key: call.conf[key] for key in ("runtimeConfig", "args") if key in call.conf}


class Undoing:
    """The DELs of one record.

    `recorded`: the record is on disk, and is kept up to date there. `asked`: the runtime asked for this DEL itself, so
    its own runtimeConfig, args and prevResult come before the record's. `keep_first`: see the module's text; not so
    when an ADD is rolled back, of which nobody has been told an address. `environ` stands in for the call's own.
    """

    def __init__(
        self,
        call: Call,
        record: Record,
        *,
        recorded: bool = True,
        asked: bool = False,
        keep_first: bool = True,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._call = call
        self._record = record
        self._recorded = recorded
        self._asked = asked
        self._keep_first = keep_first
        self._environ = environ or call.environ
        known: dict[str, Any] = {key: record.call[key] for key in ("runtimeConfig", "args") if key in record.call}
        told = {key: call.conf[key] for key in ("runtimeConfig", "args") if asked and key in call.conf}
        dev = {key: value for key, value in call.conf.items() if key.startswith("cni.dev/") and key not in LISTS}
        self._conf: dict[str, Any] = {"name": call.network, **known, **told, **dev}

    def run(self, deadline: float, *, to_come: int = 0) -> list[CNIError]:
        """Delete all that is pending and return the failures; what failed stays pending in the record.

        Each call may take what is left until `deadline` less a second for every call after it, `to_come` of them not
        this record's, but never less than a second.
        """
        record = self._record
        record.state = "deleting"
        errors: list[CNIError] = []
        backward = sorted(record.pending, reverse=True)
        for done, index in enumerate(backward, start=1):
            if index == 0 and errors and self._keep_first:
                break
            behind = len(backward) - done + to_come
            seconds = max(_LEAST_SECONDS, deadline - time.monotonic() - behind)
            try:
                self._delete(record.steps[index], seconds)
            except CNIError as error:
                errors.append(error)
                continue
            record.pending = [other for other in record.pending if other != index]
            if self._recorded and record.pending:
                self._keep()
        return errors

    def _keep(self) -> None:
        try:
            self._call.state.update(self._record)
        except OSError as error:
            # DELs may be repeated, so an old state is no reason to stop.
            self._call.log.note(f"the record can't be updated: {error}")

    def _delete(self, step: Step, seconds: float) -> None:
        call = self._call
        owner = call.owner(step.owner)
        ignored = (owner.on_del_error if owner else step.on_del_error) == "ignore"
        name = f"{step.owner}/{step.type}"
        try:
            file = call.find(step)
        except CNIError as error:
            if not ignored and not self._owner_gone(step.owner):
                raise
            call.log.note(f"{error.msg}; counted as deleted")
            return
        until = time.monotonic() + seconds
        try:
            self._speak(step, file, until)
            call.run(
                step,
                file,
                "DEL",
                self._prev_result(step),
                until - time.monotonic(),
                conf=self._conf,
                environ=self._environ,
            )
        except CNIError as error:
            if ignored:
                call.log.note(f"{name}: its failing DEL is ignored (onDelError): {error.msg}")
            elif isinstance(error, DelegateError) and error.own and self._namespace_gone(error):
                call.log.note(f"{name}: the network namespace is gone, so its DEL counts as done: {error.msg}")
            else:
                raise

    def _speak(self, step: Step, file: str, until: float) -> None:
        try:
            step.version = self._call.choose(self._call.speaks(step, file, until))
        except CNIError as error:
            # Not even VERSION works: its DEL is tried as its ADD was, and tells what is wrong.
            self._call.log.note(f"{error.msg}; spoken to in {step.version}, as recorded")

    def _prev_result(self, step: Step) -> results.Result | None:
        """Return the runtime's prevResult, else the record's; DEL has one since 0.4.0."""
        if not at_least(step.version, "0.4.0"):
            return None
        given = None
        try:
            given = self._call.prev_result() if self._asked else None
        except CNIError as error:
            self._call.log.note(error.msg)
        if given is None and self._record.result is not None:
            given = results.convert(self._record.result, self._call.version)
        return given

    def _owner_gone(self, name: str) -> bool:
        """Tell whether an owner has nothing on this node any more, so that its plugin won't come back by itself."""
        owner = self._call.owner(name)
        return owner is None or not self._call.part(owner, exempt=False).usable

    def _namespace_gone(self, error: CNIError) -> bool:
        """Tell whether a delegate's own words say no more than that the pod's namespace is gone, as it is.

        Cilium 1.18 deletes its endpoint and ends so at every try; a runtime would never be rid of the pod.
        """
        netns = self._environ.get("CNI_NETNS", "")
        if netns and os.path.exists(netns):
            return False
        words = f"{error.msg} {error.details}".lower()
        if not any(gone in words for gone, _ in _TAKEN_FOR_SUCCESS):
            return False
        return bool(netns and netns.lower() in words) or "netns" in words or "network namespace" in words


def undo_left_over(call: Call, record: Record) -> None:
    """Delete what an earlier ADD of the same attachment left. Raises CNIError 11 if that fails; the record stays."""
    errors = Undoing(call, record).run(call.until("DEL"))
    if errors:
        failure = joined(errors)
        raise CNIError(
            TRY_AGAIN,
            f"an earlier attachment of this container is still there and can't be deleted: {failure.msg}",
            failure.details,
        )
    forget(call, record.attachment)


def roll_back(call: Call, record: Record, started: int, error: CNIError) -> CNIError:
    """Delete the first `started` delegates of a failed ADD; return `error` with what failed here in its details."""
    record.pending = list(range(started))
    failures = Undoing(call, record, keep_first=False).run(call.until("DEL"))
    if not failures:
        forget(call, record.attachment)
        return error
    try:
        call.state.update(record)
    except OSError as failure:
        failures.append(io_error(failure, call.facade.state_dir))
    undone = "; ".join(f"{failure.msg}: {failure.details}" if failure.details else failure.msg for failure in failures)
    details = f"{error.details}; " if error.details else ""
    return CNIError(error.code, error.msg, f"{details}rollback: {undone}")


def _reworded(text: str) -> str:
    for words, others in _TAKEN_FOR_SUCCESS:
        start = text.lower().find(words)
        while start >= 0:
            text = text[:start] + others + text[start + len(words) :]
            start = text.lower().find(words)
    return text
