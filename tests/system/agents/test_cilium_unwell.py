"""Cilium's agent refuses, fails or was killed. What waits out a time limit of the plugin's is in test_waiting.py."""

from tests.support.agents.case import Case
from tests.support.stand_ins.orders import ENDPOINT_REFUSED, UNHEALTHY, Order
from tests.system.agents.conftest import both


@both
def test_cilium_refuses_the_endpoint(case: Case) -> None:
    """The plugin gives its addresses back itself; the rollback's DEL finds nothing more; Istio is not asked."""
    case.node.cilium.order(ENDPOINT_REFUSED)
    with case.pod() as pod:
        refused = case.cni("add", pod)
        interfaces = case.node.pod_interfaces(pod)
        left = case.left()
        case.node.cilium.order()
        case.cni("add", pod).succeeded()
        case.cni("del", pod).succeeded()

    assert refused.error["msg"].startswith("cilium/cilium-cni: ")
    assert "endpoint failed to regenerate (as ordered)" in refused.text
    asked = refused.asked("cilium-agent")
    assert "PUT /v1/endpoint/cilium-local:0 500" in asked
    released = {f"DELETE /v1/ipam/{address} 200" for address in ("10.244.0.2", "fd00:244::2")}
    assert released < set(asked)
    assert asked[-1].endswith(" 404")
    assert refused.asked("kubernetes") + refused.asked("istio-node-agent") == []
    assert interfaces == []
    assert left == [f"file /run/netns/{pod.name}", f"mount /run/netns/{pod.name}"]


def test_cilium_has_no_address_left(case: Case) -> None:
    """The message is the agent's own, under its owner's name, and nothing stays."""
    case.node.cilium.order(Order(r"POST /v1/ipam", 502, "No more IPs available"))
    with case.pod() as pod:
        refused = case.cni("add", pod)

    assert refused.error["msg"].startswith("cilium/cilium-cni: ")
    assert "No more IPs available" in refused.text
    assert refused.asked("kubernetes") == []


def test_cilium_says_the_endpoint_is_unhealthy(case: Case) -> None:
    """CHECK fails with Cilium's own code; nobody has to guess whose it is."""
    with case.added() as pod:
        case.node.cilium.order(UNHEALTHY)
        checked = case.cni("check", pod)
        case.node.cilium.order()
        case.cni("del", pod).succeeded()

    assert checked.error["code"] == 101
    assert checked.error["msg"].startswith("cilium/cilium-cni: ")
    assert checked.asked("cilium-agent")[-1].endswith("/healthz 200")


@both
def test_cilium_is_starting_up_at_del(case: Case) -> None:
    """The plugin leaves the DEL in its queue, and the next agent works it off."""
    with case.added() as pod:
        case.node.cilium.order(Order(r"DELETE /v1/endpoint.*", 503))
        deleted = case.cni("del", pod).succeeded()
        queued = case.node.queued()
        case.node.cilium.stop()
        case.node.cilium.start()
        replayed = case.news()

    assert deleted.asked("cilium-agent")[-1].startswith("DELETE /v1/endpoint")
    assert len(queued) == 1
    assert replayed == ["REPLAY"]
    assert case.node.queued() == []


def test_cilium_killed_before_del(case: Case) -> None:
    """Its socket stays and refuses: the plugin waits 3 s, queues the DEL and succeeds; the next agent works it off."""
    with case.added() as pod:
        case.node.cilium.kill()
        deleted = case.cni("del", pod).succeeded()
        interfaces = case.node.pod_interfaces(pod)
        queued = case.node.queued()
        case.node.cilium.start()
        replayed = case.news()

    assert deleted.calls == []
    assert interfaces == []
    assert len(queued) == 1
    assert replayed == ["REPLAY"]


def test_cilium_restarted_while_pods_run(case: Case) -> None:
    """Killed and started: it knows its endpoints, CHECK is well, and a new pod gets an address of its own."""
    with case.added() as old, case.pod() as new:
        case.node.cilium.kill()
        case.node.cilium.start()
        case.cni("check", old).succeeded()
        added = case.cni("add", new).succeeded()
        case.cni("del", new).succeeded()
        case.cni("del", old).succeeded()

    assert "10.244.0.3/32" in [ip["address"] for ip in added.result["ips"]]
