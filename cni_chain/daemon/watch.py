"""What the agent watches, so that it looks at the node again at once: the runtime's directory, fragments, the program.

A directory that doesn't exist can't be watched: until all exist, the agent looks whether one has appeared.
"""

from __future__ import annotations

import os
import time

from cni_chain.node import watching
from cni_chain.node.errors import RefusedError
from cni_chain.node.processes import Writer
from cni_chain.node.watching import Watching

_OFTEN = 1.0  # seconds between two looks for a directory that doesn't exist
_LONGEST = 3600.0  # seconds of one call of the system


class Watch:
    """The directories `plain`, and `nested` with their own directories. `writers`: who wrote last, by path."""

    def __init__(self, plain: list[str], nested: list[str]) -> None:
        self._plain, self._nested = plain, nested
        self._watching: Watching | None = None
        self._seen: list[tuple[int, int] | None] = []
        self.writers: dict[str, Writer] = {}
        self._begin()

    def wait(self, seconds: float) -> bool:
        """Wait until something changes, for so many seconds at most; return whether it did."""
        until = time.monotonic() + seconds
        while True:
            if self._begin():
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            if self._changes(min(left, _OFTEN if None in self._seen else _LONGEST)):
                return True

    def _begin(self) -> bool:
        """Watch the directories that exist now; return whether they are others than before."""
        now = [_identity(path) for path in (*self._plain, *self._nested)]
        if now == self._seen and (self._watching is None or self._watching.is_alive()):
            return False
        if self._watching is not None:
            self._watching.close()
        self._watching, self._seen = None, now
        try:
            self._watching = Watching(
                [path for path in self._plain if os.path.isdir(path)],
                [path for path in self._nested if os.path.isdir(path)],
                starts=False,
            )
        except RefusedError:
            pass  # none exists
        return True

    def _changes(self, seconds: float) -> bool:
        if self._watching is None:
            time.sleep(seconds)
            return False
        found = False
        for change in self._watching.changes(seconds):
            if change.writer is not None and change.writer.process == os.getpid():
                continue
            found = found or not watching.is_passing(change.event)
            if change.writer is not None and not change.writer.is_own and watching.is_write(change.event):
                self.writers[change.event.path] = change.writer
        return found

    def writer(self, beginning: str) -> str:
        """Return in words who wrote last to a path that begins so, "" if that isn't known."""
        found = [(path, writer) for path, writer in self.writers.items() if path.startswith(beginning)]
        if not found:
            return ""
        path, writer = found[-1]
        where = f" ({writer.where})" if writer.where else ""
        return f"{writer.text()}, process {writer.process}{where}: {path}"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
