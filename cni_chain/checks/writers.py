"""Rules about who can write where: which directories the agents' processes have for their configuration.

An agent in a pod sees the node's directories only as its pod mounts them, and /proc shows that without the Kubernetes
API. The age of a fragment shows less: Cilium's agent doesn't write a file again whose content is already right.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from cni_chain.agents.registry import BY_TYPE
from cni_chain.checks.node import Node
from cni_chain.checks.rule import WARNING, Finding, Kind, Needs, of_node

_PROC = "/proc"

# The process that writes an agent's configuration as long as it runs, by the plugin's type.
_WRITERS = {type_: agent.writer for type_, agent in BY_TYPE.items() if agent.writer is not None}


NOT_MOVED = Kind(
    "agent-not-moved",
    WARNING,
    "an agent runs here, and its pod mounts the runtime's directory but not its owner's",
    "Its fragment is a copy: what the agent's next version or changed settings write reaches no pod. In the runtime's "
    "directory, the agent may also rename or edit the facade.",
    "Set its owner's directory in its settings (conf/helm has the values) and restart it on this node.",
)


class Writer(NamedTuple):
    """A process, and those of the directories asked for that its pod mounts writable."""

    process: int
    name: str
    mounted: frozenset[str]


@of_node(NOT_MOVED, needs=Needs.NODE)
def check(node: Node) -> Iterator[Finding]:
    """Yield the agents that run here and have not been moved to the directory of their owner."""
    if not node.tree.is_this_system:
        return
    net_dir = node.directory.path
    for survey in node.surveys:
        for part in survey.parts:
            own = part.directory.path
            for type_ in sorted({link.type for link in part.delegates} & set(_WRITERS)):
                known = _WRITERS[type_]
                for writer in writers(known.process, (net_dir, own)):
                    yield from _misplaced(writer, net_dir, own, f"{known.setting} {own}")


def _misplaced(writer: Writer, net_dir: str, own: str, setting: str) -> Iterator[Finding]:
    if own in writer.mounted or not writer.mounted:
        return
    yield NOT_MOVED.at(
        own,
        f"{writer.name} (process {writer.process}) writes to {net_dir}, and no agent updates {own}",
        do="Set its owner's directory in its settings "
        f"(Helm: {setting}; conf/helm has the values) and restart it on this node.",
    )


def writers(name: str, directories: tuple[str, ...]) -> Iterator[Writer]:
    """Yield the processes called `name` that have file systems of their own, and what of `directories` they mount."""
    wanted = {identity: path for path in directories if (identity := _identity(path)) is not None}
    for process in map(int, filter(str.isdigit, os.listdir(_PROC))):
        try:
            with open(f"{_PROC}/{process}/comm", encoding="utf-8", errors="replace") as comm:
                if comm.read().rstrip("\n") != name:
                    continue
            if os.stat(f"{_PROC}/{process}/ns/mnt").st_ino == os.stat(f"{_PROC}/self/ns/mnt").st_ino:
                continue  # it sees the whole node, which shows nothing
            identities = {_identity(f"{_PROC}/{process}/root{point}") for point in _mounted(process)}
        except OSError:  # it has ended, or we may not look at it
            continue
        yield Writer(process, name, frozenset(path for identity, path in wanted.items() if identity in identities))


def _mounted(process: int) -> Iterator[str]:
    """Yield the writable mount points of a process (proc_pid_mountinfo(5))."""
    with open(f"{_PROC}/{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            fields = line.split()
            if "rw" in fields[5].split(","):
                yield _unescaped(fields[4])


def _unescaped(point: str) -> str:
    for code in ("040", "011", "012", "134"):
        point = point.replace(f"\\{code}", chr(int(code, 8)))
    return point


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
