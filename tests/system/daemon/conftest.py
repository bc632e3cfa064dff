import contextlib
from collections.abc import Iterator

import pytest

from tests.conftest import available
from tests.support.sandbox.daemon import Node
from tests.support.sandbox.namespaces import Sandbox


@pytest.fixture
def node(program: str) -> Iterator[Node]:
    """A node on which no agent has written yet, with cni-chain."""
    with available(), Sandbox() as sandbox, contextlib.closing(Node(sandbox, program)) as node:
        yield node


@pytest.fixture
def traced(node: Node) -> Node:
    """The same, where system calls can be traced."""
    done = node.sandbox.run("strace", "-qq", "-e", "inject=getpid:retval=1", "true", check=False)
    if done.returncode:
        pytest.skip(f"system calls can't be traced here: {done.stderr}")
    return node
