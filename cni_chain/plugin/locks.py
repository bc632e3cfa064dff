"""One lock for each attachment; the kernel releases it when its holder ends.

A lock is on one byte of an empty file, at a place that is the name's hash, so no file per attachment can be left
behind.
"""

from __future__ import annotations

import errno
import fcntl
import sys

from cni_chain.plugin import system


class Locks:
    """The locks of one state directory. `take` may raise OSError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1

    def take(self, name: str) -> bool:
        """Take the lock of that name for this process, until `give_back` or its end; False if another has it."""
        if self._file < 0:
            self._file = system.open(self._path, system.O_RDWR | system.O_CREAT | system.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(name))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            error.filename = self._path
            raise
        return True

    def give_back(self, name: str) -> None:
        """Give a lock back."""
        if self._file < 0:
            return
        try:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(name))
        except OSError:  # then the kernel releases it at our end
            return

    def holder(self, name: str) -> int:
        """Return the process that has a lock, 0 if none has it or the kernel doesn't report it."""
        # struct flock (include/uapi/asm-generic/fcntl.h): type and whence, then start, length and process, aligned.
        words = ((fcntl.F_WRLCK, 2), (0, 2), (0, 4), (_place(name), 8), (1, 8), (0, 4), (0, 4))
        asked = b"".join(value.to_bytes(size, sys.byteorder) for value, size in words)
        try:
            held = fcntl.fcntl(self._file, fcntl.F_GETLK, asked)
        except (OSError, ValueError):
            return 0
        return int.from_bytes(held[24:28], sys.byteorder)


def _place(name: str) -> int:
    """Return a place in a file for `name`: 62 bits of FNV-1a, which needs no import."""
    value = 0xCBF29CE484222325
    for byte in name.encode("utf-8", "surrogateescape"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value >> 2
