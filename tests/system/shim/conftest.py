"""A node with a pod that is redirected to a proxy, whose services' addresses a stand-in for Cilium replaces."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import available
from tests.support.bpf.node import BalancedNode, NoCgroupsError, removed
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import install
from tests.support.shim.node import ShimNode
from tests.support.shim.pod import MeshedPod


@pytest.fixture(scope="module")
def sandbox(program: str) -> Iterator[Sandbox]:
    with available(), Sandbox() as sandbox:
        install(sandbox, Path(program))
        yield sandbox


@pytest.fixture
def node(sandbox: Sandbox) -> Iterator[ShimNode]:
    """The node; the shim is off."""
    try:
        balanced = BalancedNode.make(sandbox, f"cni-chain-test-{os.getpid()}-{time.monotonic_ns()}")
    except NoCgroupsError as error:
        pytest.skip(str(error))
    proxy = balanced.pods / "proxy"
    proxy.mkdir()
    try:
        with available(), MeshedPod.made(sandbox, "pod") as pod:
            node = ShimNode(balanced, pod)
            yield node
            assert node.shim("off").returncode == 0
    finally:
        removed(proxy)
        balanced.remove()
