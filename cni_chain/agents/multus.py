"""Multus: the runtime's plugin, which runs another configuration for the pods' network; the facade can be that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cni_chain.agents.agent import Agent, Sign, text


class Multus(Agent):
    """Multus, thin or thick: it calls the chain and has no part in it."""

    def sign_of(self, conf: Mapping[str, Any]) -> Sign | None:
        """Return the sign of the thick one's daemon; the thin plugin needs none."""
        if self.sign is None or conf.get("type") != "multus-shim":
            return None
        directory = text(conf, "socketDir")
        return replace(self.sign, path=f"{directory.rstrip('/')}/multus.sock") if directory else self.sign


MULTUS = Multus(
    name="Multus",
    owner="",
    types=("multus", "multus-shim"),
    file="00-multus.conf",
    by_hand="stays first and takes the facade for the pods' network: multusMasterCNI (thick), "
    "--multus-master-cni-file-name (thin)",
    sign=Sign(
        agent="Multus's daemon",
        path="/run/multus/multus.sock",
        pod="kube-multus",
        only="thick",
        why="Multus is what the runtime calls, so no new pod starts, and none is deleted.",
    ),
)
