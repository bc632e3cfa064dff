"""Output: columns, colour and progress on a terminal, the same plain text in a pipe, or JSON.

Only this module uses rich, and loads it when something is printed: completion and help don't need it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cni_chain.node.progress import Step, unseen

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100  # of lines of text; a terminal may be narrower

_GAP = "  "  # between columns
_NARROW = 16  # the least width of a folded column
_PATIENCE = 0.5  # seconds before the progress bar appears


@functools.cache
def _console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return the terminal as rich sees it: no colour in a pipe, on a dumb terminal, or with https://no-color.org."""
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    return Console(
        stderr=stderr,
        width=width,
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


def width() -> int:
    """Return how long a line of text may be."""
    return min(WIDTH, _console().width) if sys.stdout.isatty() else WIDTH


def paint(style: str, text: str) -> str:
    """Return `text` in a colour or style of rich, if the output has colours."""
    if not text or not style or not sys.stdout.isatty() or _console().color_system is None:
        return text
    from rich.text import Text

    with _console().capture() as painted:
        _console().print(Text(text, style), end="", soft_wrap=True)
    return painted.get()


def printable(text: str) -> str:
    """Return `text` with escapes for what would move the cursor or can't be encoded: names come from other programs."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def paragraph(text: str, indent: str) -> list[str]:
    """Return `text` as lines, each after `indent`; no path is broken."""
    return textwrap.wrap(
        printable(text),
        width(),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(rows: Sequence[Sequence[str]], *, styles: Sequence[str] = (), indent: str = "", fold: int = -1) -> list[str]:
    """Return `rows` as aligned lines, each in the style of its place in `styles` ("" is none).

    On a terminal that is too narrow the column `fold` is broken into lines; in a pipe a row is always one line.
    """
    if not rows:
        return []
    from rich.cells import cell_len
    from rich.table import Table

    grid = Table.grid(padding=(0, len(_GAP), 0, 0))
    columns = [max(cell_len(printable(cell)) for cell in column) for column in zip(*rows, strict=True)]
    for place in range(len(columns)):
        grid.add_column(no_wrap=place != fold, overflow="fold")
    for row, style in itertools.zip_longest(rows, styles[: len(rows)], fillvalue=""):
        grid.add_row(*map(printable, row), style=style)
    room = sum(columns) + len(_GAP) * len(columns)
    if fold >= 0 and sys.stdout.isatty():
        rest = room - columns[fold] + min(_NARROW, columns[fold])
        room = min(room, max(rest, _console().width - len(indent)))
    console = _console(width=room)
    with console.capture() as drawn:
        console.print(grid)
    return [f"{indent}{line}".rstrip() for line in drawn.get().splitlines()]


@contextlib.contextmanager
def progress(label: str, steps: int) -> Iterator[Step]:
    """Yield what is to be called, with its name, as each step begins.

    On a terminal, a bar on standard error shows the progress of a long command, and disappears at its end.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield unseen
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=_console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # other output appears above the bar
    )
    task = bar.add_task(label, total=steps)
    begun = 0

    def step(name: str) -> None:
        nonlocal begun
        bar.update(task, completed=begun, description=f"{label} {printable(name)}"[: WIDTH // 2])
        begun += 1

    patience = threading.Timer(_PATIENCE, bar.start)
    patience.daemon = True
    patience.start()
    try:
        yield step
    finally:
        patience.cancel()
        patience.join()  # so that nothing starts the bar after it was stopped
        bar.stop()


def print_json(document: object) -> None:
    """Print `document` as JSON."""
    print(json.dumps(document, indent=2))
