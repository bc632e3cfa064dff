"""How often the agent puts right what others undo: three times in ten minutes, then it stops. Pure.

Repair without an end would be a new war with whoever writes there. It begins again only when the agent is started
again, because from the files alone nobody can see that the other one has stopped.
"""

from __future__ import annotations

TIMES, SECONDS = 3, 600.0


class Limit:
    """The repairs of one agent."""

    def __init__(self) -> None:
        self.total = 0
        self.stopped = False
        self._known: set[str] = set()
        self._taken: list[float] = []

    def allows(self, what: str, now: float) -> bool:
        """Return whether `what` may be done now; if it may not, that is so from now on.

        `now` is in seconds of a clock that never goes back.
        """
        recent = sum(now - moment < SECONDS for moment in self._taken)
        self.stopped = self.stopped or (what in self._known and recent >= TIMES)
        return not self.stopped

    def count(self, what: str, now: float) -> None:
        """Take down that `what` was done; the first time that is no repair."""
        if what in self._known:
            self._taken = [moment for moment in self._taken if now - moment < SECONDS] + [now]
            self.total += 1
        self._known.add(what)

    def expect(self, what: str) -> None:
        """Have every further `what` count as a repair: it is as it is wanted now."""
        self._known.add(what)
