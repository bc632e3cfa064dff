"""How things look: columns, colour where a person reads, JSON where a program does."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Sequence

WIDTH = 100

_COLOURS = {"bold": "1", "red": "31", "yellow": "33", "green": "32", "faint": "2"}


def colourful() -> bool:
    """Tell whether standard output is read by a person who wants colour (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(colour: str, text: str) -> str:
    """Return `text` in `colour`, where that is wanted."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[m" if text and colourful() else text


def printable(text: str) -> str:
    """Return `text` with escapes for whatever would move a terminal's cursor or can't be encoded: names are alien."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def paragraph(text: str, indent: str) -> list[str]:
    """Return `text` as lines of at most WIDTH characters, each after `indent`; no path is broken."""
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column of `rows`."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def print_json(document: object) -> None:
    """Print `document` for a program to read."""
    print(json.dumps(document, indent=2))
