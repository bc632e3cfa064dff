"""Rules about containerd and CRI-O: whether their settings and releases fit the facades."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, Needs, of_node
from cni_chain.node import crio, facades
from cni_chain.node.locate import Place
from cni_chain.plugin.spec import at_least

ELSEWHERE = Kind(
    "runtime-elsewhere",
    ERROR,
    "containerd's or CRI-O's settings name another directory than the one that cni-chain checks",
    "A facade that the runtime doesn't see has no effect: no new pod gets the chain.",
    "Put the facade there, and pass --net-dir to cni-chain's commands.",
    stops=True,
)
OTHER_NETWORK = Kind(
    "runtime-other-network",
    ERROR,
    "CRI-O's settings name another network than the facade's",
    "CRI-O uses only the network of that name: no pod gets the chain.",
    f"Give the facade that name, or remove {crio.KEY} from this file, and restart CRI-O.",
    stops=True,
)
UNREADABLE = Kind(
    "runtime-settings-unreadable",
    WARNING,
    "CRI-O's settings can't be read",
    "CRI-O doesn't start with them, or uses another network than cni-chain's commands report.",
    "Correct the file.",
)
TOO_OLD = Kind(
    "runtime-too-old",
    ERROR,
    "the facade's `cniVersion` is newer than the runtime's release supports",
    "The runtime fails after a pod's network is set up: no pod starts, though the node is Ready.",
    'Write "cniVersion": "1.0.0" and "cniVersions": ["1.0.0", "1.1.0"].',
    replaces=("facade-version-new",),
)


@of_node(ELSEWHERE, UNREADABLE)
def settings(node: Node) -> Iterator[Finding]:
    """Yield the runtimes whose settings name another directory, or can't be read."""
    for name, found in node.settings.items():
        if found.failure:
            yield UNREADABLE.at(found.file, found.failure)
        elif found.net_dir and os.path.normpath(found.net_dir) != node.directory.path == facades.NET_DIR:
            yield ELSEWHERE.at(
                found.net_dir,
                f"{name} reads its networks from here, not from {node.directory.path}",
                do=f"Put the facade there, and pass --net-dir {found.net_dir} to cni-chain's commands.",
            )


@of_node(OTHER_NETWORK)
def network(node: Node) -> Iterator[Finding]:
    """Yield a setting of CRI-O, where it may be the runtime, with which it uses no facade."""
    names = [survey.file.network for survey in node.surveys]
    if node.pin is not None and names and node.pin.network not in names:
        what = f"CRI-O's {crio.KEY} is {node.pin.network}; the facade is {', '.join(names)}"
        yield OTHER_NETWORK.at(node.pin.file, what)


@of_node(TOO_OLD, needs=Needs.NODE)
def too_old(node: Node) -> Iterator[Finding]:
    """Yield the facades whose version is newer than a runtime's release supports."""
    for runtime in node.runtimes:
        for survey in node.surveys:
            if runtime.is_new is False and at_least(survey.file.version, "1.1.0"):
                yield TOO_OLD.at(
                    Place(survey.file.path, survey.file.find("cniVersion")),
                    f"cniVersion {survey.file.version} is newer than {runtime.name} {runtime.version} supports",
                )
