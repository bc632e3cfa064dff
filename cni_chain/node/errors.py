"""Why a command refuses to do what was asked. `cni_chain.cli.app` prints the error and returns the exit status."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cni_chain.node.locate import Position


class RefusedError(Exception):
    """What the command doesn't do and why, in one line that begins with the file if the error has one.

    `hint` is what the operator can do about it; `details` is more text, in separate lines.
    """

    status = 1  # of the program

    def __init__(self, message: str, hint: str = "", *, details: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.details = details


class UsageError(RefusedError):
    """The command line is wrong."""

    status = 2


class UnknownError(RefusedError):
    """The command can't tell what it was asked."""

    status = 3


class UnreadableError(RefusedError):
    """A text can't be read; `at` is the place in it, if known. `of_content`: the file can be read, its text is wrong.

    A separate class because most commands report such a file and continue with the next; they know its name.
    """

    def __init__(self, message: str, at: Position | None = None, *, of_content: bool = True) -> None:
        super().__init__(message)
        self.at = at
        self.of_content = of_content


def as_root(error: OSError) -> str:
    """Return what to do about a file that only root can read, "" if that isn't why it can't be read."""
    return "run this command as root (sudo)" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""


def unreadable(path: str, error: OSError) -> RefusedError:
    """Return the error of a file that can't be read, with what to do about it."""
    return RefusedError(f"{path}: can't be read: {error.strerror}", as_root(error))
