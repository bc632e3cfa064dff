"""The documentation's table of chains is the one that is tested."""

from tests.agents.owners.table import BEGIN, DOCUMENT, END, block


def test_the_documented_chains_are_those_that_are_tested() -> None:
    """`python -m tests.agents.owners.table` writes them anew."""
    assert DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0] == block()
