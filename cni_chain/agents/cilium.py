"""Cilium: alone or chained, by its configuration or by the network's name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cni_chain.agents.agent import Agent, Chart, Sign, Writer

# Networks of these names switch cilium-cni to chaining even if its configuration has no `chaining-mode`;
# the modes have the same names (Cilium, `plugins/cilium-cni/chaining`).
CHAINING = frozenset(("aws-cni", "azure", "flannel", "generic-veth"))

# Seconds that cilium-cni needs to give up on a stopped agent (1.20: 42 for DEL, which then succeeds, 30 for CHECK).
NEEDS = {"DEL": 45, "CHECK": 31}

_HOST_NAMESPACE_ONLY = "socketLB.hostNamespaceOnly"
_CHAINED = (
    "Cilium is chained: with chainingMode aws-cni, or a chainingTarget, its agent would wait in its own directory for "
    "another network's file. Give it only its own part: cni.configMap with the fragment's content, and "
    "cni.chainingMode=generic-veth"
)


class Cilium(Agent):
    """Cilium's agent."""

    def values(self, conf: Mapping[str, Any], directory: str, *, beside_mesh: bool) -> dict[str, str]:
        values = super().values(conf, directory, beside_mesh=beside_mesh)
        return values | ({_HOST_NAMESPACE_ONLY: "true"} if beside_mesh else {})

    def remarks(self, conf: Mapping[str, Any]) -> list[str]:
        if conf.get("chaining-mode") not in (None, "", "none", "flannel", "portmap"):  # these have lists of their own
            return [_CHAINED]
        return ["Cilium 1.12 and 1.13: first set cni.uninstall=false, in a separate roll-out"]

    def sign_of(self, conf: Mapping[str, Any]) -> Sign | None:
        # cilium-cni itself reads the address from this variable of the runtime.
        path = os.environ.get("CILIUM_SOCK", "").removeprefix("unix://")
        sign = super().sign_of(conf)
        return sign._replace(path=path) if sign and path else sign


CILIUM = Cilium(
    name="Cilium",
    owner="cilium",
    types=("cilium-cni",),
    file="05-cilium.conflist",
    network="cilium",
    older=("05-cilium.conf",),  # 1.12 and 1.13
    renames=True,
    chart=Chart(
        name="cilium/cilium",
        file="cilium-values.yaml",
        values={"cni.confPath": "{directory}"},
        back={"cni.confPath": "{net_dir}"},
        shared={"cni.exclusive": "false"},
        alone={"cni.exclusive": "true"},
        more={_HOST_NAMESPACE_ONLY: "true"},
        releases="1.12 to 1.20",
        otherwise=f"1.12, 1.13: first `cni.uninstall: false`; beside a mesh: `{_HOST_NAMESPACE_ONLY}: true`",
        release="cilium",
        namespace="kube-system",
        daemonset="cilium",
    ),
    sign=Sign(
        agent="Cilium's agent",
        path="/var/run/cilium/cilium.sock",
        why="No new pod starts, and each DEL takes up to 42 s.",
        do="Check the cilium pod on this node. (When the agent is back, it cleans up after pods that were deleted.)",
        frozen="No new pod starts, and none is deleted: its plugin waits for an answer until its timeout.",
    ),
    writer=Writer("cilium-agent", "cni.confPath"),
    hint="For Cilium: cni.confPath must be this directory, and cni.chainingMode must not need another agent's file. "
    "With cni.exclusive=false its agent writes a deleted file again only when it starts: restart its pod on this node.",
)
