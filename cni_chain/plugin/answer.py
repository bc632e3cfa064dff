"""What a delegate's exit status and output mean. Pure.

Source: SPEC section 5, and how libcni reads the answers of real plugins (`pkg/invoke/raw_exec.go`); stricter where
libcni takes a fault for a success.
"""

from __future__ import annotations

from cni_chain.plugin import jsontext, results, spec
from cni_chain.plugin.errors import DECODING_FAILURE, DELEGATE_FAILED, DELEGATE_TIMED_OUT, CNIError
from cni_chain.plugin.spec import VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RESULT_KEYS = ("interfaces", "ips", "routes", "ip4", "ip6")


class Outcome:
    """How one execution of a delegate ended.

    `status` is the exit status, negative for the signal that ended it, None if it was killed at its deadline. `stderr`
    is the end of what it wrote there; `ms` is how long it took; `limit` names the setting of its deadline.
    """

    __slots__ = ("limit", "ms", "status", "stderr", "stdout")

    def __init__(self, status: int | None, stdout: bytes, stderr: bytes, ms: float, limit: str = "") -> None:
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.ms = ms
        self.limit = limit


class DelegateError(CNIError):
    """A delegate's failure. `said` is the delegate's own text, msg and details; "" if it gave none."""

    def __init__(self, code: int, msg: str, details: str = "", *, said: str = "") -> None:
        super().__init__(code, msg, details)
        self.said = said


class NotStarted(CNIError):  # noqa: N818  # as CNIError's own name has it, an error is what it is
    """The failure of a delegate that was not started."""


def require_success(outcome: Outcome) -> None:
    """Raise the DelegateError that `outcome` describes, unless it is a success."""
    if outcome.status is None:
        # Without the time that it had: the kubelet counts only events of the same text as one.
        look = "look at what it waits for, such as its agent"
        raise DelegateError(DELEGATE_TIMED_OUT, f"did not end in time and was killed ({outcome.limit}): {look}")
    if outcome.status == 0:
        return
    try:
        error = _error_in(jsontext.decode(outcome.stdout))
    except ValueError:
        error = None
    if error:
        raise error
    ended = f"exit status {outcome.status}" if outcome.status > 0 else f"killed by signal {-outcome.status}"
    raise DelegateError(DELEGATE_FAILED, f"failed without an error object: {ended}", _last_line(outcome.stderr))


def added(outcome: Outcome, version: str, before: results.Result | None) -> results.Result:
    """Return the Result with which a delegate answered ADD, complete and in spec.LATEST.

    `version` is that of the call, `before` the result so far in spec.LATEST. Raises DelegateError.
    """
    require_success(outcome)
    if not outcome.stdout.strip():
        raise DelegateError(DECODING_FAILURE, "ended with success but printed no result")
    try:
        answer = jsontext.decode(outcome.stdout)
    except ValueError as unreadable:
        raise DelegateError(DECODING_FAILURE, f"printed something that is not a result: {unreadable}") from None
    error = _error_in(answer)
    if error and not any(key in answer for key in _RESULT_KEYS):
        raise error
    _require_result(answer)
    answered = answer.get("cniVersion") or version
    result = results.convert({**answer, "cniVersion": answered}, spec.LATEST)
    if before is not None:
        if results.has_addresses(before) and not results.has_addresses(result):
            raise DelegateError(DECODING_FAILURE, "dropped the addresses of the result that it was given")
        if answered != spec.LATEST:
            from cni_chain.plugin.restoring import restore  # none of today's plugins of 1.1.0 needs it

            result = restore(result, before, answered)
            _require_result(result)
    return result


def _require_result(result: Any) -> None:
    fault = results.check(result)
    if fault:
        raise DelegateError(DECODING_FAILURE, f"printed something that is not a result: {fault}")


def versions(outcome: Outcome) -> tuple[str, ...]:
    """Return the versions in a delegate's answer to VERSION that cni-chain supports too. Raises DelegateError."""
    try:
        require_success(outcome)
    except DelegateError as error:
        # Plugins older than VERSION itself (`pkg/invoke/exec.go`, GetVersionInfo).
        if error.msg == "unknown CNI_COMMAND: VERSION":
            return ("0.1.0",)
        raise
    try:
        document = jsontext.decode(outcome.stdout)
    except ValueError as fault:
        raise DelegateError(DECODING_FAILURE, f"answered VERSION with something that is not JSON: {fault}") from None
    supported = document.get("supportedVersions") if isinstance(document, dict) else None
    if supported is None and isinstance(document, dict) and document.get("cniVersion") == "0.2.0":
        supported = ["0.1.0", "0.2.0"]  # as `pkg/version/plugin.go` reads it
    if not isinstance(supported, list):
        raise DelegateError(DECODING_FAILURE, "answered VERSION without supportedVersions")
    common = tuple(version for version in VERSIONS if version in supported)
    if not common:
        listed = ", ".join(str(version) for version in supported)[:200]
        raise DelegateError(DECODING_FAILURE, f"supports no CNI version that cni-chain supports: {listed or 'none'}")
    return common


def _error_in(document: Any) -> DelegateError | None:
    """Return the Error object that `document` is, None if it isn't usable as one (libcni wants an unsigned code)."""
    if not isinstance(document, dict):
        return None
    code, msg, details = document.get("code"), document.get("msg", ""), document.get("details", "")
    if type(code) is not int or not 0 <= code < 1 << 32 or not isinstance(msg, str) or not isinstance(details, str):
        return None
    if not msg and not details:
        return None
    # A plugin that sets no code prints 0, which a caller would read as no error.
    own = (msg or details, details if msg else "")
    return DelegateError(code or DELEGATE_FAILED, *own, said=" ".join(own))


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
