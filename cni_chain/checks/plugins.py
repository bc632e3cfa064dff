"""Rules about the plugins' executables: missing ones, the versions they support, and a CHECK that is known to fail."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from cni_chain.checks.node import Node
from cni_chain.checks.places import Places
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, Needs, of_chain, of_node
from cni_chain.node import crio, executables
from cni_chain.node.locate import Place
from cni_chain.node.survey import Survey
from cni_chain.plugin.chain import Delegate
from cni_chain.plugin.errors import CNIError
from cni_chain.plugin.spec import at_least

_NO_POD = "No new pod starts: every plugin of the chain must exist and be executable before the first one runs."

MISSING = Kind(
    "plugin-missing",
    ERROR,
    "a plugin of the chain is not in the runtime's directories",
    _NO_POD,
    "Have its owner's agent install it again (restart the agent on this node), or remove the fragment. If the "
    "runtime's plugins are in another directory, pass it with --bin-dir.",
    refused=True,
)
NOT_EXECUTABLE = Kind(
    "plugin-not-executable",
    ERROR,
    "a plugin of the chain exists but isn't executable",
    _NO_POD,
    "chmod +x the file, or have its owner's agent install it again.",
    refused=True,
)
IPAM_MISSING = Kind(
    "ipam-plugin-missing",
    ERROR,
    "the IPAM plugin that a plugin of the chain runs doesn't exist, or isn't executable",
    "No new pod gets an address, so no new pod starts.",
    "Have its owner's agent install it again (restart the agent on this node). If the runtime's plugins are in another "
    "directory, pass it with --bin-dir.",
    stops=True,
)
SET_USER_ID = Kind(
    "plugin-set-user-id",
    ERROR,
    "an executable beside the plugins runs as its owner, whoever starts it",
    "No plugin needs that, since the runtime runs as root; with it every user of the node can become root. Calico's "
    "installer had such a mode here (CVE-2024-33522, before 3.26.5 and 3.27.3).",
    "chmod u-s the file, and install a newer release of its agent, or the agent sets the mode again.",
)
SILENT = Kind(
    "plugin-silent",
    ERROR,
    "a plugin can't be executed or doesn't answer VERSION",
    "cni-chain asks each plugin for its versions before it runs the first one: no new pod starts.",
    "Have its owner's agent install it again; run the file by hand to see what it prints.",
    refused=True,
)
OLD = Kind(
    "plugin-old",
    WARNING,
    "a plugin supports no version of CNI from 0.4.0 on",
    "cni-chain never calls its CHECK, and passes no prevResult to its DEL.",
    "Install a newer release of it.",
)
CHECK_FAILS = Kind(
    "plugin-check-fails",
    WARNING,
    "a reference plugin's CHECK is known to fail for healthy pods, and CRI-O may call it",
    "CRI-O calls CHECK after each ADD, and such a pod doesn't start.",
    "Install a release that fixes it, or set disableCheck for its owner.",
)

# Reference plugins whose CHECK fails for healthy pods: the release that fixes it (None: none up to 1.9.1),
# for which pods, and why.
_FAILS: dict[str, tuple[tuple[int, ...] | None, str, str]] = {
    "bandwidth": ((1, 9, 1), "for a pod without bandwidth", "containernetworking/plugins issue 1221, a panic"),
    "portmap": ((1, 3, 0), "for a pod without an IPv6 address", "containernetworking/plugins issue 819"),
    "sbr": (None, "behind bridge", "it doesn't find the routes that it moved itself"),
}


@of_chain(MISSING, NOT_EXECUTABLE, IPAM_MISSING)
def missing(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the plugins that can't be found, and the IPAM plugins that they execute."""
    for link in survey.delegates:
        ipam = link.conf.get("ipam")
        name = ipam.get("type") if isinstance(ipam, dict) else None
        if isinstance(name, str) and name and "/" not in name:
            yield from _missing(IPAM_MISSING, survey, link, name, places.link(link, "ipam.type"))
        kind = NOT_EXECUTABLE if survey.installed(link.type) else MISSING
        yield from _missing(kind, survey, link, link.type, places.link(link))


def _missing(kind: Kind, survey: Survey, link: Delegate, name: str, place: Place) -> Iterator[Finding]:
    found = survey.executable(name, link)
    if isinstance(found, CNIError):
        file = survey.installed(name)
        first = f"chmod +x {file}. If that is not enough, h" if file else "H"
        yield kind.at(
            place,
            found.msg,
            do=f"{first}ave the agent of {link.owner.name} install it again (restart the agent on this node), or "
            f"remove the fragment {link.path}. If the runtime's plugins are in another directory, pass it with "
            "--bin-dir.",
            owner=link.owner.name,
        )


@of_node(SET_USER_ID)
def set_user_id(node: Node) -> Iterator[Finding]:
    """Yield the executables beside the plugins that run as their owner, as Calico's installer once did."""
    for directory in node.bin_dirs:
        for name in node.tree.names(directory):
            path = f"{directory}/{name}"
            try:
                mode = os.stat(node.tree.real(path)).st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and mode & stat.S_ISUID:
                what = f"mode {stat.S_IMODE(mode):04o}: runs as its owner, whoever starts it"
                yield SET_USER_ID.at(path, what)


@of_node(SILENT, OLD, CHECK_FAILS, needs=Needs.PLUGINS)
def versions(node: Node) -> Iterator[Finding]:
    """Yield what the plugins' answers to VERSION show; plugins of another system's tree are not run."""
    for survey in node.surveys if node.tree.is_this_system else ():
        done: set[str] = set()
        for link in survey.delegates:
            file = survey.binary(link)
            if isinstance(file, CNIError) or file in done:
                continue
            done.add(file)
            spoken = node.spoken(survey).versions(link)
            place = node.places(survey).link(link)
            if spoken is None:
                yield SILENT.at(place, node.spoken(survey).silence(link))
                continue
            if not at_least(spoken[-1], "0.4.0"):
                what = f"{file} supports {spoken[-1]} at most"
                yield OLD.at(place, f"{what}: cni-chain never calls its CHECK, and passes no prevResult to its DEL")
            asks = (survey.file.version, *survey.file.versions)
            if any(at_least(version, "0.4.0") for version in asks if version) and crio.may_run(node.tree):
                yield from _check(file, spoken, link, place)


def _check(file: str, spoken: tuple[str, ...], link: Delegate, place: Place) -> Iterator[Finding]:
    """Yield a plugin whose CHECK is known to fail for healthy pods."""
    if link.type not in _FAILS or link.disable_check:
        return
    fixed, when, what = _FAILS[link.type]
    release = executables.release(file) if fixed else None
    if fixed and release is None and not executables.is_before_1_6(file, spoken):
        return
    if fixed and release is not None and release >= fixed:
        return
    sure = "fails" if release or fixed is None or fixed >= (1, 6) else "may fail"
    name = f"{link.type} {'.'.join(map(str, release))}" if release else link.type
    cure = f"install {'.'.join(map(str, fixed))} or later, or " if fixed else ""
    yield CHECK_FAILS.at(
        place,
        f"{name} {sure} CHECK {when} ({what}): CRI-O calls CHECK after each ADD, and such a pod doesn't start; {cure}"
        f"set disableCheck for owner {link.owner.name}",
    )
