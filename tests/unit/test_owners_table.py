"""The documentation's table of chains is the one that is tested."""

from tests.lab.owners.table import PART, block


def test_the_documented_chains_are_those_that_are_tested() -> None:
    """`python -m tests.lab.owners.table` writes them anew."""
    assert PART.read() == block()
