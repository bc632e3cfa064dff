"""`cni-chain watch` while Cilium's and Istio's own writers fight over one directory."""

import json

from tests.support.agents.split_node import SplitNode
from tests.support.agents.writers import EXCLUSIVE
from tests.support.sandbox.node import BIN, FACADE, NET, wait_for

OWN = "05-cilium.conflist"
CHAINED = "--chained-cni-plugin=true"  # Istio's default


def test_the_war_is_named_with_both_agents(node: SplitNode) -> None:
    """At their defaults, without cni-chain: Cilium rewrites what Istio has appended to, and Istio appends again."""
    node.sandbox.path(f"{NET}/{FACADE}").unlink()
    cilium, istio = node.cilium(NET, EXCLUSIVE), node.istio(NET, CHAINED)
    with node.sandbox.running(f"{BIN}/cni-chain", "watch", "--json", "--for", "90s") as watch:
        cilium.start()
        wait_for(lambda: OWN in node.names(NET), "Cilium has written its file")
        istio.start()
        assert watch.stdout
        lines = (json.loads(line) for line in watch.stdout)
        declared = next(line for line in lines if "war" in line or "files" in line)

    assert declared.get("path") == f"{NET}/{OWN}", declared
    assert {writer["command"] for writer in declared["war"]["writers"]} == {"cilium-conf-writer", "istio-installer"}
