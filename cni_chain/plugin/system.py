"""What the plugin path needs of `os`, without importing it: that costs a tenth of a call, most of it for the abstract
collection classes that nothing here uses.

`posix` is the module that `os` itself takes its functions from on every Unix; it is built into the interpreter.
"""

from __future__ import annotations

import posix
import sys
from posix import *  # noqa: F403

_exit = posix._exit
devnull = "/dev/null"


def fsencode(name: str) -> bytes:
    """Return a file's name as the kernel knows it."""
    return name.encode(sys.getfilesystemencoding(), "surrogateescape")


def quiet_close(*descriptors: int) -> None:
    """Close descriptors of which nothing was written; those below 0 aren't open.

    What close(2) reports is of writes to come; the descriptor itself is closed all the same (close(2), "Dealing with
    error returns from close()").
    """
    for descriptor in descriptors:
        if descriptor >= 0:
            try:
                posix.close(descriptor)
            except OSError:
                continue


class path:  # noqa: N801  # as `os` has it
    """The few of `os.path` that are needed, for paths that are text."""

    @staticmethod
    def exists(name: str) -> bool:
        """Tell whether a file is there."""
        return _mode(name) != 0

    @staticmethod
    def isfile(name: str) -> bool:
        """Tell whether a regular file is there, or a link to one."""
        return _mode(name) & 0o170000 == 0o100000

    @staticmethod
    def isdir(name: str) -> bool:
        """Tell whether a directory is there, or a link to one."""
        return _mode(name) & 0o170000 == 0o040000

    @staticmethod
    def dirname(name: str) -> str:
        """Return the directory of a path, without a slash at its end unless it is the root."""
        head = name[: name.rfind("/") + 1]
        return head.rstrip("/") or head

    @staticmethod
    def realpath(name: str) -> str:
        """Return the path that no link is left in."""
        import os  # links are rare

        return os.path.realpath(name)


def _mode(name: str) -> int:
    try:
        return posix.stat(name).st_mode
    except (OSError, ValueError):
        return 0
