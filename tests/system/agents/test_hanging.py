"""An agent that takes connections and answers none; with budgets cut short (test_waiting.py has the real ones)."""

import pytest

from tests.support.agents.case import Case
from tests.support.stand_ins.orders import NAMESPACES_HANG

pytestmark = pytest.mark.parametrize("facade", ["1.0.0"])
SHORT = {"ADD": 4, "DEL": 4, "CHECK": 3}  # of what hangs at once
AMPLE = {"ADD": 15}  # of what hangs after another plugin, which must come through on a busy machine too


def test_cilium_hangs(case: Case) -> None:
    """ADD and DEL end, say whose plugin waits, and keep what is to be undone: the next DEL after it does all of it."""
    with case.added() as before, case.pod() as pod:
        case.node.lay_facade(case.version, timeouts=SHORT)
        case.node.cilium.freeze()
        checked, added, deleted = case.cni("check", before), case.cni("add", pod), case.cni("del", before)
        case.node.cilium.thaw()
        case.node.lay_facade(case.version)
        case.cni("del", pod).succeeded()
        case.cni("del", before).succeeded()

    for step, key in ((checked, "CHECK"), (added, "ADD"), (deleted, "DEL")):
        assert step.error["code"] == 101
        assert step.error["msg"].startswith("cilium/cilium-cni: did not end in time and was killed")
        assert f"timeouts.{key}" in step.error["msg"]
        assert "look at what it waits for, such as its agent" in step.error["msg"]


def test_kubernetes_api_hangs(case: Case) -> None:
    """istio-cni waits for the namespace without end: it is killed, Cilium gets its DEL. Pods of before go as ever."""
    with case.added() as before, case.pod() as pod:
        case.node.lay_facade(case.version, timeouts=AMPLE)
        case.node.kubernetes.order(NAMESPACES_HANG)
        refused = case.cni("add", pod)
        interfaces = case.node.pod_interfaces(pod)
        case.cni("del", before).succeeded()

    assert refused.error["code"] == 101
    assert refused.error["msg"].startswith("istio/istio-cni: did not end in time and was killed")
    assert any(call.startswith("DELETE /v1/endpoint") for call in refused.asked("cilium-agent"))
    assert "GET /api/v1/namespaces/mesh" in refused.asked("kubernetes")
    assert refused.asked("istio-node-agent") == []
    assert interfaces == []


def test_istios_agent_hangs(case: Case) -> None:
    """The plugin gives up by itself after 5 s; the pod is taken back, and pods of before go at once."""
    with case.added() as before, case.pod() as pod:
        case.node.istio.freeze()
        refused = case.cni("add", pod)
        interfaces = case.node.pod_interfaces(pod)
        case.cni("del", before).succeeded()

    assert refused.error["msg"].startswith("istio/istio-cni: ")
    assert "failed to contact node Istio CNI agent" in refused.text
    assert refused.enrolled == []
    assert interfaces == []
