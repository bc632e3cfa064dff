"""The record of what a stand-in was asked: one JSON object a line."""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Call:
    """One call: who was asked, what, and the answer's status (0 while it gets none, and for what is no call)."""

    to: str
    call: str
    status: int
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    note: dict[str, Any] = field(default_factory=dict)
    at: float = 0

    def __str__(self) -> str:
        return f"{self.call} {self.status}" if self.status else self.call


def record(file: Path, call: Call) -> None:
    """Add a call. It is there before its caller has the answer."""
    with file.open("a") as calls:
        calls.write(json.dumps(asdict(call) | {"at": round(time.time(), 6)}) + "\n")


def recorded(file: Path) -> list[Call]:
    """All calls so far."""
    text = file.read_text() if file.exists() else ""
    # Not the end of one that is being written.
    return [Call(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def summary(calls: Iterable[Call]) -> list[str]:
    """What was asked, each call once where it came several times in a row: `GET /v1/config 200 ×2`."""
    lines: list[tuple[str, int]] = []
    for text in map(str, calls):
        if lines and lines[-1][0] == text:
            lines[-1] = text, lines[-1][1] + 1
        else:
            lines.append((text, 1))
    return [text if times == 1 else f"{text} ×{times}" for text, times in lines]
