"""Multus: the runtime calls it, and it runs another configuration for the pods' network, for instance the facade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cni_chain.agents.agent import Agent, Sign, text


class Multus(Agent):
    """Multus, thin or thick: it calls the chain and isn't part of it."""

    def sign_of(self, conf: Mapping[str, Any]) -> Sign | None:
        """Return the sign of the thick plugin's daemon; the thin plugin needs none."""
        if self.sign is None or conf.get("type") != "multus-shim":
            return None
        directory = text(conf, "socketDir")
        return self.sign._replace(path=f"{directory.rstrip('/')}/multus.sock") if directory else self.sign


MULTUS = Multus(
    name="Multus",
    owner="",
    types=("multus", "multus-shim"),
    file="00-multus.conf",
    by_hand="stays first and uses the facade for the pods' network: multusMasterCNI (thick), "
    "--multus-master-cni-file-name (thin)",
    sign=Sign(
        agent="Multus's daemon",
        path="/run/multus/multus.sock",
        pod="kube-multus",
        only="thick",
        why="The runtime calls Multus, so no new pod starts, and none is deleted.",
    ),
)
