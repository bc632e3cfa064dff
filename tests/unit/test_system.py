"""What an interpreter adds to its environment is not the caller's."""

from __future__ import annotations

import pytest

from cni_chain.plugin import system


@pytest.mark.parametrize(
    ("block", "variables"),
    [
        pytest.param(b"A=b\0C=d=e\0", {"A": "b", "C": "d=e"}, id="usual"),
        pytest.param(b"A=1\0A=2\0", {"A": "1"}, id="the first of two counts"),
        pytest.param(b"A=\xff\0", {"A": "\udcff"}, id="not UTF-8"),
        pytest.param(b"A=\0nonsense\0=x\0", {"A": ""}, id="empty, and what is no variable"),
        pytest.param(b"", {}, id="none"),
    ],
)
def test_the_environment_is_the_one_that_the_process_was_started_with(block: bytes, variables: dict[str, str]) -> None:
    assert system.variables(block) == variables
