"""Sees every change in some directories when it happens, by whom it was, and what became of the whole by it.

The kernel reports (fanotify) and wakes a thread for each report: nothing is sampled. What became of it is looked at in
the same moment. A file that has been replaced by then was there for less than the thread needed to wake up.
"""

import os
import select
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from tests.lab.demo.watch import EVENT, FAN_CREATE, FAN_DELETE, FAN_MODIFY, FAN_MOVED_FROM, FAN_MOVED_TO, mark

# <linux/fanotify.h>: what follows an event: a header, the file system's id, a file handle, and after it the name.
FAN_Q_OVERFLOW = 0x4000
DFID_NAME = 2
INFO = struct.Struct("=BxH8xIi")  # type, length; of the handle: bytes, type
VERBS = {
    FAN_MOVED_TO: "renamed to",
    FAN_MOVED_FROM: "renamed away",
    FAN_MODIFY: "modified",
    FAN_CREATE: "created",
    FAN_DELETE: "deleted",
}


class Change(NamedTuple):
    """What a process did to a name in a directory, at a moment of the monotonic clock."""

    at: float
    directory: str
    process: int
    name: str
    verbs: frozenset[str]


class Look(NamedTuple):
    """What the whole was from a moment on."""

    at: float
    state: str


class Observer:
    """Observes while the block runs. `changes` and `looks` grow meanwhile and may be read at any time."""

    def __init__(self, directories: Mapping[str, Path], look: Callable[[], str]) -> None:
        """`look` tells what the whole is now. It is called in another thread, first when the block begins."""
        self.changes: list[Change] = []
        self.looks: list[Look] = []
        self.error: BaseException | None = None
        self._look = look
        self._groups = {mark(path): name for name, path in directories.items()}
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._observe, name="observer")

    def __enter__(self) -> Self:
        self.looks.append(Look(time.monotonic(), self._look()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._ended)
        for group in self._groups:
            os.close(group)
        if self.error:
            raise self.error

    def _observe(self) -> None:
        try:
            # Before all that isn't real-time, so that it is awake at once on a busy machine too.
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            pass  # a container may not; then a busy machine delays the looks
        try:
            self._wait_and_see()
        except BaseException as error:  # noqa: BLE001  # raised again where the block ends
            self.error = error

    def _wait_and_see(self) -> None:
        poll = select.poll()
        for one in (*self._groups, self._ended):
            poll.register(one, select.POLLIN)
        while True:
            ready = [one for one, _ in poll.poll()]
            now = time.monotonic()
            for group in ready:
                if group in self._groups:
                    self._take(now, self._groups[group], os.read(group, 1 << 16))
            state = self._look()
            if state != self.looks[-1].state:
                self.looks.append(Look(now, state))
            if self._ended in ready:
                return

    def _take(self, now: float, directory: str, data: bytes) -> None:
        at = 0
        while at < len(data):
            length, _, _, header, mask, _, process = EVENT.unpack_from(data, at)
            if mask & FAN_Q_OVERFLOW:
                raise RuntimeError(f"the kernel had more changes of {directory} to report than it could keep")
            verbs = frozenset(verb for bit, verb in VERBS.items() if mask & bit)
            name = name_in(data[at + header : at + length])
            self.changes.append(Change(now, directory, process, name, verbs))
            at += length


def name_in(records: bytes) -> str:
    """Return the name that the records behind an event hold."""
    at = 0
    while at < len(records):
        kind, length, handle_bytes, _ = INFO.unpack_from(records, at)
        if kind == DFID_NAME:
            return os.fsdecode(records[at + INFO.size + handle_bytes : at + length].split(b"\0", 1)[0])
        at += length
    return ""
