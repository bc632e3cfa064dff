from pathlib import Path

import pytest

from tests.support.files.node import WEB, Node, shipped_node, with_pods


@pytest.fixture
def node(program: str, tmp_path: Path) -> Node:
    """A node on which all is well."""
    return shipped_node(tmp_path / "node", program)


@pytest.fixture
def pods(host: Node) -> Node:
    """Three owners, and the pod default/web-1 in the container c1: the recording plugins were really run for it."""
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni")
    host.owner("local", "portmap", required=False)
    with_pods(host)
    assert host.add("c1", CNI_ARGS=WEB).ok
    return host
