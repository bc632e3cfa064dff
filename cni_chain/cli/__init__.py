"""The command line. The plugin never imports any of it."""

from __future__ import annotations


def main() -> int:
    """Run the command in sys.argv; return the exit status: 0 fine, 1 findings or a failure, 2 wrong usage."""
    from cni_chain.cli.app import run  # typer takes longer to import than a whole plugin call

    return run()
