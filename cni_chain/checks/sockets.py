"""Rules about the agents whose plugins are in the chain: whether they run and accept connections. Sends nothing.

A connection alone proves little: the kernel makes it for a stopped process too, and lets it wait. /proc/net/unix shows
whether the process accepted it. cni-chain sends no request, because none is known that is harmless to every agent.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_chain.agents.agent import Sign
from cni_chain.agents.istio import ISTIO
from cni_chain.agents.registry import BY_TYPE
from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, Finding, Kind, Needs, of_node

_SECONDS = 3.0  # agents of a node that is short of CPU accept connections late
_INTERVAL = 0.01  # seconds between two looks at a connection that waits
_ZTUNNEL = "/var/run/ztunnel/ztunnel.sock"
_ZTUNNEL_NAME = "/ztunnel/ztunnel.sock"  # each process sees it at the path in its own mount namespace
_CONNECTED, _WAITING, _LISTENING = "03", "02", "01"  # column St of /proc/net/unix
_LISTEN = "0A"  # column st of /proc/net/tcp


DOWN = Kind(
    "agent-down",
    ERROR,
    "an agent that a plugin of the chain needs doesn't run",
    "No new pod starts if the plugin has to ask its agent about it.",
    "Check the agent's pod on this node.",
)
FROZEN = Kind(
    "agent-frozen",
    ERROR,
    "an agent that a plugin of the chain needs exists but accepts no connection: it is stopped (SIGSTOP, a paused "
    "container) or hangs",
    "The plugin waits for it until its timeout.",
    "Continue its process (kill -CONT), or restart its pod on this node.",
)
PROXY_DOWN = Kind(
    "proxy-down",
    ERROR,
    "Istio's agent runs, but no ztunnel is connected to it",
    "Pods in the ambient mesh have no network at all, and no new pod can join the mesh.",
    "Check the ztunnel pod on this node. Waiting pods start within about 20 s after it is back.",
)


class State(NamedTuple):
    """What is wrong with an agent; `frozen`: what to do if its process exists but accepts no connection, else ""."""

    what: str
    frozen: str = ""


@of_node(DOWN, FROZEN, PROXY_DOWN, needs=Needs.NODE)
def check(node: Node) -> Iterator[Finding]:
    """Yield the agents that are down or hang. Does nothing for another system's tree."""
    if not node.tree.is_this_system:
        return
    for sign in dict.fromkeys(sign for conf in node.plugins if (sign := _sign(conf)) is not None):
        state = _state(sign.path)
        if state and state.frozen:
            yield FROZEN.at(sign.path, f"{sign.agent} {state.what}", why=sign.frozen or sign.why, do=state.frozen)
        elif state:
            yield DOWN.at(sign.path, f"{sign.agent} {state.what}", why=sign.why, do=sign.todo)
        elif ISTIO.sign is not None and sign.agent == ISTIO.sign.agent and _proxy_is_away():
            yield PROXY_DOWN.at(_ZTUNNEL, "Istio's agent runs, but no ztunnel is connected to it")


def _sign(conf: dict[str, Any]) -> Sign | None:
    agent = BY_TYPE.get(str(conf.get("type")))
    return agent.sign_of(conf) if agent else None


def _state(sign: str) -> State | None:
    """Return what is wrong with an agent's sign, None if nothing is or if that isn't known."""
    if not sign.startswith("/"):
        return _port(sign)
    try:
        is_socket = stat.S_ISSOCK(os.stat(sign).st_mode)
    except FileNotFoundError:
        if sign.endswith((".sock", ".socket")):
            return State(f"has no socket {sign}: it doesn't run on this node")
        return State(f"has not written {sign}: it doesn't run on this node, or still starts")
    except OSError:
        return None
    return _socket(sign) if is_socket else None


def _socket(path: str) -> State | None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as asking:
            asking.settimeout(_SECONDS)
            try:
                asking.connect(path)
            except ConnectionRefusedError:
                return State(f"doesn't listen at {path}: it has ended")
            except BlockingIOError:  # the queue of waiting connections is full
                return _frozen(path, 0)
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    return None
            else:
                return None if _is_taken(asking) else _frozen(path, _listener(asking))
    return None


def _is_taken(asking: socket.socket) -> bool:
    """Return whether a running process accepts the connection in time."""
    name = str(asking.getpeername())
    until = time.monotonic() + _SECONDS
    while _waits(name):
        if time.monotonic() > until:
            return False
        time.sleep(_INTERVAL)
    return True


def _waits(name: str) -> bool:
    """Return whether a connection of this network namespace to the socket `name` still waits to be accepted."""
    try:
        with open("/proc/self/net/unix", encoding="utf-8", errors="replace") as sockets:
            columns = [line.split(maxsplit=7) for line in sockets]
    except OSError:
        return False
    return any(one[5] == _WAITING and one[7].rstrip("\n") == name for one in columns if len(one) == 8)


def _listener(asking: socket.socket) -> int:
    """Return the process that listens at the other side's socket, 0 if this process can't see it."""
    process: int = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return process


def _frozen(path: str, process: int) -> State:
    if _is_stopped(process):
        what = f"accepts no connection at {path}: its process {process} is stopped"
        return State(what, f"Continue it (kill -CONT {process}), or restart its pod on this node.")
    which = f" (process {process})" if process else ""
    return State(f"accepts no connection at {path}: it hangs, or is frozen{which}", "Restart its pod on this node.")


def _is_stopped(process: int) -> bool:
    """Return whether a process was stopped by a signal or a debugger (proc_pid_stat(5), state)."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as status:
            return status.read().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


def _port(address: str) -> State | None:
    port = f":{int(address.rpartition(':')[2]):04X}"
    listened_at = (line.split()[1] for table in ("tcp", "tcp6") for line in _lines(table) if line.split()[3] == _LISTEN)
    if any(one.endswith(port) for one in listened_at):
        return None
    return State(f"doesn't listen at {address}: it doesn't run here")


def _proxy_is_away() -> bool:
    """Return whether Istio's agent waits for a ztunnel and none is connected."""
    states = {line.split()[5] for line in _lines("unix") if line.rstrip().endswith(_ZTUNNEL_NAME)}
    return _LISTENING in states and _CONNECTED not in states


def _lines(table: str) -> Iterator[str]:
    """Yield the lines of the kernel's lists of sockets, for every network namespace: an agent may have its own."""
    seen: set[int] = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            namespace = os.stat(f"/proc/{process}/ns/net").st_ino
            if namespace in seen:
                continue
            seen.add(namespace)
            with open(f"/proc/{process}/net/{table}", encoding="utf-8", errors="replace") as sockets:
                yield from sockets.read().splitlines()[1:]
        except OSError:
            continue
