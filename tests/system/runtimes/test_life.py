"""A pod's life with everything in order, under each runtime."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.support.runtimes.cri import Port
from tests.support.runtimes.kubelet import Kubelet
from tests.support.sandbox.node import NODE4, SOMAXCONN, types

FORWARD = ["bridge", "tuning", "portmap", "bandwidth"]
PODS = 50


def test_a_pod_comes_is_reached_and_goes(kubelet: Kubelet) -> None:
    """Its web server answers on its address and on the node's port; it has its limits, its sysctl and its DNS."""
    pod = replace(
        kubelet.pod("web"),
        ports=(Port(8080, 18080),),
        annotations={"kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "16M"},
        servers=("10.96.0.10",),
        searches=("svc.cluster.local",),
    )

    sandbox = kubelet.client.run(pod)
    status = kubelet.client.status(sandbox)
    kubelet.serve(sandbox, pod)
    on_its_own = kubelet.body(f"http://{status.ip}:8080/")
    on_the_nodes = kubelet.body(f"http://{NODE4}:18080/", "outside")
    limits = kubelet.node.sandbox.run("tc", "qdisc").stdout
    somaxconn = kubelet.inside(status.netns, "cat", "/proc/sys/net/core/somaxconn")
    leases, records = kubelet.node.leases(), kubelet.records()
    kubelet.end(sandbox)

    assert status.ip.startswith("10.244.")
    assert on_its_own == on_the_nodes == "web\nsearch svc.cluster.local\nnameserver 10.96.0.10\n"
    assert "rate 8Mbit" in limits
    assert "rate 16Mbit" in limits
    assert somaxconn.strip() == SOMAXCONN
    assert leases == [status.ip]
    assert len(records) == 1
    assert types(kubelet.log("ADD")[0]) == FORWARD


def test_which_verbs_it_calls(kubelet: Kubelet) -> None:
    """CRI-O has every ADD CHECKed; the first DEL has the chain to undo, and whatever comes after it has nothing."""
    kubelet.end(kubelet.run("web"))

    lines = kubelet.log("ADD", "CHECK", "DEL")
    checks = ["CHECK"] if kubelet.runtime.checks else []
    deletions = ["DEL"] * (1 if kubelet.runtime.checks else 3)
    assert [line["verb"] for line in lines] == ["ADD", *checks, *deletions]
    assert types(next(line for line in lines if line["verb"] == "DEL")) == FORWARD[::-1]
    assert all(types(line) == FORWARD for line in lines if line["verb"] == "CHECK")
    assert [line for line in lines if line.get("code")] == []


def test_status_at_every_look(kubelet: Kubelet) -> None:
    """containerd 2 asks the plugin whenever a kubelet asks containerd; the others don't."""
    before = len(kubelet.log("STATUS"))
    for _ in range(3):
        assert kubelet.client.network().true

    assert len(kubelet.log("STATUS")) - before == (3 if kubelet.runtime.asks_status else 0)


def test_fifty_pods_at_once(kubelet: Kubelet) -> None:
    """Every one gets an address of its own and answers; all at once they go, and nothing stays."""
    with ThreadPoolExecutor(PODS) as threads:
        sandboxes = list(threads.map(kubelet.run, [f"pod-{n}" for n in range(PODS)]))
        given = [kubelet.client.status(sandbox).ip for sandbox in sandboxes]
        leases, records = kubelet.node.leases(), kubelet.records()
        list(threads.map(kubelet.end, sandboxes))

    assert sorted(given) == leases
    assert len(set(given)) == len(records) == PODS
    assert [line["msg"] for line in kubelet.log("ADD", "CHECK", "DEL") if line.get("code")] == []
