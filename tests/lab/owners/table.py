"""The chains as a table for people: `python -m tests.lab.owners.table` writes docs/evidence/agents.md."""

import sys

from tests.support.owners.chains import CHAINS, Chain
from tests.support.pages import Part

PART = Part("evidence/agents.md", "chains")


def row(chain: Chain) -> str:
    owners = " ".join(f"`{owner}`" for owner in chain.owners)
    runs = " → ".join(plugin.type for plugin in chain.runs)
    left_out = ", ".join(f"{one.partition(': ')[2]} of `{one.partition('/')[0]}`" for one in chain.left_out)
    told = "; ".join(f"`verify`: … {end}" for end in chain.findings)
    return f"| {chain.name} | {owners} | `{chain.network}` | {runs} | {left_out or told or '–'} |"


def block() -> str:
    """The table, for the document."""
    head = ["| chain | `--owner`, in order | network | a new pod runs | left out, or told |", "|---|---|---|---|---|"]
    return "\n".join([*head, *map(row, CHAINS)]) + "\n"


def main() -> None:
    PART.write(block())
    sys.stdout.write(block())


if __name__ == "__main__":
    main()
