"""The DELs of one record: in which order, how long each may take, and which failures count as done.

What was recorded is undone backward. A delegate that fails doesn't keep those before it from their DEL, apart from the
first: it holds the addresses, and an address must not be given to another pod while a plugin still refers to it.
"""

from __future__ import annotations

import time

from cni_chain import system as os
from cni_chain.answer import DelegateError
from cni_chain.call import Call, io_error
from cni_chain.errors import INTERNAL, CNIError
from cni_chain.spec import at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cni_chain import results
    from cni_chain.record import Record, Step

_LEAST_SECONDS = 1.0

# GC's list of what is to be kept, under its name since 2024 and the one before (containernetworking/cni, pull 1101).
LISTS = ("cni.dev/valid-attachments", "cni.dev/attachments")


class Undoing:
    """The DELs of one record.

    `on_disk`: the record is kept up to date there. `asked`: the runtime asked for this DEL itself, so
    its own runtimeConfig, args and prevResult come before the record's. `environ` stands in for the call's own.
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
        self._environ = environ or call.environ
        known: dict[str, Any] = {key: record.call[key] for key in ("runtimeConfig", "args") if key in record.call}
        told = {key: call.conf[key] for key in ("runtimeConfig", "args") if asked and key in call.conf}
        dev = {key: value for key, value in call.conf.items() if key.startswith("cni.dev/") and key not in LISTS}
        self._conf: dict[str, Any] = {"name": call.network, **known, **told, **dev}

    def run(
        self, deadline: float, *, to_come: int = 0, strict: bool = False, before: Sequence[CNIError] = ()
    ) -> list[CNIError]:
        """Delete all that is pending and return the failures; what failed stays pending in the record.

        Each call may take what is left until `deadline` less a second for every call after it, `to_come` of them not
        this record's, but never less than a second. With `strict` it may take all that is left, and what is then not
        begun by the deadline stays pending without a failure. `before` are failures to tell what else there is.
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
            # DELs may be repeated, so an old state is no reason to stop.
            self._call.log.note(f"the record can't be updated: {error}")

    def _undone(self, index: int, seconds: float) -> CNIError | None:
        """Return a delegate's failure; whatever one comes to, the others get their DEL."""
        step = self._record.steps[index]
        try:
            return self._delete(index, step, seconds)
        except CNIError as error:
            return error
        except OSError as error:
            failure = io_error(error, step.path)
        except Exception as error:  # noqa: BLE001  # see above
            failure = CNIError(INTERNAL, f"{type(error).__name__}: {error}")
        return CNIError(failure.code, f"{step.owner}/{step.type}: {failure.msg}")

    def _delete(self, index: int, step: Step, seconds: float) -> CNIError | None:
        call = self._call
        owner = call.owner(step.owner)
        ignored = (owner.on_del_error if owner else step.on_del_error) == "ignore"
        try:
            file = call.find(step)
        except CNIError as error:
            if not ignored and not self._never_started(index) and not self._uninstalled(step):
                raise
            call.log.note(f"{error.msg}; counted as deleted")
            return None
        until = time.monotonic() + seconds
        failure = self._ask(step, file, until)
        # Only what a plugin has refused in its own words: one that hung may have had the right configuration.
        refused = isinstance(failure, DelegateError) and failure.said
        present = self._corrected(index) if refused and time.monotonic() < until else None
        if failure is not None and present is not None:
            call.log.note(f"{failure.msg}; tried once more with the configuration that {present.path} has now")
            failure = self._ask(present, file, until)
        if failure is not None and ignored:
            call.log.note(f"{step.owner}/{step.type}: its failing DEL is ignored (onDelError): {failure.msg}")
            return None
        return failure

    def _ask(self, step: Step, file: str, until: float) -> CNIError | None:
        """Run a delegate's DEL; return its failure, unless that counts as done."""
        call = self._call
        seconds = until - time.monotonic()
        try:
            self._speak(step, file, until - seconds / 2)
            left = until - time.monotonic()
            call.run(step, file, "DEL", self._prev_result(step), left, conf=self._conf, environ=self._environ)
        except CNIError as error:
            gone = self._gone(step, error.said) if isinstance(error, DelegateError) else ""
            if gone:
                told = f"{step.owner}/{step.type}: {gone} is gone, so its DEL counts as done"
            elif not _is_there(call, step) and self._uninstalled(step):
                told = "its agent has been uninstalled meanwhile: counted as deleted"
            else:
                return error
            call.log.note(f"{told}: {error.msg}")
        return None

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

    def _corrected(self, index: int) -> Step | None:
        """Return a step as its owner would have it now, None if it is there as recorded, or can't be told.

        Of several of one type the one at the same place counts, unless there are more or fewer of them now.
        """
        step, steps = self._record.steps[index], self._record.steps
        owner = self._call.owner(step.owner)
        if owner is None:
            return None
        same = [at for at, other in enumerate(steps) if (other.owner, other.type) == (step.owner, step.type)]
        part = self._call.part(owner, exempt=False)
        present = [self._call.step(link) for link in part.links if link.type == step.type]
        as_recorded = any((other.conf, other.capabilities) == (step.conf, step.capabilities) for other in present)
        if part.directory.faults or as_recorded or len(present) != len(same):
            return None
        return present[same.index(index)]

    def _never_started(self, index: int) -> bool:
        """Tell whether the record says that a delegate's ADD was never begun.

        Those lines are not synced, so that a power loss may have taken them: they count until the next boot.
        """
        record = self._record
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return self._on_disk and index > record.ran and record.created > booted

    def _uninstalled(self, step: Step) -> bool:
        """Tell whether nothing on this node names a delegate any more, so that its plugin won't come back by itself.

        Files that can't be used just now are not nothing: their agent may be in the middle of an upgrade. Neither is a
        directory of chains that isn't there: it is not mounted yet.
        """
        owner = self._call.owner(step.owner)
        if owner is None:
            return True
        directory = self._call.part(owner, exempt=False).directory
        if directory.faults or (directory.missing and not os.path.isdir(self._call.facade.chain_dir)):
            return False
        return all(conf["type"] != step.type for fragment in directory.fragments for conf in fragment.plugins)

    def _gone(self, step: Step, said: str) -> str:
        """Return what a delegate's own words say is gone, if without it that delegate has nothing to delete."""
        from cni_chain import quirks  # most DELs succeed

        netns = self._environ.get("CNI_NETNS", "")
        if (not netns or _leads_nowhere(netns)) and quirks.namespace_is_gone(said, netns):
            return "the network namespace"
        if step.type == quirks.HOST_DEVICE and quirks.device_is_back(said, self._environ.get("CNI_IFNAME", "")):
            return "the interface"
        return ""


def _leads_nowhere(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_there(call: Call, step: Step) -> bool:
    try:
        call.find(step)
    except CNIError:
        return False
    return True
