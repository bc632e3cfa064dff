"""Why a command ends without having done what was asked. `cni_chain.cli.app` prints it and gives the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cni_chain.node.locate import Position


class RefusedError(Exception):
    """What is not done and why, in a line that begins with the file if there is one: exit status 1.

    `hint` is what a person can do about it, and `details` is text that belongs to it, in lines of its own.
    """

    def __init__(self, message: str, hint: str = "", *, details: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.details = details


class UsageError(RefusedError):
    """What was typed has no meaning. A class of its own because the exit status is 2."""


class UnreadableError(RefusedError):
    """What can't be read, and where in it if that is known.

    A class of its own because most commands report such a file and go on with the next; they know its name.
    """

    def __init__(self, message: str, at: Position | None = None) -> None:
        super().__init__(message)
        self.at = at
