"""A pod's life with everything in order."""

import json

import pytest

from tests.support.sandbox.node import (
    BRIDGE,
    IPAM,
    NODE4,
    NODE6,
    OWNERS,
    PORTMAP,
    Json,
    Node,
    addresses,
    single,
    types,
    whole_list,
)

PORT = {"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}
FORWARD = ["bridge", "tuning", "portmap", "bandwidth"]


@pytest.mark.parametrize(
    "versions",
    [
        pytest.param({"cniVersion": "0.4.0"}, id="0.4.0"),
        pytest.param({"cniVersion": "1.0.0"}, id="1.0.0"),
        pytest.param({"cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}, id="up-to-1.1.0"),
    ],
)
def test_a_pod_comes_is_checked_serves_and_goes(node: Node, versions: Json) -> None:
    """ADD, CHECK and DEL through cnitool; the pod answers on its own address and on the node's port."""
    node.facade(**versions)

    with node.pod("web", portMappings=[PORT]) as pod:
        result = node.cnitool("add", pod).result
        [address] = addresses(result)
        with node.serving(pod):
            from_the_node = node.http(f"http://{address}:8080/")
            from_outside = node.http(f"http://{NODE4}:18080/", "outside")
        node.cnitool("check", pod).succeeded()
        node.cnitool("del", pod).succeeded()

        assert node.leases() == []

    assert "web" == from_the_node["body"] == from_outside["body"]
    assert result["cniVersion"] == versions.get("cniVersion", "1.1.0")
    ran = {line["verb"]: types(line) for line in node.log()}
    assert {"ADD": FORWARD, "CHECK": FORWARD, "DEL": FORWARD[::-1]} == ran


def test_the_oldest_version_has_no_check(node: Node) -> None:
    """A facade at 0.3.1, for a runtime that knows no more, has ADD and DEL."""
    node.facade(cniVersion="0.3.1")

    with node.pod("old") as pod:
        result = node.cni("add", pod).result
        node.cni("del", pod).succeeded()

    assert [ip["version"] for ip in result["ips"]] == ["4"]


def test_a_sysctl_is_set_in_the_pod_alone(node: Node) -> None:
    """What the second owner's plugin does happens, and happens in the pod."""
    somaxconn = ("cat", "/proc/sys/net/core/somaxconn")
    with node.pod("web") as pod, node.pod("other"):
        node.cni("add", pod).succeeded()
        inside, beside = node.inside("web", *somaxconn), node.inside("other", *somaxconn)
        node.cni("del", pod).succeeded()

    assert "1024" == inside.strip() != beside.strip()


def test_bandwidth_is_limited(node: Node) -> None:
    """The runtime's limit reaches the fourth plugin, the kernel has it, and a download takes that long."""
    rate = 8_000_000
    limits = {"ingressRate": rate, "ingressBurst": rate // 10, "egressRate": rate, "egressBurst": rate // 10}
    with node.pod("slow", bandwidth=limits) as pod:
        [address] = addresses(node.cni("add", pod).result)
        buckets = json.loads(node.sandbox.run("tc", "-json", "qdisc", "show").stdout)
        with node.serving(pod):
            download = node.http(f"http://{address}:8080/bytes/{rate // 8}")
        node.cni("del", pod).succeeded()

    assert [rate // 8] * 2 == [b["options"]["rate"] for b in buckets if b["kind"] == "tbf"]
    # A second's worth of bytes, less the burst; a loaded machine may need longer, never less.
    assert download["seconds"] > 0.7


def test_both_address_families(node: Node) -> None:
    """Dual stack: two addresses, and both of the node's answer on the port."""
    ranges = [[{"subnet": "10.244.0.0/16"}], [{"subnet": "fd00:244::/64"}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    dual = BRIDGE | {"ipam": IPAM | {"ranges": ranges, "routes": routes}}
    node.fragment("cilium.d/05-cilium.conflist", whole_list(dual))

    with node.pod("dual", portMappings=[PORT]) as pod:
        four, six = addresses(node.cni("add", pod).result)
        with node.serving(pod):
            urls = [f"http://{four}:8080/", f"http://[{six}]:8080/"]
            near = [node.http(url).get("body") for url in urls]
            far = [node.http(f"http://{host}:18080/", "outside").get("body") for host in (NODE4, f"[{NODE6}]")]
        node.cni("check", pod).succeeded()
        node.cni("del", pod).succeeded()

    assert near + far == ["dual"] * 4


def test_ipv6_alone(node: Node) -> None:
    """A pod without an IPv4 address."""
    ipam = IPAM | {"ranges": [[{"subnet": "fd00:244::/64"}]], "routes": [{"dst": "::/0"}]}
    node.fragment("cilium.d/05-cilium.conflist", whole_list(BRIDGE | {"ipam": ipam}))

    with node.pod("six", portMappings=[PORT]) as pod:
        [address] = addresses(node.cni("add", pod).result)
        with node.serving(pod):
            answer = node.http(f"http://[{NODE6}]:18080/", "outside")
        node.cni("check", pod).succeeded()
        node.cni("del", pod).succeeded()

    assert address.startswith("fd00:244::")
    assert answer.get("body") == "six"


def test_a_whole_conflist_of_an_agent_gives_only_its_own_plugin(node: Node) -> None:
    """An owner's `types` drop what it writes for others: portmap would otherwise run twice, and fail."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(BRIDGE, PORTMAP, {"type": "istio-cni"}))

    with node.pod("web", portMappings=[PORT]) as pod:
        node.cni("add", pod).succeeded()
        node.cni("del", pod).succeeded()

    assert types(node.log()[0]) == FORWARD


def test_an_agents_own_pod_starts_without_it(node: Node) -> None:
    """The exempt pod gets its network while the agent's directory is still empty; any other pod waits."""
    exempt = [{"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}]
    node.facade(plugin={"owners": [OWNERS[0], OWNERS[1] | {"exempt": exempt}, OWNERS[2]]})
    node.remove("istio.d/10-istio.conf")

    with node.pod("istio-cni-node-x7k2p", "istio-system") as agent, node.pod("web") as pod:
        node.cni("add", agent).succeeded()
        refused = node.cni("add", pod)
        node.fragment("istio.d/10-istio.conf", single({"type": "tuning", "sysctl": {}}))
        node.cni("del", agent).succeeded()

    assert refused.error["code"] == 11
    assert types(node.log()[-1]) == ["bandwidth", "portmap", "bridge"]


def test_two_facades_side_by_side(node: Node) -> None:
    """A second network of the same pod, with a facade and directories of its own; each goes without the other."""
    other = "/etc/cni/other.d"
    ipam = IPAM | {"ranges": [[{"subnet": "10.245.0.0/16"}]], "routes": []}
    node.facade("10-other.conflist", name="other", plugin={"chainDir": other, "owners": [{"name": "second"}]})
    node.fragment("second.d/10.conf", single(BRIDGE | {"bridge": "cni1", "ipam": ipam}), chain=other)

    with node.pod("both") as pod:
        [first] = addresses(node.cni("add", pod).result)
        [second] = addresses(node.cni("add", pod, file="10-other.conflist", ifname="net1").result)
        with node.serving(pod):
            both = [node.http(f"http://{address}:8080/").get("body") for address in (first, second)]
            node.cni("del", pod).succeeded()
            left = node.http(f"http://{second}:8080/").get("body")
        leases = node.leases(), node.leases("other")
        node.cni("check", pod, file="10-other.conflist", ifname="net1").succeeded()
        node.cni("del", pod, file="10-other.conflist", ifname="net1").succeeded()

    assert both == ["both", "both"]
    assert left == "both"
    assert ([], [second]) == leases
