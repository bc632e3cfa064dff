"""Why a command does nothing."""

from __future__ import annotations


class RefusedError(Exception):
    """What the command doesn't do, and why; `shown` is text that belongs to it, in lines."""

    def __init__(self, message: str, shown: str = "") -> None:
        super().__init__(message)
        self.shown = shown
