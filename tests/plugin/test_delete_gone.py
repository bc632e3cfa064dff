"""Section 4 of the contract: DEL where the namespace, or the plugin itself, no longer exists."""

import pytest

from tests.support.files.node import Json, Node

DELS = ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
GONE = "/run/netns/gone"


@pytest.fixture
def pod(node: Node) -> Node:
    """The node with an attachment c1."""
    assert node.add().ok
    return node


# The namespace is gone.

NAMESPACE_GONE = [
    pytest.param(GONE, {"msg": f"failed to open netns {GONE}: no such file or directory"}, id="path-in-msg"),
    pytest.param(GONE, {"msg": "failed", "details": f"statfs {GONE}: no such file or directory"}, id="path-in-details"),
    pytest.param(GONE, {"msg": f"namespace {GONE} not found"}, id="path-not-found"),
    pytest.param("", {"msg": "unable to open netns: no such file or directory"}, id="empty-netns"),
    pytest.param("", {"msg": "network namespace not found"}, id="empty-network-namespace"),
]
NOT_THE_NAMESPACE = [
    pytest.param(GONE, {"msg": "open /var/run/cilium.sock: no such file or directory"}, id="another-file"),
    pytest.param(GONE, {"msg": "link eth0 not found"}, id="link"),
    pytest.param(GONE, {"msg": f"failed to open {GONE}: permission denied"}, id="other-words"),
    pytest.param("", {"msg": "link eth0 not found"}, id="empty-link"),
    pytest.param("", {"msg": "netns: busy"}, id="empty-other-words"),
]


@pytest.mark.parametrize(("netns", "error"), NAMESPACE_GONE)
def test_a_delegate_that_misses_the_vanished_namespace_counts_as_done(node: Node, netns: str, error: Json) -> None:
    """Cilium 1.18 deletes its endpoint and then ends so, at every try; logged and counted as done."""
    node.add(CNI_NETNS=GONE)
    node.plugin("cilium-cni").fails("DEL", **error)

    outcome = node.delete(CNI_NETNS=netns)

    assert outcome.ok
    assert outcome.ran == DELS
    assert node.records == []
    assert "cilium-cni" in node.log.read_text()


@pytest.mark.parametrize(("netns", "error"), NOT_THE_NAMESPACE)
def test_other_failures_count_although_the_namespace_is_gone(node: Node, netns: str, error: Json) -> None:
    node.add(CNI_NETNS=GONE)
    node.plugin("cilium-cni").fails("DEL", **error)

    assert node.delete(CNI_NETNS=netns).code == 7
    assert len(node.records) == 1


def test_the_same_words_are_a_failure_while_the_namespace_exists(pod: Node) -> None:
    netns = str(pod.netns("c1"))
    pod.plugin("cilium-cni").fails("DEL", f"failed to open netns {netns}: no such file or directory")

    assert pod.delete().code == 7


def test_the_words_count_in_an_error_object_alone_never_on_stderr(node: Node) -> None:
    """There any log line may hold them."""
    node.add(CNI_NETNS=GONE)
    node.plugin("cilium-cni").does("DEL", f"stderr netns {GONE}: no such file or directory", "exit 1")

    assert node.delete(CNI_NETNS=GONE).code == 100


def test_in_the_dels_of_gc_the_vanished_namespace_counts_as_done_too(node: Node) -> None:
    node.add(CNI_NETNS=GONE)
    node.plugin("cilium-cni").fails("DEL", f"failed to open netns {GONE}: no such file or directory")

    assert node.gc([]).ok
    assert node.records == []


# A delegate's binary is missing.


def test_a_missing_binary_is_an_error_on_del(pod: Node) -> None:
    """The others run all the same, the first delegate waits."""
    pod.uninstall("portmap")

    outcome = pod.delete()

    assert outcome.code != 0
    assert "portmap" in outcome.msg
    assert outcome.ran == ["DEL istio-cni"]
    assert len(pod.records) == 1


@pytest.mark.parametrize("owner", ["no-file", "no-directory", "not-listed-and-no-file"])
def test_unless_its_owner_is_gone_too(pod: Node, owner: str) -> None:
    """So a pod of an uninstalled agent can terminate: logged and counted as done."""
    pod.uninstall("portmap")
    (pod.chain_dir / "local.d/10-portmap.conf").unlink()
    if owner == "no-directory":
        (pod.chain_dir / "local.d").rmdir()
    if owner == "not-listed-and-no-file":
        pod.owners.pop()

    outcome = pod.delete()

    assert outcome.ok
    assert outcome.ran == ["DEL istio-cni", "DEL cilium-cni"]
    assert pod.records == []
    assert "portmap" in pod.log.read_text()


@pytest.mark.parametrize(("taken", "done"), [("binary and fragment", True), ("binary", False)])
def test_an_agent_that_is_uninstalled_amid_the_del(pod: Node, taken: str, done: bool) -> None:
    """Its plugin was there a moment ago. No DEL may come after this one: a failed ADD's is containerd's last."""
    binary, fragment = pod.bin_dir / "portmap", pod.chain_dir / "local.d/10-portmap.conf"
    binary.unlink()
    binary.write_text(f'#!/bin/sh\nrm "$0" {fragment if "fragment" in taken else ""}\n')
    binary.chmod(0o755)

    outcome = pod.delete()

    assert not binary.exists()
    assert outcome.ok == done
    assert (pod.records == []) == done
    assert "portmap" in pod.log.read_text()


def test_without_a_record_a_missing_binary_is_an_error_too(node: Node) -> None:
    node.uninstall("portmap")

    assert not node.delete().ok


def test_multus_server_names_the_namespace_in_every_error(node: Node) -> None:
    """Its agent's socket is away: that is not done, and its record stays."""
    node.add(CNI_NETNS=GONE)
    missing = "dial unix /run/multus/multus.sock: connect: no such file or directory"
    node.plugin("cilium-cni").fails("DEL", f'ContainerID:"c1" Netns:"{GONE}" IfName:"eth0" ERRORED: {missing}')

    assert node.delete(CNI_NETNS=GONE).code == 7
    assert len(node.records) == 1


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("plugin", ["host-device", "istio-cni"])
def test_a_device_that_is_back_needs_no_second_del(node: Node, plugin: str, recorded: bool) -> None:
    """host-device, and no other, fails for want of its interface at every DEL after its first; the namespace exists."""
    node.fragment("istio", "10-istio-cni.conf", {"type": plugin})
    if recorded:
        node.add()
    node.plugin(plugin).fails("DEL", 'failed to find "eth0" in containerNS: Link not found')

    outcome = node.delete()

    assert outcome.ok == (plugin == "host-device")
    assert outcome.ok == any("the interface is gone" in note for note in node.log_lines[-1].get("notes", []))


def test_words_that_grow_when_they_are_lowered_dont_hold_a_del_up(node: Node) -> None:
    """İ becomes two characters; a search in the one and a cut in the other never ended."""
    node.add()
    node.plugin("portmap").fails("DEL", "İ" * 20 + " rule not found")

    assert node.delete().msg == "local/portmap: " + "İ" * 20 + " rule absent"


def test_a_plugins_name_is_not_among_its_words(host: Node) -> None:
    """A type with "netns" in it made every "not found" of its DEL count as done."""
    host.owner("cilium", "cilium-cni", "netns-tool")
    host.add()
    host.plugin("netns-tool").fails("DEL", "rule 17 not found")

    outcome = host.delete(CNI_NETNS="")

    assert (outcome.code, outcome.ran) == (7, ["DEL netns-tool"])
    assert len(host.records) == 1


def test_a_missing_binary_of_an_owner_that_is_merely_unreadable_now_is_waited_for(node: Node) -> None:
    node.add()
    node.fragment("istio", "10-istio-cni.conf", b"{")
    node.uninstall("istio-cni")

    assert node.delete().code == 11
    assert len(node.records) == 1
