"""Who writes where: every change in some directories, with its process, as the kernel reports it."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Self

# <linux/fanotify.h>. Without FAN_REPORT_DFID_NAME (Linux 5.9; 5.13 on a tmpfs) there are no events of names.
FAN_CLOEXEC, FAN_NONBLOCK, FAN_UNLIMITED_QUEUE, FAN_REPORT_DFID_NAME = 0x1, 0x2, 0x10, 0xC00
FAN_MARK_ADD, FAN_MARK_ONLYDIR = 0x1, 0x8
FAN_MODIFY, FAN_MOVED_FROM, FAN_MOVED_TO, FAN_CREATE, FAN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
FAN_EVENT_ON_CHILD = 0x8000000
CHANGES = FAN_MODIFY | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_CREATE | FAN_DELETE | FAN_EVENT_ON_CHILD
AT_FDCWD = -100
EVENT = struct.Struct("=IBBHQii")  # length, version, reserved, metadata length, mask, fd, pid

libc = ctypes.CDLL(None, use_errno=True)


def mark(directory: Path) -> int:
    """A group that reports every change in a directory. One for each: no event needs decoding to tell whose it is."""
    how = FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_REPORT_DFID_NAME
    group: int = libc.fanotify_init(how, os.O_RDONLY)
    mask = ctypes.c_uint64(CHANGES)
    flags = FAN_MARK_ADD | FAN_MARK_ONLYDIR
    if group < 0 or libc.fanotify_mark(group, flags, mask, AT_FDCWD, os.fsencode(directory)):
        raise OSError(ctypes.get_errno(), f"fanotify: {os.strerror(ctypes.get_errno())}", str(directory))
    return group


class Watch:
    """Directories under observation while the block runs; after it, what was seen."""

    def __init__(self, directories: Mapping[str, Path]) -> None:
        self._writers: dict[str, set[int]] = {name: set() for name in directories}
        self._groups = {mark(path): name for name, path in directories.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Only now are the events read, however many they are: on a slow machine the block takes minutes."""
        for group, directory in self._groups.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._take(directory, os.read(group, 1 << 16))
            os.close(group)

    def _take(self, directory: str, data: bytes) -> None:
        at = 0
        while at < len(data):
            length, _, _, _, _, _, pid = EVENT.unpack_from(data, at)
            self._writers[directory].add(pid)
            at += length

    def writers(self, directory: str) -> set[int]:
        """The processes that changed something there."""
        return self._writers[directory]
