"""Section 4 of the contract: what an earlier ADD of the same container left, and a chain that leads back to itself."""

import json
from pathlib import Path

import pytest

from tests.support.files.node import Node

DELS = ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]


@pytest.fixture
def left_over(node: Node) -> Node:
    """As podman leaves one: its first DEL failed, then the container starts again under its ID in a new namespace."""
    first = node.netns("first")
    node.add("c1", CNI_NETNS=str(first), CNI_ARGS="NUMBER=1", args={"cni": 1}, runtimeConfig={"dns": {"servers": []}})
    return node


def test_its_dels_get_its_own_namespace_and_arguments(left_over: Node) -> None:
    """A host-device would look for its link where it never was: `Link not found`, at every ADD."""
    outcome = left_over.add("c1", CNI_ARGS="NUMBER=2", args={"cni": 2})

    assert outcome.ok
    assert outcome.ran[:3] == DELS
    for call in outcome.calls:
        number = "1" if call.verb == "DEL" else "2"
        netns = "first" if call.verb == "DEL" else "c1"
        assert (call.env["CNI_ARGS"], Path(call.env["CNI_NETNS"]).name) == (f"NUMBER={number}", netns)
        assert call.conf["args"] == {"cni": int(number)}
        assert call.env["CNI_CONTAINERID"] == "c1"


def test_a_namespace_that_is_gone_is_no_reason_to_fail_for_ever(left_over: Node) -> None:
    first = left_over.netns("first")
    first.unlink()
    left_over.plugin("cilium-cni").fails("DEL", f"failed to open netns {first}: no such file or directory")

    assert left_over.add("c1").ok


def test_the_nodes_own_namespace_is_not_passed_on(left_over: Node) -> None:
    first = left_over.netns("first")
    first.unlink()
    first.symlink_to("/proc/self/ns/net")

    outcome = left_over.add("c1")

    assert outcome.ok
    assert {call.env["CNI_NETNS"] for call in outcome.calls if call.verb == "DEL"} == {""}


# A fragment that leads back to its own facade.


@pytest.fixture
def loop(node: Node) -> Node:
    """Istio's fragment names a plugin that calls the chain for the same network again, as a Multus in it would."""
    script = node.bin_dir / "istio-cni"
    script.unlink()
    facade = node.root / "facade.json"
    facade.write_text(json.dumps(node.request()))
    script.write_text(
        '#!/bin/sh\n[ "$CNI_COMMAND" != VERSION ] || '
        '{ echo \'{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}\'; exit; }\n'
        f"exec {node.program} < {facade}\n"
    )
    script.chmod(0o755)
    return node


def test_a_chain_that_leads_back_to_itself_is_named(loop: Node) -> None:
    """Not "busy", for ever."""
    outcome = loop.add()

    assert outcome.code == 7
    assert outcome.msg.startswith("istio/istio-cni: network pods leads back to itself")
    assert (loop.records, loop.stranded) == ([], [])


def test_and_its_dels_come_to_an_end(loop: Node) -> None:
    assert loop.delete().ok


def test_an_add_over_a_damaged_record_deletes_first(node: Node) -> None:
    node.add()
    node.records[0].write_bytes(b"{")

    outcome = node.add()

    assert outcome.ok
    assert outcome.ran[:3] == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]


def test_an_exempt_pods_add_still_clears_what_is_left_of_an_earlier_one(node: Node) -> None:
    node.add()
    for owner in node.owners:
        owner["exempt"] = [{"namespace": "n", "podNamePrefix": "p"}]

    outcome = node.add(CNI_ARGS="K8S_POD_NAMESPACE=n;K8S_POD_NAME=p1", prevResult=node.result())

    assert outcome.ok
    assert outcome.ran == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
    assert node.records == []
