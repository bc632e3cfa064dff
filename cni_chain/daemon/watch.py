"""What the agent watches, so that it looks at the node again at once: the runtime's directory, fragments, the program.

A directory that doesn't exist can't be watched: until all exist, the agent looks whether one has appeared. The kernel
watches so many directories and no more, for all programs: what it refuses is looked at each time that a wait ends.
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
    """The directories `plain`, and `nested` with their own directories.

    Who wrote last to a path that begins with `named` is remembered; of others it could be any number.
    """

    def __init__(self, plain: list[str], nested: list[str], named: str) -> None:
        self._plain, self._nested, self._named = plain, nested, named
        self._watching: Watching | None = None
        self._refusal = ""  # why no directory is watched
        self._seen: list[tuple[int, int] | None] = []
        self._last: tuple[str, Writer] | None = None
        self._begin()

    def wait(self, seconds: float) -> bool:
        """Wait until something changes, for so many seconds at most; return whether it did."""
        until = time.monotonic() + seconds
        while True:
            if self._begin():
                return True
            left = until - time.monotonic()
            if left <= 0:
                if self.unwatched:  # another program may have made room; the node is looked at now anyhow
                    self._watch()
                return False
            if self._changes(min(left, _OFTEN if None in self._seen else _LONGEST)):
                return True

    def _begin(self) -> bool:
        """Watch the directories that exist now; return whether they are others than before."""
        now = [_identity(path) for path in (*self._plain, *self._nested)]
        if now == self._seen and (self._watching is None or self._watching.is_alive()):
            return False
        self._seen = now
        self._watch()
        return True

    def _watch(self) -> None:
        if self._watching is not None:
            self._watching.close()
        self._watching, self._refusal = None, ""
        try:
            self._watching = Watching(
                [path for path in self._plain if os.path.isdir(path)],
                [path for path in self._nested if os.path.isdir(path)],
                starts=False,
            )
        except RefusedError as error:  # none exists, or none can be watched
            self._refusal = str(error)

    @property
    def unwatched(self) -> str:
        """The directories whose changes the kernel doesn't report, and why; "" if there are none."""
        return self._refusal if self._watching is None else "; ".join(self._watching.unwatched)

    def _changes(self, seconds: float) -> bool:
        if self._watching is None:
            time.sleep(seconds)
            return False
        found = False
        for change in self._watching.changes(seconds):
            if change.writer is not None and change.writer.process == os.getpid():
                continue
            found = found or not watching.is_passing(change.event)
            if not change.event.path.startswith(self._named) or change.writer is None or change.writer.is_own:
                continue
            if watching.is_write(change.event):
                self._last = change.event.path, change.writer
        return found

    def writer(self) -> str:
        """Return in words who wrote last to a path that begins as named, "" if that isn't known."""
        if self._last is None:
            return ""
        path, writer = self._last
        where = f" ({writer.where})" if writer.where else ""
        return f"{writer.text()}, process {writer.process}{where}: {path}"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
