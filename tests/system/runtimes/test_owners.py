"""Owners come, change and go while pods live: old pods end as they began, new ones get what is there now."""

from tests.support.runtimes.kubelet import EXEMPT, Kubelet
from tests.support.sandbox.node import BRIDGE, IPAM, OWNERS, TUNING, single, types, wait_for, whole_list

BACKWARD = ["bandwidth", "portmap", "tuning", "bridge"]


def test_fragments_change_while_pods_live(kubelet: Kubelet) -> None:
    """One is changed, one removed, one added: a pod from before goes by its record, a new one has the new chain."""
    node = kubelet.node
    before = kubelet.run("before")
    moved = BRIDGE | {"bridge": "cni1", "ipam": IPAM | {"ranges": [[{"subnet": "10.246.0.0/16"}]]}}
    node.fragment("cilium.d/05-cilium.conflist", whole_list(moved))
    node.remove("local.d/10-portmap.conf")
    node.fragment("local.d/05-tuning.conf", single(TUNING | {"sysctl": {"net.ipv4.ip_default_ttl": "77"}}))

    after = kubelet.run("after")
    new = kubelet.client.status(after)
    ttl = kubelet.inside(new.netns, "cat", "/proc/sys/net/ipv4/ip_default_ttl")
    kubelet.client.stop(before)
    old = kubelet.log("DEL")[-1]
    kubelet.client.stop(after)
    newer = kubelet.log("DEL")[-1]
    kubelet.end(before, after)

    assert new.ip.startswith("10.246.")
    assert ttl.strip() == "77"
    assert types(old) == BACKWARD
    assert types(newer) == ["bandwidth", "tuning", "tuning", "bridge"]


def test_a_required_owner_is_waited_for(kubelet: Kubelet) -> None:
    """The kubelet is told whom it waits for, at every try the same, and comes through once its fragment is there."""
    kubelet.node.remove("istio.d/10-istio.conf")

    tries = {kubelet.refused("web") for _ in range(3)}
    leases = kubelet.node.leases()
    kubelet.node.fragment("istio.d/10-istio.conf", single(TUNING))
    kubelet.end(kubelet.run("web"))

    [told] = {kubelet.anonymous(said) for said in tries}
    assert "waiting for istio's CNI configuration" in told
    assert "/etc/cni/chain.d/istio.d" in told
    assert leases == []


def test_the_owners_own_agent_starts_without_it(kubelet: Kubelet) -> None:
    """Its pod is exempt, any other waits, also one of the same namespace; once it has written, its pod can go."""
    kubelet.facade({"owners": [OWNERS[0], OWNERS[1] | {"exempt": [EXEMPT]}, OWNERS[2]]})
    kubelet.node.remove("istio.d/10-istio.conf")

    agent = kubelet.run("istio-cni-node-x7k2p", "istio-system")
    told = [kubelet.refused("web"), kubelet.refused("istiod-1", "istio-system")]
    kubelet.node.fragment("istio.d/10-istio.conf", single(TUNING))
    web = kubelet.run("web")
    kubelet.end(agent, web)

    assert all("waiting for istio's CNI configuration" in said for said in told)
    first, second = kubelet.log("ADD")[0], kubelet.log("ADD")[-1]
    assert types(first) == ["bridge", "portmap", "bandwidth"]
    assert types(second) == BACKWARD[::-1]


def test_an_owner_is_uninstalled_while_its_pods_live(kubelet: Kubelet) -> None:
    """Fragment and binary are gone: pods that it was run for terminate. The binary alone: they wait for it."""
    one, two = kubelet.run("one"), kubelet.run("two")

    with kubelet.without("tuning"):
        told = kubelet.not_stopped(one)
        kubelet.node.remove("istio.d/10-istio.conf")
        kubelet.end(one, two)
        kubelet.node.fragment("istio.d/10-istio.conf", single(TUNING))

    assert "istio/tuning: " in told
    assert "bin" in told


def test_the_first_owner_is_missing(kubelet: Kubelet) -> None:
    """containerd 2 takes the node NotReady with our message; for the others it is a pod that tells."""
    kubelet.node.remove("cilium.d/05-cilium.conflist")
    condition = kubelet.client.network()
    told = kubelet.refused("web")
    kubelet.node.fragment("cilium.d/05-cilium.conflist", whole_list(BRIDGE))
    wait_for(lambda: kubelet.client.network().true, "the network")

    assert "waiting for cilium's CNI configuration" in told
    assert condition.true is not kubelet.runtime.asks_status
    if kubelet.runtime.asks_status:
        assert "waiting for cilium's CNI configuration" in condition.message


def test_the_first_owner_is_missing_when_the_daemon_starts(kubelet: Kubelet) -> None:
    """What asks STATUS isn't ready until the fragment is there, and is ready then by itself."""
    kubelet.node.remove("cilium.d/05-cilium.conflist")
    kubelet.runtime.restart()
    expected = not kubelet.runtime.asks_status_at_start
    wait_for(lambda: kubelet.client.network().true is expected, "the network's condition")
    kubelet.node.fragment("cilium.d/05-cilium.conflist", whole_list(BRIDGE))
    kubelet.runtime.ready()
    sandbox = kubelet.run("web")
    kubelet.end(sandbox)

    assert types(kubelet.log("ADD")[0])[0] == "bridge"
