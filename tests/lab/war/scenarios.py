"""What may be fought for: where each agent is told to write, and how; and what a runtime makes of what is there."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cni_chain.plugin import chain, facade, fragments
from cni_chain.plugin.errors import CNIError
from tests.support.agents.writers import ADVISED, CILIUM, EXCLUSIVE, ISTIO
from tests.support.sandbox.node import CHAIN, FACADE, NET

THEN = " → "  # between the plugins of a chain
WAITS = "waits: "  # before the reason for which a pod gets no network yet
NOTHING = "no network"


class Scenario(NamedTuple):
    """Where the two agents write and with which settings (flags of their writers)."""

    title: str
    told: str
    directories: dict[str, str]  # agent → directory
    settings: dict[str, tuple[str, ...]]  # agent → flags
    split: bool = False  # cni-chain composes what the two write
    restarts: bool = False  # agents that are left alone show nothing


ONE = {CILIUM: NET, ISTIO: NET}
SCENARIOS = {
    "war": Scenario("One directory", "both agents at their defaults", ONE, {CILIUM: (EXCLUSIVE,), ISTIO: ()}),
    "istio-owned": Scenario(
        "One directory",
        "Cilium at its defaults, Istio with istioOwnedCNIConfig",
        ONE,
        {CILIUM: (EXCLUSIVE,), ISTIO: ("--istio-owned-cni-config",)},
    ),
    "not-exclusive": Scenario(
        "One directory",
        "Cilium with cni.exclusive=false, Istio at its defaults",
        ONE,
        {CILIUM: ("--cni-exclusive=false",), ISTIO: ()},
        restarts=True,
    ),
    "split": Scenario(
        "cni-chain",
        "each agent with a directory of its own, as conf/helm sets it",
        {CILIUM: f"{CHAIN}/cilium.d", ISTIO: f"{CHAIN}/istio.d"},
        {CILIUM: (EXCLUSIVE,), ISTIO: ADVISED},
        split=True,
        restarts=True,
    ),
}


def look(scenario: Scenario, root: Path) -> Callable[[], str]:
    """Return what tells, when it is called, what a pod would get from the node at `root` that starts in that moment."""
    if scenario.split:
        return lambda: composed(root)
    return lambda: first_file(root / NET.lstrip("/"))


def first_file(directory: Path) -> str:
    """The plugins of the file that a runtime takes: the first by name of those that libcni looks at."""
    for name in sorted(os.listdir(directory)):
        if name.endswith((".conf", ".conflist", ".json")):
            try:
                conf = json.loads((directory / name).read_bytes())
            except FileNotFoundError:
                continue  # taken away since; the next look sees what is there then
            return THEN.join(plugin["type"] for plugin in conf.get("plugins", [conf]))
    return NOTHING


def composed(root: Path) -> str:
    """The chain as cni-chain itself reads it, from the facade and the owners' directories, or why a pod waits."""
    net = root / NET.lstrip("/")
    outer = first_file(net)
    if outer != "cni-chain":
        return f"{outer} (not cni-chain alone)"
    [conf] = json.loads((net / FACADE).read_bytes())["plugins"]
    parsed, problems, _ = facade.parse(conf)
    if problems:
        return WAITS + "; ".join(map(str, problems))
    directory = str(root / CHAIN.lstrip("/"))
    owners = chain.owners(parsed, fragments.owner_names(directory)[0])
    read = (fragments.read(owner.name, directory, wait=0) for owner in owners)
    try:
        links = chain.required_delegates(chain.resolve(owners, read, ("", "")))
    except CNIError as error:
        return WAITS + error.msg.replace(str(root), "")
    return THEN.join(link.type for link in links)
