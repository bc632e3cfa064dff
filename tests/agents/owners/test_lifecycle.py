"""What the documentation says of the agents' files is what their own writers do."""

import pytest

from tests.agents.owners.lifecycle import PART, block
from tests.gomodules import NotBuiltError
from tests.sandbox.namespaces import SandboxUnavailableError


def test_the_agents_do_to_their_files_what_is_documented() -> None:
    """`python -m tests.agents.owners.lifecycle` writes it anew."""
    try:
        seen = block()
    except (NotBuiltError, SandboxUnavailableError) as e:
        pytest.skip(str(e))

    assert PART.read() == seen
