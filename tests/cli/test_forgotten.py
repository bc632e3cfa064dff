"""A setting that was forgotten is told by a command, in the words that the documentation has."""

from pathlib import Path

import pytest

from tests.lab.owners.forgotten import FORGOTTEN, PART, Forgotten, block, says

pytestmark = pytest.mark.root


@pytest.mark.parametrize("forgotten", FORGOTTEN, ids=[f"{row.agent}-{row.setting}" for row in FORGOTTEN])
def test_a_command_says_so(program: str, tmp_path: Path, forgotten: Forgotten) -> None:
    documented = PART.read().splitlines()[2:]
    row = documented[FORGOTTEN.index(forgotten)]

    said = says(program, forgotten, tmp_path / "node")

    # `python -m tests.lab.owners.forgotten` writes the table anew.
    assert row.startswith(f"| {forgotten.agent} | {forgotten.setting} | {forgotten.consequence} | ")
    assert f"`{forgotten.command}`: {said}" in block([said] * len(FORGOTTEN))
    assert row.endswith(f"| `{forgotten.command}`: {said} |")
