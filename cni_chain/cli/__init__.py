"""The command line for people."""

import sys


def main() -> int:
    """Run the command in sys.argv."""
    print("not yet", file=sys.stderr)
    return 2
