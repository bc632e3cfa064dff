"""Why a command refuses to do what was asked. `cni_chain.cli.app` prints the error and returns the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cni_chain.node.locate import Position


class RefusedError(Exception):
    """What the command doesn't do and why, in one line that begins with the file if the error has one: exit status 1.

    `hint` is what the operator can do about it; `details` is more text, in separate lines.
    """

    def __init__(self, message: str, hint: str = "", *, details: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.details = details


class UsageError(RefusedError):
    """The command line is wrong. A separate class because the exit status is 2."""


class UnreadableError(RefusedError):
    """A text can't be read; `at` is the place in it, if known.

    A separate class because most commands report such a file and continue with the next; they know its name.
    """

    def __init__(self, message: str, at: Position | None = None) -> None:
        super().__init__(message)
        self.at = at
