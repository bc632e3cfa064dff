"""The doctor's look at the executables: missing ones, and releases with a known hole. Asks them only on this system."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

from cni_chain.checks import holes
from cni_chain.checks.words import Node, Trouble
from cni_chain.node import executables, programs
from cni_chain.node.survey import Survey
from cni_chain.plugin.chain import Link
from cni_chain.plugin.errors import CNIError


def check(node: Node) -> Iterator[Trouble]:
    """Yield what is wrong with the executables of every chain, and of those beside them."""
    yield from _set_user_id(node)
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
    file = survey.binary(link)
    if not holes.of(link.type) or isinstance(file, CNIError) or not survey.tree.is_this_system:
        return
    release = executables.release(file)
    for hole, fixed in holes.known(link.type, release) if release is not None else ():
        if hole.name == holes.NFTABLES and not _uses_nftables(link.conf):
            continue
        yield Trouble(
            "plugin-hole",
            file,
            f"{link.type} {'.'.join(map(str, release or ()))} has {hole.name}",
            hole.why,
            f"Install {link.type} {'.'.join(map(str, fixed))} or later{f', {hole.do}' if hole.do else ''}.",
            warning=True,
        )


def _set_user_id(node: Node) -> Iterator[Trouble]:
    """Yield the executables beside the plugins that make whoever runs them root, as Calico's installer once did."""
    for directory in node.bin_dirs:
        try:
            names = sorted(os.listdir(node.tree.real(directory)))
        except OSError:  # told where a plugin is missing in it
            continue
        for name in names:
            path = f"{directory}/{name}"
            try:
                mode = os.stat(node.tree.real(path)).st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and mode & stat.S_ISUID:
                yield Trouble(
                    "plugin-set-user-id",
                    path,
                    f"mode {stat.S_IMODE(mode):04o}: runs as its owner, whoever starts it",
                    "No plugin needs that, since the runtime is root; every user of the node can become root by it. "
                    "Calico's installer was put here like this (CVE-2024-33522, before 3.26.5 and 3.27.3).",
                    f"chmod u-s {path}, and install its agent's newer release, or it comes again.",
                )


def _uses_nftables(conf: dict[str, Any]) -> bool:
    """Tell whether portmap makes nftables rules: told to, or because there is no iptables."""
    backend = conf.get("backend")
    return backend == "nftables" or (not backend and programs.which("iptables") is None)
