"""The doctor's look at the agents whose plugins are in the chain: is anybody behind their sockets. Sends nothing."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_chain.chain import Link
from cni_chain.cli.doctor_words import Node, Trouble
from cni_chain.cli.plugins import CILIUM, ISTIO

_SECONDS = 1.0
_ISTIO_RUN = "/var/run/istio-cni"
_ZTUNNEL = "/var/run/ztunnel/ztunnel.sock"
_ZTUNNEL_NAME = "/ztunnel/ztunnel.sock"  # each sees it at the path of its own mount namespace
_CONNECTED, _LISTENING = "03", "01"  # column St of /proc/net/unix


class Agent(NamedTuple):
    """An agent that a plugin asks at every call: its name, its socket, and what comes of its absence."""

    name: str
    socket: str
    why: str
    do: str


def check(node: Node) -> Iterator[Trouble]:
    """Yield the agents that are down. Those of another system's tree are not asked."""
    if not node.tree.is_this_system:
        return
    links = [link for survey in node.surveys for part in survey.parts for link in part.links]
    for agent in dict.fromkeys(agent for link in links for agent in _agents(link)):
        state = _state(agent.socket)
        if state:
            yield Trouble("agent-down", agent.socket, f"{agent.name} {state}", agent.why, agent.do)
        elif agent.name == _ISTIO_AGENT and _proxy_is_away():
            yield Trouble(
                "proxy-down",
                _ZTUNNEL,
                "Istio's agent runs, but no ztunnel is connected to it",
                "Pods in the ambient mesh have no network at all, and no new pod can join the mesh.",
                "Look at the ztunnel pod of this node. Pods that wait come up within about 20 s after it is back.",
            )


_ISTIO_AGENT = "Istio's CNI agent"


def _agents(link: Link) -> Iterator[Agent]:
    if link.type == CILIUM:
        # cilium-cni itself takes the address from this variable of the runtime's.
        path = os.environ.get("CILIUM_SOCK", "").removeprefix("unix://") or "/var/run/cilium/cilium.sock"
        yield Agent(
            "Cilium's agent",
            path,
            "No new pod starts, and each DEL takes up to 42 s.",
            "Look at the cilium pod of this node. (Pods that are gone are made up for when it is back.)",
        )
    elif link.type == ISTIO and link.conf.get("ambient_enabled") is True:
        yield Agent(
            _ISTIO_AGENT,
            _istio(link.conf),
            "New pods of the ambient mesh don't start; those that run, and pods outside the mesh, are not affected.",
            "Look at the istio-cni-node pod of this node. Pods that wait come up within about 20 s after it is back.",
        )
    elif link.type == "kube-ovn" and isinstance(link.conf.get("server_socket"), str):
        yield Agent(
            "Kube-OVN's daemon",
            link.conf["server_socket"],
            "No new pod starts.",
            "Look at the kube-ovn-cni pod of this node.",
        )


def _istio(conf: dict[str, Any]) -> str:
    for key, ending in (("cni_event_address", ""), ("cni_agent_run_dir", "/pluginevent.sock")):
        value = conf.get(key)
        if isinstance(value, str) and value:
            return value + ending
    return f"{_ISTIO_RUN}/pluginevent.sock"


def _state(path: str) -> str:
    """Return what is wrong behind the socket `path`, "" if somebody listens or that can't be told."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as asking:
            asking.settimeout(_SECONDS)
            try:
                asking.connect(path)
            except FileNotFoundError:
                return f"has no socket {path}: it doesn't run on this node"
            except ConnectionRefusedError:
                return f"doesn't listen at {path}: it has ended"
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    return ""
            else:
                return ""
    return ""


def _proxy_is_away() -> bool:
    """Tell whether Istio's agent waits for a ztunnel and none is connected.

    The agent and ztunnel may be in network namespaces of their own, and each has its own list of sockets.
    """
    seen: set[int] = set()
    states: set[str] = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            namespace = os.stat(f"/proc/{process}/ns/net").st_ino
            if namespace in seen:
                continue
            seen.add(namespace)
            with open(f"/proc/{process}/net/unix", encoding="utf-8", errors="replace") as sockets:
                states |= {line.split()[5] for line in sockets if line.rstrip().endswith(_ZTUNNEL_NAME)}
        except (OSError, IndexError):
            continue
    return _LISTENING in states and _CONNECTED not in states
