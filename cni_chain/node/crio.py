"""The network that CRI-O's own settings name. Reads only.

CRI-O reads crio.conf, then every file below crio.conf.d by name; the last file that has a key wins (`pkg/config`,
UpdateFromPath). With `cni_default_network` it takes the first valid file with that network's name, also if another file
sorts before it; if no such file exists, it takes none (ocicni, `loadNetworks`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from cni_chain.node.errors import UnreadableError
from cni_chain.node.tree import Tree

CONTAINERD_SOCKET, SOCKET = "/run/containerd/containerd.sock", "/run/crio/crio.sock"
CONF = "/etc/crio/crio.conf"
KEY = "cni_default_network"


class SettingsError(UnreadableError):
    """A file of CRI-O's settings can't be read, and may name the network; `why` is the text without the file."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__(f"{file}: {why}")
        self.file = file
        self.why = why


class Pinned(NamedTuple):
    """A value of CRI-O's settings, mostly the network's name, and the file that has it."""

    network: str
    file: str


def setting(tree: Tree, key: str = KEY) -> Pinned | None:
    """Return the string that the key has in the table crio.network, None if it isn't set. Raises SettingsError."""
    found = None
    for file in (CONF, *_below(tree, f"{CONF}.d")):
        try:
            content = tree.read(file).decode()
            import tomllib  # only a node with CRI-O needs it

            document = tomllib.loads(content)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise SettingsError(file, f"can't be read, and may name the network: {error}") from None
        network = document.get("crio", {})
        network = network.get("network", {}) if isinstance(network, dict) else {}
        name = network.get(key) if isinstance(network, dict) else None
        if isinstance(name, str):
            found = Pinned(name, file) if name else None
    return found


def may_run(tree: Tree) -> bool:
    """Return whether CRI-O may be this node's runtime: it runs, or containerd doesn't run."""
    return os.path.exists(tree.real(SOCKET)) or not os.path.exists(tree.real(CONTAINERD_SOCKET))


def runs_alone(tree: Tree) -> bool:
    """Return whether CRI-O is certainly this node's runtime: it runs, and containerd doesn't."""
    return os.path.exists(tree.real(SOCKET)) and not os.path.exists(tree.real(CONTAINERD_SOCKET))


def _below(tree: Tree, path: str) -> Iterator[str]:
    try:
        names = sorted(os.listdir(tree.real(path)))
    except NotADirectoryError:
        yield path
    except OSError:
        return
    else:
        for name in names:
            yield from _below(tree, f"{path}/{name}")
