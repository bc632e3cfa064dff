"""The first kind of node: nothing but files in a temporary directory, and the program called on them.

The second is in tests/support/sandbox; docs/develop/testing.md says when to take which.
"""
