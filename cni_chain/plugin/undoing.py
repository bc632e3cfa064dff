"""The DELs of one record: in which order, how long each may take, and which failures count as done.

The DELs run backward. If one fails, the delegates before it still get theirs, except the first of the chain: it holds
the addresses, and an address must not be given to another pod while a plugin still refers to it.
"""

from __future__ import annotations

import time

from cni_chain.plugin import system
from cni_chain.plugin.answer import DelegateError
from cni_chain.plugin.errors import INTERNAL, CNIError, io_error
from cni_chain.plugin.spec import at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cni_chain.plugin import results
    from cni_chain.plugin.call import Call
    from cni_chain.plugin.record import Record, RecordedDelegate

_LEAST_SECONDS = 1.0

# GC's list of what is to be kept, under its name since 2024 and the one before (containernetworking/cni, pull 1101).
VALID_ATTACHMENT_KEYS = ("cni.dev/valid-attachments", "cni.dev/attachments")


class Undoable:
    """What is left to undo for an attachment.

    `on_disk` is true if `record` is on disk, false if it was made from the current chain. `damaged` says why the record
    on disk can't be read; `unknown` are the errors that hide a part of the current chain.
    """

    __slots__ = ("damaged", "on_disk", "record", "unknown")

    def __init__(
        self, record: Record, *, on_disk: bool = False, damaged: str = "", unknown: Sequence[CNIError] = ()
    ) -> None:
        self.record = record
        self.on_disk = on_disk
        self.damaged = damaged
        self.unknown = unknown


class Undoing:
    """The DELs of one record.

    `on_disk`: the record is kept up to date there. `asked`: the runtime asked for this DEL itself, so
    its own runtimeConfig, args and prevResult come before the record's. `environ` replaces the call's own.
    """

    def __init__(
        self,
        call: Call,
        record: Record,
        *,
        on_disk: bool = True,
        asked: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._call = call
        self._record = record
        self._on_disk = on_disk
        self._asked = asked
        self._environ = environ or call.request.environ
        conf = call.request.conf
        known: dict[str, Any] = {key: record.context[key] for key in ("runtimeConfig", "args") if key in record.context}
        sent = {key: conf[key] for key in ("runtimeConfig", "args") if asked and key in conf}
        dev = {key: value for key, value in conf.items() if key.startswith("cni.dev/")}
        for key in VALID_ATTACHMENT_KEYS:
            dev.pop(key, None)
        self._conf: dict[str, Any] = {"name": call.request.network, **known, **sent, **dev}

    def run(
        self, deadline: float, *, to_come: int = 0, strict: bool = False, before: Sequence[CNIError] = ()
    ) -> list[CNIError]:
        """Delete all that is pending and return the failures; what failed stays pending in the record.

        Each call may take what is left until `deadline` less a second for every call after it, `to_come` of them not
        this record's, but never less than a second. With `strict` it may take all that is left, and what is then not
        begun by the deadline stays pending without a failure. `before` are the errors that hide what else is to delete.
        """
        record = self._record
        record.state = "deleting"
        errors = list(before)
        backward = sorted(record.pending, reverse=True)
        for done, index in enumerate(backward, start=1):
            left = deadline - time.monotonic()
            if (index == 0 and errors) or (strict and left <= 0):
                break
            behind = len(backward) - done + to_come
            seconds = left if strict else max(_LEAST_SECONDS, left - behind)
            failure = self._undone(index, seconds)
            if failure is not None:
                errors.append(failure)
                continue
            record.pending = [other for other in record.pending if other != index]
            if self._on_disk and record.pending:
                self._keep()
        return errors

    def _keep(self) -> None:
        try:
            self._call.state.update(self._record)
        except OSError as error:
            # DELs may be repeated, so an old state isn't a reason to stop.
            self._call.log.note(f"the record can't be updated: {error}")

    def _undone(self, index: int, seconds: float) -> CNIError | None:
        """Run one delegate's DEL and return its failure; whatever it raises, the others get their DEL."""
        delegate = self._record.delegates[index]
        try:
            return self._delete(index, delegate, seconds)
        except CNIError as error:
            return error
        except OSError as error:
            failure = io_error(error, delegate.path)
        except Exception as error:  # noqa: BLE001  # see above
            failure = CNIError(INTERNAL, f"{type(error).__name__}: {error}")
        return CNIError(failure.code, f"{delegate}: {failure.msg}")

    def _delete(self, index: int, delegate: RecordedDelegate, seconds: float) -> CNIError | None:
        call = self._call
        owner = call.chain.owner(delegate.owner)
        ignored = (owner.on_del_error if owner else delegate.on_del_error) == "ignore"
        try:
            file = call.invoker.find(delegate)
        except CNIError as error:
            from cni_chain.plugin.failures import needs_no_binary

            if not ignored and not needs_no_binary(call.chain, self._record, index, on_disk=self._on_disk):
                raise
            call.log.note(f"{error.msg}; counted as deleted")
            return None
        until = time.monotonic() + seconds
        failure = self._ask(delegate, file, until)
        # Only if the plugin itself reported an error: one that hung may have had the right configuration.
        if isinstance(failure, DelegateError) and failure.said and time.monotonic() < until:
            from cni_chain.plugin.failures import corrected

            current = corrected(call.chain, self._record, index, call.request.version)
            if current is not None:
                call.log.note(f"{failure.msg}; tried once more with the configuration that {current.path} has now")
                failure = self._ask(current, file, until)
        if failure is not None and ignored:
            call.log.note(f"{delegate}: its failed DEL is ignored (onDelError): {failure.msg}")
            return None
        return failure

    def _ask(self, delegate: RecordedDelegate, file: str, until: float) -> CNIError | None:
        """Run a delegate's DEL; return its failure, unless that counts as done."""
        call = self._call
        seconds = until - time.monotonic()
        try:
            self._pick_version(delegate, file, until - seconds / 2)
            left = until - time.monotonic()
            prev_result = self._prev_result(delegate)
            call.invoker.run(delegate, file, "DEL", prev_result, left, conf=self._conf, environ=self._environ)
        except CNIError as error:
            from cni_chain.plugin.failures import is_taken_away, what_is_gone

            gone = what_is_gone(delegate, error.said, self._environ) if isinstance(error, DelegateError) else ""
            if gone:
                why = f"{delegate}: {gone} is gone, so its DEL counts as done"
            elif is_taken_away(call.chain, call.invoker, delegate):
                why = "its agent has been uninstalled meanwhile: counted as deleted"
            else:
                return error
            call.log.note(f"{why}: {error.msg}")
        return None

    def _pick_version(self, delegate: RecordedDelegate, file: str, until: float) -> None:
        try:
            supported = self._call.invoker.supported_versions(delegate, file, until)
            delegate.version = self._call.request.pick_version(supported)
        except CNIError as error:
            # Not even VERSION works: its DEL is tried as its ADD was, in the time that is left.
            self._call.log.note(f"{error.msg}; DEL uses cniVersion {delegate.version}, as recorded")

    def _prev_result(self, delegate: RecordedDelegate) -> results.Result | None:
        """Return the runtime's prevResult, else the record's; DEL has one since 0.4.0."""
        if not at_least(delegate.version, "0.4.0"):
            return None
        given = None
        try:
            given = self._call.request.prev_result() if self._asked else None
        except CNIError as error:
            self._call.log.note(error.msg)
        return self._record.result if given is None else given


def environ_of(record: Record, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for DELs that no runtime asked for: the attachment's variables are the record's."""
    netns = record.context["netns"]
    return {
        **environ,
        "CNI_CONTAINERID": record.attachment.container_id,
        "CNI_IFNAME": record.attachment.ifname,
        # A path like /proc/<pid>/ns/net may by now lead to the node's own namespace, where nothing may be deleted.
        "CNI_NETNS": "" if system.is_own_namespace(netns) else netns,
        "CNI_ARGS": record.context["cniArgs"],
    }
