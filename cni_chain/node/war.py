"""What was written to each file while it was watched, by whom, and whether two writers fight over it. Pure.

A turn is a write that changes the file after another writer's write, or, where writers are not known, back to what it
had before. An agent that watches a file may undo a change within a millisecond, before anybody else can read it: two
writers so close to each other are a turn whatever was read. A file is fought over if it took at least four turns within
a minute.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable
from typing import NamedTuple

from cni_chain.node.processes import Writer

WINDOW = 60.0  # seconds
TURNS = 4
CLOSE = 0.1  # seconds between two writes, of which the first can't be read for certain
_KEPT = 1000  # writes of one file that are remembered


class Write(NamedTuple):
    """One change of a file: when, by whom, and a digest of what it had afterwards ("": it was away)."""

    at: float
    writer: Writer | None
    digest: str

    @property
    def identity(self) -> tuple[str, ...]:
        """The writer, the same after its restart; nothing if it is not known."""
        return self.writer.identity if self.writer else ()


class War(NamedTuple):
    """A fight over one file: who writes it, and how often all together."""

    path: str
    writers: list[Writer]  # none: they are not known
    per_minute: float

    def text(self) -> str:
        """Return it in one sentence."""
        names = [f"{one.text()} ({one.where})" if one.where else one.text() for one in self.writers]
        whose = f" by {' and '.join(names)}" if names else ""
        return f"a rewrite war: {self.per_minute:.0f} writes a minute{whose}, which change it back and forth"


class History:
    """The writes of one file since the watch began."""

    def __init__(self, path: str, begun: float) -> None:
        self.path = path
        self.counts: dict[tuple[str, ...], int] = {}
        self.latest: dict[tuple[str, ...], Write] = {}
        self._begun = begun
        self._writes: collections.deque[Write] = collections.deque(maxlen=_KEPT)

    def add(self, write: Write) -> None:
        """Take a write."""
        self._writes.append(write)
        self.counts[write.identity] = self.counts.get(write.identity, 0) + 1
        self.latest[write.identity] = write

    def war(self, now: float) -> War | None:
        """Return the fight over the file in the minute before `now`, None if there is none."""
        recent = [one for one in self._writes if one.at > now - WINDOW]
        fighters: dict[tuple[str, ...], Writer] = {}
        turns = 0
        for before, after in itertools.pairwise(recent):
            is_changed = before.digest != after.digest
            if not (before.identity and after.identity):
                turns += is_changed and _has_been(recent, after)
            elif before.identity != after.identity and (is_changed or after.at - before.at < CLOSE):
                turns += 1
                fighters |= {one.identity: one.writer for one in (before, after) if one.writer}
        if turns < TURNS:
            return None
        seconds = min(WINDOW, max(now - self._begun, 1.0))
        return War(self.path, list(fighters.values()), len(recent) * 60 / seconds)


def _has_been(recent: list[Write], write: Write) -> bool:
    return any(one.digest == write.digest and one.at < write.at for one in recent)


class Account:
    """The histories of all files that were written while the watch lasts."""

    def __init__(self, begun: float, digest: Callable[[str], str]) -> None:
        """`digest` returns a digest of what a file has, "" if it doesn't exist."""
        self.begun = begun
        self.files: dict[str, History] = {}
        self._digest = digest

    def take(self, path: str, at: float, writer: Writer | None) -> None:
        """Take a write of a file."""
        history = self.files.setdefault(path, History(path, self.begun))
        history.add(Write(at, writer, self._digest(path)))

    def wars(self, now: float) -> list[War]:
        """Return the fights in the minute before `now`."""
        return [war for war in (history.war(now) for history in self.files.values()) if war is not None]
