"""The files of conf/ on a node are the same as those of the command line's tests."""

from tests.cli.conftest import node

__all__ = ["node"]
