"""The agents that `migrate` knows: what they contribute, and which file each writes, in which form. Data only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

LOCAL = "local"
CILIUM, ISTIO = "cilium", "istio"
MULTUS = frozenset(("multus", "multus-shim"))


class Agent(NamedTuple):
    """One agent: the owner's name, its plugins, and its file as it writes it itself."""

    owner: str
    types: tuple[str, ...]
    file: str
    single: bool = False  # writes the bare plugin, no list
    exempt: tuple[tuple[str, str], ...] = ()  # its own pods: namespace, beginning of the name
    seed: str = ""  # it only edits lists that are there: the name of the one that it gets
    before: tuple[str, ...] = ()  # plugins that must be in that list before its own; the facade leaves them out
    edits: bool = False  # while it is not moved it edits whatever list it finds, so also the facade


AGENTS = (
    Agent(CILIUM, ("cilium-cni",), "05-cilium.conflist"),
    Agent(ISTIO, ("istio-cni",), "10-istio.conf", single=True, exempt=(("istio-system", "istio-cni-node-"),)),
    Agent(
        "linkerd",
        ("linkerd-cni",),
        "10-seed.conflist",  # its installer skips files that are named after it
        exempt=(("linkerd-cni", "linkerd-cni-"),),
        seed="seed",
        edits=True,
    ),
    Agent("kuma", ("kuma-cni",), "kuma-cni.conf", single=True, exempt=(("kube-system", "kuma-cni-node-"),), edits=True),
    Agent(
        "consul",
        ("consul-cni",),
        "10-seed.conflist",
        exempt=(("consul", "consul-cni-"),),
        seed="seed",
        before=("loopback",),
        edits=True,
    ),
    Agent("calico", ("calico",), "10-calico.conflist"),
    Agent("flannel", ("flannel",), "10-flannel.conflist"),
    Agent("aws", ("aws-cni", "egress-cni", "egress-v4-cni", "egress-v6-cni"), "10-aws.conflist"),
    Agent("azure", ("azure-vnet",), "10-azure.conflist"),
    Agent("antrea", ("antrea",), "10-antrea.conflist"),
    Agent("kube-ovn", ("kube-ovn",), "01-kube-ovn.conflist"),
    Agent("ovn-kubernetes", ("ovn-k8s-cni-overlay",), "10-ovn-kubernetes.conf", single=True),
    Agent("weave", ("weave-net",), "10-weave.conflist"),
    Agent("terway", ("terway",), "10-terway.conflist"),
)

BY_OWNER = {agent.owner: agent for agent in AGENTS}
OWNER_OF = {kind: agent.owner for agent in AGENTS for kind in agent.types}


def seeds(types: Iterable[str] | None) -> set[str]:
    """Return the plugins that an agent's list has only because it edits no list without them, for an owner's types."""
    return {kind for agent in AGENTS if set(agent.types).intersection(types or ()) for kind in agent.before}


def is_local(owner: str) -> bool:
    """Tell whether an owner is the administrator: `local`, or a further part of it, `local-2`."""
    return owner == LOCAL or owner.startswith(f"{LOCAL}-")


def istio_leaves_others_first(conf: dict[str, Any]) -> bool:
    """Tell whether an Istio that wrote `conf` only warns when another file sorts first (1.27); older ones append.

    Its version isn't written anywhere on the node; these keys came with 1.27.
    """
    return "native_nftables" in conf or "enablement_selectors" in conf


def istio_has_own_chart(conf: dict[str, Any]) -> bool:
    """Tell whether an Istio that wrote `conf` has the chart's values at the top (1.24), not below `cni`."""
    return "plugin_log_level" in conf
