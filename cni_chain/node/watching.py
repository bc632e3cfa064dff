"""Watches the runtime's directory and the owners' directories: each change, and who made it. Reads only."""

from __future__ import annotations

import hashlib
import os
import select
import stat
import time
from typing import NamedTuple

from cni_chain.node import directory_events
from cni_chain.node.directory_events import Event, Watch
from cni_chain.node.errors import RefusedError
from cni_chain.node.processes import Processes, Writer

_LARGEST = 1 << 20  # bytes of a file that are compared


class Change(NamedTuple):
    """An event, when it was read (seconds since the epoch), and who made it (None: the kernel didn't say)."""

    at: float
    event: Event
    writer: Writer | None


class Watching:
    """A watch of directories; `nested` are those whose own directories are watched as well, also later ones.

    `starts`: the start of every process of the node is read as well, so that a writer that has ended has a name.
    """

    def __init__(self, directories: list[str], nested: list[str], *, starts: bool = True) -> None:
        """Raises RefusedError if none of the directories can be watched."""
        self.processes = Processes(starts=starts)
        self.unwatched: list[str] = []  # messages
        self.before: set[str] = set()  # what existed when the watch of its directory began
        self._nested = set(nested)
        self._watches: dict[int, Watch] = {}
        self._poll = select.poll()
        if self.processes.fileno() >= 0:
            self._poll.register(self.processes.fileno(), select.POLLIN)
        for directory in dict.fromkeys([*directories, *nested]):
            self._watch(directory)
        if not self._watches:
            self.close()
            raise RefusedError("; ".join(self.unwatched))

    @property
    def directories(self) -> list[str]:
        """The directories that are watched."""
        return sorted(watch.directory for watch in self._watches.values())

    @property
    def unnamed(self) -> str:
        """Why writers are not known, "" if they are."""
        return next((watch.why_unnamed for watch in self._watches.values() if watch.why_unnamed), "")

    def close(self) -> None:
        """End the watch."""
        self.processes.close()
        for watch in self._watches.values():
            watch.close()

    def is_alive(self) -> bool:
        """Return whether all directories that were watched first or have come since still exist."""
        return all(watch.is_alive() for watch in self._watches.values())

    def changes(self, seconds: float) -> list[Change]:
        """Return the changes that have come, waiting for the first of them for so many seconds at most."""
        ready = self._poll.poll(max(0.0, seconds) * 1000)
        found = []
        # Starts first: they name the writers of the changes.
        self.processes.take_starts()
        for descriptor, _ in ready:
            watch = self._watches.get(descriptor)
            for event in watch.events() if watch else ():
                found.append(self._change(event))
                if event.is_directory and event.directory in self._nested:
                    found += [self._change(last) for last in self._unwatch(event.path)]
                    self._watch(event.path)
        return found

    def _change(self, event: Event) -> Change:
        return Change(time.time(), event, self._writer(event))

    def _writer(self, event: Event) -> Writer | None:
        return self.processes.writer(event.process) if event.process else None

    def _unwatch(self, directory: str) -> list[Event]:
        """End the watch of what was at a path, if there is one, and return what it has seen last."""
        for descriptor, watch in self._watches.items():
            if watch.directory == directory:
                last = list(watch.events())
                self._poll.unregister(descriptor)
                del self._watches[descriptor]
                watch.close()
                return last
        return []

    def _watch(self, directory: str) -> None:
        if directory in self.directories:
            return
        try:
            watch = Watch(directory)
        except OSError as error:
            self.unwatched.append(f"{directory} can't be watched: {error.strerror}")
            return
        self._watches[watch.fileno()] = watch
        self._poll.register(watch.fileno(), select.POLLIN)
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return
        self.before |= {f"{directory}/{name}" for name in names}
        if directory in self._nested:
            for name in names:
                if os.path.isdir(f"{directory}/{name}"):
                    self._watch(f"{directory}/{name}")


def digest(path: str) -> str:
    """Return a digest of what a file has, "" if it doesn't exist or is not a regular file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(file, "rb") as content:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return ""
        return hashlib.sha256(content.read(_LARGEST)).hexdigest()


def is_write(event: Event) -> bool:
    """Return whether an event changes what a runtime finds under the name: not a file that was only created."""
    return not event.is_directory and any(
        kind not in (directory_events.CREATED, directory_events.LOST) for kind in event.kinds
    )


def is_passing(event: Event) -> bool:
    """Return whether an event is only a step of a writer: an empty file, or a temporary one that is gone again."""
    is_new = directory_events.CREATED in event.kinds and not event.is_directory
    is_gone = directory_events.MOVED_AWAY in event.kinds or directory_events.REMOVED in event.kinds
    return is_new and (is_gone or len(event.kinds) == 1)
