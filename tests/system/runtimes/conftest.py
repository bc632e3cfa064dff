"""For each module and runtime a node with a private daemon; for each test the usual chain, and a look at what stays."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import available
from tests.support.runtimes.daemons import RUNTIMES, Runtime
from tests.support.runtimes.kubelet import Kubelet
from tests.support.runtimes.nodes import kubelet_on, podman_on
from tests.support.runtimes.podman import Podman
from tests.support.sandbox.node import is_frozen

# A chain of bridge's for one attachment (pkg/utils, FormatChainName); portmap's have a prefix behind the dash.
MASQUERADE = re.compile(r"\bCNI-[0-9a-f]{24}\b")


@pytest.fixture(scope="module", params=RUNTIMES, ids=[kind.name.replace(" ", "-") for kind in RUNTIMES])
def kind(request: pytest.FixtureRequest) -> type[Runtime]:
    """Each of the runtimes."""
    kind: type[Runtime] = request.param
    return kind


@pytest.fixture(scope="module")
def runtime(kind: type[Runtime], program: str, tools: Path) -> Iterator[Runtime]:
    """A daemon on a node with the reference plugins and cni-chain, as it is installed."""
    if not is_frozen(program):
        pytest.skip("by design: runtimes run the frozen program")
    with available(), kubelet_on(kind, program, tools) as kubelet:
        yield kubelet.runtime


@pytest.fixture(scope="module")
def podman(program: str, tools: Path) -> Iterator[Podman]:
    """podman on such a node."""
    if not is_frozen(program):
        pytest.skip("by design: runtimes run the frozen program")
    with available(), podman_on(program, tools) as podman:
        yield podman


@pytest.fixture
def kubelet(runtime: Runtime) -> Iterator[Kubelet]:
    """The usual chain; when the test is over, nothing of its pods may be there."""
    kubelet = Kubelet(runtime)
    kubelet.reset()
    before = kubelet.kept()

    yield kubelet

    pods, leases, records = kubelet.client.sandboxes(), kubelet.node.leases(), kubelet.records()
    left = sorted(kubelet.left(before))
    if kubelet.leaves_masquerade:
        left = [thing for thing in left if not (thing.startswith("rule ") and MASQUERADE.search(thing))]
    kubelet.clean()
    assert (pods, leases, records) == ([], [], [])
    assert not left, "left behind:\n" + "\n".join(left)
