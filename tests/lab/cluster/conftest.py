"""For each facade a cluster of its own, and a place for what a scenario has seen: docs/evidence/cluster.md has it."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.lab.cluster.cluster import Cluster, cluster_with
from tests.lab.cluster.machine import Cgroups
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.namespaces import CHECKOUT

# What `python -m tests.lab.cluster` tells the tests that it runs in a cgroup namespace of their own.
GROUP = "CNI_CHAIN_CLUSTER_CGROUP"
LOGS = CHECKOUT / "out/cluster"


class Facade(NamedTuple):
    """The versions of the specification that a facade offers to the runtime."""

    name: str
    options: tuple[str, ...]
    status: bool  # whether containerd asks STATUS of it


FACADES = (
    Facade("1.0.0 to 1.1.0", (), status=True),
    Facade("1.0.0 alone", ("--cni-version", "1.0.0"), status=False),
)


@pytest.fixture(scope="module", params=FACADES, ids=[facade.name.replace(" ", "-") for facade in FACADES])
def facade(request: pytest.FixtureRequest) -> Facade:
    """What `install` makes, and what it makes for runtimes up to 1.0.0."""
    facade: Facade = request.param
    return facade


@pytest.fixture(scope="session")
def cgroups() -> Cgroups:
    """Those that everything runs in."""
    group = os.environ.get(GROUP)
    if not group:
        raise pytest.UsageError("the cluster needs cgroups of its own: make cluster")
    return Cgroups(group)


@pytest.fixture(scope="module")
def cluster(facade: Facade, program: str, cgroups: Cgroups) -> Iterator[Cluster]:
    """Kubernetes with cni-chain; Cilium's agent is installed, and the first scenario starts it."""
    tools = sandbox_node.tools()
    if tools is None:
        raise pytest.UsageError("the reference plugins are not built: make tools")
    logs = LOGS / facade.name.replace(" ", "-")
    with cluster_with(program, tools, cgroups, logs, *facade.options) as cluster:
        yield cluster


@pytest.fixture
def running(cluster: Cluster) -> Iterator[Cluster]:
    """The agent is there, and so are the two web servers and the client; so they are after a scenario that passed."""
    if not cluster.cilium.operator.running:
        cluster.cilium.operator.start()
    if not cluster.cilium.agent.running:
        cluster.cilium.start_agent()
    cluster.becomes("True")
    cluster.workload()
    cluster.scale(2)
    cluster.rolled_out()
    cluster.settled(3)
    cluster.forget_events()

    yield cluster

    assert cluster.cilium.agent.running
    cluster.scale(2)
    cluster.rolled_out()
    cluster.settled(3)
    assert cluster.cilium.endpoints() == 3
    assert len(set(cluster.ask(8))) == 2


@pytest.fixture
def seen(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Called with what was seen, in a few words."""
    return lambda words: record_property("seen", words)


@pytest.fixture
def shown(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Called with a command and what it printed."""
    return lambda command, output: record_property("shown", f"$ {command}\n{output}")
