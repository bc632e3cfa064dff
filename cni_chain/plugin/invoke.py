"""Calls delegates for a request: finds each, asks for its versions, sends its configuration, judges its answer."""

from __future__ import annotations

import time

from cni_chain.plugin import answer, jsontext, results, system
from cni_chain.plugin.answer import DelegateError, NotStarted
from cni_chain.plugin.delegate import NotFoundError, NotStartedError, execute, find
from cni_chain.plugin.errors import DELEGATE_FAILED, DELEGATE_TIMED_OUT, TRY_AGAIN, CNIError
from cni_chain.plugin.request import derive
from cni_chain.plugin.spec import VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")

    from cni_chain.plugin.delegate import Execute
    from cni_chain.plugin.facade import Owner
    from cni_chain.plugin.log import Log
    from cni_chain.plugin.record import RecordedDelegate
    from cni_chain.plugin.records import State
    from cni_chain.plugin.request import Request


class Invoker:
    """Calls the delegates of one request, and logs each execution.

    `owner` returns the current owner of a name; `executor` replaces `delegate.execute`; `limit` describes the deadline
    if it is not the verb's.
    """

    def __init__(
        self,
        request: Request,
        owner: Callable[[str], Owner | None],
        state: State,
        log: Log,
        executor: Execute | None = None,
        limit: str = "",
    ) -> None:
        self.executor = executor or execute
        self.limit = limit
        self._request = request
        self._owner = owner
        self._state = state
        self._log = log
        self._remembered: dict[str, Any] | None = None

    def find(self, delegate: RecordedDelegate) -> str:
        """Return a delegate's file. Raises CNIError 11 if CNI_PATH doesn't have it."""
        try:
            return find(delegate.type, self._request.args.path)
        except NotFoundError as error:
            raise CNIError(TRY_AGAIN, f"{delegate}: {error}") from None

    def supported_versions(self, delegate: RecordedDelegate, file: str, deadline: float) -> tuple[str, ...]:
        """Return the versions that a delegate's binary supports, asking it once (SPEC section 2, VERSION).

        The answer is kept for as long as the file is the same. Raises CNIError.
        """
        try:
            status = system.stat(file)
        except OSError as error:
            raise CNIError(TRY_AGAIN, f"{delegate}: {file} was removed: {error.strerror}") from None
        identity = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        if self._remembered is None:
            self._remembered = self._state.versions()
        known = _remembered_versions(self._remembered.get(file), identity)
        if known:
            return known
        question = jsontext.encode({"cniVersion": self._request.version})
        environ = {**self._request.environ, "CNI_COMMAND": "VERSION"}
        outcome = self._execute_in_time(delegate, file, environ, question, deadline - time.monotonic())
        versions = self._judged(delegate, "VERSION", outcome, lambda: answer.versions(outcome))
        self._remembered[file] = {"file": identity, "versions": list(versions)}
        try:
            self._state.remember_versions(self._remembered)
        except OSError as error:
            self._log.note(f"the CNI versions that {file} supports can't be stored: {error}")
        return versions

    def add(
        self, delegate: RecordedDelegate, file: str, before: results.Result | None, deadline: float
    ) -> results.Result:
        """Run a delegate's ADD and return the result so far, as `before` in spec.LATEST. Raises CNIError."""
        outcome = self._run(delegate, file, "ADD", before, deadline - time.monotonic())
        return self._judged(delegate, "ADD", outcome, lambda: answer.added(outcome, delegate.version, before))

    def run(
        self,
        delegate: RecordedDelegate,
        file: str,
        command: str,
        prev_result: results.Result | None,
        seconds: float,
        *,
        conf: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Run a delegate for a verb whose only answer is success.

        `prev_result` is in spec.LATEST. `conf` and `environ` replace the request's own. Raises CNIError.
        """
        outcome = self._run(delegate, file, command, prev_result, seconds, conf, environ)
        self._judged(delegate, command, outcome, lambda: answer.require_success(outcome))

    def _run(
        self,
        delegate: RecordedDelegate,
        file: str,
        command: str,
        prev_result: results.Result | None,
        seconds: float,
        conf: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> answer.Outcome:
        sent = None if prev_result is None else results.convert(prev_result, delegate.version)
        stdin = derive(delegate.conf, delegate.capabilities, conf or self._request.conf, delegate.version, sent)
        environ = {**(environ or self._request.environ), "CNI_COMMAND": command}
        return self._execute_in_time(delegate, file, environ, jsontext.encode(stdin), seconds)

    def _execute_in_time(
        self, delegate: RecordedDelegate, file: str, environ: Mapping[str, str], stdin: bytes, seconds: float
    ) -> answer.Outcome:
        command = environ["CNI_COMMAND"]
        timeouts = self._request.facade.timeouts
        verb = command if command in timeouts else self._request.args.command
        limit = self.limit or f"timeouts.{verb} is {timeouts[verb]:g} s for all plugins"
        owner = self._owner(delegate.owner)
        if owner is not None and owner.timeout is not None and owner.timeout < seconds:
            seconds, limit = owner.timeout, f"timeoutSeconds is {owner.timeout:g} s"
        if seconds <= 0:  # starting it only to kill it at once would leave something half done
            failed = NotStarted(DELEGATE_TIMED_OUT, f"{delegate}: was not started: no time was left ({limit})")
            self._log.call(delegate.owner, delegate.type, command, None, failed)
            raise failed
        try:
            outcome = self.executor(file, environ, stdin, seconds)
        except OSError as error:
            kind = NotStarted if isinstance(error, NotStartedError) else CNIError
            could_not = kind(DELEGATE_FAILED, f"{delegate}: {file} can't be executed: {error.strerror}")
            self._log.call(delegate.owner, delegate.type, command, None, could_not)
            raise could_not from None
        outcome.limit = limit
        return outcome

    def _judged(self, delegate: RecordedDelegate, command: str, outcome: answer.Outcome, judge: Callable[[], T]) -> T:
        """Return the result of `judge` on an execution, and log it; a failure names the delegate."""
        try:
            verdict = judge()
        except DelegateError as error:
            error.msg = f"{delegate}: {error.msg}"
            self._log.call(delegate.owner, delegate.type, command, outcome, error)
            raise
        self._log.call(delegate.owner, delegate.type, command, outcome, None)
        return verdict


def _remembered_versions(entry: Any, identity: list[int]) -> tuple[str, ...]:
    """Return the versions in a remembered entry, none if it is about another file."""
    if not isinstance(entry, dict) or entry.get("file") != identity or not isinstance(entry.get("versions"), list):
        return ()
    return tuple(version for version in VERSIONS if version in entry["versions"])
