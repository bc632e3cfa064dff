"""The one error that leaves this program, and the codes of the CNI specification that it uses.

Codes: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#error; 8 is libcni's own
(`pkg/types/types.go`, ErrInvalidNetNS), 50 and 51 are STATUS's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

INCOMPATIBLE_VERSION = 1
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_CONFIG = 7
INVALID_NETNS = 8
TRY_AGAIN = 11
NOT_AVAILABLE = 50
NOT_AVAILABLE_LIMITED = 51
DELEGATE_FAILED = 100
DELEGATE_TIMED_OUT = 101
INTERNAL = 999


class CNIError(Exception):
    """A failure as the specification prints it: `code`, a `msg` of one line, and `details` (may be empty)."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details

    def document(self, version: str) -> dict[str, object]:
        """Return the Error object for a caller that speaks `version`; `details` is left out where empty."""
        msg = " ".join(self.msg.split("\n"))  # a file or a delegate may have a line break in its name or words
        error: dict[str, object] = {"cniVersion": version, "code": self.code, "msg": msg}
        if self.details:
            error["details"] = self.details
        return error


def joined(errors: list[CNIError]) -> CNIError:
    """Return the first of `errors` (at least one) with all others in its `details`."""
    first, *others = errors
    details = [first.details] if first.details else []
    details += [f"{other.msg}: {other.details}" if other.details else other.msg for other in others]
    return CNIError(first.code, first.msg, "; ".join(details))


def invalid_facade(network: str, problems: Iterable[object]) -> CNIError:
    """Return the error for what is wrong with a network's facade, for people who don't know cni-chain's words."""
    wrong = "; ".join(map(str, problems))
    own = f"cni-chain's own configuration of network {network}"
    return CNIError(INVALID_CONFIG, f"{own} is invalid: {wrong} (on the node: cni-chain verify)")


def io_error(error: OSError, path: str) -> CNIError:
    """Return an OSError as the specification's I/O failure, with the file's name."""
    return CNIError(IO_FAILURE, f"{error.filename or path}: {error.strerror or error}")
