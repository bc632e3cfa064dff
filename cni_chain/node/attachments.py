"""The records of a state directory, for people: attachments, unreadable records, namespaces that are gone. Reads only.

Calls append to records and remove them meanwhile; a record is valid if the plugin could use it (`record.parse`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Any, NamedTuple

from cni_chain.node.errors import as_root, unreadable
from cni_chain.node.facades import FacadeFile
from cni_chain.node.tree import Tree
from cni_chain.plugin import record
from cni_chain.plugin.facade import STATE_DIR, TIMEOUTS
from cni_chain.plugin.record import Attachment, Record
from cni_chain.plugin.spec import CmdArgs

# What became of an attachment's network namespace.
THERE = "there"
GONE = "gone"
UNKNOWN = "unknown"  # this process can't see it
NONE = "none"  # no namespace is recorded

_VERBS = {"adding": "ADD", "deleting": "DEL"}  # by a record's state

# Why a whole record is not read; DEL and GC don't read it either.
UNSAFE = "not owned by root, or writable by users other than root"

# Seconds after which no call can still work on an attachment.
LONGEST_CALL = 2 * sum((TIMEOUTS["ADD"], TIMEOUTS["DEL"]))

_DAMAGED, _UNFINISHED, _MARKERS = ".damaged-", ".new-", ".stranded"


class Marker(NamedTuple):
    """How many DELs of an attachment have failed, and when the last one did (see `cni_chain.plugin.stranded`)."""

    tries: int = 0
    last: float = 0.0


class Entry(NamedTuple):
    """One attachment that has a record. `written`: when a call last appended to the record."""

    path: str
    record: Record
    written: float = 0.0
    marker: Marker = Marker()

    @property
    def attachment(self) -> Attachment:
        """The attachment that the record is about."""
        return self.record.attachment

    @property
    def pod(self) -> str:
        """The pod as namespace/name, "" if the runtime named none."""
        namespace, name = CmdArgs("DEL", args=self.record.context["cniArgs"]).pod()
        return f"{namespace}/{name}" if name else ""

    @property
    def addresses(self) -> list[str]:
        """The container's addresses, as recorded."""
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
        """Whether its ADD or DEL was interrupted: no failure is known, and no call can still work on it."""
        return self.record.state != "added" and not self.is_stranded and time.time() - self.written > LONGEST_CALL

    @property
    def left(self) -> list[str]:
        """The delegates whose DEL is still due, as owner/type."""
        return [
            f"{self.record.delegates[index].owner}/{self.record.delegates[index].type}" for index in self.record.pending
        ]

    @property
    def last_error(self) -> str:
        """The error of the last DEL, "" if none is known."""
        error = self.record.error or {}
        return "; ".join(str(error[key]) for key in ("msg", "details") if error.get(key))


class Damaged(NamedTuple):
    """A record that can't be used, and why.

    `set_aside`: a DEL has already run without it. `unreadable`: it may be whole; its DEL fails until it can be read.
    """

    path: str
    reason: str
    set_aside: bool
    age: float
    unreadable: bool = False

    @property
    def unsafe(self) -> bool:
        """Whether users other than root could have written it."""
        return self.reason == UNSAFE

    def document(self) -> dict[str, Any]:
        """Return the same as members of a JSON object."""
        return {"file": self.path, "reason": self.reason, "setAside": self.set_aside}

    @property
    def attachment(self) -> Attachment | None:
        """The attachment that the record was about, if its file name says so."""
        return attachment_in(os.path.basename(self.path).removeprefix(_DAMAGED).partition("~")[0])


class StateDir:
    """The content of one state directory. Paths are as seen from inside the tree."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self.damaged: list[Damaged] = []
        self.unfinished: list[str] = []  # temporary files of calls, which may still run
        self.stale_markers: list[str] = []  # of attachments that have no record
        self.failure = ""  # why the directory can't be read


def look(tree: Tree, files: list[FacadeFile], given: list[str]) -> list[StateDir]:
    """Return the content of the state directories: those `given`, else the facades' and the default one."""
    paths = given or sorted({STATE_DIR, *(file.facade.state_dir for file in files)})
    # The owner of a file in an unpacked tree means nothing; on this system the plugin's own rule applies.
    lax = {file.facade.state_dir for file in files if file.facade.allow_unsafe}
    return [_look(tree, path, strict=tree.is_this_system and path not in lax) for path in paths]


def _look(tree: Tree, path: str, *, strict: bool) -> StateDir:
    """Return the content of one state directory; one that doesn't exist is empty.

    Raises RefusedError if only root can read it: "no pod is recorded" would be false.
    """
    found = StateDir(path)
    markers = _markers(tree, f"{path}/{_MARKERS}")  # before the records, which exist longer
    try:
        names = sorted(os.listdir(tree.real(path)), key=os.fsencode)
    except FileNotFoundError:
        return found
    except OSError as error:
        if as_root(error):
            raise unreadable(path, error) from None
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
    """Return the markers in a directory by the name of their record; none if it can't be read or doesn't exist."""
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
    except FileNotFoundError:  # a DEL has removed it
        return
    except OSError as error:
        found.damaged.append(Damaged(path, f"can't be read: {error.strerror}", set_aside, 0.0, unreadable=True))
        return
    age = max(0.0, time.time() - status.st_mtime)
    is_file = stat.S_ISREG(status.st_mode)
    # The plugin's rule (`records`): a file that other users could have written is not a record; no call runs it.
    if strict and is_file and (status.st_uid != 0 or status.st_mode & 0o022):
        found.damaged.append(Damaged(path, UNSAFE, set_aside, age, unreadable=True))
        return
    try:
        if not is_file:
            raise ValueError("not a regular file")
        entry = Entry(path, record.parse(content), status.st_mtime, marker)
        if not set_aside and entry.attachment.file != name:
            raise ValueError(f"has the record of {entry.attachment.file}")
    except ValueError as error:
        found.damaged.append(Damaged(path, str(error), set_aside, age))
        return
    if set_aside:
        found.damaged.append(Damaged(path, "can be read, but was set aside", set_aside, age))
    else:
        found.entries.append(entry)


def _content(path: str) -> tuple[os.stat_result, bytes]:
    """Return the status of a record's file, and its bytes if it is a regular file. Raises OSError."""
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
    """Return the attachment that a record's file name names, None if the name is a hash."""
    parts = name.split(":")
    return Attachment(*parts) if len(parts) == 3 and all(parts) else None


def namespace(netns: str, created: float) -> tuple[str, str]:
    """Return what became of a network namespace of this system, and a sentence if that isn't known.

    Gone means that nothing exists at its path. A process in another mount or process namespace than the runtime's sees
    nothing there either, so the path's directory must exist; not after a reboot, which no namespace survives.
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
            return (
                (GONE, "") if _sees_every_process() else (UNKNOWN, f"cni-chain can't see every process here: {netns}")
            )
        if os.path.isdir(parent):
            return GONE, ""
        return UNKNOWN, f"{parent} doesn't exist here: is this the runtime's mount namespace?"
    except (OSError, ValueError) as error:
        return UNKNOWN, f"{netns} can't be read: {error}"
    return THERE, ""


def _sees_every_process() -> bool:
    """Return whether this process is in the first process namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO)."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == 0xEFFFFFFC
    except OSError:
        return False


def _booted() -> float:
    """Return when this system was started (seconds since the epoch), 0 if that isn't known."""
    try:
        with open("/proc/stat", encoding="ascii") as statistics:
            return next(float(line.split()[1]) for line in statistics if line.startswith("btime "))
    except (OSError, ValueError, StopIteration):
        return 0.0


def state(entry: Entry) -> str:
    """Return an attachment's state in a few words."""
    held = entry.record
    left = [held.delegates[index].type for index in held.pending]
    if held.state == "deleting":
        return f"deleting, left: {', '.join(left)}" if left else "deleted"
    return held.state


def failure(entry: Entry) -> str:
    """Return what became of the DELs of a stranded or abandoned attachment."""
    tries = entry.marker.tries
    text = "its DEL failed" if entry.is_stranded else f"its {_VERBS.get(entry.record.state, 'DEL')} was interrupted"
    if tries:
        often = {1: "once", 2: "twice"}.get(tries, f"{tries} times")
        text += f" {often}, {'' if tries == 1 else 'the last time '}{words(time.time() - entry.marker.last)} ago"
    return f"{text}: {entry.last_error}" if entry.last_error else text


def words(seconds: float) -> str:
    """Return a time span in its largest unit, as kubectl writes an age."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length or (unit == "d" and seconds >= length):
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def named(attachment: Attachment, pod: str) -> dict[str, Any]:
    """Return an attachment's identity as members of a JSON object."""
    return {
        "network": attachment.network,
        "containerID": attachment.container_id,
        "ifname": attachment.ifname,
        "pod": pod,
    }


def name(attachment: Attachment, pod: str) -> str:
    """Return an attachment's name as commands print it."""
    return f"{pod or 'a container'} {attachment.ifname} ({attachment.container_id[:13]})"
