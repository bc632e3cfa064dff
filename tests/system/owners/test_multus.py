"""cni-chain and Multus 4.3 (thin, its own programs): as its master plugin, and beside and in its auxiliary chain."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.owners import multus
from tests.support.owners.multus import AUXILIARY, FACADE, MULTUS, MultusNode
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.inventory import inventory, left
from tests.support.sandbox.namespaces import Sandbox, SandboxUnavailableError
from tests.support.sandbox.node import (
    BIN,
    BRIDGE,
    NET,
    NODE4,
    OWNERS,
    Json,
    addresses,
    single,
    types,
    wait_for,
    whole_list,
)

FORWARD = ["bridge", "tuning", "portmap", "bandwidth"]
BEHIND = "00-multus.conflist: "
STALE = f"{BEHIND}warning [multus-copy-stale]: "
OTHER = f"{BEHIND}error [multus-other-network]: "
PORT = {"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}
# What Multus makes once, and keeps.
KEPT = ("directory /var/lib/cni/multus", "directory /var/lib/cni/multus/results", f"file {multus.STATUSES}")


@pytest.fixture
def node(program: str) -> Iterator[MultusNode]:
    """Nothing may be left of the pods when the test is over."""
    built, tools = multus.built(), sandbox_node.tools()
    if built is None:
        pytest.skip("Multus is not built: tests/support/agents/multus/build")
    if tools is None:
        pytest.skip("cnitool and the reference plugins are not built: make tools")
    try:
        sandbox = Sandbox()
    except SandboxUnavailableError as e:
        pytest.skip(str(e))
    with sandbox:
        node = MultusNode(sandbox, Path(program), tools, built)
        node.warm_up()
        with node.api():
            before = inventory(sandbox) | set(KEPT)
            yield node
            there = left(sandbox, before)
            assert not there, "left behind:\n" + "\n".join(there)


MASTER = f"--multus-master-cni-file-name={FACADE}"


@pytest.mark.parametrize(
    "versions",
    [
        pytest.param({"cniVersion": "1.0.0"}, id="1.0.0"),
        pytest.param({"cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}, id="up-to-1.1.0"),
        pytest.param({"cniVersion": "1.1.0"}, id="1.1.0"),
    ],
)
def test_a_pod_comes_is_checked_serves_and_goes(node: MultusNode, versions: Json) -> None:
    """Multus hands the runtime's capabilities and the pod's name on, and tells the API of one network."""
    node.facade(FACADE, **versions)
    with (
        node.entrypoint(MASTER, f"--readiness-indicator-file={NET}/{FACADE}"),
        node.pod("web", portMappings=[PORT]) as pod,
    ):
        result = node.cni("add", pod, file=MULTUS).result
        with node.serving(pod):
            [address] = addresses(result)
            from_the_node = node.http(f"http://{address}:8080/")
            from_outside = node.http(f"http://{NODE4}:18080/", "outside")
        node.cni("check", pod, file=MULTUS).succeeded()
        tuned = node.is_tuned("web")
        node.cni("del", pod, file=MULTUS).succeeded()

    assert "web" == from_the_node["body"] == from_outside["body"]
    assert tuned
    ran = {line["verb"]: types(line) for line in node.log()}
    assert {"ADD": FORWARD, "CHECK": FORWARD, "DEL": FORWARD[::-1]} == ran
    assert {line["network"] for line in node.log()} == {"cilium"}
    assert {line["pod"] for line in node.log()} == {"default/web"}
    [network] = node.networks_of("default/web")
    assert (network["name"], network["default"], network["ips"]) == ("cilium", True, [address])
    assert node.leases() == []


def test_multus_file_has_the_facade_and_its_capabilities(node: MultusNode) -> None:
    with node.entrypoint(MASTER):
        plugin = node.configured()

    assert plugin["delegates"] == [json.loads(node.sandbox.path(f"{NET}/{FACADE}").read_text())]
    assert plugin["capabilities"] == {"bandwidth": True, "portMappings": True}


def test_without_a_master_multus_takes_the_first_file_behind_its_own(node: MultusNode) -> None:
    with node.entrypoint():
        [delegate] = node.configured()["delegates"]

    assert delegate["plugins"][0]["type"] == "cni-chain"


def test_a_required_owner_is_waited_for_and_the_message_comes_through(node: MultusNode) -> None:
    node.facade(FACADE, plugin={"owners": [exempting(owner) for owner in OWNERS]})
    node.remove("istio.d/10-istio.conf")

    with node.entrypoint(MASTER):
        with node.pod("web") as pod:
            error = node.cni("add", pod, file=MULTUS).error
            node.cni("del", pod, file=MULTUS).succeeded()
        with node.pod("istio-cni-node-x7", "istio-system") as agent:
            node.cni("add", agent, file=MULTUS).succeeded()
            node.cni("del", agent, file=MULTUS).succeeded()

    assert "waiting for istio's CNI configuration in /etc/cni/chain.d/istio.d" in error["msg"]
    assert types(node.log()[-2]) == ["bridge", "portmap", "bandwidth"]


def exempting(owner: Json) -> Json:
    pods = [{"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}]
    return owner | ({"exempt": pods} if owner["name"] == "istio" else {})


def test_an_owner_is_uninstalled_and_its_pods_go(node: MultusNode) -> None:
    with node.entrypoint(MASTER), node.pod("web") as pod:
        node.cni("add", pod, file=MULTUS).succeeded()
        node.remove("istio.d/10-istio.conf")
        node.sandbox.path(f"{BIN}/tuning").unlink()

        node.cni("del", pod, file=MULTUS).succeeded()

    assert node.leases() == []


def test_a_changed_facade_reaches_pods_only_once_multus_has_taken_it_again(node: MultusNode) -> None:
    """Multus' own DaemonSet doesn't watch its master's file; with cleanup-config-on-exit it does. `verify` tells."""
    without_istio = [owner for owner in OWNERS if owner["name"] != "istio"]
    with node.entrypoint(MASTER):
        fresh = verify(node)
        node.facade(FACADE, plugin={"owners": without_istio})
        stale = verify(node)
        with node.pod("old") as pod:
            node.cni("add", pod, file=MULTUS).succeeded()
            node.cni("del", pod, file=MULTUS).succeeded()
    with node.entrypoint(MASTER, "--cleanup-config-on-exit=true"):
        node.facade(FACADE)
        wait_for(lambda: node.configured()["delegates"][0]["plugins"][0]["owners"] == OWNERS, "Multus takes it again")

    assert BEHIND not in fresh
    assert f"{STALE}has an old copy of {FACADE}, from Multus's start: restart Multus's pod on this node" in stale
    assert types(node.log()[0]) == FORWARD, "as when Multus started"


def test_multus_that_takes_another_network_is_found(node: MultusNode) -> None:
    node.primary("05-cilium.conflist", whole_list(BRIDGE, version="1.0.0"))
    with node.entrypoint("--multus-master-cni-file-name=05-cilium.conflist"):
        found = verify(node)
    node.configure(clusterNetwork=f"{NET}/05-cilium.conflist")
    by_path = verify(node)
    node.configure(clusterNetwork=f"{NET}/{FACADE}")

    assert f"{OTHER}Multus runs another network for pods: set {MASTER}" in found
    assert f"{OTHER}Multus runs 05-cilium.conflist for pods, not {FACADE}" in by_path
    assert BEHIND not in verify(node)


def verify(node: MultusNode) -> str:
    return node.sandbox.run(f"{BIN}/cni-chain", "verify", check=False).stdout


def test_at_1_1_0_multus_frees_pods_that_were_made_without_it_and_verify_says_so(node: MultusNode) -> None:
    """It answers a runtime's GC from its own cache. As the facade is shipped, runtimes don't call it at all."""
    with node.pod("before") as before, node.pod("web") as pod:
        node.cni("add", before, file=FACADE).succeeded()
        with node.entrypoint(MASTER):
            node.cni("gc", file=MULTUS, valid=[before])
            shipped = len(node.leases()), verify(node)
        node.facade(FACADE, cniVersion="1.1.0")
        with node.entrypoint(MASTER, "--cleanup-config-on-exit=true"):
            wait_for(lambda: node.configured()["delegates"][0]["cniVersion"] == "1.1.0", "Multus takes the facade")
            node.cni("add", pod, file=MULTUS).succeeded()
            node.cni("gc", file=MULTUS, valid=[before, pod]).succeeded()
            newest = node.leases(), verify(node)
            node.cni("del", pod, file=MULTUS).succeeded()
        node.cni("del", before, file=FACADE).succeeded()

    assert (shipped[0], BEHIND in shipped[1]) == (1, False)
    assert len(newest[0]) == 1, "the address of the pod from before is free"
    assert f"{BEHIND}warning [multus-gc]: key cniVersion: with 1.1.0 runtimes call GC, and Multus then" in newest[1]


def test_multus_auxiliary_chain_runs_beside_the_master(node: MultusNode) -> None:
    """The vendors' plugins get an interface's name of their own and no result; the chain of eth0 is as ever."""
    node.configure(clusterNetwork=f"{NET}/{FACADE}", auxiliaryCNIChainName=AUXILIARY)
    node.auxiliary("10-tuning.conf", single({"type": "tuning", "sysctl": {"net.ipv4.ip_default_ttl": "42"}}, "1.0.0"))

    with node.pod("web") as pod:
        result = node.cni("add", pod, file=MULTUS).result
        ttl = node.inside("web", "cat", "/proc/sys/net/ipv4/ip_default_ttl").strip()
        tuned = node.is_tuned("web")
        node.cni("del", pod, file=MULTUS).succeeded()

    assert len(addresses(result)) == 1
    assert (ttl, tuned) == ("42", True)
    assert types(node.log()[0]) == FORWARD


def test_multus_that_forgets_the_facade_until_del_leaves_nothing(node: MultusNode) -> None:
    """Multus 4.3 that is told its network by path keeps no plugin's keys for DEL; the pod's record has the chain."""
    node.configure(clusterNetwork=f"{NET}/{FACADE}")

    with node.pod("web") as pod:
        node.cni("add", pod, file=MULTUS).succeeded()
        node.cni("del", pod, file=MULTUS).succeeded()

    add, delete = node.log()
    assert (add["verb"], delete["verb"], delete["level"]) == ("ADD", "DEL", "info"), "the facade says debug"
    assert node.leases() == []


def test_cni_chain_in_multus_auxiliary_chain_brings_owners_and_the_gate_there(node: MultusNode) -> None:
    """The primary isn't ours. Multus itself skips this chain without a word if a file there is bad; we don't."""
    node.primary("05-bridge.conf", single(BRIDGE, "1.0.0") | {"name": "cilium"})
    node.configure(clusterNetwork=f"{NET}/05-bridge.conf", auxiliaryCNIChainName=AUXILIARY)
    owners = [{"name": "istio", "types": ["tuning"]}]
    node.auxiliary("50-cni-chain.conf", {"name": AUXILIARY, "type": "cni-chain", "owners": owners, "logLevel": "debug"})

    with node.pod("web") as pod:
        node.cni("add", pod, file=MULTUS).succeeded()
        tuned = node.is_tuned("web")
        node.cni("del", pod, file=MULTUS).succeeded()
        node.remove("istio.d/10-istio.conf")
        refused = node.cni("add", pod, file=MULTUS).error
        node.cni("del", pod, file=MULTUS).succeeded()

    assert tuned
    add, delete = node.log()[:2]
    assert (add["network"], add["ifname"], types(add)) == (AUXILIARY, "net1", ["tuning"])
    assert (delete["verb"], delete["network"], delete.get("code")) == ("DEL", AUXILIARY, None)
    assert "waiting for istio's CNI configuration" in refused["msg"]
