"""The programs that see a pod's connect(), sendmsg() and their like, by hook, with the product that they belong to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from cni_chain.mesh import bpf
from cni_chain.node.errors import UnreadableError, as_root
from cni_chain.plugin import attached

# Hooks whose programs can replace an address that is asked for, and those that hide or undo that.
_REPLACING = tuple(attached.REPLACING)
_HIDING = ("recvmsg4", "recvmsg6", "getpeername4", "getpeername6")

# Products by the names of their programs, of which the kernel keeps 15 bytes. Cilium before 1.13 used no prefix.
_OWNERS = (
    (re.compile(r"cil_|sock[46]_(conn|send|recv|getp|post|pre)|handle_(xgress|to_container)"), "Cilium"),
    (re.compile(r"cali(co)?_"), "Calico"),
    (re.compile(r"mb_"), "Merbridge"),
    (re.compile(r"(kmesh|cgroup_connect)"), "Kmesh"),
)
UNKNOWN = "unknown"


class Hooked(NamedTuple):
    """A program on a hook of a cgroup. `mode` is how it was attached: exclusive, override or multi."""

    cgroup: str
    hook: str
    program: bpf.Program
    owner: str
    mode: str


def replaces(hook: str, address: str, protocol: str) -> bool:
    """Whether a program on a hook is run when this address is asked for. UDP connects, or sends unconnected."""
    family = "6" if ":" in address else "4"
    return hook == f"connect{family}" or (protocol == "udp" and hook == f"sendmsg{family}")


def on_the_way(root: str, cgroup: str) -> list[Hooked]:
    """Return what is attached to a cgroup and to those above it, up to the root. Raises UnreadableError."""
    return [hooked for place in _above(root, cgroup) for hooked in _attached(place)]


def applying(cgroup: str, attached: list[Hooked]) -> list[Hooked]:
    """Return those programs that run for processes of a cgroup, in the order in which they run.

    Raises UnreadableError.
    """
    places = {(hooked.hook, hooked.program.id): hooked for hooked in attached}
    found: list[Hooked] = []
    for hook in _REPLACING + _HIDING:
        for number in _ids(cgroup, hook, effective=True).ids:
            # The query answers for the cgroup namespace's whole tree: one above the root that we see has no place here.
            program = _program(number)
            hooked = places.get((hook, number)) or Hooked("", hook, program, owner_of(program.name), "")
            found.append(hooked)
    return found


def elsewhere(root: str, seen: list[Hooked]) -> list[Hooked]:
    """Return what is attached to other cgroups. Walks them only if a program is loaded that is nowhere in `seen`."""
    known = {hooked.program.id for hooked in seen}
    try:
        strange = {program.id for program in bpf.programs(bpf.PROG_TYPE_CGROUP_SOCK_ADDR)} - known
    except OSError as error:
        raise _unreadable("loaded BPF programs", error) from None
    if not strange:
        return []
    return [hooked for place, _, _ in os.walk(root) for hooked in _attached(place) if hooked.program.id not in known]


def owner_of(name: str) -> str:
    """Return the product whose programs have such names, or "unknown"."""
    return next((owner for pattern, owner in _OWNERS if pattern.match(name)), UNKNOWN)


def _above(root: str, cgroup: str) -> Iterator[str]:
    place = root
    yield place
    for name in filter(None, os.path.relpath(cgroup, root).split("/")):
        if name not in (".", ".."):
            place = os.path.join(place, name)
            yield place


def _attached(place: str) -> Iterator[Hooked]:
    for hook in _REPLACING + _HIDING:
        ids, mode = _ids(place, hook)
        for number in ids:
            program = _program(number)
            yield Hooked(place, hook, program, owner_of(program.name), mode)


def _ids(place: str, hook: str, *, effective: bool = False) -> bpf.Attached:
    try:
        return bpf.query_cgroup(place, hook, effective=effective)
    except OSError as error:
        # That the directory isn't there (then the error has its name) says nothing about the hook. One that is gone
        # since it was listed has no programs any more; the judged one must be there.
        if error.errno in attached.NO_HOOK and not (effective and error.filename):
            return bpf.Attached([], "")
        raise _unreadable(f"programs of {place}", error) from None


def _program(number: int) -> bpf.Program:
    try:
        return bpf.program(number)
    except OSError as error:
        raise _unreadable(f"BPF program {number}", error) from None


def _unreadable(what: str, error: OSError) -> UnreadableError:
    hint = as_root(error)
    return UnreadableError(f"{what}: {error.strerror}{f'; {hint}' if hint else ''}")
