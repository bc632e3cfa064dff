"""The processes that this one can see: who holds a socket, and who runs in a network namespace. Read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple


class Holder(NamedTuple):
    """A process that holds a socket. `namespace` is the inode of the network namespace that it is in itself."""

    pid: int
    name: str
    namespace: int


class Processes:
    """What /proc tells. It is read once, and again when somebody asks for a socket that was not there then."""

    def __init__(self) -> None:
        self._read()

    def holder(self, inode: int) -> Holder | None:
        """Return the process that holds a socket, None if no process that can be seen does."""
        if inode not in self._holders:
            self._read()
        return self._holders.get(inode)

    def member(self, namespace: int) -> int:
        """Return a process of a network namespace, 0 if none can be seen in it."""
        return self._members.get(namespace, 0)

    def _read(self) -> None:
        self._holders: dict[int, Holder] = {}
        self._members: dict[int, int] = {}
        for number in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
                    found = Holder(int(number), file.read().strip(), os.stat(f"/proc/{number}/ns/net").st_ino)
                self._members.setdefault(found.namespace, found.pid)
                for inode in _sockets(number):
                    self._holders.setdefault(inode, found)
            except OSError:  # it has ended
                continue


def credentials(pid: int, owner: int) -> tuple[int, int] | None:
    """Return a process's user and group by the numbers of the user namespace `owner`, None if they aren't known there.

    Rules name users by the numbers of the user namespace that owns their network namespace. Raises OSError.
    """
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        status = {name: values.split() for name, _, values in (line.partition(":") for line in file)}
    user, group = (int(status[name][3]) for name in ("Uid", "Gid"))  # real, effective, saved, file system's
    if owner == os.stat("/proc/self/ns/user").st_ino:
        return user, group
    if owner != os.stat(f"/proc/{pid}/ns/user").st_ino:
        return None
    found = []
    for mapping, outside in (("uid_map", user), ("gid_map", group)):
        with open(f"/proc/{pid}/{mapping}", encoding="ascii") as file:
            found.append(within(file.read(), outside))
    return found[0], found[1]


def within(mapping: str, outside: int) -> int:
    """Return the number in a user namespace of a user or group outside of it, by its map; itself if it has none."""
    for line in mapping.splitlines():
        first, first_outside, length = map(int, line.split())
        if first_outside <= outside < first_outside + length:
            return first + outside - first_outside
    return outside


def _sockets(number: str) -> Iterator[int]:
    with os.scandir(f"/proc/{number}/fd") as descriptors:
        for descriptor in descriptors:
            try:
                target = os.readlink(descriptor.path)
            except OSError:  # it has been closed
                continue
            if target.startswith("socket:["):
                yield int(target[8:-1])
