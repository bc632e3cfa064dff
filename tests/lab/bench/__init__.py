"""What one call costs: `python -m tests.lab.bench PROGRAM`, with `--full` beside libcni's plain conflist and multus.

A benchmark, not a test: it prints, and it fails only if a call does. What a call may take in things that can be counted
is tested in tests/release.
"""
