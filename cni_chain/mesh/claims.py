"""What Cilium's configuration says: what its agent left on disk, and its ConfigMap.

For whom its socket load balancing replaces a service's address, and whether it captures pods itself.
"""

from __future__ import annotations

import enum
import json
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from cni_chain.node.errors import UnreadableError
from cni_chain.node.tree import Tree

# Where the agent keeps what it has compiled into its programs (pkg/option, StateDir).
NODE_CONFIG = "/var/run/cilium/state/globals/node_config.h"

# Cilium's own ztunnel mode (encryption.type=ztunnel, from 1.19; pkg/ztunnel): its agent waits at the socket for its
# ztunnel, and leaves the mark until its rules are out of all pods. It takes whoever connects there for its ztunnel.
_ZTUNNEL_SOCKET = "/var/run/cilium/ztunnel.sock"
_ZTUNNEL_MARK = "/var/run/cilium/state/ztunnel_enabled"
_ZTUNNEL_KEY = "enable-ztunnel"
_LISTENING = "00010000"  # column Flags of /proc/net/unix: __SO_ACCEPTCON, include/uapi/linux/net.h
_COLUMNS = 8  # of a socket with a path


_WRITE = "kubectl --namespace kube-system get configmap cilium-config -o json"


class Coverage(enum.StrEnum):
    """For whom Cilium replaces a service's address at connect()."""

    ALL = "for every process"
    NODE = "for the node's own processes only"
    NONE = "for no process"


class Claim(NamedTuple):
    """What one source says, with the lines that say so."""

    source: str
    coverage: Coverage
    lines: tuple[str, ...]


def of_datapath(text: str, source: str) -> Claim:
    """Return what the agent's compiled settings say (`node_config.h`, bpf/lib/common.h in Cilium)."""
    found = tuple(re.findall(r"^#define (ENABLE_SOCKET_LB_(?:FULL|HOST_ONLY))\b", text, re.MULTILINE))
    if "ENABLE_SOCKET_LB_HOST_ONLY" in found:
        return Claim(source, Coverage.NODE, found)
    return Claim(source, Coverage.ALL if found else Coverage.NONE, found)


def of_settings(settings: Mapping[str, str], source: str) -> Claim:
    """Return what a ConfigMap `cilium-config` says. kube-proxy's replacement forces it on (pkg/kpr, Cilium 1.14)."""
    keys = ("kube-proxy-replacement", "bpf-lb-sock", "bpf-lb-sock-hostns-only")
    lines = tuple(f"{key}: {settings[key]}" for key in keys if key in settings)
    is_on = settings.get("kube-proxy-replacement") in ("true", "strict") or settings.get("bpf-lb-sock") == "true"
    if not is_on:
        return Claim(source, Coverage.NONE, lines)
    return Claim(source, Coverage.NODE if settings.get("bpf-lb-sock-hostns-only") == "true" else Coverage.ALL, lines)


def on_disk(path: str = NODE_CONFIG) -> Claim | None:
    """Return what the agent left on disk; None where it left nothing. Raises UnreadableError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return of_datapath(file.read(), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None


def settings(path: str) -> dict[str, str]:
    """Return a ConfigMap that is a file of `kubectl get … -o json`, or a directory with a file for each key.

    Raises UnreadableError.
    """
    try:
        if os.path.isdir(path):
            return _directory(path)
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except ValueError:
        raise UnreadableError(f"{path}: is not JSON, and YAML is not read; write it with `{_WRITE}`") from None
    return _data(document, path)


def ztunnel_on_disk(tree: Tree) -> str:
    """Return the file by which an agent shows that it captures pods for a ztunnel of its own, "" if none does."""
    if os.path.exists(tree.real(_ZTUNNEL_MARK)):
        return _ZTUNNEL_MARK
    if not tree.is_this_system:
        return _ZTUNNEL_SOCKET if os.path.exists(tree.real(_ZTUNNEL_SOCKET)) else ""
    try:
        with open("/proc/self/net/unix", encoding="utf-8", errors="replace") as sockets:
            # An agent that was killed leaves a socket at which nobody listens.
            rows = [columns for line in sockets if len(columns := line.split()) == _COLUMNS]
    except OSError:
        return ""
    # The agent may see its directory at another path.
    end = _ZTUNNEL_SOCKET.removeprefix("/var/run")
    return next((row[7] for row in rows if row[3] == _LISTENING and row[7].endswith(end)), "")


def ztunnel_in(settings: Mapping[str, str]) -> str:
    """Return the line of a ConfigMap `cilium-config` by which Cilium captures pods for a ztunnel of its own, or ""."""
    return f"{_ZTUNNEL_KEY}: true" if settings.get(_ZTUNNEL_KEY) == "true" else ""


def _directory(path: str) -> dict[str, str]:
    found = {}
    for entry in os.scandir(path):
        if entry.is_file() and not entry.name.startswith("."):
            with open(entry.path, encoding="utf-8") as file:
                found[entry.name] = file.read().strip()
    return found


def _data(document: Any, path: str) -> dict[str, str]:
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise UnreadableError(f"{path}: is not a ConfigMap; its key `data` must be an object of strings")
    return data
