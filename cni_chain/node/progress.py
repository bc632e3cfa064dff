"""How long work reports its progress."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Step = Callable[[str], None]  # called with its name as each step begins
Progress = Callable[[str, int], contextlib.AbstractContextManager[Step]]  # of a label and a number of steps


def unseen(_: str) -> None:
    """Ignore a step: the Step of work whose progress is not shown."""


@contextlib.contextmanager
def silent(_label: str, _steps: int) -> Iterator[Step]:
    """Show no progress: the Progress of work whose progress is not shown."""
    yield unseen
