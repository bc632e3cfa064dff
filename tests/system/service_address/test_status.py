"""What `status` and `doctor` show of a mesh: do services' addresses reach it, and are the pods captured?"""

import json

import pytest

from tests.support.bpf.chain import MeshedNode
from tests.system.service_address.test_add import cilium
from tests.system.service_address.test_check import FOUR, full, idle, node_only

__all__ = ["cilium"]

OURS = {"service-addresses-lost", "service-addresses-unknown", "pods-partly-captured"}
BECOMES = "10.96.0.10:80/tcp becomes 10.244.0.21:8080/tcp"


def found(meshed: MeshedNode) -> list[tuple[str, str]]:
    """The findings of doctor about the mesh: id and severity."""
    document = meshed.document("doctor")
    return [(one["id"], one["severity"]) for one in document["findings"] if one["id"] in OURS]


@pytest.mark.parametrize(
    ("mesh", "severity"),
    [(None, "warning"), ({"serviceAddress": "warn"}, "warning"), ({"serviceAddress": "enforce"}, "error")],
    ids=["no-key", "warn", "enforce"],
)
def test_addresses_that_do_not_survive_are_an_error_where_pods_are_refused(
    cilium: MeshedNode, mesh: dict[str, str] | None, severity: str
) -> None:
    cilium.mesh = mesh
    with full(cilium.node, FOUR):
        assert found(cilium) == [("service-addresses-lost", severity)]
        shown = cilium.document("status")
        lines = cilium.run("status").stdout

    assert shown["mesh"]["serviceAddress"]["verdict"] == "BROKEN"
    assert f"services  BROKEN: {BECOMES}" in lines
    assert ("service-addresses-lost" in [one["id"] for one in shown["findings"]]) == (severity == "error")


@pytest.mark.parametrize(
    ("mesh", "findings"),
    [
        (None, []),
        ({"serviceAddress": "warn"}, [("service-addresses-unknown", "warning")]),
        ({"serviceAddress": "enforce"}, [("service-addresses-unknown", "error")]),
    ],
    ids=["no-key", "warn", "enforce"],
)
def test_what_is_unknown_is_a_finding_only_where_the_facade_asks(
    meshed: MeshedNode, mesh: dict[str, str] | None, findings: list[tuple[str, str]]
) -> None:
    meshed.mesh = mesh
    with idle(meshed.node, FOUR):
        assert found(meshed) == findings
        assert meshed.document("status")["mesh"]["serviceAddress"]["verdict"] == "UNKNOWN"


def test_where_addresses_survive_nothing_is_found(cilium: MeshedNode) -> None:
    with node_only(cilium.node, FOUR):
        assert found(cilium) == []
        assert cilium.document("doctor")["mesh"]["serviceAddress"]["verdict"] == "OK"
        assert "services  OK: 10.96.0.10:80/tcp stays as it is for a pod" in cilium.run("status").stdout


def test_the_verdict_of_an_add_is_taken_while_it_holds(cilium: MeshedNode) -> None:
    with node_only(cilium.node, FOUR):
        assert cilium.call("ADD").code == 0
        cilium.kept.write_text(json.dumps(json.loads(cilium.kept.read_bytes()) | {"why": "as the ADD has found"}))

        assert cilium.document("status")["mesh"]["serviceAddress"]["why"] == "as the ADD has found"
    with full(cilium.node, FOUR):
        assert cilium.document("status")["mesh"]["serviceAddress"]["verdict"] == "BROKEN"


def test_a_chain_without_a_mesh_is_not_looked_at(cilium: MeshedNode) -> None:
    cilium.types = ("net-cni",)
    with full(cilium.node, FOUR):
        assert cilium.document("status")["mesh"] is None
        assert found(cilium) == []
    assert "services" not in cilium.run("status").stdout


def test_pods_are_counted_by_whether_they_are_captured(meshed: MeshedNode) -> None:
    for pod in ("web", "half"):
        meshed.node.sandbox.run("ip", "netns", "add", pod)
        assert meshed.call("ADD", f"shop/{pod}").code == 0
    rule = "iptables-legacy -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001"
    meshed.node.sandbox.run("ip", "netns", "exec", "half", *rule.split())
    try:
        shown = meshed.document("status")
        lines = meshed.run("status").stdout

        assert found(meshed) == [("pods-partly-captured", "warning")]
    finally:
        for pod in ("web", "half"):
            meshed.node.sandbox.run("ip", "netns", "delete", pod)

    assert shown["mesh"]["pods"] == {"captured": 0, "partly": 1, "not": 1, "unknown": 0, "notLookedAt": 0}
    assert "captured  1 partly, 1 not captured: cni-chain mesh pods" in lines


def test_of_many_pods_the_newest_are_looked_at(meshed: MeshedNode) -> None:
    for number in range(13):
        assert meshed.call("ADD", f"shop/web-{number}").code == 0

    shown = meshed.document("status")["mesh"]["pods"]

    assert (shown["notLookedAt"], sum(shown.values())) == (3, 13)
    assert "of the newest 10 of 13 pods" in " ".join(meshed.run("status").stdout.split())
