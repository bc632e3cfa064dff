"""What the kernel reports of changes in a directory: fanotify with the writer's process, else inotify without it.

fanotify needs CAP_SYS_ADMIN, Linux 5.9, and a file system that has file handles; inotify needs none of these.
Each directory has a group (an instance) of its own, so that an event needs no look-up of its directory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from cni_chain.node import system_calls

# include/uapi/linux/fanotify.h
_FAN_CLOEXEC, _FAN_NONBLOCK, _FAN_UNLIMITED_QUEUE = 0x1, 0x2, 0x10
_FAN_REPORT_PIDFD, _FAN_REPORT_DIR_FID, _FAN_REPORT_NAME = 0x80, 0x400, 0x800
_FAN_MARK_ADD, _FAN_MARK_ONLYDIR = 0x1, 0x8
_FAN_ONDIR, _FAN_EVENT_ON_CHILD = 0x40000000, 0x08000000
_FAN_INFO_DFID_NAME, _FAN_INFO_PIDFD = 2, 4
_AT_FDCWD = -100
_EVENT = struct.Struct("=IBxHQii")  # length, version, length of this header, mask, descriptor, process
_INFO = struct.Struct("=BxH")  # kind, length
_HANDLE = struct.Struct("=8xI4x")  # bytes of a file handle, which follows; then the name, ended by a zero byte
_PIDFD = struct.Struct("=i")

# include/uapi/linux/inotify.h
_IN_NONBLOCK, _IN_CLOEXEC, _IN_ONLYDIR = 0o4000, 0o2000000, 0x01000000
_IN_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name that follows

# Both interfaces have the same numbers for these.
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_Q_OVERFLOW = 0x4000
_IS_DIRECTORY = 0x40000000
_WANTED = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE

CREATED, WRITTEN, MOVED_IN, MOVED_AWAY, REMOVED, LOST = (
    "created",
    "written",
    "moved in",
    "moved away",
    "removed",
    "events lost",
)
# In the order in which a process that did several of these did them, as far as one event can say.
_KINDS = (
    (_CREATE, CREATED),
    (_CLOSE_WRITE, WRITTEN),
    (_MOVED_TO, MOVED_IN),
    (_MOVED_FROM, MOVED_AWAY),
    (_DELETE, REMOVED),
)
_MOST = 1 << 16  # bytes that are read at once


class Event(NamedTuple):
    """What a process did to a name in a directory, all of it that the kernel reports at once.

    `process` is 0 if it is not known. `ended`: the process had ended when the event was read.
    """

    directory: str
    name: str
    kinds: tuple[str, ...]
    process: int = 0
    ended: bool = False
    is_directory: bool = False

    @property
    def path(self) -> str:
        """The path of what was changed."""
        return f"{self.directory}/{self.name}" if self.name else self.directory


class Watch:
    """The events in one directory, from now on. `why_unnamed`: why writers are not known, "" if they are."""

    def __init__(self, directory: str) -> None:
        """Raises OSError if the kernel reports nothing about the directory."""
        self.directory = directory
        self.why_unnamed = ""
        try:
            self._descriptor = self._fanotify()
        except OSError as error:
            self.why_unnamed = f"fanotify: {error.strerror}"
            self._descriptor = system_calls.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
            try:
                system_calls.inotify_add_watch(self._descriptor, directory, _WANTED | _IN_ONLYDIR)
            except OSError:
                self.close()
                raise

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when events come."""
        return self._descriptor

    def close(self) -> None:
        """End the watch."""
        os.close(self._descriptor)

    def is_alive(self) -> bool:
        """Return whether the directory still exists: the kernel takes the watch of a removed one away, without a word.

        Another one at the same path may even have its inode number. See fs/notify/fdinfo.c for the lines.
        """
        with open(f"/proc/self/fdinfo/{self._descriptor}", encoding="ascii") as lines:
            return any(line.startswith(("fanotify ino:", "inotify wd:")) for line in lines)

    def events(self) -> Iterator[Event]:
        """Yield the events that have come."""
        while True:
            try:
                content = os.read(self._descriptor, _MOST)
            except BlockingIOError:
                return
            yield from self._of_inotify(content) if self.why_unnamed else self._of_fanotify(content)

    def _fanotify(self) -> int:
        flags = _FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_UNLIMITED_QUEUE | _FAN_REPORT_DIR_FID | _FAN_REPORT_NAME
        try:
            group = system_calls.fanotify_init(flags | _FAN_REPORT_PIDFD, os.O_RDONLY)
        except OSError:  # Linux before 5.15
            group = system_calls.fanotify_init(flags, os.O_RDONLY)
        mask = _WANTED | _FAN_ONDIR | _FAN_EVENT_ON_CHILD
        try:
            system_calls.fanotify_mark(group, _FAN_MARK_ADD | _FAN_MARK_ONLYDIR, mask, _AT_FDCWD, self.directory)
        except OSError:
            os.close(group)
            raise
        return group

    def _of_fanotify(self, content: bytes) -> Iterator[Event]:
        start = 0
        while start < len(content):
            length, _, header, mask, _, process = _EVENT.unpack_from(content, start)
            name, ended = "", False
            at = start + header
            while at < start + length:
                kind, size = _INFO.unpack_from(content, at)
                if kind == _FAN_INFO_DFID_NAME:
                    (handle,) = _HANDLE.unpack_from(content, at + _INFO.size)
                    name = _name(content[at + _INFO.size + _HANDLE.size + handle : at + size])
                elif kind == _FAN_INFO_PIDFD:
                    (pidfd,) = _PIDFD.unpack_from(content, at + _INFO.size)
                    ended = pidfd < 0
                    if not ended:
                        os.close(pidfd)
                at += size
            start += length
            yield self._event(name, mask, process, ended=ended)

    def _of_inotify(self, content: bytes) -> Iterator[Event]:
        start = 0
        while start < len(content):
            _, mask, _, size = _IN_EVENT.unpack_from(content, start)
            start += _IN_EVENT.size + size
            if mask & (_WANTED | _Q_OVERFLOW):
                yield self._event(_name(content[start - size : start]), mask, 0)

    def _event(self, name: str, mask: int, process: int, *, ended: bool = False) -> Event:
        is_directory = bool(mask & _IS_DIRECTORY)
        kinds = (LOST,) if mask & _Q_OVERFLOW else tuple(word for bit, word in _KINDS if mask & bit)
        return Event(self.directory, name, kinds, process, ended, is_directory)


def _name(padded: bytes) -> str:
    name = os.fsdecode(padded.partition(b"\0")[0])
    return "" if name == "." else name
