"""STATUS and GC, which runtimes of CNI 1.1 ask."""

import pytest

from tests.support.agents.case import Case
from tests.support.sandbox.node import LIBCNI_CACHE

pytestmark = pytest.mark.parametrize("facade", ["1.1.0"])
SPEAKS_1_1 = '{"cniVersion": "1.1.0", "name": "cilium", "plugins": [{"type": "cilium-cni"}]}'


def test_status_of_a_node_whose_agents_are_well(case: Case) -> None:
    """No agent is asked: Cilium's file says 1.0.0, so no runtime would ask its plugin either."""
    status = case.cni("status").succeeded()

    assert status.calls == []


def test_status_while_cilium_is_stopped(case: Case) -> None:
    """The same, at once: asking would take the node NotReady at every restart of the agent."""
    case.node.cilium.stop()

    case.cni("status").succeeded()


def test_status_without_ciliums_file(case: Case) -> None:
    """The node is not ready while the owner of its addresses has written nothing; without Istio's file it is."""
    with case.node.istio_as("--chained-cni-plugin=true"):
        case.cni("status").succeeded()
    with case.node.cilium_as("--cni-chaining-mode=aws-cni"):
        unready = case.cni("status")

    assert unready.error["code"] == 50
    assert "waiting for cilium's CNI configuration" in unready.error["msg"]


def test_status_that_ciliums_own_file_asks_for(case: Case) -> None:
    """Then its agent is asked; a stopped one makes the node unready within STATUS's two seconds."""
    with case.node.cilium_reading(SPEAKS_1_1):
        case.node.lay_facade(case.version, timeouts={"STATUS": 30})  # a plugin may start slowly
        well = case.cni("status").succeeded()
        case.node.lay_facade(case.version)
        case.node.cilium.stop()
        stopped = case.cni("status")

    assert "GET /v1/healthz 200" in well.asked("cilium-agent")
    assert stopped.error["code"] == 50
    assert "cilium" in stopped.error["msg"]


def test_gc_of_a_pod_that_its_runtime_has_forgotten(case: Case) -> None:
    """Its endpoint is deleted from the record; the pod that the runtime lists is left alone."""
    with case.added() as forgotten, case.added() as known:
        for file in case.node.sandbox.path(f"{LIBCNI_CACHE}/results").iterdir():
            file.unlink()  # else libcni itself deletes what it remembers
        collected = case.cni("gc", valid=[known])
        interfaces = case.node.pod_interfaces(forgotten), case.node.pod_interfaces(known)
        endpoints = list(case.node.agent_state()["endpoints"])
        case.cni("del", known).succeeded()

    assert collected.succeeded().asked("cilium-agent")[-1] == (
        f"DELETE /v1/endpoint/cni-attachment-id:{forgotten.id}:eth0 200"
    )
    assert interfaces == ([], ["eth0"])
    assert endpoints == [f"{known.id}:eth0"]


def test_gc_while_cilium_is_killed(case: Case) -> None:
    """The plugin queues the DEL for the next agent; nothing is left for a second GC."""
    with case.added() as forgotten:
        for file in case.node.sandbox.path(f"{LIBCNI_CACHE}/results").iterdir():
            file.unlink()
        case.node.cilium.kill()
        case.cni("gc").succeeded()
        queued = case.node.queued()
        case.node.cilium.start()

    assert forgotten.id
    assert len(queued) == 1
