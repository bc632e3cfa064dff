"""Section 4 of the contract: DEL and GC keep to the owners of the facade on disk, as CRI-O doesn't call it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.files.node import ABSENT, Node

NAMES = ("cilium", "istio", "local")


def on_disk(node: Node, file: str = "00-cni-chain.conflist", **keys: Any) -> Path:
    """A facade in the runtime's directory, beside the chain's, with other keys than the one that is still sent."""
    name = keys.pop("name", node.network)
    plugin = {"type": "cni-chain", **node.keys, **keys}
    path = node.net_dir / file
    path.write_text(json.dumps({"cniVersion": "1.1.0", "name": name, "plugins": [plugin]}))
    path.chmod(0o644)
    return path


def with_istio(**keys: Any) -> list[dict[str, Any]]:
    return [{"name": name, **(keys if name == "istio" else {})} for name in NAMES]


@pytest.fixture
def stuck(node: Node) -> Node:
    """A pod whose DEL istio's plugin refuses for good."""
    node.add()
    node.plugin("istio-cni").fails("DEL", "no agent")
    return node


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_errors_that_are_to_be_ignored_since_the_add_are_ignored(stuck: Node, verb: str) -> None:
    on_disk(stuck, owners=with_istio(onDelError="ignore"))

    outcome = stuck.gc([]) if verb == "GC" else stuck.delete()

    assert outcome.ok
    assert stuck.records == []
    assert any("onDelError" in note for note in stuck.log_lines[-1]["notes"])


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_the_pod_of_an_owner_that_was_removed_since_goes_when_its_plugin_does(stuck: Node, verb: str) -> None:
    on_disk(stuck, owners=[{"name": "cilium"}, {"name": "local"}])
    stuck.uninstall("istio-cni")

    assert (stuck.gc([]) if verb == "GC" else stuck.delete()).ok
    assert stuck.records == []


def test_a_shorter_time_for_an_owner_counts_at_once(stuck: Node) -> None:
    stuck.plugin("istio-cni").does("DEL", "sleep 60")
    on_disk(stuck, owners=with_istio(timeoutSeconds=0.3))

    outcome = stuck.delete()

    assert (outcome.code, "timeoutSeconds is 0.3 s" in outcome.msg) == (101, True)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"name": "other"}, id="another-network"),
        pytest.param({"chainDir": "/etc/cni/other.d"}, id="another-chain"),
        pytest.param({"owners": 5}, id="owners-at-fault"),
        pytest.param({"owners": [{"name": "cilium"}, {"nam": "istio"}]}, id="an-owner-at-fault"),
        pytest.param({"type": "bridge"}, id="no-facade"),
    ],
)
def test_another_facade_has_no_say(stuck: Node, other: dict[str, Any]) -> None:
    on_disk(stuck, **{"owners": with_istio(onDelError="ignore"), **other})

    assert stuck.delete().code == 7
    assert len(stuck.records) == 1


@pytest.mark.parametrize("content", [b"", b"{", b'"cni-chain"', b'{"name": "pods", "plugins": "cni-chain"}', b"\xff"])
def test_what_is_no_network_is_passed_over(stuck: Node, content: bytes) -> None:
    on_disk(stuck, owners=with_istio(onDelError="ignore"))
    (stuck.net_dir / "00-a.conflist").write_bytes(content)
    (stuck.net_dir / "00-b.conflist").mkdir()
    (stuck.net_dir / "00-c.conflist").symlink_to("nowhere")

    assert stuck.delete().ok


def test_one_that_others_than_root_may_write_has_no_say(stuck: Node) -> None:
    on_disk(stuck, owners=with_istio(onDelError="ignore")).chmod(0o666)

    assert stuck.delete(allowUnsafePermissions=ABSENT).code == 7
    assert any("00-cni-chain.conflist: its owners are ignored" in note for note in stuck.log_lines[-1]["notes"])


def test_a_fault_in_it_is_logged(node: Node) -> None:
    """An owner with a typo would else count as removed, and its plugin's DEL as done."""
    node.add()
    node.uninstall("istio-cni")
    on_disk(node, owners=[{"name": "cilium"}, {"name": "Istio"}, {"name": "local"}])

    outcome = node.delete()

    assert not outcome.ok
    assert any("key owners[1].name" in note for note in node.log_lines[-1]["notes"])


def test_the_first_file_by_name_counts_as_for_the_runtime(stuck: Node) -> None:
    on_disk(stuck, owners=with_istio(onDelError="ignore"))
    on_disk(stuck, "99-old.conflist", owners=with_istio())

    assert stuck.delete().ok


def test_without_a_record_the_chain_is_that_of_the_facade_on_disk(node: Node) -> None:
    on_disk(node, owners=[{"name": "cilium"}, {"name": "local"}])

    assert node.delete().ran == ["DEL portmap", "DEL cilium-cni"]


def test_an_add_keeps_to_what_the_runtime_sent(node: Node) -> None:
    on_disk(node, owners=[{"name": "cilium"}])

    assert node.add().ran == ["ADD cilium-cni", "ADD istio-cni", "ADD portmap"]
