"""Names a process: its command, and the pod or unit that it belongs to, as its cgroup says. Reads only.

Nothing is asked of Kubernetes: the kubelet's directory of pods' logs has the name of each pod by its UID.
"""

from __future__ import annotations

import collections
import os
import re
import socket
import struct
from typing import NamedTuple, TypeVar

_PROC = "/proc"
_POD_LOGS = "/var/log/pods"
_MOST = 4096  # processes that are remembered
_OWN = "cni-chain"

_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=[./]|$)")
_CONTAINER = re.compile(r"(?:^|[/-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
_UNIT = re.compile(r"([^/]+\.(?:service|scope|socket|mount))(?=/|$)")

# include/uapi/linux/cn_proc.h, connector.h, netlink.h
_NETLINK_CONNECTOR = 11
_CN_IDX_PROC, _CN_VAL_PROC = 1, 1
_PROC_CN_MCAST_LISTEN = 1
_NLMSG_DONE = 3
_SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h; `socket` doesn't have it
_QUEUE = 4 << 20  # bytes that the kernel may keep until they are read
_LISTEN = struct.Struct("=IHHII IIIIHH I")
_HEAD = struct.Struct("=16x 20x I4x8x")  # what happened; then the processes
_FORK, _EXEC = 0x1, 0x2

_Kept = TypeVar("_Kept")


class Place(NamedTuple):
    """What a cgroup says of a process: its pod's UID and container, or its unit; all "" if it says nothing."""

    pod_uid: str = ""
    container: str = ""
    unit: str = ""


class Writer(NamedTuple):
    """A process, for people: `command` is "" if it had ended before it could be read."""

    process: int
    command: str = ""
    place: Place = Place()
    pod: str = ""  # namespace/name, "" if it is not known
    parent: str = ""  # the command of the process that started it, if its own is not known

    @property
    def is_own(self) -> bool:
        """Whether it is cni-chain itself."""
        return self.command == _OWN

    @property
    def identity(self) -> tuple[str, ...]:
        """What is the same for a writer that is restarted; nothing if the process is not known at all."""
        name = self.command or (f"child of {self.parent}" if self.parent else "")
        return (name, self.pod or self.place.pod_uid, self.place.unit) if name else ()

    @property
    def where(self) -> str:
        """The pod or unit in words, "" if the cgroup says nothing."""
        if self.pod or self.place.pod_uid:
            return f"pod {self.pod or self.place.pod_uid}"
        return self.place.unit

    def text(self) -> str:
        """Return its name, without its number."""
        if self.command:
            return self.command
        return f"an ended child of {self.parent}" if self.parent else "a process that has ended"


class Processes:
    """Names processes, also those that have ended since, if the kernel reported their start (proc connector).

    The kernel reports starts to root in its first namespaces only; elsewhere a process must still exist when asked.
    """

    def __init__(self, proc: str = _PROC, pod_logs: str = _POD_LOGS, *, starts: bool = True) -> None:
        self._proc, self._pod_logs = proc, pod_logs
        self._known: collections.OrderedDict[int, Writer] = collections.OrderedDict()
        self._parents: collections.OrderedDict[int, int] = collections.OrderedDict()
        self._starts = _listen() if starts else None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when processes start, -1 if the kernel doesn't report it."""
        return -1 if self._starts is None else self._starts.fileno()

    def close(self) -> None:
        """End the report of starts."""
        if self._starts is not None:
            self._starts.close()

    def take_starts(self) -> None:
        """Read the processes that have started, while they exist."""
        while self._starts is not None:
            try:
                message = self._starts.recv(4096)
            except BlockingIOError:
                return
            except OSError:  # more have started than the kernel keeps
                continue
            if len(message) < _HEAD.size + 16:
                continue
            (what,) = _HEAD.unpack_from(message)
            first, group, child, child_group = struct.unpack_from("=4I", message, _HEAD.size)
            if what == _FORK and child == child_group:
                _put(self._parents, child, group)
                self._known.pop(child, None)  # the number is used again
            elif what == _EXEC and first == group:
                self._read(group)

    def writer(self, process: int) -> Writer:
        """Return who a process is, or was."""
        read = self._read(process)
        if read is not None:
            return read
        if process in self._known:
            return self._known[process]
        parent = self._parents.get(process)
        above = None if parent is None else self._read(parent) or self._known.get(parent)
        if above is None:
            return Writer(process)
        return Writer(process, "", above.place, above.pod, above.command)

    def _read(self, process: int) -> Writer | None:
        """Return a process that exists, and remember it."""
        try:
            command = self._content(process, "comm").rstrip("\n")
            place = place_of(self._content(process, "cgroup"))
            started_as = os.path.basename(self._content(process, "cmdline").partition("\0")[0])
        except OSError:
            return None
        # The kernel cuts a command to 15 characters.
        full = started_as if started_as.startswith(command) else command
        known = Writer(process, full, place, self._pod(place.pod_uid))
        _put(self._known, process, known)
        return known

    def _content(self, process: int, name: str) -> str:
        with open(f"{self._proc}/{process}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()

    def _pod(self, uid: str) -> str:
        """Return a pod's namespace/name, "" if the kubelet has no logs of it."""
        try:
            names = os.listdir(self._pod_logs) if uid else []
        except OSError:
            return ""
        for name in names:
            namespace, _, rest = name.partition("_")
            if rest.endswith(f"_{uid}"):
                return f"{namespace}/{rest.removesuffix(f'_{uid}')}"
        return ""


def place_of(cgroups: str) -> Place:
    """Return what the content of /proc/PID/cgroup says: the deepest of its paths with a pod, a container or a unit.

    It knows the layouts of the kubelet's two drivers, and of containerd and CRI-O: `…/pod<UID>/<container>`, and
    `…-pod<UID>.slice/cri-containerd-<container>.scope`.
    """
    paths = [line.split(":", 2)[2] for line in cgroups.splitlines() if line.count(":") >= 2]
    for path in sorted(paths, key=len, reverse=True):
        pod, container = _POD.search(path), _CONTAINER.search(path)
        if pod or container:
            return Place(_uid(pod[1]) if pod else "", container[1] if container else "")
    units = [found for path in sorted(paths, key=len, reverse=True) for found in _UNIT.findall(path)[-1:]]
    return Place(unit=units[0] if units else "")


def _uid(written: str) -> str:
    return written.replace("_", "-")


def _put(kept: collections.OrderedDict[int, _Kept], key: int, value: _Kept) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST:
        kept.popitem(last=False)


def _listen() -> socket.socket | None:
    """Return a socket on which the kernel reports starts, None if it refuses."""
    try:
        made = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR
        )
    except OSError:
        return None
    try:
        # The usual queue is soon full on a busy node, where a watch may have to wait for its turn.
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE)
    except OSError:
        pass
    try:
        made.bind((0, _CN_IDX_PROC))
        made.send(
            _LISTEN.pack(
                _LISTEN.size, _NLMSG_DONE, 0, 0, 0, _CN_IDX_PROC, _CN_VAL_PROC, 0, 0, 4, 0, _PROC_CN_MCAST_LISTEN
            )
        )
    except OSError:
        made.close()
        return None
    return made
