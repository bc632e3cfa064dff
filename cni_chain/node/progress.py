"""How long work says where it is, to whoever watches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Step = Callable[[str], None]  # called with its name as each step begins
Progress = Callable[[str, int], contextlib.AbstractContextManager[Step]]  # of a label and a number of steps


def unseen(_: str) -> None:
    """Be the Step of what nobody watches."""


@contextlib.contextmanager
def silent(_label: str, _steps: int) -> Iterator[Step]:
    """Be the Progress of what nobody watches."""
    yield unseen
