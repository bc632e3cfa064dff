"""The system calls that the plugin path needs, and the few of `os.path`.

To import `os` costs a tenth of a call, most of it for the abstract collection classes that nothing here uses. `posix`
is the module that `os` itself takes its functions from on every Unix; it is built into the interpreter.
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
    """Close descriptors without reporting an error; those below 0 aren't open.

    An error of close(2) is about earlier writes; the descriptor itself is closed all the same (close(2), "Dealing with
    error returns from close()").
    """
    for descriptor in descriptors:
        if descriptor >= 0:
            try:
                posix.close(descriptor)
            except OSError:
                continue


def exists(path: str) -> bool:
    """Return whether a file exists."""
    return _mode(path) != 0


def isfile(path: str) -> bool:
    """Return whether a path is a regular file, or a link to one."""
    return _mode(path) & 0o170000 == 0o100000


def isdir(path: str) -> bool:
    """Return whether a path is a directory, or a link to one."""
    return _mode(path) & 0o170000 == 0o040000


def dirname(path: str) -> str:
    """Return the directory of a path, without a slash at its end unless it is the root."""
    head = path[: path.rfind("/") + 1]
    return head.rstrip("/") or head


def realpath(path: str) -> str:
    """Return the path with every link in it followed."""
    import os  # links are rare

    return os.path.realpath(path)


def is_own_namespace(netns: str) -> bool:
    """Return whether a path leads to the network namespace of this process; one that can't be opened doesn't."""
    try:
        theirs, ours = posix.stat(netns), posix.stat("/proc/self/ns/net")
    except (OSError, ValueError):
        return False
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def variables(block: bytes) -> dict[str, str]:
    """Return the variables in what /proc/self/environ holds: as the process was started, whatever Python did since.

    (It sets LC_CTYPE where it finds no locale, PEP 538; a delegate gets exactly what the caller gave.)
    """
    found: dict[str, str] = {}
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and name:
            # If a name occurs twice the first counts, as it does for getenv(3).
            found.setdefault(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
    return found


def _mode(path: str) -> int:
    try:
        return posix.stat(path).st_mode
    except (OSError, ValueError):
        return 0
