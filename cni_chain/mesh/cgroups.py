"""Where this node's cgroups (version 2) are, and which one stands for a pod."""

from __future__ import annotations

import os

_POD_SLICES = ("kubepods.slice", "kubepods")  # systemd's and cgroupfs' driver of the kubelet


def root() -> str | None:
    """Return where the hierarchy is mounted, the first place that /proc/self/mounts lists; None without one."""
    with open("/proc/self/mounts", "rb") as mounts:  # other mounts may have any bytes in their names
        for line in mounts:
            _, place, kind, *_ = line.split(b" ")
            if kind == b"cgroup2":
                return os.fsdecode(place)
    return None


def of_process(top: str, pid: int) -> str:
    """Return a process's cgroup. Raises OSError."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as lines:
        path = next(line.rstrip("\n")[3:] for line in lines if line.startswith("0::"))
    return os.path.normpath(top + path)


def of_pods(top: str) -> str:
    """Return the cgroup below which the kubelet has its pods; the root where there is none, as pods then sit there."""
    return next((place for name in _POD_SLICES if os.path.isdir(place := os.path.join(top, name))), top)
