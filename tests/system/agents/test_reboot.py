"""What containerd does after a reboot, with its own library: DEL without a namespace, for every pod of before."""

from tests.support.agents.asked import DELETED, GONE_ALREADY
from tests.support.agents.case import Case
from tests.system.agents.conftest import both


@both
def test_namespace_gone_under_containerd(case: Case) -> None:
    """Cilium 1.18 deletes its endpoint and then fails for want of a namespace, at every try; the pod still goes."""
    with case.pod() as pod:
        case.containerd("add", pod, pod.netns).succeeded()

    deleted = case.containerd("remove", pod, "").succeeded()
    again = case.containerd("remove", pod, "").succeeded()

    assert deleted.asked("cilium-agent") == DELETED[case.node.cilium_version]
    assert again.asked("cilium-agent")[-1:] == GONE_ALREADY[case.node.cilium_version]


@both
def test_reboot_under_containerd(case: Case) -> None:
    """/run is empty, the agents know nothing of before: the pods of before go, and new ones come."""
    with case.pod() as pod:
        case.containerd("add", pod, pod.netns).succeeded()
    case.node.reboot()

    deleted = case.containerd("remove", pod, "").succeeded()
    with case.pod() as new:
        added = case.containerd("add", new, new.netns).succeeded()
        case.containerd("remove", new, new.netns).succeeded()

    assert deleted.asked("cilium-agent")[-1:] == GONE_ALREADY[case.node.cilium_version]
    assert len(added.enrolled) == 1
