"""What one call costs: `python -m tests.bench PROGRAM`.

A benchmark, not a test: it prints, and it fails only if a call does.
"""
