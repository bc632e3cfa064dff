"""Runs programs of this system for the command line: the runtimes and plugins, to ask for their releases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cni_chain.node.tree import Tree

if TYPE_CHECKING:
    import subprocess

# Directories of iptables and the runtimes, which a root shell's PATH may not have.
_SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


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
    files = [f"{directory}/{name}" for directory in environ()["PATH"].split(":")]
    return next((file for file in files if os.path.isfile(file) and os.access(file, os.X_OK)), None)


def running(name: str) -> str | None:
    """Return the file of a process called `name` that sees this process's files, None if none runs.

    A runtime in use may not be the one in PATH (K3s brings its own), and may have been replaced since it started.
    """
    try:
        ours = os.stat("/proc/self/ns/mnt").st_ino
        processes = sorted(filter(str.isdigit, os.listdir("/proc")), key=int)
    except OSError:  # no /proc is mounted
        return None
    for process in processes:
        try:
            with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as comm:
                if comm.read().rstrip("\n") == name and os.stat(f"/proc/{process}/ns/mnt").st_ino == ours:
                    return f"/proc/{process}/exe"
        except OSError:  # it has ended, or is another user's
            continue
    return None


def installed(tree: Tree, name: str) -> str | None:
    """Return the file of the program `name` on the system of `tree`, None if it isn't installed.

    On this system a process that runs comes before PATH.
    """
    if tree.is_this_system:
        return running(name) or which(name)
    return next((f"{one}/{name}" for one in _SYSTEM if os.path.isfile(tree.real(f"{one}/{name}"))), None)


def run(command: Sequence[str], seconds: float = 5.0) -> subprocess.CompletedProcess[str] | None:
    """Run a program without input; return None if it can't be started or takes longer than `seconds`."""
    import subprocess  # many commands start no program

    try:
        return subprocess.run(
            command,
            env=environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
