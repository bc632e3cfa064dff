"""A node for each test, and a look at what the test has left on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import available
from tests.support.sandbox.inventory import inventory, left
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import Node


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with available(), Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def node(sandbox: Sandbox, program: str, tools: Path) -> Iterator[Node]:
    """A node with the usual chain; when the test is over, nothing may be there that wasn't before."""
    node = Node(sandbox, Path(program), tools)
    node.warm_up()
    node.usual_chain()
    before = inventory(sandbox)

    yield node

    there = left(sandbox, before)
    assert not there, "left behind:\n" + "\n".join(there)
