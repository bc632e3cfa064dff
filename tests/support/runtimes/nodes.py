"""Nodes with a runtime, as long as a block needs them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.runtimes.daemons import Runtime, remove_cgroups
from tests.support.runtimes.kubelet import Kubelet
from tests.support.runtimes.podman import Podman
from tests.support.runtimes.steer import STEERED
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import Node


@contextlib.contextmanager
def node_with(program: str | Path, tools: Path) -> Iterator[Node]:
    """A node with cni-chain, as it is installed, the reference plugins and the usual chain; without a runtime."""
    with Sandbox() as sandbox:
        node = Node(sandbox, Path(program), tools)
        sandbox.path(STEERED).mkdir()
        node.warm_up()
        node.usual_chain()
        yield node


@contextlib.contextmanager
def kubelet_on(kind: type[Runtime], program: str | Path, tools: Path) -> Iterator[Kubelet]:
    """Such a node, and a daemon that is ready and warm."""
    with node_with(program, tools) as node:
        runtime = kind(node)
        try:
            kubelet = Kubelet(runtime)
            kubelet.warm_up()
            yield kubelet
        finally:
            runtime.close()
            node.sandbox.close()
            remove_cgroups(runtime.cgroup)


@contextlib.contextmanager
def podman_on(program: str | Path, tools: Path) -> Iterator[Podman]:
    """Such a node with podman."""
    with node_with(program, tools) as node:
        podman = Podman(node)
        try:
            yield podman
        finally:
            node.sandbox.close()
            remove_cgroups(podman.cgroup)
