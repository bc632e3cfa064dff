"""The records of a state directory, for people: what is there, what can't be read, whose namespace is gone. Reads only.

A record is appended to and removed while it is looked at; what the plugin would make of it counts (`record.parse`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import NamedTuple

from cni_chain import record
from cni_chain.cli.facades import FacadeFile
from cni_chain.cli.tree import Tree
from cni_chain.facade import STATE_DIR, TIMEOUTS
from cni_chain.record import Attachment, Record
from cni_chain.spec import CmdArgs

# What became of an attachment's network namespace.
THERE = "there"
GONE = "gone"
UNKNOWN = "unknown"  # not to be told from here
NONE = "none"  # no namespace is recorded

_VERBS = {"adding": "ADD", "deleting": "DEL"}  # by a record's state

# Why a record of which all is well is not read; DEL and GC don't read it either.
UNSAFE = "not root's, or writable by others"

# Seconds after which no call can still be at work on an attachment.
LONGEST_CALL = 2 * sum((TIMEOUTS["ADD"], TIMEOUTS["DEL"]))

_DAMAGED, _UNFINISHED, _MARKERS = ".damaged-", ".new-", ".stranded"


class Marker(NamedTuple):
    """How many DELs of an attachment have failed, and when the last one did (see `cni_chain.stranded`)."""

    tries: int = 0
    last: float = 0.0


class Entry(NamedTuple):
    """One attachment that has a record. `written`: when that was last appended to."""

    path: str
    record: Record
    written: float = 0.0
    marker: Marker = Marker()

    @property
    def attachment(self) -> Attachment:
        """What the record is kept for."""
        return self.record.attachment

    @property
    def pod(self) -> str:
        """The pod as namespace/name, "" if the runtime named none."""
        namespace, name = CmdArgs("DEL", args=self.record.call["cniArgs"]).pod()
        return f"{namespace}/{name}" if name else ""

    @property
    def addresses(self) -> list[str]:
        """The addresses that were given to the container, as recorded."""
        return [ip["address"] for ip in (self.record.result or {}).get("ips") or []]

    @property
    def age(self) -> float:
        """Seconds since its ADD began."""
        return max(0.0, time.time() - self.record.created)

    @property
    def is_stranded(self) -> bool:
        """Whether a DEL of it has failed, so that it waits for its retry."""
        return self.record.state == "deleting" and (self.record.error is not None or self.marker.tries > 0)

    @property
    def is_abandoned(self) -> bool:
        """Whether its ADD or DEL was broken off: no failure is known, and no call can still be at work on it."""
        return self.record.state != "added" and not self.is_stranded and time.time() - self.written > LONGEST_CALL

    @property
    def left(self) -> list[str]:
        """The delegates whose DEL is still due, as owner/type."""
        return [f"{self.record.steps[index].owner}/{self.record.steps[index].type}" for index in self.record.pending]

    @property
    def last_error(self) -> str:
        """What the last DEL failed with, "" if none is known to have."""
        error = self.record.error or {}
        return "; ".join(str(error[key]) for key in ("msg", "details") if error.get(key))


class Damaged(NamedTuple):
    """A record of which nothing is known, and why.

    `set_aside`: the plugin has already done without it. `unreadable`: it may be whole; its DEL fails until it is read.
    """

    path: str
    reason: str
    set_aside: bool
    age: float
    unreadable: bool = False

    @property
    def attachment(self) -> Attachment | None:
        """What it was kept for, as far as its name tells."""
        return attachment_in(os.path.basename(self.path).removeprefix(_DAMAGED).partition("~")[0])


class StateDir:
    """What one state directory holds. Paths are as seen from inside the tree."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self.damaged: list[Damaged] = []
        self.unfinished: list[str] = []  # temporary files of writers, which may still be at work
        self.stale_markers: list[str] = []  # of attachments that have no record
        self.failure = ""  # why there is nothing to see


def look(tree: Tree, files: list[FacadeFile], given: list[str]) -> list[StateDir]:
    """Return what is in the state directories: those `given`, else the facades' and the default one."""
    paths = given or sorted({STATE_DIR, *(file.facade.state_dir for file in files)})
    # Whose files are in an unpacked tree says nothing; on this system the plugin's own rule holds.
    lax = {file.facade.state_dir for file in files if file.facade.allow_unsafe}
    return [_look(tree, path, strict=tree.is_this_system and path not in lax) for path in paths]


def _look(tree: Tree, path: str, *, strict: bool) -> StateDir:
    """Return what is in one state directory; one that doesn't exist is empty."""
    found = StateDir(path)
    markers = _markers(tree, f"{path}/{_MARKERS}")  # before the records, which are there longer
    try:
        names = sorted(os.listdir(tree.real(path)), key=os.fsencode)
    except FileNotFoundError:
        return found
    except OSError as error:
        found.failure = f"can't be read: {error.strerror}"
        return found
    for name in names:
        if name.startswith(_UNFINISHED):
            found.unfinished.append(f"{path}/{name}")
        elif name.startswith(_DAMAGED) or ":" in name:
            _take(tree, found, name, markers.get(name, Marker()), strict=strict)
    found.stale_markers = [f"{path}/{_MARKERS}/{name}" for name in markers if name not in names]
    return found


def _markers(tree: Tree, directory: str) -> dict[str, Marker]:
    """Return the markers in a directory by the name of their record; none if it can't be read, as it mostly is not."""
    found = {}
    try:
        for entry in os.scandir(tree.real(directory)):
            status = entry.stat(follow_symlinks=False)
            found[entry.name] = Marker(status.st_size, status.st_mtime)
    except OSError:
        return found
    return found


def _take(tree: Tree, found: StateDir, name: str, marker: Marker, *, strict: bool) -> None:
    path = f"{found.path}/{name}"
    set_aside = name.startswith(_DAMAGED)
    try:
        status, content = _content(tree.real(path))
    except FileNotFoundError:  # its DEL came in between
        return
    except OSError as error:
        found.damaged.append(Damaged(path, f"can't be read: {error.strerror}", set_aside, 0.0, unreadable=True))
        return
    age = max(0.0, time.time() - status.st_mtime)
    is_file = stat.S_ISREG(status.st_mode)
    # As the plugin has it (`records`): what others could have written is no record, and nothing is run for it.
    if strict and is_file and (status.st_uid != 0 or status.st_mode & 0o022):
        found.damaged.append(Damaged(path, UNSAFE, set_aside, age, unreadable=True))
        return
    try:
        if not is_file:
            raise ValueError("not a regular file")
        entry = Entry(path, record.parse(content), status.st_mtime, marker)
        if not set_aside and entry.attachment.file != name:
            raise ValueError(f"the record of {entry.attachment.file}")
    except ValueError as error:
        found.damaged.append(Damaged(path, str(error), set_aside, age))
        return
    if set_aside:
        found.damaged.append(Damaged(path, "can be read, but was set aside", set_aside, age))
    else:
        found.entries.append(entry)


def _content(path: str) -> tuple[os.stat_result, bytes]:
    """Return what a record's file is, and its bytes if it is a regular one. Raises OSError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return os.lstat(path), b""
        raise
    try:
        status = os.fstat(file)
        pieces = []
        while stat.S_ISREG(status.st_mode) and (piece := os.read(file, 1 << 20)):
            pieces.append(piece)
    finally:
        os.close(file)
    return status, b"".join(pieces)


def attachment_in(name: str) -> Attachment | None:
    """Return the attachment that a record's file name tells, None if it is a hash."""
    parts = name.split(":")
    return Attachment(*parts) if len(parts) == 3 and all(parts) else None


def namespace(netns: str, created: float) -> tuple[str, str]:
    """Return what became of a network namespace of this system, and a sentence where that can't be told.

    Gone means that nothing is at its path. Who looks from another mount or process namespace than the runtime's sees
    nothing there either, so its directory must be there; after a reboot, which no namespace survives, it need not.
    """
    if not netns:
        return NONE, ""
    try:
        os.stat(netns)
    except FileNotFoundError:
        parent = os.path.dirname(netns)
        if created < _booted():
            return GONE, ""
        if netns.startswith("/proc/"):
            return (GONE, "") if _sees_every_process() else (UNKNOWN, f"not every process is seen here: {netns}")
        if os.path.isdir(parent):
            return GONE, ""
        return UNKNOWN, f"there is no {parent} here: is this the runtime's mount namespace?"
    except (OSError, ValueError) as error:
        return UNKNOWN, f"{netns} can't be looked at: {error}"
    return THERE, ""


def _sees_every_process() -> bool:
    """Tell whether this is the first process namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO)."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == 0xEFFFFFFC
    except OSError:
        return False


def _booted() -> float:
    """Return when this system was started (seconds since the epoch), 0 if that can't be told."""
    try:
        with open("/proc/stat", encoding="ascii") as statistics:
            return next(float(line.split()[1]) for line in statistics if line.startswith("btime "))
    except (OSError, ValueError, StopIteration):
        return 0.0


def state(entry: Entry) -> str:
    """Return an attachment's state in a few words."""
    held = entry.record
    left = [held.steps[index].type for index in held.pending]
    if held.state == "deleting":
        return f"deleting, left: {', '.join(left)}" if left else "deleted"
    return held.state


def failure(entry: Entry) -> str:
    """Return what became of the DELs of a stranded or abandoned attachment."""
    tries = entry.marker.tries
    told = "its DEL failed" if entry.is_stranded else f"its {_VERBS.get(entry.record.state, 'DEL')} was broken off"
    if tries:
        often = {1: "once", 2: "twice"}.get(tries, f"{tries} times")
        told += f" {often}, {'' if tries == 1 else 'the last time '}{words(time.time() - entry.marker.last)} ago"
    return f"{told}: {entry.last_error}" if entry.last_error else told


def words(seconds: float) -> str:
    """Return a time span in its largest unit, as kubectl writes an age."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length or (unit == "d" and seconds >= length):
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
