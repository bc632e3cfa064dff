"""What the documentation says of the agents' files is what their own writers do."""

import pytest

from tests.lab.owners.lifecycle import PART, block
from tests.support.gomodules import NotBuiltError
from tests.support.sandbox.namespaces import SandboxUnavailableError

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.slow]


def test_the_agents_do_to_their_files_what_is_documented() -> None:
    """`python -m tests.lab.owners.lifecycle` writes it anew."""
    try:
        seen = block()
    except (NotBuiltError, SandboxUnavailableError) as e:
        pytest.skip(str(e))

    assert PART.read() == seen
