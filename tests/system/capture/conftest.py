"""A sandbox for pods of which nothing but the namespace is there, and a node whose chain has a mesh's plugin."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import available
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import BIN, BRIDGE, IPAM, OWNERS, TUNING, Node


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with available(), Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def nodes(program: str, tools: Path) -> Iterator[Callable[[str], Node]]:
    """Makes a node with a mesh's owner in its chain. Its plugin does as little as Istio's for a pod not enrolled."""
    with available(), Sandbox() as sandbox:
        node = Node(sandbox, Path(program), tools)
        yield lambda owner: meshed(node, owner)


@pytest.fixture
def node(nodes: Callable[[str], Node]) -> Node:
    """A node whose mesh is Istio."""
    return nodes("istio")


def meshed(node: Node, owner: str) -> Node:
    """The same node with a chain of two owners, whose pods have addresses of both families."""
    plugin = f"{owner}-cni"
    shutil.copy(node.sandbox.path(f"{BIN}/tuning"), node.sandbox.path(f"{BIN}/{plugin}"))
    node.facade(plugin={"owners": [OWNERS[0], {"name": owner, "types": [plugin]}]})
    both = IPAM | {"ranges": [[{"subnet": "10.244.0.0/16"}], [{"subnet": "fd00:244::/64"}]]}
    node.fragment("cilium.d/05-cilium.conf", {"cniVersion": "1.0.0", "name": "cilium", **BRIDGE, "ipam": both})
    node.fragment(f"{owner}.d/10-mesh.conf", {"cniVersion": "1.0.0", "name": owner, **TUNING, "type": plugin})
    return node
