"""Another plugin holds the addresses: bridge with Cilium behind it, and Calico; Istio follows."""

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.support.agents import calico
from tests.support.agents.case import Case
from tests.support.agents.node import CILIUM_FILE, ISTIO_FILE, plugins
from tests.support.sandbox.node import CHAIN, addresses, types, wait_for
from tests.support.stand_ins.orders import ENDPOINT_REFUSED

NETWORK, CHAINED = "bridged", "/etc/cni/chain-bridged.d"
BRIDGE = {
    "type": "bridge",
    "bridge": "cni9",
    "isGateway": True,
    "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"},
}
# What conf/examples/cilium/1.14-generic-veth.conflist is for.
BEHIND = {
    "cniVersion": "1.0.0",
    "name": "generic-veth",
    "plugins": [{"type": "cilium-cni", "chaining-mode": "generic-veth", "log-file": "/run/cilium/cilium-cni.log"}],
}


@contextlib.contextmanager
def bridged(case: Case) -> Iterator[str]:
    """A chain of its own beside the usual one; Cilium's fragment written by its writer. Gives the facade's file."""
    node = case.node
    node.fragment("bridge.d/10-bridge.conf", BRIDGE, chain=CHAINED)
    node.fragment(ISTIO_FILE, json.loads(node.sandbox.path(f"{CHAIN}/{ISTIO_FILE}").read_text()), chain=CHAINED)
    node.sandbox.path(f"{CHAINED}/cilium.d").mkdir(mode=0o755, exist_ok=True)
    source = "/etc/cni/behind.json"
    node.sandbox.path(source).write_text(json.dumps(BEHIND))
    settings = (f"--read-cni-conf={source}", "--cni-chaining-mode=generic-veth")
    writer = node.new_cilium_writer(f"{CHAINED}/{CILIUM_FILE}", *settings)
    writer.start()
    try:
        wait_for(lambda: plugins(node.sandbox.path(f"{CHAINED}/{CILIUM_FILE}")) == ["cilium-cni"], "it is written")
        conf = node.shipped(case.version, chainDir=CHAINED)
        conf["plugins"][0]["owners"].insert(0, {"name": "bridge"})
        with node.another_facade("50-bridged.conflist", conf | {"name": NETWORK}) as file:
            yield file
    finally:
        writer.close()


def test_cilium_behind_a_bridge(case: Case) -> None:
    """Cilium attaches to the bridge's interface, Istio gets the bridge's address, host-local's lease is freed."""
    with bridged(case) as file, case.pod() as pod:
        added = case.cni("add", pod, file=file)
        ran = types(case.node.log()[-1])
        case.cni("check", pod, file=file).succeeded()
        leases = case.node.leases(NETWORK)
        deleted = case.cni("del", pod, file=file).succeeded()

    [address] = addresses(added.result)
    assert leases == [address]
    assert ran == ["bridge", "cilium-cni", "istio-cni"]
    [created] = [call for call in added.calls if call.call.startswith("PUT /v1/endpoint/")]
    assert created.body["addressing"]["ipv4"] == address
    assert created.body["datapath-configuration"]["external-ipam"]
    assert not [call for call in added.calls if "/v1/ipam" in call.call]
    assert [call.note["addresses"] for call in added.enrolled] == [[f"{address}/24"]]
    assert deleted.asked("cilium-agent")[-1] == "DELETE /v1/endpoint/cni-attachment-id:ID:eth0 200"
    assert case.node.leases(NETWORK) == []


def test_cilium_behind_a_bridge_refuses(case: Case) -> None:
    """The bridge's address is freed too, last."""
    with bridged(case) as file, case.pod() as pod:
        case.node.cilium.order(ENDPOINT_REFUSED)
        refused = case.cni("add", pod, file=file)
        interfaces = case.node.pod_interfaces(pod)

    assert refused.error["msg"].startswith("cilium/cilium-cni: ")
    assert interfaces == []
    assert case.node.leases(NETWORK) == []


def test_calico_portmap_and_istio(case: Case) -> None:
    """Calico's own plugins hold the address; Istio's agent is told it. CHECK works although calico prints OK on it."""
    programs = calico.given()
    if programs is None:
        pytest.skip(f"by design: Calico's plugin can't be built from a Go module; {calico.VARIABLE} names a directory")
    with calico.network(case, programs) as file, case.pod() as pod:
        added = case.cni("add", pod, file=file)
        ran = types(case.node.log()[-1])
        case.cni("check", pod, file=file).succeeded()
        case.cni("del", pod, file=file).succeeded()
        interfaces = case.node.pod_interfaces(pod)

    [address] = addresses(added.result)
    assert address.startswith("10.50.")
    assert ran == ["calico", "portmap", "istio-cni"]
    assert [call.note["addresses"] for call in added.enrolled] == [[f"{address}/32"]]
    assert interfaces == []
