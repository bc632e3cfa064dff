"""Istio's agent pod is away for long: the token with which istio-cni asks for a pod counts no more.

istio-cni reads it when it starts and then tries for half a minute (test_waiting.py has that as it is); `timeoutSeconds`
of its owner ends that sooner, so that a try after the agent's return comes sooner (python -m tests.lab.agents.away).
"""

import pytest

from tests.support.agents.agent_pod import agent_pod, owners_with_limit
from tests.support.agents.case import Case
from tests.support.agents.node import PLAIN

pytestmark = pytest.mark.parametrize("facade", ["1.0.0"])
# As long as the plugin may take when all is well, on a busy machine too; and what it takes without a limit, at least.
LIMIT_SECONDS, ITS_OWN_SECONDS = 10, 30


def test_agent_away_with_a_time_limit_for_its_owner(case: Case) -> None:
    """In the mesh and outside it the ADD ends at the limit, and is rolled back; the one after the return succeeds."""
    with agent_pod(case.node) as agent, case.pod() as pod, case.pod(PLAIN) as plain:
        case.node.lay_facade(case.version, owners=owners_with_limit(case.node, LIMIT_SECONDS))
        agent.goes()
        refused = [case.cni("add", one) for one in (pod, plain)]
        interfaces = [case.node.pod_interfaces(one) for one in (pod, plain)]
        agent.comes_back()
        added = [case.cni("add", one).succeeded() for one in (pod, plain)]
        for one in (pod, plain):
            case.cni("del", one).succeeded()

    for step in refused:
        assert step.error["code"] == 101
        assert step.error["msg"].startswith(
            f"istio/istio-cni: did not end in time and was killed (timeoutSeconds is {LIMIT_SECONDS} s)"
        )
        assert LIMIT_SECONDS <= step.answer.ms / 1000 < ITS_OWN_SECONDS
        assert any(call.startswith("DELETE /v1/endpoint") for call in step.asked("cilium-agent"))
        assert step.asked("kubernetes")
        assert {call.status for call in step.calls if call.to == "kubernetes"} == {401}
        assert step.asked("istio-node-agent") == []
    assert interfaces == [[], []]
    assert [len(step.enrolled) for step in added] == [1, 0]


def test_what_goes_on_while_the_agent_is_away(case: Case) -> None:
    """Pods of namespaces that Istio leaves out start, pods of before are deleted: the API is asked for neither."""
    with agent_pod(case.node) as agent, case.added() as before, case.pod("kube-system", "dns") as left_out:
        agent.goes()
        deleted = case.cni("del", before).succeeded()
        added = case.cni("add", left_out).succeeded()
        case.cni("del", left_out).succeeded()

    for step in (deleted, added):
        assert step.asked("kubernetes") == []
        assert step.answer.ms < 10000
