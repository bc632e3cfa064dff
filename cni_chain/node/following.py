"""Follows a file to which other programs append lines, also when a program rotates it. Reads only."""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO

from cni_chain.node import calls

_MOST = 1 << 20  # bytes that are read at once


class Follower:
    """The lines that are appended to a file from now on, or from its beginning if it doesn't exist yet.

    Anything but a regular file counts as absent. A file that was moved away is read to its end before the new one at
    the path is. One that became shorter (`copytruncate` of logrotate) is read from its beginning.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._rest = b""
        self._file = self._opened()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def lines(self) -> list[bytes]:
        """Return the whole lines that have come since the last time; none if the file doesn't exist."""
        lines = self._read()
        if not lines and self._is_moved():
            lines = self._read()  # what was written between the first reading and the move
            self.close()
            self._file = self._opened()
            lines += self._read()
        return lines

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _opened(self) -> BinaryIO | None:
        try:
            return open(calls.descriptor(self._path), "rb", buffering=0)
        except OSError:
            return None

    def _is_moved(self) -> bool:
        """Return whether the path has another file now; a file that was only removed is kept until then."""
        with contextlib.suppress(OSError):
            now = os.stat(self._path)
            return self._file is None or not os.path.samestat(now, os.fstat(self._file.fileno()))
        return False

    def _read(self) -> list[bytes]:
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._rest = b""
        *lines, self._rest = (self._rest + (self._file.read(_MOST) or b"")).split(b"\n")
        return lines
