"""Known holes of plugins and runtimes, by the releases that have them. Pure.

Those that concern the network of pods, or who may become root by way of it; no list of all there are.
"""

from __future__ import annotations

from typing import NamedTuple

Release = tuple[int, ...]


class Hole(NamedTuple):
    """A hole: of which programs, in which releases (each range from, and before), what comes of it, and what helps."""

    programs: frozenset[str]
    releases: tuple[tuple[Release, Release], ...]
    name: str
    why: str
    do: str = ""  # besides an update

    def fixed(self, release: Release) -> Release | None:
        """Return the release that mends it, None if `release` doesn't have it."""
        return next((before for since, before in self.releases if since <= release < before), None)


NFTABLES = "CVE-2025-67499"
_MAKERS = frozenset(("bridge", "ptp", "macvlan", "ipvlan", "vlan", "host-device"))

# The reference plugins': https://github.com/containernetworking/plugins/security/advisories, and two that are older
# than that page. The others': the projects' own advisories.
_HOLES = (
    Hole(
        frozenset(("portmap",)),
        (((1, 6, 0), (1, 9, 0)),),
        NFTABLES,
        "With nftables it forwards traffic to a pod's hostPort at any address to that pod, not only at the node's own.",
        'or write "backend": "iptables" into its fragment',
    ),
    Hole(
        frozenset(("portmap",)),
        (((0,), (0, 7, 5)),),
        "CVE-2019-9946",
        "Its rules come before those of services, so a pod's hostPort takes a service's traffic.",
    ),
    Hole(
        _MAKERS,
        (((0,), (0, 8, 6)),),
        "CVE-2020-10749",
        "A pod can make itself the node's or another pod's IPv6 router by a router advertisement.",
    ),
    Hole(
        frozenset(("calico",)),
        (((0,), (3, 20, 5)), ((3, 21), (3, 21, 5)), ((3, 22), (3, 22, 2))),
        "CVE-2022-28224",
        "Who may annotate a pod can have traffic for any address routed to it, though floating IPs are off.",
    ),
    Hole(
        frozenset(("cilium-cni",)),
        (((0,), (1, 9, 16)), ((1, 10), (1, 10, 11)), ((1, 11), (1, 11, 5))),
        "CVE-2022-29178",
        "The agent's socket is open to the group 1000 of the node, which can change every pod's network by it.",
    ),
    Hole(
        frozenset(("containerd",)),
        (((0,), (1, 3, 9)), ((1, 4), (1, 4, 3))),
        "CVE-2020-15257",
        "A pod with the host's network can command other containers by the shim's abstract socket, and become root.",
    ),
    Hole(
        frozenset(("containerd",)),
        (((1, 3, 9), (1, 4)), ((1, 4, 3), (1, 4, 11)), ((1, 5), (1, 5, 7))),
        "CVE-2021-41103",
        "Its directories let every user of the node run programs of containers, those with the set-user-ID bit too.",
    ),
    Hole(
        frozenset(("CRI-O",)),
        (
            ((1, 19), (1, 19, 6)),
            ((1, 20), (1, 20, 7)),
            ((1, 21), (1, 21, 6)),
            ((1, 22), (1, 22, 3)),
            ((1, 23), (1, 23, 2)),
        ),
        "CVE-2022-0811",
        "Who may make pods can set any of the kernel's parameters by a sysctl of the pod, and become root on the node.",
    ),
)


def of(program: str) -> list[Hole]:
    """Return the holes that some releases of a plugin or runtime have."""
    return [hole for hole in _HOLES if program in hole.programs]


def known(program: str, release: Release) -> list[tuple[Hole, Release]]:
    """Return the holes of one release, each with the release that mends it."""
    return [(hole, fixed) for hole in of(program) if (fixed := hole.fixed(release)) is not None]
