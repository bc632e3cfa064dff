"""The doctor's look at the executables: missing ones, and releases with a known hole. Asks them only on this system."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_chain.chain import Link
from cni_chain.cli import asked, programs
from cni_chain.cli.doctor_words import Node, Trouble
from cni_chain.cli.survey import Survey
from cni_chain.errors import CNIError

Release = tuple[int, ...]


class Hole(NamedTuple):
    """A known hole of reference plugins: of which, in which releases (from, and before), and what it is."""

    types: frozenset[str]
    since: Release
    before: Release
    name: str
    what: str


_MAKERS = frozenset(("bridge", "ptp", "macvlan", "ipvlan", "vlan", "host-device"))
_NFTABLES = "CVE-2025-67499"

# https://github.com/containernetworking/plugins/security/advisories, and the two that are older than that page.
HOLES = (
    Hole(
        frozenset(("portmap",)),
        (1, 6, 0),
        (1, 9, 0),
        _NFTABLES,
        "With nftables it forwards traffic to a pod's hostPort at any address to that pod, not only at the node's own.",
    ),
    Hole(
        frozenset(("portmap",)),
        (0,),
        (0, 7, 5),
        "CVE-2019-9946",
        "Its rules come before those of services, so a pod's hostPort takes a service's traffic.",
    ),
    Hole(
        _MAKERS,
        (0,),
        (0, 8, 6),
        "CVE-2020-10749",
        "A pod can make itself the node's or another pod's IPv6 router by a router advertisement.",
    ),
)


def check(node: Node) -> Iterator[Trouble]:
    """Yield what is wrong with the executables of every chain."""
    for survey in node.surveys:
        for part in survey.parts:
            for link in part.links:
                yield from _missing(survey, link, link.type)
                ipam = link.conf.get("ipam")
                name = ipam.get("type") if isinstance(ipam, dict) else None
                if isinstance(name, str) and name and "/" not in name:
                    yield from _missing(survey, link, name)
                yield from _holes(survey, link)


def _missing(survey: Survey, link: Link, name: str) -> Iterator[Trouble]:
    found = survey.executable(name, link)
    if not isinstance(found, CNIError):
        return
    where = survey.bin_dirs[0] if survey.bin_dirs else ""
    yield Trouble(
        "plugin-not-executable" if "not executable" in found.msg else "plugin-missing",
        f"{where}/{name}",
        found.msg,
        "No new pod starts: every plugin of the chain must be there before the first one runs.",
        f"Have the agent of {link.owner.name} install it again (restart it on this node), or take the fragment "
        f"{link.path} away. If the runtime's plugins are elsewhere, say so with --bin-dir.",
    )


def _holes(survey: Survey, link: Link) -> Iterator[Trouble]:
    holes = [hole for hole in HOLES if link.type in hole.types]
    file = survey.binary(link)
    if not holes or isinstance(file, CNIError) or not survey.tree.is_this_system:
        return
    release = asked.release(file)
    for hole in holes:
        if release is None or not hole.since <= release < hole.before:
            continue
        if hole.name == _NFTABLES and not _uses_nftables(link.conf):
            continue
        yield Trouble(
            "plugin-hole",
            file,
            f"{link.type} {'.'.join(map(str, release))} has {hole.name}",
            hole.what,
            f"Install the reference plugins {'.'.join(map(str, hole.before))} or later"
            + (', or write "backend": "iptables" into its fragment.' if hole.name == _NFTABLES else "."),
            warning=True,
        )


def _uses_nftables(conf: dict[str, Any]) -> bool:
    """Tell whether portmap makes nftables rules: told to, or because there is no iptables."""
    backend = conf.get("backend")
    return backend == "nftables" or (not backend and programs.which("iptables") is None)
