"""Runs programs of this system for the command line: the runtimes and plugins, to ask for their releases."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from cni_chain.node.tree import Tree

# Directories of iptables and the runtimes, which a root shell's PATH may not have.
_SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class Ran(NamedTuple):
    """The result of a program."""

    status: int
    stdout: str
    stderr: str


def environ() -> dict[str, str]:
    """Return the environment of this program's caller for another program.

    It has no CNI_* variables (users of cnitool export some); its PATH has the system's directories.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CNI_")}
    directories = [directory for directory in kept.get("PATH", "").split(":") if directory]
    kept["PATH"] = ":".join([*directories, *(directory for directory in _SYSTEM if directory not in directories)])
    return kept


def which(name: str) -> str | None:
    """Return the file of the program `name` on this system, None if it isn't installed."""
    for directory in environ()["PATH"].split(":"):
        file = f"{directory}/{name}"
        if os.path.isfile(file) and os.access(file, os.X_OK):
            return file
    return None


def installed(tree: Tree, name: str) -> str | None:
    """Return the file of the program `name` on the system of `tree`, None if it isn't installed."""
    if tree.is_this_system:
        return which(name)
    return next((f"{one}/{name}" for one in _SYSTEM if os.path.isfile(tree.real(f"{one}/{name}"))), None)


def run(command: Sequence[str], seconds: float = 5.0) -> Ran | None:
    """Run a program without input; return None if it can't be started or takes longer than `seconds`."""
    try:
        done = subprocess.run(
            command,
            env=environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Ran(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
