"""A copy of the facade as it was when all was well with it, for the agent that finds it damaged when it starts.

It is beside the records: whoever empties the runtime's directory would take it as well. Each command that takes the
facade out of use removes it.
"""

from __future__ import annotations

import contextlib
import os

from cni_chain.change import files
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree
from cni_chain.plugin.facade import STATE_DIR


def path(net_dir: str) -> str:
    """Return the copy's path, for the facade of a runtime's directory. A record's name has a colon, this one none."""
    return f"{STATE_DIR}/.facade{net_dir.replace('/', '-').replace(':', '-')}"


def content(tree: Tree, net_dir: str) -> bytes | None:
    """Return what was kept, None if nothing was or it can't be read."""
    try:
        return files.read(tree.real(path(net_dir)))
    except OSError:
        return None


def keep(tree: Tree, net_dir: str, facade: bytes) -> None:
    """Keep a facade. Where nothing can be written, nothing is kept: `doctor` says why no record can be, either."""
    real = tree.real(path(net_dir))
    with contextlib.suppress(OSError, RefusedError):
        files.directory(os.path.dirname(os.path.dirname(real)))
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(real), 0o700)  # as the plugin makes it
        files.put(real, facade, 0o600)


def forget(tree: Tree, net_dir: str) -> None:
    """Remove the copy, if there is one. Raises RefusedError."""
    real = tree.real(path(net_dir))
    if os.path.lexists(real):
        files.remove(real)
