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
