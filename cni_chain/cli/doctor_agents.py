"""The doctor's look at the agents whose plugins are in the chain: is anybody behind their sockets. Sends nothing.

A connection alone tells little: the kernel makes it for a process that is stopped, too, and lets it wait. Whether it is
taken is in /proc/net/unix. No question is asked, for none is known that is harmless to every agent.
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

from cni_chain.cli.doctor_words import Node, Trouble, plugins_in
from cni_chain.cli.plugins import CILIUM, ISTIO, MULTUS

_SECONDS = 1.0
_INTERVAL = 0.01  # seconds between two looks at a connection that waits
_ISTIO_RUN = "/var/run/istio-cni"
_ZTUNNEL = "/var/run/ztunnel/ztunnel.sock"
_ZTUNNEL_NAME = "/ztunnel/ztunnel.sock"  # each sees it at the path of its own mount namespace
_CONNECTED, _WAITING, _LISTENING = "03", "02", "01"  # column St of /proc/net/unix
_LISTEN = "0A"  # column st of /proc/net/tcp


class Agent(NamedTuple):
    """What a plugin needs of its agent at every call: its name, what shows that it is there, what its absence does.

    `sign` is a socket, a port of the node's own address, or a file that the agent writes when it starts. `frozen`: what
    it does if the agent is there and takes no connection, where that differs.
    """

    name: str
    sign: str
    why: str
    do: str
    frozen: str = ""


class State(NamedTuple):
    """What is wrong with an agent; `frozen`: it is there, and what to do, as a process that can go on."""

    what: str
    frozen: str = ""


_NO_POD = "No new pod starts."
_ISTIO_AGENT = "Istio's CNI agent"

# The kubelet's retry, behind what istio-cni's own tries take (constants of it).
_ISTIO_AWAY = (
    "New pods of the ambient mesh don't start. Once the agent's pod has been gone for about 10 s no new pod does, in "
    "the mesh or outside: istio-cni asks the Kubernetes API about each, and the token in {kubeconfig} is bound to that "
    "pod and has died with it (Unauthorized). Pods that run are not affected, and pods are deleted as ever."
)
_ISTIO_BACK = (
    "Look at the istio-cni-node pod of this node. Pods that wait come up by themselves, mostly within 48 s after it is "
    "back: istio-cni tries for 31 s with the token that it has read, and the kubelet tries again 12 to 15 s later. "
    "timeoutSeconds of the owner shortens that (docs/agents.md)."
)

# Where plugins without a key for it find their agent: constants of theirs, or the default of the key.
_SOCKETS = {
    "antrea": ("Antrea's agent", "/var/run/antrea/cni.sock", "", "antrea-agent"),
    "kube-ovn": ("Kube-OVN's daemon", "/run/openvswitch/kube-ovn-daemon.sock", "server_socket", "kube-ovn-cni"),
    "ovn-k8s-cni-overlay": ("OVN-Kubernetes", "/var/run/ovn-kubernetes/cni/ovn-cni-server.sock", "", "ovnkube-node"),
    "terway": ("Terway's daemon", "/var/run/eni/eni.socket", "", "terway-eniip"),
    "aws-cni": ("Amazon's ipamd", "127.0.0.1:50051", "", "aws-node"),
    "weave-net": ("Weave's router", "127.0.0.1:6784", "", "weave-net"),
    # These ask no agent, but want what it writes when it starts, into a directory that a boot or an uninstall empties.
    "calico": ("Calico's node agent", "/var/lib/calico/nodename", "nodename_file", "calico-node"),
    "flannel": ("Flannel's daemon", "/run/flannel/subnet.env", "subnetFile", "kube-flannel"),
}


def check(node: Node) -> Iterator[Trouble]:
    """Yield the agents that are down. Those of another system's tree are not asked."""
    if not node.tree.is_this_system:
        return
    confs = [link.conf for survey in node.surveys for part in survey.parts for link in part.links]
    confs += [conf for name in node.directory.names for conf in plugins_in(node, name) if conf.get("type") in MULTUS]
    for agent in dict.fromkeys(agent for conf in confs for agent in _agents(conf)):
        state = _state(agent.sign)
        if state and state.frozen:
            why = agent.frozen or agent.why
            yield Trouble("agent-frozen", agent.sign, f"{agent.name} {state.what}", why, state.frozen)
        elif state:
            yield Trouble("agent-down", agent.sign, f"{agent.name} {state.what}", agent.why, agent.do)
        elif agent.name == _ISTIO_AGENT and _proxy_is_away():
            yield Trouble(
                "proxy-down",
                _ZTUNNEL,
                "Istio's agent runs, but no ztunnel is connected to it",
                "Pods in the ambient mesh have no network at all, and no new pod can join the mesh.",
                "Look at the ztunnel pod of this node. Pods that wait come up within about 20 s after it is back.",
            )


def _agents(conf: dict[str, Any]) -> Iterator[Agent]:
    type_ = conf.get("type")
    if type_ == CILIUM:
        # cilium-cni itself takes the address from this variable of the runtime's.
        path = os.environ.get("CILIUM_SOCK", "").removeprefix("unix://") or "/var/run/cilium/cilium.sock"
        yield Agent(
            "Cilium's agent",
            path,
            "No new pod starts, and each DEL takes up to 42 s.",
            "Look at the cilium pod of this node. (Pods that are gone are made up for when it is back.)",
            "No new pod starts, and none is deleted: its plugin waits for an answer until its time is up.",
        )
    elif type_ == ISTIO and conf.get("ambient_enabled") is True:
        yield Agent(
            _ISTIO_AGENT,
            _istio(conf),
            _ISTIO_AWAY.format(kubeconfig=f"{_text(conf, 'cni_agent_run_dir') or _ISTIO_RUN}/istio-cni-kubeconfig"),
            _ISTIO_BACK,
            "New pods of the ambient mesh don't start: istio-cni gives up after 5 s. Those that run, and pods outside "
            "the mesh, are not affected.",
        )
    elif type_ == "multus-shim":
        directory = _text(conf, "socketDir") or "/run/multus"
        yield Agent(
            "Multus's daemon",
            f"{directory.rstrip('/')}/multus.sock",
            "Multus is what the runtime calls, so no new pod starts, and none is deleted.",
            "Look at the kube-multus pod of this node.",
        )
    elif isinstance(type_, str) and type_ in _SOCKETS and conf.get("nodename_file_optional") is not True:
        name, sign, key, pod = _SOCKETS[type_]
        yield Agent(name, _text(conf, key) or sign, _NO_POD, f"Look at the {pod} pod of this node.")


def _text(conf: dict[str, Any], key: str) -> str:
    value = conf.get(key)
    return value if isinstance(value, str) else ""


def _istio(conf: dict[str, Any]) -> str:
    for key, ending in (("cni_event_address", ""), ("cni_agent_run_dir", "/pluginevent.sock")):
        value = conf.get(key)
        if isinstance(value, str) and value:
            return value + ending
    return f"{_ISTIO_RUN}/pluginevent.sock"


def _state(sign: str) -> State | None:
    """Return what is wrong with an agent's sign, None if nothing is or that can't be told."""
    if not sign.startswith("/"):
        return _port(sign)
    try:
        is_socket = stat.S_ISSOCK(os.stat(sign).st_mode)
    except FileNotFoundError:
        if sign.endswith((".sock", ".socket")):
            return State(f"has no socket {sign}: it doesn't run on this node")
        return State(f"has not written {sign}: it doesn't run on this node, or hasn't come so far")
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
            except BlockingIOError:  # so many wait that no more may
                return _frozen(path, 0)
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    return None
            else:
                return None if _is_taken(asking) else _frozen(path, _listener(asking))
    return None


def _is_taken(asking: socket.socket) -> bool:
    """Tell whether a connection's other side is taken in time: by a process that runs, and looks at its socket."""
    name = str(asking.getpeername())
    until = time.monotonic() + _SECONDS
    while _waits(name):
        if time.monotonic() > until:
            return False
        time.sleep(_INTERVAL)
    return True


def _waits(name: str) -> bool:
    """Tell whether a connection of this network namespace to that socket waits (it is the client's until then)."""
    try:
        with open("/proc/self/net/unix", encoding="utf-8", errors="replace") as sockets:
            columns = [line.split(maxsplit=7) for line in sockets]
    except OSError:
        return False
    return any(one[5] == _WAITING and one[7].rstrip("\n") == name for one in columns if len(one) == 8)


def _listener(asking: socket.socket) -> int:
    """Return the process that made the other side's socket, 0 if it isn't one of those that can be seen from here."""
    process: int = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return process


def _frozen(path: str, process: int) -> State:
    if _is_stopped(process):
        what = f"takes no connection at {path}: its process {process} is stopped"
        return State(what, f"Let it go on (kill -CONT {process}), or restart its pod on this node.")
    which = f" (process {process})" if process else ""
    return State(f"takes no connection at {path}: it hangs, or is frozen{which}", "Restart its pod on this node.")


def _is_stopped(process: int) -> bool:
    """Tell whether a process was stopped by a signal or a debugger (proc_pid_stat(5), state)."""
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
    """Tell whether Istio's agent waits for a ztunnel and none is connected."""
    states = {line.split()[5] for line in _lines("unix") if line.rstrip().endswith(_ZTUNNEL_NAME)}
    return _LISTENING in states and _CONNECTED not in states


def _lines(table: str) -> Iterator[str]:
    """Yield the lines of the kernel's lists of sockets, of every network namespace: agents may be in their own."""
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
