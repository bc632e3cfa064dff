from pathlib import Path

import pytest

from tests.support.files.node import Node


@pytest.fixture
def node(program: str, tmp_path: Path) -> Node:
    """A node on which all is well."""
    return Node(tmp_path / "node", program)
