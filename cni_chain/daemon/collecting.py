"""The agent's clean-up: `cni-chain gc`, for runtimes that have none, in a process of its own.

A plugin may take a minute for one DEL, and the agent has to watch meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from cni_chain.change import gc
from cni_chain.node import programs
from cni_chain.node.attachments import StateDir


class Collector:
    """Runs `gc` each `seconds` (0: never) if there is something to free. `program` and its `options` are the node's."""

    def __init__(self, program: str, options: list[str], seconds: float) -> None:
        self._command = [program, "gc", "--yes", "--json", *options]
        self._seconds = seconds
        self._due = time.monotonic() + seconds
        self._running: threading.Thread | None = None

    def collect(self, states: list[StateDir], done: Callable[[int, list[str]], None]) -> None:
        """Start a run if it is time; `done` gets in another thread how many were freed, and what failed."""
        now = time.monotonic()
        if not self._seconds or now < self._due or (self._running is not None and self._running.is_alive()):
            return
        self._due = now + self._seconds
        if gc.plan(states, None).empty:
            return
        self._running = threading.Thread(target=self._run, args=(done,), daemon=True)
        self._running.start()

    def _run(self, done: Callable[[int, list[str]], None]) -> None:
        try:
            ended = subprocess.run(
                self._command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=programs.environ(),
                check=False,
            )
        except OSError as error:
            done(0, [f"gc: {error}"])
            return
        try:
            found = _result(json.loads(ended.stdout))
        except (ValueError, KeyError, TypeError):
            found = 0, [f"gc: {_why(ended)}"]
        done(*found)


def _why(ended: subprocess.CompletedProcess[str]) -> str:
    """Return why a run has printed no document."""
    words = ended.stderr.strip().splitlines()
    if words:
        return words[-1]
    if ended.returncode < 0:
        return f"was killed by signal {-ended.returncode}"
    return f"ended with status {ended.returncode}" if ended.returncode else "its answer is no document"


def _result(document: dict[str, Any]) -> tuple[int, list[str]]:
    every = [*document["stale"], *document["stranded"]]
    failed = [error["msg"] for one in every for error in one["errors"]]
    return sum(one["freed"] for one in every), [*document["errors"], *failed]
