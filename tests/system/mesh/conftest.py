"""For each runtime a node with both agents; for each test pods on it, of which nothing may stay."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import available
from tests.support.mesh.kubelet import MeshKubelet, kubelet_on
from tests.support.runtimes.daemons import Containerd24, Crio, Runtime
from tests.support.sandbox.node import is_frozen

RUNTIMES: tuple[type[Runtime], ...] = (Containerd24, Crio)


@pytest.fixture(scope="package", params=RUNTIMES, ids=[kind.name.replace(" ", "-") for kind in RUNTIMES])
def kind(request: pytest.FixtureRequest) -> type[Runtime]:
    """Each of the runtimes."""
    kind: type[Runtime] = request.param
    return kind


@pytest.fixture(scope="package")
def node(kind: type[Runtime], program: str, tools: Path) -> Iterator[MeshKubelet]:
    """A daemon whose only network is cni-chain with the agents' own plugins."""
    if not is_frozen(program):
        pytest.skip("by design: runtimes run the frozen program")
    with available(), kubelet_on(kind, program, tools) as kubelet:
        yield kubelet


@pytest.fixture
def kubelet(node: MeshKubelet) -> Iterator[MeshKubelet]:
    """Both agents are well; when the test is over, nothing of its pods may be there."""
    node.agents.restore()
    before = node.kept()

    yield node

    pods, records = node.client.sandboxes(), node.records()
    left = sorted(node.left(before))
    node.clean()
    assert (pods, records) == ([], [])
    assert not left, "left behind:\n" + "\n".join(left)
