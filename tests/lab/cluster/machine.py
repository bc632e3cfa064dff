"""What the cluster must leave alone: the machine, seen from outside, and the cgroups that everything of it runs in."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.lab.cluster.daemon import HERE, installed
from tests.support.sandbox.namespaces import Sandbox

SYSCTLS = ("kernel", "vm", "fs")
# They change by themselves.
RESTLESS = (
    *("kernel/random/", "kernel/ns_last_pid", "kernel/pty/nr", "kernel/perf_event_max_sample_rate"),
    *("fs/dentry-state", "fs/file-nr", "fs/inode-nr", "fs/inode-state", "fs/aio-nr", "fs/quota/"),
)
# What Cilium's programs and maps are called.
CILIUM = ("cil_", "tail_", "cilium_")


class Machine(NamedTuple):
    """What there is on a machine that a cluster could have changed."""

    sysctls: dict[str, str]
    mounts: frozenset[str]
    links: frozenset[str]
    bpf: frozenset[str]

    @classmethod
    def look(cls) -> "Machine":
        """Everything as it is now."""
        mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        # What is mounted in /run comes and goes with other programs, and the cluster has a /run of its own.
        kept = frozenset(path for path in mounts if not path.startswith("/run/"))
        return cls(sysctls(), kept, frozenset(os.listdir("/sys/class/net")), frozenset(bpf()))

    def changed_since(self, before: "Machine") -> list[str]:
        """One line for each thing that isn't as it was."""
        keys = sorted(self.sysctls.keys() | before.sysctls.keys())
        values = [(key, before.sysctls.get(key), self.sysctls.get(key)) for key in keys]
        return [
            *(f"sysctl {key}: was {was}, is {now}" for key, was, now in values if was != now),
            *(f"mount {path}" for path in sorted(self.mounts ^ before.mounts)),
            *(f"interface {name}" for name in sorted(self.links - before.links)),
            *sorted(self.bpf - before.bpf),
        ]


def sysctls() -> dict[str, str]:
    """Those of the whole machine that can be read and that nothing but a program changes."""
    found = {}
    for file in (file for top in SYSCTLS for file in Path("/proc/sys", top).rglob("*") if file.is_file()):
        name = str(file.relative_to("/proc/sys"))
        if not name.startswith(RESTLESS):
            with contextlib.suppress(OSError):
                found[name] = file.read_text(errors="replace").strip()
    return found


def bpf() -> list[str]:
    """The programs and maps in the kernel, whoever's they are, that are called as Cilium's are."""
    found: list[str] = []
    for kind in ("prog", "map"):
        listed = subprocess.run([installed("bpftool"), "-j", kind], capture_output=True, text=True, check=True).stdout
        named = [(one["id"], one.get("name", "")) for one in json.loads(listed or "[]")]
        found += [f"BPF {kind} {number} {name}" for number, name in named if name.startswith(CILIUM)]
    return found


def compare(before: Machine, seconds: float = 30) -> list[str]:
    """What isn't as it was, once the kernel has had the time to let go of programs that nothing refers to."""
    end = time.monotonic() + seconds
    while (changed := Machine.look().changed_since(before)) and time.monotonic() < end:
        time.sleep(0.5)
    return changed


class Cgroups:
    """A group of our own in each hierarchy. As long as they can't be removed, something of ours still runs.

    The one of version 2 becomes the root of a cgroup namespace: there the agent attaches its socket programs, and they
    see nothing but what was started in here (as in kind). In it, and in each of version 1, is the kubelet's cgroupRoot.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
        self.unified = next((path for path, kind in mounts if kind == "cgroup2"), "")
        if not self.unified:
            raise SystemExit("no cgroup v2 hierarchy on this machine: Cilium needs one")
        self.top = self._group(self.unified)
        self.daemons = self.top / "daemons"
        self._old = [self._group(path) for path, kind in mounts if kind == "cgroup"]

    def _group(self, above: str | Path) -> Path:
        return Path(above) / self.name.lstrip("/")

    def make(self) -> None:
        """Make them. Only root can."""
        for path in (self.daemons, self._group(self.top), *self._old):
            path.mkdir(parents=True)
        for path in self._old:
            # A group without processors and memory takes no process.
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (path / file).exists():
                    (path / file).write_text((path.parent / file).read_text())

    def empty(self) -> None:
        """Remove what a kubelet has made in them. What ran there has been ended."""
        roots = [self._group(self.top), *self._old]
        left = _remove(lambda: [path for root in roots for path in _below(root) if path != root])
        assert not left, f"not empty: {left}"

    def remove(self) -> list[str]:
        """Remove them; what could not be, with the processes that are still in it."""
        left = _remove(lambda: [path for top in (self.top, *self._old) for path in _below(top)])
        return [f"cgroup {path}: {_inhabitants(path)}" for path in left]


def prepare(sandbox: Sandbox, cgroups: Cgroups, disk: str = "") -> None:
    """Give a sandbox whose processes are in these cgroups what a kubelet needs; `disk` is a directory for its disk."""
    sandbox.run("bash", "-c", (HERE / "prepare.sh").read_text(), "prepare", cgroups.unified, disk)


def _remove(groups: Callable[[], list[Path]], seconds: float = 10) -> list[Path]:
    """Remove groups, the deepest first, while what runs in them ends; those that could not be."""
    end = time.monotonic() + seconds
    while (left := groups()) and time.monotonic() < end:
        for path in left:
            with contextlib.suppress(OSError):
                path.rmdir()
        time.sleep(0.1)
    return left


def _below(top: Path) -> list[Path]:
    """It and all in it, the deepest first; nothing if it is gone."""
    return [Path(parent) for parent, _, _ in os.walk(top, topdown=False)]


def _inhabitants(group: Path) -> str:
    names = []
    for number in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            names.append(f"{number} {Path('/proc', number, 'comm').read_text().strip()}")
    return ", ".join(names) or "no process"
