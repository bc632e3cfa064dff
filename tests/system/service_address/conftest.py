"""A node with cgroups of its own, below which load balancers are attached; nothing of it stays."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import available
from tests.support.bpf.chain import MeshedNode
from tests.support.bpf.node import BalancedNode, NoCgroupsError
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import install


@pytest.fixture(scope="module")
def sandbox(program: str) -> Iterator[Sandbox]:
    with available(), Sandbox() as sandbox:
        install(sandbox, Path(program))
        for family in ("-4", "-6"):  # as on a node, every address has a route
            sandbox.run("ip", family, "route", "add", "default", "dev", "lo")
        yield sandbox


@pytest.fixture
def node(sandbox: Sandbox) -> Iterator[BalancedNode]:
    """A node on which nothing is attached yet."""
    try:
        node = BalancedNode.make(sandbox, f"cni-chain-test-{os.getpid()}-{time.monotonic_ns()}")
    except NoCgroupsError as error:
        pytest.skip(str(error))
    yield node
    node.remove()


@pytest.fixture
def meshed(node: BalancedNode) -> Iterator[MeshedNode]:
    """The same with a mesh's plugin in the chain, and the facade's key `mesh` set to enforce."""
    with MeshedNode.on(node) as meshed:
        yield meshed
