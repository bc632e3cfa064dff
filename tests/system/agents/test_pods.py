"""Pods that come and go while both agents are well."""

import json

import pytest

from tests.support.agents.asked import CREATED, DELETED, GONE_ALREADY, WELL, looked_up
from tests.support.agents.case import Case
from tests.support.agents.node import MESH, PLAIN
from tests.support.sandbox.node import addresses, types
from tests.system.agents.conftest import both


@both
def test_pod_in_the_mesh(case: Case) -> None:
    """It gets Cilium's addresses, and Istio's agent was told them before the runtime has the result."""
    cilium = case.node.cilium_version
    with case.pod() as pod:
        added = case.cni("add", pod)
        interfaces = case.node.pod_interfaces(pod)
        checked = case.cni("check", pod).succeeded()
        deleted = case.cni("del", pod).succeeded()
        interfaces_after = case.node.pod_interfaces(pod)
        again = case.cni("del", pod).succeeded()

    assert added.result["cniVersion"] == case.version
    assert addresses(added.result) == ["fd00:244::2", "10.244.0.2"]
    assert interfaces == ["eth0"]
    assert added.asked("cilium-agent") == CREATED
    assert added.asked("kubernetes") == looked_up(MESH)
    [enrolment] = added.enrolled
    assert enrolment.note["addresses"] == ["fd00:244::2/128", "10.244.0.2/32"]
    assert (enrolment.body["Netns"], enrolment.body["PodNamespace"]) == (pod.netns, MESH)
    assert checked.asked("cilium-agent") == WELL
    assert deleted.asked("cilium-agent") == DELETED[cilium]
    assert again.asked("cilium-agent")[-1:] == GONE_ALREADY[cilium]
    assert interfaces_after == []
    assert [step.asked("istio-node-agent") for step in (checked, deleted, again)] == [[], [], []]


@both
@pytest.mark.parametrize(
    ("namespace", "name"), [(PLAIN, ""), (MESH, "opted-out")], ids=["of another namespace", "labelled out of it"]
)
def test_pod_not_in_the_mesh(case: Case, namespace: str, name: str) -> None:
    """The same, and Istio's agent is not asked."""
    with case.pod(namespace, name) as pod:
        added = case.cni("add", pod)
        case.cni("check", pod).succeeded()
        deleted = case.cni("del", pod).succeeded()

    assert len(addresses(added.result)) == 2
    assert added.asked("cilium-agent") == CREATED
    assert added.asked("kubernetes")
    assert added.asked("istio-node-agent") == []
    assert deleted.asked("cilium-agent") == DELETED[case.node.cilium_version]


def test_pod_in_a_namespace_that_istio_leaves_out(case: Case) -> None:
    """Nobody of Istio's is asked anything: so kube-system's pods don't depend on it."""
    with case.pod("kube-system", "dns") as pod:
        added = case.cni("add", pod)
        case.cni("del", pod).succeeded()

    assert len(addresses(added.result)) == 2
    assert added.asked("kubernetes") + added.asked("istio-node-agent") == []


@pytest.mark.parametrize("state", ["that is well", "that is away"])
def test_own_pod_of_istios_agent(case: Case, state: str) -> None:
    """It is exempt: it starts with its agent and its API away, as it must after a reboot.

    istio-cni itself lets it pass since 1.28; what is asked for here is that it isn't even run.
    """
    if state == "that is away":
        case.node.istio.stop()
        case.node.kubernetes.stop()
    with case.pod("istio-system", "istio-cni-node-x7k2p") as pod:
        added = case.cni("add", pod)
        ran = types(case.node.log()[-1])
        case.cni("check", pod).succeeded()
        case.cni("del", pod).succeeded()

    assert len(addresses(added.result)) == 2
    assert ran == ["cilium-cni"]
    assert added.asked("kubernetes") + added.asked("istio-node-agent") == []


def test_pod_named_like_istios_agent(case: Case) -> None:
    """A tenant gains nothing by the name: in a namespace of the mesh it is enrolled as any other."""
    with case.pod(MESH, "istio-cni-node-x7k2p") as pod:
        added = case.cni("add", pod).succeeded()
        case.cni("del", pod).succeeded()

    assert len(added.enrolled) == 1


@both
def test_address_and_interface_taken_away(case: Case) -> None:
    """CHECK says what is missing; DEL works all the same."""
    with case.added() as pod:
        case.node.inside(pod.name, "ip", "addr", "flush", "dev", "eth0")
        without_address = case.cni("check", pod)
        case.node.inside(pod.name, "ip", "link", "delete", "eth0")
        without_interface = case.cni("check", pod)
        deleted = case.cni("del", pod).succeeded()

    assert without_address.error["msg"].startswith("cilium/cilium-cni: ")
    assert "expected ip" in json.dumps(without_address.error)
    assert "cannot find container link" in json.dumps(without_interface.error)
    assert deleted.asked("cilium-agent") == DELETED[case.node.cilium_version]


@both
@pytest.mark.parametrize("as_told_by", ["containerd", "cri-o"])
def test_network_namespace_gone(case: Case, as_told_by: str) -> None:
    """containerd gives no path then, CRI-O one that doesn't exist: the endpoint goes either way."""
    with case.added() as pod:
        pass

    deleted = case.cni("del", pod, netns="" if as_told_by == "containerd" else None).succeeded()

    assert deleted.asked("cilium-agent") == DELETED[case.node.cilium_version]


def test_ten_pods_at_once(case: Case) -> None:
    """Each gets addresses of its own, and each is enrolled."""
    with case.many(10) as pods:
        added = case.at_once("add", pods)
        deleted = case.at_once("del", pods)

    assert len({address for step in added for address in addresses(step.result)}) == 20
    enrolled = {call.body["PodName"] for step in added for call in step.enrolled}
    assert enrolled == {pod.name for pod in pods}
    assert all(step.answer.status == 0 for step in deleted)
