"""The DELs of one record: in which order, how long each may take, and which failures count as done.

What was recorded is undone backward. A delegate that fails doesn't keep those before it from their DEL, apart from the
first: it holds the addresses, and an address must not be given to another pod while a plugin still refers to it.
"""

from __future__ import annotations

import time

from cni_chain import system as os
from cni_chain.answer import DelegateError
from cni_chain.call import Call
from cni_chain.errors import GONE, CNIError
from cni_chain.spec import at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cni_chain import results
    from cni_chain.record import Record, Step

_LEAST_SECONDS = 1.0

# GC's list of what is to be kept, under its name since 2024 and the one before (containernetworking/cni, pull 1101).
LISTS = ("cni.dev/valid-attachments", "cni.dev/attachments")


class Undoing:
    """The DELs of one record.

    `on_disk`: the record is kept up to date there. `asked`: the runtime asked for this DEL itself, so
    its own runtimeConfig, args and prevResult come before the record's. `keep_first`: see the module's text; not so
    when an ADD is rolled back, of which nobody has been told an address. `environ` stands in for the call's own.
    """

    def __init__(
        self,
        call: Call,
        record: Record,
        *,
        on_disk: bool = True,
        asked: bool = False,
        keep_first: bool = True,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._call = call
        self._record = record
        self._on_disk = on_disk
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
            if self._on_disk and record.pending:
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
            self._speak(step, file, until - seconds / 2)
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
            elif isinstance(error, DelegateError) and self._namespace_gone(error.said):
                call.log.note(f"{name}: the network namespace is gone, so its DEL counts as done: {error.msg}")
            elif self._uninstalled(step):
                call.log.note(f"{error.msg}; its agent has been uninstalled meanwhile: counted as deleted")
            else:
                raise

    def _speak(self, step: Step, file: str, until: float) -> None:
        try:
            step.version = self._call.choose(self._call.speaks(step, file, until))
        except CNIError as error:
            # Not even VERSION works: its DEL is tried as its ADD was, in the time that is left.
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
        return self._record.result if given is None else given

    def _uninstalled(self, step: Step) -> bool:
        """Tell whether a delegate's binary and its owner are gone by now, so that a retry would count it as done."""
        try:
            self._call.find(step)
        except CNIError:
            return self._owner_gone(step.owner)
        return False

    def _owner_gone(self, name: str) -> bool:
        """Tell whether an owner has nothing on this node any more, so that its plugin won't come back by itself.

        Files that can't be used just now are not nothing: their agent may be in the middle of an upgrade.
        """
        owner = self._call.owner(name)
        if owner is None:
            return True
        part = self._call.part(owner, exempt=False)
        return not part.links and not part.directory.faults

    def _namespace_gone(self, said: str) -> bool:
        """Tell whether a delegate's own words say no more than that the pod's namespace is gone, as it is.

        Cilium 1.18 deletes its endpoint and ends so at every try; a runtime would never be rid of the pod.
        """
        netns = self._environ.get("CNI_NETNS", "")
        if netns and os.path.exists(netns):
            return False
        if not any(gone in said.lower() for gone in GONE):
            return False
        return bool(netns and netns in said) or any(word in said.lower() for word in ("netns", "network namespace"))
