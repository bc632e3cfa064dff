"""The command line. The plugin never imports any of it."""

from __future__ import annotations


def main() -> int:
    """Run the command in sys.argv; return the exit status: 0 fine, 1 findings or a failure, 2 wrong usage."""
    import sys

    from cni_chain.cli import quick

    sys.argv[1:] = quick.words(sys.argv)
    has_output = quick.open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a locale may lack ✓
    status = quick.answer(sys.argv[1:])
    if status is None:
        from cni_chain.cli.app import run

        status = run()
    return status if quick.is_printed() and has_output else 1
