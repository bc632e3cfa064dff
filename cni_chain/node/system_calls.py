"""System calls that Python's own modules don't offer, by name (`plugin.raw` makes them)."""

from __future__ import annotations

import os
import sys

from cni_chain.plugin import raw
from cni_chain.plugin.raw import system_call as _call

# include/uapi/linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

# arch/x86/entry/syscalls/syscall_64.tbl; every later architecture has the numbers of include/uapi/asm-generic/unistd.h
_NUMBERS_X86_64 = {
    "setns": 308,
    "pidfd_getfd": 438,
    "unshare": 272,
    "getsockopt": 55,
    "fanotify_init": 300,
    "fanotify_mark": 301,
    "inotify_init1": 294,
    "inotify_add_watch": 254,
}
_NUMBERS_GENERIC = {
    "setns": 268,
    "pidfd_getfd": 438,
    "unshare": 97,
    "getsockopt": 209,
    "fanotify_init": 262,
    "fanotify_mark": 263,
    "inotify_init1": 26,
    "inotify_add_watch": 27,
}
_NUMBERS = _NUMBERS_X86_64 if raw.IS_X86_64 else _NUMBERS_GENERIC


def setns(namespace: int, kind: int) -> None:
    """Move this thread into the namespace that the descriptor is open on, of a `kind` CLONE_NEW*. Raises OSError."""
    _call(_NUMBERS["setns"], namespace, kind)


def unshare(kind: int) -> None:
    """Give this process a namespace of its own, of a `kind` CLONE_NEW*. Raises OSError."""
    _call(_NUMBERS["unshare"], kind)


def getsockopt(opened: int, level: int, name: int, value: bytearray) -> None:
    """Ask for an option of a socket, with what `value` holds as the question: the answer is written over it.

    Python's own function passes no question. Raises OSError.
    """
    _call(_NUMBERS["getsockopt"], opened, level, name, value, bytearray(len(value).to_bytes(4, sys.byteorder)))


def pidfd_getfd(process: int, descriptor: int) -> int:
    """Return a copy of another process's descriptor, by the descriptor that pidfd_open(2) gave. Raises OSError."""
    return _call(_NUMBERS["pidfd_getfd"], process, descriptor, 0)


def bpf(command: int, attributes: bytearray) -> int:
    """Make a call of bpf(2); the kernel may write into its attributes. Raises OSError."""
    return raw.bpf(command, attributes)


def fanotify_init(flags: int, event_flags: int) -> int:
    """Return the descriptor of a new group of fanotify(7). Raises OSError."""
    return _call(_NUMBERS["fanotify_init"], flags, event_flags)


def fanotify_mark(group: int, flags: int, mask: int, directory: int, path: str) -> None:
    """Add, change or remove a mark of a group, on a path that is relative to a directory. Raises OSError."""
    _call(_NUMBERS["fanotify_mark"], group, flags, mask, directory, os.fsencode(path) + b"\0")


def inotify_init1(flags: int) -> int:
    """Return the descriptor of a new instance of inotify(7). Raises OSError."""
    return _call(_NUMBERS["inotify_init1"], flags)


def inotify_add_watch(instance: int, path: str, mask: int) -> int:
    """Watch a path; return the number that its events have. Raises OSError."""
    return _call(_NUMBERS["inotify_add_watch"], instance, os.fsencode(path) + b"\0", mask)
