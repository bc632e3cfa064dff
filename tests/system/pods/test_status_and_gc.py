"""STATUS and GC, which libcni calls for a facade that has 1.1.0 among its versions."""

import pytest

from tests.support.sandbox.node import BRIDGE, IPAM, LIBCNI_CACHE, UNMASQUERADED, Node, addresses, whole_list


@pytest.fixture
def node(node: Node) -> Node:
    node.facade(cniVersions=["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
    return node


def forget(node: Node) -> None:
    """Take libcni's memory away: of its own accord it would DEL what it still remembers, before GC."""
    for file in node.sandbox.path(f"{LIBCNI_CACHE}/results").iterdir():
        file.unlink()


def test_a_runtime_accepts_the_list(node: Node) -> None:
    """libcni's validation, which CRI-O and podman do before they use a list: the plugin speaks its version."""
    node.cni("validate").succeeded()


def test_status_follows_the_first_owner(node: Node) -> None:
    """Ready with its fragment, error 50 with its name without. A later owner's absence is ADD's business."""
    ready = node.cni("status")
    node.remove("istio.d/10-istio.conf")
    without_istio = node.cni("status")
    node.remove("cilium.d/05-cilium.conflist")
    without_cilium = node.cni("status")

    assert (ready.status, without_istio.status) == (0, 0), (ready, without_istio)
    assert without_cilium.error["code"] == 50
    assert "cilium" in without_cilium.error["msg"]


def test_status_asks_a_plugin_whose_file_says_1_1_0(node: Node) -> None:
    """The reference bridge answers STATUS with its IPAM plugin's: one that isn't there makes the node unready."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(BRIDGE, version="1.1.0"))
    ready = node.cni("status")
    broken = BRIDGE | {"ipam": IPAM | {"type": "no-such-ipam"}}
    node.fragment("cilium.d/05-cilium.conflist", whole_list(broken, version="1.1.0"))
    unready = node.cni("status")

    assert ready.status == 0, ready
    assert "no-such-ipam" in unready.error["msg"]
    assert "cilium" in unready.error["msg"]


def test_gc_frees_what_the_runtime_does_not_know(node: Node) -> None:
    """No reference plugin implements GC, so that their leases stay for ever: here the record gets its DELs."""
    with node.pod("lost") as lost, node.pod("kept") as kept:
        node.cni("add", lost).succeeded()
        [address] = addresses(node.cni("add", kept).result)
        forget(node)
        node.cni("gc", valid=[kept]).succeeded()
        leases = node.leases()
        with node.serving(kept):
            answer = node.http(f"http://{address}:8080/")
        node.cni("del", kept).succeeded()

    assert [address] == leases
    assert answer.get("body") == "kept"


def test_gc_with_no_pod_left(node: Node) -> None:
    """After a reboot: namespaces are gone, the leases were on disk."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    for name in ("one", "two"):
        with node.pod(name) as pod:
            node.cni("add", pod).succeeded()
    forget(node)
    node.cni("gc").succeeded()

    assert node.leases() == []


def test_gc_without_a_list_takes_nothing(node: Node) -> None:
    """cnitool passes no list at all: that is not the same as an empty one."""
    with node.pod("web") as pod:
        [address] = addresses(node.cni("add", pod).result)
        forget(node)
        node.cnitool("gc", pod).succeeded()
        leases = node.leases()
        node.cni("del", pod).succeeded()

    assert [address] == leases
