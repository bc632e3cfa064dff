"""The links by which the shim's program sees a proxy's getsockopt(), pinned by the cgroup's number."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from cni_chain.mesh.bpf import Map
from cni_chain.mesh.shim import kernel, layout
from cni_chain.mesh.shim.programs import ORIGINS, PINS

_PIN = "proxy-"


class Linked(NamedTuple):
    """A proxy's link: its pin, the number of its cgroup (0 if that is gone), and the value of its map."""

    pin: str
    cgroup: int
    proxy: layout.Proxy | None  # None if its map is not what it must be


def pin_of(cgroup: str) -> str:
    """Return where the link of a cgroup, which is a directory, is pinned. Raises OSError."""
    return f"{PINS}/{_PIN}{os.stat(cgroup).st_ino}"


def linked() -> list[Linked]:
    """Return the links. Raises OSError."""
    try:
        names = sorted(name for name in os.listdir(PINS) if name.startswith(_PIN))
    except FileNotFoundError:
        return []
    return [_linked(f"{PINS}/{name}") for name in names]


def _linked(pin: str) -> Linked:
    link = kernel.pinned_link(pin)
    proxy = None
    for number in kernel.maps_of(link.program):
        with Map(number) as opened:
            if opened.name == layout.PROXY.name and opened.info == layout.PROXY.info:
                proxy = layout.Proxy.unpacked(kernel.read_only(opened) or b"")
    return Linked(pin, link.cgroup, proxy)


def directories(root: str, numbers: set[int]) -> dict[int, str]:
    """Return the directories of cgroups below a root, by their numbers."""
    found: dict[int, str] = {}
    for place, _, _ in os.walk(root):
        with contextlib.suppress(OSError):
            number = os.stat(place).st_ino
            if number in numbers:
                found[number] = place
    return found


def clear() -> int:
    """Remove every pin, which ends the links; return how many links there were. Raises OSError."""
    try:
        names = os.listdir(PINS)
    except FileNotFoundError:
        return 0
    for name in names:
        os.unlink(f"{PINS}/{name}")
    os.rmdir(PINS)
    return sum(name.startswith(_PIN) for name in names)


def link(program: int, cgroup: str) -> None:
    """Have a program, by its descriptor, see getsockopt() in a cgroup; in the place of an earlier one. Raises OSError.

    The new one is linked before the old one goes, so that there is no moment without.
    """
    pin = pin_of(cgroup)
    opened = kernel.link(program, cgroup)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(pin)
        kernel.pin(opened, pin)
    finally:
        os.close(opened)


def share(origins: int) -> bool:
    """Pin what the programs learn, so that pods and proxies that come later share it. Raises OSError.

    Returns whether it was not pinned yet.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(PINS, 0o700)
    try:
        kernel.pin(origins, ORIGINS)
    except FileExistsError:
        return False
    return True
