"""What `make demo` shows is a test as well: it fails if anything is not as it says."""

import pytest

from tests.lab.demo.__main__ import main


@pytest.mark.usefixtures("tools", "sandbox")
def test_the_demonstration_holds(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends well, says nothing else, and fits a terminal of 100 columns."""
    status = main(program)

    shown = capsys.readouterr()
    assert (status, shown.err) == (0, ""), shown.out
    assert max(map(len, shown.out.splitlines())) <= 100
